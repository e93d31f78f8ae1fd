"""The identity file: this machine's NKN secret seed, made at first need, readable by its owner only."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from nconnect.errors import AlreadyRunningError, ConfigError, HostError
from nconnect.nkn.keys import KeyPair
from nconnect.permission.private import check_private
from nconnect.tunnel.leases import write_atomically

FILE_NAME = "identity"
LOCK_NAME = "serve.lock"
SEED_HEX_DIGITS = 64


def load_or_create(state: Path) -> KeyPair:
    """The key pair in `state`/identity: 64 hex digits of seed; made if there is none.

    Raises:
        ConfigError: the file is not an identity, or others may read it.
        HostError: it cannot be read or written.
    """
    path = state / FILE_NAME
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(SEED_HEX_DIGITS + 2).decode("ascii", "replace").strip()
    except FileNotFoundError:
        # Another command may be making one just now, and tell its owner the key: the first one stays.
        write_atomically(path, KeyPair.generate().seed.hex().encode() + b"\n", replace=False)
        return load_or_create(state)
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}") from error
    check_private(mode, path, "holds a secret")
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(text) != SEED_HEX_DIGITS or not seed:
        raise ConfigError(
            f"{path} is not an identity ({SEED_HEX_DIGITS} hex digits); restore it or move it away"
        )
    return KeyPair.from_seed(seed)


@contextlib.contextmanager
def serving(state: Path) -> Iterator[None]:
    """Held while this identity serves: it is one address, where two gateways would answer each dial.

    Raises:
        AlreadyRunningError: another gateway has it.
        HostError: the lock cannot be had.
    """
    path = state / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise AlreadyRunningError(
            "this identity serves already, and two gateways would take each other's users; "
            "stop the first with `nconnect down`, or offer several networks with one: --lan A --lan B"
        ) from error
    finally:
        os.close(descriptor)
