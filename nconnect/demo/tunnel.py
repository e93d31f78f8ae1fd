"""A user connected to a provider in the lab, by the real commands, and how both machines were before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN6, Lab, Party
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state


@dataclass
class Tunnel:
    """What runs, and what it was started with; who starts one of the processes anew puts it in its place."""

    lab: Lab
    devnet: Process
    serve: Process
    up: Process
    key: str
    """The user's public key."""
    address: str
    """The provider's."""
    before: dict[Party, str]
    """The host state of user and provider from before their commands started."""
    lan: Sequence[str] = (LAN, LAN6)
    """The networks that are served."""
    network: Sequence[str] = ()
    """Options of the devnet."""
    nodes: int = 4

    async def start_devnet(self) -> Process:
        """The devnet's command once more, as it was started before."""
        self.devnet = await steps.start_devnet(self.lab, *self.network, nodes=self.nodes)
        return self.devnet

    async def start_serve(self) -> Process:
        """The provider's command."""
        self.serve, self.address = await steps.start_serve(self.lab, lan=self.lan, allow=(self.key,))
        return self.serve

    async def start_up(self) -> Process:
        """The user's command."""
        self.up = await steps.start_up(self.lab, self.address)
        return self.up

    async def changes(self, party: Party) -> str:
        """What differs now from before, as a diff; empty once all is undone."""
        return difference(self.before[party], await host_state(self.lab, party))


async def connect(lab: Lab, *network: str, nodes: int = 4, lan: Sequence[str] = (LAN, LAN6)) -> Tunnel:
    """Start everything, and return once the user is connected; `network` are options of the devnet.

    Each path has a node of its own, so that what happens to a node happens to one path: where addresses
    decide, as on a real network, all four paths may lead through one of four nodes.
    """
    keys = {party: await steps.public_key(lab, party) for party in (Party.USER, Party.PROVIDER)}
    spread = ",".join(map(str, range(nodes)))
    options = (*network, *(word for key in keys.values() for word in ("--place", f"{key}:{spread}")))
    devnet = await steps.start_devnet(lab, *options, nodes=nodes)
    before = {party: await host_state(lab, party) for party in keys}
    key = keys[Party.USER]
    serve, address = await steps.start_serve(lab, lan=lan, allow=(key,))
    up = await steps.start_up(lab, address)
    return Tunnel(lab, devnet, serve, up, key, address, before, lan, options, nodes)
