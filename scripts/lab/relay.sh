#!/usr/bin/env bash
# The machine `relay`: an NKN network, the only thing that user and provider both reach, and the user's own name server.
# shellcheck source=scripts/lab/common.sh
. "$(dirname "$0")/common.sh"
address=${1:?usage: relay.sh ADDRESS}

install_nconnect
close_management
service lab-devnet /usr/local/bin/nconnect devnet --listen "$address:30003"
service lab-names $home/bin/python $lab/names.py "$address" www.example.org=198.51.100.7
answers "$address" 30003
