"""Words of nftables' JSON: each function gives one expression, `rule` joins them to a rule's text.

Source: libnftables-json(5).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Expression = dict[str, Any]

ACCEPT: Expression = {"accept": None}
DROP: Expression = {"drop": None}
MASQUERADE: Expression = {"masquerade": None}
RETURN: Expression = {"return": None}
REJECT: Expression = {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}
"""Tells the sender that somebody does not want this packet (RFC 1812 §5.2.7.1, RFC 4443 §3.1)."""
RESET: Expression = {"reject": {"type": "tcp reset"}}


def rule(*expressions: Expression | Sequence[Expression]) -> str:
    """JSON text of a rule, the same text for the same rule."""
    flat: list[Expression] = []
    for one in expressions:
        flat.extend([one] if isinstance(one, dict) else one)
    return json.dumps(flat)


def came_in_by(link: str, op: str = "==") -> Expression:
    return _match({"meta": {"key": "iifname"}}, link, op)


def goes_out_by(link: str, op: str = "==") -> Expression:
    return _match({"meta": {"key": "oifname"}}, link, op)


def came_in_by_kind(kind: str) -> Expression:
    """By a virtual network of that kind, such as `bridge`."""
    return _match({"meta": {"key": "iifkind"}}, kind, "==")


def source(version: int, what: Any, op: str = "==") -> Expression:
    return _match(_header(version, "saddr"), what, op)


def destination(version: int, what: Any, op: str = "==") -> Expression:
    return _match(_header(version, "daddr"), what, op)


def original_destination(version: int, what: Any, op: str = "==") -> Expression:
    """Where the connection went before anybody translated it; the same for the packets of both directions."""
    return _match(_original(version, "daddr"), what, op)


def translated_destination(version: int, what: Any) -> Expression:
    """Where the connection goes once all destination NAT was done; the same for both directions."""
    return _match({"ct": {"key": f"{_protocol(version)} saddr", "dir": "reply"}}, what, "==")


def original_port(version: int, protocol: str, first: int, last: int) -> list[Expression]:
    """The connection's protocol (`tcp` or `udp`) and destination port, before translation.

    nft knows the port's type only once both layers below are known.
    """
    ports: Any = first if first == last else {"range": [first, last]}
    port = _match(_ct_original("proto-dst"), ports, "==")
    return [is_version(version), connection_protocol(protocol), port]


def connection_protocol(protocol: str) -> Expression:
    """Of the connection: also of an ICMP error that belongs to it."""
    return _match(_ct_original("protocol"), protocol, "==")


def connection_direction(direction: str) -> Expression:
    """`original`, or `reply`."""
    return _match({"ct": {"key": "direction"}}, direction, "==")


def connections_user(version: int, field: str, name: str) -> Expression:
    """The verdict of map `name` for (the packet's `saddr` or `daddr`, who began its connection)."""
    key = [_header(version, field), _original(version, "saddr")]
    return {"vmap": {"key": {"concat": key}, "data": named_set(name)}}


def connections_service(version: int, protocol: str, field: str, name: str) -> list[Expression]:
    """Whether set `name` holds (those two, where a connection of `protocol` went, and to which port)."""
    where = [_original(version, "daddr"), _ct_original("proto-dst")]
    key = {"concat": [_header(version, field), _original(version, "saddr"), *where]}
    return [is_version(version), connection_protocol(protocol), _match(key, named_set(name), "==")]


def address_type(field: str, what: str, op: str = "==") -> Expression:
    """What the kernel's routes say of `saddr` or `daddr`: `unicast`, `local`, `broadcast`, …"""
    return _match({"fib": {"result": "type", "flags": [field]}}, what, op)


def first_of_connection() -> Expression:
    """A packet whose connection conntrack has not seen leave yet: the first, or one after a refusal."""
    return _match({"ct": {"key": "status"}}, "confirmed", "!")


def go_through(chain: str) -> Expression:
    """The rules of that chain, then those after this one."""
    return {"jump": {"target": chain}}


def go_on_in(chain: str) -> Expression:
    return {"goto": {"target": chain}}


def beyond(limit: str) -> Expression:
    """True for what is too much for the table's limit of that name, see `rate_limit`."""
    return {"limit": limit}


def rate_limit(rate: int, burst: int) -> dict[str, Any]:
    """The body of a limit of `rate` bytes per second; a second's worth and `burst` bytes pass at once."""
    limit = {"rate": rate, "rate_unit": "bytes", "per": "second"}
    return {**limit, "burst": burst, "burst_unit": "bytes", "inv": True}


def too_often(version: int, name: str, per_second: int, burst: int) -> Expression:
    """True for a packet beyond what its source may send, of those asked about; set `name` counts."""
    limit = {"rate": per_second, "per": "second", "burst": burst, "inv": True}
    return _for_each_source(version, "update", name, {"limit": limit})


def too_many(version: int, name: str, connections: int) -> Expression:
    """True if the packet's source has more open connections than that, of those asked about, with its own."""
    return _for_each_source(version, "add", name, {"ct count": {"val": connections, "inv": True}})


def translate_destination(version: int, prefix: str) -> Expression:
    """Go to the address in `prefix` that has the bits beyond it of the one that was meant."""
    address, _, length = prefix.partition("/")
    nat: Expression = {"family": _protocol(version), "addr": address}
    if int(length) < (32 if version == 4 else 128):
        # Without the flag it would be any address of the prefix.
        nat |= {"addr": _prefix(prefix), "flags": "netmap"}
    return {"dnat": nat}


def is_version(version: int) -> Expression:
    return _match({"meta": {"key": "nfproto"}}, f"ipv{version}", "==")


def named_set(name: str) -> str:
    return "@" + name


def any_of(prefixes: Sequence[str]) -> Expression:
    """An anonymous set of prefixes in CIDR notation."""
    return {"set": [_prefix(prefix) for prefix in prefixes]}


def prefix(text: str) -> Expression:
    return _prefix(text)


def conntrack_state(*states: str) -> Expression:
    return _match({"ct": {"key": "state"}}, list(states), "in")


def translated_to() -> Expression:
    """Whether somebody's rule changed where the connection goes."""
    return _match({"ct": {"key": "status"}}, "dnat", "in")


def echo_request(version: int) -> Expression:
    return _icmp_type(version, "echo-request")


def echo_reply(version: int) -> Expression:
    return _icmp_type(version, "echo-reply")


def reset() -> Expression:
    """A TCP segment that ends a connection at once."""
    return _match({"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["rst"]]}, "rst", "==")


def tcp() -> Expression:
    return _match({"meta": {"key": "l4proto"}}, "tcp", "==")


def socket_marked(mark: int) -> Expression:
    """A packet for a socket of this machine that marks what it sends so."""
    return _match({"socket": {"key": "mark"}}, mark, "==")


def set_mark(mark: int) -> Expression:
    """Mark the packet."""
    return {"mangle": {"key": {"meta": {"key": "mark"}}, "value": mark}}


def clamp_mss() -> list[Expression]:
    """A SYN's MSS becomes at most what the routes of both directions carry (nft_rt.c, get_tcpmss)."""
    flags = {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["syn", "rst"]]}
    mss = {"tcp option": {"name": "maxseg", "field": "size"}}
    return [_match(flags, "syn", "=="), {"mangle": {"key": mss, "value": {"rt": {"key": "mtu"}}}}]


def _for_each_source(version: int, op: str, name: str, statement: Expression) -> Expression:
    return {"set": {"op": op, "elem": _header(version, "saddr"), "set": named_set(name), "stmt": [statement]}}


def _match(left: Any, right: Any, op: str) -> Expression:
    return {"match": {"op": op, "left": left, "right": right}}


def _icmp_type(version: int, what: str) -> Expression:
    protocol = "icmp" if version == 4 else "icmpv6"
    return _match({"payload": {"protocol": protocol, "field": "type"}}, what, "==")


def _original(version: int, field: str) -> Expression:
    return _ct_original(f"{_protocol(version)} {field}")


def _ct_original(key: str) -> Expression:
    return {"ct": {"key": key, "dir": "original"}}


def _header(version: int, field: str) -> Expression:
    return {"payload": {"protocol": _protocol(version), "field": field}}


def _protocol(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _prefix(text: str) -> Expression:
    address, _, length = text.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}
