"""A line for who might miss that this machine forwards for them, or into the tunnel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from nconnect.host import networks
from nconnect.host.firewall import LINK_PREFIX


class Unforwarded:
    """Says once of each interface that what comes from there is not forwarded, and how it would be.

    `given` are the interfaces that the owner named, or patterns; `where`, if there is something to add, is
    whereto it is not forwarded.
    """

    def __init__(self, given: Sequence[str], say: Callable[[str], None], where: str = "") -> None:
        self._known = (f"{LINK_PREFIX}*", *given)
        self._where = where
        self._say = say
        self._said = set[str]()

    def look(self) -> None:
        """See whether there is an interface that is new.

        Raises:
            HostError: the kernel does not tell.
        """
        found = [one for one in networks.inner_interfaces() if not self._is_known(one)]
        if found:
            self._said.update(found)
            self._say(
                f"what comes from {', '.join(found)} is not forwarded{self._where}; "
                f"if it shall be: --forward {','.join(found)}"
            )

    def _is_known(self, interface: str) -> bool:
        return interface in self._said or any(fnmatchcase(interface, pattern) for pattern in self._known)
