#!/usr/bin/env bash
# The machine `user`: on the provider's LAN from boot on, as a unit of systemd.
# shellcheck source=scripts/lab/common.sh
. "$(dirname "$0")/common.sh"

install_nconnect
close_management
identity provider.toml
remember_state nconnect@provider.service
systemctl enable -q nconnect@provider
systemctl restart nconnect@provider
