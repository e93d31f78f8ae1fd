"""Configuration: what a wrong file answers, and whose setting wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from nconnect.config import MAIN_NET_SEEDS, MAX_CONFIG_BYTES, load
from nconnect.errors import ConfigError
from nconnect.permission.grants import parse_duration
from nconnect.places import places
from nconnect.tunnel.holding import DEFAULT_SECONDS


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_a_missing_file_is_the_main_net(tmp_path: Path) -> None:
    config = load(tmp_path / "none.toml", {})
    assert config.network.seed_rpc == MAIN_NET_SEEDS
    assert config.network.sub_clients == 4


def test_a_file_and_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, '[network]\nseed_rpc = ["http://a:1"]\n[serve]\nlan = ["192.168.1.0/24"]\n')
    assert load(path, {}).network.seed_rpc == ("http://a:1",)
    config = load(path, {"NCONNECT_SEED_RPC": "http://b:2, http://c:3"})
    assert config.network.seed_rpc == ("http://b:2", "http://c:3")
    assert config.serve.lan == ("192.168.1.0/24",)


def test_a_lease_is_held_for_ten_minutes(tmp_path: Path) -> None:
    """Unless it says otherwise; the gateway by itself does the same."""
    assert parse_duration(load(tmp_path / "none.toml", {}).serve.lease) == DEFAULT_SECONDS == 10 * 60
    path = write(tmp_path, '[serve]\nlease = "1h"\n')
    assert parse_duration(load(path, {}).serve.lease) == 60 * 60


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[network", "config.toml"),
        ("[netwrok]\n", "netwrok"),
        ("[network]\nsub_clients = 'four'\n", "network.sub_clients"),
        ("x = '" + "a" * MAX_CONFIG_BYTES + "'", "larger than"),
    ],
)
def test_a_wrong_file_says_what_and_where(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(write(tmp_path, text), {})


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path, {})


def test_places() -> None:
    assert str(places({}, root=True).runtime) == "/run/nconnect"
    assert str(places({"HOME": "/home/ann"}, root=False).state) == "/home/ann/.local/state/nconnect"
    assert str(places({"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/7"}, root=False).runtime) == (
        "/run/user/7/nconnect"
    )
    assert str(places({"NCONNECT_STATE_DIR": "/tmp/x"}, root=True).journals) == "/tmp/x/journal"


def test_relative_places_hold_wherever_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = places({"NCONNECT_STATE_DIR": "state", "HOME": "."}, root=False)
    assert here.state == tmp_path / "state"
    assert here.runtime == tmp_path / ".local/state/nconnect/run"
    monkeypatch.chdir("/")
    assert places(here.environment()) == here
