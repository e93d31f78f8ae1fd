"""`nconnect tunnel` with the real commands at both ends, none of which has any privilege.

::

    user ──── internet: nconnect devnet ──── provider ──── lan 192.168.77.20
    curl, lan_client.py                                    a web server, lan_server.py
    nconnect tunnel --from 127.0.0.1:P       nconnect tunnel --from nkn --to 192.168.77.20:P
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN_HOST, Lab, Party, nconnect_command
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state
from nconnect.tunnel.status import TunnelStatus

from .unprivileged import without_privileges

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
SIZE = 20_000_000


async def start(lab: Lab, party: Party, *options: str, name: str = "tunnel") -> tuple[Process, str]:
    """One end, once it is ready, and the NKN address that it names."""
    command = without_privileges(*nconnect_command("tunnel", *options, "--name", name))
    process = lab.start(party, command, name=name)
    match = await process.wait_for(r"^forwarding .*?(\S+\.[0-9a-f]{64})", steps.START_SECONDS)
    return process, match[1]


async def start_lan_server(lab: Lab) -> None:
    server = lab.start(Party.LAN, [sys.executable, str(HERE / "lan_server.py")], name="lan_server")
    await server.wait_for("^ready$", steps.START_SECONDS)


async def test_a_web_server_at_home(network: Lab) -> None:
    """curl against a port of its own machine; 20 MB; status; and down, after which all is as before."""
    lab = network
    directory = lab.directory / Party.LAN / "web"
    directory.mkdir()
    (directory / "large").write_bytes(random.Random(20).randbytes(SIZE))
    web = [sys.executable, "-m", "http.server", "--directory", str(directory), "8000"]
    await lab.start(Party.LAN, web, name="web").wait_for("^Serving HTTP", steps.START_SECONDS)
    before = {party: await host_state(lab, party) for party in (Party.USER, Party.PROVIDER)}

    key = await steps.public_key(lab, Party.USER)
    exit_options = ("--from", "nkn", "--to", f"{LAN_HOST}:8000", "--accept", key)
    exit, address = await start(lab, Party.PROVIDER, *exit_options)
    entry, _ = await start(lab, Party.USER, "--from", "127.0.0.1:8081", "--to", address)

    output = lab.directory / Party.USER / "large"
    url = "http://127.0.0.1:8081/large"
    await lab.run(Party.USER, ["curl", "-sS", "--max-time", "60", "-o", str(output), url])
    digest = hashlib.sha256(output.read_bytes()).digest()
    assert digest == hashlib.sha256(random.Random(20).randbytes(SIZE)).digest()

    for party in (Party.USER, Party.PROVIDER):
        status = await steps.status(lab, party)
        assert isinstance(status, TunnelStatus)
        assert (status.state, status.connections, status.failures) == ("serving", 0, 0)
        assert max(status.bytes_in, status.bytes_out) >= SIZE
        assert (await lab.run_nconnect(party, "down")).stdout == "tunnel is down\n"
    for party, process in ((Party.USER, entry), (Party.PROVIDER, exit)):
        assert await process.wait(5) == 0
        assert difference(before[party], await host_state(lab, party)) == ""


async def test_tcp_and_udp(network: Lab) -> None:
    """100 connections at once, and datagrams of all sizes."""
    lab = network
    await start_lan_server(lab)
    key = await steps.public_key(lab, Party.USER)
    for port in ("7003", "7004"):
        options = ("--to", f"{LAN_HOST}:{port}", "--accept", key, "--udp", "--identifier", f"port{port}")
        _, address = await start(lab, Party.PROVIDER, *options, name=f"exit{port}")
        await start(
            lab, Party.USER, "--from", f"127.0.0.1:{port}", "--to", address, "--udp", name=f"entry{port}"
        )
    client = [sys.executable, str(HERE / "lan_client.py")]
    talk = await lab.run(Party.USER, [*client, "talk", "127.0.0.1", "100"])
    assert talk.stdout.strip() == "100"
    sizes = ["1", "512", "1400", "9000", "65000"]
    datagrams = await lab.run(Party.USER, [*client, "datagrams", "127.0.0.1", *sizes])
    assert datagrams.stdout.split() == sizes


async def test_an_address_that_is_taken(network: Lab) -> None:
    """Two tunnels of one key have different addresses; the same one cannot be asked for twice."""
    options = ("--to", f"{LAN_HOST}:8000", "--accept", "11" * 32)
    addresses = {(await start(network, Party.PROVIDER, *options, name=name))[1] for name in ("a", "b")}
    assert len(addresses) == 2
    command = ("tunnel", *options, "--name", "c", "--identifier", "a")
    answer = await network.run_nconnect(Party.PROVIDER, *command, check=False)
    assert answer.returncode == 1
    assert "'a' is at a." in answer.stderr
    assert "choose another --identifier" in answer.stderr


async def test_nobody_by_default(network: Lab) -> None:
    command = ("tunnel", "--from", "nkn", "--to", f"{LAN_HOST}:8000")
    answer = await network.run_nconnect(Party.PROVIDER, *command, check=False)
    assert answer.returncode == 2
    assert "nobody is let in by default" in answer.stderr


async def test_a_pattern_that_a_stranger_could_match_is_told_of(network: Lab) -> None:
    pattern = r"^alice\..*$"
    exit, _ = await start(network, Party.PROVIDER, "--to", f"{LAN_HOST}:8000", "--accept", pattern)
    assert r"warning: --accept ^(?:alice\..*)$ does not end with one key" in exit.output()
