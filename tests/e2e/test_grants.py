"""Who may in, to what, and how long, with the real commands: allow, revoke, users, a knock, the policy file.

::

    user ──── internet: nconnect devnet ──── provider ──── lan 192.168.77.20, fd77:77:77::20
    nconnect up --wait                   nconnect serve    lan_server.py
                                         nconnect allow, revoke, users
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN6, LAN_HOST, LAN_HOST6, Lab, Party, nconnect_command
from nconnect.demo.process import Process

from .conftest import status_says

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
DIGEST, SOURCE, ECHO = 7001, 7002, 7003
# From when the command returned to the last answer: it returns when nothing passes any more, but the client
# may be slow to see what came before. (Python needs 0.2 s to start, seconds where the machine is busy.)
CUT_SECONDS = 0.2
WATCHED_SECONDS = 1.5
# Nothing passes a second after a revoke, whatever had queued.
QUEUE_SECONDS = 1.0
OTHER = "11" * 32
# So little that a busy machine carries more.
RATE_MBITS = 2
# Neighbour discovery, and what comes while a counter is read.
FEW_BYTES = 2000
ANSWER = re.compile(r"^answer (\S+)$", re.MULTILINE)


@pytest.fixture
async def serving(network: Lab) -> tuple[Lab, str, str]:
    """The lab with a provider that lets nobody in; the user's key, and the provider's address."""
    server = network.start(Party.LAN, [sys.executable, str(HERE / "lan_server.py")], name="lan_server")
    await server.wait_for("^ready$", steps.START_SECONDS)
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, lan=(LAN, LAN6))
    return network, key, address


Serving = tuple[Lab, str, str]


async def provider(lab: Lab, *words: str) -> str:
    """A command of the provider's, which works; what it printed."""
    return (await lab.run_nconnect(Party.PROVIDER, *words)).stdout


async def refused(lab: Lab, *words: str) -> str:
    """A command of the provider's that is wrong; what it said."""
    answer = await lab.run_nconnect(Party.PROVIDER, *words, check=False)
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stderr


async def users(lab: Lab) -> dict[str, Any]:
    listing = json.loads(await provider(lab, "users", "--json"))
    return {user["key"]: user for user in listing["users"]}


async def reaches(lab: Lab, host: str, port: int) -> bool:
    """Whether the user's machine can connect."""
    code = f"import socket; socket.create_connection(({host!r}, {port}), 2)"
    return (await lab.run(Party.USER, [sys.executable, "-c", code], check=False)).returncode == 0


async def pings(lab: Lab, host: str) -> bool:
    return (await lab.run(Party.USER, ["ping", "-c", "1", "-W", "1", host], check=False)).returncode == 0


def start_echo(lab: Lab, *more: str) -> Process:
    """One connection to the echo server, which is asked all the time."""
    command = [sys.executable, str(HERE / "echo_client.py"), LAN_HOST, *more]
    return lab.start(Party.USER, command, name="echo")


async def cut_after(lab: Lab, echo: Process, *words: str) -> float:
    """Seconds from when a command of the provider's returned to the last answer that the user got."""
    begun = time.time()
    await provider(lab, *words)
    ended = time.time()
    await asyncio.sleep(WATCHED_SECONDS)
    seconds = max(map(float, ANSWER.findall(echo.output()))) - ended
    print(f"the last answer {seconds:.3f} s after the command, which took {ended - begun:.3f} s")
    return seconds


async def test_to_what_was_granted_and_nothing_else(serving: Serving) -> None:
    lab, key, address = serving
    targets = ("--to", f"{LAN_HOST}:{ECHO}/tcp", "--to", f"[{LAN_HOST6}]:{DIGEST}/tcp")
    assert "allowed laptop" in await provider(lab, "allow", key, "--name", "laptop", *targets)
    await steps.start_up(lab, address)
    assert await reaches(lab, LAN_HOST, ECHO)
    assert not await reaches(lab, LAN_HOST, DIGEST)
    assert await reaches(lab, LAN_HOST6, DIGEST)
    assert not await reaches(lab, LAN_HOST6, ECHO)
    assert not await pings(lab, LAN_HOST)
    user = (await users(lab))[key]
    assert (user["name"], user["state"], user["connected"]) == ("laptop", "allowed", True)
    assert user["to"] == [f"{LAN_HOST}:{ECHO}/tcp", f"[{LAN_HOST6}]:{DIGEST}/tcp"]
    # Another grant, while connected: more, then less.
    echo = start_echo(lab)
    await echo.wait_for("^answer", 10)
    await provider(lab, "allow", key)
    assert await reaches(lab, LAN_HOST, DIGEST)
    assert await pings(lab, LAN_HOST)
    assert echo.returncode is None
    assert await cut_after(lab, echo, "allow", key, "--to", f"{LAN_HOST}/icmp") < CUT_SECONDS
    assert await pings(lab, LAN_HOST)
    assert not await reaches(lab, LAN_HOST, DIGEST)


