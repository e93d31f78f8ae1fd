"""A command as a user of its own, who has CAP_NET_ADMIN and no other right.

Usage, in a mount namespace made for it: `python own_user.py USER DIRECTORY... -- COMMAND`. The directories
are given to that user. User 0 stays root with all rights, for commands that become somebody else.

The interpreter, this project and the lab may be in directories that only root or a developer may enter; what
hides them is covered by empty directories, and they are mounted in there again. /dev/net/tun is open to
everyone, as udev makes it.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).parents[2]
TUN = Path("/dev/net/tun")


def as_user(user: int, *command: str, directories: Iterable[Path] = ()) -> list[str]:
    """The command line for `command` as `user`; for `Lab.run`, whose `ip netns exec` makes the namespace."""
    words = [str(directory) for directory in directories]
    return [sys.executable, __file__, str(user), *words, "--", *command]


def main() -> None:
    split = sys.argv.index("--")
    user, directories, command = int(sys.argv[1]), sys.argv[2:split], sys.argv[split + 1 :]
    reachable = [Path(text).resolve() for text in [sys.base_prefix, sys.prefix, str(PROJECT), *directories]]
    with tempfile.TemporaryDirectory() as staging:
        mount("-t", "tmpfs", "none", staging)
        show(reachable, Path(staging))
        open_tun(Path(staging))
        subprocess.run(["umount", "--lazy", staging], check=True)
    if user:
        for directory in directories:
            for path in (Path(directory), *Path(directory).rglob("*")):
                os.chown(path, user, user)
        sets = [f"--{name}=-all,+net_admin" for name in ("bounding-set", "inh-caps", "ambient-caps")]
        command = [
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"),
            *sets,
            *command,
        ]
    os.execvp(command[0], command)


def show(paths: list[Path], staging: Path) -> None:
    """Let everyone reach `paths`."""
    hiding = {path: hides for path in paths if (hides := hidden_by(path)) is not None}
    held = {path: staging / str(number) for number, path in enumerate(hiding)}
    for path, place in held.items():
        place.mkdir()
        mount("--bind", path, place)
    for hides in set(hiding.values()):
        mount("-t", "tmpfs", "-o", "mode=755", "none", hides)
    for path, place in held.items():
        path.mkdir(parents=True, exist_ok=True)
        mount("--bind", place, path)


def hidden_by(path: Path) -> Path | None:
    """The outermost directory above `path` that others may not enter."""
    closed = [one for one in reversed(path.parents) if not one.stat().st_mode & stat.S_IXOTH]
    return closed[0] if closed else None


def open_tun(staging: Path) -> None:
    node = staging / "tun"
    os.mknod(node, stat.S_IFCHR, TUN.stat().st_rdev)
    node.chmod(0o666)
    mount("--bind", node, TUN)


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main()
