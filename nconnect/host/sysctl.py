"""Kernel switches under /proc/sys, by the names that sysctl(8) prints.

Writing a forwarding switch also rewrites others, which only its writer can put back: `side_effects` lists
them.
Sources: Documentation/networking/ip-sysctl.rst; net/ipv4/devinet.c inet_forward_change (all interfaces'
forwarding, and accept_redirects of "all"); net/ipv6/addrconf.c addrconf_fixup_forwarding.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from nconnect.errors import HostError
from nconnect.host.privileges import host_error

ROOT = Path("/proc/sys")

IPV4_FORWARD = "net.ipv4.ip_forward"
IPV6_FORWARD = "net.ipv6.conf.all.forwarding"

# sysctl(8) writes a dot of an interface's name (eth0.100) as a slash, since dots part the words.
_SWAP = str.maketrans("./", "/.")


def link_name(version: int, link: str, switch: str) -> str:
    """The name of a switch of one interface: link_name(4, "eth0.100", "rp_filter")."""
    return f"net.ipv{version}.conf.{link.translate(_SWAP)}.{switch}"


def writable(name: str) -> bool:
    """False if there is no such switch, or /proc/sys is read-only as containers have it."""
    return os.access(_path(name), os.W_OK)


def read(name: str) -> str | None:
    """The value, None if there is no such switch (any more)."""
    try:
        return _path(name).read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise host_error(error, f"read the sysctl {name}") from error


def write(name: str, value: str) -> bool:
    """Set the value; False if there is no such switch."""
    try:
        _path(name).write_text(value + "\n")
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.EROFS:
            option = f"--sysctl {name}={value}"
            raise HostError(f"cannot set the sysctl {name}: start the container with {option}") from error
        raise host_error(error, f"set the sysctl {name} to {value}") from error
    return True


def set_to(name: str, value: str) -> None:
    """Make sure of the value. HostError if it cannot be had."""
    # A container's /proc/sys may be read-only, which is no matter if the value is right already.
    if read(name) != value and not write(name, value):
        raise HostError(f"cannot set {name}: this kernel has no such sysctl")


def forwards() -> bool:
    """Whether this machine forwards packets of any version."""
    return "1" in (read(IPV4_FORWARD), read(IPV6_FORWARD))


def side_effects(name: str) -> dict[str, str]:
    """The switches that writing `name` changes too, with their values now."""
    if name == IPV4_FORWARD:
        pattern, extra = "net/ipv4/conf/*/forwarding", ["net/ipv4/conf/all/accept_redirects"]
    elif name == IPV6_FORWARD:
        pattern, extra = "net/ipv6/conf/*/forwarding", []
    else:
        return {}
    paths = [*ROOT.glob(pattern), *(ROOT / path for path in extra)]
    names = [str(path.relative_to(ROOT)).translate(_SWAP) for path in sorted(paths)]
    return {one: value for one in names if one != name and (value := read(one)) is not None}


def _path(name: str) -> Path:
    return ROOT / name.translate(_SWAP)
