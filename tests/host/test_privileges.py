"""Who may change the host, and how the kernel's refusals are told."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nconnect.errors import HostError, PrivilegeError
from nconnect.host.privileges import CAP_NET_ADMIN, has_net_admin, host_error, require_net_admin


@pytest.mark.parametrize(
    ("effective", "allowed"),
    [
        ("000001ffffffffff", True),
        ("0000000000001000", True),
        ("0000000000000000", False),
        ("00000000a80425fb", False),
    ],
)
def test_the_capability_is_read_from_the_kernel(tmp_path: Path, effective: str, allowed: bool) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tpython\nCapPrm:\t000001ffffffffff\nCapEff:\t{effective}\nCapAmb:\t0\n")
    assert has_net_admin(status) is allowed
    if allowed:
        require_net_admin("nconnect up", status)
    else:
        with pytest.raises(PrivilegeError, match=r"nconnect up changes .* sudo") as caught:
            require_net_admin("nconnect up", status)
        assert caught.value.exit_code == 77


@pytest.mark.parametrize(
    ("number", "expected", "message"),
    [
        (errno.EPERM, PrivilegeError, "cannot add a route: Operation not permitted; run it with sudo"),
        (errno.EACCES, PrivilegeError, "cannot add a route: Permission denied; run it with sudo"),
        (errno.ENETUNREACH, HostError, "cannot add a route: Network is unreachable"),
    ],
)
def test_an_error_number_becomes_an_error_of_our_tree(
    number: int, expected: type[Exception], message: str
) -> None:
    error = host_error(OSError(number, "whatever"), "add a route")
    assert (type(error), str(error)) == (expected, message)


def test_an_error_without_a_number_keeps_its_words() -> None:
    assert str(host_error(OSError("no such thing"), "add a route")) == "cannot add a route: no such thing"


@pytest.mark.netns
@pytest.mark.parametrize("user", [0, 65534])
def test_only_what_is_kept_is_left(user: int) -> None:
    """To us and to whom we start, whether we stay root or become somebody else."""
    argv = [sys.executable, "-m", "tests.host.given_up", *([str(user)] if user else [])]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    own, started = json.loads(done.stdout)
    only = f"{1 << CAP_NET_ADMIN:016x}"
    for status in (own, started):
        assert status["Uid"].split() == status["Gid"].split() == [str(user)] * 4
        assert status["Groups"] == "" or not user
        assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {only}
        assert {status[name] for name in ("CapInh", "CapAmb")} == {only if user else "0" * 16}
        assert status["NoNewPrivs"] == "1"
