"""The system's D-Bus with systemd-resolved on it, as far as a client sees them.

Sources: the D-Bus specification, "Authentication Protocol" and "Message Bus Specification";
org.freedesktop.resolve1(5).
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from jeepney import HeaderFields, Message, MessageType, Parser
from jeepney.wrappers import new_error, new_method_return

NO_OWNER = "org.freedesktop.DBus.Error.NameHasNoOwner"


class FakeResolved:
    """Writes down what it is told: `calls`, method and arguments."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = ":1.7"
        """Its name on the bus, another one after each start; empty: it does not run."""
        self.refusal = ""
        """Name of the D-Bus error that it answers with."""
        self.silent = False
        self.hangs_up = False
        """Instead of an answer to who owns a name."""
        self.calls: list[tuple[Any, ...]] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def domains(self) -> list[str]:
        """Those of the last word about them."""
        said = [arguments[1] for method, *arguments in self.calls if method == "SetLinkDomains"]
        return [domain for domain, _ in said[-1]] if said else []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with contextlib.suppress(EOFError, ConnectionError):
            await self._authenticate(reader, writer)
            await self._talk(reader, writer)
        writer.close()

    async def _authenticate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not (line := await reader.readuntil(b"\r\n")).startswith(b"BEGIN"):
            assert line.lstrip(b"\0").startswith(b"AUTH EXTERNAL")
            writer.write(b"OK " + b"0" * 32 + b"\r\n")

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser, serial = Parser(), 0
        while True:
            while (message := parser.get_next_message()) is not None:
                if self.hangs_up and message.header.fields[HeaderFields.member] == "GetNameOwner":
                    return
                if message.header.message_type == MessageType.method_call and not self.silent:
                    serial += 1
                    writer.write(self._answer(message).serialise(serial))
            data = await reader.read(4096)
            if not data:
                return
            parser.add_data(data)

    def _answer(self, message: Message) -> Message:
        method = message.header.fields[HeaderFields.member]
        if method == "Hello":
            return new_method_return(message, "s", (":1.9",))
        if method == "GetNameOwner":
            if not self.owner:
                return new_error(message, NO_OWNER, "s", ("nobody has that name",))
            return new_method_return(message, "s", (self.owner,))
        if self.refusal:
            return new_error(message, self.refusal, "s", ("no",))
        self.calls.append((method, *message.body))
        return new_method_return(message)