async def test_revoked_while_a_connection_is_open(serving: Serving) -> None:
    lab, key, address = serving
    await provider(lab, "allow", key, "--name", "laptop")
    up = await steps.start_up(lab, address)
    echo = start_echo(lab)
    await echo.wait_for("^answer", 10)
    assert await cut_after(lab, echo, "revoke", "laptop") < CUT_SECONDS
    assert await up.wait(10) == 5
    assert "the provider has revoked your access" in up.output()
    assert await users(lab) == {}
    again = await lab.run_nconnect(Party.USER, "up", "--peer", address, check=False)
    assert again.returncode == 5
    assert "revoked" in again.stderr
    await provider(lab, "allow", key)
    await steps.start_up(lab, address)


UPLOAD = """
import socket
s = socket.create_connection(({host!r}, {port}), 5)
block = bytes(1 << 20)
while True: s.sendall(block)
"""
DOWNLOAD = """
import socket
s = socket.create_connection(({host!r}, {port}), 5)
s.sendall(b"100000000000 1\\n")
while s.recv(1 << 20): pass
"""


async def counter(lab: Lab, party: Party, name: str, link: str) -> int:
    path = f"/sys/class/net/{link}/statistics/{name}"
    return int((await lab.run(party, ["cat", path])).stdout)


@pytest.mark.parametrize(
    ("code", "port", "party", "name"),
    [(UPLOAD, DIGEST, Party.LAN, "rx_bytes"), (DOWNLOAD, SOURCE, Party.PROVIDER, "tx_bytes")],
    ids=["upload", "download"],
)
async def test_revoked_in_the_middle_of_a_transfer(
    serving: Serving, code: str, port: int, party: Party, name: str
) -> None:
    """At full speed: what reaches the LAN, and what the kernel hands back for the user, is nothing then."""
    lab, key, address = serving
    link = "nc-serve" if party is Party.PROVIDER else "eth0"
    await provider(lab, "allow", key, "--name", "laptop")
    up = await steps.start_up(lab, address)
    program = code.format(host=LAN_HOST, port=port)
    lab.start(Party.USER, [sys.executable, "-c", program], name="transfer")
    begun = await counter(lab, party, name, link)
    await asyncio.sleep(3)
    before = await counter(lab, party, name, link)
    assert before - begun > 1_000_000
    await provider(lab, "revoke", "laptop")
    if party is Party.PROVIDER:
        # A TUN interface counts what is read from its queue. What was in there is read, and thrown away.
        await asyncio.sleep(QUEUE_SECONDS)
    after = await counter(lab, party, name, link)
    await asyncio.sleep(2)
    late = await counter(lab, party, name, link) - after
    print(f"{(before - begun) * 8 / 3e6:.0f} Mbit/s before, {late} bytes in the 2 s after")
    assert late < FEW_BYTES
    assert await up.wait(10) == 5


async def mbits(lab: Lab, seconds: float) -> list[float]:
    """Of what comes out of the tunnel on the LAN, and at the user, in so many seconds from now on."""
    ends = (Party.LAN, "eth0"), (Party.USER, "nc-up")

    async def read() -> list[tuple[float, int]]:
        return [(time.monotonic(), await counter(lab, party, "rx_bytes", link)) for party, link in ends]

    before = await read()
    await asyncio.sleep(seconds)
    after = await read()
    pairs = zip(before, after, strict=True)
    found = [(last - first) * 8e-6 / (end - begun) for (begun, first), (end, last) in pairs]
    print(f"Mbit/s up and down: {found}")
    return found


async def test_a_rate_holds_in_both_directions(serving: Serving) -> None:
    """Both at once; from the next packet on, also for connections that were faster before."""
    lab, key, address = serving
    await provider(lab, "allow", key)
    await steps.start_up(lab, address)
    for code, port in ((UPLOAD, DIGEST), (DOWNLOAD, SOURCE)):
        program = code.format(host=LAN_HOST, port=port)
        lab.start(Party.USER, [sys.executable, "-c", program], name="transfer")
    await asyncio.sleep(1)
    assert min(await mbits(lab, 2)) > 1.5 * RATE_MBITS
    await provider(lab, "allow", key, "--rate", f"{RATE_MBITS}mbit")
    # A second's worth passes at once, and the senders have to notice.
    await asyncio.sleep(2)
    for found in await mbits(lab, 4):
        assert RATE_MBITS / 5 < found < RATE_MBITS * 1.3


