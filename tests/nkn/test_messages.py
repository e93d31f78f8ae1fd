"""Frames between client and node: the vectors, signatures as a node checks them, and hostile bytes."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import CryptoError, DecodeError, UsageError
from nconnect.nkn import messages
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn.envelope import encode_session_payload, open_envelope
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import Inbound, Outbound, Receipt, Signer

ALICE, BOB = KeyPair.from_seed(b"\x01" * 32), KeyPair.from_seed(b"\x02" * 32)
SRC, DEST = f"alice.{ALICE.public_key.hex()}", f"bob.{BOB.public_key.hex()}"
NODE, BLOCK = b"\xee" * 32, b"\x11" * 32


def signer() -> Signer:
    return Signer(ALICE, SRC, NODE, BLOCK)


def decode_outbound(frame: bytes) -> Outbound:
    message = messages.decode_frame(frame)
    assert isinstance(message, Outbound)
    return message


def test_outbound(vectors: dict[str, Any]) -> None:
    vector = vectors["outbound"]
    key = KeyPair.from_seed(bytes.fromhex(vector["seed"]))
    node, block = bytes.fromhex(vector["node_public_key"]), bytes.fromhex(vector["block_hash"])
    payload = bytes.fromhex(vector["payload"])
    made = Signer(key, vector["src"], node, block)
    assert made.sign(vector["dest"], len(payload), vector["nonce"]).hex() == vector["signature"]
    frame = messages.encode_outbound(made, [vector["dest"]], [payload], nonce=vector["nonce"])
    assert frame.hex() == vector["client_message"]
    message = decode_outbound(frame)
    assert (message.dests, message.payloads, message.nonce) == (
        (vector["dest"],),
        (payload,),
        vector["nonce"],
    )
    messages.verify_outbound(message, vector["src"], node)


def test_outbound_to_several(vectors: dict[str, Any]) -> None:
    vector = vectors["outbound_multi"]
    nonce = vectors["outbound"]["nonce"]
    payloads = [bytes.fromhex(payload) for payload in vector["payloads"]]
    frame = messages.encode_outbound(
        signer(), vector["dests"], payloads, max_holding_seconds=vector["max_holding_seconds"], nonce=nonce
    )
    # The vector holds what is compressed: deflate streams of the same bytes differ between implementations.
    outer = pb.ClientMessage.FromString(frame)
    assert outer.compression_type == vector["compression"]
    assert zlib.decompress(outer.message).hex() == vector["outbound_message"]
    message = decode_outbound(frame)
    assert (list(message.dests), list(message.payloads)) == (vector["dests"], payloads)
    assert message.max_holding_seconds == vector["max_holding_seconds"]
    messages.verify_outbound(message, SRC, NODE)


def test_receipt(vectors: dict[str, Any]) -> None:
    vector = vectors["receipt"]
    key = KeyPair.from_seed(bytes.fromhex(vector["seed"]))
    frame = messages.encode_receipt(key, bytes.fromhex(vector["prev_hash"]))
    assert frame.hex() == vector["client_message"]
    receipt = messages.decode_frame(frame)
    assert isinstance(receipt, Receipt)
    messages.verify_receipt(receipt, key.public_key)
    with pytest.raises(CryptoError):
        messages.verify_receipt(replace(receipt, prev_hash=b"other"), key.public_key)


def test_inbound(vectors: dict[str, Any]) -> None:
    vector = vectors["inbound"]
    payload, prev_hash = bytes.fromhex(vector["payload"]), bytes.fromhex(vector["prev_hash"])
    frame = messages.encode_inbound(vector["src"], payload, prev_hash)
    assert frame.hex() == vector["client_message"]
    assert messages.decode_frame(memoryview(frame)) == Inbound(vector["src"], payload, prev_hash)
    assert messages.decode_frame(messages.encode_inbound(SRC, b"")) == Inbound(SRC, b"")


@pytest.mark.parametrize("random", [b"\x00", b"\x01", b"\xff"])
@pytest.mark.parametrize("size", [0, 1000, 65_536, 131_072, 2_100_000])
def test_the_fast_way_makes_the_same_bytes(size: int, random: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", random.__mul__)
    plaintext = encode_session_payload(b"12345678", bytes(size))
    shared = ALICE.shared_key(BOB.public_key)
    fast = messages.encode_session_message(signer(), DEST, plaintext, shared)
    assert fast == messages.encode_outbound(signer(), [DEST], [messages.seal(plaintext, shared)])
    message = decode_outbound(fast)
    messages.verify_outbound(message, SRC, NODE)
    assert open_envelope(message.payloads[0], shared) == (plaintext, True)


def test_a_node_sees_what_was_not_signed() -> None:
    message = decode_outbound(messages.encode_outbound(signer(), [DEST], [b"payload"]))
    messages.verify_outbound(message, SRC, NODE)
    changed = [
        (replace(message, nonce=message.nonce ^ 1), SRC, NODE),
        (replace(message, payloads=(b"longer payload",)), SRC, NODE),
        (replace(message, dests=(SRC,)), SRC, NODE),
        (replace(message, block_hash=bytes(32)), SRC, NODE),
        (replace(message, signatures=(bytes(64),)), SRC, NODE),
        (replace(message, signatures=(b"",)), SRC, NODE),
        (message, "other." + SRC, NODE),
        (message, DEST, NODE),
        (message, SRC, bytes(32)),
    ]
    for bad, src, node in changed:
        with pytest.raises(CryptoError):
            messages.verify_outbound(bad, src, node)


def test_the_old_singular_fields_are_taken() -> None:
    old = pb.OutboundMessage(dest=DEST, payload=b"hello", signatures=[bytes(64)]).SerializeToString()
    message = decode_outbound(pb.ClientMessage(message=old).SerializeToString())
    assert (message.dests, message.payloads, message.payload_for(0)) == ((DEST,), (b"hello",), b"hello")


@pytest.mark.parametrize(("dests", "payloads", "signatures"), [(0, 1, 0), (1, 0, 1), (2, 1, 1), (3, 2, 3)])
def test_counts_must_fit(dests: int, payloads: int, signatures: int) -> None:
    message = pb.OutboundMessage(
        dests=[DEST] * dests, payloads=[b"p"] * payloads, signatures=[bytes(64)] * signatures
    )
    with pytest.raises(DecodeError, match="destinations with"):
        messages.decode_frame(pb.ClientMessage(message=message.SerializeToString()).SerializeToString())


def test_too_large_a_message_is_refused_before_it_is_sent() -> None:
    with pytest.raises(UsageError, match="larger than a node takes"):
        messages.encode_outbound(signer(), [DEST], [bytes(messages.MAX_FRAME_SIZE)])
    with pytest.raises(UsageError, match="2 payloads for 3"):
        messages.encode_outbound(signer(), [DEST] * 3, [b"", b""])


def compressed(data: bytes, compression: int = 1) -> bytes:
    # An enum number that the schema lacks can only be written by hand.
    head = pb.ClientMessage(message=data).SerializeToString()
    return head + b"\x18" + bytes([compression])


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (bytes(messages.MAX_FRAME_SIZE + 1), "larger than"),
        (b"\xff", "not a message"),
        (b"\x08\x07", "unknown type 7"),
        (b"\x08\x01\x12\x03\x0a\x05a", "not a message"),
        (b"\x08\x01\x12\x03\x0a\x01\xff", "not a message"),
        (compressed(zlib.compress(bytes(messages.MAX_FRAME_SIZE + 1))), "inflates to more"),
        (compressed(zlib.compress(bytes(9000))[:-5]), "cut short"),
        (compressed(b"not deflate"), "does not inflate"),
        (compressed(b"", compression=2), "unknown compression 2"),
        (compressed(zlib.compress(b"\x1a\x00" * (messages.MAX_FRAME_SIZE // 2))), "more destinations"),
    ],
)
def test_malformed_frames_say_what_is_wrong(frame: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        messages.decode_frame(frame)


@given(st.binary(max_size=300))
def test_hostile_frames_raise_only_decode_errors(data: bytes) -> None:
    for frame in (data, b"\x08\x01\x12" + bytes([len(data) & 0x7F]) + data, compressed(zlib.compress(data))):
        try:
            message = messages.decode_frame(frame)
        except DecodeError:
            continue
        assert isinstance(message, Outbound | Inbound | Receipt)


@given(st.integers(0, 400), st.integers(1, 255))
def test_changed_frames_raise_only_protocol_errors(position: int, change: int) -> None:
    frame = bytearray(messages.encode_outbound(signer(), [DEST, SRC], [b"a", b"b"], nonce=1))
    frame[position % len(frame)] ^= change
    try:
        message = messages.decode_frame(bytes(frame))
        if isinstance(message, Outbound):
            messages.verify_outbound(message, SRC, NODE)
    except (DecodeError, CryptoError):
        pass


@pytest.mark.parametrize("src", ["", "a", "x" * 64, "a." + "0" * 63])
def test_the_source_of_a_message_must_be_an_address(src: str) -> None:
    with pytest.raises(DecodeError, match="source"):
        messages.public_key_of(src)


def test_metadata_of_destinations_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_SIGNED_DESTINATIONS", 2)
    made = signer()
    first = made.sign(f"0.{SRC}", 5, 1)
    for index in range(5):
        made.sign(f"{index}.{SRC}", 5, 1)
    assert len(made._destinations) <= 2
    assert made.sign(f"0.{SRC}", 5, 1) == first
