"""What the other instances on this machine have already: links to providers, and addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nconnect.errors import AlreadyRunningError, NconnectError
from nconnect.places import Places

if TYPE_CHECKING:
    from nconnect.nkn.addresses import Address
    from nconnect.tunnel.status import Status


def check_not_connected(where: Places, peer: Address) -> None:
    """A provider has one link for each key: a second instance would only take it from the first.

    Raises:
        AlreadyRunningError: an instance of ours has a link to `peer`.
    """
    from nconnect.nkn.addresses import Address
    from nconnect.tunnel.status import SocksStatus, UpStatus

    for status in _others(where):
        if (
            isinstance(status, UpStatus | SocksStatus)
            and Address.parse(status.peer).public_key == peer.public_key
        ):
            raise AlreadyRunningError(
                f"{status.name!r} is connected to that provider already; "
                f"stop it with: nconnect down {status.name}"
            )


def check_address_free(where: Places, address: Address) -> None:
    """Of two instances at one address each would get some of what is sent there.

    Raises:
        AlreadyRunningError: an instance of ours is at `address`.
    """
    for status in _others(where):
        if status.address == str(address):
            raise AlreadyRunningError(f"{status.name!r} is at {address} already; choose another --identifier")


def _others(where: Places) -> Iterator[Status]:
    """The states of the instances that run; not of those that end just now, or are of another version."""
    from nconnect.tunnel import asking
    from nconnect.tunnel.status import decode

    for name in asking.running(where):
        try:
            yield decode(asking.ask(where, name, "status"))
        except NconnectError:
            continue
