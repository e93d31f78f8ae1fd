"""Taking changes back: those of this instance, and those that a crashed one left in its journal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nconnect.errors import AlreadyRunningError, HostError, NconnectError
from nconnect.host.changes import (
    AnyChange,
    Outcome,
    ResolverSet,
    SysctlSet,
    closed_prefixes,
    keeping_closed,
    outliving,
)
from nconnect.host.journal import (
    NEW_SUFFIX,
    Journal,
    boot_id,
    directory_lock,
    init_start,
    is_held,
    read,
)
from nconnect.host.netlink import Netlink
from nconnect.places import JOURNAL_SUFFIX


@dataclass
class Report:
    """What became of each change."""

    undone: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Not ours any more: somebody set another value, or another instance needs ours."""
    failed: list[str] = field(default_factory=list)
    remaining: list[AnyChange] = field(default_factory=list)
    """The changes that failed to be undone."""


def revert_all(changes: Iterable[AnyChange], journal: Path) -> Report:
    """Revert `changes` of the instance of `journal`, last first; a failure does not stop the others."""
    report = Report()
    # A thing that was changed twice is journaled twice: the later record is the one that holds.
    final = list({change.key: change for change in changes}.values())
    if not final:
        return report
    others = sysctls_of_others(journal)
    with Netlink() as netlink:
        for change in reversed(final):
            try:
                _revert(change, netlink, others, report)
            except NconnectError as error:
                report.failed.append(f"could not undo {change}: {error}")
                report.remaining.insert(0, change)
    return report


def sysctls_of_others(journal: Path) -> dict[str, SysctlSet]:
    """The sysctls that other instances in this network namespace hold, living or not yet cleaned up."""
    held: dict[str, SysctlSet] = {}
    for path in journal.parent.glob(f"*{JOURNAL_SUFFIX}"):
        if path == journal:
            continue
        contents = read(path)
        if contents.header is not None and contents.header.is_of_here():
            held.update((one.name, one) for one in contents.changes if isinstance(one, SysctlSet))
    return held


def recover(journal: Journal, *, keep_closed: bool = False) -> tuple[list[str], bool]:
    """Undo what stands in a journal just locked: lines that tell what; True if the file has no more use.

    With `keep_closed` a kill switch stays.
    """
    contents, name = journal.previous, f"instance {journal.instance}"
    header = contents.header
    if header is None:
        if not contents.changes and not contents.damaged:
            return [], True
        return [
            f"{journal.path} is no journal of ours and is left alone: delete it if nobody needs it"
        ], False
    if header.boot != boot_id():
        return _after_restart(journal, f"{name} ended with the machine's last run, and its changes with it")
    if not header.is_of_here():
        if header.init and init_start() not in ("", header.init):
            return _after_restart(
                journal, f"{name} ended with this container's last run, and its changes with it"
            )
        where = f"{name} (process {header.pid}) ran in another network namespace"
        return [f"{where}: run 'nconnect cleanup' there, or delete {journal.path} if it is gone"], False
    kept = keeping_closed(contents.changes) if keep_closed else []
    lines, finished = _undo(journal, (change for change in contents.changes if change not in kept))
    if contents.damaged:
        advice = "see 'ip rule' and 'nft list tables'"
        lines.append(f"{name}: unreadable lines in its journal: {contents.damaged}; {advice}")
    if kept and finished:
        with contextlib.suppress(HostError):  # on a full disk it says too much, which does no harm
            journal.rewrite(kept)
    return lines, finished and not kept


def _after_restart(journal: Journal, said: str) -> tuple[list[str], bool]:
    """What the kernel held has gone with it; files have not."""
    files = [change for change in journal.previous.changes if isinstance(change, ResolverSet)]
    lines, finished = _undo(journal, files)
    return [said, *lines], finished


def _undo(journal: Journal, changes: Iterable[AnyChange]) -> tuple[list[str], bool]:
    report = revert_all(changes, journal.path)
    name = f"instance {journal.instance}"
    lines = [f"{name}: undone: {text}" for text in report.undone]
    return [*lines, *(f"{name}: {text}" for text in (*report.left, *report.failed))], not report.failed


def inherited(journal: Journal) -> tuple[tuple[AnyChange, ...], list[str]]:
    """The changes in a journal just locked that its next owner goes on with; and what was done with them.

    An instance that crashed and is started again keeps its firewall and its forwarding meanwhile, so that
    connections through it go on: without, the answers of the LAN would meet a machine that knows nothing of
    them, and be reset. What it does not want any more is undone once the rest is in place.

    Raises:
        HostError: what stands there can be neither gone on with nor undone.
    """
    contents = journal.previous
    if contents.header is not None and contents.header.is_of_here():
        # A kill switch alone is what an ordered end leaves.
        left = "" if _is_only_closed(contents.changes) else outliving(contents.changes)
        return contents.changes, [f"instance {journal.instance}: taken over: {left}"] if left else []
    lines, finished = recover(journal)
    if not finished:
        raise HostError(lines[-1])
    return (), lines


def cleanup(journal_dir: Path, but: str = "", *, keep_closed: bool = False) -> list[str]:
    """Undo what instances that no longer live left on this host, `but` one; lines that say what was done.

    With `keep_closed` their kill switches stay.
    """
    lines: list[str] = []
    for path in sorted(journal_dir.glob(f"*{JOURNAL_SUFFIX}")):
        if path.name != but + JOURNAL_SUFFIX:
            lines += clean_up(path, keep_closed=keep_closed)
    for path in journal_dir.glob(f"*{NEW_SUFFIX}"):
        # Left by a crash while a journal was rewritten; the lock tells whether one is being rewritten now.
        with contextlib.suppress(AlreadyRunningError):
            Journal.lock(path).remove()
    return lines


def clean_up(path: Path, *, keep_closed: bool = False) -> list[str]:
    """The same for the one instance whose journal is at `path`."""
    lines: list[str] = []
    with contextlib.suppress(AlreadyRunningError), directory_lock(path.parent):
        journal = Journal.lock(path)
        try:
            lines, finished = recover(journal, keep_closed=keep_closed)
            if finished:
                journal.remove()
        finally:
            journal.close()
    return lines


def closed_by(journal: Path) -> list[str]:
    """The prefixes that the kill switch of an instance keeps unreachable here, if it has ended.

    Raises:
        HostError, PrivilegeError, OSError: the journal cannot be read.
    """
    with directory_lock(journal.parent):
        contents = read(journal)
        if contents.header is None or not contents.header.is_of_here() or is_held(journal):
            return []
        return closed_prefixes(contents.changes)


def is_only_closed(journal: Path) -> bool:
    """Whether a kill switch is all that an ended instance left."""
    return _is_only_closed(read(journal).changes)


def _is_only_closed(changes: Sequence[AnyChange]) -> bool:
    return bool(changes) and len(keeping_closed(changes)) == len(changes)


def _revert(change: AnyChange, netlink: Netlink, others: dict[str, SysctlSet], report: Report) -> None:
    if isinstance(change, SysctlSet) and change.name in others:
        report.left.append(f"left for another instance: {change}")
        return
    match change.revert(netlink):
        case Outcome.NOTHING:
            pass
        case Outcome.DONE:
            report.undone.append(str(change))
        case Outcome.GONE:
            report.gone.append(str(change))
        case Outcome.LEFT:
            report.left.append(f"left, since somebody changed it: {change}")
