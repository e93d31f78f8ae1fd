"""A running instance: the lock on its name, and the control socket for `status` and `down`.

The socket speaks one JSON object a line: `{"request": "status"}` is answered by a status object,
`{"request": "down"}` by `{"ok": true, "left": []}` once the instance has undone its changes, with lines that
tell of those that it could not undo. `{"request": "permissions"}` is for a provider whose users were changed,
and answered by `{"ok": true}` once that holds. `{"request": "tasks"}` is answered by `{"tasks": 17}`: what
runs in its event loop, where a number that only grows is a leak. Only its owner may connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from nconnect.errors import AlreadyRunningError, HostError, NconnectError, PrivilegeError
from nconnect.places import Places
from nconnect.tunnel.asking import check_name, socket_path
from nconnect.tunnel.status import Status

MAX_REQUEST = 4096
"""Bytes of a request line; the longest we know has 25."""
LAST_ANSWER_TIMEOUT = 1.0
"""Seconds that an ending instance gives its last answers to be written to a local socket."""


class Instance:
    """Holds the name while it runs: `async with Instance(...)`, then `await instance.stop_requested()`."""

    def __init__(
        self,
        places: Places,
        name: str,
        status: Callable[[], Status],
        permissions_changed: Callable[[], list[str]] | None = None,
    ) -> None:
        """`status` and `permissions_changed` are called for who asks; None: this one has no users."""
        self.name = check_name(name)
        self.left: list[str] = []
        """What the service could not undo; set before the end of `async with`."""
        self._directory = places.runtime
        self._socket_path = socket_path(places, name)
        self._status = status
        self._permissions_changed = permissions_changed
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._lock: int | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._take_lock()
            self._socket_path.unlink(missing_ok=True)
            # The mode is right from the first moment: a chmod afterwards would leave a gap.
            listener = socket.socket(socket.AF_UNIX)
            umask = os.umask(0o177)
            try:
                listener.bind(str(self._socket_path))
            finally:
                os.umask(umask)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_REQUEST)
        except PermissionError as error:
            self._release()
            raise PrivilegeError(
                f"may not write {self._directory}; run it as root (sudo nconnect …)"
            ) from error
        except OSError as error:
            self._release()
            raise HostError(f"cannot listen on {self._socket_path}: {error.strerror or error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._server is not None:
            self._server.close()
        if self._connections:
            # The answer to `down` is on its way through one of these; who says nothing is cut off.
            await asyncio.wait(self._connections, timeout=LAST_ANSWER_TIMEOUT)
            for connection in self._connections:
                connection.cancel()
        self._socket_path.unlink(missing_ok=True)
        self._release()

    def _take_lock(self) -> int:
        path = self._directory / f"{self.name}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise AlreadyRunningError(
                f"an instance named {self.name!r} runs already; stop it with `nconnect down {self.name}` "
                "or choose another --name"
            ) from error
        return descriptor

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def stop(self) -> None:
        """Ask the instance to end; `stop_requested` returns."""
        self._stop.set()

    async def stop_requested(self) -> None:
        """Wait for `down` or `stop`."""
        await self._stop.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with contextlib.suppress(ConnectionError, ValueError):  # gone, or a line beyond MAX_REQUEST
            line = await reader.readline()
            if line:
                writer.write(await self._answer(line) + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> bytes:
        try:
            request = msgspec.json.decode(line, type=dict[str, str]).get("request")
        except (msgspec.MsgspecError, UnicodeError):
            request = None
        if request == "status":
            return msgspec.json.encode(self._status())
        if request == "down":
            self._stop.set()
            await self._stopped.wait()
            return msgspec.json.encode({"ok": True, "left": self.left})
        if request == "permissions" and self._permissions_changed is not None:
            try:
                warnings = self._permissions_changed()
            except NconnectError as error:
                return msgspec.json.encode({"ok": False, "error": str(error)})
            return msgspec.json.encode({"ok": True, "warnings": warnings})
        if request == "tasks":
            return msgspec.json.encode({"tasks": len(asyncio.all_tasks())})
        return b'{"error": "unknown request"}'
