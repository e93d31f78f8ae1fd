"""Asking an instance that runs here, over its control socket; `tunnel.instance` is the other end.

It loads little: commands that only ask shall be there at once.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from pathlib import Path
from typing import Any

from nconnect.errors import (
    DecodeError,
    HostError,
    NconnectError,
    NotRunningError,
    PrivilegeError,
    UsageError,
)
from nconnect.places import Places

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,11}")
"""`nc-` and the name are an interface's name, which the kernel bounds at 15 characters (IFNAMSIZ - 1)."""
ASK_TIMEOUT = 20.0
"""Seconds to wait for an answer: `down` waits until the network has been put back."""


def check_name(name: str) -> str:
    """`name` if an instance may have it.

    Raises:
        UsageError: it may not.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{name!r} is not a name: 1 to 12 letters, digits, - or _, a letter or digit first")
    return name


def socket_path(places: Places, name: str) -> Path:
    """Where the instance of that name listens."""
    return places.runtime / f"{name}.sock"


def running(places: Places) -> list[str]:
    """The names of the instances that answer."""
    return [name for path in sorted(places.runtime.glob("*.sock")) if _alive(places, name := path.stem)]


def _alive(places: Places, name: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_path(places, name)))
        return True
    return False


def down(places: Places, name: str) -> list[str]:
    """End an instance; returns what it could not undo, a line each, once it has tried.

    Raises:
        DecodeError: the answer is none.
        Others as `ask`.
    """
    left = _ask(places, name, "down").get("left", [])
    if not (isinstance(left, list) and all(isinstance(line, str) for line in left)):
        raise _odd_answer(name)
    return left


def tell_permissions_changed(places: Places) -> dict[str, list[str]]:
    """Have the provider that runs here hold its users to what holds now; the names of those that did, with
    what each warns of.

    One that does not answer finds out by itself in a moment.
    """
    told = {}
    for name in running(places):
        with contextlib.suppress(NconnectError):
            answer = _ask(places, name, "permissions")
            if answer.get("ok"):
                told[name] = list(map(str, answer.get("warnings") or ()))
    return told


def _ask(places: Places, name: str, request: str) -> dict[str, Any]:
    """The answer, decoded; DecodeError if it is none. By the standard library, which is loaded already."""
    try:
        answer = json.loads(ask(places, name, request))
    except (ValueError, RecursionError) as error:
        raise _odd_answer(name) from error
    if not isinstance(answer, dict):
        raise _odd_answer(name)
    return answer


def _odd_answer(name: str) -> DecodeError:
    return DecodeError(f"the instance {name!r} answers what this version does not understand")


def ask(places: Places, name: str, request: str) -> bytes:
    """Send a request to an instance; its answer, one JSON object.

    Raises:
        NotRunningError: none of that name runs.
        PrivilegeError: it belongs to somebody else.
        NconnectError: it does not answer.
    """
    path = socket_path(places, check_name(name))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ASK_TIMEOUT)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps({"request": request}).encode() + b"\n")
            with connection.makefile("rb") as answer:
                line = answer.readline()
        except PermissionError as error:
            raise PrivilegeError(f"may not connect to {path}; run it as root (sudo nconnect …)") from error
        except (FileNotFoundError, ConnectionError) as error:
            raise NotRunningError(f"no instance named {name!r} is running") from error
        except TimeoutError as error:
            raise NconnectError(f"the instance {name!r} does not answer; see its log") from error
        except OSError as error:
            raise HostError(f"cannot ask {path}: {error.strerror or error}") from error
    if not line:
        raise NotRunningError(f"the instance {name!r} ended while it was asked")
    return line
