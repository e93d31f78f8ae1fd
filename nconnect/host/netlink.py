"""Links, addresses, routes and rules through rtnetlink (pyroute2).

pyroute2's IPRoute drives an event loop of its own inside every call, which asyncio forbids on a thread that
runs one already and which uvloop's policy would replace by one without netlink. `Netlink` therefore keeps
the socket on a worker thread: its methods can be called from anywhere, and block for less than a millisecond.
The worker thread is born in the caller's network namespace, and so is the socket.
Sources: rtnetlink(7), ip-rule(8), ip-route(8), linux/fib_rules.h.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nconnect.host.privileges import host_error

FAMILY = {4: 2, 6: 10}  # AF_INET, AF_INET6
# FIB_RULE_INVERT: the "not" of ip-rule(8).
RULE_INVERT = 2
# RTPROT_KERNEL. systemd-networkd removes routes and rules that it does not know when it restarts, except
# those of protocol kernel (networkd.conf(5), ManageForeignRoutes=, ManageForeignRoutingPolicyRules=).
PROTOCOL_KERNEL = 2

# Of an unreachable route: it counts when no other for its prefix is left.
LAST_METRIC = 0xFFFF_FFFF

# IFA_F_NODAD of linux/if_addr.h.
NO_DUPLICATE_DETECTION = 0x02
# Of linux/if.h.
IFF_UP = 0x1

GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL)
# An unreachable route answers EHOSTUNREACH, a blackhole EINVAL, a prohibiting one EACCES.
NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES)

Message = dict[str, Any]


class Netlink:
    """One netlink socket; a context manager.

    `add_*` are idempotent and return False if it was there already, `remove_*` return False if it is gone.
    """

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        try:
            self._ip: IPRoute = self._worker.submit(_open_socket).result()
        except OSError as error:
            self._worker.shutdown()
            raise host_error(error, "open a netlink socket") from error

    def close(self) -> None:
        self._worker.submit(_close_socket, self._ip).result()
        self._worker.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def index(self, link: str) -> int | None:
        """The index of an interface, None if there is none of that name."""
        found = self._call("look up an interface", lambda ip: ip.link_lookup(ifname=link))
        return found[0] if found else None

    def set_size(self, link: str, mtu: int, queue: int) -> None:
        """Give the link an MTU in bytes, and room for `queue` packets towards us."""
        index = self._require(link)
        what = f"set the MTU of {link} to {mtu}"
        self._call(what, lambda ip: ip.link("set", index=index, mtu=mtu, txqlen=queue))

    def is_up(self, link: str) -> bool:
        index = self._require(link)
        (message,) = self._call(f"look at {link}", lambda ip: list(ip.link("get", index=index)))
        return bool(message["flags"] & IFF_UP)

    def set_up(self, link: str) -> None:
        index = self._require(link)
        self._call(f"set {link} up", lambda ip: ip.link("set", index=index, state="up"))

    def set_down(self, link: str) -> bool:
        index = self.index(link)
        if index is None:
            return False
        return self._remove(f"set {link} down", lambda ip: ip.link("set", index=index, state="down"))

    def add_address(self, link: str, address: str) -> bool:
        """`address` with prefix length."""
        index = self._require(link)
        host, _, length = address.partition("/")
        # Nobody else can have it, and while the kernel asked around it would not answer.
        flags = NO_DUPLICATE_DETECTION if ":" in host else 0
        return self._add(
            f"add address {address} to {link}",
            lambda ip: ip.addr("add", index=index, address=host, prefixlen=int(length), flags=flags),
        )

    def remove_address(self, link: str, address: str) -> bool:
        index = self.index(link)
        if index is None:
            return False
        host, _, length = address.partition("/")
        return self._remove(
            f"remove address {address} from {link}",
            lambda ip: ip.addr("del", index=index, address=host, prefixlen=int(length)),
        )

    def add_route(self, prefix: str, table: int, kind: str, link: str) -> bool:
        """`kind` is unicast (through `link`), throw, or unreachable, which stands behind the others."""
        route = self._route(prefix, table, kind, link)
        return self._add(f"add route {prefix} to table {table}", lambda ip: ip.route("add", **route))

    def set_route(self, prefix: str, table: int, kind: str, link: str) -> None:
        """As `add_route`, in the place of whatever the table, which is ours alone, holds for the prefix."""
        route = self._route(prefix, table, kind, link)
        self._call(f"add route {prefix} to table {table}", lambda ip: ip.route("replace", **route))

    def remove_route(self, prefix: str, table: int, kind: str) -> bool:
        route = self._route(prefix, table, kind)
        return self._remove(f"remove route {prefix}", lambda ip: ip.route("del", **route))

    def add_rule(self, priority: int, table: int, version: int, fwmark: int, invert: bool) -> bool:
        rule = self._rule(priority, table, version, fwmark, invert)
        return self._add(f"add the rule for table {table}", lambda ip: ip.rule("add", **rule))

    def remove_rule(self, priority: int, table: int, version: int, fwmark: int, invert: bool) -> bool:
        rule = self._rule(priority, table, version, fwmark, invert)
        return self._remove(f"remove the rule for table {table}", lambda ip: ip.rule("del", **rule))

    def links(self) -> list[Message]:
        messages: list[Message] = self._call("list interfaces", lambda ip: list(ip.get_links()))
        return messages

    def routes(self, version: int) -> list[Message]:
        """The routes of all tables."""
        family = FAMILY[version]
        messages: list[Message] = self._call("list routes", lambda ip: list(ip.get_routes(family=family)))
        return messages

    def route_type(self, address: str) -> int | None:
        """The type (RTN_*) of the route that a packet to `address` would take; None if there is none."""
        family = FAMILY[6 if ":" in address else 4]
        found = self._call(
            f"look up the route to {address}",
            lambda ip: list(ip.route("get", dst=address, family=family)),
            tolerate=NO_ROUTE,
        )
        return found[0]["type"] if found else None

    def _route(self, prefix: str, table: int, kind: str, link: str = "") -> Message:
        version = 6 if ":" in prefix else 4
        route: Message = {"dst": prefix, "table": table, "type": kind, "family": FAMILY[version]}
        if kind == "unreachable":
            route["priority"] = LAST_METRIC
        elif kind == "unicast" and link:
            route["oif"] = self._require(link)
        return {**route, "proto": PROTOCOL_KERNEL}

    @staticmethod
    def _rule(priority: int, table: int, version: int, fwmark: int, invert: bool) -> Message:
        rule = {"priority": priority, "table": table, "family": FAMILY[version], "fwmark": fwmark}
        return {**rule, "flags": RULE_INVERT if invert else 0, "FRA_PROTOCOL": PROTOCOL_KERNEL}

    def _require(self, link: str) -> int:
        index = self.index(link)
        if index is None:
            raise host_error(OSError(errno.ENODEV, ""), f"find interface {link}")
        return index

    def _add(self, what: str, request: Callable[[IPRoute], Any]) -> bool:
        return self._call(what, request, tolerate=(errno.EEXIST,)) is not None

    def _remove(self, what: str, request: Callable[[IPRoute], Any]) -> bool:
        return self._call(what, request, tolerate=GONE) is not None

    def _call(self, what: str, request: Callable[[IPRoute], Any], tolerate: tuple[int, ...] = ()) -> Any:
        try:
            return self._worker.submit(request, self._ip).result()
        except NetlinkError as error:
            if error.code in tolerate:
                return None
            raise host_error(OSError(error.code, str(error)), what) from error
        except OSError as error:
            raise host_error(error, what) from error


def attribute(message: Message, name: str) -> Any:
    """The attribute `name` of a netlink message, None if it is not there."""
    return next((value for key, value in message["attrs"] if key == name), None)


def _open_socket() -> IPRoute:
    # No multicast groups: nobody would read their notifications. Strict check: the kernel filters dumps.
    return IPRoute(groups=0, strict_check=True, use_event_loop=asyncio.SelectorEventLoop())


def _close_socket(ip: IPRoute) -> None:
    loop = ip.asyncore.event_loop
    ip.close()
    # The transport ends in a callback, so the loop turns once more.
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
