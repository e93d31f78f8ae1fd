"""`nconnect tunnel`: one port of one machine at another, compatible with nkn-tunnel, without root."""

from __future__ import annotations

import re
from argparse import ArgumentParser

from nconnect.cli import background
from nconnect.cli.options import (
    add_detach,
    add_name,
    add_seed_rpc,
    configuration,
    parse_host_port,
    parse_pattern,
)
from nconnect.cli.peers import check_address_free
from nconnect.errors import UsageError
from nconnect.places import places

NKN = "nkn"
HEX_DIGITS = 64
"""Of a public key."""
NAMES_KEY = re.compile(rf"^[^|]*[0-9a-f]{{{HEX_DIGITS}}}\)?\$$")
"""A pattern for addresses of one key."""


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect tunnel`."""
    parser.add_argument(
        "--to",
        metavar="HOST:PORT|ADDRESS",
        required=True,
        help="Where connections go: a server, or an NKN address.",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="HOST:PORT|nkn",
        default=NKN,
        help="Where they come from: a port, or nkn. [default: %(default)s]",
    )
    parser.add_argument(
        "--accept",
        metavar="PATTERN",
        action="append",
        help="With --from nkn: who may connect, a public key or a regular expression, from ^ to $, for NKN "
        "addresses. Repeatable; default: nobody.",
    )
    parser.add_argument("--udp", action="store_true", help="Datagrams too; both ends must be nconnect.")
    parser.add_argument(
        "--identifier",
        default="",
        help="Of the own NKN address. [default: the name; random where this end dials]",
    )
    add_name(parser, "tunnel", "Name of this tunnel.")
    add_seed_rpc(parser)
    add_detach(parser)


def command(
    to: str,
    source: str,
    accept: list[str] | None,
    udp: bool,
    identifier: str,
    name: str,
    seed_rpc: list[str] | None,
    detach: bool,
) -> int:
    """Forward a port to an NKN address, or an NKN address to a port, until `nconnect down` (or Ctrl-C).

    Speaks to nkn-tunnel, but accepts nobody who is not named. Who is, is said here alone: `nconnect allow`
    and `revoke` change nothing in a tunnel. To let somebody in no longer, start it anew without them.
    """
    from nconnect.forward.socks5 import Target
    from nconnect.host.privileges import CAP_NET_BIND_SERVICE, keep_only
    from nconnect.nkn.addresses import Address
    from nconnect.tunnel.asking import check_name
    from nconnect.tunnel.identity import load_or_create

    check_name(name)
    is_exit = source.lower() in ("", NKN)
    patterns = tuple(parse_pattern(text) for text in accept or ())
    if is_exit != (":" in to):
        raise UsageError(
            "one end is the NKN network: --from HOST:PORT --to ADDRESS, or --from nkn --to HOST:PORT"
        )
    if is_exit and not patterns:
        raise UsageError(
            "who may connect? give --accept PATTERN, e.g. the user's key: nobody is let in by default"
        )
    if patterns and not is_exit:
        raise UsageError("--accept is for --from nkn: this end only dials")
    host, port = parse_host_port(to if is_exit else source)
    if identifier:
        Address.parse(f"{identifier}.{'0' * HEX_DIGITS}")
    if not is_exit and len(to.rpartition(".")[2]) >= HEX_DIGITS:
        Address.parse(to)  # anything shorter may be a registered name
    near = Target(host, port)
    config = configuration(seed_rpc)
    where = places()
    if detach:
        return background.start(where.state / "log" / f"{name}.log")
    keep_only(CAP_NET_BIND_SERVICE)
    key = load_or_create(where.state)
    if identifier:
        check_address_free(where, Address(identifier, key.public_key))
    for pattern in patterns:
        if not NAMES_KEY.search(pattern):
            background.say(
                f"warning: --accept {pattern} does not end with one key, so it may let in keys that you do "
                "not know; all else in an address is its owner's choice"
            )
    # The rest of the program takes a second to load, which nobody shall wait for to hear of a typing error.
    from nconnect.cli import running, status
    from nconnect.forward.tunnel import Entry, Exit, TunnelOptions

    options = TunnelOptions(near, udp, name, config.network, identifier)

    def make() -> running.Service:
        if is_exit:
            return Exit(options, patterns, key, background.say)
        return Entry(options, to, key, background.say)

    return running.run(where, name, make, status.exit_code)
