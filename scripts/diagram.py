"""Draws the states of a session in docs/session.md from the transition table of nconnect/ncp/states.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nconnect.ncp.states import TRANSITIONS, State, Trigger

PAGE = Path(__file__).parent.parent / "docs" / "session.md"
BEGIN = "<!-- From nconnect/ncp/states.py by scripts/diagram: change it there. -->"
END = "<!-- The end of what scripts/diagram made. -->"


def mermaid() -> str:
    """The diagram; one arrow from a state to another, however many things lead there."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.IDLE.name}"]
    for state, transitions in TRANSITIONS.items():
        arrows: dict[State, list[Trigger]] = {}
        for trigger, following in transitions.items():
            arrows.setdefault(following, []).append(trigger)
        for following, triggers in arrows.items():
            label = "<br>".join(trigger.value for trigger in triggers)
            lines.append(f"    {state.name} --> {following.name}: {label}")
        if not transitions:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join([*lines, "```"])


def table() -> str:
    """What each state means."""
    rows = [f"| `{state.name}` | {state.value} |" for state in State]
    return "\n".join(["| state | what it means |", "| --- | --- |", *rows])


def page(text: str) -> str:
    """The page with what is between the two marks made anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE} lacks the lines between which the diagram goes: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{mermaid()}\n\n{table()}\n\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/diagram", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if it would")
    options = parser.parse_args()
    old = PAGE.read_text()
    new = page(old)
    if options.check:
        if new != old:
            print(f"{PAGE.name} is not what the transition table says: run scripts/diagram", file=sys.stderr)
        return int(new != old)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
