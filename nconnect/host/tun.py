"""The TUN device: where packets leave the kernel for the tunnel and come back.

A packet here is a 10-byte virtio header (struct virtio_net_hdr, little-endian) and an IP packet. With the
offloads on, the kernel hands over TCP and UDP super-packets of up to 64 KiB and takes them back, which is
what makes this fast: one read, one write and one encryption for some forty segments.
Sources: linux/if_tun.h, Documentation/networking/tuntap.rst, drivers/net/tun.c, VIRTIO 1.2 §5.1.6.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from typing import Final, Protocol, Self

import pytun

from nconnect.errors import AlreadyRunningError, ConfigError, HostError
from nconnect.host.privileges import host_error

# linux/if_tun.h; python-pytun opens the device but has no words for these.
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
TUNSETVNETLE = 0x400454DC
TUNGETIFF = 0x800454D2
IFREQ_SIZE = 40

VIRTIO_HEADER_SIZE = 10
# A super-packet is at most gso_max_size, 65,536 bytes for a TUN device. A smaller buffer would truncate it.
MAX_PACKET_SIZE = VIRTIO_HEADER_SIZE + 65_536
# IFNAMSIZ is 16 with the closing zero.
MAX_NAME_LENGTH = 15


class Offload(enum.IntFlag):
    """What the kernel may leave to whoever reads the device (TUN_F_* of linux/if_tun.h).

    TSO_ECN is not asked for: the kernel cuts the few segments with CWR itself, and nobody needs to know.
    """

    CSUM = 0x01
    TSO4 = 0x02
    TSO6 = 0x04
    USO4 = 0x20
    USO6 = 0x40


# From the newest kernel to the oldest: USO came with Linux 6.2, both families together or not at all.
OFFLOAD_STEPS: Final = (
    Offload.CSUM | Offload.TSO4 | Offload.TSO6 | Offload.USO4 | Offload.USO6,
    Offload.CSUM | Offload.TSO4 | Offload.TSO6,
    Offload.CSUM,
)
NO_OFFLOAD: Final = Offload(0)

Buffer = bytes | bytearray | memoryview


class TunDevice(Protocol):
    """What the pump needs; `Tun` is the real one, `nconnect.host.faketun.FakeTun` the one for tests."""

    fd: int
    name: str
    offloads: Offload

    def read(self) -> bytes: ...
    def write(self, packet: Buffer) -> bool: ...
    def check(self) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class Tun:
    """A TUN device that exists as long as this object is open; non-blocking.

    `read` gives the caller bytes of its own, `write` has copied when it returns.
    """

    __slots__ = ("_device", "dropped", "fd", "name", "offloads")

    def __init__(self, device: pytun.TunTapDevice, offloads: Offload) -> None:
        self._device: pytun.TunTapDevice | None = device
        self.fd: int = device.fileno()
        self.name: str = device.name
        self.offloads = offloads
        self.dropped = 0
        """Packets that the kernel refused, most of them for a virtio header that makes no sense."""

    @classmethod
    def open(cls, name: str, offload: bool = True) -> Self:
        """Create the device `name` (1 to 15 characters); it is down until an address state is applied.

        Raises ConfigError (a name that cannot be), AlreadyRunningError (the interface exists),
        PrivilegeError, and HostError (no /dev/net/tun).
        """
        check_name(name)
        return cls(*_make(name, OFFLOAD_STEPS if offload else ()))

    def read(self) -> bytes:
        """Read one packet; no bytes when there is none now."""
        try:
            return os.read(self.fd, MAX_PACKET_SIZE)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone(error) from error

    def write(self, packet: Buffer) -> bool:
        """Hand one packet to the kernel; False if it has no room now and the packet was not taken.

        True also for a packet that the kernel refuses (a hostile virtio header, the link is down): it is
        counted in `dropped`, since whoever sent it must not be able to stop the tunnel.
        """
        try:
            os.write(self.fd, packet)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.EBADF, errno.EBADFD):
                raise self._gone(error) from error
            self.dropped += 1
        return True

    def check(self) -> None:
        """HostError if somebody has deleted the device, which only who reads or writes would notice."""
        try:
            fcntl.ioctl(self.fd, TUNGETIFF, bytes(IFREQ_SIZE))
        except OSError as error:
            raise self._gone(error) from error

    def reopen(self) -> None:
        """Make the device once more, after somebody deleted it: down, and without its addresses.

        Raises as `open` does; the device is closed then.
        """
        self.close()
        self._device, self.offloads = _make(self.name, (self.offloads,))
        self.fd = self._device.fileno()

    def close(self) -> None:
        """Remove the device, and with it its addresses and routes. May be called twice."""
        device, self._device, self.fd = self._device, None, -1
        if device is not None:
            device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gone(self, error: OSError) -> HostError:
        return HostError(f"the TUN device {self.name} is gone ({os.strerror(error.errno or 0)}): start again")


def check_name(name: str) -> None:
    """Raise ConfigError if the kernel would not take `name` for an interface (net/core/dev.c)."""
    if not 1 <= len(name.encode()) <= MAX_NAME_LENGTH:
        raise ConfigError(f"interface name {name!r}: 1 to {MAX_NAME_LENGTH} bytes are allowed")
    # The kernel would fill in a %d, and nftables would match every name that begins as "nc*" does.
    if name in (".", "..") or any(
        char in "/:%*" or char.isspace() or not char.isprintable() for char in name
    ):
        raise ConfigError(f"interface name {name!r}: no spaces, '/', ':', '%' or '*' are allowed")


def _make(name: str, steps: Sequence[Offload]) -> tuple[pytun.TunTapDevice, Offload]:
    """A new device, with the first of these offloads that the kernel has."""
    # EXCL: never take over a device that somebody else made persistent.
    flags = pytun.IFF_TUN | pytun.IFF_NO_PI | pytun.IFF_VNET_HDR | pytun.IFF_TUN_EXCL
    try:
        device = pytun.TunTapDevice(name=name, flags=flags)
    except OSError as error:
        raise _open_error(error, name) from error
    try:
        fd = device.fileno()
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("=i", VIRTIO_HEADER_SIZE))
        # The header travels to another machine, so its byte order must not depend on this one's.
        fcntl.ioctl(fd, TUNSETVNETLE, struct.pack("=i", 1))
        return device, _set_offloads(fd, steps)
    except OSError as error:
        device.close()
        raise host_error(error, f"set up the TUN device {name}") from error


def _set_offloads(fd: int, steps: Sequence[Offload]) -> Offload:
    for offloads in steps:
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, TUNSETOFFLOAD, int(offloads))
            return offloads
    return NO_OFFLOAD


def _open_error(error: OSError, name: str) -> Exception:
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return AlreadyRunningError(
            f"interface {name} exists already: stop what uses it (nconnect down), or choose another name"
        )
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return HostError(
            "this machine has no /dev/net/tun: load it with 'modprobe tun', or give the container the device"
        )
    return host_error(error, f"open the TUN device {name}")
