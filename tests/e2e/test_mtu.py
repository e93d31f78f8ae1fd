"""Packets that are too big for what is behind the provider, fragments, and errors that come back.

::

    user ──── internet: nconnect devnet ──── provider ──── lan ──── far host
    nconnect up                          nconnect serve        ^ one link of 1280 bytes, or a VPN of that size
    lan_client.py, path_client.py                                   lan_server.py

`behind.py` draws what is behind the provider.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN6, LAN_HOST, LAN_HOST6, Lab, Party
from nconnect.demo.process import Process
from nconnect.errors import NconnectError
from tests.host.namespaces import Netns

from .behind import FAR, FAR6, FAR_HOST, FAR_HOST6, SMALL, Behind
from .test_traffic import sha256

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
SIZE = 3 << 20
SEED = 1280
HEADERS = {4: 40, 6: 60}
"""Of IP and TCP."""
TIMESTAMPS = 12
BOTH = pytest.mark.parametrize(("version", "host"), [(4, FAR_HOST), (6, FAR_HOST6)], ids=["IPv4", "IPv6"])
LOST_SECONDS = 4.0
"""Long enough for a transfer that goes on to be over several times."""


@pytest.fixture
def behind(network: Lab) -> Iterator[Behind]:
    made = Behind(network)
    yield made
    made.close()


async def connect(lab: Lab, *options: str) -> Process:
    """The user connected to a provider that serves the far network too; the provider's process."""
    key = await steps.public_key(lab, Party.USER)
    serve, address = await steps.start_serve(lab, *options, lan=(LAN, LAN6, FAR, FAR6), allow=(key,))
    await steps.start_up(lab, address)
    return serve


async def client(lab: Lab, program: str, *words: object, seconds: float = 60.0) -> str:
    command = [sys.executable, str(HERE / program), *map(str, words)]
    return (await lab.run(Party.USER, command, seconds=seconds)).stdout.strip()


async def transfer_both_ways(lab: Lab, host: str) -> None:
    for direction in ("upload", "download"):
        digest = await client(lab, "lan_client.py", direction, host, SIZE, SEED)
        assert digest == sha256(SIZE, SEED), direction


class TestASmallLinkBehindTheLan:
    """Whose router tells of packets that are too big."""

    @pytest.fixture(autouse=True)
    async def path(self, behind: Behind) -> AsyncIterator[None]:
        await behind.small_link(black_hole=False)
        self.server = await behind.start_server()
        self.lab = behind.lab
        await connect(self.lab)
        yield

    @BOTH
    async def test_tcp_finds_the_size(self, version: int, host: str) -> None:
        await transfer_both_ways(self.lab, host)

    async def test_datagrams_and_fragments_of_all_sizes_both_ways(self) -> None:
        sizes = ["1", "1232", "1233", "1253", "1452", "1473", "4000", "9000", "60000"]
        for host in (FAR_HOST, FAR_HOST6):
            assert await client(self.lab, "lan_client.py", "datagrams", host, *sizes) == " ".join(sizes)

    async def test_what_is_too_big_is_told_to_its_sender(self) -> None:
        for version, host in ((4, FAR_HOST), (6, FAR_HOST6)):
            assert await client(self.lab, "path_client.py", "fits", host, 1400) == str(SMALL), version
            assert await client(self.lab, "path_client.py", "fits", host, 1200) == "1200 went through"

    async def test_traceroute(self) -> None:
        status = await steps.up_status(self.lab)
        gateway4, gateway6 = status.gateways
        for host, hops in (
            (FAR_HOST, [gateway4, LAN_HOST, "10.0.1.2", FAR_HOST]),
            (FAR_HOST6, [gateway6, LAN_HOST6, "fd77:77:1::2", FAR_HOST6]),
        ):
            assert (await client(self.lab, "path_client.py", "trace", host)).split() == hops

    async def test_a_closed_port_is_told_to_either_side(self) -> None:
        """Of the LAN to the user, and of the user to the LAN."""
        for host, seen_by in ((FAR_HOST, "192.168.77.1"), (FAR_HOST6, "fd77:77:77::1")):
            assert await client(self.lab, "path_client.py", "closed", host) == "refused"
            await client(self.lab, "path_client.py", "leave", host)
            await self.server.wait_for(f"^refused by {seen_by}$", 10.0)


