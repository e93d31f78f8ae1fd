"""Options that several commands have, and what they are turned into."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_network
from typing import TYPE_CHECKING

from nconnect.errors import AddressError, UsageError
from nconnect.places import places

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nconnect.config import Config
    from nconnect.tunnel.control import IPNetwork

_PUBLIC_KEY = re.compile("[0-9a-fA-F]{64}")
_INTERFACE = re.compile(r"(?=.{1,15}$)[\w.+-]+\*?", re.ASCII)
_WHOLE = re.compile(r"\^(.*(?<!\\)(?:\\\\)*)\$")
"""A regular expression from ^ to $, and not to a dollar that a backslash makes a letter."""


def add_peer(parser: ArgumentParser) -> None:
    """`--peer`, the provider."""
    parser.add_argument(
        "--peer",
        metavar="ADDRESS",
        default="",
        help="The provider's NKN address: what its `nconnect id` prints.",
    )


def add_name(parser: ArgumentParser, default: str, help: str) -> None:
    """`--name`, of an instance."""
    parser.add_argument("--name", default=default, help=f"{help} [default: %(default)s]")


def add_to(parser: ArgumentParser) -> None:
    """`--to`, what is granted."""
    parser.add_argument(
        "--to",
        metavar="TARGET",
        action="append",
        help="What may be reached, e.g. 192.168.1.20:11434/tcp or 192.168.1.0/24, or a service of the "
        "policy file. With commas, or repeated; default: all that is served.",
    )


def add_rate(parser: ArgumentParser) -> None:
    """`--rate`, the most that a user gets."""
    parser.add_argument("--rate", help="Bits per second each way, e.g. 50mbit.")


def add_wait(parser: ArgumentParser) -> None:
    """`--wait`, for who is not let in yet."""
    parser.add_argument(
        "--wait",
        action="store_true",
        help="If the provider does not let you in yet, ask again until it does.",
    )


def add_seed_rpc(parser: ArgumentParser) -> None:
    """`--seed-rpc`, which `configuration` takes."""
    parser.add_argument(
        "--seed-rpc",
        metavar="URL",
        action="append",
        help="JSON-RPC of a seed node, instead of NKN's main net. Repeatable.",
    )


def add_detach(parser: ArgumentParser) -> None:
    """`--detach`, for `background.start`."""
    parser.add_argument("-d", "--detach", action="store_true", help="Go to the background once it runs.")


def add_forward(parser: ArgumentParser, help: str) -> None:
    """`--forward`, which `interfaces` takes."""
    parser.add_argument(
        "--forward",
        metavar="IFACE",
        action="append",
        help=f"{help} Also a pattern, e.g. 've-*'. With commas, or repeated.",
    )


def add_json(parser: ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument(
        "--json", dest="as_json", action="store_true", help="Print JSON, the stable interface."
    )


def configuration(seed_rpc: list[str] | None) -> Config:
    """The configuration file, with the seeds of the command line in their place.

    Raises:
        ConfigError: the file cannot be read, or holds what cannot be.
    """
    from nconnect.config import load, with_seeds
    from nconnect.nkn.config import ClientConfig

    config = with_seeds(load(places().config), tuple(seed_rpc or ()))
    # Looked at here already, so that a wrong URL is told before anything is touched.
    ClientConfig(seed_rpc=config.network.seed_rpc, sub_clients=config.network.sub_clients)
    return config


def split_commas(values: Iterable[str]) -> list[str]:
    """The values of an option that may be repeated, or be a list with commas."""
    return [part.strip() for value in values for part in value.split(",")]


def parse_network(text: str) -> IPNetwork:
    """A prefix in CIDR notation; host bits must be zero.

    Raises:
        AddressError: it is none; the message proposes what may have been meant.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise AddressError(f"{text!r} is not a network; write for instance 192.168.1.0/24") from error
        raise AddressError(f"{text!r} has bits set beyond its prefix; did you mean {meant}?") from error


def interfaces(given: list[str] | None, configured: tuple[str, ...]) -> tuple[str, ...]:
    """Names of interfaces, or patterns with an asterisk at their end; those given replace the configured.

    Raises:
        UsageError: one is neither.
    """
    names = tuple(split_commas(given or ())) or configured
    for name in names:
        # Narrower than the kernel is: nft reads some signs as more than a letter of a name.
        if not _INTERFACE.fullmatch(name):
            raise UsageError(f"{name!r} is not an interface; write for instance eth1, or ve-* for all ve-…")
    return names


def parse_host_port(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[IPv6]:port`, or `:port` for this machine.

    Raises:
        AddressError: it is none of them.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not port.isascii() or not port.isdecimal() or not 0 <= int(port[:6]) <= 65535:
        raise AddressError(f"{text!r} is not HOST:PORT; write for instance 127.0.0.1:8080 or [::1]:8080")
    return host or "127.0.0.1", int(port)


def parse_pattern(text: str) -> str:
    """A regular expression for whole NKN addresses; of a public key, for its owner with any identifier.

    Raises:
        UsageError: it is none, or one that a part of an address may match: the rest is its owner's choice.
    """
    if _PUBLIC_KEY.fullmatch(text):
        # Not the bare key: anybody may have it as the identifier of theirs.
        return rf"^(.*\.)?{text.lower()}$"
    try:
        re.compile(text)
    except re.error as error:
        raise UsageError(f"{text!r} is not a regular expression: {error}") from error
    inner = _WHOLE.fullmatch(text)
    if inner is None:
        raise UsageError(
            f"{text!r} need match a part of an address only, and the rest is its owner's choice; give the "
            "public key, or an expression for the whole address, from ^ to $"
        )
    return f"^(?:{inner[1]})$"  # so that ^a|b$ holds at both ends, too
