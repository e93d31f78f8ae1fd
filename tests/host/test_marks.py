"""The mark is nobody else's."""

from __future__ import annotations

import pytest

from nconnect.host.marks import MARK


@pytest.mark.parametrize(
    ("owner", "bits"),
    [
        ("kube-proxy", 0xC000),
        ("tailscale", 0xFF0000),
        ("cilium", 0x0F00),
        ("calico", 0xFFFF0000),
        ("Amazon's VPC CNI", 0x80),
    ],
)
def test_no_bit_that_others_test_is_set(owner: str, bits: int) -> None:
    assert MARK & bits == 0, owner
