"""The identity stays in its file: a whole connection, and the seed is in nothing that it prints or shows.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    nconnect up                          nconnect serve
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN_HOST, Lab, Party
from nconnect.tunnel.identity import FILE_NAME

pytestmark = pytest.mark.netns

PARTIES = (Party.USER, Party.PROVIDER)


def spellings(seed: bytes) -> list[bytes]:
    """The seed as it might get somewhere: raw, in hex, and in base64 (without the last digits, whose bits
    depend on what follows), as Python writes bytes.
    """
    hexadecimal = seed.hex().encode()
    encoded = [base64.b64encode(seed)[:40], base64.urlsafe_b64encode(seed)[:40]]
    return [seed, hexadecimal, hexadecimal.upper(), *encoded, repr(seed)[2:-1].encode()]


def of_processes(lab: Lab, party: Party) -> Iterator[tuple[str, bytes]]:
    for pid in lab.process_ids(party):
        for name in ("cmdline", "environ"):
            yield f"{name} of {pid}", Path(f"/proc/{pid}/{name}").read_bytes()


def of_files(directory: Path) -> Iterator[tuple[str, bytes]]:
    """All that is written, logs, journals and databases; not the identity."""
    for path in directory.rglob("*"):
        if path.is_file() and path.name != FILE_NAME:
            yield str(path), path.read_bytes()


async def of_commands(lab: Lab, party: Party) -> list[tuple[str, bytes]]:
    commands = [("id", "--json"), ("-vv", "status", "--json"), ("-vv", "status"), ("cleanup",)]
    if party is Party.PROVIDER:
        commands += [("-vv", "users", "--json"), ("-vv", "log", "--json")]
    answers = [(words, await lab.run_nconnect(party, *words)) for words in commands]
    return [(" ".join(words), (answer.stdout + answer.stderr).encode()) for words, answer in answers]


async def test_the_seed_is_nowhere_but_in_its_file(network: Lab) -> None:
    lab = network
    for party in PARTIES:
        (lab.directory / party / "state").rmdir()  # it makes its own
    key = await steps.public_key(lab, Party.USER)
    serve, address = await steps.start_serve(lab, "-vv", allow=(key,))
    await lab.run_nconnect(Party.USER, "up", "-vv", "-d", "--peer", address)
    await lab.run(Party.USER, ["ping", "-c", "2", "-i", "0.2", LAN_HOST])
    seen: list[tuple[str, bytes]] = []
    seeds = []
    for party in PARTIES:
        state = lab.directory / party / "state"
        assert state.stat().st_mode & 0o777 == 0o700
        open_to_others = [path for path in state.rglob("*") if path.is_file() and path.stat().st_mode & 0o77]
        assert open_to_others == []
        seeds.append(bytes.fromhex((state / FILE_NAME).read_text()))
        seen += [*of_processes(lab, party), *await of_commands(lab, party)]
    await lab.run_nconnect(Party.USER, "down")
    await serve.stop()
    for party in PARTIES:
        seen += of_files(lab.directory / party)
    assert {"up.log", "serve.log"} <= {Path(name).name for name, _ in seen}, "logs are among what is seen"
    assert any(address.encode() in text for name, text in seen if name.startswith("cmdline"))
    found = [name for seed in seeds for word in spellings(seed) for name, text in seen if word in text]
    assert found == []


async def test_an_identity_that_others_may_read_is_refused(network: Lab) -> None:
    await steps.public_key(network, Party.PROVIDER)
    identity = network.directory / Party.PROVIDER / "state" / FILE_NAME
    identity.chmod(0o644)
    for words in (("id",), ("serve", "--lan", "192.168.77.0/24")):
        answer = await network.run_nconnect(Party.PROVIDER, *words, check=False)
        assert answer.returncode == 2
        assert f"chmod 600 {identity}" in answer.stderr
