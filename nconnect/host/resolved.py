"""systemd-resolved: questions for some domains go to a server of ours, by way of a link; all others do not.

What is set belongs to the link and goes with it, so there is nothing to undo.
Source: org.freedesktop.resolve1(5); resolved checks the caller by polkit, unless it is root.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from jeepney import DBusAddress, DBusErrorResponse, MessageFlag, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.asyncio import DBusRouter, Proxy, open_dbus_router
from jeepney.io.common import RouterClosed
from jeepney.wrappers import unwrap_msg

from nconnect.errors import HostError, NconnectError, PrivilegeError
from nconnect.host import resolvconf

NAME = "org.freedesktop.resolve1"
MANAGER = DBusAddress("/org/freedesktop/resolve1", NAME, f"{NAME}.Manager")
STUB_FILES = "/run/systemd/resolve/"
"""Where /etc/resolv.conf leads if whoever reads it asks systemd-resolved."""
STUBS = {"127.0.0.53", "127.0.0.54"}
NSSWITCH = Path("/etc/nsswitch.conf")
CALL_TIMEOUT = 5.0
"""Seconds for each call: local ones, to a daemon that may be starting."""

_NO_OWNER = "org.freedesktop.DBus.Error.NameHasNoOwner"
_DENIED = (
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
)


@dataclass(frozen=True)
class LinkNames:
    """What resolved is to know of a link."""

    index: int
    address: IPv4Address
    """Of the server."""
    port: int
    domains: tuple[str, ...]
    """Whose names the server is asked for, and no others'."""


async def owner() -> str:
    """Who is systemd-resolved on the system bus, another name after each start; empty if it does not run.

    Raises:
        HostError: the bus is there and does not answer.
    """
    return await _on_bus(_owner)


async def set_names(names: LinkNames) -> str:
    """Have resolved ask the link's server for these domains; as `owner`, empty if there is no resolved.

    Raises:
        PrivilegeError: it lets this user set nothing.
        HostError: it refuses, or the bus does not answer.
    """

    async def tell(router: DBusRouter) -> str:
        found = await _owner(router)
        if found:
            for method, signature, *arguments in _calls(names):
                call = new_method_call(MANAGER, method, f"i{signature}", (names.index, *arguments))
                call.header.flags |= MessageFlag.no_auto_start
                async with asyncio.timeout(CALL_TIMEOUT):
                    unwrap_msg(await router.send_and_get_reply(call))
        return found

    return await _on_bus(tell)


async def _on_bus(talk: Callable[[DBusRouter], Awaitable[str]]) -> str:
    try:
        async with asyncio.timeout(CALL_TIMEOUT) as limit, open_dbus_router("SYSTEM") as router:
            limit.reschedule(None)
            return await talk(router)
    except (FileNotFoundError, ConnectionRefusedError):
        return ""  # no bus, as in a container
    except _BUS_ERRORS as error:
        raise _error(error) from error


def is_asked() -> bool:
    """Whether programs on this machine ask systemd-resolved: by resolv.conf, or by nss-resolve."""
    if str(resolvconf.PATH.resolve()).startswith(STUB_FILES):
        return True
    lines = [*_lines(resolvconf.PATH), *_lines(NSSWITCH)]
    return any(
        (words[0] == "nameserver" and not STUBS.isdisjoint(words))
        or (words[0] == "hosts:" and "resolve" in words)
        for words in map(str.split, lines)
        if words
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


async def _owner(router: DBusRouter) -> str:
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            (found,) = await Proxy(message_bus, router).GetNameOwner(NAME)
    except DBusErrorResponse as error:
        if error.name == _NO_OWNER:
            return ""
        raise
    return str(found)


def _calls(names: LinkNames) -> Sequence[tuple[object, ...]]:
    """Method, signature after the link's index, arguments; the domains last, for they bring the questions."""
    server = (int(socket.AF_INET), names.address.packed, names.port, "")
    return (
        ("SetLinkDNSEx", "a(iayqs)", [server]),
        ("SetLinkDefaultRoute", "b", False),
        # Names of a LAN are signed by nobody, and a server on this machine is asked in the clear.
        ("SetLinkDNSSEC", "s", "no"),
        ("SetLinkDNSOverTLS", "s", "no"),
        ("SetLinkLLMNR", "s", "no"),
        ("SetLinkMulticastDNS", "s", "no"),
        ("SetLinkDomains", "a(sb)", [(domain, True) for domain in names.domains]),
    )


_HUNG_UP = (EOFError, RouterClosed, KeyError, asyncio.InvalidStateError)
"""jeepney: the bus goes away; during a call it trips over itself then, which are the last two."""
_BUS_ERRORS = (DBusErrorResponse, TimeoutError, OSError, ValueError, RuntimeError, *_HUNG_UP)
"""The same: an error that was answered; none in time; and a bus that goes away or cannot be talked to."""


def _error(error: BaseException) -> NconnectError:
    if isinstance(error, _HUNG_UP):
        return HostError("the system's D-Bus cannot be asked: it hung up")
    if not isinstance(error, DBusErrorResponse):
        return HostError(f"the system's D-Bus cannot be asked: {str(error) or 'no answer in time'}")
    says = error.data[0] if error.data else error.name
    if error.name in _DENIED:
        return PrivilegeError(f"systemd-resolved takes names from root, or whom polkit allows it: {says}")
    return HostError(f"systemd-resolved refuses: {says}")
