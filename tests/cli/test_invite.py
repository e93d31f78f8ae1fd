"""`nconnect invite`, without a gateway and without root."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from nconnect.nkn.keys import KeyPair
from nconnect.permission import invites
from nconnect.permission.audit_reader import Entry, Reader
from nconnect.permission.invites import Invite
from nconnect.permission.issued import Invites
from nconnect.permission.store import Store

from .command import Command


@pytest.fixture
def provider(tmp_path: Path) -> Command:
    return Command(tmp_path)


def issue(provider: Command, *options: str) -> tuple[str, Invite]:
    """The string of a new invite, and what it holds."""
    answer = provider.run("invite", *options)
    assert answer.returncode == 0, answer.stderr
    (text,) = answer.stdout.splitlines()
    return text, invites.decode(invites.from_text(text))


def listed(provider: Command) -> list[dict[str, object]]:
    answer = json.loads(provider.run("invite", "--list", "--json").stdout)
    assert answer["schema"] == 1
    result: list[dict[str, object]] = answer["invites"]
    return result


def audited(provider: Command) -> list[Entry]:
    with Reader(provider.state / "audit") as reader:
        return list(reader.entries())


def test_one_string_on_stdout_and_nothing_else(provider: Command) -> None:
    before = time.time()
    text, invite = issue(provider)
    assert provider.run("id").stdout.strip() == invite.provider.hex()
    assert before + 86400 - 1 <= invite.expires <= time.time() + 86400
    assert (invite.once, invite.targets, invite.seconds, invite.rate, invite.quota) == (False, (), 0, 0, 0)
    assert text.isalnum()


@pytest.mark.parametrize("allowed_since", [False, True])
def test_revoked_while_the_invite_is_open(provider: Command, allowed_since: bool) -> None:
    """Whoever has the string comes back by it with another key."""
    text, invite = issue(provider, "--name", "laptop")
    once, _ = issue(provider, "--once", "--name", "phone")
    laptop, phone = (bytes([number]) * 32 for number in (1, 2))
    with Store(provider.state / "users.sqlite") as store:
        records = Invites(store, KeyPair.from_seed(bytes.fromhex((provider.state / "identity").read_text())))
        for string, key in ((text, laptop), (once, phone)):
            records.redeem(invites.from_text(string), key, time.time())
    if allowed_since:
        provider.run("allow", laptop.hex(), "--to", "192.168.1.20")
    assert provider.run("revoke", "laptop").stderr == (
        f"the invite {invite.id} that let them in is still open, to any other key too; "
        f"cancel it: nconnect invite --cancel {invite.id}\n"
    )
    assert provider.run("revoke", "phone").stderr == ""
    provider.run("invite", "--cancel", invite.id)
    provider.run("allow", laptop.hex())
    assert provider.run("revoke", laptop.hex()).stderr == ""


def test_a_service_of_the_policy(provider: Command) -> None:
    """What it is now, so that the string says what it grants."""
    policy = provider.config.with_name("policy.toml")
    policy.write_text('[services]\nllm = ["192.168.1.20:11434/tcp"]\n')
    policy.chmod(0o600)
    _, invite = issue(provider, "--to", "llm")
    assert invite.targets == ("192.168.1.20:11434/tcp",)


def test_all_that_can_be_granted(provider: Command) -> None:
    options = ["--to", "192.168.1.20:11434/tcp,192.168.2.0/24", "--to", "fd00::20", "--expires", "1h"]
    options += ["--for", "7d", "--once", "--name", "laptop", "--rate", "50mbit", "--quota", "100GB"]
    _, invite = issue(provider, *options)
    assert invite.targets == ("192.168.1.20:11434/tcp", "192.168.2.0/24", "fd00::20")
    assert (invite.once, invite.name, invite.seconds) == (True, "laptop", 7 * 86400)
    assert (invite.rate, invite.quota) == (50_000_000, 100_000_000_000)
    assert abs(invite.expires - time.time() - 3600) < 60
    listing = provider.run("invite", "--list").stdout
    grant = "192.168.1.20:11434/tcp, 192.168.2.0/24, fd00::20; at 50mbit; up to 100GB"
    assert listing.startswith(f"{invite.id} laptop open, until ")
    assert listing.endswith(f", for one user: {grant}; for 1w from the first use\n")


def test_hints_are_for_people(provider: Command) -> None:
    answer = provider.run("invite", "--once")
    invite = invites.decode(invites.from_text(answer.stdout.strip()))
    assert "for one user, until " in answer.stderr
    assert "sudo nconnect up --invite -" in answer.stderr
    assert f"nconnect invite --cancel {invite.id}" in answer.stderr
    assert answer.stdout.strip() not in answer.stderr


def test_a_code_for_a_camera(provider: Command) -> None:
    answer = provider.run("invite", "--qr")
    assert len(answer.stdout.splitlines()) == 1
    assert "█" in answer.stderr


def test_the_largest_invite_still_has_a_code(provider: Command) -> None:
    targets = ",".join(
        f"[2001:db8:ffff:ffff:ffff:ffff:ffff:{n:x}]:10000-65535/tcp" for n in range(0xFF00, 0xFF10)
    )
    answer = provider.run("invite", "--qr", "--to", targets, "--name", "n" * 63)
    assert answer.returncode == 0, answer.stderr
    assert "█" in answer.stderr


def test_cancel(provider: Command) -> None:
    _, invite = issue(provider, "--name", "laptop")
    assert [(entry["id"], entry["state"]) for entry in listed(provider)] == [(invite.id, "open")]
    answer = provider.run("invite", "--cancel", invite.id)
    assert (answer.returncode, answer.stdout) == (0, f"{invite.id} is cancelled\n")
    assert [entry["state"] for entry in listed(provider)] == ["cancelled"]
    events = [(entry.event, entry.invite, entry.name) for entry in audited(provider)]
    assert events == [("invited", invite.id, "laptop"), ("cancelled", invite.id, "laptop")]
    answer = provider.run("invite", "--cancel", "0011")
    assert answer.returncode == 2
    assert "no invite '0011'" in answer.stderr


def test_an_expired_one_is_no_longer_listed(provider: Command) -> None:
    issue(provider, "--expires", "1s")
    deadline = time.monotonic() + 10
    while listed(provider):
        assert time.monotonic() < deadline
    assert "no invite is outstanding" in provider.run("invite", "--list").stderr


def test_the_secret_is_nowhere_else(provider: Command) -> None:
    text, _ = issue(provider, "--name", "laptop")
    token = invites.from_text(text)
    answer = provider.run("invite", "--list", "--json")
    assert text not in answer.stdout
    for path in provider.directory.rglob("*"):
        if path.is_file():
            assert text.encode() not in path.read_bytes()
            assert token[-64:] not in path.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "192.168.1.20:80"], "add /tcp or /udp"),
        (["--to", "everything"], "is not a target"),
        (["--expires", "soon"], "is not a duration"),
        (["--for", "0s"], "is not a duration"),
        (["--rate", "fast"], "is not a rate"),
        (["--quota", "-1GB"], "is not a size"),
        (["--name", "a b"], "is not a name"),
        (["--to", ",".join(f"192.168.1.{n}" for n in range(1, 18))], "does not fit into an invite"),
        (["--json"], "--json is for --list"),
        (["--list", "--cancel", "00"], "either --list or --cancel"),
    ],
)
def test_what_cannot_be(provider: Command, options: list[str], message: str) -> None:
    answer = provider.run("invite", *options)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""
