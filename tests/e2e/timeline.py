"""A lab that writes down what happens in it, for whoever has to understand a test that failed."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from nconnect.demo.lab import RUN_SECONDS, Lab, Party, nconnect_command
from nconnect.demo.process import Process

LOOK_SECONDS = 0.05
"""Between two looks at what processes print: so exact are the times of their lines."""
MAX_LINE = 200

LABS: list[RecordedLab] = []
"""Those that are there, and those that have ended since `forget_ended` was called last."""


def forget_ended() -> None:
    """Nobody will ask any more what happened in labs that are not there."""
    LABS[:] = [lab for lab in LABS if not lab.ended]


class RecordedLab(Lab):
    """A lab whose commands, and all that its processes print, go to `events`."""

    def __init__(self, identifier: str, lock: int) -> None:
        super().__init__(identifier, lock)
        self._began = time.monotonic()
        self._events: list[tuple[float, str, str]] = []
        self._shown: dict[Path, int] = {}
        self._watched: list[tuple[str, Process]] = []
        self._mutex = threading.Lock()
        self._closed = threading.Event()

    @classmethod
    def create(cls) -> Self:
        lab = super().create()
        LABS.append(lab)
        threading.Thread(target=lab._watch, daemon=True).start()
        return lab

    @property
    def ended(self) -> bool:
        """Whether it has been removed."""
        return self._closed.is_set()

    def note(self, who: str, what: str) -> None:
        """Write down an event of this moment."""
        self._look()
        with self._mutex:
            self._write(who, what)

    def _write(self, who: str, what: str) -> None:
        line = " ⏎ ".join(what.splitlines())[:MAX_LINE]
        self._events.append((time.monotonic() - self._began, who, line))

    def events(self) -> list[str]:
        """All that has happened, a line each: seconds, who, what; what differs in numbers only is one."""
        self._look()
        lines: list[str] = []
        last, times = "", 0
        with self._mutex:
            for moment, who, what in self._events:
                kind = re.sub(r"[\d.]+", "#", f"{who} {what}")
                times = times + 1 if kind == last else 1
                if times > 2:
                    lines.pop()
                count = f"   ({times}th of its kind)" if times > 2 else ""
                lines.append(f"{moment:8.2f}  {who:<18} {what}{count}")
                last = kind
        return lines

    def start(
        self,
        party: Party,
        argv: Sequence[str],
        *,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        self.note(party, f"{_command(argv)} &")
        process = super().start(party, argv, name=name, env=env)
        with self._mutex:
            self._watched.append((f"{party}: {process.name}", process))
        return process

    async def run(
        self,
        party: Party,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        seconds: float = RUN_SECONDS,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        self.note(party, _command(argv))
        done = await super().run(party, argv, env=env, seconds=seconds, check=check)
        self.note(party, f"({done.returncode}) {(done.stdout + done.stderr).strip()}")
        return done

    def remove(self) -> None:
        self._look()
        self._closed.set()
        super().remove()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        """Take up what processes have printed since the last look."""
        with self._mutex:
            for watched in tuple(self._watched):
                name, process = watched
                # In this order: what it says last is not missed.
                code = process.returncode
                for line in self._new_lines(process.log):
                    self._write(name, line)
                if code is not None:
                    self._write(name, f"has ended with exit code {code}")
                    self._watched.remove(watched)

    def _new_lines(self, log: Path) -> list[str]:
        try:
            with log.open("rb") as file:
                file.seek(self._shown.get(log, 0))
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._shown[log] = self._shown.get(log, 0) + len(whole)
        return whole.decode(errors="replace").splitlines()


def _command(argv: Sequence[str]) -> str:
    words = list(argv)
    if words[:3] == nconnect_command()[:3]:
        words[:3] = ["nconnect"]
    return f"$ {' '.join(words)}"
