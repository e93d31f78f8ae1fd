"""A ping through a tunnel, and beside it a message over bare websockets through the same relay."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Self

from nconnect.demo import steps
from nconnect.demo.lab import LAN_HOST, SEED_RPC, Lab, Party
from scripts.benchmarks import programs, suite
from scripts.benchmarks.traffic import GRACE_SECONDS, ping
from scripts.figures import Report

ECHOES = 150
ECHO = "websocket echo through the relay"
DIFFERENCE = "ping minus websocket echo through the relay"


class Echo:
    """Who answers is at the provider, who asks at the user; an async context manager."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    async def __aenter__(self) -> Self:
        command = programs.command("echo", "answer", SEED_RPC)
        self._answerer = self._lab.start(Party.PROVIDER, command, name="echo", env=programs.ENVIRONMENT)
        await self._answerer.wait_for("^ready", steps.START_SECONDS)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._answerer.stop()

    async def _ask(self) -> float:
        ask = programs.command("echo", "ask", SEED_RPC, ECHOES)
        run = await self._lab.run(Party.USER, ask, env=programs.ENVIRONMENT, seconds=GRACE_SECONDS)
        return float(re.sub(r"\s", "", run.stdout))

    async def beside(self, report: Report, subject: str) -> None:
        """The rows of a subject that leads from the user to the LAN."""
        # Around the pings: what else the machine does changes from second to second.
        before = await self._ask()
        times = (await ping(self._lab, Party.USER, LAN_HOST, suite.PING_SECONDS)).median
        after = await self._ask()
        echoed = (before + after) / 2
        report.add(subject, ECHO, echoed, "ms")
        report.add(subject, DIFFERENCE, None if times is None else times - echoed, "ms")
