"""One end of the least that is a tunnel over NKN: for each packet a box, a signature and a websocket message.

No session (nothing is acknowledged or sent again), no TLS and no keys but NKN's own, one path, nobody is
asked who may what. What this takes, the kernel, NKN and Python take whatever a tunnel does.

::

    python -m scripts.benchmarks.programs.bare SEED_RPC OWN PEER DEVICE     says "ready"

OWN and PEER are small numbers, of which the keys are made; the device is the caller's to set up.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from nconnect.host.tun import Tun
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import Inbound, decode_frame, encode_session_message, open_envelope
from scripts.benchmarks.programs.node_client import NodeClient


async def run(seed_rpc: str, own: KeyPair, peer: KeyPair, device: str) -> None:
    dest, shared_key = peer.public_key.hex(), own.shared_key(peer.public_key)
    with Tun.open(device) as tun:

        def on_frame(frame: memoryview) -> None:
            message = decode_frame(frame)
            if isinstance(message, Inbound):
                tun.write(open_envelope(message.payload, shared_key)[0])

        def on_readable() -> None:
            while packet := tun.read():
                client.send(encode_session_message(signer, dest, packet, shared_key))

        client, signer = await NodeClient.join(own, seed_rpc, on_frame)
        asyncio.get_running_loop().add_reader(tun.fd, on_readable)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    keys = [KeyPair.from_seed(int(number).to_bytes(32)) for number in sys.argv[2:4]]
    uvloop.run(run(sys.argv[1], *keys, sys.argv[4]))
