"""A TUN device without a kernel, for tests: one end is the program's, the other plays the kernel."""

from __future__ import annotations

import os
import socket
from typing import Self

from nconnect.errors import HostError
from nconnect.host.tun import MAX_PACKET_SIZE, NO_OFFLOAD, Buffer, Offload


class FakeTun:
    """The methods of `Tun` over a socket pair that keeps packet borders.

    `deliver` is what an application on this machine sends, `collect` what it would receive.
    """

    def __init__(self, name: str = "fake0", offloads: Offload = NO_OFFLOAD) -> None:
        self._program, self._kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._program.setblocking(False)
        self._kernel.setblocking(False)
        self.fd = self._program.fileno()
        self.name = name
        self.offloads = offloads
        self.dropped = 0

    def deliver(self, packet: Buffer) -> None:
        """A packet (virtio header and IP packet) for the program to read."""
        self._kernel.send(packet)

    def collect(self) -> list[bytes]:
        """All packets that the program wrote since the last call."""
        packets: list[bytes] = []
        while True:
            try:
                packet = self._kernel.recv(MAX_PACKET_SIZE)
            except BlockingIOError:
                return packets
            if not packet:
                return packets
            packets.append(packet)

    @property
    def kernel_fd(self) -> int:
        """Readable when `collect` has something to return."""
        return self._kernel.fileno()

    def read(self) -> bytes:
        try:
            return os.read(self.fd, MAX_PACKET_SIZE)
        except BlockingIOError:
            return b""

    def write(self, packet: Buffer) -> bool:
        try:
            os.write(self.fd, packet)
        except BlockingIOError:
            return False
        return True

    def check(self) -> None:
        pass

    def reopen(self) -> None:
        raise HostError(f"the TUN device {self.name} cannot be made again")

    def close(self) -> None:
        self.fd = -1
        self._program.close()
        self._kernel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
