"""Users of a gateway by the dozen: they connect, and leave nothing behind."""

from __future__ import annotations

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN, Lab, Party
from nconnect.demo.namespaces import NAMESPACES
from scripts.benchmarks.crowd import Crowd

pytestmark = pytest.mark.netns


async def test_users_connect_and_are_gone_afterwards() -> None:
    async with Lab.create() as lab:
        async with Crowd(lab, 3) as crowd:
            await steps.start_devnet(lab)
            keys = ",".join(key.public_key.hex() for key in crowd.keys)
            _, address = await steps.start_serve(lab, lan=(LAN,), allow=(keys,))
            await crowd.grow(1, address)
            await crowd.grow(3, address)
            status = await steps.serve_status(lab)
            assert {user.key for user in status.users} == {key.public_key.hex() for key in crowd.keys}
            names = crowd.namespaces()
            assert len(names) == 3 and all((NAMESPACES / name).exists() for name in names)
            assert not lab.process_ids(Party.USER)
        assert not list(NAMESPACES.glob(f"nc-{lab.identifier}-crowd*"))
