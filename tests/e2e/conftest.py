"""What the end-to-end tests share: the demo's lab, with the real commands running in it.

::

    user ──── internet: nconnect devnet ──── provider ──── lan 192.168.77.0/24, fd77:77:77::/64
    nconnect up                          nconnect serve    192.168.77.20, fd77:77:77::20
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from nconnect.demo import steps
from nconnect.demo.lab import Lab, Party
from nconnect.demo.tunnel import Tunnel as Tunnel
from nconnect.demo.tunnel import connect as connect

from .timeline import LABS, RecordedLab, forget_ended

OWN_RESOLVER = "127.0.0.2"
RESOLV_CONF = f"nameserver {OWN_RESOLVER}\noptions timeout:1 attempts:2\n"
STATUS_SECONDS = 60.0
"""Until `status` says what is the case: generous, for a small machine that is busy with other tests."""


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """Four namespaces, nothing running."""
    async with RecordedLab.create() as lab:
        yield lab


@pytest.fixture
async def network(lab: Lab) -> Lab:
    """The lab with the devnet running: for tests that start `serve` and `up` their own way."""
    await steps.start_devnet(lab)
    return lab


@pytest.fixture
async def tunnel(lab: Lab) -> Tunnel:
    """A connection of one's own, for tests that break it."""
    return await connect(lab)


async def status_says(lab: Lab, health: str) -> re.Match[str]:
    """Wait until the user's `nconnect status` begins with this."""
    pattern, output = re.compile(rf"up +{health}\n"), ""
    deadline = time.monotonic() + STATUS_SECONDS
    while not (match := pattern.match(output)):
        assert time.monotonic() < deadline, f"status does not say {health} but\n{output}"
        output = (await lab.run_nconnect(Party.USER, "status", check=False)).stdout
    return match


@pytest.fixture
def resolv_conf(network: Lab) -> Iterator[Path]:
    """A resolv.conf of the user's own, which `ip netns exec` mounts, as containers do."""
    directory = Path("/etc/netns") / network.namespace(Party.USER)
    directory.mkdir(parents=True)
    conf = directory / "resolv.conf"
    conf.write_text(RESOLV_CONF)
    yield conf
    shutil.rmtree(directory)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_tunnel() -> AsyncIterator[Tunnel]:
    """One connection for all tests of a file, for those that only send through it."""
    async with RecordedLab.create() as lab:
        yield await connect(lab)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what happened in its lab, in order; so does a fixture."""
    report = yield
    if report.failed:
        report.sections.extend(("what happened", "\n".join(lab.events())) for lab in LABS)
    if report.when == "teardown":
        forget_ended()
    return report
