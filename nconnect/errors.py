"""Every error that nconnect raises on purpose, in one tree.

::

    NconnectError                   (exit code 1)
    ├── UsageError                  2   the caller asked for something that cannot be
    │   ├── AddressError            2   not an NKN address, public key, seed or CIDR
    │   └── ConfigError             2   the configuration file or an option is wrong
    ├── PrivilegeError              77  root or a capability is missing
    ├── NotRunningError             3   no instance of that name runs
    ├── AlreadyRunningError         1   an instance of that name runs already
    ├── RouteConflictError          4   an offered route lies inside a connected network
    ├── HostError                   1   the kernel, nft or a system file refused a change
    ├── NetworkError                1   the NKN network could not be used
    │   ├── RPCError                1   a seed answered with an error (``code``, ``message``)
    │   ├── WrongNodeError          1   48001: another node is responsible for this client
    │   ├── DialTimeoutError        1   the peer did not answer
    │   └── ClosedError             1   the client, session or stream is closed
    │       └── TurnedAwayError     1   the provider had no time for a stranger
    ├── RefusedError                5   the provider does not admit us (``code``, ``reason``)
    └── ProtocolError               1   the peer or relay broke the protocol
        ├── DecodeError             1   bytes that are not what they should be
        ├── CryptoError             1   a box, signature, tag or certificate does not verify
        └── ReplayError             1   a data batch was seen before or is too old

Messages say what was wrong, where, and what to do next, in one or two lines.
The peer's violations (ProtocolError) are kept apart from the caller's misuse (UsageError):
a ProtocolError costs its sender its session and nobody else anything.
"""

from __future__ import annotations

from typing import ClassVar


class NconnectError(Exception):
    """Base of every error raised on purpose; ``exit_code`` is what the command line returns for it."""

    exit_code: ClassVar[int] = 1


class UsageError(NconnectError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class AddressError(UsageError):
    """Not an NKN address, public key, seed or CIDR."""


class ConfigError(UsageError):
    """The configuration file or an option is wrong."""


class PrivilegeError(NconnectError):
    """Root or a capability is missing."""

    exit_code = 77


class NotRunningError(NconnectError):
    """No instance of that name runs."""

    exit_code = 3


class AlreadyRunningError(NconnectError):
    """An instance of that name runs already."""


class RouteConflictError(NconnectError):
    """A route offered by the provider equals or lies inside a network this machine is connected to."""

    exit_code = 4


class HostError(NconnectError):
    """The kernel, nft or a system file refused a change."""


class NetworkError(NconnectError):
    """The NKN network could not be used."""


class RPCError(NetworkError):
    """A seed or node answered a JSON-RPC call with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"RPC error {code}: {message}")
        self.code = code
        self.message = message


class WrongNodeError(NetworkError):
    """48001: another node is responsible for this client."""


class DialTimeoutError(NetworkError):
    """The peer did not answer in time."""


class ClosedError(NetworkError):
    """The client, session or stream is closed."""


class TurnedAwayError(ClosedError):
    """The provider ended the session before it knew who we are: it hears so many strangers at a time."""


class RefusedError(NconnectError):
    """The provider does not admit us."""

    exit_code = 5

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ProtocolError(NconnectError):
    """The peer or a relay broke the protocol."""


class DecodeError(ProtocolError):
    """Bytes that are not what they should be."""


class CryptoError(ProtocolError):
    """A box, signature, tag or certificate does not verify."""


class ReplayError(ProtocolError):
    """A data batch was seen before or is too old to tell."""
