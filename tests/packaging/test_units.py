"""The systemd units: what systemd itself says of them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nconnect.config import load
from nconnect.nkn.addresses import Address
from nconnect.places import places

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
INSTALLED = "/usr/local/bin/nconnect"
KEY = "d0fa84240cea3ddfd165f11298b300d2856987ee58a61e2303c41d5d3ddbfd82"
SERVICES = ("nconnect-serve.service", "nconnect@.service")

MAX_EXPOSURE = 21
"""In tenths, of 100. Most of it is what the service is for: to have the host's network (0.5), Internet
sockets (0.3), no list of addresses to talk to (0.2), CAP_NET_ADMIN, which is of no use in a user namespace of
its own (0.2 and 0.2); then other processes in /proc, /proc/sys, local sockets, netlink, /dev/net/tun, and
memory that is written and run (about 0.1 each)."""


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning", "SYSTEMD_COLORS": "0"},
    )


@pytest.fixture(params=SERVICES)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit that starts a program which is there, as systemd wants to see; a template has an instance."""
    name: str = request.param
    path = tmp_path / name.replace("@", "@office")
    path.write_text((UNITS / name).read_text().replace(INSTALLED, sys.executable))
    return path


def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    answer = systemd_analyze("verify", "--man=no", str(unit))
    # Units of the machine that runs the test may have mistakes as well.
    assert answer.returncode == 0, answer.stderr
    assert unit.name not in answer.stderr


def test_the_exposure_stays_low(unit: Path) -> None:
    answer = systemd_analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(unit))
    assert answer.returncode == 0, answer.stdout[-200:]
    assert "OK" in answer.stdout.splitlines()[-1]


def settings(name: str) -> list[tuple[str, str]]:
    lines = (line.partition("=") for line in (UNITS / name).read_text().splitlines() if line[:1].isalpha())
    return [(key, value) for key, _, value in lines]


@pytest.mark.parametrize("name", SERVICES)
def test_one_capability_and_a_user_of_its_own(name: str) -> None:
    unit = dict(settings(name))
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == "CAP_NET_ADMIN"
    assert (unit["User"], unit["NoNewPrivileges"]) == ("nconnect", "yes")
    assert (unit["StateDirectoryMode"], unit["RuntimeDirectoryMode"]) == ("0700", "0700")


@pytest.mark.parametrize("name", SERVICES)
def test_root_looks_where_the_service_is(name: str) -> None:
    """`sudo nconnect status` needs no option to find it."""
    environment = dict(value.partition("=")[::2] for key, value in settings(name) if key == "Environment")
    root, service = places({}, root=True), places(environment, root=False)
    assert (service.state, service.runtime) == (root.state, root.runtime)
    assert service.config.parent == root.config.parent


