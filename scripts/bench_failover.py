"""How long the tunnel stands still when something breaks.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    asks 50 times a second, and                            answers, and
    downloads in some scenes                               is downloaded from

Each figure is the time from the moment at which traffic could go on to the first answer, or the longest time
without one. Run it with `scripts/bench failover [NAME…]`.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nconnect.demo import outages
from nconnect.demo.download import start_download
from nconnect.demo.heartbeat import Heartbeat
from nconnect.demo.lab import LAN, Lab
from nconnect.demo.tunnel import Tunnel, connect
from nconnect.errors import NconnectError
from scripts import command
from scripts.figures import Row, progress

WATCH = 5.0
"""Seconds for which the heartbeat is looked at after one node has died."""
USE = 2.0
"""Seconds for which the tunnel is used before a node dies."""
PATIENCE = 90.0
"""Seconds after which a connection that has not come back counts as lost."""
DEVNET_PAUSE = 5.0
SLEEP = 60.0


@dataclass
class Scene:
    """A connected lab."""

    tunnel: Tunnel
    heartbeat: Heartbeat

    async def stall(self, moment: float) -> float:
        await asyncio.sleep(max(0.0, moment + WATCH - time.monotonic()))
        return self.heartbeat.longest_stall(moment, moment + WATCH)

    async def back(self, moment: float) -> float:
        return (await self.heartbeat.beat_after(moment, PATIENCE)).answered - moment


async def node_reset(scene: Scene, *, silent: bool = False) -> float:
    node = await outages.node_in_use(scene.tunnel.lab, asyncio.sleep(USE))
    return await scene.stall(await outages.kill_node(scene.tunnel.lab, node, silent=silent))


async def node_silent(scene: Scene) -> float:
    return await node_reset(scene, silent=True)


async def bulk_reset(scene: Scene, *, silent: bool = False) -> float:
    """The longer stall, of the download or of what has to get through beside it."""
    download = await start_download(scene.tunnel.lab)
    await asyncio.sleep(USE)
    moment = await outages.kill_node(scene.tunnel.lab, 1, silent=silent)
    return max(await scene.stall(moment), download.longest_stall(moment, moment + WATCH))


async def bulk_silent(scene: Scene) -> float:
    return await bulk_reset(scene, silent=True)


async def devnet(scene: Scene) -> float:
    return await scene.back(await outages.restart_devnet(scene.tunnel, DEVNET_PAUSE))


async def provider(scene: Scene) -> float:
    return await scene.back(await outages.restart_serve(scene.tunnel))


async def address(scene: Scene) -> float:
    return await scene.back(await outages.change_address(scene.tunnel.lab))


async def sleep(scene: Scene) -> float:
    return await scene.back(await outages.suspend(scene.tunnel.up, SLEEP))


SCENES: dict[str, tuple[str, Callable[[Scene], Awaitable[float]]]] = {
    "node-reset": ("one of four nodes dies, longest stall", node_reset),
    "node-silent": ("one of four nodes falls silent, longest stall", node_silent),
    "bulk-reset": ("one of four nodes dies under a download, longest stall", bulk_reset),
    "bulk-silent": ("one of four nodes falls silent under a download, longest stall", bulk_silent),
    "devnet": (f"all nodes down for {DEVNET_PAUSE:g} s, back after they listen", devnet),
    "provider": ("provider killed and started, back after it listens", provider),
    "address": ("user's address changed, back after", address),
    "sleep": (f"user asleep for {SLEEP:g} s, back after waking", sleep),
}


async def measure(names: Sequence[str]) -> list[Row]:
    rows = []
    seconds: float | None
    for name in names:
        words, play = SCENES[name]
        try:
            seconds = round(await play_alone(play), 3)
            progress(f"  {words}: {seconds:.2f} s")
        except (NconnectError, TimeoutError) as error:
            seconds = None
            progress(f"  {words}: {str(error) or 'timeout'}")
        rows.append(Row(words, seconds, "s"))
    return rows


async def play_alone(play: Callable[[Scene], Awaitable[float]]) -> float:
    """In a lab of its own."""
    async with Lab.create() as lab:
        return await play(Scene(await connect(lab, lan=(LAN,)), await Heartbeat.start(lab)))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command.make_parser("failover", __doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which of {' '.join(SCENES)} [default: all]"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(SCENES):
        parser.error(f"there is no {' '.join(sorted(unknown))}; there are {' '.join(SCENES)}")
    options.names = options.names or list(SCENES)
    return options


def main() -> None:
    options = parse()
    command.run("failover", lambda: asyncio.run(measure(options.names)), as_json=options.json)


if __name__ == "__main__":
    main()
