"""What `--help` shows, and what is loaded for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nconnect.cli import commands

from .command import SECONDS, Command

KEY = "d0fa84240cea3ddfd165f11298b300d2856987ee58a61e2303c41d5d3ddbfd82"

OPTIONS = {
    "id": "--json",
    "serve": "--lan --allow --dns --domain --host --name --mtu --no-tun --lease --forward --seed-rpc "
    "-d --detach",
    "up": "--peer --accept-route --name --invite --kill-switch --no-kill-switch --map --map-pool --no-map "
    "--accept-domain --resolv-conf --no-names --forward --wait --seed-rpc -d --detach",
    "socks": "--peer --listen --name --invite --wait --seed-rpc -d --detach",
    "tunnel": "--to --from --accept --udp --identifier --name --seed-rpc -d --detach",
    "allow": "KEY --name --to --expires --rate --quota",
    "revoke": "KEY|NAME",
    "users": "--pending --trust-clock --json",
    "policy": "check",
    "policy check": "FILE",
    "invite": "--to --expires --for --once --name --rate --quota --qr --list --cancel --json",
    "log": "--user --since -f --follow --json",
    "down": "NAME",
    "status": "NAME --json",
    "devnet": "--nodes --listen --advertise --tls --faucet --latency --jitter --loss --rate --node --place "
    "--seed --verify",
    "demo": "--llm --keep --remove",
    "cleanup": "--keep-kill-switch",
}
DEFAULTS = {
    "serve": ["serve", "10m"],
    "up": ["up", "no"],
    "socks": ["127.0.0.1:1080", "socks"],
    "tunnel": ["nkn", "the name; random where this end dials", "tunnel"],
    "invite": ["1d"],
    "devnet": ["4", "127.0.0.1:30003", "that of --listen", "1000", "0.0", "0.0", "0.0", "0.0", "0"],
}


def shown(directory: Path, *words: str, columns: int = 200) -> list[str]:
    """The lines of a help."""
    answer = Command(directory, {"COLUMNS": str(columns)}).run(*words, "--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "\x1b" not in answer.stdout
    return answer.stdout.splitlines()


def test_all_commands_in_their_order(tmp_path: Path) -> None:
    lines = shown(tmp_path)
    listed = [line.split()[0] for line in lines[lines.index("commands:") + 1 :]]
    assert listed == list(commands.MODULES)
    assert {"-v, --verbose", "--log-format FORMAT", "--version", "-h, --help"} <= {
        line.strip().split("  ")[0] for line in lines
    }


@pytest.mark.parametrize("command", OPTIONS)
def test_all_that_a_command_takes(command: str, tmp_path: Path) -> None:
    lines = shown(tmp_path, *command.split())
    found = [line.strip().split("  ")[0] for line in lines if line.startswith("  ")]
    names = {word for words in found for word in words.replace(",", "").split() if word.startswith("-")}
    expected = set(OPTIONS[command].split())
    assert names - {"-"} >= {name for name in expected if name.startswith("-")} | {"-h", "--help"}
    assert expected <= {word.strip(",") for words in found for word in words.split()}
    text = " ".join(" ".join(lines).split())
    assert [part.partition("]")[0] for part in text.split("[default: ")[1:]] == DEFAULTS.get(command, [])


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_it_is_no_wider_than_the_terminal(columns: int, tmp_path: Path) -> None:
    for words in ([], ["up"], ["log"], ["devnet"]):
        assert max(map(len, shown(tmp_path, *words, columns=columns))) <= columns


LOADED = """
import json, sys
from nconnect.cli.main import main
main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("words", [("allow", KEY), ("revoke", KEY)], ids=lambda words: words[0])
def test_short_commands_load_little(words: tuple[str, ...], tmp_path: Path) -> None:
    """A tenth of a second is for all of them, of which what they do takes little."""
    answer = subprocess.run(
        [sys.executable, "-c", LOADED, *words],
        env=Command(tmp_path).environ(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    loaded = set(json.loads(answer.stdout.splitlines()[-1]))
    assert {f"nconnect.cli.{name}" for name in commands.MODULES.values()} & loaded == {
        f"nconnect.cli.{words[0]}"
    }
    heavy = {"asyncio", "difflib", "hashlib", "logging", "msgspec", "shutil", "subprocess", "tomllib"}
    assert not heavy & loaded
