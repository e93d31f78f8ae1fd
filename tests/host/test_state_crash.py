"""The manager on a real kernel: what a killed process or a full disk leaves to the next.

machine.py draws that machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from nconnect.host import recovery
from nconnect.host.networks import connected_networks
from nconnect.host.plans import closed_state, gateway_state, user_state
from nconnect.host.routing import table_of
from nconnect.host.state import HostManager, cleanup
from nconnect.host.tun import Tun

from .machine import host, tun, user
from .namespaces import Netns, file_size_limit, sh, snapshot

__all__ = ["host", "tun"]

pytestmark = pytest.mark.netns

CRASHING = """
import sys, time
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from nconnect.host.grants import Target
from nconnect.host.user_rules import UserRules
from nconnect.host.plans import gateway_state, user_state
from nconnect.host.state import HostManager
from nconnect.host.tun import Tun
tun = Tun.open("nc0")
manager = HostManager(Path(sys.argv[1]) / "home.journal")
if sys.argv[2] == "user":
    prefixes = [ip_network("10.0.0.0/8"), ip_network("fd05::/48")]
    state = user_state("home", "nc0", 1400, [ip_interface("100.64.0.2/32")], prefixes)
else:
    state = gateway_state("home", "nc0", 1400, [ip_interface("100.64.9.1/24")])
manager.apply(state)
if sys.argv[2] == "gateway":
    target = Target(ip_network("10.1.2.0/24"))
    manager.change_users([UserRules((ip_address("100.64.9.2"),), (target,), rate=8_000)])
