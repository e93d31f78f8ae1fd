"""Runs targets, each in a process of its own, and shows the input that broke one as hex."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from .limits import HANG_SECONDS, MEMORY_MIB

ROOT = Path(__file__).parent.parent.parent
PREFIX = "fuzz_"

# What libFuzzer writes where an input broke the target, hung, or took too much memory.
ARTIFACTS = ("crash-", "timeout-", "oom-", "leak-", "slow-unit-")


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    failed: bool
    output: str
    """What libFuzzer and the target said."""
    inputs: tuple[bytes, ...]
    """What broke the target."""


def targets() -> dict[str, str]:
    """Name of each target and its module."""
    paths = sorted(Path(__file__).parent.glob(f"{PREFIX}*.py"))
    return {path.stem.removeprefix(PREFIX).replace("_", "-"): f"{__package__}.{path.stem}" for path in paths}


def fuzz(
    module: str, *, seed: int, runs: int | None = None, seconds: int | None = None, corpus: Path | None = None
) -> Outcome:
    """Fuzz until ``runs`` inputs are through, or ``seconds`` are over, or one breaks the target.

    ``corpus`` is a folder that keeps the inputs which reached something new.
    """
    target = importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        seeds, found = Path(folder, "seeds"), Path(folder, "found")
        corpus = corpus or Path(folder, "corpus")
        for place in (seeds, found, corpus):
            place.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(target.seeds()):
            (seeds / f"{number:03}").write_bytes(data)
        limits = [f"-runs={runs}"] if runs is not None else []
        limits += [f"-max_total_time={seconds}"] if seconds is not None else []
        command = [sys.executable, "-m", f"{__package__}.child", module, *limits, f"-seed={seed}"]
        command += [f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}"]
        command += [f"-artifact_prefix={found}/", str(corpus), str(seeds)]
        # exec keeps the memory maximum that libFuzzer asks for; a child that a small shell forks has its own.
        command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
        # The same run again needs the same order of sets, too.
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        process = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        broken = [path for path in sorted(found.iterdir()) if path.name.startswith(ARTIFACTS)]
        output = process.stdout + process.stderr
        return Outcome(process.returncode != 0, output, tuple(path.read_bytes() for path in broken))


def replay(target: ModuleType, data: bytes) -> None:
    """Run one input here: what is not a documented error comes out."""
    try:
        target.run(data)
    except target.ERRORS as error:
        print(f"{type(error).__name__}: {error}")
    else:
        print("taken")


def report(name: str, outcome: Outcome) -> str:
    """The last line of a good run; all of a bad one."""
    lines = outcome.output.splitlines()
    if not outcome.failed:
        done = [line for line in lines if line.startswith("Done ")]
        return f"{name}: {done[-1] if done else 'done'}"
    hexes = [f"input: {data.hex()}" for data in outcome.inputs]
    hint = [f"again: scripts/fuzz {name} --input {data.hex()}" for data in outcome.inputs]
    return "\n".join([f"{name}: FAILED", *lines, *hexes, *hint])


def main(arguments: Sequence[str] | None = None) -> int:
    known = targets()
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Fuzz the decoders.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(known)} (default: all)")
    parser.add_argument("--seconds", type=int, default=30, help="for each target; default: %(default)s")
    parser.add_argument("--runs", type=int, help="inputs for each target, instead of seconds")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs")
    parser.add_argument("--corpus", type=Path, help="folder that keeps what was found, one folder a target")
    parser.add_argument("--input", type=bytes.fromhex, help="one input in hex: run it and show what it does")
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - set(known):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    names = options.targets or list(known)
    if options.input is not None:
        for name in names:
            replay(importlib.import_module(known[name]), options.input)
        return 0
    failures = 0
    for name in names:
        outcome = fuzz(
            known[name],
            seed=options.seed,
            runs=options.runs,
            seconds=None if options.runs is not None else options.seconds,
            corpus=options.corpus and options.corpus / name,
        )
        print(report(name, outcome), flush=True)
        failures += outcome.failed
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
