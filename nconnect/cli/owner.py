"""Whom a command of root acts as: the owner of the state directory.

The packaged services run as a user of their own, who has /var/lib/nconnect and /run/nconnect. What root
made there as root they could not read; so `sudo nconnect id`, `up`, `cleanup` and so on become that user, and
keep CAP_NET_ADMIN. Where root owns the state directory, root stays root.
"""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import nconnect
from nconnect.errors import HostError, PrivilegeError
from nconnect.places import Places

NEED_ROOT = ("demo", "devnet")
"""Commands without state: they make namespaces, or listen."""


LISTEN = ("socks", "tunnel")
"""Commands that change nothing, and may listen on a port below 1024."""


def act_as_owner(where: Places, command: str) -> None:
    """Become the user to whom `where.state` belongs, if we are root and that is another, and keep the one
    capability that `command` needs.

    Raises:
        PrivilegeError: this installation is hidden from that user.
        HostError: the runtime directory cannot be given to them.
    """
    if os.geteuid() != 0 or not where.state.is_dir():
        return
    owner = where.state.stat()
    if owner.st_uid == 0:
        return
    from nconnect.host.privileges import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, become

    _give_runtime(where.runtime, owner.st_uid, owner.st_gid)
    os.environ.update(where.environment())  # another user's would be elsewhere
    kept = CAP_NET_BIND_SERVICE if command in LISTEN else CAP_NET_ADMIN
    become(owner.st_uid, owner.st_gid, kept)
    program = Path(nconnect.__file__).parent
    if not (os.access(program, os.R_OK | os.X_OK) and os.access(sys.executable, os.X_OK)):
        raise PrivilegeError(
            f"{where.state} belongs to {_name(owner.st_uid)}, who may not read {program}; "
            "install it for the whole system: sudo scripts/install"
        )


def _give_runtime(directory: Path, user: int, group: int) -> None:
    """What root left there, locks for instance, as well as the directory."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_uid == 0:
            for path in (*directory.iterdir(), directory):
                os.chown(path, user, group, follow_symlinks=False)
    except OSError as error:
        raise HostError(f"cannot give {directory} to {_name(user)}: {error.strerror}") from error


def _name(user: int) -> str:
    try:
        return f"user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"user {user}"
