"""The story of the demo, on a terminal and in a file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nconnect.demo.show import Story, short


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def story(output: io.StringIO) -> Story:
    return Story(Console(file=output, width=80))


def test_a_step_is_one_line_with_place_time_and_result(story: Story, output: io.StringIO) -> None:
    with story.step("user", "nconnect up [--peer x]") as step:
        step.result = "connected"
    (line,) = output.getvalue().splitlines()
    assert line.startswith("✓")
    assert line.endswith(" s  user      nconnect up [--peer x] · connected")
    assert step.seconds >= 0


def test_a_failed_step_is_marked(story: Story, output: io.StringIO) -> None:
    with pytest.raises(OSError, match="no such device"), story.step("user", "up"):
        raise OSError("no such device")
    assert output.getvalue().startswith("✗")


def test_a_long_line_is_not_broken(story: Story, output: io.StringIO) -> None:
    with story.step("user", "x" * 200):
        pass
    story.quote("y" * 200 + "\n")
    assert len(output.getvalue().splitlines()) == 2


def test_quoted_parts_make_one_line_behind_the_margin(story: Story, output: io.StringIO) -> None:
    for part in ("one ", "[two]", "\nthree\n"):
        story.quote(part)
    lines = [line.strip() for line in output.getvalue().splitlines()]
    assert lines == ["│ one [two]", "│ three"]


def test_keys_are_shortened() -> None:
    assert short("ab" * 32) == "abababababab…"
    assert short("home") == "home"
