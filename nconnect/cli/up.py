"""`nconnect up`: be on the provider's LAN."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction

from nconnect.cli import background, invited, mapping, naming
from nconnect.cli.options import (
    add_detach,
    add_forward,
    add_name,
    add_peer,
    add_seed_rpc,
    add_wait,
    configuration,
    interfaces,
    parse_network,
    split_commas,
)
from nconnect.cli.peers import check_not_connected
from nconnect.errors import UsageError
from nconnect.places import places


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect up`."""
    add_peer(parser)
    parser.add_argument(
        "--accept-route",
        metavar="CIDR",
        action="append",
        help="A public network that the provider may offer. Repeatable.",
    )
    add_name(parser, "up", "Name of this connection, and of its interface nc-NAME.")
    invited.add_option(parser)
    parser.add_argument(
        "--kill-switch",
        action=BooleanOptionalAction,
        help="What it routes goes nowhere else until it is connected, nor if it dies or fails, until `up` or "
        "`cleanup`. [default: no]",
    )
    mapping.add_options(parser)
    naming.add_accepted(parser)
    add_forward(parser, "An interface from which packets go into the tunnel, where this machine forwards.")
    add_wait(parser)
    add_seed_rpc(parser)
    add_detach(parser)


def command(
    peer: str,
    accept_route: list[str] | None,
    name: str,
    invite: str,
    kill_switch: bool | None,
    given: list[str] | None,
    map_pool: list[str] | None,
    no_map: bool,
    accept_domain: list[str] | None,
    resolv_conf: bool,
    no_names: bool,
    forward: list[str] | None,
    wait: bool,
    seed_rpc: list[str] | None,
    detach: bool,
) -> int:
    """Be on the provider's LAN: its addresses answer until `nconnect down` (or Ctrl-C)."""
    from nconnect.host.privileges import CAP_NET_ADMIN, keep_only, require_net_admin
    from nconnect.tunnel.asking import check_name
    from nconnect.tunnel.identity import load_or_create

    check_name(name)
    config = configuration(seed_rpc)
    where = places()
    text = invited.read(invite)
    address, token = invited.provider(text, peer, config.up.peer)
    accept = tuple(map(parse_network, accept_route or ()))
    maps = mapping.options(config.up, given, map_pool, no_map)
    naming.check_wanted(no_names, resolv_conf, accept_domain or [])
    domains = naming.domains(split_commas(accept_domain or ()) or list(config.up.accept_domains))
    resolv_conf = resolv_conf or config.up.resolv_conf
    forwarded = interfaces(forward, config.up.forward)
    kill_switch = config.up.kill_switch if kill_switch is None else kill_switch
    require_net_admin("nconnect up")
    check_not_connected(where, address)
    if detach:
        return background.start(where.state / "log" / f"{name}.log", text)
    # Now: port 53 takes a right that is given up with the next line.
    sockets = None if no_names or not config.up.names else naming.bind(name, needed=resolv_conf)
    keep_only(CAP_NET_ADMIN)
    key = load_or_create(where.state)
    if address.public_key == key.public_key:
        raise UsageError("that is this machine's own address; give the one that `nconnect id` prints there")
    # The rest of the program takes a second to load, which nobody shall wait for to hear of a typing error.
    from nconnect.cli import running, status
    from nconnect.tunnel.connector import Connector, ConnectorOptions

    names = naming.options(sockets, where, name, domains, resolv_conf) if sockets else None
    closed = where.closed(name) if kill_switch else None
    kept = where.journal(name), where.addresses(name)
    options = ConnectorOptions(
        address, name, config.network, *kept, accept, wait, token, closed, names, maps, forwarded
    )
    return running.run(where, name, lambda: Connector(options, key, background.say), status.exit_code)
