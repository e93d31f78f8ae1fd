"""`nconnect socks`: a SOCKS5 proxy into the provider's LAN, without root."""

from __future__ import annotations

from argparse import ArgumentParser

from nconnect.cli import background, invited
from nconnect.cli.options import (
    add_detach,
    add_name,
    add_peer,
    add_seed_rpc,
    add_wait,
    configuration,
    parse_host_port,
)
from nconnect.cli.peers import check_not_connected
from nconnect.errors import UsageError
from nconnect.places import places


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect socks`."""
    add_peer(parser)
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default="127.0.0.1:1080",
        help="Where programs of this machine connect to. [default: %(default)s]",
    )
    add_name(parser, "socks", "Name of this connection.")
    invited.add_option(parser)
    add_wait(parser)
    add_seed_rpc(parser)
    add_detach(parser)


def command(
    peer: str,
    listen: str,
    name: str,
    invite: str,
    wait: bool,
    seed_rpc: list[str] | None,
    detach: bool,
) -> int:
    """Offer the provider's LAN as a SOCKS5 proxy, until `nconnect down` (or Ctrl-C).

    The provider runs `nconnect serve --no-tun`. Neither side needs root.
    """
    from nconnect.host.privileges import CAP_NET_BIND_SERVICE, keep_only
    from nconnect.tunnel.asking import check_name
    from nconnect.tunnel.identity import load_or_create

    check_name(name)
    host, port = parse_host_port(listen)
    config = configuration(seed_rpc)
    where = places()
    text = invited.read(invite)
    address, token = invited.provider(text, peer, config.up.peer)
    check_not_connected(where, address)
    if detach:
        return background.start(where.state / "log" / f"{name}.log", text)
    keep_only(CAP_NET_BIND_SERVICE)
    key = load_or_create(where.state)
    if address.public_key == key.public_key:
        raise UsageError("that is this machine's own address; give the one that `nconnect id` prints there")
    # The rest of the program takes a second to load, which nobody shall wait for to hear of a typing error.
    from nconnect.cli import running, status
    from nconnect.forward.socks import Socks, SocksOptions

    options = SocksOptions(address, host, port, name, config.network, wait, token)
    return running.run(where, name, lambda: Socks(options, key, background.say), status.exit_code)
