"""Options of `up` about prefixes that this machine has itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nconnect.cli.options import parse_network, split_commas
from nconnect.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nconnect.config import UpSection
    from nconnect.tunnel.remapping import MapOptions


def add_options(parser: ArgumentParser) -> None:
    """Those of `up` that `options` takes."""
    parser.add_argument(
        "--map",
        dest="given",
        metavar="REAL=HERE",
        action="append",
        help="Call a network of the provider's by another prefix, e.g. 192.168.1.0/24=10.201.7.0/24; done "
        "by itself if this machine has that network too. With commas, or repeated.",
    )
    parser.add_argument(
        "--map-pool",
        metavar="CIDR",
        action="append",
        help="Where such prefixes come from, instead of 10.192.0.0/10, 198.18.0.0/15 and "
        "fd6e:636f:6e6e::/48. With commas, or repeated.",
    )
    parser.add_argument(
        "--no-map", action="store_true", help="Leave out what this machine has itself, instead of mapping it."
    )


def options(
    configured: UpSection, given: list[str] | None, pools: list[str] | None, no_map: bool
) -> MapOptions:
    """What the user wants; each option replaces its setting in the configuration.

    Raises:
        UsageError: one is wrong.
    """
    from nconnect.tunnel.mapping import POOLS, parse
    from nconnect.tunnel.remapping import MapOptions
    from nconnect.tunnel.routes import check_name

    mappings = tuple(map(parse, split_commas(given or ()) or configured.maps))
    if no_map and pools:
        raise UsageError("--no-map leaves nothing for --map-pool to do")
    networks = tuple(map(parse_network, split_commas(pools or ()) or configured.map_pools)) or POOLS
    for network in networks:
        check_name(network)
    return MapOptions(mappings, networks, automatic=not no_map)
