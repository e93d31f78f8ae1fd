"""What happens to this machine, told to whoever has connections that it may end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from nconnect.errors import HostError
from nconnect.host.events import NetworkEvents, SleepWatch
from nconnect.nkn.multiclient import MultiClient

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def following(*clients: MultiClient) -> Iterator[None]:
    """In here these clients hear at once of changes of the network, and of sleep.

    It takes no right. A sandbox without netlink hides the changes; silence tells of them then, some seconds
    later.
    """

    def on_change() -> None:
        for client in clients:
            client.on_network_change()

    def on_wake() -> None:
        for client in clients:
            client.on_wake()

    with contextlib.ExitStack() as stack:
        stack.callback(SleepWatch(on_wake).close)
        try:
            stack.callback(NetworkEvents(on_change).close)
        except HostError as error:
            logger.info("%s", error)
        yield
