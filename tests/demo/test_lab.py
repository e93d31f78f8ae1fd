"""The lab: who reaches whom, and nothing left of it however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nconnect.demo import lab as lab_module
from nconnect.demo.lab import (
    DEVNET_ADDRESS,
    LABS_DIRECTORY,
    LAN_HOST,
    LAN_HOST6,
    MAX_LABS,
    Lab,
    Party,
    lab_identifiers,
    remove_labs,
)
from nconnect.demo.namespaces import NAMESPACES
from nconnect.demo.snapshot import difference, host_state
from nconnect.errors import NconnectError, PrivilegeError, UsageError

pytestmark = pytest.mark.netns


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.create() as lab:
        yield lab


def namespaces(identifier: str) -> list[Path]:
    return sorted(NAMESPACES.glob(f"nc-{identifier}-*"))


def gone(pid: int) -> bool:
    """It ended; a zombie waits for init to take it away."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().split()[2] == "Z"


def crash() -> str:
    """Make a lab in another process, which is then killed; returns the lab's identifier."""
    script = (
        "import os, signal\n"
        "from nconnect.demo.lab import Lab, Party\n"
        "lab = Lab.create()\n"
        "lab.start(Party.LAN, ['sleep', '60'])\n"
        "print(lab.identifier, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    crashed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert crashed.returncode == -signal.SIGKILL, crashed.stderr
    return crashed.stdout.strip()


async def reaches(lab: Lab, party: Party, address: str) -> bool:
    ping = await lab.run(party, ["ping", "-c1", "-W0.3", address], check=False)
    return ping.returncode == 0


async def test_only_the_provider_reaches_the_lan(lab: Lab) -> None:
    for address in (LAN_HOST, LAN_HOST6):
        assert await reaches(lab, Party.PROVIDER, address)
        assert not await reaches(lab, Party.USER, address)
        assert not await reaches(lab, Party.INTERNET, address)


async def test_user_and_provider_reach_the_devnet_and_not_each_other(lab: Lab) -> None:
    assert await reaches(lab, Party.USER, DEVNET_ADDRESS)
    assert await reaches(lab, Party.PROVIDER, DEVNET_ADDRESS)
    assert not await reaches(lab, Party.LAN, DEVNET_ADDRESS)
    assert not await reaches(lab, Party.USER, "203.0.113.2")


async def test_nothing_is_left_after_close() -> None:
    async with Lab.create() as lab:
        process = lab.start(Party.USER, ["sh", "-c", "echo here; exec sleep 60"])
        await process.wait_for("here", 10)
        assert lab.process_ids(Party.USER) == [process.pid]
        assert len(namespaces(lab.identifier)) == len(Party)
    assert process.returncode == -signal.SIGTERM
    assert not namespaces(lab.identifier)
    assert lab.identifier not in lab_identifiers()
    assert not lab.directory.exists()


async def test_a_background_process_does_not_survive_the_lab() -> None:
    async with Lab.create() as lab:
        await lab.run(Party.USER, ["sh", "-c", "sleep 60 >/dev/null 2>&1 &"])
        (pid,) = lab.process_ids(Party.USER)
    assert gone(pid)


async def test_a_lab_whose_process_was_killed_is_removed_by_the_next() -> None:
    identifier = crash()
    assert namespaces(identifier)
    async with Lab.create() as lab:
        assert lab.identifier != identifier
        assert not namespaces(identifier)
        assert not (LABS_DIRECTORY / identifier).exists()


async def test_a_kept_lab_stays_until_it_is_removed_on_purpose() -> None:
    async with Lab.create() as lab:
        process = lab.start(Party.USER, ["sleep", "60"])
        lab.keep()
    async with Lab.create():
        assert process.returncode is None
        assert namespaces(lab.identifier)
    assert lab.identifier in remove_labs(kept=True)
    assert await process.wait(5) == -signal.SIGKILL
    assert not namespaces(lab.identifier)


async def test_labs_do_not_disturb_each_other(lab: Lab) -> None:
    async with Lab.create() as other:
        assert other.identifier != lab.identifier
        assert not {lab.identifier, other.identifier} & set(remove_labs())
        assert await reaches(lab, Party.PROVIDER, LAN_HOST)
    assert await reaches(lab, Party.PROVIDER, LAN_HOST)


def test_labs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_module, "lab_identifiers", lambda: ["0000"] * MAX_LABS)
    monkeypatch.setattr(lab_module, "remove_labs", list)
    with pytest.raises(UsageError, match="nconnect demo --remove"):
        Lab.create()


def test_a_lab_that_cannot_be_made_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nconnect.demo.lab.secrets.token_hex", lambda size: "beef")
    monkeypatch.setitem(lab_module.ADDRESSES, Party.LAN, "link set nonsense up\n")
    with pytest.raises(NconnectError, match="nonsense"):
        Lab.create()
    assert not namespaces("beef")
    assert "beef" not in lab_identifiers()


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PrivilegeError, match="sudo"):
        Lab.create()


async def test_a_failed_command_shows_what_it_said(lab: Lab) -> None:
    with pytest.raises(NconnectError, match=r"exit code 1 in user(.|\n)*No such file"):
        await lab.run(Party.USER, ["cat", "missing"])


async def test_a_command_that_hangs_is_ended(lab: Lab) -> None:
    with pytest.raises(NconnectError, match=r"not done after 0\.1 s"):
        await lab.run(Party.USER, ["sleep", "60"], seconds=0.1)
    assert lab.process_ids(Party.USER) == []


def test_the_parties_have_directories_of_their_own_and_no_proxy(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://192.0.2.9:1")
    monkeypatch.setenv("NCONNECT_STATE_DIR", "/nowhere")
    user, provider = lab.environment(Party.USER), lab.environment(Party.PROVIDER)
    assert "https_proxy" not in user
    for name in ("NCONNECT_STATE_DIR", "NCONNECT_RUNTIME_DIR", "NCONNECT_CONFIG"):
        assert Path(user[name]).exists()
        assert user[name] != provider[name]


async def test_a_change_of_the_host_is_seen_and_its_undoing_too(lab: Lab) -> None:
    before = await host_state(lab, Party.USER)
    assert await host_state(lab, Party.USER) == before
    for change, undo, shown in (
        ("ip address add 10.9.9.9/32 dev lo", "ip address delete 10.9.9.9/32 dev lo", "10.9.9.9"),
        ("ip route add 10.9.9.0/24 dev wan0 table 99", "ip route flush table 99", "table 99"),
        ("ip rule add fwmark 7 table 99", "ip rule delete fwmark 7 table 99", "0x7"),
        ("nft add table inet other", "nft delete table inet other", "table inet other"),
        ("echo 1 >/proc/sys/net/ipv4/ip_forward", "echo 0 >/proc/sys/net/ipv4/ip_forward", "ip_forward:1"),
    ):
        await lab.run(Party.USER, ["sh", "-c", change])
        after = await host_state(lab, Party.USER)
        assert shown in difference(before, after)
        await lab.run(Party.USER, ["sh", "-c", undo])
        assert difference(before, await host_state(lab, Party.USER)) == ""
