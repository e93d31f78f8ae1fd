"""`nconnect socks`: a SOCKS5 proxy into the provider's LAN, without root."""

from __future__ import annotations

from typing import Annotated

import typer

from nconnect.cli import background, invited
from nconnect.cli.options import Detach, SeedRPC, Wait, configuration, parse_host_port
from nconnect.cli.peers import check_not_connected
from nconnect.errors import UsageError
from nconnect.places import places


def command(
    peer: Annotated[
        str, typer.Option(help="The provider's NKN address: what its `nconnect id` prints.")
    ] = "",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where programs of this machine connect to.")
    ] = "127.0.0.1:1080",
    name: Annotated[str, typer.Option(help="Name of this connection.")] = "socks",
    invite: invited.Option = "",
    wait: Wait = False,
    seed_rpc: SeedRPC = None,
    detach: Detach = False,
) -> None:
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
        raise typer.Exit(background.start(where.state / "log" / f"{name}.log", text))
    keep_only(CAP_NET_BIND_SERVICE)
    key = load_or_create(where.state)
    if address.public_key == key.public_key:
        raise UsageError("that is this machine's own address; give the one that `nconnect id` prints there")
    # The rest of the program takes a second to load, which nobody shall wait for to hear of a typing error.
    from nconnect.cli import running, status
    from nconnect.forward.socks import Socks, SocksOptions

    options = SocksOptions(address, host, port, name, config.network, wait, token)
    raise typer.Exit(running.run(where, name, lambda: Socks(options, key, background.say), status.exit_code))
