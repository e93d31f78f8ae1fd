"""What `up` and `serve` share: run until told to stop, answer on the control socket, put the host back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any, Never, Protocol, runtime_checkable

from nconnect.cli import background, event_loop, notify
from nconnect.cli.cleanup import closed_lines
from nconnect.errors import HostError
from nconnect.host.recovery import cleanup, is_only_closed
from nconnect.places import Places
from nconnect.tunnel.instance import Instance
from nconnect.tunnel.status import Status

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
HANGUP_SECONDS = 0.2
"""After SIGHUP, until the terminal that it may be about is gone for certain."""


class Service(Protocol):
    """A Connector or a Gateway."""

    ready: asyncio.Event
    failed: asyncio.Future[Never]
    """Set to the error when the device is lost while `run` goes on."""

    async def run(self) -> None: ...
    def status(self) -> Status: ...


@runtime_checkable
class Provider(Protocol):
    """A service that has users, whose permissions may change."""

    def permissions_changed(self) -> list[str]: ...
    def reload(self) -> asyncio.Future[None]: ...


def run(places: Places, name: str, make: Callable[[], Service], exit_code: Callable[[Status], int]) -> int:
    """Run the service that `make` returns (inside the event loop) until `down` or a signal.

    Returns 0, or raises what ended the service. `exit_code` is what a waiting parent then returns.
    """
    return event_loop.run(_run(places, name, make, exit_code))


async def _run(
    places: Places, name: str, make: Callable[[], Service], exit_code: Callable[[Status], int]
) -> int:
    service: Service | None = None

    def status() -> Status:
        assert service is not None  # nothing runs between the instance's start and `make`
        return service.status()

    def permissions_changed() -> list[str]:
        return service.permissions_changed() if isinstance(service, Provider) else []

    loop = asyncio.get_running_loop()
    had_terminal = has_terminal()

    def hang_up() -> None:
        """Either the terminal has gone, and we with it, or somebody asks to read the configuration again."""
        if not isinstance(service, Provider) or (had_terminal and not has_terminal()):
            instance.stop()
            return
        notify.reloading()
        service.reload().add_done_callback(lambda _: notify.ready())
        loop.call_later(HANGUP_SECONDS, lambda: had_terminal and not has_terminal() and instance.stop())

    async with Instance(places, name, status, permissions_changed) as instance:
        # Before anything is changed: from here on each signal ends in order.
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, instance.stop)
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        # What an earlier run with this name left is taken over: connections through it go on.
        for line in cleanup(places.journals, but=name, keep_closed=True):
            background.say(f"left by a crash: {line}")
        for line in closed_lines(places):
            background.say(f"warning: {line}")
        service = make()
        work = asyncio.create_task(service.run())
        ready = asyncio.create_task(service.ready.wait())
        stop = asyncio.create_task(instance.stop_requested())
        ends: set[asyncio.Future[Any]] = {work, stop, service.failed}
        try:
            await asyncio.wait({ready, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                background.ready(exit_code(service.status()))
                notify.ready()
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            notify.stopping()
            ended = [future for future in (work, service.failed) if future.done()]
            for task in (work, ready, stop):
                task.cancel()
            await asyncio.gather(work, ready, stop, return_exceptions=True)
            instance.left = _left_behind(places, name)
    for future in ended:
        future.result()
    if instance.left:
        raise HostError("not everything could be put back (see above); run: nconnect cleanup")
    return 0


def has_terminal() -> bool:
    """Whether this process has a controlling terminal; one that hung up is nobody's any more (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _left_behind(places: Places, name: str) -> list[str]:
    """What an ended service could not undo, after one more try: its journal is then still there.

    A kill switch that stays is on purpose.
    """
    journal = places.journal(name)
    if not journal.exists():
        return []
    lines = cleanup(places.journals, keep_closed=True)
    if not journal.exists() or is_only_closed(journal):
        return []
    return lines or [f"there are changes in {journal}"]
