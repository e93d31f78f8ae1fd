"""Who might miss that this machine forwards for them is told of, once."""

from __future__ import annotations

import pytest

from nconnect.host import networks
from nconnect.tunnel.unforwarded import Unforwarded


def test_once_each_and_not_of_those_that_the_owner_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found, said = list[str](), list[str]()
    monkeypatch.setattr(networks, "inner_interfaces", lambda: found)
    unforwarded = Unforwarded(("wg0", "br*"), said.append, " into the tunnel")
    for there in ([], ["wg0", "br-lan", "nc-up"], ["ve-a", "ve-b", "wg0"], ["ve-a", "wg01"], ["ve-b"]):
        found[:] = there
        unforwarded.look()
    assert said == [
        "what comes from ve-a, ve-b is not forwarded into the tunnel; if it shall be: --forward ve-a,ve-b",
        "what comes from wg01 is not forwarded into the tunnel; if it shall be: --forward wg01",
    ]
