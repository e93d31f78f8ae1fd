"""The figures of a run as PNGs, for docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks import shaped, suite, tunnel, users
from scripts.figures import REFERENCE, Report

SUBJECTS = (REFERENCE, "nebula", tunnel.NAME)
# One colour each, in all plots; told apart by those who do not see red and green, too (Okabe and Ito).
COLOURS = ("#999999", "#e69f00", "#0072b2")
SIZE = (8.0, 3.6)
DPI = 110


@dataclass(frozen=True)
class Bars:
    """A group of bars for each of `what`, a bar in it for each of `subjects`."""

    file: str
    title: str
    axis: str
    subjects: Sequence[str]
    what: Sequence[str]


BARS = (
    Bars(
        "throughput.png",
        "TCP",
        "Mbit/s",
        SUBJECTS,
        (suite.TCP_UP, suite.TCP_DOWN, suite.TCP_FOUR, suite.TCP_BOTH),
    ),
    Bars("packets.png", "UDP datagrams of 64 bytes", "delivered per second", SUBJECTS, (suite.UDP_SMALL,)),
    Bars("latency.png", "Ping", "ms", SUBJECTS, (suite.PING_IDLE, suite.PING_BUSY)),
    Bars(
        "cpu-ping.png",
        "Processor time of all processes, a ping there and back",
        "µs",
        SUBJECTS,
        (suite.CPU_PING,),
    ),
    Bars("cpu.png", "Processor time of all processes, one TCP stream", "s/GB", SUBJECTS, (suite.CPU_ALL,)),
    Bars(
        "shaped.png",
        "One TCP stream over networks that are slow, lossy or uneven",
        "% of what they carry",
        (shaped.LINK, shaped.LOSSY_LINK, shaped.SLOW_NODE),
        (shaped.UP, shaped.DOWN),
    ),
    Bars(
        "users.png",
        "Users of one gateway who send at the same time",
        "Mbit/s, all together",
        [users.subject(size) for size in users.SIZES],
        (users.AGGREGATE,),
    ),
)


def draw(report: Report, directory: Path) -> list[Path]:
    """Draw what has been measured; the files. ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    return [directory / bars.file for bars in BARS if _draw(bars, report, directory / bars.file)]


def _draw(bars: Bars, report: Report, path: Path) -> bool:
    from matplotlib import pyplot

    figures = {
        subject: [row.value if (row := report.get(f"{subject}: {what}")) else None for what in bars.what]
        for subject in bars.subjects
    }
    if all(value is None for values in figures.values() for value in values):
        return False
    figure, axes = pyplot.subplots(figsize=SIZE, dpi=DPI, layout="constrained")
    width = 0.8 / len(bars.subjects)
    for number, (subject, values) in enumerate(figures.items()):
        places = [group + (number - (len(bars.subjects) - 1) / 2) * width for group in range(len(bars.what))]
        heights = [value or 0.0 for value in values]
        drawn = axes.bar(places, heights, width * 0.9, label=subject, color=COLOURS[number % len(COLOURS)])
        axes.bar_label(drawn, ["–" if value is None else f"{value:,.3g}" for value in values], fontsize=8)
    axes.set_xticks(range(len(bars.what)), bars.what)
    axes.set_title(bars.title, loc="left", fontsize=10)
    axes.set_ylabel(bars.axis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.25)
    axes.legend(frameon=False, fontsize=8, ncols=len(bars.subjects))
    figure.savefig(path)
    pyplot.close(figure)
    return True
