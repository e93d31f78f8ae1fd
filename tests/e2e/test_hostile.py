"""Users and providers who want more than was agreed on, and networks that fail.

Each gets one clear line and the right exit code, leaves nothing behind, and costs the others nothing.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    nconnect up     nconnect up              nconnect serve
                    (a second user)

Exit codes: 0 ok, 1 failure, 2 usage, 3 not running, 4 degraded, 5 denied, 77 not privileged.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from nconnect.demo import steps
from nconnect.demo.lab import (
    DEVNET_ADDRESS,
    LAN,
    LAN6,
    LAN_HOST,
    LAN_HOST6,
    PROVIDER_LAN_ADDRESS,
    PROVIDER_LAN_ADDRESS6,
    Lab,
    Party,
    nconnect_command,
)
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state
from nconnect.nkn.keys import KeyPair
from nconnect.tunnel.link import DIAL_TIMEOUT, SILENCE_TIMEOUT
from nconnect.tunnel.status import UpStatus

from .conftest import Tunnel
from .timeline import RecordedLab

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
PROVIDER_WAN_ADDRESS = "203.0.113.2"
OPEN, CLOSED = 9009, 9010
NOBODY = "d0fa84240cea3ddfd165f11298b300d2856987ee58a61e2303c41d5d3ddbfd82"
NOBODY2 = "017e75a2e5263a9f2a4619630261e0d2bc9a44f21e8e63f79e92c648a73856a6"
SETTLED = 20.0
"""Seconds for what takes two, on a machine that is busy."""


def script(name: str, *words: str) -> list[str]:
    return [sys.executable, str(HERE / name), *words]


def check_failure(answer: subprocess.CompletedProcess[str], code: int, pattern: str) -> None:
    """One line (or two) of ours, and nothing else."""
    assert answer.returncode == code, answer.stderr
    assert "Traceback" not in answer.stderr
    assert "internal error" not in answer.stderr
    assert 1 <= len(answer.stderr.splitlines()) <= 2, answer.stderr
    assert answer.stderr.startswith("nconnect: "), answer.stderr
    assert re.search(pattern, answer.stderr), answer.stderr


async def ping(lab: Lab, host: str = LAN_HOST, party: Party = Party.USER, *more: str) -> bool:
    command = ["ping", "-c", "2", "-i", "0.2", "-W", "2", *more, host]
    return (await lab.run(party, command, check=False)).returncode == 0


async def probe(lab: Lab, party: Party, link: str, host: str, *ports: int) -> list[str]:
    result = await lab.run(party, script("intruder.py", "probe", link, host, *map(str, ports)))
    return result.stdout.split()


async def forge(lab: Lab, source: str, destination: str) -> None:
    await lab.run(Party.USER, script("intruder.py", "forge", "nc-up", source, destination))


async def start_listener(lab: Lab, party: Party) -> Process:
    process = lab.start(party, script("intruder.py", "listen", str(OPEN)), name="intruder")
    await process.wait_for("^ready$", SETTLED)
    return process


async def eventually(lab: Lab, party: Party, state: str, seconds: float) -> int:
    """Wait until `nconnect status` tells this state; its exit code."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await lab.run_nconnect(party, "status", "--json", check=False)
            if f'"state":"{state}"' in answer.stdout:
                return answer.returncode
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two_users() -> AsyncIterator[Tunnel]:
    """A provider with two users, in `user` and in `internet`; and something that listens on each machine."""
    async with RecordedLab.create() as lab:
        devnet = await steps.start_devnet(lab)
        before = {party: await host_state(lab, party) for party in Party}
        keys = [await steps.public_key(lab, party) for party in (Party.USER, Party.INTERNET)]
        serve, address = await steps.start_serve(lab, lan=(LAN, LAN6), allow=keys)
        up = await steps.start_up(lab, address)
        second = lab.start_nconnect(Party.INTERNET, "up", "--peer", address)
        await second.wait_for("^connected to ", steps.START_SECONDS)
        for party in Party:
            await start_listener(lab, party)
        yield Tunnel(lab, devnet, serve, up, keys[0], address, before)


# --- a user ---


