"""`nconnect serve`: let chosen people onto this LAN."""

from __future__ import annotations

from argparse import ArgumentParser

from nconnect.cli import background, naming
from nconnect.cli.options import (
    add_detach,
    add_forward,
    add_name,
    add_seed_rpc,
    configuration,
    interfaces,
    parse_network,
    split_commas,
)
from nconnect.config import MAX_MTU, MIN_MTU
from nconnect.errors import UsageError
from nconnect.places import places


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect serve`."""
    parser.add_argument(
        "--lan",
        metavar="CIDR",
        action="append",
        help="The networks that users may reach, e.g. 192.168.1.0/24. With commas, or repeated.",
    )
    parser.add_argument(
        "--allow",
        metavar="KEY",
        action="append",
        help="Keys to let in as long as this runs; `nconnect allow` says more. With commas, or repeated.",
    )
    naming.add_offered(parser)
    add_name(parser, "serve", "Name of this gateway, and of its interface nc-NAME.")
    parser.add_argument(
        "--mtu",
        metavar="BYTES",
        type=int,
        help="Of packets in the tunnel; less than 1500 where larger ones get lost behind this LAN. "
        f"[{MIN_MTU} to {MAX_MTU}]",
    )
    parser.add_argument(
        "--no-tun", action="store_true", help="No TUN device, no root: users connect with `nconnect socks`."
    )
    parser.add_argument(
        "--lease",
        metavar="TIME",
        default="",
        help="How long a user who is not heard of keeps address and connections, e.g. 1h. [default: 10m]",
    )
    add_forward(
        parser,
        "An interface from which packets go to any other, where this machine forwards because it serves.",
    )
    add_seed_rpc(parser)
    add_detach(parser)


def command(
    lan: list[str] | None,
    allow: list[str] | None,
    dns: list[str] | None,
    domain: list[str] | None,
    host: list[str] | None,
    name: str,
    mtu: int | None,
    no_tun: bool,
    lease: str,
    forward: list[str] | None,
    seed_rpc: list[str] | None,
    detach: bool,
) -> int:
    """Let exactly the allowed keys reach this machine's LAN."""
    from nconnect.host.privileges import CAP_NET_ADMIN, keep_only, require_net_admin
    from nconnect.permission.grants import parse_duration
    from nconnect.permission.keys import parse_key
    from nconnect.tunnel.asking import check_name
    from nconnect.tunnel.identity import load_or_create, serving

    check_name(name)
    if mtu is not None and not MIN_MTU <= mtu <= MAX_MTU:
        raise UsageError(f"--mtu is {MIN_MTU} to {MAX_MTU} bytes, not {mtu}")
    config = configuration(seed_rpc)
    where = places()
    networks = tuple(parse_network(text) for text in split_commas(lan or ()) or config.serve.lan)
    if not networks:
        raise UsageError("which network? give --lan CIDR, e.g. --lan 192.168.1.0/24")
    keys = frozenset(parse_key(text) for text in (*split_commas(allow or ()), *config.serve.allow))
    names = naming.offer(config.serve, dns, domain, host)
    if no_tun and (dns or domain or host):
        raise UsageError("with --no-tun names are those that this machine knows, without --dns and --host")
    if no_tun and lease:
        raise UsageError("--lease has no meaning with --no-tun: connections end with the link there")
    if no_tun and forward:
        raise UsageError("with --no-tun this machine forwards nothing, and --forward has nothing to say")
    forwarded = interfaces(forward, config.serve.forward)
    lease_seconds = parse_duration(lease or config.serve.lease)
    if no_tun and mtu:
        raise UsageError("with --no-tun connections are this machine's own, and --mtu has nothing to say")
    if not no_tun:
        require_net_admin("nconnect serve")
    if detach:
        return background.start(where.state / "log" / f"{name}.log")
    keep_only(*(() if no_tun else (CAP_NET_ADMIN,)))
    key = load_or_create(where.state)
    # The rest of the program takes a second to load, which nobody shall wait for to hear of a typing error.
    from nconnect.cli import running, status
    from nconnect.permission.audit import DIRECTORY, Audit
    from nconnect.permission.authority import Authority
    from nconnect.permission.issued import Invites

    def make() -> running.Service:
        authority = Authority.open(where, keys)
        invites = Invites(authority.store, key)
        authority.redeemer, authority.expects = invites.redeem, invites.expects
        authority.on_event = Audit(where.state / DIRECTORY, background.say).record
        if no_tun:
            from nconnect.forward.destinations import Destinations
            from nconnect.forward.provider import Provider
            from nconnect.host.networks import Router
            from nconnect.tunnel.providing import ProvidingOptions

            forwarding = ProvidingOptions(networks, name, config.network)
            return Provider(forwarding, key, background.say, Destinations(Router()), authority)
        from nconnect.tunnel.gateway import Gateway, GatewayOptions

        routing = GatewayOptions(
            lan=networks,
            name=name,
            network=config.network,
            journal=where.journal(name),
            leases=where.state / "leases.json",
            pool4=config.serve.pool4,
            pool6=config.serve.pool6,
            mtu=mtu or config.serve.mtu,
            names=names,
            lease_seconds=lease_seconds,
            forward=forwarded,
        )
        return Gateway(routing, key, background.say, authority)

    with serving(where.state):
        return running.run(where, name, make, status.exit_code)
