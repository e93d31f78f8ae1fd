"""SOCKS5 into the provider's LAN with the real commands, none of which has any privilege.

::

    user ──── internet: nconnect devnet ──── provider ──── lan 192.168.77.20, fd77:77:77::20
    curl                                                   a web server, lan_server.py
    nconnect socks                       nconnect serve --no-tun
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from nconnect.demo import outages, steps
from nconnect.demo.lab import (
    LAN,
    LAN6,
    LAN_HOST,
    LAN_HOST6,
    PROVIDER_LAN_ADDRESS,
    Lab,
    Party,
    nconnect_command,
)
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state
from nconnect.tunnel.status import ServeStatus, SocksStatus

from .timeline import RecordedLab
from .unprivileged import without_privileges

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
PORT = 8000
SIZE = 20_000_000
CHANGE_SECONDS = 8.0
"""For new connections to all nodes and to the provider, on a machine that is busy; a quiet one needs one."""
NAME = "gpu.test"
"""Only the provider knows whose it is."""


@dataclass
class Connected:
    """A user with a proxy, a provider, and a web server in the LAN."""

    lab: Lab
    serve: Process
    socks: Process
    address: str
    before: dict[Party, str]

    async def curl(
        self, url: str, *options: str, check: bool = True, output: Path | None = None
    ) -> tuple[int, bytes]:
        """The real curl, which knows of the proxy from its environment: its exit code, and what it got."""
        output = output or self.lab.directory / Party.USER / "output"
        output.unlink(missing_ok=True)
        result = await self.lab.run(
            Party.USER,
            ["curl", "-sS", "--max-time", "60", "-o", str(output), *options, url],
            env={"ALL_PROXY": "socks5h://127.0.0.1:1080"},
            check=check,
            seconds=90,
        )
        return result.returncode, output.read_bytes() if output.exists() else b""


async def start_serve(lab: Lab, key: str, name: str = "serve") -> tuple[Process, str]:
    hosts = lab.directory / Party.PROVIDER / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{LAN_HOST} {NAME}\n")
    serve = nconnect_command("serve", "--no-tun", "--lan", LAN, "--lan", LAN6, "--allow", key)
    # Where `ip netns exec` puts a process, mounts are its own.
    mount = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
    process = lab.start(Party.PROVIDER, [*mount, *without_privileges(*serve)], name=name)
    match = await process.wait_for(r"^serving .* at (\S+)$", steps.START_SECONDS)
    return process, match[1]


async def start_socks(lab: Lab, address: str) -> Process:
    command = without_privileges(*nconnect_command("socks", "--peer", address))
    process = lab.start(Party.USER, command, name="socks")
    await process.wait_for("^connected to ", steps.START_SECONDS)
    return process


async def start_web(lab: Lab) -> None:
    directory = lab.directory / Party.LAN / "web"
    directory.mkdir()
    (directory / "hello").write_text("hello from the LAN\n")
    (directory / "large").write_bytes(random.Random(20).randbytes(SIZE))
    web = [sys.executable, "-m", "http.server", "--bind", "::", "--directory", str(directory), str(PORT)]
    process = lab.start(Party.LAN, web, name="web")
    await process.wait_for("^Serving HTTP", steps.START_SECONDS)


async def connect(lab: Lab) -> Connected:
    await steps.start_devnet(lab)
    await start_web(lab)
    before = {party: await host_state(lab, party) for party in (Party.USER, Party.PROVIDER)}
    serve, address = await start_serve(lab, await steps.public_key(lab, Party.USER))
    return Connected(lab, serve, await start_socks(lab, address), address, before)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Connected]:
    """One connection for the tests that only use it."""
    async with RecordedLab.create() as lab:
        yield await connect(lab)


@pytest.fixture
async def connected() -> AsyncIterator[Connected]:
    """A connection of one's own, for tests that break it."""
    async with RecordedLab.create() as lab:
        yield await connect(lab)


@pytest.mark.parametrize("host", [LAN_HOST, f"[{LAN_HOST6}]", NAME], ids=["IPv4", "IPv6", "name"])
async def test_curl(shared: Connected, host: str) -> None:
    assert await shared.curl(f"http://{host}:{PORT}/hello") == (0, b"hello from the LAN\n")


async def test_20_megabytes_arrive_whole(shared: Connected) -> None:
    _, content = await shared.curl(f"http://{LAN_HOST}:{PORT}/large")
    assert hashlib.sha256(content).digest() == hashlib.sha256(random.Random(20).randbytes(SIZE)).digest()


async def test_100_at_once(shared: Connected) -> None:
    directory = shared.lab.directory / Party.USER / "parallel"
    options = ["--parallel", "--parallel-immediate", "--parallel-max", "100", "--create-dirs"]
    url = f"http://{LAN_HOST}:{PORT}/hello?[1-100]"
    await shared.curl(url, *options, output=directory / "#1")
    got = [path.read_bytes() for path in directory.iterdir()]
    assert got == [b"hello from the LAN\n"] * 100


