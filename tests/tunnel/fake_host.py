"""A machine without a kernel: what connector and gateway ask of the host is written down and granted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest

from nconnect.errors import HostError
from nconnect.host import conntrack, networks, plans, sysctl
from nconnect.host.faketun import FakeTun
from nconnect.host.networks import Connected
from nconnect.host.tun import Buffer
from nconnect.host.user_rules import Mapping, UserRules
from nconnect.tunnel import connector, gateway, overlay

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class EndlessTun(FakeTun):
    """Takes whatever is written, as a kernel does that forwards at once."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def write(self, packet: Buffer) -> bool:
        self._written.append(bytes(packet))
        return True

    def collect(self) -> list[bytes]:
        written, self._written = self._written, []
        return written


class FakeHost:
    """The manager of the host, its networks, and the TUN device."""

    def __init__(self) -> None:
        self.tun = EndlessTun()
        self.users: dict[Address, UserRules] = {}
        """What the gateway's firewall lets each lease do now, by its first address."""
        self.changes = 0
        """Transactions of users."""
        self.addresses: list[str] = []
        self.routes: list[Network] = []
        """What the user's machine has through the tunnel."""
        self.resolver = ""
        """What is to be in resolv.conf."""
        self.connected: list[Connected] = []
        """The networks that this machine is in."""
        self.tracked: list[conntrack.Connection] = []
        """The connections that the kernel translates."""
        self.ended: list[tuple[tuple[Address, ...], tuple[Mapping, ...]]] = []
        """Of whom translations ended, and which names they still had."""
        self.inner: list[str] = []
        """Interfaces of those who may count on this machine to forward."""
        self.limits_forwarding = False
        """Whether it forwards, and that is ours."""
        self.refuses = False
        self.undone = 0

    # The methods of HostManager that are used

    def apply(self, desired: dict[str, Any]) -> None:
        if self.refuses:
            raise HostError("cannot change the firewall: the kernel says no")
        vars(self).update(desired)

    def change_users(self, changed: Iterable[UserRules] = (), remove: Iterable[Address] = ()) -> None:
        before = dict(self.users)
        for address in remove:
            self.users.pop(address, None)
        self.users.update({rules.addresses[0]: rules for rules in changed})
        if self.users != before:
            if self.refuses:
                self.users = before
                raise HostError("cannot change the firewall: the kernel says no")
            self.changes += 1

    def end_translations(self, addresses: Iterable[Address], mappings: Iterable[Mapping]) -> None:
        self.ended.append((tuple(addresses), tuple(mappings)))

    @property
    def leases(self) -> list[Address]:
        """Whom the gateway's firewall lets in now."""
        return [address for rules in self.users.values() for address in rules.addresses]

    def refresh(self, *, unannounced: bool = False) -> list[str]:
        return []

    def connections_of(self, addresses: Iterable[Address]) -> list[conntrack.Connection]:
        wanted = set(addresses)
        return [one for one in self.tracked if one.source in wanted]

    def forget(self, connections: Iterable[conntrack.Connection]) -> None:
        gone = set(connections)
        self.tracked = [one for one in self.tracked if one not in gone]

    closed = ()
    """No kill switch: that is the real host's."""

    def undo(self, *, keep_closed: bool = False) -> list[str]:
        self.undone += 1
        return []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it in the place of the real host, for the next gateway or connector."""
        monkeypatch.setattr(overlay, "open_host", lambda journal, instance, say: (self, self.tun))
        monkeypatch.setattr(connector, "MARK", 0)  # marking sockets needs CAP_NET_ADMIN
        monkeypatch.setattr(gateway, "forward_drop", lambda link: [])
        monkeypatch.setattr(conntrack, "connections_of", self.connections_of)
        monkeypatch.setattr(conntrack, "forget", self.forget)
        monkeypatch.setattr(networks, "reach", lambda prefix: "lan0")
        monkeypatch.setattr(networks, "connected_networks", lambda exclude=(): list(self.connected))
        monkeypatch.setattr(networks, "tunnelled_networks", lambda exclude=(): [])
        monkeypatch.setattr(networks, "reached_networks", lambda exclude=(): [])
        monkeypatch.setattr(networks, "inner_interfaces", lambda: list(self.inner))
        monkeypatch.setattr(sysctl, "forwards", lambda: self.limits_forwarding)
        monkeypatch.setattr(plans, "gateway_state", _gateway_state)
        monkeypatch.setattr(plans, "user_state", _user_state)


def _gateway_state(
    instance: str, link: str, mtu: int, addresses: object, forward: Sequence[str]
) -> dict[str, Any]:
    return {}


def _user_state(
    instance: str,
    link: str,
    mtu: int,
    addresses: Sequence[object],
    prefixes: Sequence[Network],
    connected: Sequence[object],
    tunnelled: Sequence[object],
    *,
    kill_switch: bool,
    resolver: str,
    forward: Sequence[str],
) -> dict[str, Any]:
    return {"addresses": list(map(str, addresses)), "routes": list(prefixes), "resolver": resolver}


LAN = (ip_network("192.168.77.0/24"),)


def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "x.journal"
