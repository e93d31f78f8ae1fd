"""The program as a whole: how it ends when something unforeseen happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from nconnect.cli import main
from nconnect.errors import DialTimeoutError, NconnectError, PrivilegeError, RefusedError

INTERRUPTED_AS_IT_LOADS = """
import runpy, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "nconnect.cli.status":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
runpy.run_module("nconnect", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_while_it_loads() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AS_IT_LOADS], capture_output=True, timeout=60, check=False
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (130, b"", b"")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DialTimeoutError("nobody answered"), 1, "nobody answered"),
        (RefusedError(1, "not admitted"), 5, "not admitted"),
        (PrivilegeError("needs root"), 77, "needs root"),
        (NconnectError("two\nlines"), 1, "two\nlines"),
        (ZeroDivisionError("oh"), 1, "internal error: ZeroDivisionError: oh; run it with -vv to see where"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_a_line_and_an_exit_code(
    error: Exception,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(words: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(main, "main", fail)
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == code
    assert capsys.readouterr() == ("", f"nconnect: {line}\n")
