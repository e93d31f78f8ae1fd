"""`allow`, `revoke`, `users` and `policy check` where no gateway runs: what they print and what they keep."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from nconnect.permission.audit import DIRECTORY, Audit
from nconnect.permission.store import FILE_NAME, Store

from .command import Command

ANN, BOB = "0a" * 32, "0b" * 32


def policy(command: Command, text: str) -> Path:
    path = command.config.with_name("policy.toml")
    path.write_text(text)
    path.chmod(0o644)
    return path


def users(command: Command) -> dict[str, dict[str, Any]]:
    listing = json.loads(command.run("users", "--json").stdout)
    assert listing["schema"] == 1
    return {user["key"]: user for user in listing["users"]}


def test_allowed_listed_and_revoked(command: Command) -> None:
    options = ("--to", "192.168.1.20:11434/tcp,fd00::/64", "--rate", "50mbit", "--quota", "100GB")
    answer = command.run("allow", f"x.{ANN.upper()}", "--name", "laptop", "--expires", "7d", *options)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"allowed laptop {ANN}: 192.168.1.20:11434/tcp, fd00::/64; until 2")
    assert answer.stdout.endswith("; at 50mbit; up to 100GB\n")
    user = users(command)[ANN]
    assert (user["name"], user["state"], user["source"]) == ("laptop", "allowed", "allow")
    assert user["to"] == ["192.168.1.20:11434/tcp", "fd00::/64"]
    assert (user["rate"], user["quota"], user["used"]) == (50_000_000, 100_000_000_000, 0)
    assert (user["served"], user["connected"], user["addresses"]) == (False, False, [])
    line = command.run("users").stdout
    assert line.startswith(f"{ANN} laptop allowed; to 192.168.1.20:11434/tcp, fd00::/64; until 2")
    assert "used 0B of 100GB" in line
    assert command.run("revoke", "laptop").stdout == f"revoked laptop {ANN}\n"
    assert users(command) == {}
    answer = command.run("users")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert "nobody is let in" in answer.stderr


def test_a_clock_that_was_ahead_once(command: Command) -> None:
    """Nothing is granted for a time until who knows better says which time is right."""
    ahead = time.time() + 86400
    command.run("allow", ANN, "--name", "laptop", "--expires", "1h")
    with contextlib.closing(sqlite3.connect(command.state / "users.sqlite")) as store, store:
        store.execute("UPDATE clock SET seen = ?", (ahead,))
    answer = command.run("users")
    assert answer.stdout.startswith(f"{ANN} laptop expired; ")
    assert "warning: this machine's clock is 23:59:" in answer.stderr
    assert users(command)[ANN]["state"] == "expired"
    for words in (
        ("allow", BOB, "--expires", "1h"),
        ("invite", "--for", "1h"),
        ("invite", "--expires", "1h"),
    ):
        answer = command.run(*words)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr.startswith(
            "nconnect: nothing can be granted for a time: this machine's clock is "
        )
        assert "nconnect users --trust-clock" in answer.stderr
    assert BOB not in users(command)
    answer = command.run("users", "--trust-clock")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(f"{ANN} laptop allowed; ")
    before = time.time()
    command.run("allow", BOB, "--expires", "1h")
    assert before + 3600 <= users(command)[BOB]["expires"] <= time.time() + 3600


def test_what_was_granted_by_a_clock_that_was_ahead_is_named(command: Command) -> None:
    """Until it is granted anew: an end that was counted from then is years too late."""
    command.run("allow", ANN, "--name", "laptop", "--expires", "1h")
    command.run("allow", BOB, "--expires", "1h")
    command.run("invite", "--once")
    year = 365 * 86400
    with contextlib.closing(sqlite3.connect(command.state / "users.sqlite")) as store, store:
        store.execute("UPDATE clock SET seen = seen + ?", (year,))
        store.execute("UPDATE users SET since = since + ?1, expires = expires + ?1 WHERE name != ''", (year,))
        store.execute("UPDATE invites SET issued = issued + ?", (year,))
    laptop, invite = command.run("users", "--trust-clock").stderr.splitlines()
    assert laptop.startswith(f"nconnect: warning: laptop {ANN} was let in by a clock that was ahead, at 20")
    assert laptop.endswith(f"allow that key anew, or: nconnect revoke {ANN}")
    assert " was made by a clock that was ahead, at 20" in invite
    cancel = invite.rpartition(": nconnect ")[2].split()
    assert command.run(*cancel).returncode == 0
    command.run("allow", ANN, "--expires", "1h")
    assert users(command)[ANN]["expires"] < time.time() + 3700
    assert command.run("users", "--trust-clock").stderr == ""


def test_a_key_that_was_not_allowed_is_revoked_all_the_same(command: Command) -> None:
    answer = command.run("revoke", ANN)
    assert (answer.returncode, answer.stdout) == (
        0,
        f"revoked key {ANN}, which no `nconnect allow` had let in\n",
    )


@pytest.mark.parametrize("name", ["laptop", "a.b@c"])
def test_a_name_that_nobody_has(command: Command, name: str) -> None:
    answer = command.run("revoke", name)
    assert answer.returncode == 2
    assert answer.stderr == (f"nconnect: nobody named '{name}' is allowed; see who is with: nconnect users\n")


def test_who_knocked_is_known_while_no_gateway_runs(command: Command) -> None:
    """As often as the log says, and while they would be refused again."""
    answer = command.run("users", "--pending")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "nobody asks to be let in\n")
    seconds_ago = iter([8 * 86400, 30, 20, 10])
    audit = Audit(command.state / DIRECTORY, print, clock=lambda: time.time() - next(seconds_ago))
    for key in ("cc" * 32, ANN, BOB, ANN):
        audit.record("refused", bytes.fromhex(key), name="a\x1b[2Jlaptop", code=1, reason="not admitted")
    answer = command.run("users", "--pending")
    assert [line[:64] for line in answer.stdout.splitlines()[::2]] == [BOB, ANN]
    assert "calls itself 'a\\x1b[2Jlaptop', asked 2 times" in answer.stdout
    assert f"nconnect allow {ANN}" in answer.stdout
    command.run("allow", ANN)
    [knock] = json.loads(command.run("users", "--pending", "--json").stdout)["pending"]
    assert (knock["key"], knock["count"]) == (BOB, 1)


def test_services_of_the_policy_by_their_names(command: Command) -> None:
    """As they are when the command is typed; other words are told what there is."""
    path = policy(
        command, '[services]\nllm = "192.168.1.20:11434/tcp"\nweb = ["192.168.1.20:80/tcp", "fd00::1"]\n'
    )
    answer = command.run("allow", ANN, "--to", "llm,web", "--to", "10.0.0.0/8")
    assert answer.returncode == 0, answer.stderr
    path.write_text("")
    assert users(command)[ANN]["to"] == [
        "192.168.1.20:11434/tcp",
        "192.168.1.20:80/tcp",
        "fd00::1",
        "10.0.0.0/8",
    ]
    answer = command.run("allow", ANN, "--to", "llm")
    assert answer.returncode == 2
    assert answer.stderr.startswith("nconnect: 'llm' is not a target")
    policy(command, '[services]\nllm = "192.168.1.20:11434/tcp"\n')
    answer = command.run("invite", "--to", "llm,lmm")
    assert answer.returncode == 2
    assert f"or a service of {path}, which has llm" in answer.stderr


def test_a_policy_and_its_words(command: Command) -> None:
    path = policy(command, f'[users]\nann = "{ANN}"\nbob = "{BOB}"\n[[grants]]\nusers = ["ann"]\n')
    answer = command.run("policy", "check", str(path))
    assert answer.returncode == 0
    assert answer.stdout == (f"ann {ANN}: all that is served\nbob {BOB}: nothing: no grant names it\n")
    for words in (("allow", ANN), ("revoke", ANN), ("revoke", "ann")):
        answer = command.run(*words)
        assert answer.returncode == 2
        assert f"{path}:2 names this" in answer.stderr
    listed = users(command)
    assert [listed[key]["state"] for key in (ANN, BOB)] == ["allowed", "nothing granted"]
    assert {user["source"] for user in listed.values()} == {"policy file"}


def test_a_name_of_the_policy_is_no_other_user_s(command: Command) -> None:
    """`revoke ann` would be refused: it is the file's."""
    path = policy(command, f'[users]\nann = "{ANN}"\n')
    for arguments in (("allow", BOB, "--name", "ann"), ("invite", "--name", "ann")):
        answer = command.run(*arguments)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr == f"nconnect: {path}:2 calls another user ann; choose another --name\n"


def test_a_wrong_policy(command: Command) -> None:
    """It is told with its lines; and hinders nobody from revoking."""
    path = policy(command, "[users]\nann = 3\n\nbob = 4\n")
    answer = command.run("policy", "check", str(path))
    assert answer.returncode == 2
    assert [line.partition(": ann")[0].partition(": bob")[0] for line in answer.stderr.splitlines()] == [
        f"nconnect: {path}:2",
        f"{path}:4",
    ]
    answer = command.run("revoke", BOB)
    assert answer.returncode == 0
    assert f"warning: {path}:2" in answer.stderr


def test_a_damaged_store(command: Command) -> None:
    command.run("allow", ANN)
    path = command.state / FILE_NAME
    Store(path).close()
    path.write_bytes(b"x" * 20_000)
    for words in (("allow", BOB), ("revoke", BOB), ("users",)):
        answer = command.run(*words)
        assert answer.returncode == 2
        assert "is not a list of users, or damaged" in answer.stderr
        assert "Traceback" not in answer.stderr