async def test_what_a_user_reaches(two_users: Tunnel) -> None:
    """The served networks, and nothing else of the provider's machine or behind it."""
    lab = two_users.lab
    up = await steps.up_status(lab)
    reachable = [LAN_HOST, LAN_HOST6]
    unreachable = [
        PROVIDER_LAN_ADDRESS,
        PROVIDER_LAN_ADDRESS6,
        PROVIDER_WAN_ADDRESS,
        *up.gateways,
        DEVNET_ADDRESS,
        "169.254.169.254",
    ]
    found = await asyncio.gather(
        *(probe(lab, Party.USER, up.interface, host, OPEN, CLOSED) for host in (*reachable, *unreachable))
    )
    hosts = (*reachable, *unreachable)
    expected = [["open", "refused"]] * len(reachable) + [["refused", "refused"]] * len(unreachable)
    assert dict(zip(hosts, found, strict=True)) == dict(zip(hosts, expected, strict=True))


async def test_users_do_not_reach_each_other(two_users: Tunnel) -> None:
    lab = two_users.lab
    second = await steps.status(lab, Party.INTERNET)
    assert isinstance(second, UpStatus)
    for address in second.addresses:
        # Their own machine sends nothing there that it has no route for.
        await lab.run(Party.USER, ["ip", "route", "add", address, "dev", "nc-up"])
        assert await probe(lab, Party.USER, "nc-up", address, OPEN, CLOSED) == ["refused", "refused"]
        assert not await ping(lab, address, Party.USER, "-I", "nc-up")
    assert await ping(lab)
    assert await ping(lab, LAN_HOST, Party.INTERNET)


async def test_a_source_that_was_not_leased(two_users: Tunnel) -> None:
    """Of the other user, of a LAN host, of the gateway, of nobody: the provider counts and drops it."""
    lab = two_users.lab
    up, before = await steps.up_status(lab), await steps.serve_status(lab)
    (other,) = [user.addresses for user in before.users if user.key != two_users.key]
    forged = [
        (other[0], LAN_HOST),
        (other[1], LAN_HOST6),
        (LAN_HOST, LAN_HOST),
        (up.gateways[0], LAN_HOST),
        (PROVIDER_LAN_ADDRESS, LAN_HOST),
        ("8.8.8.8", LAN_HOST),
    ]
    for source, destination in forged:
        await forge(lab, source, destination)
    async with asyncio.timeout(SETTLED):
        while True:
            after = await steps.serve_status(lab)
            dropped = after.packets["dropped_source"] - before.packets["dropped_source"]
            if dropped == 5 * len(forged):
                break
            assert dropped < 5 * len(forged)
    assert await ping(lab)
    assert await ping(lab, LAN_HOST, Party.INTERNET)


# --- a provider ---


async def test_a_provider_opens_nothing_on_the_user_s_machine(two_users: Tunnel) -> None:
    lab = two_users.lab
    up = await steps.up_status(lab)
    found = await asyncio.gather(
        *(probe(lab, Party.PROVIDER, "nc-serve", host, OPEN, CLOSED) for host in up.addresses)
    )
    assert found == [["nothing", "nothing"]] * 2
    listener = next(p for p in lab.processes if p.name == "intruder" and "/user/" in str(p.log))
    assert "came" not in listener.output()
    assert await ping(lab)


# --- a second start ---


async def test_a_second_start(two_users: Tunnel) -> None:
    """Of the same name, and of another name to the same provider; the first does not even notice."""
    lab = two_users.lab
    lines = two_users.up.output(), two_users.serve.output()
    same_name = lab.run_nconnect(Party.USER, "up", "--peer", NOBODY, check=False)
    same_peer = lab.run_nconnect(Party.USER, "up", "--name", "more", "--peer", two_users.address, check=False)
    same_serve = lab.run_nconnect(Party.PROVIDER, "serve", "--lan", LAN, check=False)
    other_serve = lab.run_nconnect(Party.PROVIDER, "serve", "--name", "two", "--lan", LAN, check=False)
    answers = await asyncio.gather(same_name, same_peer, same_serve, other_serve)
    check_failure(answers[0], 1, r"'up' runs already; stop it with `nconnect down up`")
    check_failure(answers[1], 1, "'up' is connected to that provider already")
    for answer in answers[2:]:
        check_failure(answer, 1, "this identity serves already")
    assert await ping(lab)
    assert (two_users.up.output(), two_users.serve.output()) == lines


