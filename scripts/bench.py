"""One run, one table: what the tunnel carries, beside what the machine carries without it.

::

    user ──── internet: nconnect devnet ──── provider ──── lan: iperf3 -s
    iperf3 -c, ping

All of it in network namespaces of one machine, so everything shares its cores. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import traceback
from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from nconnect.demo.process import execute
from nconnect.errors import NconnectError
from scripts.benchmarks import floor, goals, others, plots, profile, shaped, tunnel, users
from scripts.command import INTERRUPTED, end_like_interrupt, environment
from scripts.figures import Report, medians, progress, show

# Long enough for congestion control to settle at 40 ms, short enough for a whole run of some 8 minutes.
SECONDS = 8
QUICK_SECONDS = 4
# A machine with little else to do needs a twentieth.
IDLE_TIMEOUT = 120.0
PLOTS = Path("docs/figures")


class Group(Protocol):
    """A part of the benchmark that can be run by itself."""

    def __call__(self, report: Report, *, seconds: int) -> Awaitable[None]: ...


async def idle_session() -> float:
    """KiB that one end of an idle session takes."""
    command = [sys.executable, str(Path(__file__).with_name("idle_sessions.py"))]
    return int((await execute(command, seconds=IDLE_TIMEOUT)).stdout) / 1024


async def idle(report: Report, seconds: int) -> None:
    """Sessions that nobody uses."""
    report.add("nconnect", "memory of an idle session", await idle_session(), "KiB")


GROUPS: dict[str, Group] = {
    "veth": partial(others.run, subject=others.veth),
    "wireguard-go": partial(others.run, subject=others.wireguard_go),
    "nebula": partial(others.run, subject=others.nebula),
    "tunnel": tunnel.run,
    "floor": floor.run,
    "idle": idle,
    "link": shaped.link,
    "loss": shaped.lossy_link,
    "slow-node": shaped.slow_node,
    "dead-node": shaped.dead_node,
    "users": users.run,
}
ALIASES = {"shaped": ("link", "loss", "slow-node", "dead-node")}


async def measure(reports: list[Report], groups: Sequence[str], seconds: int, repeat: int) -> bool:
    """Add a report of the groups for each repetition; whether all of them could be measured.

    What has been measured is in `reports` however this ends.
    """
    complete = True
    for number in range(repeat):
        report = Report()
        reports.append(report)
        for group in groups:
            progress(f"{group}, run {number + 1} of {repeat}" if repeat > 1 else group)
            try:
                await GROUPS[group](report, seconds=seconds)
            except (NconnectError, TimeoutError) as error:
                progress(f"  {group} ended early: {str(error) or 'timeout'}")
                complete = False
            except Exception:
                # A fault of the group's own; the others know nothing of it.
                progress(f"  {group} ended early: {traceback.format_exc()}")
                complete = False
    return complete


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=(__doc__ or "").splitlines()[0], epilog=_groups_help()
    )
    parser.add_argument("--seconds", type=int, help=f"length of each transfer [default: {SECONDS}]")
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="do all of it N times and show the medians"
    )
    parser.add_argument("--quick", action="store_true", help=f"transfers of {QUICK_SECONDS} s")
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        metavar="GROUP",
        choices=[*GROUPS, *ALIASES],
        help="some groups of figures",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--plot", nargs="?", type=Path, const=PLOTS, metavar="DIR", help=f"draw PNGs too [default: {PLOTS}]"
    )
    parser.add_argument(
        "--profile",
        nargs="?",
        type=Path,
        const=PLOTS,
        metavar="DIR",
        help="measure nothing: draw flame graphs of `up` and `serve` under one TCP stream",
    )
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat takes a number from 1")
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    # Each once, in the order of the table: the reference comes before what is compared with it.
    wanted = {group for name in options.only or GROUPS for group in ALIASES.get(name, (name,))}
    options.only = [group for group in GROUPS if group in wanted]
    return options


def _groups_help() -> str:
    aliases = [f"{alias} ({' '.join(groups)})" for alias, groups in ALIASES.items()]
    return f"groups: {' '.join(GROUPS)}; {', '.join(aliases)}"


def tell(options: argparse.Namespace, report: Report) -> None:
    """Print the figures, and what becomes of what must hold."""
    verdicts = goals.judge(report)
    more = {
        "must_hold": [verdict.to_json() for verdict in verdicts],
        "seconds": options.seconds,
        "environment": environment(),
    }
    show(report.rows, as_json=options.json, more=more)
    if not options.json:
        print("", "must hold", *goals.lines(verdicts), sep="\n")


def main() -> None:
    options = parse()
    end_like_interrupt()
    reports: list[Report] = []
    try:
        if options.profile:
            files = asyncio.run(profile.run(options.profile, options.seconds))
            print(*files, sep="\n")
            return
        complete = asyncio.run(measure(reports, options.only, options.seconds, options.repeat))
    except NconnectError as error:
        sys.exit(f"scripts/bench: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        # What there is until then has taken its time, and is not drawn over what is complete.
        if reports:
            tell(options, medians(reports))
        sys.exit(INTERRUPTED)
    report = medians(reports)
    tell(options, report)
    if options.plot:
        for path in plots.draw(report, options.plot):
            progress(f"drew {path}")
    sys.exit(not complete)


if __name__ == "__main__":
    main()
