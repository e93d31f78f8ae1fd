"""What systemd hears."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nconnect.cli import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_one_datagram_each(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{'@' if abstract else ''}{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.settimeout(5)
        monkeypatch.setenv(notify.SOCKET, name)
        notify.ready()
        notify.reloading()
        notify.status("two\nlines")
        notify.stopping()
        assert systemd.recv(1000) == b"READY=1"
        state, time = systemd.recv(1000).split(b"\n")
        assert state == b"RELOADING=1"
        assert time.removeprefix(b"MONOTONIC_USEC=").isdigit()
        assert systemd.recv(1000) == b"STATUS=two lines"
        assert systemd.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize("name", ["", "/nowhere/notify"])
def test_nobody_who_listens_is_no_reason_to_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(notify.SOCKET, name)
    notify.ready()