async def test_a_peer_that_is_not_there(two_users: Tunnel) -> None:
    """In the foreground, and on the way to the background, from where the error comes back."""
    lab = two_users.lab
    before, start = await host_state(lab, Party.USER), time.monotonic()
    answers = await asyncio.gather(
        lab.run_nconnect(Party.USER, "up", "--name", "absent", "--peer", NOBODY, check=False),
        lab.run_nconnect(Party.USER, "up", "-d", "--name", "absent2", "--peer", NOBODY2, check=False),
    )
    for answer, peer in zip(answers, (NOBODY, NOBODY2), strict=True):
        check_failure(answer, 1, f"{peer} did not answer in {DIAL_TIMEOUT:g} s over 4 paths: is it running")
    assert time.monotonic() - start < DIAL_TIMEOUT + SETTLED
    assert difference(before, await host_state(lab, Party.USER)) == ""
    assert (await lab.run_nconnect(Party.USER, "status", "absent2", check=False)).returncode == 3
    assert await ping(lab)


# --- a network that is not one ---


async def test_seeds_that_are_none(lab: Lab) -> None:
    """Nobody listens there; or something does that is no NKN node."""
    bad = lab.start(Party.INTERNET, script("bad_seed.py", DEVNET_ADDRESS, "30099"), name="bad_seed")
    await bad.wait_for("^ready$", SETTLED)
    before = {party: await host_state(lab, party) for party in (Party.USER, Party.PROVIDER)}
    seed = f"http://{DEVNET_ADDRESS}:30099"
    expected = {
        f"http://{DEVNET_ADDRESS}:9/": "no seed answered getwsaddr: .*onnect",
        f"{seed}/binary": "no seed answered getwsaddr",
        f"{seed}/nothing": "no seed answered getwsaddr",
        f"{seed}/html": "the answer is not JSON",
        f"{seed}/error": "HTTP status 500",
        f"{seed}/redirect": "HTTP status 302",
        f"{seed}/shape": "cannot join the NKN network: ",
        f"{seed}/refusal": "RPC error -42002: no",
        f"{seed}/deep": "the answer is not JSON",
        f"{seed}/cut": "no seed answered getwsaddr",
        f"{seed}/dead-node": "node 192.0.2.1:9",
    }
    for party in before:
        await steps.public_key(lab, party)  # made once, not by all of them at once

    async def start(number: int, url: str) -> subprocess.CompletedProcess[str]:
        options = ("--name", f"bad{number}", "--seed-rpc", url)
        if number % 2:
            # One identity serves once at a time.
            env = {"NCONNECT_STATE_DIR": str(lab.directory / Party.PROVIDER / f"state{number}")}
            # Of several gateways each would find the others' forwarding on, so one is enough.
            kind = () if number == 1 else ("--no-tun",)
            command = nconnect_command("serve", *kind, "--lan", LAN, *options)
            return await lab.run(Party.PROVIDER, command, env=env, check=False)
        # Another provider for each: a second way to one is refused, and that is another test.
        peer = KeyPair.from_seed(bytes([number]) * 32).public_key.hex()
        return await lab.run_nconnect(Party.USER, "up", "--peer", peer, *options, check=False)

    for url, answer in zip(
        expected,
        await asyncio.gather(*(start(number, url) for number, url in enumerate(expected))),
        strict=True,
    ):
        check_failure(answer, 1, expected[url])
        assert "\x1b" not in answer.stderr
    for party, state in before.items():
        assert difference(state, await host_state(lab, party)) == ""


async def test_a_network_that_goes_while_we_dial(network: Lab) -> None:
    before = await host_state(network, Party.USER)
    up = network.start_nconnect(Party.USER, "up", "--peer", NOBODY)
    await eventually(network, Party.USER, "connecting", SETTLED)
    async with asyncio.timeout(SETTLED):
        while not any(path.state == "ready" for path in (await steps.up_status(network)).paths):
            pass
    next(process for process in network.processes if process.name == "devnet").kill()
    assert await up.wait(DIAL_TIMEOUT + SETTLED) == 1
    lines = up.output().splitlines()
    assert len(lines) == 1
    assert re.match(
        rf"nconnect: (cannot dial {NOBODY}: no seed answered|{NOBODY} did not answer in )", lines[0]
    )
    assert difference(before, await host_state(network, Party.USER)) == ""


