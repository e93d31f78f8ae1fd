"""Namespaces by name: what runs in them is found and ended, and a wrong command is told."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator

import pytest

from nconnect.demo import namespaces
from nconnect.demo.namespaces import NAMESPACES
from nconnect.errors import HostError

pytestmark = pytest.mark.netns


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Two namespaces of our own."""
    names = [f"nct-{secrets.token_hex(3)}" for _ in range(2)]
    namespaces.ip("".join(f"netns add {name}\n" for name in names))
    yield names
    namespaces.remove(names)


def sleeping(name: str) -> subprocess.Popen[bytes]:
    """It is in the namespace once it says so."""
    script = ["sh", "-c", "echo; exec sleep 60"]
    process = subprocess.Popen(["ip", "netns", "exec", name, *script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == b"\n"
    return process


def test_what_runs_in_several_is_found_and_ended_with_them(names: list[str]) -> None:
    processes = [sleeping(name) for name in names]
    assert set(namespaces.process_ids(names)) == {process.pid for process in processes}
    assert namespaces.process_ids(names[:1]) == [processes[0].pid]
    assert os.getpid() not in namespaces.process_ids(names)
    namespaces.remove([*names, "nct-never-there"])
    assert [process.wait(5) for process in processes] == [-9, -9]
    assert not any((NAMESPACES / name).exists() for name in names)


def test_the_first_command_that_fails_is_told(names: list[str]) -> None:
    with pytest.raises(HostError, match=r"^ip -n nct-\w+ -batch: (.|\n)*nothing0"):
        namespaces.ip("link set lo up\nlink set nothing0 up\n", names[0])
    with pytest.raises(HostError, match="/proc/sys/net/nothing"):
        namespaces.shell("cat /proc/sys/net/nothing\ntrue\n", names[0])
