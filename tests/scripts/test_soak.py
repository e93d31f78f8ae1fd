"""What the soak says at its end."""

from __future__ import annotations

from dataclasses import replace

from nconnect.demo.snapshot import difference
from scripts.soak import SLACK, Held, Look, Side, grown, held_table, stall_table, without_network

HELD = Held(memory=80, files=25, tasks=10, rules=90, routes=30)

STATE = """\
# ip -d address
1: lo: <LOOPBACK,UP>
    inet 127.0.0.1/8
{index}: {wan}@if5: <BROADCAST,UP>
    inet {address}/30 scope global {wan}
# ip -4 route show table all
default via {router} dev {wan}
192.168.77.0/24 dev nc-up table 700004
# ip -4 rule
0: from all lookup local
# nft list ruleset
# sysctl
net/ipv4/conf/{wan}/rp_filter:0
net/ipv4/conf/lo/rp_filter:{rp_filter}
"""
AT_HOME = {"index": 2, "wan": "wan0", "address": "198.51.100.2", "router": "198.51.100.1", "rp_filter": 0}
ELSEWHERE = {"index": 9, "wan": "wan7", "address": "198.51.100.30", "router": "198.51.100.29", "rp_filter": 0}


def looks(name: str, *lives: tuple[Held, Held, int]) -> list[Look]:
    """At the processes of a side, in order: what each held first and last, and the failures between."""
    side = Side(name)
    for first, last, failures in lives:
        assert side.is_new
        side.keep(side.look(first))
        for _ in range(failures):
            side.failed()
        side.keep(side.look(last))
        side.ends()
        side.failed()  # that it was killed, which the next one did not live through
    return side.looks


def test_what_grows_is_named() -> None:
    serve = looks("serve", (HELD, HELD, 12))
    assert grown(serve) == []
    assert grown([*serve, *looks("up", (HELD, replace(HELD, memory=HELD.memory + SLACK.memory), 12))]) == []
    last = replace(HELD, tasks=HELD.tasks + SLACK.tasks + 1, memory=HELD.memory + SLACK.memory + 1)
    assert grown([*serve, *looks("up", (HELD, last, 12))]) == [
        "up held 80 → 113 MiB memory, having lived through 12 failures",
        "up held 10 → 23 tasks, having lived through 12 failures",
    ]


def test_a_leak_of_a_process_that_was_replaced_is_noticed() -> None:
    """One file for each failure; the last process lives too short for it to be seen in that one."""
    lives = [(HELD, replace(HELD, files=HELD.files + failures), failures) for failures in (3, 14, 0, 9, 2)]
    assert grown(looks("up", lives[0], lives[-1])) == []
    assert grown(looks("up", *lives)) == ["up held 25 → 39 files, having lived through 14 failures"]


def test_a_process_is_compared_with_itself() -> None:
    """That one begins with more than another is no growth."""
    larger = replace(HELD, memory=HELD.memory + SLACK.memory, files=HELD.files + SLACK.files)
    largest = replace(larger, memory=larger.memory + SLACK.memory, files=larger.files + SLACK.files)
    assert grown(looks("up", (HELD, larger, 5), (larger, largest, 5), (largest, HELD, 5))) == []


def test_rules_and_routes_stay_from_process_to_process() -> None:
    more, fewer = replace(HELD, rules=HELD.rules + 1), replace(HELD, routes=HELD.routes - 1)
    assert grown(looks("up", (HELD, HELD, 4), (more, more, 7), (HELD, HELD, 2))) == [
        "up held 90 → 91 rules, having lived through 7 failures"
    ]
    assert grown(looks("up", (HELD, fewer, 4), (HELD, HELD, 7))) == [
        "up held 30 → 29 routes, having lived through 4 failures"
    ]
    # Even if it is so for a new process only.
    assert grown(looks("up", (HELD, HELD, 4), (more, HELD, 7))) == [
        "up held 90 → 91 rules, having lived through 0 failures"
    ]


def test_tables_for_the_documentation() -> None:
    assert stall_table({"the user sleeps": [0.1, 0.3], "a node dies": [0.05]}) == [
        "| what happened | times | stood still, median | longest |",
        "| --- | ---: | ---: | ---: |",
        "| a node dies | 1 | 0.05 s | 0.05 s |",
        "| the user sleeps | 2 | 0.20 s | 0.30 s |",
        "| all of it | 3 | 0.10 s | 0.30 s |",
    ]
    lives = [(HELD, replace(HELD, memory=84), 5), (HELD, replace(HELD, memory=82, files=24, tasks=11), 9)]
    assert held_table([*looks("serve", (HELD, HELD, 15)), *looks("up", *lives)])[2:] == [
        "| `serve` | 80 → 80 MiB (15) | 25 → 25 (15) | 10 → 10 (15) | 90 → 90 (15) | 30 → 30 (15) |",
        "| `up` | 80 → 84 MiB (5) | 25 → 24 (9) | 10 → 11 (9) | 90 → 90 (9) | 30 → 30 (9) |",
    ]


def test_another_network_is_no_trace_of_ours_and_everything_else_is() -> None:
    before, after = (without_network(STATE.format(**where)) for where in (AT_HOME, ELSEWHERE))
    assert difference(before, after) == ""
    assert "dev nc-up table 700004" in before
    changed = without_network(STATE.format(**ELSEWHERE | {"rp_filter": 2}))
    assert "+net/ipv4/conf/lo/rp_filter:2" in difference(before, changed)
