"""One nftables table of our own, made, replaced or changed in one transaction each.

`nft -j -f -` takes a list of commands and applies all or nothing. We never name a table of somebody else,
so `flush ruleset` and friends have no place here.
Source: libnftables-json(5), as of nftables 1.0.6 (Debian 12).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nconnect.errors import ConfigError, HostError, PrivilegeError
from nconnect.host import nftables

# A transaction takes milliseconds; a minute-long one waits for a lock that will not come.
TIMEOUT_S = 20.0
# The root user's PATH may lack these, for instance under cron or sudo with secure_path.
SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"

# Table names may be longer; journals, sockets and log lines carry the instance's name too.
MAX_INSTANCE_NAME = 32

# strerror(ENOENT), as nft prints it in the C locale, which `_start` sets: of a table, or of the module for an
# expression of a rule.
NOT_THERE = "No such file or directory"

FAMILY = "inet"
TABLE_PREFIX = "nconnect_"

Command = dict[str, Any]


@dataclass(frozen=True)
class NftSet:
    """A named set of addresses, or of prefixes if `interval`; the elements as text.

    One whose elements have several parts is made empty; they come and go by themselves, as do those of one
    that the kernel fills.
    """

    name: str
    types: tuple[str, ...]
    """Of the parts: `ipv4_addr`, `ipv6_addr`, `inet_proto`, `inet_service`."""
    interval: bool = False
    elements: frozenset[str] = frozenset()
    size: int = 0
    """How many elements it takes at most, for one that packets add to; 0: as many as there are."""
    timeout: int = 0
    """Seconds after which an element goes that no packet renewed; 0: it stays."""


@dataclass(frozen=True)
class NftMap:
    """A named verdict map, whose elements come and go by themselves."""

    name: str
    types: tuple[str, ...]
    """Of the key's parts."""
    otherwise: str = "drop"
    """The verdict for what it does not hold: `drop` or `accept`."""


@dataclass(frozen=True)
class NftChain:
    """A base chain with policy accept: what we do not speak about is not ours to refuse. Without a hook it is
    one that later ones lead to.
    """

    name: str
    type: str = ""
    """`filter` or `nat`."""
    hook: str = ""
    priority: int = 0
    rules: tuple[str, ...] = ()
    """Each the JSON text of a rule's list of expressions."""
    limits: str = ""
    """A sysctl whose effect this chain limits: it is there only where that had another value before us."""


@dataclass(frozen=True)
class NftTable:
    name: str
    sets: tuple[NftSet, ...] = ()
    maps: tuple[NftMap, ...] = ()
    chains: tuple[NftChain, ...] = ()


def table_name(instance: str) -> str:
    """The name of an instance's table; ConfigError for a name that nft or a file system would not have."""
    plain = instance.isascii() and all(char.isalnum() or char in "-_." for char in instance)
    if not (plain and 1 <= len(instance) <= MAX_INSTANCE_NAME and instance[0].isalnum()):
        rule = f"1 to {MAX_INSTANCE_NAME} letters, digits, '-', '_' or '.'"
        raise ConfigError(f"instance name {instance!r}: {rule} are allowed, the first a letter or digit")
    return TABLE_PREFIX + instance


def replace_table(table: NftTable, more: Iterable[Command] = ()) -> None:
    """Put `table`, and what `more` adds, in the place of a table of that name, in one transaction."""
    try:
        run([*replace_commands(table), *more])
    except HostError as error:
        if NOT_THERE not in str(error):
            raise
        # Not the table, which is added first. nft does not say for which expression.
        raise HostError(
            f"{error}: this kernel lacks a module that our rules need, as `serve` needs nft_connlimit; "
            "'modprobe nft_connlimit' tells whether it is there"
        ) from error


def harm_done_to(table: NftTable) -> str:
    """What somebody did to our table since it was put there; empty if it is as it should be.

    The chains of its users are looked at by nobody.
    """
    if not nftables.table_exists(table.name):
        return "removed our nftables table"
    for chain in table.chains:
        if nftables.count_rules(table.name, chain.name) != len(chain.rules):
            return f"changed the rules of chain {chain.name} of our nftables table"
    return ""


def delete_table(name: str) -> bool:
    """Delete our table; False if it is gone already."""
    try:
        run([_table("delete", name)])
    except HostError as error:
        if NOT_THERE in str(error):
            return False
        raise
    return True


