"""What is removed from nftables is heard at once."""

from __future__ import annotations

import asyncio

import pytest

from nconnect.host.nftevents import FirewallEvents
from nconnect.host.notices import QUIET_SECONDS

from .namespaces import Netns, sh

pytestmark = pytest.mark.netns

PATIENCE = 10.0
BUILD = """
nft add table inet ours
nft add chain inet ours c
nft add rule inet ours c accept
"""


@pytest.mark.parametrize(
    "removal",
    [
        "nft flush ruleset",
        "nft delete table inet ours",
        "nft flush table inet ours",
        "nft flush chain inet ours c",
        "nft 'flush chain inet ours c; delete chain inet ours c'",
        "nft 'add table ip other; add chain ip other c; flush chain inet ours c; add rule inet ours c drop'",
    ],
)
async def test_a_removal_is_heard(netns: Netns, removal: str) -> None:
    sh(BUILD)
    heard = asyncio.Event()
    watch = FirewallEvents(heard.set)
    try:
        await asyncio.to_thread(sh, removal)
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
    finally:
        watch.close()


async def test_what_is_added_is_not_reported_and_many_removals_once(netns: Netns) -> None:
    heard = asyncio.Queue[float]()
    loop = asyncio.get_running_loop()
    watch = FirewallEvents(lambda: heard.put_nowait(loop.time()))
    try:
        await asyncio.to_thread(sh, BUILD)
        for _ in range(20):
            await asyncio.to_thread(sh, "nft add rule inet ours c accept; nft flush chain inet ours c")
        async with asyncio.timeout(PATIENCE):
            first, second = await heard.get(), await heard.get()
    finally:
        watch.close()
    assert second - first >= QUIET_SECONDS * 0.99
