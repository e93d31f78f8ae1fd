"""The real commands in their places: what the demo shows and the end-to-end tests build on."""

from __future__ import annotations

from collections.abc import Sequence

from nconnect.demo.lab import DEVNET_ADDRESS, DEVNET_PORT, LAN, Lab, Party
from nconnect.demo.process import Process
from nconnect.errors import NconnectError
from nconnect.tunnel.status import ServeStatus, Status, UpStatus, decode

# Generous, for a small machine that is busy with other things; a healthy one needs a tenth.
START_SECONDS = 60.0


def devnet_arguments(*, nodes: int = 4) -> tuple[str, ...]:
    """`nconnect devnet` at the address that user and provider know as their network."""
    return ("devnet", "--listen", f"{DEVNET_ADDRESS}:{DEVNET_PORT}", "--nodes", str(nodes))


async def start_devnet(lab: Lab, *more: str, nodes: int = 4) -> Process:
    """`nconnect devnet` in `internet`, with `more` options; returns once clients can join."""
    process = lab.start_nconnect(Party.INTERNET, *devnet_arguments(nodes=nodes), *more)
    await process.wait_for(r"--seed-rpc \S+", START_SECONDS)
    return process


async def public_key(lab: Lab, party: Party) -> str:
    """`nconnect id`: the party's public key in hex, made at first use."""
    return (await lab.run_nconnect(party, "id")).stdout.strip()


async def start_serve(
    lab: Lab, *more: str, lan: Sequence[str] = (LAN,), allow: Sequence[str] = ()
) -> tuple[Process, str]:
    """`nconnect serve` in `provider`; returns its process and address once users can dial it."""
    options = [word for prefix in lan for word in ("--lan", prefix)]
    options += [word for key in allow for word in ("--allow", key)]
    process = lab.start_nconnect(Party.PROVIDER, "serve", *options, *more)
    match = await process.wait_for(r"^serving .* at (\S+)$", START_SECONDS)
    return process, match[1]


async def start_up(lab: Lab, address: str, *more: str) -> Process:
    """`nconnect up` in `user`; returns once it is connected."""
    process = lab.start_nconnect(Party.USER, "up", "--peer", address, *more)
    await process.wait_for("^connected to ", START_SECONDS)
    return process


async def status(lab: Lab, party: Party) -> Status:
    """`nconnect status --json` of the party's only instance."""
    return decode((await lab.run_nconnect(party, "status", "--json", check=False)).stdout.encode())


async def up_status(lab: Lab) -> UpStatus:
    """The user's status."""
    answer = await status(lab, Party.USER)
    if not isinstance(answer, UpStatus):
        raise NconnectError("the user's status is not that of `nconnect up`")
    return answer


async def serve_status(lab: Lab) -> ServeStatus:
    """The provider's status."""
    answer = await status(lab, Party.PROVIDER)
    if not isinstance(answer, ServeStatus):
        raise NconnectError("the provider's status is not that of `nconnect serve`")
    return answer
