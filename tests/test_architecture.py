"""The imports point one way: down the list of folders in docs/design.md, never sideways, never up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "nconnect"

SHARED = {"errors", "config", "places", "nconnect"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "places": set(),
    "ncp": SHARED,
    "packet": SHARED,
    "secure": SHARED,
    "host": SHARED,
    "names": SHARED,
    "nkn": SHARED | {"ncp"},
    "permission": SHARED | {"nkn.addresses", "nkn.keys", "host.grants"},
    "tunnel": SHARED | {"permission", "names", "nkn", "ncp", "secure", "packet", "host"},
    "forward": SHARED | {"tunnel", "permission", "nkn", "ncp", "host", "secure"},
    # What both ends of the wire must agree on, and nothing that does I/O.
    "devnet": SHARED
    | {"nkn.addresses", "nkn.keys", "nkn.messages", "nkn.transactions", "nkn.transactions_pb2", "nkn.wallet"},
    "demo": SHARED | {"devnet", "tunnel", "nkn", "host", "secure", "packet", "ncp"},
    "__main__": {"cli"},
    "cli": SHARED
    | {
        "demo",
        "forward",
        "devnet",
        "tunnel",
        "permission",
        "names",
        "nkn",
        "host",
        "secure",
        "packet",
        "ncp",
    },
}
# Pure folders: time comes in as `now`, bytes come in and go out through method calls.
PURE = {"ncp", "packet", "secure"}
IMPURE_MODULES = {"asyncio", "socket", "time", "select", "selectors", "threading", "subprocess", "uvloop"}
# In nkn, only these do I/O.
NKN_IO = {
    "account",
    "client",
    "destinations",
    "dialling",
    "http",
    "listener",
    "lookup",
    "multiclient",
    "nanopay",
    "paths",
    "pubsub",
    "session",
    "rpc",
    "streams",
    "tcp",
    "websocket",
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path, module: str) -> Iterator[str]:
    """Absolute names of the modules that `path` imports; a relative import is made absolute."""
    package = (
        ["nconnect", *module.split(".")]
        if path.name == "__init__.py"
        else ["nconnect", *module.split(".")][:-1]
    )
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            name = ".".join(part for part in (base, node.module or "") if part)
            yield from (f"{name}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("module", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_imports_point_downwards(module: str, path: Path) -> None:
    folder = module.split(".")[0]
    if not folder:
        return
    for name in imports(path, module):
        top, _, rest = name.partition(".")
        if top != "nconnect" or not rest:
            continue
        target = rest.split(".")[0]
        if target in (folder, "__version__"):
            continue
        allowed = MAY_IMPORT[folder]
        assert target in allowed or ".".join(rest.split(".")[:2]) in allowed, (
            f"{module} may not import {name}"
        )


@pytest.mark.parametrize(
    ("module", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_pure_folders_do_no_io(module: str, path: Path) -> None:
    folder, _, rest = module.partition(".")
    pure = folder in PURE or (folder == "nkn" and rest and rest.split(".")[0] not in NKN_IO)
    if pure:
        touched = {name.split(".")[0] for name in imports(path, module)} & IMPURE_MODULES
        assert not touched, f"{module} is pure and may not import {', '.join(sorted(touched))}"
