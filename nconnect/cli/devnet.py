"""`nconnect devnet`: an NKN network on this machine."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect devnet`."""
    parser.add_argument(
        "--nodes",
        type=int,
        default=4,
        help="Relay nodes, each on a port of its own. [default: %(default)s]",
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default="127.0.0.1:30003",
        help="Where the JSON-RPC listens; node I is at PORT+1+I. [default: %(default)s]",
    )
    parser.add_argument(
        "--advertise",
        metavar="HOST",
        help="Host in the addresses of the nodes. [default: that of --listen]",
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="Serve wss too: node I at PORT+1+NODES+I, with a certificate of its own.",
    )
    parser.add_argument(
        "--faucet",
        metavar="NKN",
        default="1000",
        help="What every account is born with, to try transactions. [default: %(default)s]",
    )
    parser.add_argument(
        "--latency",
        metavar="MS",
        type=float,
        default=0.0,
        help="Delay of each message, one way. [default: %(default)s]",
    )
    parser.add_argument(
        "--jitter",
        metavar="MS",
        type=float,
        default=0.0,
        help="Random part of the delay. [default: %(default)s]",
    )
    parser.add_argument(
        "--loss",
        metavar="PCT",
        type=float,
        default=0.0,
        help="Messages that are lost, per cent. [default: %(default)s]",
    )
    parser.add_argument(
        "--rate",
        metavar="MBIT",
        type=float,
        default=0.0,
        help="Mbit/s that a node carries; 0: no limit. [default: %(default)s]",
    )
    parser.add_argument(
        "--node",
        metavar="I:NAME=VALUE,…",
        action="append",
        help="Node I's own latency, jitter, loss or rate, as in 3:rate=5. Repeatable.",
    )
    parser.add_argument(
        "--place",
        metavar="KEY:I,J,…",
        action="append",
        help="Sub-clients 0, 1, … of a key join nodes I, J, … whatever its address. Repeatable.",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Seed of the random choices. [default: %(default)s]"
    )
    parser.add_argument("--verify", action="store_true", help="Verify the signature of every message.")


def command(
    nodes: int,
    listen: str,
    advertise: str | None,
    tls: bool,
    faucet: str,
    latency: float,
    jitter: float,
    loss: float,
    rate: float,
    node: list[str] | None,
    place: list[str] | None,
    seed: int,
    verify: bool,
) -> None:
    """Run an NKN network in this process; official SDKs can join it too."""
    from nconnect.cli import event_loop
    from nconnect.devnet import DevnetConfig, Shape
    from nconnect.devnet.config import parse_node_shape, parse_place

    shape = Shape(latency, jitter, loss, rate)
    config = DevnetConfig(
        nodes=nodes,
        listen=listen,
        advertise=advertise or None,
        tls=tls,
        faucet=faucet,
        latency_ms=latency,
        jitter_ms=jitter,
        loss_pct=loss,
        rate_mbit=rate,
        node_shapes=dict(parse_node_shape(text, shape) for text in node or ()),
        places=dict(parse_place(text) for text in place or ()),
        seed=seed,
        verify_signatures=verify,
    )
    event_loop.run(_run(config))


async def _run(config: object) -> None:
    from nconnect.devnet import Devnet, DevnetConfig

    assert isinstance(config, DevnetConfig)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Devnet(config) as devnet:
        print(f"{config.nodes} node{'s' * (config.nodes != 1)}; use it with: --seed-rpc {devnet.rpc_url}")
        await stop.wait()
