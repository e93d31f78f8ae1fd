"""`nconnect status`: what it prints, and its exit code."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import msgspec
import pytest

from nconnect.cli import main
from nconnect.cli import status as cli
from nconnect.tunnel import asking
from nconnect.tunnel.status import (
    SCHEMA,
    HeldStatus,
    KnockStatus,
    MappingStatus,
    PathStatus,
    RouteStatus,
    ServeStatus,
    SocksStatus,
    Status,
    TunnelStatus,
    UpStatus,
    UserStatus,
)

NAME = "[/x] :smile: [link=http://example.org]é"
PATH = PathStatus(0, "192.0.2.1:30004", "ready", 1, 2, "")
GONE = PathStatus(1, "192.0.2.2:30004", "waiting", 1, 2, "node 192.0.2.2:30004 is gone")
UP = UpStatus(
    *(SCHEMA, "up", 1, "connected", "", "address", "peer", NAME, "nc-up", ["100.64.0.2"], [], []),
    *("X25519MLKEM768", [PATH], 1.0, 0.5, 1234, 5678, {}),
)
SERVE = ServeStatus(
    *(SCHEMA, "serve", 1, "serving", "", "address", "nc-serve", ["192.168.1.0/24"], [], 1),
    [UserStatus("aa", NAME, ["100.64.0.2"], "X25519MLKEM768", 1.0, 0.5, 1, 2)],
    [KnockStatus("bb", NAME, 3)],
    *([PATH], {}),
)
NO_TUN = ServeStatus(
    *(SCHEMA, "serve", 1, "serving", "", "address", "", ["192.168.1.0/24"], [], 1),
    [UserStatus("aa", NAME, [], "X25519MLKEM768", 1.0, 0.5, 1, 2, connections=7)],
    *([], [PATH], {}),
)
SOCKS = SocksStatus(
    *(SCHEMA, "socks", 1, "connected", "", "address", "127.0.0.1:1080", "peer", NAME, ["192.168.1.0/24"]),
    *("X25519MLKEM768", [PATH], 1.0, 0.5, 7, 1, 1234, 5678),
)
TUNNEL = TunnelStatus(
    *(SCHEMA, "tunnel", 1, "serving", "", "address", "nkn", "127.0.0.1:80", ["aa$"], True, [PATH]),
    *(7, 2, 1, "127.0.0.1:80 does not answer: [b]Connection refused[/b]", 1234, 5678),
)


def printed(status: Status, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `nconnect status` says of an instance in this state."""
    monkeypatch.setattr(asking, "running", lambda places: [status.name])
    monkeypatch.setattr(asking, "ask", lambda places, name, request: msgspec.json.encode(status))
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main.main(["status"]) == cli.exit_code(status)
    return output.getvalue()


@pytest.mark.parametrize("status", [UP, SERVE, NO_TUN, SOCKS], ids=["up", "serve", "serve --no-tun", "socks"])
def test_what_a_peer_calls_itself_is_text(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(status, monkeypatch)
    assert NAME in text
    assert "1 of 1 via 192.0.2.1:30004" in text


@pytest.mark.parametrize("status", [UP, SERVE, NO_TUN, SOCKS], ids=["up", "serve", "serve --no-tun", "socks"])
def test_what_a_peer_calls_itself_does_not_steer_the_terminal(
    status: UpStatus | ServeStatus | SocksStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "\x1b[2J\nup  connected"
    text = printed(
        msgspec.structs.replace(status, peer_name=name)
        if isinstance(status, UpStatus | SocksStatus)
        else msgspec.structs.replace(status, knocks=[KnockStatus("bb", name, 3)]),
        monkeypatch,
    )
    assert "?[2J?up  connected" in text


def test_it_is_aligned_and_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address = f"laptop.{'ab' * 32}"
    held = HeldStatus("ef" * 32, ["100.64.0.2", "fd00::2"], 540.0)
    lines = printed(
        msgspec.structs.replace(
            SERVE, address=address, knocks=[KnockStatus("cd" * 32, "x" * 60, 1)], held=[held]
        ),
        monkeypatch,
    ).splitlines()
    assert lines[:2] == ["serve              serving for 0 s", f"address            {address}"]
    assert "allowed            1 key" in lines
    assert f"held               100.64.0.2 {'ef' * 32} for 9 min more" in lines
    assert f"not let in         {'cd' * 32} {'x' * 60} (1 time)" in lines


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("connected", 0),
        ("serving", 0),
        ("degraded", 4),
        ("reconnecting", 4),
        ("connecting", 4),
        ("refused", 4),
    ],
)
def test_the_exit_code_is_the_state_s(state: str, code: int) -> None:
    assert cli.exit_code(msgspec.structs.replace(UP, state=state)) == code


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"state_seconds": 7300.0}, "connected for 2 h"),
        (
            {
                "state": "degraded",
                "reason": "node 192.0.2.2:30004 is gone",
                "state_seconds": 8.4,
                "paths": [PATH, PATH, GONE, GONE],
            },
            "degraded (2 of 4 paths) for 8 s: node 192.0.2.2:30004 is gone",
        ),
        (
            {
                "state": "reconnecting",
                "reason": "no answer from the provider since 14 s (the relay left)",
                "state_seconds": 12.0,
            },
            "reconnecting for 12 s: no answer from the provider since 14 s (the relay left)",
        ),
        (
            {"state": "refused", "reason": "not admitted yet", "state_seconds": 180.0},
            "refused for 3 min: not admitted yet",
        ),
    ],
)
def test_the_first_line_is_state_age_and_reason(
    change: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(msgspec.structs.replace(UP, **change), monkeypatch)
    assert text.splitlines()[0].split(maxsplit=1)[1] == line


def test_what_becomes_of_the_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [
        RouteStatus("10.0.0.0/8", True),
        RouteStatus("192.168.1.0/24", False),
        RouteStatus("172.17.0.0/16", False, "this machine is itself in 172.17.0.0/16 (docker0)"),
    ]
    mappings = [MappingStatus("192.168.1.0/24", "10.201.7.0/24")]
    status = msgspec.structs.replace(UP, peer_name="gpu-box", routes=routes, mappings=mappings)
    lines = [one for one in printed(status, monkeypatch).splitlines() if one.startswith("route ")]
    assert lines == [
        "route              10.0.0.0/8",
        "route              172.17.0.0/16  left out: this machine is itself in 172.17.0.0/16 (docker0)",
        "route              192.168.1.0/24 at gpu-box → 10.201.7.0/24",
    ]


def test_what_forwards_without_a_tun_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "7 connections aa" in printed(NO_TUN, monkeypatch)
    socks = printed(SOCKS, monkeypatch)
    assert "socks5h://127.0.0.1:1080" in socks
    assert "7, and 1 UDP association" in socks
    tunnel = printed(TUNNEL, monkeypatch)
    assert "127.0.0.1:80, TCP and UDP" in tunnel
    assert "the last one: 127.0.0.1:80 does not answer: [b]Connection refused[/b]" in tunnel
