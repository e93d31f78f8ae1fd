"""A user who is let in no longer, or not yet: told why, or waiting for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import NconnectError, RefusedError
from nconnect.permission.decision import RefusalCode
from nconnect.tunnel import control

from ..nkn.waiting import soon
from .connecting import USER, WELCOME, Provider, User, provider, running_user, user

__all__ = ["provider", "user"]

WAITED = [RefusalCode.NOT_ADMITTED, RefusalCode.EXPIRED, RefusalCode.QUOTA, RefusalCode.REVOKED]
KEY = USER.public_key.hex()


@pytest.fixture
async def waiting(devnet: Devnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[User]:
    """`up --wait`."""
    async with running_user(devnet, tmp_path, monkeypatch, wait=True) as user:
        yield user


@pytest.mark.parametrize("code", WAITED)
async def test_let_in_no_longer(provider: Provider, user: User, code: int) -> None:
    """In the middle of a session: it ends with the provider's reason, and is not dialled again."""
    peer = await provider.accept(WELCOME)
    await user.state("connected")
    await peer.send(control.Refused(code, "what you were granted has expired"))
    error = await user.fails()
    assert isinstance(error, RefusedError)
    assert (error.exit_code, error.code) == (5, code)
    assert KEY in str(error)
    assert code == RefusalCode.NOT_ADMITTED or "what you were granted has expired" in str(error)


@pytest.mark.parametrize("code", WAITED)
async def test_who_waits_asks_again_and_is_told_once(provider: Provider, waiting: User, code: int) -> None:
    for _ in range(3):
        await provider.accept(control.Refused(code, "not now"))
    await provider.accept(WELCOME)
    await waiting.state("connected")
    told = [line for line in waiting.said if "waiting for that" in line]
    assert len(told) == 1
    assert f"your key is {KEY}\nask the provider to run: nconnect allow {KEY}" in told[0]


async def test_who_waits_goes_on_waiting_when_cut_off(provider: Provider, waiting: User) -> None:
    peer = await provider.accept(WELCOME)
    await waiting.state("connected")
    await peer.send(control.Refused(RefusalCode.REVOKED, "the provider has revoked your access"))
    await waiting.state("refused")
    assert "revoked" in waiting.connector.status().reason
    await provider.accept(control.Refused(RefusalCode.REVOKED, "the provider has revoked your access"))
    await provider.accept(WELCOME)
    await waiting.state("connected")
    assert waiting.host.undone == 0


async def test_what_no_wait_will_mend(provider: Provider, waiting: User) -> None:
    await provider.accept(control.Refused(RefusalCode.KIND, "connect with `nconnect socks` instead"))
    error = await waiting.fails()
    assert isinstance(error, RefusedError)
    assert error.code == RefusalCode.KIND


async def test_who_waits_also_waits_for_a_provider_that_is_away(
    provider: Provider, waiting: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs up in the middle of the handshake, as one that has too much to do."""
    (await soon(provider.listener.accept())).abort()
    await provider.accept(WELCOME)
    await waiting.state("connected")


async def test_without_waiting_one_refusal_is_enough(provider: Provider, user: User) -> None:
    await provider.accept(control.Refused(RefusalCode.QUOTA, "your quota of 1MB is used up"))
    with pytest.raises(NconnectError, match="your quota of 1MB is used up"):
        await soon(user.task)
