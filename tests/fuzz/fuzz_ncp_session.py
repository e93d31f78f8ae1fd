"""A session whose peer sends what it likes, while time goes by and the application writes and reads.

An input is a list of steps: one byte says what to do, the next how long its argument is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nconnect.errors import ClosedError, ProtocolError
from nconnect.ncp import Config, Connection, Mode
from nconnect.ncp.packet import CLOSE, encode_acks, encode_data, encode_handshake

# What receive() documents is caught at each packet.
ERRORS = ()

WINDOW = 4000
SEND_BUFFER = 2000
NAMES = ["__0__", "__1__"]
# More timers than there are, one after the other without any time going by: the driver would spin.
MAX_TIMEOUTS_AT_ONCE = 50
# Packets that one step may cause: both windows in packets of one byte, their ACKs, and some.
MAX_PACKETS_AT_ONCE = 3 * (WINDOW + SEND_BUFFER)

STEPS = (
    "packet",
    "other path",
    "no path",
    "wait",
    "write",
    "read",
    "path off",
    "path on",
    "path lost",
    "close",
)


def step(name: str, argument: bytes = b"") -> bytes:
    """One step of an input; its argument has up to 255 bytes."""
    return bytes([STEPS.index(name), len(argument)]) + argument


def seeds() -> list[bytes]:
    handshake = step("packet", encode_handshake(NAMES, 1 << 20, 1024))
    data = [step("packet", encode_data(number, b"x" * 50)) for number in (1, 3, 2)]
    acks = step("packet", encode_acks([(1, 2)], 30))
    wait = step("wait", b"\x05")
    return [
        handshake + b"".join(data) + step("read", b"\xff") + wait,
        handshake + step("write", b"hello") + acks + wait + step("write", b"y" * 200) + wait * 9,
        step("packet", encode_handshake(NAMES, 2**32 - 1, 2**32 - 1)) + step("write", b"hello") + wait,
        step("packet", encode_handshake(NAMES, 1, 1)) + step("write", b"hello") + acks + wait,
        handshake * 2 + step("path lost", b"\x00") + step("write", b"z") + step("path on", b"\x00") + wait,
        handshake + step("other path", encode_data(1, b"x")) + step("no path", encode_data(2, b"x")) + acks,
        handshake + step("write", b"last") + step("close") + wait + acks + wait * 9,
        handshake + step("write", b"lost") + step("packet", CLOSE) + step("read") + data[0],
    ]


def steps(data: bytes) -> Iterator[tuple[str, bytes]]:
    position = 0
    while position + 1 < len(data):
        end = position + 2 + data[position + 1]
        yield STEPS[data[position] % len(STEPS)], data[position + 2 : end]
        position = end


def run(data: bytes) -> None:
    for mode in Mode:
        for dialler in (False, True):
            Peer(mode, dialler).play(data)


class Peer:
    """Drives one connection by an input, under its call contract."""

    def __init__(self, mode: Mode, dialler: bool) -> None:
        config = Config(mode=mode, mtu=100, window_size=WINDOW, send_buffer=SEND_BUFFER)
        self.mode = mode
        self.now = 0.0
        self.connection = Connection(config, local_ids=NAMES)
        if dialler:
            self.connection.connect(self.now)

    def play(self, data: bytes) -> None:
        do: dict[str, Callable[[bytes], None]] = {
            "packet": lambda packet: self.receive(packet, "__0__", "__0__"),
            "other path": lambda packet: self.receive(packet, "__1__", "__1__"),
            "no path": lambda packet: self.receive(packet, "__0__", "__1__"),
            "wait": self.wait,
            "write": self.write,
            "read": self.read,
            "path off": lambda which: self.set_path(which, False),
            "path on": lambda which: self.set_path(which, True),
            "path lost": lambda which: self.set_path(which, False, lost=True),
            "close": lambda _: self.connection.close(self.now),
        }
        for name, argument in steps(data):
            do[name](argument)
            self.drain()

    def receive(self, packet: bytes, local_id: str, remote_id: str) -> None:
        try:
            self.connection.receive(packet, local_id, remote_id, self.now)
        except ProtocolError as error:
            assert str(error)

    def write(self, data: bytes) -> None:
        try:
            if self.mode is Mode.STREAM:
                self.connection.write(data, self.now)
            elif data:
                self.connection.write(data[: self.connection.send_mtu], self.now)
        except ClosedError:
            pass

    def read(self, amount: bytes) -> None:
        if self.mode is Mode.STREAM:
            self.connection.read(int.from_bytes(amount[:2], "little"), self.now)
        else:
            self.connection.receive_message(self.now)

    def set_path(self, which: bytes, ready: bool, lost: bool = False) -> None:
        name = NAMES[which[0] % 2] if which else NAMES[0]
        self.connection.set_path_ready(name, ready, self.now, lost=lost)

    def wait(self, argument: bytes) -> None:
        """Up to 25 s, from one timer to the next."""
        end = self.now + (argument[0] / 10 if argument else 0.01)
        at_once = 0
        while (due := self.connection.next_timeout()) is not None and due <= end:
            at_once = at_once + 1 if due <= self.now else 0
            assert at_once < MAX_TIMEOUTS_AT_ONCE, "the same timer goes off for ever"
            self.now = max(self.now, due)
            self.connection.handle_timeout(self.now)
            self.drain()
        self.now = end

    def drain(self) -> None:
        for count, item in enumerate(self.connection.transmit(self.now)):
            assert count < MAX_PACKETS_AT_ONCE, "it sends without end"
            assert item.local_id in NAMES
        self.connection.events()
        stats = self.connection.stats
        assert 0 <= stats.bytes_in_flight <= WINDOW
        assert 0 <= stats.bytes_queued <= SEND_BUFFER
