"""Our rules: as text, and as what a packet meets.

::

       user's packets                      provider                             lan
      ────────────────── TUN nc0 ┌──────────────────────────┐ veth ┌─────────────────────────┐
       written by the test       │ 100.64.9.1   192.168.0.1 ├──────┤ 192.168.0.20   fd77::20 │
       from 100.64.9.2, fd09::2  │ fd09::1        fd77::1   │      │ 10.66.0.1 (not served)  │
                                 └──────────────────────────┘      └─────────────────────────┘

A packet is shown to be dropped without waiting: one that is allowed is sent after it, and comes first.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from nconnect.host import nft
from nconnect.host.desired import DesiredState
from nconnect.host.firewall import gateway_table, user_table
from nconnect.host.grants import Target
from nconnect.host.plans import gateway_state, user_state
from nconnect.host.state import HostManager
from nconnect.host.tun import VIRTIO_HEADER_SIZE, Tun
from nconnect.host.user_rules import Mapping, UserRules
from nconnect.host.users import Users

from .namespaces import Netns, await_text, sh, veth

GOLDEN = Path(__file__).parent / "golden"
TIMEOUT = 5.0
MTU = 1280
# RFC 1812 §5.2.7.1 and RFC 4443 §3.1: type and code of "communication administratively prohibited".
PROHIBITED4, PROHIBITED6 = (3, 13), (1, 1)

pytestmark = pytest.mark.netns


def test_the_gateways_table_as_nft_lists_it(netns: Netns) -> None:
    table = gateway_table(
        "home",
        "nc0",
        gateway=[ip_address("100.64.9.1"), ip_address("fd09::1")],
        pools=[ip_network("100.64.9.0/24"), ip_network("fd09::/64")],
    )
    user = UserRules(
        (ip_address("100.64.9.2"), ip_address("fd09::2")),
        (
            Target(ip_network("192.168.0.0/24")),
            Target(ip_network("fd77::/64"), "udp", (5000, 5010)),
            Target(ip_network("fd78::/64"), "icmp"),
            Target(ip_network("192.168.0.1/32"), "tcp", (443, 443)),
            Target(ip_network("0.0.0.0/0"), "tcp"),
        ),
        rate=50_000_000,
    )
    services = UserRules(
        (ip_address("100.64.9.3"), ip_address("fd09::3")),
        (
            Target(ip_network("192.168.0.1/32"), "tcp", (443, 443)),
            Target(ip_network("fd77::20/128"), "udp", (53, 53)),
        ),
    )
    mapped = UserRules(
        (ip_address("100.64.9.4"),),
        (Target(ip_network("192.168.0.0/24")),),
        mappings=(
            Mapping(ip_network("192.168.0.0/24"), ip_network("10.201.7.0/24")),
            Mapping(ip_network("192.168.1.1/32"), ip_network("10.201.8.1/32")),
            Mapping(ip_network("fd77::/64"), ip_network("fd6e::/64")),
        ),
    )
    users = Users().plan([user, services, mapped], []).commands(table.name)
    nft.replace_table(table, users)
    assert sh("nft list ruleset") == (GOLDEN / "gateway.nft").read_text()
    nft.replace_table(table, users)
    assert sh("nft list ruleset") == (GOLDEN / "gateway.nft").read_text()


def test_a_pool_may_hold_a_metadata_address(netns: Netns) -> None:
    """A pool is chosen by the provider's key: one in a thousand has Alibaba's."""
    pool = ip_network("100.100.96.0/20")
    nft.replace_table(gateway_table("home", "nc0", gateway=[ip_address("100.100.96.1")], pools=[pool]))
    listed = sh("nft list set inet nconnect_home closed4")
    assert "100.100.96.0/20" in listed
    assert "100.100.100.200" not in listed


def test_the_users_table_as_nft_lists_it(netns: Netns) -> None:
    nft.replace_table(user_table("home", "nc0", [ip_address("100.64.9.2"), ip_address("fd09::2")]))
    assert sh("nft list ruleset") == (GOLDEN / "user.nft").read_text()


def read(tun: Tun) -> Packet:
    """The next packet that the kernel sends into the tunnel, other than a multicast listener's report."""
    while True:
        assert select.select([tun.fd], [], [], TIMEOUT)[0], "nothing came into the tunnel"
        packet = tun.read()[VIRTIO_HEADER_SIZE:]
        if packet[0] >> 4 == 4:
            return IP(packet)
        if not IPv6Address(packet[24:40]).is_multicast:
            return IPv6(packet)


