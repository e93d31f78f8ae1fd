"""One string lets somebody in: made while no gateway runs, used once or often, and in the provider's audit.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    nconnect up --invite …               nconnect invite, serve, log
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN_HOST, Lab, Party, nconnect_command
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state

from .test_secrets import of_processes

pytestmark = pytest.mark.netns

PING = ["ping", "-c", "1", "-W", "2"]


async def invite(lab: Lab, *options: str) -> str:
    """`nconnect invite` at the provider: the string."""
    (text,) = (await lab.run_nconnect(Party.PROVIDER, "invite", *options)).stdout.splitlines()
    return text


def keep(lab: Lab, text: str, name: str = "invite") -> str:
    """A file at the user's that holds the string, for `--invite`."""
    path = lab.directory / Party.USER / name
    path.touch(mode=0o600)
    path.write_text(text + "\n")
    return str(path)


def start_up(lab: Lab, text: str, *more: str) -> Process:
    """`nconnect up --invite`."""
    return lab.start_nconnect(Party.USER, "up", "--invite", keep(lab, text), *more)


async def refusal(lab: Lab, text: str) -> str:
    """What a user is told whom an invite does not let in; and nothing is left at the user's."""
    before = await host_state(lab, Party.USER)
    answer = await lab.run_nconnect(Party.USER, "up", "--invite", keep(lab, text), check=False)
    assert answer.returncode == 5, answer.stderr
    assert "Traceback" not in answer.stderr
    assert difference(before, await host_state(lab, Party.USER)) == ""
    return answer.stderr


async def audited(lab: Lab, *options: str) -> list[dict[str, Any]]:
    """`nconnect log --json` at the provider."""
    answer = await lab.run_nconnect(Party.PROVIDER, "log", "--json", *options)
    return [json.loads(line) for line in answer.stdout.splitlines()]


async def reaches(lab: Lab, address: str = LAN_HOST) -> bool:
    return (await lab.run(Party.USER, [*PING, address], check=False)).returncode == 0


async def other_user(lab: Lab, text: str, name: str) -> Process:
    """`nconnect up` of another user of the same machine: their own key, places and interface."""
    home = lab.directory / Party.USER / name
    home.mkdir(mode=0o700)
    environment = {
        "NCONNECT_STATE_DIR": str(home / "state"),
        "NCONNECT_RUNTIME_DIR": str(home / "run"),
    }
    command = nconnect_command("up", "--name", name, "--invite", keep(lab, text, f"{name}-invite"))
    return lab.start(Party.USER, command, name=name, env=environment)


async def test_from_one_string_to_the_lan_and_back(network: Lab) -> None:
    """Made while nothing serves; used; then the key is enough; then it is revoked."""
    key = await steps.public_key(network, Party.USER)
    text = await invite(network, "--once", "--name", "laptop", "--to", LAN_HOST, "--for", "1d")
    serve, address = await steps.start_serve(network)
    up = start_up(network, text)
    await up.wait_for(f"^your key is let in; from now on: sudo nconnect up --peer {address}$", 30)
    await up.wait_for("^connected to ", 30)
    assert await reaches(network)
    assert not await reaches(network, "192.168.77.1")
    assert text not in up.output() + serve.output()
    await up.stop()
    await serve.stop()

    # Another gateway, no invite.
    serve, _ = await steps.start_serve(network)
    up = await steps.start_up(network, address)
    assert await reaches(network)
    await network.run_nconnect(Party.PROVIDER, "revoke", "laptop")
    assert await up.wait(20) == 5
    assert "has revoked your access" in await refusal(network, text)

    entries = await audited(network)
    events = [entry["event"] for entry in entries]
    expected = ["invited", "redeemed", "admitted", "left", "admitted", "revoked", "cut", "left", "refused"]
    assert sorted(events) == sorted(expected)
    assert events[:5] == expected[:5]
    assert events[-1] == "refused"
    invited, redeemed, admitted, left = entries[:4]
    assert redeemed["key"] == admitted["key"] == left["key"] == key
    assert redeemed["source"] == f"invite:{invited['invite']}"
    assert {entry["name"] for entry in entries[:4]} == {"laptop"}
    assert redeemed["grant"]["targets"] == [LAN_HOST]
    assert 86400 - 60 < redeemed["grant"]["expires"] - redeemed["time"] <= 86400
    assert left["bytes_in"] > 0 and left["bytes_out"] > 0
    for line in (await network.run_nconnect(Party.PROVIDER, "log", "--user", "laptop")).stdout.splitlines():
        assert "laptop" in line
    for path in (network.directory / Party.PROVIDER).rglob("*"):
        assert not path.is_file() or text.encode() not in path.read_bytes()


