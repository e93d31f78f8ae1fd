"""A torn journal, a full disk, a second instance: a clear word, nothing half done, nothing left behind.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    nconnect up                          nconnect serve
    its state on a disk of 256 KiB       its state on a disk of 256 KiB
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN_HOST, Lab, Party
from nconnect.demo.snapshot import difference, host_state
from nconnect.host.journal import boot_id

from .conftest import Tunnel, connect

pytestmark = pytest.mark.netns

DISK = 256 << 10
SIDES = pytest.mark.parametrize("party", [Party.USER, Party.PROVIDER])
BUSY = 4
NOTICED = 2.0 * BUSY


def journal(lab: Lab, party: Party) -> Path:
    name = "up" if party == Party.USER else "serve"
    return lab.directory / party / "state/journal" / f"{name}.journal"


async def ping(tunnel: Tunnel) -> bool:
    command = ["ping", "-c", "3", "-i", "0.2", "-W", "1", LAN_HOST]
    return (await tunnel.lab.run(Party.USER, command, check=False)).returncode == 0


# What a power cut leaves of a line that was being written: a part of it, or zeros (ext4 after a crash).
@SIDES
@pytest.mark.parametrize("torn", [b'{"change":"route","link":"nc-', bytes(512)], ids=["cut off", "zeros"])
async def test_a_torn_journal(tunnel: Tunnel, party: Party, torn: bytes) -> None:
    """What was written before the last line is undone, and a change of the last line was never made."""
    process = tunnel.up if party == Party.USER else tunnel.serve
    process.kill()
    with journal(tunnel.lab, party).open("ab") as file:
        file.write(torn)
    assert await tunnel.changes(party) != ""
    answer = await tunnel.lab.run_nconnect(party, "cleanup")
    assert f"undone: nftables table inet nconnect_{process.name}" in answer.stdout
    assert f"undone: link nc-{process.name} up" not in answer.stdout, "the link goes with its process"
    assert await tunnel.changes(party) == ""
    assert (await tunnel.lab.run_nconnect(party, "cleanup")).stdout == "nothing was left behind\n"


@SIDES
async def test_a_journal_from_before_a_power_cut(tunnel: Tunnel, party: Party) -> None:
    """The machine has started again since, and knows nothing of the changes: only the file goes."""
    process = tunnel.up if party == Party.USER else tunnel.serve
    file = journal(tunnel.lab, party)
    old = file.read_bytes()
    assert await process.stop() == 0
    file.write_bytes(old.replace(boot_id().encode(), b"11111111-2222-3333-4444-555555555555"))
    answer = await tunnel.lab.run_nconnect(party, "cleanup")
    assert "ended with the machine's last run, and its changes with it" in answer.stdout
    assert not file.exists()
    assert await tunnel.changes(party) == ""


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of its own in the place of an empty directory."""
    options = f"size={DISK},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "nconnect-test", directory], check=True)
    try:
        yield
    finally:
        # Lazily: processes have been killed a moment ago.
        subprocess.run(["umount", "--lazy", directory], check=True)


def fill(directory: Path) -> None:
    """Until not one byte more fits."""
    with directory.joinpath("filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.fixture
async def small_disks(lab: Lab) -> AsyncIterator[Lab]:
    with contextlib.ExitStack() as stack:
        for party in (Party.USER, Party.PROVIDER):
            stack.enter_context(small_disk(lab.directory / party / "state"))
        yield lab
        for process in lab.processes:
            process.kill()


async def test_a_disk_that_is_full_at_the_start(small_disks: Lab) -> None:
    lab = small_disks
    key = await steps.public_key(lab, Party.USER)
    provider_key = await steps.public_key(lab, Party.PROVIDER)
    commands = {
        Party.USER: ("up", "--peer", provider_key),
        Party.PROVIDER: ("serve", "--lan", LAN, "--allow", key),
    }
    for party, command in commands.items():
        fill(lab.directory / party / "state")
        before = await host_state(lab, party)
        answer = await lab.run_nconnect(party, *command, check=False)
        assert answer.returncode == 1
        said = answer.stderr.strip().splitlines()
        assert len(said) <= 2, answer.stderr
        assert "no room" in answer.stderr or "disk is full" in answer.stderr
        assert difference(before, await host_state(lab, party)) == ""


async def test_a_disk_that_fills_up_meanwhile(small_disks: Lab) -> None:
    """What holds goes on, what others remove is put back, and all is undone at the end."""
    tunnel = await connect(small_disks)
    lab = tunnel.lab
    for party in (Party.USER, Party.PROVIDER):
        fill(lab.directory / party / "state")
    await lab.run(Party.USER, ["ip", "-4", "rule", "delete", "priority", "5200"])
    await tunnel.up.wait_for("somebody removed our IPv4 rule", NOTICED)
    await lab.run(Party.PROVIDER, ["nft", "flush", "ruleset"])
    await tunnel.serve.wait_for("somebody removed our nftables table; it is in place again", NOTICED)
    assert await ping(tunnel)
    for party, process in ((Party.USER, tunnel.up), (Party.PROVIDER, tunnel.serve)):
        assert await process.stop() == 0, process.output()
        assert "Traceback" not in process.output()
        assert await tunnel.changes(party) == ""


@SIDES
async def test_a_second_instance(tunnel: Tunnel, party: Party) -> None:
    """It is told what runs, and disturbs it in nothing."""
    before = await host_state(tunnel.lab, party)
    command = ("up", "--peer", tunnel.address) if party == Party.USER else ("serve", "--lan", LAN)
    for more in ((), ("--name", "other")):
        answer = await tunnel.lab.run_nconnect(party, *command, *more, check=False)
        assert answer.returncode != 0
        assert len(answer.stderr.strip().splitlines()) <= 2
        assert "already" in answer.stderr
    assert difference(before, await host_state(tunnel.lab, party)) == ""
    assert await ping(tunnel)
