"""A program with two ends: one answers on the LAN host, one on the user's machine asks through the tunnel."""

from __future__ import annotations

import sys

from nconnect.demo.lab import LAN_HOST, Lab, Party
from nconnect.demo.process import Process

READY_SECONDS = 30.0


async def start_probe(lab: Lab, module: str, answered: str, host: str = LAN_HOST) -> Process:
    """Start ``python -m MODULE answer`` and ``… ask HOST``.

    `host` is what the user calls the LAN host. Returns the asker once it has had its first answer, which is
    when its output matches `answered`.
    """
    name = module.rpartition(".")[2]
    program = [sys.executable, "-m", module]
    answerer = lab.start(Party.LAN, [*program, "answer"], name=f"{name}-answer")
    await answerer.wait_for("^ready$", READY_SECONDS)
    asker = lab.start(Party.USER, [*program, "ask", host], name=f"{name}-ask")
    await asker.wait_for(answered, READY_SECONDS)
    return asker
