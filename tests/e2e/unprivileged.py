"""Commands without any privilege."""

from __future__ import annotations


def without_privileges(*command: str) -> list[str]:
    """`command` with no capability left, and no way to get one.

    Still root by number, since nobody else may be able to read the interpreter and the lab's directories; but
    to the kernel's network that is a user like any other.
    """
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", *command]
