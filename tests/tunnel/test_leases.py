"""Leases: stable, distinct, within the pool, and safe on disk."""

from __future__ import annotations

import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest

from nconnect.errors import ConfigError, HostError, RefusedError
from nconnect.tunnel.leases import SHARED_ADDRESS_SPACE, Leases, Pool

KEY = bytes(range(32))
SMALL = Pool(IPv4Network("10.9.8.0/29"), IPv6Network("fd00::/64"))


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_the_pool_follows_from_the_key() -> None:
    pool = Pool.of(KEY)
    assert pool == Pool.of(KEY)
    assert pool != Pool.of(key(1))
    assert pool.v4.prefixlen == 20
    assert pool.v4.subnet_of(SHARED_ADDRESS_SPACE)
    assert pool.v6.prefixlen == 64
    assert pool.v6.subnet_of(IPv6Network("fd00::/8"))
    assert pool.gateway == (pool.v4[1], pool.v6[1])


def test_a_configured_pool() -> None:
    pool = Pool.of(KEY, "10.1.0.0/16", "fd12::/64")
    assert pool.addresses(2) == (ip_address("10.1.0.2"), ip_address("fd12::2"))
    with pytest.raises(ConfigError, match="wrong pool"):
        Pool.of(KEY, "10.1.0.1/16")
    with pytest.raises(ConfigError, match="no room"):
        Pool.of(KEY, "10.1.0.0/31")


def test_a_lease_is_stable_through_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "leases.json"
    leases = Leases(path, SMALL)
    first = leases.lease(key(1))
    second = leases.lease(key(2))
    assert first != second
    again = Leases(path, SMALL)
    assert again.lease(key(2)) == second
    assert again.lease(key(1)) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_pool_refuses(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases.json", SMALL)
    given = {leases.lease(key(number)) for number in range(5)}
    assert len(given) == 5
    assert all(v4 in SMALL.v4 and v6 in SMALL.v6 for v4, v6 in given)
    assert SMALL.gateway not in given
    with pytest.raises(RefusedError, match="full"):
        leases.lease(key(5))


def test_a_full_pool_takes_back_what_is_not_held_any_more(tmp_path: Path) -> None:
    """And no sooner: while there is room everybody keeps the address, however long ago that was."""
    path = tmp_path / "leases.json"
    leases = Leases(path, SMALL)
    given = [leases.lease(key(number), lambda key: False) for number in range(5)]
    assert len(set(given)) == 5
    held = {key(0), key(1), key(3)}
    assert leases.lease(key(5), held.__contains__) == given[2]
    held.add(key(5))
    assert leases.find(key(2)) is None
    assert leases.lease(key(2), held.__contains__) == given[4]
    held.add(key(2))
    with pytest.raises(RefusedError, match="full"):
        leases.lease(key(4), held.__contains__)
    again = Leases(path, SMALL)
    assert [again.find(key(number)) for number in range(6)] == [
        *given[:2],
        given[4],
        given[3],
        None,
        given[2],
    ]


def test_a_smaller_pool_gives_new_addresses(tmp_path: Path) -> None:
    path = tmp_path / "leases.json"
    wide = Leases(path, Pool(IPv4Network("10.9.8.0/24"), SMALL.v6))
    for number in range(20):
        wide.lease(key(number))
    narrow = Leases(path, SMALL)
    assert narrow.lease(key(0)) == SMALL.addresses(2)
    with pytest.raises(RefusedError):
        narrow.lease(key(19))


@pytest.mark.parametrize("text", [b"", b"[1, 2]", b'{"a": "b"}', b"\x00", b'{"\xff": 2}'])
def test_a_damaged_file_is_told_of_and_kept(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "leases.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="not a lease file"):
        Leases(path, SMALL)
    assert path.read_bytes() == text


def test_one_address_for_two_keys_is_a_mistake(tmp_path: Path) -> None:
    """As an edit by hand may leave it: one user would get the other's packets."""
    path = tmp_path / "leases.json"
    path.write_text(f'{{"{key(1).hex()}": 2, "{key(2).hex()}": 2}}')
    with pytest.raises(ConfigError, match="one address to two keys"):
        Leases(path, SMALL)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow: what write(2) answers on a full disk, but for the number (EFBIG)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_on_a_full_disk_no_lease_is_given_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "leases.json"
    leases = Leases(path, SMALL)
    first = leases.lease(key(1))
    with full_disk(), pytest.raises(HostError, match="cannot write"):
        leases.lease(key(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["leases.json"]
    assert Leases(path, SMALL).lease(key(1)) == first
    assert leases.lease(key(2)) == SMALL.addresses(3), "there is room again"
