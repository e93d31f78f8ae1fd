#!/usr/bin/env bash
# The machine `provider`: the gateway between the relay's network and the LAN, as a unit of systemd.
# shellcheck source=scripts/lab/common.sh
. "$(dirname "$0")/common.sh"

install_nconnect
close_management
identity config.toml
remember_state nconnect-serve.service
systemctl enable -q nconnect-serve
systemctl restart nconnect-serve
