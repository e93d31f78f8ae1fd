"""Streams and datagrams on a link: whole in any order, fair to each other, and firm with a hostile peer."""

from __future__ import annotations

import asyncio
import random
from ipaddress import ip_address

import pytest

from nconnect.errors import ClosedError, RefusedError
from nconnect.forward import carrier, records, stream
from nconnect.forward.records import WINDOW, Kind
from nconnect.forward.socks5 import Reply, Target
from nconnect.forward.stream import Stream

from ..nkn.waiting import soon
from .fake_link import Ends, run

HOST = Target(ip_address("192.168.77.20"), 80)


async def read_all(stream: Stream) -> bytes:
    chunks = []
    while chunk := await stream.read(65536):
        chunks.append(chunk)
    return b"".join(chunks)


async def send_all(stream: Stream, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        await stream.write(data[start : start + step])
    await stream.write_eof()


@pytest.fixture
async def ends() -> Ends:
    return Ends()


@pytest.mark.parametrize("seed", range(20))
async def test_all_arrives_whatever_the_order(ends: Ends, seed: int) -> None:
    """Several streams at once, more than a window in each, batches shuffled."""
    choice = random.Random(seed)
    pairs = [await ends.connect(HOST) for _ in range(choice.randint(1, 4))]
    work, expected = [], []
    for pair in pairs:
        for sender, receiver in (pair, reversed(pair)):
            data = choice.randbytes(choice.choice([0, 1, 1000, WINDOW // 2, 2 * WINDOW + 7]))
            expected.append(data)
            run(send_all(sender, data, choice.choice([1000, 65536])))
            work.append(run(read_all(receiver)))
    await ends.deliver(choice)
    assert [task.result() for task in work] == expected, f"seed {seed}"
    assert (len(ends.user), len(ends.provider)) == (0, 0)


async def test_the_answer(ends: Ends) -> None:
    ours, theirs = await ends.connect(HOST)
    answer = run(ours.answer())
    theirs.accept()
    await ends.deliver()
    assert answer.result() is None


@pytest.mark.parametrize("code", [reply for reply in Reply if reply])
async def test_a_refusal_says_why(ends: Ends, code: Reply) -> None:
    ours, theirs = await ends.connect(HOST)
    answer = run(ours.answer())
    theirs.refuse(code)
    await ends.deliver()
    error = answer.exception()
    assert isinstance(error, RefusedError)
    assert error.code is code
    assert (len(ends.user), len(ends.provider)) == (0, 0)


async def test_a_reader_who_does_not_read_holds_up_the_writer_and_nobody_else(ends: Ends) -> None:
    slow, fast = await ends.connect(HOST), await ends.connect(HOST)
    writing = run(slow[0].write(bytes(5 * WINDOW)))
    await ends.deliver()
    assert not writing.done()
    assert len(slow[1]._in) == WINDOW
    run(fast[0].write(b"hello"))
    await ends.deliver()
    assert await soon(fast[1].read(5)) == b"hello"
    reading = run(read_all(slow[1]))
    await ends.deliver()
    assert writing.done()
    slow[0].abort()
    await ends.deliver()
    with pytest.raises(ClosedError):
        reading.result()


async def test_busy_streams_take_turns(ends: Ends) -> None:
    """A stream that begins while another sends does not wait for its end."""
    busy, short = await ends.connect(HOST), await ends.connect(HOST)
    ends.user_link.room(False)
    run(busy[0].write(bytes(WINDOW)))
    await ends.deliver()
    run(short[0].write(b"hello"))
    await ends.deliver()
    ends.user_link.room(True)
    first = records.iter_records(memoryview(ends.user_link.sent[0]))
    kinds = [(record.number, len(record.body)) for record in first]
    assert kinds[0][0] == busy[0].number
    assert kinds[0][1] <= carrier.QUANTUM
    assert kinds[1] == (short[0].number, 8 + len(b"hello"))


async def test_half_close(ends: Ends) -> None:
    ours, theirs = await ends.connect(HOST)
    run(ours.write_eof())
    await ends.deliver()
    assert await soon(theirs.read(1)) == b""
    run(theirs.write(b"still here"))
    await ends.deliver()
    assert await soon(ours.read(100)) == b"still here"


async def test_a_reset_ends_both_directions_at_both_ends(ends: Ends) -> None:
    ours, theirs = await ends.connect(HOST)
    told: list[str] = []
    theirs.on_broken = lambda: told.append("broken")
    writing = run(theirs.write(bytes(2 * WINDOW)))
    await ends.deliver()
    ours.abort()
    await ends.deliver()
    with pytest.raises(ClosedError):
        writing.result()
    with pytest.raises(ClosedError):
        await ours.read(1 << 30) and await ours.read(1)
    assert told == ["broken"]
    assert (len(ends.user), len(ends.provider)) == (0, 0)


async def test_a_link_that_ends_ends_its_streams(ends: Ends) -> None:
    ours, theirs = await ends.connect(HOST)
    work = [run(ours.answer()), run(theirs.read(1)), run(theirs.write(bytes(2 * WINDOW)))]
    await ends.deliver()
    ends.user_link.abort()
    ends.provider_link.abort()
    for task in work:
        with pytest.raises(ClosedError):
            await soon(task)
    with pytest.raises(ClosedError):
        ends.user.open(HOST)


async def test_datagrams(ends: Ends) -> None:
    name = Target("gpu.lan", 53)
    ends.user.send_datagram(7, name, b"question")
    ends.user.forget_flow(7)
    ends.provider.send_datagram(7, HOST, b"answer")
    await ends.deliver()
    assert ends.datagrams == [(7, name, b"question"), (7, HOST, b"answer")]
    assert ends.forgotten == [7]


async def test_datagrams_without_room_are_lost(ends: Ends) -> None:
    ends.user_link.room(False)
    for _ in range(1000):
        ends.user.send_datagram(1, HOST, bytes(1000))
    ends.user.send_datagram(1, HOST, bytes(60_000))  # more than a batch
    ends.user_link.room(True)
    await ends.deliver()
    most = carrier.MAX_DATAGRAM_BACKLOG // 1000 + 1
    assert 0 < len(ends.datagrams) <= most
    assert all(len(payload) == 1000 for _, _, payload in ends.datagrams)


# --- a hostile peer ---

OPEN = records.encode(Kind.OPEN, 1, b"\x01\xc0\xa8\x4d\x14\x00\x50")


def data(offset: int, content: bytes = b"x", number: int = 1) -> bytes:
    return records.data_head(number, offset, len(content)) + content


@pytest.mark.parametrize(
    "batch",
    [
        b"\x00",
        b"\xff" * 9,
        records.encode(Kind.OPEN, 2),
        records.encode(Kind.OPEN, 2, b"\x09123456"),
        records.encode(Kind.OPEN, 2, b"\x03\x03a b\x00\x50"),
        OPEN + OPEN,
        OPEN + records.encode(Kind.DATA, 1, b"short"),
        OPEN + data(0) + data(0),
        OPEN + data(5) + data(5),
        OPEN + data(0, b""),
        OPEN + data(WINDOW),
        OPEN + data(2**63),
        OPEN + records.encode_offset(Kind.END, 1, 3) + data(3),
        OPEN + data(0) + records.encode_offset(Kind.END, 1, 0),
        OPEN + records.encode_offset(Kind.END, 1, 0) * 2,
        OPEN + records.encode_offset(Kind.END, 1, WINDOW + 1),
        OPEN + records.encode(Kind.WINDOW, 1),
        OPEN + records.encode(Kind.OPENED, 1),
        OPEN + records.encode(Kind.OPENED, 1, b"\x63"),
        OPEN + b"".join(data(2 * place) for place in range(1, stream.MAX_AHEAD + 2)),
        OPEN + b"".join(data(place, bytes(WINDOW - 100)) for place in range(1, 5)),
        records.encode(Kind.DATAGRAM, 1, b"\x01\x02"),
    ],
)
async def test_what_no_honest_peer_sends_ends_its_link(ends: Ends, batch: bytes) -> None:
    ends.provider_link.on_batch(memoryview(batch))
    assert ends.provider_link.closed
    assert len(ends.provider) == 0


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        records.encode(Kind.RESET, 99),
        records.encode(Kind.DATA, 99, b""),
        records.encode_offset(Kind.WINDOW, 99, 5),
        bytes([5, 0, 0, 0, 200, 1, 0, 0, 0]),
        records.encode(Kind.FORGET, 99),
    ],
)
async def test_what_came_too_late_or_is_not_known_is_skipped(ends: Ends, batch: bytes) -> None:
    ends.provider_link.on_batch(memoryview(batch + OPEN))
    assert not ends.provider_link.closed
    assert len(ends.provider) == 1


async def test_a_provider_opens_no_streams(ends: Ends) -> None:
    ends.user_link.on_batch(memoryview(OPEN))
    assert ends.user_link.closed


async def test_who_makes_us_answer_has_to_listen(ends: Ends) -> None:
    ends.provider_link.room(False)
    for number in range(1, carrier.MAX_URGENT + 10):
        ends.provider_link.on_batch(memoryview(records.encode(Kind.OPEN, number, OPEN[9:])))
        opened, _ = ends.opened.get_nowait()
        opened.refuse(Reply.GENERAL_FAILURE)
    await asyncio.sleep(0.01)
    assert ends.provider_link.closed


@pytest.mark.parametrize("seed", range(10))
async def test_random_bytes(seed: int) -> None:
    choice = random.Random(seed)
    for _ in range(200):
        ends = Ends()
        for _ in range(5):
            mutated = bytearray(OPEN + data(0) + records.encode_offset(Kind.END, 1, 1))
            for _ in range(choice.randint(0, 3)):
                mutated[choice.randrange(len(mutated))] = choice.randrange(256)
            if not ends.provider_link.closed:
                ends.provider_link.on_batch(memoryview(bytes(mutated)))