@dataclass
class Site:
    """The provider's namespace, in which the test runs, and its LAN."""

    tun: Tun
    lan: Netns
    manager: HostManager

    def send(self, *packets: Packet) -> None:
        """As a user's packets, out of the tunnel."""
        for packet in packets:
            assert self.tun.write(bytes(VIRTIO_HEADER_SIZE) + bytes(packet))

    def receive(self) -> Packet:
        """The next packet into the tunnel."""
        return read(self.tun)

    def assert_refused(self, *packets: Packet) -> None:
        """Each of `packets` is answered: its like is prohibited here."""
        for packet in packets:
            self.send(packet)
            answer = self.receive()
            error = answer[ICMP] if ICMP in answer else answer[ICMPv6DestUnreach]
            assert (error.type, error.code) in (PROHIBITED4, PROHIBITED6)

    def assert_dropped(self, *packets: Packet, at: socket.socket) -> None:
        """`packets` do not reach the socket in the LAN, which listens on port 7 for both versions."""
        self.send(*packets, datagram("192.168.0.20", text=b"allowed"))
        assert at.recvfrom(100)[0] == b"allowed"


@pytest.fixture
def site(netns: Netns, tmp_path: Path) -> Iterator[Site]:
    with Netns() as lan:
        veth(netns, "lan0", lan, "eth0")
        sh("ip addr add 192.168.0.1/24 dev lan0; ip addr add fd77::1/64 dev lan0")
        sh("ip route add 10.66.0.0/16 via 192.168.0.20")
        lan.sh("ip addr add 192.168.0.20/24 dev eth0; ip addr add fd77::20/64 dev eth0")
        lan.sh("ip addr add 10.66.0.1/32 dev eth0; ip addr add 169.254.169.254/32 dev eth0")
        lan.sh("ip route add default via 192.168.0.1; ip -6 route add default via fd77::1")
        with Tun.open("nc0") as tun, HostManager(tmp_path / "home.journal") as manager:
            manager.apply(gateway())
            let_in(manager, "100.64.9.2", "100.64.9.3", "fd09::2")
            # A work queue of the kernel makes the address one that packets are delivered to.
            await_text("ip -6 route show table local", "local fd09::1")
            yield Site(tun, lan, manager)


def gateway() -> DesiredState:
    return gateway_state("home", "nc0", MTU, [ip_interface("100.64.9.1/24"), ip_interface("fd09::1/64")])


def let_in(manager: HostManager, *leases: str, lan: str = "192.168.0.0/24") -> None:
    """Users with these addresses, and no others, reach the LAN."""
    targets = Target(ip_network(lan)), Target(ip_network("fd77::/64"))
    everybody = [ip_address(one) for one in ("100.64.9.2", "100.64.9.3", "fd09::2")]
    manager.change_users([UserRules((ip_address(one),), targets) for one in leases], everybody)


@pytest.fixture
def listener(site: Site) -> Iterator[socket.socket]:
    """A UDP socket in the LAN for both versions, port 7."""
    with site.lan.inside():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 7))
        sock.settimeout(TIMEOUT)
        yield sock


def datagram(destination: str, source: str = "", text: bytes = b"x") -> Packet:
    if ":" in destination:
        return IPv6(src=source or "fd09::2", dst=destination) / UDP(sport=4000, dport=7) / Raw(text)
    return IP(src=source or "100.64.9.2", dst=destination) / UDP(sport=4000, dport=7) / Raw(text)


