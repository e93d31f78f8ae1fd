"""systemd-resolved as it is told, when it refuses, and where it is not."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from nconnect.errors import HostError, PrivilegeError
from nconnect.host import resolvconf, resolved
from nconnect.host.resolved import LinkNames, is_asked, owner, set_names

from .fake_resolved import FakeResolved

NAMES = LinkNames(7, IPv4Address("127.78.67.9"), 1053, ("lan", "office.nc"))


@pytest.fixture
async def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeResolved]:
    path = tmp_path / "bus"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    fake = FakeResolved(path)
    await fake.start()
    yield fake
    await fake.close()


async def test_what_it_is_told(fake: FakeResolved) -> None:
    assert await owner() == ":1.7"
    assert await set_names(NAMES) == ":1.7"
    assert fake.calls == [
        ("SetLinkDNSEx", 7, [(int(socket.AF_INET), b"\x7fNC\x09", 1053, "")]),
        ("SetLinkDefaultRoute", 7, False),
        ("SetLinkDNSSEC", 7, "no"),
        ("SetLinkDNSOverTLS", 7, "no"),
        ("SetLinkLLMNR", 7, "no"),
        ("SetLinkMulticastDNS", 7, "no"),
        ("SetLinkDomains", 7, [("lan", True), ("office.nc", True)]),
    ]


async def test_where_it_does_not_run(fake: FakeResolved) -> None:
    fake.owner = ""
    assert await owner() == ""
    assert await set_names(NAMES) == ""
    assert fake.calls == []


async def test_where_there_is_no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    assert await owner() == ""
    assert await set_names(NAMES) == ""


@pytest.mark.parametrize(
    ("refusal", "error", "says"),
    [
        (
            "org.freedesktop.DBus.Error.AccessDenied",
            PrivilegeError,
            "from root, or whom polkit allows it: no",
        ),
        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", PrivilegeError, "polkit"),
        ("org.freedesktop.resolve1.LinkBusy", HostError, "systemd-resolved refuses: no"),
    ],
)
async def test_a_refusal(fake: FakeResolved, refusal: str, error: type[Exception], says: str) -> None:
    fake.refusal = refusal
    with pytest.raises(error, match=says):
        await set_names(NAMES)


async def test_a_bus_that_does_not_answer(fake: FakeResolved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolved, "CALL_TIMEOUT", 0.05)
    fake.silent = True
    with pytest.raises(HostError, match="cannot be asked: no answer in time"):
        await owner()


async def test_a_bus_that_goes_away(fake: FakeResolved) -> None:
    fake.hangs_up = True
    with pytest.raises(HostError, match="cannot be asked: it hung up"):
        await owner()
    with pytest.raises(HostError, match="cannot be asked: it hung up"):
        await set_names(NAMES)


async def test_what_is_no_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=localhost,port=1")
    with pytest.raises(HostError, match="the system's D-Bus cannot be asked"):
        await owner()


@pytest.mark.parametrize(
    ("link", "text", "nsswitch", "asked"),
    [
        ("/run/systemd/resolve/stub-resolv.conf", "", "", True),
        ("", "nameserver 127.0.0.53\n", "", True),
        ("", "nameserver 192.0.2.53\n", "hosts: files resolve [!UNAVAIL=return] dns\n", True),
        ("", "nameserver 192.0.2.53\n", "hosts: files dns\n", False),
        ("", "# nameserver 127.0.0.53\n\n", "", False),
    ],
)
def test_who_asks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, text: str, nsswitch: str, asked: bool
) -> None:
    conf, switch = tmp_path / "resolv.conf", tmp_path / "nsswitch.conf"
    if link:
        conf.symlink_to(link)
    else:
        conf.write_text(text)
    switch.write_text(nsswitch)
    monkeypatch.setattr(resolvconf, "PATH", conf)
    monkeypatch.setattr(resolved, "NSSWITCH", switch)
    assert is_asked() is asked