class TestABlackHoleBehindTheLan:
    """Whose router says nothing: a smaller tunnel keeps packets small from the start."""

    @pytest.fixture(autouse=True)
    async def path(self, behind: Behind) -> AsyncIterator[None]:
        await behind.small_link(black_hole=True)
        await behind.start_server()
        self.lab = behind.lab
        yield

    async def test_it_is_one(self) -> None:
        await connect(self.lab)
        for host in (FAR_HOST, FAR_HOST6):
            with pytest.raises(NconnectError, match="not done after"):
                await client(self.lab, "lan_client.py", "download", host, SIZE, SEED, seconds=LOST_SECONDS)

    @BOTH
    async def test_tcp_with_a_smaller_tunnel(self, version: int, host: str) -> None:
        await connect(self.lab, "--mtu", str(SMALL))
        await transfer_both_ways(self.lab, host)
        ours, theirs = map(int, (await client(self.lab, "path_client.py", "segments", host)).split())
        assert max(ours, theirs) <= SMALL - HEADERS[version]


@BOTH
async def test_tcp_through_a_vpn_of_the_provider_s(behind: Behind, version: int, host: str) -> None:
    """Where nobody tells of packets that are too big: both ends are told of smaller segments at once."""
    await behind.vpn(black_hole=True)
    await behind.start_server()
    await connect(behind.lab)
    ours, theirs = map(int, (await client(behind.lab, "path_client.py", "segments", host)).split())
    segment = SMALL - HEADERS[version]
    assert {ours, theirs} <= {segment, segment - TIMESTAMPS}
    await transfer_both_ways(behind.lab, host)


async def test_datagrams_and_errors_through_a_vpn_of_the_provider_s(behind: Behind) -> None:
    await behind.vpn(black_hole=False)
    await behind.start_server()
    await connect(behind.lab)
    sizes = ["1", "1253", "1452", "1473", "9000", "60000"]
    for host in (FAR_HOST, FAR_HOST6):
        assert await client(behind.lab, "lan_client.py", "datagrams", host, *sizes) == " ".join(sizes)
        assert await client(behind.lab, "path_client.py", "fits", host, 1400) == str(SMALL)


async def test_a_small_network_behind_the_user(network: Lab) -> None:
    """Containers of the user's machine: its kernel tells hosts of the LAN what is too big for them."""
    server = network.start(Party.LAN, [sys.executable, str(HERE / "lan_server.py")], name="lan_server")
    await server.wait_for("^ready$", steps.START_SECONDS)
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, lan=(LAN, LAN6), allow=(key,))
    await steps.start_up(network, address)
    with Netns() as container:
        script = f"""
            ip link add con0 type bridge
            ip link add port0 mtu {SMALL} type veth peer name eth0 mtu {SMALL} netns {container.path}
            ip link set port0 master con0 up
            ip address add 172.17.0.1/24 dev con0
            ip address add fd17::1/64 dev con0 nodad
            ip link set con0 up
            sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        """
        await network.run(Party.USER, ["sh", "-ec", script])
        container.sh(
            """
            ip address add 172.17.0.2/24 dev eth0
            ip address add fd17::2/64 dev eth0 nodad
            ip link set eth0 up
            ip route add default via 172.17.0.1 advmss 1460
            ip route add default via fd17::1 advmss 1440
            """
        )
        inside = ["nsenter", f"--net={container.path}", sys.executable]
        sizes = ["1", "1200", "1400", "1452", "4000"]
        for version, host in ((4, LAN_HOST), (6, LAN_HOST6)):
            program = [*inside, str(HERE / "lan_client.py")]
            echoed = await network.run(Party.USER, [*program, "datagrams", host, *sizes])
            assert echoed.stdout.split() == sizes
            download = await network.run(Party.USER, [*program, "download", host, str(SIZE), str(SEED)])
            assert download.stdout.strip() == sha256(SIZE, SEED)
            command = [*inside, str(HERE / "path_client.py"), "segments", host]
            segments = (await network.run(Party.USER, command)).stdout.split()
            # The container asks for 1460; the user's machine knows better.
            assert max(map(int, segments)) <= SMALL - HEADERS[version]


@pytest.mark.parametrize(("version", "host"), [(4, LAN_HOST), (6, LAN_HOST6)], ids=["IPv4", "IPv6"])
async def test_a_lan_of_1280_bytes(network: Lab, version: int, host: str) -> None:
    for party, link in ((Party.PROVIDER, "lan0"), (Party.LAN, "eth0")):
        await network.run(party, ["ip", "link", "set", link, "mtu", str(SMALL)])
    command = [sys.executable, str(HERE / "lan_server.py")]
    server = network.start(Party.LAN, command, name="lan_server")
    await server.wait_for("^ready$", steps.START_SECONDS)
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, lan=(LAN, LAN6), allow=(key,))
    await steps.start_up(network, address)
    await transfer_both_ways(network, host)
    ours, theirs = map(int, (await client(network, "path_client.py", "segments", host)).split())
    assert max(ours, theirs) <= SMALL - HEADERS[version]
    sizes = ["1", "1253", "1473", "9000", "60000"]
    assert await client(network, "lan_client.py", "datagrams", host, *sizes) == " ".join(sizes)
