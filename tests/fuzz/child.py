"""The process that fuzzes one target; libFuzzer ends it.

Its arguments are the target's module and what libFuzzer takes. `runner` starts it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

from .limits import MEMORY_MIB

STATUS = Path("/proc/self/status")


def peak_mib() -> int:
    """The most memory that this process had (proc(5), VmHWM).

    getrusage(2) would count what the process that started this one had, because exec keeps its maximum.
    """
    with STATUS.open() as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmHWM:"))


def main() -> None:
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["nconnect"]):
        target = importlib.import_module(name)
    run, errors = target.run, target.ERRORS

    def test_one_input(data: bytes) -> None:
        try:
            run(data)
        except errors as error:
            # What a user is told of it is one line or two, and never the input itself.
            assert 0 < len(str(error)) < 1000, f"an error of {len(str(error))} characters"
        # libFuzzer itself only looks once a second.
        peak = peak_mib()
        assert peak < MEMORY_MIB, f"out of memory: {peak} MiB"

    atheris.Setup([name, *arguments], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
