"""`--invite` of `up` and `socks`: where the string comes from, and what is in it. It is a secret."""

from __future__ import annotations

import itertools
import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nconnect.errors import HostError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from nconnect.nkn.addresses import Address

OPTION = "--invite"
STDIN = "-"
STDIN_FILENO = 0
MAX_READ = 8192
"""Bytes that are read for an invite, which has some 250, 3072 at most; what is longer is something else."""

LOOKS_LIKE_INVITE = re.compile("nconnect[1-9]")
"""How an invite begins; a file of such a name is ./nconnect1…"""


def add_option(parser: ArgumentParser) -> None:
    """`--invite`, which `read` takes."""
    parser.add_argument(
        OPTION,
        metavar="STRING|FILE|-",
        default="",
        help="The invite that the provider gave you; - reads it from the keyboard. Instead of --peer, once.",
    )


def hide() -> None:
    """If the command line holds an invite, which every local user can read there while we run, go on as a
    process whose command line has none and whose stdin does. If only `sys.argv` holds one, our stdin has it
    from now on.
    """
    given = _given(sys.argv[1:])
    if not LOOKS_LIKE_INVITE.match(given):
        return
    read_end, write_end = os.pipe()
    os.write(write_end, os.fsencode(given)[:MAX_READ])  # a pipe holds more than that
    os.dup2(read_end, STDIN_FILENO)
    # Where there was no stdin, the pipe is in its place already, and would close.
    os.set_inheritable(STDIN_FILENO, True)
    arguments = without_secret(sys.orig_argv[1:])
    if arguments == sys.orig_argv[1:]:
        # We were called by a program, in whose command line it is not.
        os.close(write_end)
        sys.argv[1:] = without_secret(sys.argv[1:])
        sys.stdin = os.fdopen(STDIN_FILENO, closefd=False)
        return
    print(
        "hint: whoever lists processes saw the invite in your command, and still does in that of sudo; "
        f"{OPTION} {STDIN} hides it",
        file=sys.stderr,
        flush=True,
    )
    # As we were started: the same program, wherever we are. Both ends of the pipe close by themselves.
    os.execv(sys.executable, [sys.executable, *arguments])


def _given(arguments: Sequence[str]) -> str:
    """The value of the last `--invite` among these words."""
    given = ""
    for word, after in itertools.pairwise([*arguments, ""]):
        if word == OPTION:
            given = after
        elif word.startswith(OPTION + "="):
            given = word.removeprefix(OPTION + "=")
    return given


def read(given: str) -> str:
    """The string that `--invite` means, on stdin or in a file; empty if it was not given.

    One in the command line itself is not there any more: see `hide`.

    Raises:
        ConfigError: others may read the file; HostError: it cannot be read; UsageError: it holds no one word.
    """
    if not given:
        return ""
    text = _read_stdin() if given == STDIN else _read_file(Path(given))
    words = text.split()
    if len(words) != 1:
        raise UsageError(f"{OPTION}: one word was expected, the invite, and there are {len(words)}")
    return words[0]


def _read_stdin() -> str:
    if sys.stdin is None:
        raise UsageError(f"{OPTION} {STDIN} reads the invite from stdin, which is closed")
    if sys.stdin.isatty():
        print("paste the invite, then Enter: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.buffer.readline(MAX_READ).decode("utf-8", "replace")


def _read_file(path: Path) -> str:
    from nconnect.permission.private import check_private

    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode):
                check_private(mode, path, "holds a secret")
            return file.read(MAX_READ).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        # Not what was given: it may be an invite that was copied badly.
        why = error.strerror if isinstance(error, OSError) else "no path"
        raise HostError(
            f"{OPTION} was given neither {STDIN}, nor an invite, which begins with nconnect1, nor a file "
            f"that can be read ({why})"
        ) from error


def provider(text: str, peer: str, configured: str) -> tuple[Address, bytes]:
    """Whom to dial and the token to show: what an invite says, or else `--peer`, or else the configuration.

    Raises:
        UsageError: nobody is named; the invite is none, or of another provider than `peer`.
    """
    from nconnect.nkn.addresses import Address
    from nconnect.permission import invites

    if LOOKS_LIKE_INVITE.match(peer):
        raise UsageError(f"--peer is for an address, and that is an invite: {OPTION} {STDIN} reads it")
    if not text:
        if not (peer or configured):
            raise UsageError("whose LAN? give --peer ADDRESS (what `nconnect id` prints there)")
        return Address.parse(peer or configured), b""
    token = invites.from_text(text)
    address = Address("", invites.decode(token).provider)
    if peer and Address.parse(peer).public_key != address.public_key:
        raise UsageError(f"the invite is of {address}, not of the --peer that you gave; leave --peer away")
    return address, token


def without_secret(arguments: list[str]) -> list[str]:
    """The command line for another process that gets the invite on its stdin."""
    result = list(arguments)
    for place, word in enumerate(arguments):
        if word == OPTION:
            result[place + 1 : place + 2] = [STDIN]
        elif word.startswith(OPTION + "="):
            result[place] = f"{OPTION}={STDIN}"
    return result