async def test_datagrams(shared: Connected) -> None:
    lab = shared.lab
    server = lab.start(Party.LAN, [sys.executable, str(HERE / "lan_server.py")], name="lan_server")
    await server.wait_for("^ready$", steps.START_SECONDS)
    sizes = ["1", "512", "1400", "9000"]
    for host in (LAN_HOST, LAN_HOST6):
        client = [sys.executable, str(HERE / "socks_client.py"), "1080", host, "7004", *sizes]
        assert (await lab.run(Party.USER, client)).stdout.split() == sizes


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", PROVIDER_LAN_ADDRESS, "203.0.113.2", "localhost", "192.0.2.1", "169.254.169.254", "[::1]"],
)
async def test_nothing_but_the_lan(shared: Connected, host: str) -> None:
    """Not the provider itself, and not what only it reaches besides its LAN; port 8000 of itself answers."""
    web = [sys.executable, "-m", "http.server", "--bind", "::", str(PORT)]
    process = shared.lab.start(Party.PROVIDER, web, name="own web")
    await process.wait_for("^Serving HTTP", steps.START_SECONDS)
    code, content = await shared.curl(f"http://{host}:{PORT}/", check=False)
    assert (code, content) == (97, b"")  # CURLE_PROXY
    assert await process.stop()


async def test_status(shared: Connected) -> None:
    user, provider = await steps.status(shared.lab, Party.USER), await steps.serve_status(shared.lab)
    assert isinstance(user, SocksStatus)
    assert (user.state, user.listen, user.networks) == ("connected", "127.0.0.1:1080", [LAN, LAN6])
    assert user.key_exchange_group == "X25519MLKEM768"
    assert isinstance(provider, ServeStatus)
    assert (provider.state, provider.interface, provider.pool) == ("serving", "", [])
    assert [len(provider.users), len(provider.paths)] == [1, 4]
    for party in (Party.USER, Party.PROVIDER):
        assert (await shared.lab.run_nconnect(party, "status")).returncode == 0


async def test_one_link_to_one_provider(shared: Connected) -> None:
    answer = await shared.lab.run_nconnect(Party.USER, "up", "--peer", shared.address, check=False)
    assert answer.returncode == 1
    assert "'socks' is connected to that provider already" in answer.stderr


async def test_a_user_of_packets_is_told(connected: Connected) -> None:
    """`nconnect up` to a provider without a TUN device, and `nconnect socks` to one with it."""
    lab = connected.lab
    await connected.socks.stop()
    answer = await lab.run_nconnect(Party.USER, "up", "--peer", connected.address, check=False)
    assert answer.returncode == 5
    assert "this provider has no TUN device; connect with `nconnect socks` instead" in answer.stderr
    await connected.serve.stop()
    await steps.start_serve(lab, allow=(await steps.public_key(lab, Party.USER),))
    answer = await lab.run_nconnect(Party.USER, "socks", "--peer", connected.address, check=False)
    assert answer.returncode == 5
    assert "this provider carries packets; connect with `nconnect up` instead" in answer.stderr


async def test_down_leaves_nothing(connected: Connected) -> None:
    lab = connected.lab
    for party, name, process in (
        (Party.USER, "socks", connected.socks),
        (Party.PROVIDER, "serve", connected.serve),
    ):
        assert (await lab.run_nconnect(party, "down")).stdout == f"{name} is down\n"
        assert await process.wait(5) == 0
        assert difference(connected.before[party], await host_state(lab, party)) == ""


async def test_a_provider_that_dies_in_the_middle(connected: Connected) -> None:
    """A download breaks off when the silence is noticed, and all works again with a new provider."""
    url = f"http://{LAN_HOST}:{PORT}/large"
    download = asyncio.create_task(connected.curl(url, "--limit-rate", "1M", check=False))
    output = connected.lab.directory / Party.USER / "output"
    async with asyncio.timeout(20):
        while not output.exists() or output.stat().st_size < 1_000_000:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    os.killpg(connected.serve.pid, signal.SIGKILL)
    code, content = await download
    assert code != 0
    assert len(content) < SIZE
    await connected.socks.wait_for("^connection lost", 30)
    key = await steps.public_key(connected.lab, Party.USER)
    await start_serve(connected.lab, key, "serve again")
    await connected.socks.wait_for("(?s)connection lost.*^connected to", 30)
    assert (await connected.curl(f"http://{LAN_HOST}:{PORT}/hello"))[0] == 0


async def test_the_user_changes_networks(connected: Connected) -> None:
    """Nothing is sent meanwhile, so only the kernel can tell; the nodes' silence would in ten seconds."""
    moment = await outages.change_address(connected.lab)
    url = f"http://{LAN_HOST}:{PORT}/hello"
    while (await connected.curl(url, check=False))[0] != 0:
        assert time.monotonic() - moment < CHANGE_SECONDS
    assert time.monotonic() - moment < CHANGE_SECONDS