def test_both_are_guarded_alike() -> None:
    """They differ in what they run, and in nothing that guards it."""
    own = (
        "Description",
        "After",
        "AssertPathExists",
        "ExecStart",
        "ExecReload",
        "TimeoutStartSec",
        "Environment",
    )
    after = [dict(settings(name))["After"].split() for name in SERVICES]
    assert set(after[0]) - set(after[1]) == {"time-sync.target"}, "only who lets others in looks at the clock"
    assert set(after[1]) < set(after[0])
    serve, up = ([one for one in settings(name) if one[0] not in own] for name in SERVICES)
    assert serve == up


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    ("result", "cleans"),
    [
        # systemd starts it again after these, and the connections through it go on.
        ("signal", False),
        ("core-dump", False),
        ("oom-kill", False),
        ("watchdog", False),
        # It has undone all itself, or could not, or was stopped and killed because it did not end.
        ("success", True),
        ("exit-code", True),
        ("timeout", True),
        ("resources", True),
    ],
)
def test_a_crash_is_left_to_the_next_start(tmp_path: Path, name: str, result: str, cleans: bool) -> None:
    (line,) = [value for key, value in settings(name) if key == "ExecStopPost"]
    done = tmp_path / "done"
    # As systemd.service(5) reads it: words in quotes are one, $$ is a dollar.
    command = [word.replace("$$", "$").replace(INSTALLED, f"touch {done} ;:") for word in shlex.split(line)]
    subprocess.run(command, check=True, env={"SERVICE_RESULT": result, "PATH": os.environ["PATH"]})
    assert done.exists() == cleans


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (f'[users]\nann = "{KEY}"\n', ""),
        (None, ""),
        (
            f'[users]\nann = "{KEY}"\n[[grants]]\nusers = ["anne"]\n',
            r":4: there is no 'anne' under \[users\]",
        ),
    ],
)
def test_a_reload_with_a_wrong_policy_fails(tmp_path: Path, policy: str | None, message: str) -> None:
    """With line and reason, and the gateway is not even asked to read it."""
    path = tmp_path / places({}, root=True).policy.name
    if policy is not None:
        path.write_text(policy)
    gateway = subprocess.Popen(["sleep", "infinity"])
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NCONNECT_CONFIG": str(tmp_path / "config.toml"),
        "NCONNECT_STATE_DIR": str(tmp_path / "state"),
    }
    try:
        for key, line in settings("nconnect-serve.service"):
            if key == "ExecReload":
                line = line.replace(str(places({}, root=True).policy), str(path))
                line = line.replace(INSTALLED, f"{sys.executable} -m nconnect")
                words = [word.replace("$MAINPID", str(gateway.pid)) for word in shlex.split(line)]
                answer = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
                if answer.returncode:
                    break  # as systemd does
        if message:
            assert re.search(re.escape(str(path)) + message, answer.stderr), answer.stderr
            assert gateway.poll() is None
        else:
            assert answer.returncode == 0, answer.stderr
            assert gateway.wait(10) == -signal.SIGHUP
    finally:
        gateway.kill()
        gateway.wait()


def test_the_user_s_files_are_those_of_the_units() -> None:
    users = (UNITS / "nconnect.sysusers").read_text()
    assert "\nu nconnect - " in users
    files = (UNITS / "nconnect.tmpfiles").read_text()
    root = places({}, root=True)
    for directory in (root.state, root.runtime):
        assert f"\nd {directory} 0700 nconnect nconnect\n" in files


def test_the_configuration_that_the_readme_shows(tmp_path: Path) -> None:
    """What README.md tells to write is read."""
    readme = (UNITS.parents[1] / "README.md").read_text()
    serve, up = re.findall(r"echo '(.*)' \| sudo tee /etc/nconnect/\S+\.toml", readme)
    path = tmp_path / "config.toml"
    path.write_text(serve)
    assert load(path, {}).serve.lan == ("192.168.1.0/24",)
    path.write_text(up)
    assert Address.parse(load(path, {}).up.peer)


def test_the_user_may_tell_systemd_resolved() -> None:
    """What `nconnect.host.resolved` sets, polkit allows to the services' user, and nothing else."""
    rules = (UNITS.parent / "polkit" / "nconnect.rules").read_text()
    assert 'subject.user == "nconnect"' in rules
    allowed = set(re.findall(r'"(set-[a-z-]+)"', rules))
    # Actions of org.freedesktop.resolve1.policy, by the methods that ask for them.
    asked = {
        "SetLinkDNSEx": "set-dns-servers",
        "SetLinkDomains": "set-domains",
        "SetLinkDefaultRoute": "set-default-route",
        "SetLinkDNSSEC": "set-dnssec",
        "SetLinkDNSOverTLS": "set-dns-over-tls",
        "SetLinkLLMNR": "set-llmnr",
        "SetLinkMulticastDNS": "set-mdns",
    }
    source = (UNITS.parents[1] / "nconnect" / "host" / "resolved.py").read_text()
    assert set(re.findall(r'"(SetLink\w+)"', source)) == asked.keys()
    assert allowed == set(asked.values())
