"""SO_MARK: how the websocket's own packets are told from those that belong in the tunnel.

The rule of `nconnect.host.routing` sends everything to the tunnel's table except packets that carry MARK,
so a marked socket reaches its NKN node the way it did before the tunnel was there, whatever is routed.
Source: socket(7), SO_MARK.
"""

from __future__ import annotations

# One mark for all instances: a second tunnel must not carry the websockets of the first.
# Bits that others test in a mark are left alone: 0x4000 and 0x8000 (kube-proxy), 0xff0000 (tailscale),
# 0x0f00 (cilium), 0xffff0000 (calico), 0x80 (Amazon's VPC CNI); 0xca6c is wg-quick's.
MARK = 0x1063