print("applied", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def living(directory: Path, role: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has applied the state of `role` and does nothing more; killed at the end."""
    command = [sys.executable, "-c", CRASHING, str(directory), role]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "applied\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("role", ["user", "gateway"])
def test_cleanup_undoes_what_a_killed_process_left(host: Netns, tmp_path: Path, role: str) -> None:
    before = snapshot()
    with living(tmp_path, role) as process:
        assert cleanup(tmp_path) == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert snapshot() != before
    lines = cleanup(tmp_path)
    assert snapshot() == before
    assert "instance home: undone: nftables table inet nconnect_home" in lines
    assert cleanup(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_next_start_goes_on_with_it(host: Netns, tmp_path: Path) -> None:
    """The firewall and forwarding are there all the time: connections through them go on."""
    before = snapshot()
    with living(tmp_path, "gateway"):
        pass
    with Tun.open("nc0"):
        manager = HostManager(tmp_path / "home.journal")
        (line,) = manager.recovered
        assert line.startswith(
            "instance home: taken over: nftables table inet nconnect_home, sysctl net.ipv4."
        )
        assert "nconnect_home" in sh("nft list tables")
        assert sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"
        manager.undo()
    assert snapshot() == before


def test_the_next_start_drops_what_it_does_not_want(host: Netns, tmp_path: Path) -> None:
    before = snapshot()
    with living(tmp_path, "user"):
        pass
    (old,) = sh("ip rule show priority 5200").splitlines()
    with Tun.open("nc0") as tun:
        manager = HostManager(tmp_path / "home.journal")
        manager.apply(gateway_state("home", tun.name, 1400, []))
        assert sh("ip rule show priority 5200") == ""
        assert "lookup" in old
        manager.undo()
    assert snapshot() == before


def test_a_start_that_fails_leaves_nothing(host: Netns, tmp_path: Path) -> None:
    before = snapshot()
    with living(tmp_path, "user"):
        pass
    HostManager(tmp_path / "home.journal").undo()
    assert snapshot() == before


def test_a_new_interface_of_the_same_name_is_left_alone(host: Netns, tmp_path: Path) -> None:
    with living(tmp_path, "gateway"):
        pass
    with Tun.open("nc0"):
        sh("ip link set nc0 up; ip addr add 100.64.9.1/24 dev nc0")
        cleanup(tmp_path)
        assert "100.64.9.1/24" in sh("ip addr show nc0 up")


# One page: the header fits, the changes do not. It ends without undoing, so that whatever it did would stay.
FULL_DISK = """
import os, sys
from ipaddress import ip_interface
from pathlib import Path
from nconnect.errors import HostError
from nconnect.host.plans import gateway_state, user_state
from nconnect.host.routing import table_of
from nconnect.host.state import HostManager
from nconnect.host.tun import Tun
tun = Tun.open("nc0")
many = [ip_interface(f"100.64.{number}.1/24") for number in range(200)]
manager = HostManager(Path(sys.argv[1]) / "home.journal")
try:
    manager.apply(gateway_state("home", "nc0", 1400, many))
except HostError as error:
    print(error, flush=True)
    os._exit(0)
"""


def test_nothing_is_changed_without_room_for_the_journal(host: Netns, tmp_path: Path) -> None:
    before = snapshot()
    script = 'mount -t tmpfs -o size=4k tmpfs "$0"; exec "$1" -c "$2" "$0"'
    command = ["unshare", "--mount", "sh", "-ec", script, str(tmp_path), sys.executable, FULL_DISK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"no room for the journal {tmp_path}/home.journal: nothing was changed")
    assert snapshot() == before


def test_a_disk_that_fills_up_later_does_not_stop_what_needs_no_room(tun: Tun, tmp_path: Path) -> None:
    path = tmp_path / "home.journal"
    with HostManager(path) as manager:
        manager.apply(user(("10.0.0.0/8", "192.168.7.0/24")))
        with file_size_limit(len(path.read_bytes()) // 2):
            manager.apply(user(("10.0.0.0/8",)))
        assert "dev eth0" in sh("ip route get 192.168.7.1")
        assert manager.undo() == []


def test_a_kill_switch_stays_until_it_is_undone(host: Netns, tmp_path: Path) -> None:
    """Of who ended by an error, and of the next who does; also what others removed, and no more."""
    before, journal = snapshot(), tmp_path / "home.journal"
    with Tun.open("nc1"), HostManager(tmp_path / "other.journal") as other, Tun.open("nc0"):
        other.apply(user_state("other", "nc1", 1400, (), [ip_network("10.9.0.0/16")]))
        manager = HostManager(journal)
        wide = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
        manager.apply(user_state("home", "nc0", 1400, (), wide, kill_switch=True))
        assert "dev nc1" in sh("ip route get 10.9.2.3")
        sh(f"ip rule del priority 5200 table {table_of('nc0')}")
        manager.undo(keep_closed=True)
        assert recovery.closed_by(journal) == ["10.0.0.0/8", "fd00::/8"]
    closed = "; ".join(f"! ip route get {address}" for address in ("10.9.2.3", "10.2.3.4", "fd07::1"))
    sh(closed)
    assert "dev eth0" in sh("ip route get 10.1.2.9")
    assert recovery.is_only_closed(journal)
    assert cleanup(tmp_path, keep_closed=True) == []
    manager = HostManager(journal)
    assert manager.recovered == [], "nothing has crashed"
    assert recovery.closed_by(journal) == [], "somebody goes on with it"
    manager.undo(keep_closed=True)
    sh(closed)
    assert cleanup(tmp_path)
    assert snapshot() == before


def test_what_was_closed_may_be_closed_otherwise_before_there_is_a_state(host: Netns, tmp_path: Path) -> None:
    """All else that a crash left stays, for connections to go on."""
    before = snapshot()
    with living(tmp_path, "user"):
        pass
    (old,) = sh("ip -4 rule show priority 5200").splitlines()
    with Tun.open("nc0"):
        manager = HostManager(tmp_path / "home.journal")
        manager.close(closed_state("home", "nc0", [ip_network("10.0.0.0/8")], connected_networks(), ()))
        assert "nconnect_home" in sh("nft list tables")
        (rule,) = sh("ip -4 rule show priority 5200").splitlines()
        assert rule != old and f"lookup {table_of('nc0')}" in rule
        sh("! ip route get 10.2.3.4")
        assert "dev eth0" in sh("ip route get 10.1.2.9")
        manager.undo(keep_closed=True)
    sh("! ip route get 10.2.3.4")
    assert cleanup(tmp_path)
    assert snapshot() == before
