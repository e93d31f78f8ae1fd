#!/usr/bin/env bash
# The machine `inference`: a model server and files to download, on the provider's LAN only.
# shellcheck source=scripts/lab/common.sh
. "$(dirname "$0")/common.sh"
address=${1:?usage: inference.sh ADDRESS}
downloads=/var/lib/lab-downloads

install_nconnect
close_management
service lab-inference $home/bin/python -m nconnect.demo.inference --host "$address" --port 8000
mkdir -p $downloads
service lab-downloads $home/bin/python $lab/downloads.py "$address" 8001 $downloads
answers "$address" 8000
answers "$address" 8001
