"""TCP and UDP without a TUN device, and so without root: tunnels to one port, SOCKS5 to a provider's LAN."""