def replace_commands(table: NftTable) -> list[Command]:
    # "delete" fails for a table that does not exist, so it is added first, empty if it was not there.
    commands = [_table("add", table.name), _table("delete", table.name), _table("add", table.name)]
    for one in table.sets:
        # A list of one would be a concatenation of one part, which holds other elements.
        kind = one.types[0] if len(one.types) == 1 else list(one.types)
        body: Command = {"family": FAMILY, "table": table.name, "name": one.name, "type": kind}
        if one.interval:
            body["flags"] = ["interval"]
        if one.size:
            body["size"] = one.size
        if one.timeout:
            body |= {"flags": ["timeout"], "timeout": one.timeout}
        if one.elements:
            body["elem"] = _elements(one.elements)
        commands.append({"add": {"set": body}})
    for map_ in table.maps:
        body = {"family": FAMILY, "table": table.name, "name": map_.name}
        body |= {"type": list(map_.types), "map": "verdict", "elem": [["*", {map_.otherwise: None}]]}
        commands.append({"add": {"map": body}})
    for chain in table.chains:
        where = {"family": FAMILY, "table": table.name}
        base: Command = {"type": chain.type, "hook": chain.hook, "prio": chain.priority, "policy": "accept"}
        commands.append({"add": {"chain": {**where, "name": chain.name, **(base if chain.hook else {})}}})
        for rule in chain.rules:
            commands.append({"add": {"rule": {**where, "chain": chain.name, "expr": json.loads(rule)}}})
    return commands


def run(commands: list[Command]) -> None:
    """Apply `commands` in one transaction, and return once they hold; HostError says what nft disliked.

    nft itself ends 5 ms later, or 15 where something was removed: until the kernel has forgotten it.
    """
    with contextlib.ExitStack() as end:
        commits = end.enter_context(nftables.Commits())
        nft = end.enter_context(_start("-j", "-f", "-", stdin=json.dumps({"nftables": commands})))
        assert nft.stderr is not None  # at its end when nft is
        if commits.wait(nft.pid, nft.stderr.fileno(), TIMEOUT_S):
            # To close a socket of netfilter waits as well.
            closing = end.pop_all()
            try:
                threading.Thread(target=closing.close, name="nft", daemon=True).start()
            except RuntimeError:  # there are too many, and we wait
                closing.close()
        else:
            _output(nft, "change our table")


def query(*words: str) -> list[dict[str, Any]]:
    """The objects that `nft -j list WORDS` prints."""
    what = f"list {' '.join(words)}"
    with _start("-j", "list", *words) as nft:
        output = _output(nft, what)
    try:
        objects = json.loads(output)["nftables"] if output.strip() else []
        return [one for one in objects if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"nft {what} printed no JSON: is nftables 1.0 or newer?") from error


def _start(*arguments: str, stdin: str = "") -> subprocess.Popen[str]:
    """nft, at work; HostError if there is none."""
    nft = shutil.which("nft", path=os.pathsep.join((os.environ.get("PATH", ""), SYSTEM_PATH)))
    if nft is None:
        raise HostError(
            "nft is not installed: 'apt install nftables' (or your system's package of that name)"
        )
    try:
        # A file, as a pipe would have somebody wait until nft has read it.
        with os.fdopen(os.memfd_create("nft"), "w+", encoding="utf-8") as text:
            text.write(stdin)
            text.seek(0)
            return subprocess.Popen(
                [nft, *arguments],
                stdin=text,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # Comments of other people's rules are any bytes.
                errors="replace",
                env={"LC_ALL": "C"},
            )
    except OSError as error:
        raise HostError(f"cannot run {nft}: {error}") from error


def _output(nft: subprocess.Popen[str], what: str) -> str:
    """What nft printed until its end; HostError or PrivilegeError say that it did not do `what`, and why."""
    try:
        output, errors = nft.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        nft.kill()
        raise HostError(f"nft did not {what} in {TIMEOUT_S:g} seconds") from error
    if nft.returncode == 0:
        return output
    reason = next((line for line in errors.splitlines() if line.strip()), f"exit code {nft.returncode}")
    if "Operation not permitted" in errors:
        raise PrivilegeError(f"nft may not {what}: run it with sudo")
    raise HostError(f"nft could not {what}: {reason.strip()}")


def _table(verb: str, name: str) -> Command:
    return {verb: {"table": {"family": FAMILY, "name": name}}}


def _elements(elements: frozenset[str]) -> list[Any]:
    return [_element(text) for text in sorted(elements)]


def _element(text: str) -> Any:
    address, slash, length = text.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}} if slash else address