class TestGateway:
    @pytest.mark.parametrize(
        ("host", "provider"), [("192.168.0.20", "::ffff:192.168.0.1"), ("fd77::20", "fd77::1")]
    )
    def test_a_lan_host_answers_and_sees_the_provider(
        self, site: Site, listener: socket.socket, host: str, provider: str
    ) -> None:
        site.send(datagram(host, text=b"question"))
        text, sender = listener.recvfrom(100)
        assert (text, sender[0]) == (b"question", provider)
        listener.sendto(b"answer", sender)
        answer = site.receive()
        assert bytes(answer[UDP].payload) == b"answer"
        assert (answer.src, answer[UDP].dport) == (host, 4000)

    @pytest.mark.parametrize("gateway", ["100.64.9.1", "fd09::1"])
    def test_the_gateway_answers_ping(self, site: Site, gateway: str) -> None:
        if ":" in gateway:
            site.send(IPv6(src="fd09::2", dst=gateway) / ICMPv6EchoRequest(id=9))
            assert site.receive()[ICMPv6EchoReply].id == 9
        else:
            site.send(IP(src="100.64.9.2", dst=gateway) / ICMP(id=9))
            assert site.receive()[ICMP].type == 0

    @pytest.mark.parametrize(
        "packet",
        [
            pytest.param(datagram("192.168.0.20", source="100.64.9.77"), id="not-leased"),
            pytest.param(datagram("192.168.0.20", source="192.168.0.5"), id="spoofed-lan"),
            pytest.param(datagram("fd77::20", source="fd09::77"), id="not-leased-v6"),
            pytest.param(datagram("10.66.0.1"), id="not-served"),
            pytest.param(datagram("169.254.169.254"), id="metadata"),
            pytest.param(datagram("224.0.0.1"), id="multicast"),
            pytest.param(datagram("ff02::1"), id="multicast-v6"),
            pytest.param(datagram("192.168.0.255"), id="broadcast"),
        ],
    )
    def test_what_is_not_granted_does_not_reach_the_lan(
        self, site: Site, listener: socket.socket, packet: Packet
    ) -> None:
        sh("ip route add 169.254.0.0/16 dev lan0")
        site.assert_dropped(packet, at=listener)

    def test_metadata_stays_closed_even_if_everything_is_served(
        self, site: Site, listener: socket.socket
    ) -> None:
        sh("ip route add 169.254.0.0/16 dev lan0")
        let_in(site.manager, "100.64.9.2", lan="0.0.0.0/0")
        site.send(datagram("10.66.0.1", text=b"far"))
        assert listener.recvfrom(100)[0] == b"far"
        site.assert_dropped(datagram("169.254.169.254"), at=listener)

    @pytest.mark.parametrize("address", ["192.168.0.1", "100.64.9.1", "fd77::1", "fd09::1"])
    def test_the_providers_own_services_are_closed(self, site: Site, address: str) -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as service:
            service.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            service.bind(("::", 7))
            service.setblocking(False)
            site.assert_refused(datagram(address))
            with pytest.raises(BlockingIOError):
                service.recv(100)

    def test_the_gateway_can_ask_a_user_and_is_answered(self, site: Site) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(TIMEOUT)
            client.bind(("100.64.9.1", 6000))
            client.sendto(b"question", ("100.64.9.2", 7))
            assert bytes(site.receive()[UDP].payload) == b"question"
            site.send(IP(src="100.64.9.2", dst="100.64.9.1") / UDP(sport=7, dport=6000) / Raw(b"answer"))
            assert client.recv(100) == b"answer"

    def test_a_user_cannot_report_errors_to_the_providers_other_connections(
        self, site: Site, listener: socket.socket
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("192.168.0.1", 6000))
            client.connect(("192.168.0.20", 7))
            client.send(b"question")
            assert listener.recv(100) == b"question"
            client.setblocking(False)
            quoted = IP(src="192.168.0.1", dst="192.168.0.20") / UDP(sport=6000, dport=7) / Raw(b"question")
            error = IP(src="100.64.9.2", dst="192.168.0.1") / ICMP(type=3, code=13) / quoted
            site.send(error, IP(src="100.64.9.2", dst="100.64.9.1") / ICMP())
            assert site.receive()[ICMP].type == 0
            with pytest.raises(BlockingIOError):
                client.recv(100)

    def test_only_who_has_a_connection_reports_errors_about_it(
        self, site: Site, listener: socket.socket
    ) -> None:
        site.send(datagram("192.168.0.20"))
        listener.connect(listener.recvfrom(100)[1])
        quoted = IP(src="192.168.0.20", dst="100.64.9.2") / UDP(sport=7, dport=4000) / Raw(b"answer")
        error = IP(dst="192.168.0.20") / ICMP(type=3, code=3) / quoted
        forged, real = error.copy(), error.copy()
        forged.src, real.src = "100.64.9.3", "100.64.9.2"
        site.send(forged, datagram("192.168.0.20", text=b"after"))
        assert listener.recv(100) == b"after"
        site.send(real, datagram("192.168.0.20", text=b"after"))
        with pytest.raises(ConnectionRefusedError):
            listener.recv(100)

    def test_errors_about_a_network_by_another_name_are_translated_whole(
        self, site: Site, listener: socket.socket
    ) -> None:
        """A router's, which is about a packet that the user sent, and the user's, about one that it got."""
        seen = Mapping(ip_network("192.168.0.0/24"), ip_network("10.201.7.0/24"))
        lease, targets = (ip_address("100.64.9.2"),), (Target(seen.real),)
        site.manager.change_users([UserRules(lease, targets, mappings=(seen,))])
        site.send(datagram("10.201.7.20", text=b"question"))
        text, sender = listener.recvfrom(100)
        assert text == b"question"
        sent = IP(src="192.168.0.1", dst="192.168.0.20") / UDP(sport=sender[1], dport=7) / Raw(b"question")
        with site.lan.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as router:
            router.sendto(bytes(ICMP(type=3, code=4, nexthopmtu=1300) / sent), ("192.168.0.1", 0))
        error = site.receive()
        assert (error.dst, error[ICMP].type, error[ICMP].nexthopmtu) == ("100.64.9.2", 3, 1300)
        about = IP(bytes(error[ICMP].payload))
        assert (about.src, about.dst, about[UDP].sport) == ("100.64.9.2", "10.201.7.20", 4000)

        listener.connect(sender)
        quoted = IP(src="10.201.7.20", dst="100.64.9.2") / UDP(sport=7, dport=4000) / Raw(b"answer")
        site.send(IP(src="100.64.9.2", dst="10.201.7.20") / ICMP(type=3, code=3) / quoted)
        site.send(datagram("10.201.7.20", text=b"after"))
        with pytest.raises(ConnectionRefusedError):
            listener.recv(100)

    @pytest.mark.parametrize("lan", ["192.168.0.0/24", "0.0.0.0/0"])
    def test_one_user_does_not_reach_another(self, site: Site, lan: str) -> None:
        let_in(site.manager, "100.64.9.2", "100.64.9.3", lan=lan)
        site.send(datagram("100.64.9.3"), IP(src="100.64.9.2", dst="100.64.9.1") / ICMP())
        assert ICMP in site.receive()

    def test_the_lan_does_not_reach_users(self, site: Site, listener: socket.socket) -> None:
        with site.lan.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"hello", ("100.64.9.2", 7))
        site.send(datagram("192.168.0.20"))
        listener.sendto(b"answer", listener.recvfrom(100)[1])
        assert bytes(site.receive()[UDP].payload) == b"answer"

    def test_a_lost_lease_ends_connections_at_once(self, site: Site, listener: socket.socket) -> None:
        site.send(datagram("192.168.0.20", text=b"before"))
        assert listener.recvfrom(100)[0] == b"before"
        let_in(site.manager, "100.64.9.3")
        site.send(datagram("192.168.0.20", text=b"after"))
        site.send(datagram("192.168.0.20", source="100.64.9.3", text=b"other"))
        assert listener.recvfrom(100)[0] == b"other"

    def test_the_mss_is_clamped_in_both_directions(self, site: Site) -> None:
        """Both ends believe in 1500 bytes; the link in the middle carries less."""
        with site.lan.inside(), socket.create_server(("192.168.0.20", 80)) as server:
            server.settimeout(TIMEOUT)
            site.send(
                IP(src="100.64.9.2", dst="192.168.0.20")
                / TCP(sport=4000, dport=80, flags="S", seq=1, options=[("MSS", 1460)])
            )
            answer = site.receive()
            assert dict(answer[TCP].options)["MSS"] == MTU - 40
            site.send(
                IP(src="100.64.9.2", dst="192.168.0.20")
                / TCP(sport=4000, dport=80, flags="A", seq=2, ack=answer[TCP].seq + 1)
            )
            connection, _ = server.accept()
            with connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) == MTU - 40

    def test_other_peoples_rules_are_untouched(self, netns: Netns, tmp_path: Path) -> None:
        sh("nft add table inet theirs; nft add chain inet theirs c '{ type filter hook input priority 0; }'")
        before = sh("nft -a list table inet theirs")
        with Tun.open("nc0"), HostManager(tmp_path / "home.journal") as manager:
            manager.apply(gateway())
            let_in(manager, "100.64.9.2")
            assert sh("nft -a list table inet theirs") == before
        assert sh("nft -a list ruleset") == before


