"""The identity: made once, kept, secret, and never replaced behind its owner's back."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nconnect.errors import AlreadyRunningError, ConfigError, HostError
from nconnect.tunnel.identity import load_or_create, serving


def test_made_once_and_kept(tmp_path: Path) -> None:
    state = tmp_path / "state"
    key = load_or_create(state)
    assert load_or_create(state).public_key == key.public_key
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "identity").stat().st_mode) == 0o600


def test_several_that_need_one_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = {key.public_key for key in pool.map(load_or_create, [tmp_path / "state"] * 8)}
    assert keys == {load_or_create(tmp_path / "state").public_key}
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["identity"]


def test_one_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_or_create(tmp_path)
    (tmp_path / "identity").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_or_create(tmp_path)


@pytest.mark.parametrize("text", ["", "00" * 31, "zz" * 32, "00" * 33, "\xff" * 64])
def test_a_damaged_one_is_kept_and_told_of(tmp_path: Path, text: str) -> None:
    path = tmp_path / "identity"
    path.touch(0o600)
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="not an identity"):
        load_or_create(tmp_path)
    assert path.read_text(encoding="latin-1") == text


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(HostError, match=os.strerror(20)):
        load_or_create(blocked)


def test_one_gateway_an_identity(tmp_path: Path) -> None:
    with serving(tmp_path):
        with pytest.raises(AlreadyRunningError, match="nconnect down"), serving(tmp_path):
            pass
        assert stat.S_IMODE((tmp_path / "serve.lock").stat().st_mode) == 0o600
    with serving(tmp_path):
        pass
