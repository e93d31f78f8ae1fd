"""What all tests share.

With ``--nothing-skipped`` a test that did not run is a failure. Unequal data is shown by where it differs.
"""

from __future__ import annotations

from typing import Any

import pytest

SHOWN_WHOLE = 200
"""Bytes that pytest may show in full: of megabytes it prints tens of thousands of lines where CI is set."""


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """Say where two byte strings differ, instead of printing both."""
    if op != "==" or not (isinstance(left, bytes) and isinstance(right, bytes)):
        return None
    if max(len(left), len(right)) <= SHOWN_WHOLE:
        return None
    at = next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
    return [
        f"{len(left)} bytes == {len(right)} bytes",
        f"the same up to byte {at}",
        f"then {left[at : at + 16]!r} and {right[at : at + 16]!r}",
    ]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nothing-skipped",
        action="store_true",
        help="a skipped or expected failure fails the run: a tier that cannot run is not a tier that passed",
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--nothing-skipped"):
        return
    if any(reporter.stats.get(kind) for kind in ("skipped", "xfailed", "xpassed")):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--nothing-skipped") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("skipped tests are failures here: --nothing-skipped", red=True)
