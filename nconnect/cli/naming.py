"""Options about names, of `serve` and `up`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nconnect.cli import background
from nconnect.cli.options import split_commas
from nconnect.errors import HostError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nconnect.config import ServeSection
    from nconnect.names.listening import Sockets
    from nconnect.places import Places
    from nconnect.tunnel.naming import NamingOptions
    from nconnect.tunnel.offer import Offer

DEFAULT_NAME = "up"
"""What a connection is called whose user called it nothing: no name for a provider."""


def add_offered(parser: ArgumentParser) -> None:
    """Options of `serve`, which `offer` takes."""
    parser.add_argument(
        "--dns",
        metavar="ADDRESS",
        action="append",
        help="The LAN's resolver, for those who may reach it. With commas, or repeated.",
    )
    parser.add_argument(
        "--domain",
        metavar="DOMAIN",
        action="append",
        help="A domain that it knows, e.g. lan. With commas, or repeated.",
    )
    parser.add_argument(
        "--host",
        metavar="NAME=ADDRESS",
        action="append",
        help="A name for users, e.g. gpu=192.168.1.20. With commas, or repeated.",
    )


def add_accepted(parser: ArgumentParser) -> None:
    """Options of `up`, of which `check_wanted` says whether they go together."""
    parser.add_argument(
        "--accept-domain",
        metavar="DOMAIN",
        action="append",
        help="A domain of the Internet, or of this network, for the provider. Repeatable.",
    )
    parser.add_argument(
        "--resolv-conf",
        action="store_true",
        help="Without systemd-resolved: be asked for names first, by /etc/resolv.conf.",
    )
    parser.add_argument("--no-names", action="store_true", help="Leave the provider's names alone.")


def offer(
    configured: ServeSection, dns: list[str] | None, domain: list[str] | None, host: list[str] | None
) -> Offer:
    """The names that `serve` offers; each option replaces its setting in the configuration.

    Raises:
        UsageError: one is wrong.
    """
    from nconnect.tunnel.offer import parse

    return parse(
        split_commas(dns or ()) or configured.dns,
        split_commas(domain or ()) or configured.domains,
        split_commas(host or ()) or configured.hosts,
    )


def bind(name: str, *, needed: bool) -> Sockets | None:
    """Sockets for the names of an instance; None, and a word about it, if none can be had.

    Raises:
        HostError: none can be had, and they are `needed`.
    """
    from nconnect.names import listening

    try:
        return listening.bind(name)
    except HostError as error:
        if needed:
            raise
        background.say(f"warning: {error}; the provider's names are not known here")
        return None


def options(
    sockets: Sockets, where: Places, name: str, accept: tuple[str, ...], resolv_conf: bool
) -> NamingOptions:
    """What the instance `name` does about names."""
    from nconnect.names.zone import label
    from nconnect.tunnel.asking import running
    from nconnect.tunnel.naming import NamingOptions

    return NamingOptions(
        sockets,
        name,
        accept,
        resolv_conf,
        "" if name == DEFAULT_NAME else label(name),
        lambda: {label(other) for other in running(where) if other != name},
        label(name),
    )


def domains(texts: list[str]) -> tuple[str, ...]:
    """Domains to be accepted.

    Raises:
        UsageError: one is none.
    """
    from nconnect.names.zone import parse_domain

    return tuple(map(parse_domain, texts))


def check_wanted(no_names: bool, resolv_conf: bool, accept: list[str]) -> None:
    """UsageError if names are refused and asked for."""
    if no_names and (resolv_conf or accept):
        raise UsageError("--no-names leaves nothing for --resolv-conf and --accept-domain to do")