async def test_it_expires(serving: Serving) -> None:
    lab, key, address = serving
    await provider(lab, "allow", key, "--expires", "12s")
    up = await steps.start_up(lab, address)
    assert await reaches(lab, LAN_HOST, ECHO)
    assert await up.wait(20) == 5
    assert "what you were granted has expired" in up.output()
    assert (await users(lab))[key]["state"] == "expired"


async def test_a_quota_is_used_up_and_remembered(serving: Serving) -> None:
    lab, key, address = serving
    await provider(lab, "allow", key, "--quota", "3MB")
    up = await steps.start_up(lab, address)
    code = (
        f"import socket; s = socket.create_connection(({LAN_HOST!r}, {SOURCE}), 5); s.settimeout(5)\n"
        "s.sendall(b'50000000 1\\n'); n = 0\n"
        "while c := s.recv(1 << 16): n += len(c)\n"
    )
    download = lab.start(Party.USER, [sys.executable, "-c", code], name="download")
    assert await up.wait(20) == 5
    assert "your quota of 3MB is used up" in up.output()
    assert await download.wait(20) != 0
    await lab.run_nconnect(Party.PROVIDER, "down")
    user = (await users(lab))[key]
    assert user["state"] == "used up"
    assert user["used"] >= 3_000_000
    await steps.start_serve(lab, lan=(LAN, LAN6))
    answer = await lab.run_nconnect(Party.USER, "up", "--peer", address, check=False)
    assert (answer.returncode, "is used up" in answer.stderr) == (5, True)
    await provider(lab, "allow", key, "--quota", "100MB")
    await steps.start_up(lab, address)


async def test_a_knock_and_who_waits(serving: Serving) -> None:
    """The provider sees who asks and how to let them in; the user, who waits, then connects by itself."""
    lab, key, address = serving
    up = lab.start_nconnect(Party.USER, "up", "--peer", address, "--wait")
    await up.wait_for(f"not admitted yet; your key is {key}", steps.START_SECONDS)
    await status_says(lab, r"refused for \d+ s: .*not admitted yet.*")
    pending = await provider(lab, "users", "--pending")
    assert key in pending
    # Whoever comes to look while the provider is off still sees who asked.
    await provider(lab, "down")
    assert key in await provider(lab, "users", "--pending")
    await steps.start_serve(lab, lan=(LAN, LAN6))
    assert key in await provider(lab, "users", "--pending")
    command = re.search(r"to let it in: (nconnect allow .*)", pending)
    assert command is not None
    [knock] = json.loads(await provider(lab, "users", "--pending", "--json"))["pending"]
    assert knock["key"] == key
    await provider(lab, *command[1].split()[1:])
    await up.wait_for("^connected to ", 30)
    assert await pings(lab, LAN_HOST)
    assert json.loads(await provider(lab, "users", "--pending", "--json"))["pending"] == []
    # It goes on waiting when it is cut off, and comes back.
    await provider(lab, "revoke", key)
    await up.wait_for("connection lost.*revoked", 10)
    await status_says(lab, r"refused for \d+ s: .*revoked.*")
    await provider(lab, "allow", key)
    await up.wait_for("(?s)connection lost.*^connected to ", 30)


async def test_commands_without_a_gateway(network: Lab) -> None:
    """What is granted while it is off holds once it runs."""
    key = await steps.public_key(network, Party.USER)
    await provider(network, "allow", f"laptop.{key}", "--name", "laptop", "--to", f"{LAN_HOST}/icmp")
    assert list(await users(network)) == [key]
    assert "nobody named 'desktop'" in await refused(network, "revoke", "desktop")
    assert "laptop is" in await refused(network, "allow", OTHER, "--name", "laptop")
    assert "'192.168.77.20:80' is not a target" in await refused(
        network, "allow", OTHER, "--to", "192.168.77.20:80"
    )
    _, address = await steps.start_serve(network)
    await steps.start_up(network, address)
    assert await pings(network, LAN_HOST)


