"""State, reason and age, by a clock of the test's."""

from __future__ import annotations

import pytest

from nconnect.errors import ClosedError, RefusedError
from nconnect.tunnel.health import FIRST_GRACE, GRACE, NO_PATH, SILENT, Health, Standing, serving
from nconnect.tunnel.status import PathStatus


def path(
    state: str = "ready", seconds: float = 100.0, *, error: str = "", was_ready: bool = True
) -> PathStatus:
    return PathStatus(0, "192.0.2.1:30004", state, 0, 0, error, seconds=seconds, was_ready=was_ready)


WELL = [path()] * 4
TWO_GONE = [
    path(),
    path(),
    path("waiting", 8.0, error="node A is gone"),
    path("connecting", 5.0, error="node B is gone"),
]


@pytest.fixture
def standing() -> Standing:
    """Started at 100 s."""
    return Standing(100.0)


def test_before_the_first_link(standing: Standing) -> None:
    assert standing.health(103.0, None, "", WELL) == Health("connecting", "not connected yet", 3.0)
    standing.failed(ClosedError("no answer"), 104.0)
    assert standing.health(105.0, None, "", WELL) == Health("connecting", "no answer", 5.0)


def test_connected_while_the_provider_proves_that_it_lives(standing: Standing) -> None:
    standing.linked(110.0)
    assert standing.health(140.0, 139.0, "", WELL) == Health("connected", "", 30.0)
    late = standing.health(140.0, 140.0 - SILENT - 1, "", WELL)
    assert late == Health("degraded", f"no answer from the provider since {SILENT + 1:.0f} s", 30.0)


def test_degraded_while_paths_are_gone(standing: Standing) -> None:
    standing.linked(110.0)
    expected = Health("degraded", "node A is gone; node B is gone", 8.0)
    assert standing.health(200.0, 200.0, "", TWO_GONE) == expected
    reason = "10.0.0.0/8 is left out; node A is gone; node B is gone"
    assert standing.health(200.0, 200.0, "10.0.0.0/8 is left out", TWO_GONE).reason == reason


def test_a_relay_that_is_replaced_is_no_news(standing: Standing) -> None:
    standing.linked(110.0)
    for lost, calm in ((path("connecting", GRACE - 0.1), True), (path("connecting", GRACE), False)):
        assert (standing.health(200.0, 200.0, "", [path(), lost]).state == "connected") == calm
    slow = path("joining", FIRST_GRACE - 0.1, was_ready=False)
    assert standing.health(200.0, 200.0, "", [path(), slow]).state == "connected"


def test_without_a_relay_nothing_gets_through(standing: Standing) -> None:
    standing.linked(110.0)
    paths = [path("waiting", 5.0), path("waiting", 3.0)]
    assert standing.health(200.0, 199.0, "", paths) == Health("reconnecting", NO_PATH, 3.0)


def test_reconnecting_since_the_link_ended_and_silent_since_the_last_proof(standing: Standing) -> None:
    standing.linked(110.0)
    standing.lost("no answer from the peer for 2 s", 198.0, 200.0)
    expected = "no answer from the provider since 14 s (no answer from the peer for 2 s)"
    assert standing.health(212.0, None, "", WELL) == Health("reconnecting", expected, 12.0)
    standing.failed(ClosedError("it did not answer in 10 s"), 213.0)
    health = standing.health(220.0, None, "", WELL)
    assert health == Health(
        "reconnecting", "no answer from the provider since 22 s (it did not answer in 10 s)", 20.0
    )
    standing.linked(221.0)
    assert standing.health(222.0, 222.0, "", WELL) == Health("connected", "", 1.0)


def test_refused_until_it_is_not(standing: Standing) -> None:
    standing.failed(RefusedError(1, "not admitted yet"), 105.0)
    standing.failed(RefusedError(1, "not admitted yet"), 108.0)
    assert standing.health(110.0, None, "", WELL) == Health("refused", "not admitted yet", 5.0)
    standing.failed(ClosedError("no answer"), 111.0)
    assert standing.health(112.0, None, "", WELL).state == "connecting"
    standing.linked(113.0)
    standing.lost("revoked", 119.0, 120.0, refused=True)
    assert standing.health(121.0, None, "", WELL) == Health("refused", "revoked", 1.0)


def test_who_waits_for_others_to_dial() -> None:
    assert serving(False, 2.0, [path("joining", 2.0)]).state == "connecting"
    assert serving(True, 60.0, WELL) == Health("serving", "", 60.0)
    assert serving(True, 60.0, TWO_GONE) == Health("degraded", "node A is gone; node B is gone", 8.0)
    assert serving(True, 60.0, [path("waiting", 7.0)]) == Health("reconnecting", NO_PATH, 7.0)
