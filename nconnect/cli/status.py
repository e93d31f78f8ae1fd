"""`nconnect status`: how the instances are."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nconnect.cli import background
from nconnect.cli.cleanup import closed_lines
from nconnect.cli.options import add_json
from nconnect.errors import NotRunningError
from nconnect.places import places

if TYPE_CHECKING:
    from nconnect.tunnel.status import NamesStatus, ServeStatus, SocksStatus, Status, TunnelStatus, UpStatus

EXIT_CODES = {"connected": 0, "serving": 0}
"""Every other state is degraded: 4."""

LABEL_WIDTH = 18
"""Columns; the longest label has 17."""


def exit_code(status: Status) -> int:
    """The exit code for an instance in this state."""
    return EXIT_CODES.get(status.state, 4)


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect status`."""
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="Which one; all if not given.")
    add_json(parser)


def command(name: str, as_json: bool) -> int:
    """Show what runs, its paths, routes and users. Exit code 0: all is well, 3: not running, 4: degraded."""
    from nconnect.tunnel import asking
    from nconnect.tunnel.status import decode

    where = places()
    names = [name] if name else asking.running(where)
    if not names:
        raise NotRunningError("\n".join(["nothing is running", *closed_lines(where)]))
    answers = [asking.ask(where, each, "status") for each in names]
    statuses = [decode(answer) for answer in answers]
    if as_json:
        for answer in answers:
            print(answer.decode().rstrip())
    else:
        for status in statuses:
            for label, value in _lines(status):
                line = f"{label:<{LABEL_WIDTH}} {value}".rstrip()
                print(background.clean(line.replace("\n", "?")))
        for line in closed_lines(where):
            print(line, file=sys.stderr)
    return max(map(exit_code, statuses))


def _lines(status: Status) -> Iterator[tuple[str, str]]:
    """What to print, a label and a value a line. Values are never cut: keys are there to be copied."""
    from nconnect.tunnel.status import ServeStatus, SocksStatus, TunnelStatus, UpStatus

    yield status.name, _health(status)
    match status:
        case UpStatus():
            yield from _up_lines(status)
        case ServeStatus():
            yield from _serve_lines(status)
        case SocksStatus():
            yield from _socks_lines(status)
        case TunnelStatus():
            yield from _tunnel_lines(status)
    nodes = [path.node for path in status.paths if path.state == "ready"]
    if isinstance(status, UpStatus | ServeStatus) and (dropped := _dropped(status.packets)):
        yield "dropped", dropped
    if isinstance(status, UpStatus) and status.state == "connected":
        yield "paths in use", f"{sum(path.in_use for path in status.paths)} of {len(status.paths)}"
    yield "paths", f"{len(nodes)} of {len(status.paths)}" + (f" via {', '.join(nodes)}" if nodes else "")


def _health(status: Status) -> str:
    """State, age and reason, as in `reconnecting for 12 s: no answer from the provider since 14 s`."""
    ready = sum(path.state == "ready" for path in status.paths)
    some = f" ({ready} of {len(status.paths)} paths)" if status.state == "degraded" else ""
    reason = f": {status.reason}" if status.reason else ""
    return f"{status.state}{some} for {_age(status.state_seconds)}{reason}"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _up_lines(status: UpStatus) -> Iterator[tuple[str, str]]:
    yield _peer_line(status)
    yield "interface", f"{status.interface} {', '.join(status.addresses)}"
    for route in status.routes:
        if route.installed or route.reason:
            yield "route", route.prefix + ("" if route.installed else f"  left out: {route.reason}")
    for one in status.mappings:
        yield "route", f"{one.real} at {status.peer_name or status.peer} → {one.seen}"
    if status.names is not None:
        yield from _names_lines(status.names)
    yield from _link_lines(status)


def _names_lines(names: NamesStatus) -> Iterator[tuple[str, str]]:
    known = [*names.hosts, *(f"*.{domain}" for domain in names.domains)]
    if known:
        yield "names", ", ".join(known)
        unknown = f"  programs do not know them: {names.reason}" if names.reason else ""
        asked = f" asks {names.server}" if names.via else f"nobody asks {names.server}"
        yield "resolver", names.via + asked + unknown
    for domain in names.left_out:
        yield "domain", f"left out: {domain}"


def _socks_lines(status: SocksStatus) -> Iterator[tuple[str, str]]:
    yield _peer_line(status)
    yield "proxy", f"socks5h://{status.listen}"
    yield "networks", ", ".join(status.networks)
    yield "connections", f"{status.connections}, and {_count(status.associations, 'UDP association')}"
    yield from _link_lines(status)


def _peer_line(status: UpStatus | SocksStatus) -> tuple[str, str]:
    return "peer", status.peer + (f" ({status.peer_name})" if status.peer_name else "")


def _link_lines(status: UpStatus | SocksStatus) -> Iterator[tuple[str, str]]:
    if status.key_exchange_group:
        yield "keys", f"TLS 1.3, {status.key_exchange_group}"
    rtt = "" if status.rtt_ms is None else f", round trip {status.rtt_ms:.1f} ms"
    yield "traffic", f"{status.bytes_in:,} bytes in, {status.bytes_out:,} out{rtt}"
    silent = status.silent_seconds
    yield "last sign of life", "none yet" if silent is None else f"{silent:.1f} s ago"


def _tunnel_lines(status: TunnelStatus) -> Iterator[tuple[str, str]]:
    yield "address", status.address
    yield "from", status.source
    yield "to", status.target + (", TCP and UDP" if status.udp else "")
    for pattern in status.accept:
        yield "accepts", pattern
    yield "connections", f"{status.connections}, and {_count(status.flows, 'flow')} of datagrams"
    if status.failures:
        yield "failed", f"{status.failures}, the last one: {status.last_failure}"
    yield "traffic", f"{status.bytes_in:,} bytes in, {status.bytes_out:,} out"


def _serve_lines(status: ServeStatus) -> Iterator[tuple[str, str]]:
    yield "address", status.address
    yield "networks", ", ".join(status.lan)
    yield "pool", ", ".join(status.pool) or "none: no TUN device, for `nconnect socks`"
    yield "allowed", _count(status.allowed, "key")
    for user in status.users:
        place = user.addresses[0] if user.addresses else _count(user.connections or 0, "connection")
        traffic = f"{user.bytes_in:,} bytes in, {user.bytes_out:,} out"
        yield "user", f"{user.name or 'no name'} {place} {user.key} {traffic}"
    for lease in status.held:
        yield "held", f"{', '.join(lease.addresses[:1])} {lease.key} for {_age(lease.seconds)} more".lstrip()
    for knock in status.knocks:
        yield "not let in", f"{knock.key} {knock.name} ({_count(knock.count, 'time')})"


def _dropped(packets: dict[str, int]) -> str:
    """What the pump has dropped, by reason."""
    counts = {name.removeprefix("dropped_"): n for name, n in packets.items() if name.startswith("dropped_")}
    return ", ".join(f"{_count(n, 'packet')} ({name.replace('_', ' ')})" for name, n in counts.items() if n)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
