"""Whether a thousand knocks a second disturb a user who is let in.

::

    user ──── internet: nconnect devnet, strangers ──── provider ──── lan
    iperf3                                                            iperf3

The strangers and the network that carries their knocks run on this machine too, and take time from the
transfer. So the same knocks are also sent past the provider: `beside` is what a machine of its own would give
the user back. Run it with `scripts/bench knocks`.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nconnect.demo.lab import LAN, LAN_HOST, SEED_RPC, Lab, Party
from nconnect.demo.tunnel import connect
from scripts import command
from scripts.benchmarks import programs, traffic
from scripts.benchmarks.processes import cpu_seconds
from scripts.benchmarks.programs.knocks import NOBODY
from scripts.figures import Row, progress

RATE = 1000
KEYS = 250
ROUNDS = 3
SECONDS = 6
# A transfer that leaves the processors time, as most do; and as much as goes.
PACED = 200
UNPACED = 0


@asynccontextmanager
async def knocking(lab: Lab, address: str, rate: int) -> AsyncIterator[None]:
    """Strangers knock at `address` meanwhile."""
    argv = programs.command("knocks", SEED_RPC, address, rate, KEYS)
    # What the strangers take is not to be taken from the user.
    process = lab.start(
        Party.INTERNET, ["nice", "-n", "19", *argv], name="knocks", env=dict(programs.ENVIRONMENT)
    )
    await process.wait_for("^ready", 120)
    try:
        yield
    finally:
        await process.stop()
        progress(f"    {process.output().splitlines()[-1]}")


async def transfer(lab: Lab, mbit: int) -> tuple[float, float]:
    """Mbit/s that arrived, and milliseconds that a ping took meanwhile (95th percentile)."""
    pace = ("-b", f"{mbit}M") if mbit else ()
    done, pings = await asyncio.gather(
        traffic.tcp(lab, Party.USER, LAN_HOST, SECONDS, *pace),
        traffic.ping(lab, Party.USER, LAN_HOST, SECONDS),
    )
    return done.mbit, pings.percentile(95) or float("inf")


async def measure(rate: int, paced: int) -> list[Row]:
    rows = []
    async with Lab.create() as lab:
        tunnel = await connect(lab, lan=(LAN,))
        await traffic.start_servers(lab, Party.LAN)
        async with knocking(lab, tunnel.address, rate):
            before = cpu_seconds(tunnel.serve)
            await asyncio.sleep(SECONDS)
            busy = (cpu_seconds(tunnel.serve) - before) / SECONDS
        rows.append(Row("knocks alone: the provider's processor", round(100 * busy, 1), "% of one"))
        progress(f"  {rows[-1].name}: {rows[-1].value} %")
        for pace in (paced, UNPACED):
            seen: dict[str, list[tuple[float, float]]] = {}
            for _ in range(ROUNDS):
                seen.setdefault("quiet", []).append(await transfer(lab, pace))
                for what, target in (("knocks beside", NOBODY), ("knocks", tunnel.address)):
                    async with knocking(lab, target, rate):
                        seen.setdefault(what, []).append(await transfer(lab, pace))
            for what, rounds in seen.items():
                subject = f"{f'{pace} Mbit/s' if pace else 'all that goes'}, {what}"
                for unit, values in zip(("Mbit/s", "ms"), zip(*rounds, strict=True), strict=True):
                    value = statistics.median(values)
                    name = f"{subject}: {'throughput' if unit == 'Mbit/s' else 'ping, p95'}"
                    rows.append(Row(name, round(value, 2), unit))
                    progress(f"  {name}: {value:.1f} {unit} {[round(one, 1) for one in values]}")
    return rows


def main() -> None:
    parser = command.make_parser("knocks", __doc__)
    parser.add_argument("--rate", type=int, default=RATE, help=f"knocks a second [default: {RATE}]")
    parser.add_argument("--mbit", type=int, default=PACED, help=f"of the paced transfer [default: {PACED}]")
    options = parser.parse_args()
    command.run("knocks", lambda: asyncio.run(measure(options.rate, options.mbit)), as_json=options.json)


if __name__ == "__main__":
    main()
