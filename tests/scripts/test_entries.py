"""The commands that need root: as whom each of their steps runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHELL = "/bin/bash"
# Stand for what would change the machine; each says that it was called.
STANDINS = {
    "scripts/setup": 'echo "setup $*"',
    ".venv/bin/python": 'echo "python $*"',
    "bin/id": "echo 1000",
    "bin/sudo": 'echo "as root:"; exec "$@"',
}


def run(
    directory: Path, *command: str, path: str = os.environ["PATH"], check: bool = True
) -> subprocess.CompletedProcess[str]:
    """A script of a clone in which the rest are stand-ins, as an ordinary user."""
    (directory / "scripts").mkdir()
    for name in (command[0], "root.sh"):
        shutil.copy(SCRIPTS / name, directory / "scripts")
    for name, script in STANDINS.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!{SHELL}\n{script}\n")
        file.chmod(0o755)
    return subprocess.run(
        [SHELL, directory / "scripts" / command[0], *command[1:]],
        env={"PATH": f"{directory / 'bin'}:{path}"},
        capture_output=True,
        text=True,
        timeout=50,
        check=check,
    )


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (("bench", "--quick"), "-m scripts.bench --quick"),
        (("bench", "failover", "sleep"), "-m scripts.bench_failover sleep"),
        (("bench", "grants", "--json"), "-m scripts.bench_grants --json"),
        (("bench", "knocks"), "-m scripts.bench_knocks"),
        (("soak", "--minutes", "3"), "-m scripts.soak --minutes 3"),
        (("demo", "--keep"), "-m nconnect demo --keep"),
    ],
)
def test_only_the_program_itself_runs_as_root(tmp_path: Path, command: tuple[str, ...], module: str) -> None:
    done = run(tmp_path, *command)
    said = (done.stderr + done.stdout).splitlines()
    assert [line.split()[0] for line in said] == ["setup", "as", "python"]
    assert said[-1] == f"python {module}"


def test_sessions_need_no_root(tmp_path: Path) -> None:
    done = run(tmp_path, "bench", "session", "--json")
    assert done.stdout == "python -m scripts.bench_session --json\n"


def test_what_the_groups_of_the_benchmark_run_is_installed(tmp_path: Path) -> None:
    done = run(tmp_path, "bench")
    wanted = {"ip", "nft", "ping", "sysctl", "iperf3", "wireguard-go", "wg", "nebula"}
    assert set(done.stderr.split()) == {"setup", "bench", *wanted}


def test_without_sudo_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(STANDINS, "bin/sudo")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "dirname").symlink_to(shutil.which("dirname") or "")
    done = run(tmp_path, "bench", path=str(tools), check=False)
    assert (done.returncode, done.stdout) == (77, "")
    assert "need root, and there is no sudo" in done.stderr
    assert "setup" not in done.stderr
