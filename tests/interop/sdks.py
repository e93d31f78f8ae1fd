"""The official SDKs: installed and built where that has not been done, and the commands that run them."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .peers import Kind

JS = Path(__file__).parent / "js"
GO = Path(__file__).parent / "go"
GO_TUNNEL = Path(__file__).parent / "go-tunnel"
# Go's own installer puts it there, and neither sudo's PATH nor a login shell's need name that.
GO_HOME = "/usr/local/go/bin"
# Downloads some 50 packages (20 MB) for Node.js, some 40 (100 MB) for Go, and compiles those.
INSTALL_TIMEOUT = 600


@functools.cache
def command(kind: Kind) -> tuple[str, ...]:
    """The command of the driver of an official SDK; fails, and does not skip, where its tools are missing."""
    return {Kind.JS: _js, Kind.GO: _go}[kind]()


def _js() -> tuple[str, ...]:
    node = _tool("node", "Node.js 18 or later")
    npm = _tool("npm", "Node.js 18 or later")
    wanted = json.loads((JS / "package.json").read_text())["dependencies"]["nkn-sdk"]
    with _one_at_a_time(JS):
        installed = JS / "node_modules" / "nkn-sdk" / "package.json"
        if not installed.exists() or json.loads(installed.read_text())["version"] != wanted:
            # No lock file: it would name the registry that this machine happens to use.
            _run(npm, "install", "--no-audit", "--no-fund", "--no-package-lock", folder=JS)
    return node, str(JS / "driver.js")


def _go() -> tuple[str, ...]:
    return (_go_build(GO, ".", "driver"),)


@functools.cache
def nkn_tunnel() -> str:
    """The program nkn-tunnel itself. Its go.mod says Go 1.20, but 1.19 builds it too."""
    return _go_build(GO_TUNNEL, "github.com/nknorg/nkn-tunnel/bin", "nkn-tunnel")


def _go_build(folder: Path, package: str, name: str) -> str:
    go = _tool("go", "Go 1.19 or later")
    program = folder / "build" / name
    with _one_at_a_time(folder):
        # Go itself knows what is up to date.
        _run(go, "build", "-buildvcs=false", "-o", str(program), package, folder=folder)
    return str(program)


def _tool(name: str, package: str) -> str:
    path = shutil.which(name, path=os.pathsep.join((os.environ["PATH"], GO_HOME)))
    if path is None:
        pytest.fail(f"the interop tests need {name}: install {package}")
    return path


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Parallel test processes come here at once."""
    with (folder / ".install-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*argv: str, folder: Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT)
    if done.returncode:
        pytest.fail(f"{' '.join(argv)} in {folder}:\n{done.stdout}{done.stderr}")
