"""Sessions between clients of all SDKs, each as dialler and as acceptor."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace

import pytest

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.devnet.config import Shape
from nconnect.ncp import Config, Mode

from ..nkn.waiting import until
from .conftest import DEVNET, Join, home
from .ours import OurPeer, OurSession
from .peers import (
    OFFICIAL,
    SUB_CLIENTS,
    TIMEOUT,
    WITH_OURS,
    Kind,
    Peer,
    PeerError,
    PeerSession,
    Stream,
    one_of,
    pairs,
)

pytestmark = pytest.mark.interop

MB = 1_000_000
# The JavaScript SDK carries 2 MB/s: 20 MB with it in every role would double the time of all tests here.
SIZES = {Kind.OURS: 20 * MB, Kind.GO: 20 * MB, Kind.JS: 5 * MB}
# Official ones among themselves show what our devnet does, which takes less.
SIZE_WITHOUT_US = 2 * MB
# Verifying each packet takes longer than all else; so only the short sessions are verified.
TRUSTING = replace(DEVNET, verify_signatures=False)
# Where alice's first sub-client is (the same node in each run).
LOSSY_NODE = 1
# A shape drops its percentage between two nodes of its kind, and half of it where only one is.
LOSSY = replace(TRUSTING, node_shapes={LOSSY_NODE: Shape(loss_pct=2)})


MESSAGES = Config(mode=Mode.MESSAGE, mtu=50_000)


@pytest.fixture
def devnet_config() -> DevnetConfig:
    return TRUSTING


def size_for(*kinds: Kind) -> int:
    return min(SIZES[kind] for kind in kinds) if Kind.OURS in kinds else SIZE_WITHOUT_US


async def two(join: Join, dialler: Kind, acceptor: Kind) -> tuple[Peer, Peer]:
    alice, bob = await asyncio.gather(join(dialler, "alice"), join(acceptor, "bob"))
    await bob.listen()
    return alice, bob


async def connect(alice: Peer, bob: Peer) -> tuple[PeerSession, PeerSession]:
    here, there = await asyncio.gather(dial(alice, bob), bob.accept())
    assert (here.remote_address, there.remote_address) == (bob.address, alice.address)
    return here, there


async def dial(alice: Peer, bob: Peer) -> PeerSession:
    if alice.kind is Kind.OURS or bob.kind is not Kind.JS:
        return await alice.dial(bob.address)
    # The JavaScript SDK forgets some dials (see nconnect/nkn/dialling.py), and official ones dial once.
    while True:
        with contextlib.suppress(PeerError):
            return await alice.dial(bob.address, timeout=2)


async def carries(here: PeerSession, there: PeerSession, size: int) -> None:
    """Every byte goes there and comes back, and `there` learns that `here` closes."""
    echoing = asyncio.create_task(there.echo())
    sent, received = await here.exchange(size)
    assert received == sent
    await here.close()
    assert await echoing == Stream(size, sent)


@pytest.mark.parametrize(("dialler", "acceptor"), pairs())
async def test_every_byte_arrives_and_the_dialler_closes(
    devnet: Devnet, join: Join, dialler: Kind, acceptor: Kind
) -> None:
    here, there = await connect(*await two(join, dialler, acceptor))
    await carries(here, there, size_for(dialler, acceptor))
    assert devnet.stats.malformed == 0


@pytest.mark.parametrize(("dialler", "acceptor"), pairs())
@pytest.mark.parametrize("devnet_config", [DEVNET], ids=["verified"])
async def test_every_signature_is_right_and_the_acceptor_closes(
    devnet: Devnet, join: Join, dialler: Kind, acceptor: Kind
) -> None:
    here, there = await connect(*await two(join, dialler, acceptor))
    await carries(there, here, MB)
    assert (devnet.stats.forged, devnet.stats.malformed) == (0, 0)
    assert devnet.stats.receipts > 0


@pytest.mark.parametrize(("dialler", "acceptor"), pairs())
@pytest.mark.parametrize("devnet_config", [LOSSY], ids=["lossy"])
async def test_across_a_lossy_node(devnet: Devnet, join: Join, dialler: Kind, acceptor: Kind) -> None:
    alice, bob = await two(join, dialler, acceptor)
    assert home(devnet, alice.address, 0) == LOSSY_NODE
    here, there = await connect(alice, bob)
    await carries(here, there, size_for(dialler, acceptor) // 2)
    assert devnet.stats.lost


@pytest.mark.parametrize(("dialler", "acceptor"), pairs())
async def test_a_sub_client_dies_in_the_middle(
    devnet: Devnet, join: Join, dialler: Kind, acceptor: Kind
) -> None:
    alice, bob = await two(join, dialler, acceptor)
    node = home(devnet, alice.address, 0)
    assert node is not None
    size = size_for(dialler, acceptor)
    here, there = await connect(alice, bob)
    carrying = asyncio.create_task(carries(here, there, size))
    await until(lambda: devnet.stats.delivered_bytes > size // 2)
    assert not carrying.done()
    await devnet.stop_node(node)
    await carrying


@pytest.mark.parametrize("victim", ["alice", "bob"])
@pytest.mark.parametrize(("dialler", "acceptor"), WITH_OURS)
async def test_dialling_when_sub_clients_have_just_died(
    devnet: Devnet, join: Join, dialler: Kind, acceptor: Kind, victim: str
) -> None:
    alice, bob = await two(join, dialler, acceptor)
    homes = {
        peer: {home(devnet, peer.address, index) for index in range(SUB_CLIENTS)} for peer in (alice, bob)
    }
    only_of = homes[alice] - homes[bob] if victim == "alice" else homes[bob] - homes[alice]
    node = only_of.pop()
    assert node is not None
    await devnet.stop_node(node)
    here, there = await connect(alice, bob)
    await carries(here, there, MB // 10)


@pytest.mark.parametrize(("writer", "reader"), WITH_OURS)
async def test_what_was_written_before_the_end_is_read(join: Join, writer: Kind, reader: Kind) -> None:
    # Not between official SDKs: their reader drops what it has not read when the peer closes.
    here, there = await connect(*await two(join, writer, reader))
    reading = asyncio.create_task(there.read())
    # An official SDK closes after a second (its linger) whatever has been acknowledged until then.
    size = MB if writer is Kind.OURS else MB // 5
    sent = await here.write(size)
    await here.close()
    assert await reading == Stream(size, sent)


@pytest.mark.parametrize("official", one_of(*OFFICIAL))
async def test_messages_keep_their_bounds(join: Join, official: Kind) -> None:
    alice, bob = await asyncio.gather(
        join(Kind.OURS, "alice"), join(official, "bob", non_stream=True, mtu=MESSAGES.mtu + 1)
    )
    await bob.listen()
    assert isinstance(alice, OurPeer)
    session, there = await asyncio.gather(alice.client.dial(bob.address, MESSAGES), bob.accept())
    assert session.send_mtu == MESSAGES.mtu
    echoing = asyncio.create_task(there.echo())
    messages = [os.urandom(size) for size in (1, 1000, 1024, 1025, MESSAGES.mtu, 7)]
    async with asyncio.timeout(TIMEOUT):
        for message in messages:
            await session.send(message)
        assert [await session.receive() for _ in messages] == messages
        await session.close()
    assert (await echoing).size == sum(map(len, messages))


@pytest.mark.parametrize(("dialler", "acceptor"), WITH_OURS)
async def test_one_side_has_fewer_sub_clients(join: Join, dialler: Kind, acceptor: Kind) -> None:
    alice, bob = await asyncio.gather(join(dialler, "alice"), join(acceptor, "bob", sub_clients=2))
    await bob.listen()
    here, there = await connect(alice, bob)
    await carries(here, there, MB)
    ours = next(session for session in (here, there) if isinstance(session, OurSession))
    assert len(ours.session.stats.paths) == 2


@pytest.mark.parametrize("official", one_of(*OFFICIAL))
async def test_a_peer_is_dialled_while_its_sessions_wait(join: Join, official: Kind) -> None:
    # The JavaScript SDK forgets some of these dials: see nconnect/nkn/dialling.py.
    alice, bob = await two(join, Kind.OURS, official)
    busy = asyncio.create_task(carries(*await connect(alice, bob), MB))
    dialled = await asyncio.gather(*(alice.dial(bob.address) for _ in range(5)))
    accepted = [await bob.accept() for _ in dialled]
    echoing = [asyncio.create_task(session.echo()) for session in accepted]
    for session in dialled:
        sent, received = await session.exchange(1000)
        assert received == sent
        await session.close()
    await asyncio.gather(*echoing)
    await busy


@pytest.mark.parametrize(("dialler", "acceptor"), pairs())
async def test_several_sessions_at_once(join: Join, dialler: Kind, acceptor: Kind) -> None:
    alice, bob = await two(join, dialler, acceptor)
    sessions = [await connect(alice, bob) for _ in range(5)]
    await asyncio.gather(
        *(carries(here, there, MB // 10 + number) for number, (here, there) in enumerate(sessions))
    )


@pytest.mark.parametrize(("dialler", "acceptor"), WITH_OURS)
async def test_only_who_is_wanted_is_accepted(join: Join, dialler: Kind, acceptor: Kind) -> None:
    alice, carol, bob = await asyncio.gather(
        join(dialler, "alice"), join(dialler, "carol"), join(acceptor, "bob")
    )
    await bob.listen(rf"^{carol.address}$")
    with pytest.raises(PeerError):
        await alice.dial(bob.address, timeout=0.5)
    here, there = await connect(carol, bob)
    await carries(here, there, 1000)
