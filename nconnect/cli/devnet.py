"""`nconnect devnet`: an NKN network on this machine."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer


def command(
    nodes: Annotated[int, typer.Option(min=1, help="Relay nodes, each on a port of its own.")] = 4,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the JSON-RPC listens; node I is at PORT+1+I.")
    ] = "127.0.0.1:30003",
    advertise: Annotated[
        str,
        typer.Option(metavar="HOST", help="Host in the addresses of the nodes. [default: that of --listen]"),
    ] = "",
    tls: Annotated[
        bool,
        typer.Option("--tls", help="Serve wss too: node I at PORT+1+NODES+I, with a certificate of its own."),
    ] = False,
    faucet: Annotated[
        str, typer.Option(metavar="NKN", help="What every account is born with, to try transactions.")
    ] = "1000",
    latency: Annotated[float, typer.Option(metavar="MS", help="Delay of each message, one way.")] = 0.0,
    jitter: Annotated[float, typer.Option(metavar="MS", help="Random part of the delay.")] = 0.0,
    loss: Annotated[float, typer.Option(metavar="PCT", help="Messages that are lost, per cent.")] = 0.0,
    rate: Annotated[
        float, typer.Option(metavar="MBIT", help="Mbit/s that a node carries; 0: no limit.")
    ] = 0.0,
    node: Annotated[
        list[str] | None,
        typer.Option(
            metavar="I:NAME=VALUE,…",
            help="Node I's own latency, jitter, loss or rate, as in 3:rate=5. Repeatable.",
        ),
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY:I,J,…",
            help="Sub-clients 0, 1, … of a key join nodes I, J, … whatever its address. Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random choices.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Verify the signature of every message.")] = False,
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
        typer.echo(
            f"{config.nodes} node{'s' * (config.nodes != 1)}; use it with: --seed-rpc {devnet.rpc_url}"
        )
        await stop.wait()
