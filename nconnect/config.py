"""Configuration: one TOML file and the environment, parsed once into frozen objects."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from nconnect.errors import ConfigError

MAIN_NET_SEEDS = (
    "http://seed.nkn.org:30003",
    *(f"http://mainnet-seed-{number:04d}.nkn.org:30003" for number in range(1, 9)),
)
"""The public seeds of NKN's main net, the default of `up` and `serve` (nkn-sdk-go config.go)."""

MAX_CONFIG_BYTES = 1 << 20
"""A configuration is written by hand: a megabyte means that the path names something else."""


MIN_MTU = 1280
"""The smallest that IPv6 allows (RFC 8200, 5)."""
MAX_MTU = 65535


class NetworkSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[network]`: which NKN network, and how many paths."""

    seed_rpc: tuple[str, ...] = MAIN_NET_SEEDS
    """JSON-RPC addresses that are asked where a client belongs; the next one on failure."""
    sub_clients: int = 4
    """Websockets to different nodes, each a path of its own (NKN's MultiClient default)."""


class UpSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[up]`: the user's side."""

    peer: str = ""
    """The provider's NKN address, used where `--peer` is not given."""
    names: bool = True
    """Whether programs are told of the provider's names."""
    accept_domains: tuple[str, ...] = ()
    """Domains that the provider may have although they mean something elsewhere."""
    resolv_conf: bool = False
    """Whether our resolver goes into resolv.conf where systemd-resolved does not run."""
    maps: tuple[str, ...] = ()
    """Prefixes of the provider and what to call them here, REAL=HERE."""
    kill_switch: bool = False
    """Whether the provider's prefixes lead nowhere while there is no connection, until `down`."""
    map_pools: tuple[str, ...] = ()
    """Where prefixes come from for what this machine has itself; empty: as `nconnect up --help` says."""
    forward: tuple[str, ...] = ()
    """Interfaces, or patterns as `ve-*`, from which packets go into the tunnel if this machine forwards."""


class ServeSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[serve]`: the provider's side."""

    lan: tuple[str, ...] = ()
    """Prefixes (CIDR) that users may reach."""
    allow: tuple[str, ...] = ()
    """Public keys (64 hex digits) or NKN addresses of the users who are let in."""
    pool4: str = ""
    """Overlay addresses for users, IPv4 (CIDR); empty: a /20 of 100.64.0.0/10 chosen by the own key."""
    pool6: str = ""
    """The same for IPv6, a /64; empty: a unique local prefix (RFC 4193) chosen by the own key."""
    mtu: Annotated[int, msgspec.Meta(ge=MIN_MTU, le=MAX_MTU)] = 1500
    """Bytes of the largest packet in the tunnel: less where larger ones get lost behind this LAN unheard."""
    dns: tuple[str, ...] = ()
    """Addresses of the LAN's resolvers."""
    domains: tuple[str, ...] = ()
    """What they know."""
    hosts: tuple[str, ...] = ()
    """Other names for users, `NAME=ADDRESS` each."""
    lease: str = "10m"
    """For how long a user's address and connections are held while the user is not heard of."""
    forward: tuple[str, ...] = ()
    """The same, from which packets go to others if this machine forwards because it serves."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    network: NetworkSection = NetworkSection()
    up: UpSection = UpSection()
    serve: ServeSection = ServeSection()


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration; a missing file is the default one.

    `NCONNECT_SEED_RPC` (comma-separated) replaces `[network] seed_rpc`.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has a wrong or unknown setting.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        raw = b""
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes; is it a configuration file?")
    try:
        config = msgspec.convert(tomllib.loads(raw.decode()), Config)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error
    seeds = environment.get("NCONNECT_SEED_RPC")
    return (
        with_seeds(config, tuple(seed.strip() for seed in seeds.split(",") if seed.strip()))
        if seeds
        else config
    )


def with_seeds(config: Config, seeds: tuple[str, ...]) -> Config:
    """The same configuration on the network of other seeds; none given changes nothing."""
    if not seeds:
        return config
    return msgspec.structs.replace(config, network=msgspec.structs.replace(config.network, seed_rpc=seeds))
