"""VPNs of compiled languages, point to point between two namespaces, and the bare link under them.

::

    provider ──veth── lan
    tunnel 10.88.0.1  tunnel 10.88.0.2

No relay is between them, so they have less to do than nconnect: two processes carry a packet, not three.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from nconnect.demo.lab import LAN_HOST, PROVIDER_LAN_ADDRESS, Lab, Party
from nconnect.demo.process import Process
from nconnect.errors import HostError
from scripts.benchmarks import suite
from scripts.benchmarks.suite import Subject
from scripts.benchmarks.traffic import start_servers
from scripts.figures import Report

NEAR, FAR = Party.PROVIDER, Party.LAN
UNDERLAY = {NEAR: PROVIDER_LAN_ADDRESS, FAR: LAN_HOST}
OVERLAY = {NEAR: "10.88.0.1", FAR: "10.88.0.2"}
WIREGUARD_PORT = 51820
NEBULA_PORT = 4242
READY_SECONDS = 10.0
POLL_SECONDS = 0.05

# Its defaults, but that no lighthouse is needed where both know each other's address.
NEBULA_CONFIG = """\
pki: {{ca: ca.crt, cert: node.crt, key: node.key}}
static_host_map: {{"{far_overlay}": ["{far_underlay}:{port}"]}}
lighthouse: {{am_lighthouse: false}}
listen: {{host: 0.0.0.0, port: {port}}}
tun: {{dev: {interface}}}
firewall:
  outbound: [{{port: any, proto: any, host: any}}]
  inbound: [{{port: any, proto: any, host: any}}]
"""

# Enters with a lab and yields what has been set up in it.
PointToPoint = Callable[[Lab], AbstractAsyncContextManager[Subject]]


@asynccontextmanager
async def veth(lab: Lab) -> AsyncIterator[Subject]:
    """The link itself: what the kernel carries, and so the most that anything here can."""
    yield Subject("veth", lab, NEAR, LAN_HOST, {})


@asynccontextmanager
async def wireguard_go(lab: Lab) -> AsyncIterator[Subject]:
    """wireguard-go, with its defaults."""
    # One name at each end: the processes' control sockets are in one directory of the machine.
    interfaces = {party: f"wg{lab.identifier}{number}" for number, party in enumerate((NEAR, FAR))}
    keys = {party: (await lab.run(party, ["wg", "genkey"])).stdout.strip() for party in interfaces}
    public = {party: await _public_key(lab, key) for party, key in keys.items()}
    processes = []
    try:
        for party, interface in interfaces.items():
            command = ["wireguard-go", "--foreground", interface]
            processes.append(
                lab.start(party, command, env={"WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"})
            )
        for party, interface in interfaces.items():
            await _until_succeeds(lab, party, ["wg", "show", interface])
            peer = FAR if party is NEAR else NEAR
            key_file = lab.directory / party / "wireguard.key"
            key_file.touch(mode=0o600)
            key_file.write_text(keys[party])
            own = ["listen-port", str(WIREGUARD_PORT), "private-key", str(key_file)]
            other = ["peer", public[peer], "endpoint", f"{UNDERLAY[peer]}:{WIREGUARD_PORT}"]
            other += ["allowed-ips", f"{OVERLAY[peer]}/32"]
            await lab.run(party, ["wg", "set", interface, *own, *other])
            await lab.run(party, ["ip", "address", "add", f"{OVERLAY[party]}/24", "dev", interface])
            await lab.run(party, ["ip", "link", "set", interface, "up"])
        await _until_succeeds(lab, NEAR, ["ping", "-c", "1", "-W", "1", OVERLAY[FAR]])
        yield _subject("wireguard-go", lab, processes)
    finally:
        for process in processes:
            await process.stop()


async def _public_key(lab: Lab, key: str) -> str:
    return (await lab.run(NEAR, ["sh", "-c", 'echo "$KEY" | wg pubkey'], env={"KEY": key})).stdout.strip()


@asynccontextmanager
async def nebula(lab: Lab) -> AsyncIterator[Subject]:
    """nebula, with its defaults."""
    authority = lab.directory / NEAR
    await lab.run(NEAR, ["nebula-cert", "ca", "-name", "bench"])
    processes = []
    try:
        for party in (NEAR, FAR):
            home = lab.directory / party
            peer = FAR if party is NEAR else NEAR
            sign = ["-ca-crt", str(authority / "ca.crt"), "-ca-key", str(authority / "ca.key")]
            sign += ["-name", str(party), "-ip", f"{OVERLAY[party]}/24"]
            await lab.run(
                party, ["nebula-cert", "sign", *sign, "-out-crt", "node.crt", "-out-key", "node.key"]
            )
            if party is not NEAR:
                (home / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
            config = home / "nebula.yml"
            config.write_text(
                NEBULA_CONFIG.format(
                    far_overlay=OVERLAY[peer],
                    far_underlay=UNDERLAY[peer],
                    port=NEBULA_PORT,
                    interface=f"neb{lab.identifier}",
                )
            )
            processes.append(lab.start(party, ["nebula", "-config", str(config)]))
        await _until_succeeds(lab, NEAR, ["ping", "-c", "1", "-W", "1", OVERLAY[FAR]])
        yield _subject("nebula", lab, processes)
    finally:
        for process in processes:
            await process.stop()


def _subject(name: str, lab: Lab, processes: Sequence[Process]) -> Subject:
    ends = {f"{name}, {end}": process for end, process in zip(("near", "far"), processes, strict=True)}
    return Subject(name, lab, NEAR, OVERLAY[FAR], ends)


async def _until_succeeds(lab: Lab, party: Party, command: list[str]) -> None:
    """Run a command again and again until it does."""
    last = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_SECONDS):
            while True:
                run = await lab.run(party, command, check=False)
                if not run.returncode:
                    return
                last = (run.stderr or run.stdout).strip()
                await asyncio.sleep(POLL_SECONDS)
    logs = "\n".join(process.tail() for process in lab.processes)
    raise HostError(f"{' '.join(command)} does not succeed in {party}: {last}\n{logs}")


async def run(report: Report, subject: PointToPoint, seconds: int) -> None:
    """All rows of one of them, in a lab of its own."""
    async with Lab.create() as lab:
        await start_servers(lab, FAR)
        async with subject(lab) as ready:
            await suite.run(report, ready, seconds)
