"""An official SDK as a peer of the tests: a program of ours around it, driven by JSON lines.

A request is one line on the program's stdin, its answer one on its stdout; requests run at the same time::

    {"id": 1, "op": "send", …}          {"id": 1, "result": …} or {"id": 1, "error": "…"}

What happens without being asked is a line ``{"event": …}``. Content of messages is ``{"text": string}``,
``{"data": base64}`` or, in answers, ``{"ack": true}``. The operations (durations in milliseconds):

============  ===================================================  =========================================
op            arguments                                            result
============  ===================================================  =========================================
connect       rpc, seed (hex), identifier, subClients, nonStream,  {address}, once all sub-clients are there
              mtu, tls
answer        mode: "ack" | "silent" | "reply", content            null
send          dest: [address…], content, noReply, unencrypted,     content of the reply
              holdingSeconds, timeoutMs
listen        accept: [regular expression…]                        null; then events {session, src}
dial          dest: [address], timeoutMs                           {session}: its number from now on
exchange      session, size                                        {sent, received}: SHA-256, hex
echo          session                                              {size, sha256} of what came
read          session, size (optional)                             {size, sha256} of what came until then
write         session, size                                        SHA-256, hex
close         session                                              null, once it is closed
publish       topic, content                                       null, once it is sent
nanoPay       wallet, amount                                       the signed payment, hex
claimNanoPay  wallet, file: the payment, hex (Go only)             NKN paid so far; it is on the chain
openWallet    file, password                                       [address, seed (hex)]
writeWallet   seed (hex), password, version (JavaScript)           the file's text
============  ===================================================  =========================================

Those on the block chain are the methods of `PeerChain`, with their arguments and results.
Events: ``{"event": "message", "src", "encrypted", "noReply", content}``,
``{"event": "session", "session", "src"}``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .peers import SUB_CLIENTS, TIMEOUT, Content, Kind, PeerError, Received, Stream

# A line holds a message of a few MiB in base64 at most.
LINE_LIMIT = 16 * 1024 * 1024
# The driver says first what its SDK did not do in time.
ANSWER_TIMEOUT = TIMEOUT + 5


class Driver:
    """A process that answers requests."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.events: dict[str, asyncio.Queue[dict[str, Any]]] = {
            "message": asyncio.Queue(),
            "session": asyncio.Queue(),
        }
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._next = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Driver:
        """Start the process, with some variables of its environment changed."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, limit=LINE_LIMIT, env={**os.environ, **(environment or {})}
        )
        return cls(process)

    async def call(self, op: str, **arguments: Any) -> Any:
        """Ask for one operation and await its result; PeerError if the SDK failed."""
        number = self._next
        self._next += 1
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await answer

    @property
    def pid(self) -> int:
        """Of the process, for what it costs."""
        return self._process.pid

    async def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind."""
        async with asyncio.timeout(TIMEOUT):
            return await self.events[kind].get()

    def kill(self) -> None:
        """For a process that is to end whatever it does now."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "event" in message:
                self.events[message["event"]].put_nowait(message)
                continue
            answer = self._answers.pop(message["id"])
            if answer.cancelled():
                continue
            if "error" in message:
                answer.set_exception(PeerError(message["error"]))
            else:
                answer.set_result(message["result"])
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(PeerError("the driver ended"))


class OfficialSession:
    """See `PeerSession`."""

    def __init__(self, driver: Driver, number: int, remote_address: str) -> None:
        self.remote_address = remote_address
        self._driver = driver
        self._number = number

    async def exchange(self, size: int) -> tuple[str, str]:
        result = await self._driver.call("exchange", session=self._number, size=size)
        return result["sent"], result["received"]

    async def echo(self) -> Stream:
        return Stream(**await self._driver.call("echo", session=self._number))

    async def write(self, size: int) -> str:
        sha256: str = await self._driver.call("write", session=self._number, size=size)
        return sha256

    async def read(self) -> Stream:
        return Stream(**await self._driver.call("read", session=self._number))

    async def close(self) -> None:
        await self._driver.call("close", session=self._number)


class OfficialPeer:
    """See `Peer`; made by `OfficialPeer.join`."""

    def __init__(self, kind: Kind, driver: Driver, address: str) -> None:
        self.kind = kind
        self.address = address
        self._driver = driver
        self._received: Received | None = None

    @classmethod
    @asynccontextmanager
    async def join(
        cls,
        kind: Kind,
        command: Sequence[str],
        rpc_url: str,
        identifier: str,
        seed: bytes,
        sub_clients: int = SUB_CLIENTS,
        *,
        non_stream: bool = False,
        mtu: int = 1024,
        tls: Path | None = None,
    ) -> AsyncIterator[OfficialPeer]:
        """A client in a process of its own, with all its sub-clients.

        ``tls``: the authorities (PEM) that are to vouch for the nodes; the JavaScript SDK has that.
        """
        driver = await Driver.start(command, {"NODE_EXTRA_CA_CERTS": str(tls)} if tls else None)
        try:
            result = await driver.call(
                "connect",
                rpc=rpc_url,
                identifier=identifier,
                seed=seed.hex(),
                subClients=sub_clients,
                nonStream=non_stream,
                mtu=mtu,
                tls=tls is not None,
            )
            yield cls(kind, driver, result["address"])
        finally:
            await driver.end()

    async def send(
        self,
        dest: str | list[str],
        content: str | bytes,
        *,
        no_reply: bool = False,
        unencrypted: bool = False,
        holding_seconds: int = 0,
        timeout: float = TIMEOUT,  # noqa: ASYNC109  # the SDK's own
    ) -> Content:
        reply = await self._driver.call(
            "send",
            dest=[dest] if isinstance(dest, str) else dest,
            noReply=no_reply,
            unencrypted=unencrypted,
            holdingSeconds=holding_seconds,
            timeoutMs=round(timeout * 1000),
            **_encode(content),
        )
        return _decode(reply)

    async def publish(self, topic: str, content: str | bytes) -> None:
        """Send a message to who subscribed to a topic."""
        await self._driver.call("publish", topic=topic, **_encode(content))

    async def call(self, op: str, **arguments: Any) -> Any:
        """Any operation of the driver."""
        return await self._driver.call(op, **arguments)

    async def answer(self, mode: str, content: Content = None) -> None:
        await self._driver.call("answer", mode=mode, **_encode(content))

    async def received(self) -> Received:
        before = self._received
        # nkn-sdk-go looks a message up and remembers it in two steps (multiclient.go): what comes by two
        # sub-clients at the same time is handed over twice now and then.
        while (received := await self._next_message()) == before and self.kind is Kind.GO:
            pass
        self._received = received
        return received

    async def _next_message(self) -> Received:
        event = await self._driver.event("message")
        return Received(event["src"], _decode(event), event["encrypted"], event["noReply"])

    async def listen(self, *accept: str) -> None:
        await self._driver.call("listen", accept=accept or [".*"])

    async def accept(self) -> OfficialSession:
        event = await self._driver.event("session")
        return OfficialSession(self._driver, event["session"], event["src"])

    async def dial(self, dest: str, timeout: float = TIMEOUT) -> OfficialSession:  # noqa: ASYNC109
        result = await self._driver.call("dial", dest=[dest], timeoutMs=round(timeout * 1000))
        return OfficialSession(self._driver, result["session"], dest)


def _encode(content: Content) -> dict[str, str]:
    if content is None:
        return {}
    if isinstance(content, str):
        return {"text": content}
    return {"data": base64.b64encode(content).decode()}


def _decode(message: dict[str, Any] | None) -> Content:
    if message is None or message.get("ack"):
        return None
    if "text" in message:
        text: str = message["text"]
        return text
    return base64.b64decode(message["data"])
