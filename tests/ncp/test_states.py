"""The transition table, and its picture in the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nconnect.ncp.states import TRANSITIONS, State, Trigger

ROOT = Path(__file__).parent.parent.parent


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.IDLE}
    for _ in State:
        reached |= {following for state in reached for following in TRANSITIONS[state].values()}
    assert reached == set(State)
    assert [state for state, transitions in TRANSITIONS.items() if not transitions] == [State.CLOSED]


def test_every_trigger_leads_somewhere() -> None:
    assert {trigger for transitions in TRANSITIONS.values() for trigger in transitions} == set(Trigger)


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
def test_a_session_can_be_given_up_in_any_state(state: State) -> None:
    assert TRANSITIONS[state][Trigger.ABORT] is State.CLOSED
    assert TRANSITIONS[state][Trigger.PEER_CLOSE] is State.CLOSED


def test_the_diagram_is_up_to_date() -> None:
    command = [sys.executable, "scripts/diagram.py", "--check"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    page = (ROOT / "docs" / "session.md").read_text()
    for state, transitions in TRANSITIONS.items():
        for trigger, following in transitions.items():
            (arrow,) = [line for line in page.splitlines() if f"{state.name} --> {following.name}:" in line]
            assert trigger.value in arrow