@pytest.fixture
def forward() -> tuple[str, ...]:
    """Interfaces that the owner of a user's machine named."""
    return ()


@pytest.fixture
def laptop(netns: Netns, tmp_path: Path, forward: tuple[str, ...]) -> Iterator[Tun]:
    """A user's machine with a container on a bridge, 172.17.0.2."""
    offered = [ip_network("192.168.0.0/24"), ip_network("fd77::/64")]
    with Tun.open("nc0") as tun, HostManager(tmp_path / "home.journal") as manager:
        addresses = [ip_interface("100.64.9.2/32"), ip_interface("fd09::2/128")]
        manager.apply(user_state("home", "nc0", MTU, addresses, offered, forward=forward))
        yield tun


class TestUser:
    def test_the_provider_reaches_no_service_but_ping(self, laptop: Tun) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
            service.bind(("0.0.0.0", 7))
            service.setblocking(False)
            attack = datagram("100.64.9.2", source="192.168.0.20")
            ping = IP(src="192.168.0.20", dst="100.64.9.2") / ICMP()
            for packet in (attack, ping):
                assert laptop.write(bytes(VIRTIO_HEADER_SIZE) + bytes(packet))
            assert read(laptop)[ICMP].type == 0
            with pytest.raises(BlockingIOError):
                service.recv(100)

    def test_answers_come_in(self, laptop: Tun) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(TIMEOUT)
            client.sendto(b"question", ("192.168.0.20", 7))
            question = read(laptop)
            assert question.src == "100.64.9.2"
            answer = (
                IP(src=question.dst, dst=question.src)
                / UDP(sport=7, dport=question[UDP].sport)
                / Raw(b"answer")
            )
            assert laptop.write(bytes(VIRTIO_HEADER_SIZE) + bytes(answer))
            assert client.recv(100) == b"answer"

    @pytest.mark.parametrize(
        ("server", "wan", "own"),
        [("192.0.2.1", "198.51.100.2", "100.64.9.2"), ("fd55::1", "fd44::2", "fd09::2")],
    )
    def test_the_provider_cannot_speak_in_connections_by_another_link(
        self, laptop: Tun, server: str, wan: str, own: str
    ) -> None:
        """Neither as the server that was asked by that link, nor as a router that reports an error to it."""
        sh("ip link add wan0 type veth peer name wan1; ip link set wan0 up; ip link set wan1 up")
        sh("ip addr add 198.51.100.2/24 dev wan0; ip addr add fd44::2/64 dev wan0 nodad")
        for router in ("198.51.100.1", "fd44::1"):
            sh(f"ip neigh add {router} lladdr 02:00:00:00:00:01 dev wan0; ip route add default via {router}")
        with (
            socket.socket(socket.AF_INET6 if ":" in wan else socket.AF_INET, socket.SOCK_DGRAM) as resolver,
            socket.socket(socket.AF_INET6 if ":" in own else socket.AF_INET, socket.SOCK_DGRAM) as tunnelled,
        ):
            resolver.bind((wan, 40000))
            resolver.connect((server, 53))
            resolver.send(b"question")
            resolver.setblocking(False)
            tunnelled.settimeout(TIMEOUT)
            inside = "fd77::20" if ":" in own else "192.168.0.20"
            tunnelled.sendto(b"question", (inside, 7))
            port = tunnelled.getsockname()[1]
            network, error = (IPv6, ICMPv6DestUnreach(code=4)) if ":" in wan else (IP, ICMP(type=3, code=3))
            quoted = network(src=wan, dst=server) / UDP(sport=40000, dport=53) / Raw(b"question")
            for packet in (
                network(src=server, dst=wan) / UDP(sport=53, dport=40000) / Raw(b"forged"),
                network(src=inside, dst=wan) / error / quoted,
                network(src=inside, dst=own) / UDP(sport=7, dport=port) / Raw(b"answer"),
            ):
                assert laptop.write(bytes(VIRTIO_HEADER_SIZE) + bytes(packet))
            assert tunnelled.recv(100) == b"answer"
            with pytest.raises(BlockingIOError):
                resolver.recv(100)

    def test_containers_go_out_by_our_address_and_are_not_reached_from_outside(
        self, laptop: Tun, netns: Netns
    ) -> None:
        with Netns() as container:
            veth(netns, "port0", container, "eth0")
            sh("ip link add docker0 type bridge; ip link set docker0 up; ip link set port0 master docker0")
            sh("ip addr add 172.17.0.1/16 dev docker0; echo 1 > /proc/sys/net/ipv4/ip_forward")
            container.sh("ip addr add 172.17.0.2/16 dev eth0; ip route add default via 172.17.0.1")
            with container.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(TIMEOUT)
                client.bind(("", 7))
                client.sendto(b"question", ("192.168.0.20", 7))
                question = read(laptop)
                assert (question.src, question.dst) == ("100.64.9.2", "192.168.0.20")
                attack = datagram("172.17.0.2", source="192.168.0.66", text=b"attack")
                answer = IP(src="192.168.0.20", dst="100.64.9.2") / UDP(sport=7, dport=question[UDP].sport)
                for packet in (attack, answer / Raw(b"answer")):
                    assert laptop.write(bytes(VIRTIO_HEADER_SIZE) + bytes(packet))
                assert client.recv(100) == b"answer"

    @pytest.mark.parametrize("host", ["192.168.0.20", "fd77::20"])
    def test_neighbours_of_a_user_s_machine_that_forwards_do_not_use_its_tunnel(
        self, laptop: Tun, netns: Netns, host: str
    ) -> None:
        with neighbour(netns) as other:
            for place, text in ((other, b"neighbour"), (netns, b"own")):
                with place.inside(), socket.socket(family(host), socket.SOCK_DGRAM) as sock:
                    sock.sendto(text, (host, 7))
            assert bytes(read(laptop)[UDP].payload) == b"own"

    @pytest.mark.parametrize("host", ["192.168.0.20", "fd77::20"])
    def test_who_may_not_use_the_tunnel_learns_of_it_at_once(
        self, laptop: Tun, netns: Netns, host: str
    ) -> None:
        with neighbour(netns) as other, other.inside():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, 7), timeout=TIMEOUT)
            with socket.socket(family(host), socket.SOCK_DGRAM) as sock:
                sock.settimeout(TIMEOUT)
                sock.connect((host, 7))
                sock.send(b"question")
                with pytest.raises(OSError, match=r"No route to host|Permission denied"):
                    sock.recv(100)

    @pytest.mark.parametrize("forward", [("eth7", "home0"), ("ho*",)])
    @pytest.mark.parametrize("host", ["192.168.0.20", "fd77::20"])
    def test_an_interface_from_which_its_owner_lets_into_the_tunnel(
        self, laptop: Tun, netns: Netns, host: str
    ) -> None:
        """By our address, and no other connections come from there."""
        with (
            neighbour(netns) as other,
            other.inside(),
            socket.socket(family(host), socket.SOCK_DGRAM) as sock,
        ):
            sock.settimeout(TIMEOUT)
            sock.bind(("", 7))
            sock.sendto(b"question", (host, 7))
            question = read(laptop)
            ours, theirs = ("100.64.9.2", "10.9.0.66") if question.version == 4 else ("fd09::2", "fd19::66")
            assert (question.src, bytes(question[UDP].payload)) == (ours, b"question")
            attack = type(question)(src=host, dst=theirs) / UDP(sport=7, dport=7) / Raw(b"attack")
            answer = type(question)(src=host, dst=ours) / UDP(sport=7, dport=question[UDP].sport)
            for packet in (attack, answer / Raw(b"answer")):
                assert laptop.write(bytes(VIRTIO_HEADER_SIZE) + bytes(packet))
            assert sock.recv(100) == b"answer"


@contextlib.contextmanager
def neighbour(netns: Netns) -> Iterator[Netns]:
    """At the other end of a user's machine's home0; that machine forwards."""
    with Netns() as other:
        veth(netns, "home0", other, "eth0")
        sh("ip addr add 10.9.0.1/24 dev home0; ip addr add fd19::1/64 dev home0")
        sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        other.sh("ip addr add 10.9.0.66/24 dev eth0; ip addr add fd19::66/64 dev eth0")
        other.sh("ip route add default via 10.9.0.1; ip route add default via fd19::1")
        # What waits for a hardware address would come later than what is sent next.
        other.sh("ping -q -c1 -w5 10.9.0.1; ping -q -c1 -w5 fd19::1")
        yield other


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
