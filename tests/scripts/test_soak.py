"""What the soak says at its end."""

from __future__ import annotations

from dataclasses import replace

from nconnect.demo.snapshot import difference
from scripts.soak import SLACK, Held, grown, held_table, stall_table, without_network

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


def test_what_grows_is_named() -> None:
    before = {"serve": HELD, "up": HELD}
    assert grown(before, before) == []
    assert grown(before, before | {"up": replace(HELD, memory=HELD.memory + SLACK.memory)}) == []
    after = before | {"up": replace(HELD, tasks=HELD.tasks + SLACK.tasks + 1, rules=HELD.rules + 1)}
    assert grown(before, after) == ["up held 10 tasks and holds 23", "up held 90 rules and holds 91"]


def test_tables_for_the_documentation() -> None:
    assert stall_table({"the user sleeps": [0.1, 0.3], "a node dies": [0.05]}) == [
        "| what happened | times | stood still, median | longest |",
        "| --- | ---: | ---: | ---: |",
        "| a node dies | 1 | 0.05 s | 0.05 s |",
        "| the user sleeps | 2 | 0.20 s | 0.30 s |",
        "| all of it | 3 | 0.10 s | 0.30 s |",
    ]
    assert held_table({"up": HELD}, {"up": replace(HELD, memory=84)})[2:] == [
        "| `up` | 80 → 84 MiB | 25 → 25 | 10 → 10 | 90 → 90 | 30 → 30 |"
    ]


def test_another_network_is_no_trace_of_ours_and_everything_else_is() -> None:
    before, after = (without_network(STATE.format(**where)) for where in (AT_HOME, ELSEWHERE))
    assert difference(before, after) == ""
    assert "dev nc-up table 700004" in before
    changed = without_network(STATE.format(**ELSEWHERE | {"rp_filter": 2}))
    assert "+net/ipv4/conf/lo/rp_filter:2" in difference(before, changed)
