"""An NKN SDK for asyncio: keys, wallet, RPC, messages, and clients with sessions.

Start at `nconnect.nkn.multiclient.MultiClient`; `nconnect.nkn.keys.KeyPair` is who you are, and
`nconnect.nkn.config.ClientConfig` where the network is. Nothing is imported here, so that what needs only
keys or messages does not load the rest.
"""
