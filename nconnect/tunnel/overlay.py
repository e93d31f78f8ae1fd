"""The overlay link: its name, its MTU, what this side's kernel can do with it, and how it stays in place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Never

from nconnect.errors import NconnectError
from nconnect.host.events import NetworkEvents, SleepWatch
from nconnect.host.firewall import LINK_PREFIX
from nconnect.host.nftevents import FirewallEvents
from nconnect.host.state import HostManager
from nconnect.host.tun import Offload, Tun, TunDevice
from nconnect.nkn.multiclient import MultiClient
from nconnect.tunnel.control import CAPABILITY_USO

OVERLAY_MTU = 1500
"""Bytes of an IP packet on the overlay link. Super-packets make the size of single ones irrelevant for speed,
and what comes from a LAN of 1500 goes on without a fragment."""

HOST_CHECK_INTERVAL = 10.0
"""Seconds between looks at what others did to our changes and no event tells of (`HostManager.refresh`)."""

HOST_LOOK_INTERVAL = 60.0
"""Seconds between looks at everything, the networks of this machine and its resolv.conf included, if no event
and no failure asks for one before. Some 10 ms each, 70 where a hundred users share two cores."""


def link_name(instance: str) -> str:
    """The TUN device of an instance."""
    return LINK_PREFIX + instance


def open_host(journal: Path, instance: str, say: Callable[[str], None]) -> tuple[HostManager, Tun]:
    """What the instance needs of this machine: its journal, and its TUN device.

    Raises:
        AlreadyRunningError, HostError, PrivilegeError: one cannot be had; nothing is left of either.
    """
    host = HostManager(journal)
    for line in host.recovered:
        say(f"left by a crash: {line}")
    try:
        return host, Tun.open(link_name(instance))
    except BaseException:
        host.undo(keep_closed=True)  # what an instance that crashed had closed
        raise


def close_host(
    host: HostManager, tun: TunDevice, say: Callable[[str], None], *, keep_closed: bool = False
) -> None:
    """Put this machine back as it was, and say what could not be; with `keep_closed` a kill switch stays."""
    closed = host.closed if keep_closed else []
    for line in host.undo(keep_closed=keep_closed):
        say(f"warning: {line}")
    tun.close()
    if closed:
        name = tun.name.removeprefix(LINK_PREFIX)
        say(
            f"kill switch: {', '.join(closed)} unreachable until `nconnect up --name {name}` "
            f"or `nconnect down {name}`"
        )


def capabilities(tun: TunDevice) -> frozenset[str]:
    """What to tell the peer of this side's kernel."""
    return frozenset({CAPABILITY_USO}) if tun.offloads & Offload.USO4 else frozenset()


async def keep(
    host: HostManager,
    client: MultiClient,
    say: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
    check: Callable[[], None] = lambda: None,
) -> Never:
    """Follow what happens to this machine, until cancelled.

    Networks come and go, it sleeps, and programs remove our changes to it, which are put back. `look` looks
    at more then, and `check` each time at that of which no event tells.
    """
    loop = asyncio.get_running_loop()
    happened, changed = asyncio.Event(), asyncio.Event()
    due = loop.time()

    def on_change() -> None:
        changed.set()
        happened.set()

    watches = (NetworkEvents(on_change), FirewallEvents(happened.set), SleepWatch(client.on_wake))
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HOST_CHECK_INTERVAL):
                    await happened.wait()
            if changed.is_set():
                changed.clear()
                client.on_network_change()
            everything = happened.is_set() or loop.time() >= due
            happened.clear()
            try:
                if everything:
                    due = loop.time()  # at the next check again, should it fail
                    look()
                check()
                for line in host.refresh(unannounced=not everything):
                    say(f"warning: {line}")
                if everything:
                    due += HOST_LOOK_INTERVAL
            except NconnectError as error:
                say(f"warning: {error}")
    finally:
        for watch in watches:
            watch.close()
