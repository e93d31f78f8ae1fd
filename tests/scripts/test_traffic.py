"""What ping and iperf3 print, as numbers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from nconnect.demo.process import Process
from nconnect.errors import NconnectError
from scripts.benchmarks.traffic import LOST, parse_iperf, parse_pings, parse_transfer, result

PINGS = """\
PING 192.168.77.20 (192.168.77.20) 56(84) bytes of data.
64 bytes from 192.168.77.20: icmp_seq=1 ttl=63 time=41.2 ms
64 bytes from 192.168.77.20: icmp_seq=3 ttl=63 time=40.1 ms
64 bytes from 192.168.77.20: icmp_seq=3 ttl=63 time=40.3 ms (DUP!)
64 bytes from 192.168.77.20: icmp_seq=4 ttl=63 time=43 ms

--- 192.168.77.20 ping statistics ---
4 packets transmitted, 3 received, +1 duplicates, 25% packet loss, time 60ms
rtt min/avg/max/mdev = 40.100/41.150/43.000/1.000 ms
"""


def test_pings_are_sorted_and_a_lost_one_is_the_longest() -> None:
    pings = parse_pings(PINGS)
    assert pings.times == (40.3, 41.2, 43.0, LOST)
    assert pings.median == 41.2
    assert pings.percentile(75) == 43.0
    assert pings.percentile(95) is None


def test_all_pings_lost() -> None:
    pings = parse_pings("3 packets transmitted, 0 received, 100% packet loss, time 40ms")
    assert pings.median is None


@pytest.mark.parametrize("output", ["", "ping: connect: Network is unreachable", "0 packets transmitted"])
def test_no_pings(output: str) -> None:
    with pytest.raises(NconnectError, match="ping sent nothing"):
        parse_pings(output)


def test_a_transfer_has_the_rate_that_arrived_and_all_that_was_sent() -> None:
    intervals = [{"sum": {"bytes": 300_000_000, "omitted": True}}, {"sum": {"bytes": 200_000_000}}]
    end = {"sum_sent": {"bits_per_second": 9e9}, "sum_received": {"bits_per_second": 1.6e9}}
    transfer = parse_transfer(json.dumps({"intervals": intervals, "end": end}))
    assert transfer.mbit == 1600
    assert transfer.gigabytes == 0.5


def test_a_transfer_of_nothing() -> None:
    end = {"sum_received": {"bits_per_second": 0}}
    with pytest.raises(NconnectError, match="iperf3 sent nothing"):
        parse_transfer(json.dumps({"intervals": [{"sum": {"bytes": 0}}], "end": end}))


def start(program: str, directory: Path) -> Process:
    command = [sys.executable, "-c", program]
    return Process.start("streams", command, env=os.environ, directory=directory, log=directory / "log")


async def test_what_a_program_says_last(tmp_path: Path) -> None:
    program = start("""print('listening\\n{"bytes": 7}')""", tmp_path)
    assert await result(program) == {"bytes": 7}


async def test_why_a_program_says_nothing(tmp_path: Path) -> None:
    program = start("import sys; print('listening', flush=True); sys.exit('no streams')", tmp_path)
    with pytest.raises(NconnectError, match="streams ended with exit code 1:\n  listening\n  no streams"):
        await result(program)


def test_what_iperf_complains_about_is_told() -> None:
    with pytest.raises(NconnectError, match="iperf3: unable to connect to server"):
        parse_iperf('{"error": "unable to connect to server"}')
    with pytest.raises(NconnectError, match="no JSON: iperf3: command"):
        parse_iperf("iperf3: command not found")
