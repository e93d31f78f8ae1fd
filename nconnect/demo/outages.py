"""What goes wrong with networks and machines, made to happen in the lab.

Each takes a connected lab, breaks something, mends it where it says so, and returns the moment (seconds of
the monotonic clock) from which traffic could go on again.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable

from nconnect.demo import steps
from nconnect.demo.lab import DEVNET_PORT, Lab, Party
from nconnect.demo.process import Process
from nconnect.demo.tunnel import Tunnel

FILTER = "nconnect_lab"
"""The lab's own table in the namespace of the Internet."""
_INTERNET = {Party.USER: ("198.51.100", "user"), Party.PROVIDER: ("203.0.113", "prov")}
"""Of each, the first bytes of its addresses there, and what the other ends of its interfaces are called."""


async def node_in_use(lab: Lab, use: Awaitable[object]) -> int:
    """The number of the node that carries most for the user while the tunnel is used so.

    Packets of a sparse flow take one way, and the death of another node shows nothing.
    """

    async def carried() -> dict[str, int]:
        return {path.node: path.bytes_in + path.bytes_out for path in (await steps.up_status(lab)).paths}

    before = await carried()
    await use
    after = await carried()
    node = max(before, key=lambda one: after.get(one, 0) - before[one])
    return int(node.rpartition(":")[2]) - DEVNET_PORT - 1


async def kill_node(lab: Lab, index: int, *, silent: bool = False) -> float:
    """One node is gone, from one moment to the next; `silent`: without a reset, as behind a cut cable."""
    port = DEVNET_PORT + 1 + index
    verdict = "drop" if silent else "reject with tcp reset"
    # What the reset itself has to get past.
    said = "" if silent else "tcp flags & rst == 0 "
    rules = f"""\
table inet {FILTER} {{
    chain input {{ type filter hook input priority 0; tcp dport {port} {verdict}; }}
    chain output {{ type filter hook output priority 0; tcp sport {port} {said}drop; }}
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


async def change_address(lab: Lab, number: int = 1, party: Party = Party.USER) -> float:
    """The machine of user or provider changes networks for the `number`-th time (1 to 63).

    It has a new interface with another address, and the old one is gone.
    """
    network, other_end = _INTERNET[party]
    mover, internet = lab.namespace(party), lab.namespace(Party.INTERNET)
    router, address = f"{network}.{4 * number + 1}", f"{network}.{4 * number + 2}"
    old, new, peer = f"wan{number - 1}", f"wan{number}", f"{other_end}{number}"
    for command in (
        f"ip link add {new} netns {mover} type veth peer name {peer} netns {internet}",
        f"ip -n {internet} address add {router}/30 dev {peer}",
        f"ip -n {internet} link set {peer} up",
        f"ip -n {mover} link delete {old}",
        f"ip -n {mover} address add {address}/30 dev {new}",
        f"ip -n {mover} link set {new} up",
        f"ip -n {mover} route add default via {router}",
    ):
        await lab.run(party, ["sh", "-c", command])
    return time.monotonic()


async def suspend(process: Process, seconds: float) -> float:
    """The machine sleeps: its process stands still, and the world goes on."""
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGCONT)
    return time.monotonic()
