"""The string that is an invite: what it holds comes back, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import CryptoError, DecodeError, UsageError
from nconnect.nkn.keys import SIGNATURE_SIZE, KeyPair
from nconnect.permission import invites
from nconnect.permission.invites import Invite
from nconnect.permission.keys import MAX_NAME

PROVIDER, EVE = (KeyPair.from_seed(bytes([number]) * 32) for number in (1, 2))
INVITE = Invite(
    provider=PROVIDER.public_key,
    nonce=bytes(range(8)),
    expires=1_795_000_000,
    once=True,
    name="laptop",
    targets=("192.168.1.20:11434/tcp", "192.168.2.0/24"),
    seconds=7 * 86400,
    rate=50_000_000,
    quota=100_000_000_000,
)
TOKEN = invites.sign(INVITE, PROVIDER)
TEXT = invites.to_text(TOKEN)

printable = st.characters(categories=("L", "N", "P"))
seconds = st.integers(0, invites.MAX_SECONDS)
amount = st.integers(0, invites.MAX_AMOUNT)
some_invites = st.builds(
    Invite,
    provider=st.just(PROVIDER.public_key),
    nonce=st.binary(min_size=8, max_size=8),
    expires=seconds,
    once=st.booleans(),
    name=st.text(printable, max_size=MAX_NAME),
    targets=st.lists(st.text(printable, max_size=invites.MAX_TARGET_TEXT), max_size=invites.MAX_TARGETS).map(
        tuple
    ),
    seconds=seconds,
    rate=amount,
    quota=amount,
)


def signed(body: bytes, version: int = invites.VERSION) -> bytes:
    """A token around any body, with a good signature."""
    head = bytes([version]) + PROVIDER.public_key + body
    return head + PROVIDER.sign(invites.CONTEXT + head)


def body(*values: object) -> bytes:
    return msgspec.msgpack.encode(values)


GOOD_BODY = (bytes(8), 1, True, "n", ("t",), 1, 1, 1)


@given(some_invites)
def test_there_and_back(invite: Invite) -> None:
    token = invites.sign(invite, PROVIDER)
    assert len(token) <= invites.MAX_TOKEN
    text = invites.to_text(token)
    assert len(text) <= invites.MAX_TEXT
    assert text.isascii() and text.isalnum()
    assert invites.decode(invites.from_text(text)) == invite


def test_the_text_is_stable() -> None:
    """Another release must take what this one made."""
    assert TEXT == (
        "nconnect1FNJkddqG8Zd1wgxyKio3VhWgKnSHnPwt4gKDYG2aGkk72Z3r6QkZhyANbvJNPX8yeozWw4isPxFNjcvay"
        "EdvmCHpuSWi5f7dqACKTfL24KowizoZUHnS4yWkvaV7PMMJm1o6rrtnsrkzDx6LkHKYfF45LPBBQnwYUxfZpJpjUMM"
        "3DwLs994VHuqokRH39JsoCXodkvoRcgdZo8D7CCouSbmVYi7mREyCLEtMEXVgJAm9463fGZmLUcEP2"
    )


def test_each_bit_counts() -> None:
    for bit in range(len(TOKEN) * 8):
        altered = bytearray(TOKEN)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecodeError, CryptoError)):
            invites.decode(bytes(altered))
        with pytest.raises(UsageError):
            invites.from_text(invites.to_text(bytes(altered)))


def test_each_character_counts() -> None:
    for place, own in enumerate(TEXT):
        for character in set("1zA0 é") - {own}:
            with pytest.raises(UsageError):
                invites.from_text(TEXT[:place] + character + TEXT[place + 1 :])


def test_a_part_of_it_is_none() -> None:
    for length in range(len(TEXT)):
        with pytest.raises(UsageError, match=r"cut off|begins with"):
            invites.from_text(TEXT[:length])
    for length in range(len(TOKEN)):
        with pytest.raises((DecodeError, CryptoError)):
            invites.decode(TOKEN[:length])


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for token in (data, TOKEN[:33] + data, signed(data), TOKEN + data[:1] if data else b""):
        with contextlib.suppress(DecodeError, CryptoError):
            assert invites.sign(invites.decode(token), PROVIDER) == token


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    for attempt in (text, "nconnect1" + text, TEXT + text):
        with contextlib.suppress(UsageError):
            assert attempt == invites.to_text(invites.from_text(attempt))


def test_somebody_else_cannot_sign_for_the_provider() -> None:
    head = TOKEN[:-SIGNATURE_SIZE]
    with pytest.raises(CryptoError, match="not as its provider signed it"):
        invites.decode(head + EVE.sign(invites.CONTEXT + head))


def test_a_signature_for_another_purpose_is_none() -> None:
    head = TOKEN[:-SIGNATURE_SIZE]
    with pytest.raises(CryptoError):
        invites.decode(head + PROVIDER.sign(head))


@pytest.mark.parametrize(
    "wrong",
    [
        body(),
        body(*GOOD_BODY[:-1]),
        body(*GOOD_BODY, 0),
        body(bytes(7), *GOOD_BODY[1:]),
        body(bytes(9), *GOOD_BODY[1:]),
        body(bytes(8), -1, *GOOD_BODY[2:]),
        body(bytes(8), invites.MAX_SECONDS + 1, *GOOD_BODY[2:]),
        body(bytes(8), 1, 1, *GOOD_BODY[3:]),
        body(bytes(8), 1, True, "n" * 65, *GOOD_BODY[4:]),
        body(bytes(8), 1, True, "\x1b[31m", *GOOD_BODY[4:]),
        body(bytes(8), 1, True, "n", ("t",) * 17, 1, 1, 1),
        body(bytes(8), 1, True, "n", ("t" * 65,), 1, 1, 1),
        body(bytes(8), 1, True, "n", ("t\n",), 1, 1, 1),
        body(*GOOD_BODY[:-1], 1 << 63),
        msgspec.msgpack.encode({"nonce": bytes(8)}),
        b"\x99" + body(*GOOD_BODY)[1:],
        body(*GOOD_BODY).replace(b"\xa1n", b"\xa1\xff"),
        body(*GOOD_BODY).replace(b"\x01\xc3", b"\xcc\x01\xc3"),
        body(*GOOD_BODY) + b"\0",
        b"\x91" * 1000,
    ],
)
def test_a_signed_body_that_cannot_be(wrong: bytes) -> None:
    invites.decode(signed(body(*GOOD_BODY)))
    with pytest.raises(DecodeError):
        invites.decode(signed(wrong))


def test_what_is_too_long_is_refused_at_once() -> None:
    with pytest.raises(DecodeError, match="1 to 2048 bytes"):
        invites.decode(bytes([1]) * (invites.MAX_TOKEN + 1))
    with pytest.raises(UsageError, match="not an invite"):
        invites.from_text("nconnect1" + "z" * invites.MAX_TEXT)


def test_a_later_version_is_told_before_anything_else() -> None:
    with pytest.raises(DecodeError, match="version 2 and this program knows 1; upgrade nconnect"):
        invites.decode(signed(b"anything", version=2))
    with pytest.raises(UsageError, match="version 2 and this program knows 1; upgrade nconnect"):
        invites.from_text("nconnect2" + TEXT[9:])


def test_what_does_not_fit_is_refused_when_it_is_made() -> None:
    for wrong in (
        dataclasses.replace(INVITE, name="n" * 65),
        dataclasses.replace(INVITE, targets=("t",) * 17),
        dataclasses.replace(INVITE, quota=1 << 63),
    ):
        with pytest.raises(UsageError, match="does not fit into an invite"):
            invites.sign(wrong, PROVIDER)


def test_the_id_does_not_hold_the_secret() -> None:
    assert INVITE.id == "0001020304050607"
    assert len({invites.new_nonce() for _ in range(100)}) == 100