async def test_the_policy_file(serving: Serving) -> None:
    lab, key, address = serving
    policy = Path(lab.environment(Party.PROVIDER)["NCONNECT_CONFIG"]).with_name("policy.toml")
    policy.parent.mkdir(parents=True, exist_ok=True)
    right = (
        f'[services]\necho = "{LAN_HOST}:{ECHO}/tcp"\n\n[users]\nann = "{key}"\n\n'
        '[[grants]]\nusers = ["ann"]\nto = ["echo"]\n'
    )
    policy.write_text(right.replace('to = ["echo"]', 'to = ["eko"]'))
    policy.chmod(0o600)
    said = await refused(lab, "policy", "check", str(policy))
    assert f"{policy}:9: there is no 'eko' under [services]" in said
    policy.write_text(right)
    assert f"ann {key}: {LAN_HOST}:{ECHO}/tcp" in await provider(lab, "policy", "check", str(policy))
    serve = lab.process_ids(Party.PROVIDER)
    assert len(serve) == 1
    await lab.run(Party.PROVIDER, ["kill", "-HUP", str(serve[0])])
    up = await steps.start_up(lab, address)
    assert await reaches(lab, LAN_HOST, ECHO)
    assert not await reaches(lab, LAN_HOST, DIGEST)
    # The file decides of whom it names, the commands of others; both say so.
    for words in (("allow", key), ("revoke", key), ("revoke", "ann")):
        assert f"{policy}:5 names this" in await refused(lab, *words)
    await provider(lab, "allow", OTHER)
    assert {user["source"] for user in (await users(lab)).values()} == {"policy file", "allow"}
    # Read again: who stays allowed keeps the connection.
    echo = start_echo(lab)
    await echo.wait_for("^answer", 10)
    policy.write_text(right + f'[[grants]]\nusers = ["ann"]\nto = ["{LAN_HOST}:{DIGEST}/tcp"]\n')
    await lab.run(Party.PROVIDER, ["kill", "-HUP", str(serve[0])])
    async with asyncio.timeout(5):
        while not await reaches(lab, LAN_HOST, DIGEST):
            pass
    assert echo.returncode is None
    policy.write_text("# nobody\n")
    await lab.run(Party.PROVIDER, ["kill", "-HUP", str(serve[0])])
    assert await up.wait(10) == 5
    assert (await lab.run_nconnect(Party.PROVIDER, "status")).returncode == 0


async def test_without_a_tun_device(network: Lab) -> None:
    """The same rules where the provider makes the connections itself."""
    server = network.start(Party.LAN, [sys.executable, str(HERE / "lan_server.py")], name="lan_server")
    await server.wait_for("^ready$", steps.START_SECONDS)
    key = await steps.public_key(network, Party.USER)
    await provider(network, "allow", key, "--name", "ann", "--to", f"{LAN_HOST}:{ECHO}/tcp")
    serve = network.start(
        Party.PROVIDER, nconnect_command("serve", "--no-tun", "--lan", LAN, "--lan", LAN6), name="serve"
    )
    address = (await serve.wait_for(r"^serving .* at (\S+)$", steps.START_SECONDS))[1]
    socks = network.start_nconnect(Party.USER, "socks", "--peer", address)
    await socks.wait_for("^connected to ", steps.START_SECONDS)
    echo = start_echo(network, "1080")
    await echo.wait_for("^answer", 10)
    for host, port, code in ((LAN_HOST, ECHO, 28), (LAN_HOST, DIGEST, 97), ("127.0.0.1", ECHO, 97)):
        curl = ["curl", "-sS", "-m", "1", "-x", "socks5h://127.0.0.1:1080", f"telnet://{host}:{port}"]
        assert (await network.run(Party.USER, curl, check=False)).returncode == code
    # A grant that no longer names it ends the connection, another one is not touched.
    targets = ("--to", f"{LAN_HOST}:{ECHO}/tcp", "--to", f"{LAN_HOST}:{DIGEST}/tcp")
    await provider(network, "allow", key, *targets)
    assert echo.returncode is None
    assert await cut_after(network, echo, "allow", key, *targets[2:]) < CUT_SECONDS
    await provider(network, "allow", key)
    echo = start_echo(network, "1080")
    await echo.wait_for("^answer", 10)
    assert await cut_after(network, echo, "revoke", "ann") < CUT_SECONDS
    assert await socks.wait(10) == 5
    assert "revoked" in socks.output()


async def test_a_hangup_without_a_policy(serving: Serving) -> None:
    """SIGHUP is no reason to stop, where there is no terminal that could have gone."""
    lab, _, _ = serving
    [pid] = lab.process_ids(Party.PROVIDER)
    await lab.run(Party.PROVIDER, ["kill", f"-{signal.SIGHUP.name}", str(pid)])
    await asyncio.sleep(0.5)
    assert (await lab.run_nconnect(Party.PROVIDER, "status")).returncode == 0
