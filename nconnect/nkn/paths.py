"""A client's sub-clients together: which are at a node, waiting for them, and why none is."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence

from nconnect.errors import ClosedError, NetworkError, ProtocolError
from nconnect.nkn.client import State, SubClient
from nconnect.nkn.config import ClientConfig


class Paths:
    """Told of each change by `on_change`; all that wait are, until the client is closed."""

    def __init__(self, clients: Sequence[SubClient], config: ClientConfig) -> None:
        self._clients = clients
        self._config = config
        self._changed = asyncio.Event()
        self.closed = False
        self.ready_since = math.inf
        """Since when there has been a path, without a break."""

    def ready(self) -> list[SubClient]:
        """Those that a node has accepted."""
        return [client for client in self._clients if client.ready]

    def on_change(self, client: SubClient) -> None:
        """What this one can do has changed."""
        if client.ready:
            self.ready_since = min(self.ready_since, asyncio.get_running_loop().time())
        elif not self.ready():
            self.ready_since = math.inf
        self._changed.set()

    async def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait for what depends on the sub-clients; ClosedError if the client is closed."""
        while not condition():
            if self.closed:
                raise ClosedError("the NKN client is closed")
            self._changed.clear()
            await self._changed.wait()

    async def wait_first(self) -> None:
        """Wait until one is ready, or each has failed so often that the client shall not be waited for."""
        await self.wait_for(lambda: self.ready() or self._all_failed())

    async def wait_most(self) -> None:
        """Wait until one is ready, and a little for the others if all were only just started or have only
        just lost the network."""
        while True:
            await self.wait_for(self.ready)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self.ready_since + self._config.path_wait):
                    await self.wait_for(lambda: len(self.ready()) in (0, len(self._clients)))
            # The last one may have been lost meanwhile.
            if self.ready():
                return

    def why_not(self, what: str) -> Exception:
        """The error to raise where `what` needs a path and there is none."""
        errors = [client.error for client in self._clients]
        for error in errors:
            if error is not None and not isinstance(error, NetworkError | ProtocolError):
                return error
        problems = dict.fromkeys(str(error or "no node answered in time") for error in errors)
        return NetworkError(f"{what}: {'; '.join(problems)}")

    def _all_failed(self) -> bool:
        attempts = self._config.connect_attempts
        return all(client.state is State.FAILED or client.failures >= attempts for client in self._clients)