async def test_a_network_that_goes_and_comes_back(tunnel: Tunnel) -> None:
    """Both sides say so, try again by themselves, and go on as before; nothing is started again."""
    lab = tunnel.lab
    tunnel.devnet.kill()
    assert await eventually(lab, Party.USER, "reconnecting", SETTLED) == 4
    assert await eventually(lab, Party.PROVIDER, "reconnecting", SETTLED) == 4
    await tunnel.up.wait_for("^connection lost", SILENCE_TIMEOUT + SETTLED)
    assert (await steps.up_status(lab)).state == "reconnecting"
    assert tunnel.up.output().splitlines()[1:] == [
        f"connection lost (no sign of life from the peer for {SILENCE_TIMEOUT:.0f} seconds); dialling again"
    ]
    assert not await ping(lab)
    await steps.start_devnet(lab)
    assert await eventually(lab, Party.USER, "connected", 60) == 0
    assert await eventually(lab, Party.PROVIDER, "serving", SETTLED) == 0
    assert await ping(lab)
    assert tunnel.up.output().splitlines()[-1].startswith("connected to ")
    for party, process in ((Party.USER, tunnel.up), (Party.PROVIDER, tunnel.serve)):
        assert await process.stop() == 0
        assert await tunnel.changes(party) == ""


# --- a machine that is not ready ---


async def test_a_lan_that_is_not_there(lab: Lab) -> None:
    before = await host_state(lab, Party.PROVIDER)
    answer = await lab.run_nconnect(Party.PROVIDER, "serve", "--lan", "10.9.8.0/24", check=False)
    check_failure(answer, 2, r"10\.9\.8\.0/24: this machine is not connected to it and has no route to it")
    assert "192.168.77.0/24 (lan0)" in answer.stderr
    assert difference(before, await host_state(lab, Party.PROVIDER)) == ""
    assert (await lab.run_nconnect(Party.PROVIDER, "cleanup")).stdout == "nothing was left behind\n"


async def test_an_interface_that_is_somebody_s(lab: Lab) -> None:
    """nc-up and nc-serve exist already, made by who knows whom: they stay, and nothing else is there."""
    for party, words in ((Party.USER, ("up", "--peer", NOBODY)), (Party.PROVIDER, ("serve", "--lan", LAN))):
        link = f"nc-{words[0]}"
        await lab.run(party, ["ip", "link", "add", link, "type", "veth", "peer", "name", "other"])
        before = await host_state(lab, party)
        answer = await lab.run_nconnect(party, *words, check=False)
        check_failure(answer, 1, f"interface {link} exists already")
        assert difference(before, await host_state(lab, party)) == ""
        assert (await lab.run_nconnect(party, "cleanup")).stdout == "nothing was left behind\n"


FILL = """\
mount -t tmpfs -o size=64k tmpfs "$NCONNECT_STATE_DIR"
[ -z "$1" ] || printf "%s\\n" "$1" >"$NCONNECT_STATE_DIR/identity"
[ -z "$1" ] || chmod 600 "$NCONNECT_STATE_DIR/identity"
dd if=/dev/zero of="$NCONNECT_STATE_DIR/fill" 2>/dev/null
shift
exec "$@"
"""


@pytest.mark.parametrize("party", [Party.USER, Party.PROVIDER])
async def test_a_state_directory_without_room(network: Lab, party: Party) -> None:
    """No room for the identity; or, with one, no room for the journal: then nothing may be changed."""
    words = ["up", "--peer", NOBODY] if party is Party.USER else ["serve", "--lan", LAN]
    before = await host_state(network, party)
    # `ip netns exec` gives each command mounts of its own, so the full disk goes with it.
    for identity, pattern in (
        ("", "cannot write .*identity: No space"),
        ("77" * 32, "no room for the journal|users.sqlite: database or disk is full"),
    ):
        command = ["sh", "-c", FILL, "sh", identity, *nconnect_command(*words)]
        check_failure(await network.run(party, command, check=False), 1, pattern)
        assert difference(before, await host_state(network, party)) == ""
