"""One client of ours in a process of its own, for scripts/bench: driven as tests/interop/driver.py says.

It does the same work as the official SDKs' drivers: random bytes, and a checksum at either end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

import uvloop

from tests.interop.ours import OurPeer, OurSession


def emit(**line: object) -> None:
    print(json.dumps(line), flush=True)


class Commands:
    """What the benchmark asks of a client."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._sessions: list[OurSession] = []
        self._peer: OurPeer
        self._accepting: asyncio.Task[None]

    async def run(self, op: str, request: dict[str, Any]) -> object:
        if op == "connect":
            joining = OurPeer.join(
                request["rpc"], request["identifier"], bytes.fromhex(request["seed"]), request["subClients"]
            )
            self._peer = await self._stack.enter_async_context(joining)
            return {"address": self._peer.address}
        if op == "listen":
            await self._peer.listen(*request["accept"])
            self._accepting = asyncio.create_task(self._accept())
            return None
        if op == "dial":
            return {"session": self._add(await self._peer.dial(request["dest"][0]))}
        session = self._sessions[request["session"]]
        if op == "read":
            return vars(await session.read(request["size"]))
        if op == "write":
            return await session.write(request["size"])
        return await session.close()

    def _add(self, session: OurSession) -> int:
        self._sessions.append(session)
        return len(self._sessions) - 1

    async def _accept(self) -> None:
        session = await self._peer.accept()
        emit(event="session", session=self._add(session), src=session.remote_address)


async def answer(commands: Commands, request: dict[str, Any]) -> None:
    try:
        emit(id=request["id"], result=await commands.run(request["op"], request))
    except Exception as error:
        emit(id=request["id"], error=f"{type(error).__name__}: {error}")


async def main() -> None:
    requests = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        commands = Commands(stack)
        while line := await requests.readline():
            group.create_task(answer(commands, json.loads(line)))


if __name__ == "__main__":
    uvloop.run(main())
