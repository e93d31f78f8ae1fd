"""`nconnect log`: what the audit holds, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from nconnect.host.grants import Target
from nconnect.permission.audit import DIRECTORY, Audit, Event
from nconnect.permission.grants import Grant

from .command import Command

ANN, BOB, EVE = (bytes([number]) * 32 for number in (1, 2, 3))
NOW = 1_700_000_000.0
GRANT = Grant((Target(ip_network("192.168.1.20/32"), "tcp", (80, 80)),), NOW + 86400, 50_000_000, 10**11)


@pytest.fixture
def provider(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def audit(provider: Command) -> Audit:
    """Ann came and went, Eve was refused and called herself Ann's name."""

    def warn(line: str) -> None:
        pytest.fail(line)

    provider.state.mkdir()
    audit = Audit(provider.state / DIRECTORY, warn, clock=lambda: NOW)
    audit.record(Event.INVITED, name="laptop", invite="0011", grant=GRANT)
    audit.record(
        Event.ADMITTED, ANN, name="laptop", addresses=["100.64.0.2"], grant=GRANT, source="invite:0011"
    )
    audit.record(Event.LEFT, ANN, name="laptop", seconds=12.4, bytes_in=1_000_000, bytes_out=5)
    audit.record(Event.ALLOWED, BOB, name="desk", grant=Grant())
    audit.record(Event.REFUSED, EVE, name="laptop\x1b[31m\nfake", reason="this key is not admitted")
    return audit


def test_for_people(provider: Command, audit: Audit) -> None:
    answer = provider.run("log")
    assert answer.returncode == 0
    grant = "192.168.1.20:80/tcp; until 2023-11-15 22:13 UTC; at 50mbit; up to 100GB"
    assert answer.stdout.splitlines() == [
        f"2023-11-14 22:13:20 invited   laptop: invite 0011; {grant}",
        f"2023-11-14 22:13:20 admitted  laptop {ANN.hex()} 100.64.0.2: {grant}; by invite:0011",
        f"2023-11-14 22:13:20 left      laptop {ANN.hex()}: 1,000,000 bytes in, 5 out; 12 s",
        f"2023-11-14 22:13:20 allowed   desk {BOB.hex()}: all that is served",
        f"2023-11-14 22:13:20 refused   (laptop?[31m?fake) {EVE.hex()}: this key is not admitted",
    ]


def test_for_programs(provider: Command, audit: Audit) -> None:
    answer = provider.run("log", "--json")
    entries = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [entry["event"] for entry in entries] == ["invited", "admitted", "left", "allowed", "refused"]
    assert {entry["schema"] for entry in entries} == {1}
    assert entries[2]["bytes_in"] == 1_000_000
    assert "\x1b" not in answer.stdout


@pytest.mark.parametrize(
    ("user", "events"),
    [
        ("laptop", ["invited", "admitted", "left"]),
        (ANN.hex(), ["admitted", "left"]),
        (EVE.hex().upper(), ["refused"]),
        ("nobody", []),
    ],
)
def test_one_user(provider: Command, audit: Audit, user: str, events: list[str]) -> None:
    answer = provider.run("log", "--user", user)
    assert [line.split()[2] for line in answer.stdout.splitlines()] == events


def test_all_that_is_served_beside_a_target(provider: Command, audit: Audit) -> None:
    audit.record(Event.CHANGED, BOB, name="desk", grant=Grant(GRANT.targets, served=True))
    line = provider.run("log", "--user", "desk").stdout.splitlines()[-1]
    assert line.endswith(f"changed   desk {BOB.hex()}: all that is served, 192.168.1.20:80/tcp")
    entry = json.loads(provider.run("log", "--user", "desk", "--json").stdout.splitlines()[-1])
    assert entry["grant"] == {"targets": ["192.168.1.20:80/tcp"], "served": True}


def test_what_a_user_calls_itself_is_nobody_s_name(provider: Command, audit: Audit) -> None:
    """Eve was admitted without a name, and calls herself Ann's."""
    audit.record(Event.ADMITTED, EVE, name="(laptop)", grant=Grant(), source="allow")
    assert EVE.hex() not in provider.run("log", "--user", "laptop").stdout
    answer = provider.run("log", "--user", "(laptop)")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "'(laptop)' is not a name for a user" in answer.stderr
    lines = provider.run("log", "--user", EVE.hex()).stdout.splitlines()
    assert f"2023-11-14 22:13:20 admitted  (laptop) {EVE.hex()}: all that is served; by allow" in lines


def test_since(provider: Command, audit: Audit) -> None:
    recent = Audit(provider.state / DIRECTORY, pytest.fail, clock=lambda: time.time() - 1800)
    recent.record(Event.ADMITTED, BOB, name="desk")
    lines = provider.run("log", "--since", "1h", "--user", "desk").stdout.splitlines()
    assert len(lines) == 1
    answer = provider.run("log", "--since", "yesterday")
    assert answer.returncode == 2
    assert "is not a duration" in answer.stderr


def test_nothing_yet(provider: Command) -> None:
    answer = provider.run("log")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_what_commands_did(provider: Command) -> None:
    provider.run("allow", BOB.hex(), "--name", "desk", "--to", "192.168.1.20", "--expires", "1h")
    provider.run("revoke", "desk")
    provider.run("revoke", EVE.hex())
    lines = [line[20:] for line in provider.run("log").stdout.splitlines()]
    assert [line.split(":")[0] for line in lines] == [
        f"allowed   desk {BOB.hex()}",
        f"revoked   desk {BOB.hex()}",
        f"revoked   {EVE.hex()}",
    ]
    assert lines[0].split(": ", 1)[1].startswith("192.168.1.20; until ")


def test_follow(provider: Command, audit: Audit) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "nconnect", "log", "--follow", "--user", "desk"],
        env=provider.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert "allowed" in process.stdout.readline()
        audit.record(Event.REVOKED, BOB, name="desk")
        assert "revoked" in process.stdout.readline()
        process.send_signal(2)
        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == ""
