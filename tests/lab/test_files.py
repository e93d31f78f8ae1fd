"""What the lab's files say without running: scripts, the Vagrantfile, addresses that several of them name."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELL = re.compile(r"#!.*\b(ba)?sh\b|# shellcheck shell=")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def first_line(path: Path) -> str:
    with path.open("rb") as file:
        return file.readline(100).decode(errors="replace")


def text(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.lab
def test_shellcheck_finds_nothing_in_any_script() -> None:
    scripts = [path for path in tracked() if path.is_file() and SHELL.match(first_line(path))]
    assert ROOT / "scripts/lab/common.sh" in scripts and ROOT / "scripts/setup" in scripts
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.lab
def test_the_vagrantfile_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", str(tmp_path / "dotfile"))
    done = subprocess.run(["vagrant", "validate"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_containers_and_virtual_machines_have_the_same_addresses() -> None:
    from scripts.lab.systemd import ADDRESSES

    machines = re.findall(r'"(\w+)" => \{ (.*) \}', text("Vagrantfile"))
    in_vagrant = {name: re.findall(r'"([\d.]+)"', addresses) for name, addresses in machines}
    assert in_vagrant == {str(name): list(links.values()) for name, links in ADDRESSES.items()}


def test_the_configuration_names_the_relay_and_the_lan() -> None:
    from scripts.lab.depth import Depth

    assert f"relay={Depth.relay}\nlan={Depth.lan}\n" in text("scripts/lab/prepare")


def test_the_name_servers_know_what_is_asked_for() -> None:
    from scripts.lab.depth import Depth

    assert f'"{Depth.lan_name}=$address"' in text("scripts/lab/inference.sh")
    assert "=".join(Depth.foreign) in text("scripts/lab/relay.sh")


@pytest.mark.parametrize("arguments", [["--virtualbox"], ["--nspawn", "--vagrant"]])
def test_an_unknown_depth_is_wrong_usage(arguments: list[str]) -> None:
    done = subprocess.run([ROOT / "scripts/lab/run", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "scripts/lab/run --nspawn" in done.stderr
