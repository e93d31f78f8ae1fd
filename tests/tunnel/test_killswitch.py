"""What a kill switch closes before there is a connection, and a file that cannot say it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from nconnect.errors import ConfigError
from nconnect.tunnel.killswitch import MAX_BYTES, KillSwitch

from ..host.namespaces import file_size_limit

HERE, THERE = bytes(32), b"\1" * 32
NETWORKS = (ip_network("192.168.77.0/24"), ip_network("fd77::/64"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "closed/up.json"


def test_the_next_start_knows(path: Path) -> None:
    kill_switch = KillSwitch(path, HERE, print)
    assert kill_switch.prefixes == ()
    kill_switch.remember([*NETWORKS, NETWORKS[0]])
    assert KillSwitch(path, HERE, print).prefixes == NETWORKS
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_what_does_not_change_is_not_written(path: Path) -> None:
    kill_switch = KillSwitch(path, HERE, print)
    kill_switch.remember(NETWORKS)
    path.unlink()
    kill_switch.remember(NETWORKS)
    assert not path.exists()


def test_networks_of_another_provider_are_no_matter(path: Path) -> None:
    KillSwitch(path, HERE, print).remember(NETWORKS)
    other = KillSwitch(path, THERE, print)
    assert other.prefixes == ()
    other.remember(NETWORKS[:1])
    assert KillSwitch(path, HERE, print).prefixes == ()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"provider":"","prefixes":["nowhere"]}', bytes(MAX_BYTES + 1)]
)
def test_a_file_that_is_none_of_ours(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="move it away"):
        KillSwitch(path, HERE, print)
    assert path.read_bytes() == data


def test_a_full_disk_is_said_once_and_tried_again(path: Path) -> None:
    said = list[str]()
    kill_switch = KillSwitch(path, HERE, said.append)
    kill_switch.remember(NETWORKS[:1])
    with file_size_limit(0):
        for _ in range(2):
            kill_switch.remember(NETWORKS)
    [line] = said
    assert line.startswith("warning: the next start closes what it did before: cannot write")
    assert KillSwitch(path, HERE, print).prefixes == NETWORKS[:1]
    kill_switch.remember(NETWORKS)
    assert KillSwitch(path, HERE, print).prefixes == NETWORKS
