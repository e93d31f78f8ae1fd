"""Going to the background: the command starts itself again detached, and waits for its first words.

The child gets one end of a pipe (NCONNECT_READY_FD) and writes JSON lines to it: what it says, then either
`ready` with the exit code that the parent shall return, or `failed`. The parent prints and goes.
What the child prints is its log, each line with the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path

from nconnect.cli import invited, notify
from nconnect.errors import HostError, NconnectError
from nconnect.places import places

READY_FD = "NCONNECT_READY_FD"
MAX_LOG_BYTES = 1 << 20
"""A start that finds a larger log begins a new one: years of comings and goings, or some minutes of -vv."""

_SECRET = re.compile(rf"({invited.LOOKS_LIKE_INVITE.pattern})\w{{20,}}")
_DETACH = re.compile("-d+|--detach")

_IS_LOG = READY_FD in os.environ
"""Whether what this process prints is a log; the variable itself goes once the parent has gone."""


def _tell(**message: object) -> None:
    descriptor = os.environ.get(READY_FD)
    if descriptor is None:
        return
    try:
        os.write(int(descriptor), json.dumps(message).encode() + b"\n")
    except (OSError, ValueError):
        os.environ.pop(READY_FD, None)  # the parent has gone


def clean(text: str) -> str:
    """`text` without what steers a terminal: some of it was said by strangers."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def _stamp(line: str) -> str:
    """The line as it stands in a log: after the time (UTC), as the lines of `-v` are."""
    return time.strftime("%Y-%m-%d %H:%M:%S ", time.gmtime()) + line if _IS_LOG else line


def say(line: str) -> None:
    """Print a line for the person at the terminal: ours, or the parent's who waits for us."""
    line = clean(line)
    # Who closed the pipe, or let the log's disk run full, wanted the tunnel all the same.
    with contextlib.suppress(OSError):
        print(_stamp(line), flush=True)
    _tell(say=line)
    notify.status(line)


def ready(code: int = 0) -> None:
    """Tell a waiting parent that we run; it exits with `code`."""
    _tell(ready=code)
    descriptor = os.environ.pop(READY_FD, None)
    if descriptor is not None:
        os.close(int(descriptor))


def failed(error: NconnectError, code: int) -> int:
    """Print an error as a person should see it; returns the exit code."""
    # What was typed in the wrong place may be an invite, and this a log.
    text = _SECRET.sub(r"\1…", clean(str(error)))
    with contextlib.suppress(OSError):  # nobody reads it; the exit code is there all the same
        print(_stamp(f"nconnect: {text}"), file=sys.stderr, flush=True)
    _tell(failed=text, code=code)
    return code


def start(log: Path, invite: str = "") -> int:
    """Run this same command again, detached, its output in `log`; returns the exit code for the parent.

    An `invite`, which is a secret, goes to it by stdin. Ctrl-C while the parent waits ends the child too.

    Raises:
        HostError: the log cannot be written.
    """
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_name(log.name + ".1"))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise HostError(f"cannot write {log}: {error.strerror}") from error
    import subprocess  # here, as few commands go to the background and none shall wait for it

    read_end, write_end = os.pipe()
    # Detached already: the child must run in the foreground of its own session.
    arguments = [argument for argument in sys.argv[1:] if not _DETACH.fullmatch(argument)]
    child = subprocess.Popen(
        [sys.executable, "-m", "nconnect", *invited.without_secret(arguments)],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,
        cwd="/",
        pass_fds=(write_end,),
        env={**os.environ, **places().environment(), READY_FD: str(write_end)},
    )
    os.close(output)
    os.close(write_end)
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError), child.stdin:  # it has ended already, and `_listen` tells
        child.stdin.write(invite.encode())
    try:
        code = _listen(read_end)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    if code is None:
        raise NconnectError(f"it ended without a word; see {log}")
    return code


def _listen(read_end: int) -> int | None:
    """Print what the child says until it runs or fails; the exit code, None if it ended before."""
    with os.fdopen(read_end) as lines:
        for line in lines:
            message = json.loads(line)
            if "say" in message:
                print(message["say"], flush=True)
            elif "ready" in message:
                return int(message["ready"])
            else:
                print(f"nconnect: {message['failed']}", file=sys.stderr)
                return int(message["code"])
    return None
