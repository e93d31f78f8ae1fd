"""`/etc/nconnect/policy.toml`: who may reach what, written by hand and read strictly.

::

    [services]                                  # names for targets
    llm = "192.168.1.20:11434/tcp"
    web = ["192.168.1.20:80/tcp", "[fd00::20]:80/tcp"]

    [users]                                     # names for keys
    ann = "4cb5abf6ad79fbf5abbccafcc269d85cd2651ed4b885b5869f241aedf0a5ba29"
    bob = "0b2f…"

    [groups]
    staff = ["ann", "bob"]

    [[grants]]
    groups = ["staff"]
    to = ["llm", "192.168.1.0/24"]              # left out, or "lan": all that is served

    [[grants]]
    users = ["ann"]
    to = ["web"]
    expires = 2027-01-01T00:00:00Z
    rate = "50mbit"
    quota = "100GB"

Grants add up: a user reaches what any of theirs names, and the most generous rate and quota hold. A user whom
no grant names is not let in. Whatever is wrong is told with its line.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nconnect.errors import ConfigError, UsageError
from nconnect.host.grants import Target
from nconnect.permission.grants import MAX_TARGETS, Grant, parse_rate, parse_size, parse_target
from nconnect.permission.keys import check_name, parse_key
from nconnect.permission.policy import FileUser, PolicyFile

if TYPE_CHECKING:
    from nconnect.permission.toml_lines import Path as Place

MAX_FILE_BYTES = 1 << 20
"""A policy is written by hand; more users than fit are for `nconnect allow`."""
MAX_PROBLEMS = 20
"""Told at once; more of them are found when these are mended."""
SECTIONS = ("services", "users", "groups", "grants")
FIELDS = ("users", "groups", "to", "expires", "rate", "quota")
ROOT = 0
"""The user who may write all that we read anyway."""
EVERYTHING = "lan"
"""In `to`: all that is served."""
_KEYS = re.compile(r"""#.*|(["'])(?:[^"']*\.)?([0-9A-Fa-f]{64})\1""")
"""Comments, and the keys in quotes."""


class Problem(NamedTuple):
    """Something in the file that cannot be."""

    line: int
    reason: str


