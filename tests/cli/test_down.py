"""`nconnect down` of what has ended and keeps its kill switch closed, in a namespace with loopback alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from nconnect.cli import down
from nconnect.cli.cleanup import is_closed
from nconnect.cli.main import main
from nconnect.errors import HostError
from nconnect.host.netlink import Netlink
from nconnect.host.plans import closed_state
from nconnect.host.state import HostManager
from nconnect.host.tun import Tun
from nconnect.places import Places, places

from ..host.namespaces import Netns, sh

pytestmark = pytest.mark.netns

CLOSED = "ip route get 10.2.3.4 2>&1 || true"


@pytest.fixture(autouse=True)
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The journal of an instance that has ended and keeps 10.0.0.0/8 closed."""
    where = Places(tmp_path / "config.toml", tmp_path / "state", tmp_path / "run")
    for name, value in where.environment().items():
        monkeypatch.setenv(name, value)
    with Netns() as netns, netns.inside():
        with Tun.open("nc-home"):
            manager = HostManager(where.journal("home"))
            manager.close(closed_state("home", "nc-home", [ip_network("10.0.0.0/8")], (), ()))
            assert manager.undo(keep_closed=True) == []
        assert "No route to host" in sh(CLOSED)
        yield places().journal("home")


def test_it_is_opened(ended: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "home"]) == 0
    assert capsys.readouterr().out.endswith("\nhome had ended; its kill switch is open\n")
    assert "Network is unreachable" in sh(CLOSED)
    assert not ended.exists()


def test_what_cannot_be_opened_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise HostError("the kernel says no")

    with monkeypatch.context() as patch, pytest.raises(HostError, match=r"run: nconnect cleanup$"):
        patch.setattr(Netlink, "remove_rule", refuse)
        main(["down", "home"])
    said = capsys.readouterr().out
    assert "could not undo" in said and "open" not in said
    assert main(["down", "home"]) == 0


def test_what_starts_again_meanwhile_is_not_called_open(
    ended: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as started:

        def look(where: Places, name: str) -> bool:
            closed = is_closed(where, name)
            started.enter_context(HostManager(ended))
            return closed

        monkeypatch.setattr(down, "is_closed", look)
        with pytest.raises(HostError, match=r"^home had ended, but somebody starts it again"):
            main(["down", "home"])
        assert capsys.readouterr().out == ""
        assert "No route to host" in sh(CLOSED)
