"""NCP, NKN's session protocol, as a state machine without clock, socket or thread.

`Connection` is the whole interface: its docstring states how a driver feeds and drains it.
It is `states` (the life of a session), `handshake` (what two peers agree on) and `transfer` (the data phase),
which ties together `send`, `receive`, `window`, and a `path` each with its `rtt`, `congestion` and `acks`;
`schedule` chooses the path of a packet, `keepalive` asks an idle peer whether it is still there.

Wire compatible with ncp-go and @nkn/ncp. What is different on purpose, and safe with them:

- handshakes are repeated, by the dialler until answered, by the acceptor until it hears more;
- an ACK waits 10 ms, not 50, goes out at once after 256 KiB, repeats the ranges of the one before it, and
  rides with data where there is some;
- losses are found by what overtook them and by RFC 6298 time-outs; windows are bytes, and watch the queueing;
- a path that lost everything is only probed, with copies, until it answers; a path whose sub-client lost its
  connection gives up its data at once;
- a peer with a full window is asked whether it has read meanwhile, and bytes_read is told again while a peer
  may wait for it: its loss may stop a session for ever otherwise;
- a peer that is silent for a minute is asked whether it is there, and one that does not answer for two has
  gone: an idle session ends with its peer, and so does one whose peer sent a handshake and nothing more;
- close() waits for the peer to read, not only to acknowledge: the SDKs drop what is unread;
- what was received before a close stays readable.

What a peer cannot do (refused: the packet is dropped, and receive() raises ProtocolError):

- a packet far longer than our MTU: refused unparsed;
- data longer than our MTU, or between sub-clients that are not a path: refused, not acknowledged;
- data beyond our window, or more than 65,536 packets ahead or unread: ignored, as it may be a race;
- ACKs of what was never sent, of a count of 0 or round the whole cycle: ignored; over 1,024 ranges: refused;
- bytes_read beyond what was sent: taken for what was sent;
- a handshake with a zero: refused; a second one: ignored.
"""

from .config import Config, Mode
from .connection import Connection
from .events import Closed, Established, Event, Readable, Transmit, Writable
from .stats import PathStats, Stats

__all__ = [
    "Closed",
    "Config",
    "Connection",
    "Established",
    "Event",
    "Mode",
    "PathStats",
    "Readable",
    "Stats",
    "Transmit",
    "Writable",
]