def load(path: Path) -> PolicyFile:
    """The file at `path`; one that is not there names nobody.

    Raises:
        ConfigError: it cannot be read, others own it or may write it, or something in it is wrong: with file
            and line.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return PolicyFile(path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if status.st_uid not in (ROOT, os.geteuid()):
        raise ConfigError(
            f"{path} says who is let in and belongs to user {status.st_uid}, who is neither root nor the one "
            f"who reads it; run: chown root {path} (in a rootless container, copy it instead)"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{path} says who is let in and others may write it; run: chmod go-w {path}")
    policy, problems = parse(path, raw)
    if problems:
        raise ConfigError("\n".join(f"{path}:{problem.line}: {problem.reason}" for problem in problems))
    return policy


def parse(path: Path, raw: bytes) -> tuple[PolicyFile, list[Problem]]:
    """What is in `raw`, and what is wrong with it, by line."""
    import tomllib  # here, as `nconnect allow` need not wait for it where there is no file

    from nconnect.permission.toml_lines import line_of

    if len(raw) > MAX_FILE_BYTES:
        return PolicyFile(path), [
            Problem(1, f"larger than {MAX_FILE_BYTES} bytes, the limit; use `nconnect allow`")
        ]
    try:
        text = raw.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        return PolicyFile(path), [Problem(raw[: error.start].count(b"\n") + 1, "not UTF-8")]
    except tomllib.TOMLDecodeError as error:
        return PolicyFile(path), [_syntax_problem(raw, str(error))]
    except (RecursionError, ValueError) as error:
        return PolicyFile(path), [Problem(1, f"not TOML that can be read: {error}")]
    reader = _Reader(document)
    services, users = reader.read()
    lines = _lines_of_keys(text)
    users = {
        key: user._replace(where=f"{path}:{lines[key]}" if key in lines else str(path))
        for key, user in users.items()
    }
    found = dict(reversed(reader.problems[:MAX_PROBLEMS]))
    problems = [Problem(line_of(text, place), reason) for place, reason in found.items()]
    return PolicyFile(path, users, services), sorted(problems, key=lambda problem: problem.line)


def _lines_of_keys(text: str) -> dict[bytes, int]:
    """On which line each key is, the first one; `line_of` would parse the file for each of thousands.

    A key that is written with TOML's escapes is not among them; nobody does that.
    """
    lines: dict[bytes, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        for match in _KEYS.finditer(line):
            if match[2]:
                lines.setdefault(bytes.fromhex(match[2]), number)
    return lines


def _syntax_problem(raw: bytes, reason: str) -> Problem:
    """tomllib says "Something (at line 3, column 7)", or "(at end of document)"."""
    reason, _, position = reason.rpartition(" (at ")
    words = position.replace(",", "").split()
    line = int(words[1]) if words[:1] == ["line"] else raw.count(b"\n") + (not raw.endswith(b"\n"))
    return Problem(max(line, 1), reason)


class _Reader:
    """Turns the document into services and users; what is wrong is collected with its place and left out."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.problems: list[tuple[Place, str]] = []

    def read(self) -> tuple[dict[str, tuple[Target, ...]], dict[bytes, FileUser]]:
        for section in self._document:
            if section not in SECTIONS:
                self._wrong((section,), f"unknown section {section!r}; there are {', '.join(SECTIONS)}")
        services = dict(self._services())
        keys = dict(self._keys())
        groups = dict(self._groups(keys))
        grants: dict[str, list[Grant]] = {name: [] for name in keys}
        for names, grant in self._grants(services, keys, groups):
            for name in names:
                grants[name].append(grant)
        users = {key: FileUser(name, key, tuple(grants[name])) for name, key in keys.items()}
        for user in users.values():
            if len({target for grant in user.grants for target in grant.targets}) > MAX_TARGETS:
                self._wrong(
                    ("users", user.name), f"{user.name} has more than {MAX_TARGETS} targets; name networks"
                )
        return services, users

    def _wrong(self, place: Place, reason: str) -> None:
        self.problems.append((place, reason))

    def _table(self, section: str) -> dict[str, Any]:
        value = self._document.get(section, {})
        if not isinstance(value, dict):
            self._wrong((section,), f"{section} is a table: [{section}]")
            return {}
        return value

    def _services(self) -> Iterator[tuple[str, tuple[Target, ...]]]:
        for name, value in self._table("services").items():
            place = ("services", name)
            if name == EVERYTHING:
                self._wrong(place, f"{EVERYTHING!r} means all that is served; choose another name")
                continue
            if not self._named(name, place):
                continue
            texts = [value] if isinstance(value, str) else value
            yield (
                name,
                tuple(
                    target
                    for text, at in self._texts(texts, place, "a target, or a list of them")
                    if (target := self._target(text, at)) is not None
                ),
            )

    def _keys(self) -> Iterator[tuple[str, bytes]]:
        seen: dict[bytes, str] = {}
        for name, value in self._table("users").items():
            place = ("users", name)
            if not self._named(name, place):
                continue
            if not isinstance(value, str):
                self._wrong(place, f"{name} is not a key: 64 hex digits in quotes, what `nconnect id` prints")
                continue
            try:
                key = parse_key(value)
            except UsageError as error:
                self._wrong(place, str(error))
                continue
            if key in seen:
                self._wrong(place, f"{name} has the same key as {seen[key]}")
                continue
            seen[key] = name
            yield name, key

    def _groups(self, keys: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
        for name, value in self._table("groups").items():
            place = ("groups", name)
            if self._named(name, place):
                yield name, list(self._members(value, place, keys, "users"))

    def _members(self, value: Any, place: Place, keys: Mapping[str, Any], what: str) -> Iterator[str]:
        for member, at in self._texts(value, place, f"a list of {what}"):
            if member in keys:
                yield member
            elif not any(self._is_at(problem, (what, member)) for problem, _ in self.problems):
                self._wrong(at, f"there is no {member!r} under [{what}]")

    @staticmethod
    def _is_at(problem: Place, place: Place) -> bool:
        return problem[: len(place)] == place

    def _grants(
        self,
        services: Mapping[str, tuple[Target, ...]],
        keys: Mapping[str, bytes],
        groups: Mapping[str, list[str]],
    ) -> Iterator[tuple[list[str], Grant]]:
        value = self._document.get("grants", [])
        if not isinstance(value, list):
            self._wrong(("grants",), "grants are a list of tables: write [[grants]] above each")
            return
        for index, grant in enumerate(value):
            place: Place = ("grants", index)
            if not isinstance(grant, dict):
                self._wrong(place, "a grant is a table: write [[grants]] above it")
                continue
            for name in grant:
                if name not in FIELDS:
                    self._wrong((*place, name), f"unknown field {name!r}; there are {', '.join(FIELDS)}")
            names = list(self._members(grant.get("users", []), (*place, "users"), keys, "users"))
            for group in self._members(grant.get("groups", []), (*place, "groups"), groups, "groups"):
                names += groups[group]
            if "users" not in grant and "groups" not in grant:
                self._wrong(place, "for whom? add users = […] or groups = […]")
            yield list(dict.fromkeys(names)), self._grant(grant, place, services)

    def _grant(
        self, grant: dict[str, Any], place: Place, services: Mapping[str, tuple[Target, ...]]
    ) -> Grant:
        texts = grant.get("to", [EVERYTHING])
        targets: list[Target] = []
        served = False
        for text, at in self._texts(texts, (*place, "to"), "a list of services and targets"):
            if text == EVERYTHING:
                served = True
            elif text in services:
                targets += services[text]
            elif any(self._is_at(problem, ("services", text)) for problem, _ in self.problems):
                pass  # told there
            elif not any(sign in text for sign in ".:/"):
                self._wrong(at, f"there is no {text!r} under [services]")
            else:
                target = self._target(text, at)
                targets += [target] if target is not None else []
        if not texts and isinstance(texts, list):
            self._wrong((*place, "to"), "an empty list grants nothing; leave it out for all that is served")
        return Grant(
            tuple(dict.fromkeys(targets)),
            self._expiry(grant, place),
            self._amount(grant, place, "rate", parse_rate),
            self._amount(grant, place, "quota", parse_size),
            served,
        )

    def _expiry(self, grant: dict[str, Any], place: Place) -> float | None:
        value = grant.get("expires")
        match value:
            case None:
                return None
            case datetime(tzinfo=zone) if zone is not None:
                return value.timestamp()
            case date() if not isinstance(value, datetime):
                return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
        self._wrong(
            (*place, "expires"), "expires is a date, or a time with its zone: 2027-01-01T00:00:00Z, no quotes"
        )
        return -math.inf

    def _amount(self, grant: dict[str, Any], place: Place, name: str, parse: Any) -> int:
        value = grant.get(name)
        if value is None:
            return 0
        try:
            if not isinstance(value, str):
                raise UsageError(f"{name} is a text in quotes: {'50mbit' if name == 'rate' else '100GB'}")
            return int(parse(value))
        except UsageError as error:
            self._wrong((*place, name), str(error))
            return 1

    def _named(self, name: str, place: Place) -> bool:
        try:
            check_name(name)
        except UsageError as error:
            self._wrong(place, str(error))
            return False
        return True

    def _texts(self, value: Any, place: Place, what: str) -> Iterator[tuple[str, Place]]:
        if not isinstance(value, list):
            self._wrong(place, f"{place[-1]} is {what}")
            return
        for index, text in enumerate(value):
            if isinstance(text, str):
                yield text, (*place, index)
            else:
                self._wrong((*place, index), f"{text!r:.40} is not a text in quotes")

    def _target(self, text: str, place: Place) -> Target | None:
        try:
            return parse_target(text)
        except UsageError as error:
            self._wrong(place, str(error))
            return None
