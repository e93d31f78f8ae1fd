"""`nconnect devnet`: the network is as its options say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nconnect.nkn.keys import KeyPair

from .command import SECONDS, Command

KEY = KeyPair.from_seed(bytes(32))


@contextmanager
def devnet(directory: Path, *options: str) -> Iterator[str]:
    """The URL of the JSON-RPC of a network of one node, started by the command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nconnect", "devnet", "--nodes", "1", "--listen", "127.0.0.1:0", *options],
        env=Command(directory).environ(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("1 node; use it with: --seed-rpc http://")
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0


def call(url: str, method: str, **params: str) -> Any:
    request = json.dumps({"id": "1", "jsonrpc": "2.0", "method": method, "params": params}).encode()
    with urllib.request.urlopen(url, request, timeout=SECONDS) as answer:
        return json.load(answer)


def test_host_tls_and_faucet(tmp_path: Path) -> None:
    with devnet(tmp_path, "--advertise", "localhost", "--tls", "--faucet", "7.5") as url:
        assert url.startswith("http://localhost:")
        address = KEY.public_key.hex()
        assert call(url, "getwsaddr", address=address)["result"]["addr"].startswith("localhost:")
        assert call(url, "getwssaddr", address=address)["result"]["addr"].startswith("localhost:")
        balance = call(url, "getbalancebyaddr", address=KEY.wallet_address)
        assert float(balance["result"]["amount"]) == 7.5


def test_without_options(tmp_path: Path) -> None:
    with devnet(tmp_path) as url:
        assert url.startswith("http://127.0.0.1:")
        assert "error" in call(url, "getwssaddr", address=KEY.public_key.hex())
