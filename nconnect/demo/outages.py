"""What goes wrong with networks and machines, made to happen in the lab.

Each takes a connected lab, breaks something, mends it where it says so, and returns the moment (seconds of
the monotonic clock) from which traffic could go on again.
"""

from __future__ import annotations

import asyncio
import signal
import time

from nconnect.demo.lab import DEVNET_PORT, Lab, Party
from nconnect.demo.process import Process
from nconnect.demo.tunnel import Tunnel

FILTER = "nconnect_lab"
"""The lab's own table in the namespace of the Internet."""


async def kill_node(lab: Lab, index: int, *, silent: bool = False) -> float:
    """One node is gone, from one moment to the next; `silent`: without a reset, as behind a cut cable."""
    port = DEVNET_PORT + 1 + index
    verdict = "drop" if silent else "reject with tcp reset"
    rules = f"""\
table inet {FILTER} {{
    chain input {{ type filter hook input priority 0; tcp dport {port} {verdict}; }}
    chain output {{ type filter hook output priority 0; tcp sport {port} drop; }}
}}
"""
    await lab.run(Party.INTERNET, ["nft", rules])
    return time.monotonic()


async def revive_nodes(lab: Lab) -> float:
    """All nodes that were killed are there again."""
    await lab.run(Party.INTERNET, ["nft", f"delete table inet {FILTER}"])
    return time.monotonic()


async def restart_devnet(tunnel: Tunnel, pause: float) -> float:
    """All nodes and seeds die, and listen again after `pause` seconds."""
    tunnel.devnet.kill()
    await asyncio.sleep(pause)
    await tunnel.start_devnet()
    return time.monotonic()


async def restart_serve(tunnel: Tunnel) -> float:
    """The provider's process is killed, and started again."""
    tunnel.serve.kill()
    await tunnel.start_serve()
    return time.monotonic()


async def change_address(lab: Lab, number: int = 1) -> float:
    """The user's machine changes networks for the `number`-th time (1 to 63).

    It has a new interface with another address, and the old one is gone.
    """
    user, internet = lab.namespace(Party.USER), lab.namespace(Party.INTERNET)
    router, address = f"198.51.100.{4 * number + 1}", f"198.51.100.{4 * number + 2}"
    old, new = f"wan{number - 1}", f"wan{number}"
    for command in (
        f"ip link add {new} netns {user} type veth peer name user{number} netns {internet}",
        f"ip -n {internet} address add {router}/30 dev user{number}",
        f"ip -n {internet} link set user{number} up",
        f"ip -n {user} link delete {old}",
        f"ip -n {user} address add {address}/30 dev {new}",
        f"ip -n {user} link set {new} up",
        f"ip -n {user} route add default via {router}",
    ):
        await lab.run(Party.USER, ["sh", "-c", command])
    return time.monotonic()


async def suspend(process: Process, seconds: float) -> float:
    """The machine sleeps: its process stands still, and the world goes on."""
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGCONT)
    return time.monotonic()
