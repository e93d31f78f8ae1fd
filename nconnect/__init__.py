"""nconnect: give me a public key and I put you on that machine's LAN, over NKN's relays."""

__version__ = "0.1.0"
