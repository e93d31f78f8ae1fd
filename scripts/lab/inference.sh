#!/usr/bin/env bash
# The machine `inference`: a model server, files to download and a name server, on the provider's LAN only.
# shellcheck source=scripts/lab/common.sh
. "$(dirname "$0")/common.sh"
address=${1:?usage: inference.sh ADDRESS}
downloads=/var/lib/lab-downloads

install_nconnect
close_management
service lab-inference $home/bin/python -m nconnect.demo.inference --host "$address" --port 8000
mkdir -p $downloads
service lab-downloads $home/bin/python $lab/downloads.py "$address" 8001 $downloads
service lab-names $home/bin/python $lab/names.py "$address" "nas.lan=$address"
answers "$address" 8000
answers "$address" 8001
