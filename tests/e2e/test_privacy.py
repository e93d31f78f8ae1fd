"""What relays see: nothing of what goes through the tunnel.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
                 ↑ captured                                 ↑ captured

A known text goes from the user to a host of the LAN and back. In the LAN's capture it is there, so the
capture works. In the other, which holds all that the relays receive and send, it is not. Clients mask what
they send on a websocket (RFC 6455, 5.3) and relays do not, so each message is seen once as it is: another
text that is sent without encryption is found there, so the search works too.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from nconnect.demo import steps
from nconnect.demo.lab import (
    LAN,
    LAN6,
    LAN_HOST,
    LAN_HOST6,
    PROVIDER_LAN_ADDRESS,
    PROVIDER_LAN_ADDRESS6,
    Lab,
    Party,
)
from nconnect.tunnel.status import UpStatus

from .conftest import Tunnel, connect
from .marker import HTTP_PORT
from .timeline import RecordedLab

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
MARKER = "the-quick-brown-fox-reads-mail-of-others-7f3a"
OPEN_MARKER = "this-text-was-sent-without-any-encryption-91c2"
REPEAT = 20
"""One of so many lies whole in some segment, wherever TCP cuts."""
SECONDS = 20.0


@dataclass
class Captured:
    """What was captured while the text went there and back, and what was true then."""

    relays: bytes
    lan: bytes
    status: UpStatus
    tunnel: Tunnel


async def run_script(lab: Lab, party: Party, name: str, *words: str) -> str:
    return (await lab.run(party, [sys.executable, str(HERE / name), *words])).stdout


async def capture(lab: Lab) -> Captured:
    """Start both captures first, so that they hold the handshakes too."""
    files = {party: lab.directory / f"{party}.frames" for party in (Party.INTERNET, Party.LAN)}
    captures = []
    for party, file in files.items():
        process = lab.start(party, [sys.executable, str(HERE / "capture.py"), str(file)], name="capture")
        await process.wait_for("^ready$", SECONDS)
        captures.append(process)
    tunnel = await connect(lab)
    text = f"{MARKER} " * REPEAT
    (lab.directory / "lan" / "index.html").write_text(text)
    server = lab.start(Party.LAN, [sys.executable, str(HERE / "lan_server.py")], name="lan_server")
    await server.wait_for("^ready$", SECONDS)
    web = [sys.executable, "-m", "http.server", str(HTTP_PORT), "--bind", "::"]
    await lab.start(Party.LAN, web, name="web").wait_for("^Serving", SECONDS)
    for host in (LAN_HOST, LAN_HOST6):
        assert await run_script(lab, Party.USER, "marker.py", host, text) == "sent and got back\n"
    await run_script(lab, Party.USER, "marker.py", "relay", tunnel.address, OPEN_MARKER * REPEAT)
    status = await steps.up_status(lab)
    # What was sent last is in the capture before its process hears of the end.
    await asyncio.sleep(0.3)
    for process in captures:
        assert await process.stop() == 0
        assert process.output().endswith(" 0 missed\n"), process.output()
    relays, in_lan = (file.read_bytes() for file in files.values())
    return Captured(relays, in_lan, status, tunnel)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def captured() -> AsyncIterator[Captured]:
    async with RecordedLab.create() as lab:
        yield await capture(lab)


def pair(source: str, destination: str) -> bytes:
    """Two addresses as they stand in an IP header."""
    return ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed


async def test_the_captures_work(captured: Captured) -> None:
    assert captured.lan.count(MARKER.encode()) > 6 * REPEAT, "TCP, UDP and HTTP, there and back"
    assert OPEN_MARKER.encode() in captured.relays
    assert captured.relays.count(captured.status.address.encode()) > 4, "relays know who talks to whom"


async def test_relays_do_not_see_what_is_said(captured: Captured) -> None:
    assert MARKER.encode() not in captured.relays
    for word in (b"X-Marker", b"HTTP/1.0 200", b"SimpleHTTP"):
        assert word in captured.lan
        assert word not in captured.relays


async def test_relays_do_not_see_with_whom(captured: Captured) -> None:
    """Neither the addresses in packets nor the networks that the provider offers."""
    assert pair(PROVIDER_LAN_ADDRESS, LAN_HOST) in captured.lan
    assert pair(PROVIDER_LAN_ADDRESS6, LAN_HOST6) in captured.lan
    for own, host in zip(captured.status.addresses, (LAN_HOST, LAN_HOST6), strict=True):
        assert pair(own, host) not in captured.relays
        assert pair(host, own) not in captured.relays
        assert own.encode() not in captured.relays
    for network in (LAN, LAN6):
        assert network.encode() not in captured.relays


async def test_the_keys_are_made_with_a_post_quantum_exchange(captured: Captured) -> None:
    assert captured.status.key_exchange_group == "X25519MLKEM768"
    (user,) = (await steps.serve_status(captured.tunnel.lab)).users
    assert user.key_exchange_group == "X25519MLKEM768"


async def test_secrets_stay_where_they_are(captured: Captured) -> None:
    """No log, no status and no command line holds the secret seed."""
    lab = captured.tunnel.lab
    for party, process in ((Party.USER, captured.tunnel.up), (Party.PROVIDER, captured.tunnel.serve)):
        identity = lab.directory / party / "state" / "identity"
        seed = identity.read_text().strip()
        assert len(seed) == 64
        assert identity.stat().st_mode & 0o777 == 0o600
        told = (await lab.run_nconnect(party, "status", "--json")).stdout + process.output()
        command_line = await lab.run(party, ["cat", f"/proc/{process.pid}/cmdline"])
        assert seed not in told + command_line.stdout
        assert bytes.fromhex(seed) not in captured.relays
