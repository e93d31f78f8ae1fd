"""The journal of an instance that crashed, on a disk that may have been full or broken."""

from __future__ import annotations

from nconnect.host.changes import AddressAdded, LinkUp, RouteAdded, RuleAdded, SysctlSet, TableMade
from nconnect.host.journal import Header, encode, parse

# It never raises: whoever cleans up wants what can be read.
ERRORS = ()


def seeds() -> list[bytes]:
    header = Header(1, "home", 42, "a-boot", "cookie 7")
    whole = encode(
        (
            header,
            TableMade("nconnect_home"),
            SysctlSet("net.ipv4.ip_forward", "0", "1", {"net.ipv4.conf.eth0.forwarding": "0"}),
            LinkUp("nc0", 7, 1400, (("net.ipv6.conf.nc0.disable_ipv6", "0"),)),
            AddressAdded("nc0", 7, "100.64.0.2/32"),
            RouteAdded("nc0", "10.0.0.0/8", 700_007, "unicast"),
            RuleAdded(5200, 700_007, 4, 0x1063, True),
        )
    )
    return [whole, whole[:-5], encode((header,))]


def run(data: bytes) -> None:
    contents = parse(data)
    assert contents.damaged + len(contents.changes) + (contents.header is not None) <= data.count(b"\n")
    records = (*([contents.header] if contents.header else []), *contents.changes)
    again = parse(encode(records))
    assert (again.header, again.changes, again.damaged) == (contents.header, contents.changes, 0)