async def test_two_race_for_one_use(network: Lab) -> None:
    text = await invite(network, "--once")
    serve, _ = await steps.start_serve(network)
    users = [await other_user(network, text, name) for name in ("one", "two")]
    async with asyncio.timeout(40):
        while all(user.returncode is None for user in users):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    winner, loser = sorted(users, key=lambda user: user.returncode is not None)
    assert loser.returncode == 5
    await winner.wait_for("^connected to ", 20)
    assert "was used already; your key is " in loser.output()
    assert await reaches(network)
    await serve.wait_for(r"^not let in: \w{64} .*: the invite \w+ was used already; to let it in: ", 5)
    assert [entry["event"] for entry in await audited(network)].count("redeemed") == 1
    # The winner again, after both have been started again, and the loser with the same string.
    await winner.stop()
    await serve.stop()
    await steps.start_serve(network)
    assert "was used already" in await refusal(network, text)


async def test_cancelled_and_expired(network: Lab) -> None:
    cancelled, expired = await invite(network), await invite(network, "--expires", "1s", "--name", "late")
    (listed, *_) = json.loads(
        (await network.run_nconnect(Party.PROVIDER, "invite", "--list", "--json")).stdout
    )["invites"]
    serve, _ = await steps.start_serve(network)
    # While the gateway runs: it asks its records each time.
    await network.run_nconnect(Party.PROVIDER, "invite", "--cancel", listed["id"])
    words = await refusal(network, cancelled)
    assert f"the invite {listed['id']} was cancelled; your key is " in words
    assert "ask the provider for another invite" in words
    await serve.wait_for(rf": the invite {listed['id']} was cancelled; to let it in: nconnect allow ", 5)
    assert "has expired" in await refusal(network, expired)
    reasons = [entry["reason"] for entry in await audited(network) if entry["event"] == "refused"]
    assert [reason.split(" ", 3)[3] for reason in reasons] == ["was cancelled", "has expired"]


async def test_wrong_providers_and_wrong_strings(network: Lab) -> None:
    """An invite leads to the provider that signed it, and to nobody else."""
    _, address = await steps.start_serve(network)
    text = await invite(network)
    elsewhere = (await network.run_nconnect(Party.LAN, "invite")).stdout.strip()
    answer = await network.run_nconnect(
        Party.USER, "up", "--peer", address, "--invite", keep(network, elsewhere), check=False
    )
    assert answer.returncode == 2
    assert "not of the --peer that you gave" in answer.stderr
    for wrong in (text[:-3], text[:40] + ("x" if text[40] != "x" else "y") + text[41:]):
        answer = await network.run_nconnect(Party.USER, "up", "--invite", wrong, check=False)
        assert answer.returncode == 2
        assert "cut off or a character is wrong; copy it once more, whole" in answer.stderr
        assert wrong not in answer.stderr
    assert [entry["event"] for entry in await audited(network)] == ["invited"]


async def test_in_the_background_the_string_is_in_no_list_of_processes(network: Lab) -> None:
    text = await invite(network)
    await steps.start_serve(network)
    script = f"echo {text} | {' '.join(nconnect_command('up', '-d', '--invite', '-'))}"
    answer = await network.run(Party.USER, ["bash", "-c", script])
    assert "connected to " in answer.stdout
    assert await reaches(network)
    processes = [Path(f"/proc/{pid}") for pid in network.process_ids(Party.USER)]
    assert processes
    for process in processes:
        for name in ("cmdline", "environ"):
            assert text.encode() not in (process / name).read_bytes()
    for path in (network.directory / Party.USER).rglob("*.log"):
        assert text not in path.read_text()
    status = await network.run_nconnect(Party.USER, "status", "--json")
    assert text not in status.stdout
    await network.run_nconnect(Party.USER, "down")


async def test_typed_into_the_command_line(network: Lab) -> None:
    """It is taken, and nobody who lists processes finds it there while `up` runs."""
    text = await invite(network)
    await steps.start_serve(network)
    up = network.start_nconnect(Party.USER, "up", "--invite", text)
    await up.wait_for("^connected to ", 30)
    shown = dict(of_processes(network, Party.USER))
    assert f"cmdline of {up.pid}" in shown
    assert not any(text.encode() in content for content in shown.values())
    assert await reaches(network)


async def test_without_a_tun_device(network: Lab) -> None:
    """The same string for `nconnect socks`, where the provider makes the connections."""
    text = await invite(network, "--once")
    process = network.start_nconnect(
        Party.PROVIDER, "serve", "--no-tun", "--lan", "192.168.77.0/24", name="serve"
    )
    await process.wait_for("^serving ", 30)
    socks = network.start_nconnect(Party.USER, "socks", "--invite", keep(network, text))
    await socks.wait_for("^connected to .*socks5h://127.0.0.1:1080", 30)
    (redeemed,) = [entry for entry in await audited(network) if entry["event"] == "redeemed"]
    assert time.time() - redeemed["time"] < 60
    answer = await network.run_nconnect(Party.USER, "down")
    assert answer.returncode == 0
