"""What a user's type checker sees: the package says that it is typed, and nothing in its interface is Any."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

PROGRAM = """\
from nconnect import ncp
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.addresses import Address
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.wallet import Wallet


async def program(seed: bytes) -> None:
    key = KeyPair.from_seed(seed)
    async with MultiClient(key, "alice", ClientConfig(sub_clients=2)) as client:
        reveal_type(client.address)
        reveal_type(client.key.public_key)
        reveal_type(client.paths)
        reveal_type(await client.send("bob", "hello"))
        async for message in client:
            reveal_type(message)
            reveal_type(message.src)
            reveal_type(message.data)
            await message.reply(b"yes")
        session = await client.dial("bob", ncp.Config(mode=ncp.Mode.MESSAGE))
        reveal_type(session)
        reveal_type(await session.read(10))
        reveal_type(await session.receive())
        reveal_type(session.stats.paths)
        async for accepted in client.listen(["bob$"]):
            reveal_type(accepted)
        reveal_type(await client.account.balance())
        reveal_type(await client.chain.height())
        reveal_type(await client.resolve("bob"))
    reveal_type(Wallet(key).to_json("password"))
    reveal_type(Wallet.from_json("{}", "password").key)
    reveal_type(Address.parse("bob").public_key)
"""

TYPES = [
    "str",
    "bytes",
    "tuple[nconnect.nkn.client.PathStatus, ...]",
    "nconnect.nkn.multiclient.Message | None",
    "nconnect.nkn.multiclient.Message",
    "str",
    "str | bytes | None",
    "nconnect.nkn.session.Session",
    "bytes",
    "bytes",
    "tuple[nconnect.ncp.stats.PathStats, ...]",
    "nconnect.nkn.session.Session",
    "decimal.Decimal",
    "int",
    "str",
    "str",
    "nconnect.nkn.keys.KeyPair",
    "bytes",
]


def test_a_users_program_is_checked_strictly(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--no-pretty"]
    command += ["--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent", str(program)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = process.stdout.splitlines()
    assert [line.split('"')[1] for line in lines if "Revealed type" in line] == TYPES, process.stdout
    assert not [line for line in lines if line.startswith(str(program)) and ": error:" in line]


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "nconnect" / "py.typed").exists()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "py.typed" in settings["tool"]["setuptools"]["package-data"]["nconnect"]
    assert settings["tool"]["mypy"]["strict"]
