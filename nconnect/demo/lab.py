"""One machine that plays four: network namespaces, and the links between them.

::

     user                    internet                    provider                      lan
    ┌──────┐ 198.51.100.0/30 ┌─────────┐ 203.0.113.0/30 ┌──────────┐ 192.168.77.0/24 ┌───────────┐
    │ wan0 ├─────────────────┤ user0   │                │          │ fd77:77:77::/64 │           │
    │   .2 │              .1 │   prov0 ├────────────────┤ wan0     │                 │           │
    └──────┘                 │         │ .1          .2 │     lan0 ├─────────────────┤ eth0  .20 │
                             │ lo      │                └──────────┘ .1              └───────────┘
                             │ 192.0.2.1: the devnet
                             └─────────┘

`user` and `provider` have a default route to `internet`, as a machine at home has; `internet` forwards
nothing, so all that they reach is the devnet. `lan` knows only its own network: what answers there was
asked by the provider. Nothing outside the namespaces is touched.

A lab that was not removed (its process was killed) is found by its lock file, which no living process
holds any more, and is removed when the next lab is made.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from nconnect.demo import home, namespaces
from nconnect.demo.process import Process, execute
from nconnect.errors import HostError, PrivilegeError, UsageError

# Lock files and the directories of the parties; root's alone, for the parties' secret keys are in there.
LABS_DIRECTORY = Path("/run/nconnect-lab")
# Eight labs are a test run on every core of a large machine; more are a leak.
MAX_LABS = 8
# One run of a client or a ping; longer than that hangs.
RUN_SECONDS = 60.0

DEVNET_ADDRESS = "192.0.2.1"
DEVNET_PORT = 30003
SEED_RPC = f"http://{DEVNET_ADDRESS}:{DEVNET_PORT}"
LAN = "192.168.77.0/24"
LAN6 = "fd77:77:77::/64"
LAN_HOST = "192.168.77.20"
LAN_HOST6 = "fd77:77:77::20"
PROVIDER_LAN_ADDRESS = "192.168.77.1"
PROVIDER_LAN_ADDRESS6 = "fd77:77:77::1"


class Party(enum.StrEnum):
    """A machine of the lab: a network namespace and directories of its own."""

    USER = "user"
    INTERNET = "internet"
    PROVIDER = "provider"
    LAN = "lan"


# Commands for `ip -batch`. Addresses are those reserved for documentation (RFC 5737), so that nothing
# can mean a real machine.
LINKS = """\
link add wan0 netns {user} type veth peer name user0 netns {internet}
link add wan0 netns {provider} type veth peer name prov0 netns {internet}
link add lan0 netns {provider} type veth peer name eth0 netns {lan}
"""
ADDRESSES = {
    Party.USER: """\
link set lo up
link set wan0 up
address add 198.51.100.2/30 dev wan0
route add default via 198.51.100.1
""",
    Party.INTERNET: f"""\
link set lo up
link set user0 up
link set prov0 up
address add {DEVNET_ADDRESS}/32 dev lo
address add 198.51.100.1/30 dev user0
address add 203.0.113.1/30 dev prov0
""",
    Party.PROVIDER: f"""\
link set lo up
link set wan0 up
link set lan0 up
address add 203.0.113.2/30 dev wan0
address add {PROVIDER_LAN_ADDRESS}/24 dev lan0
address add {PROVIDER_LAN_ADDRESS6}/64 dev lan0 nodad
route add default via 203.0.113.1
""",
    Party.LAN: f"""\
link set lo up
link set eth0 up
address add {LAN_HOST}/24 dev eth0
address add {LAN_HOST6}/64 dev eth0 nodad
""",
}
# Before the links are made. Forwarding: a new namespace takes its IPv4 settings from the machine's, where
# Docker may have switched it on. Duplicate address detection: an address that is tentative for its first
# second cannot be used, and makes one state of the host look like another.
SETTINGS = """\
cd /proc/sys/net
echo 0 >ipv4/ip_forward
echo 0 >ipv6/conf/all/forwarding
echo 0 >ipv6/conf/default/accept_dad
"""


class Lab:
    """Four namespaces, and the processes in them.

    ``Lab.create()`` makes it; ``start`` and ``run`` put commands into it; ``close`` stops them in reverse
    order and removes everything. As an async context manager it closes itself.
    """

    def __init__(self, identifier: str, lock: int) -> None:
        self.identifier = identifier
        self.directory = LABS_DIRECTORY / identifier
        self.processes: list[Process] = []
        self._lock = lock
        self._kept = False

    @classmethod
    def create(cls) -> Self:
        """Make a lab, after removing those that a crash left. Takes about 0.1 s."""
        require_root()
        remove_labs()
        if len(lab_identifiers()) >= MAX_LABS:
            raise UsageError(
                f"{MAX_LABS} labs run already; end one, or remove those kept: nconnect demo --remove"
            )
        lab = cls(*_claim_identifier())
        try:
            for party in Party:
                home.make_home(lab.directory / party)
            lab._make_namespaces()
        except BaseException:
            lab.remove()
            raise
        return lab

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def namespace(self, party: Party) -> str:
        """The name of the party's namespace, as ``ip netns`` shows it."""
        return namespace_name(self.identifier, party)

    def environment(self, party: Party) -> dict[str, str]:
        """The environment of the party's commands: its own directories, and the devnet as the network."""
        # A proxy of the machine cannot be reached from a namespace, and would not be the way to test.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("NCONNECT_") and not name.lower().endswith("_proxy")
        }
        places = home.environment(self.directory / party)
        return inherited | places | {"NCONNECT_SEED_RPC": SEED_RPC, "PYTHONUNBUFFERED": "1"}

    def start(
        self,
        party: Party,
        argv: Sequence[str],
        *,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a command that runs until it is stopped; its output goes to ``<party>/<name>.log``."""
        name = name or Path(argv[0]).name
        process = Process.start(
            name,
            [*self._entrance(party), *argv],
            env={**self.environment(party), **(env or {})},
            directory=self.directory / party,
            log=self.directory / party / f"{name}.log",
        )
        self.processes.append(process)
        return process

    async def run(
        self,
        party: Party,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        seconds: float = RUN_SECONDS,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with `check`, an exit code other than 0 is a NconnectError."""
        return await execute(
            argv,
            through=self._entrance(party),
            place=f" in {party}",
            env={**self.environment(party), **(env or {})},
            directory=self.directory / party,
            seconds=seconds,
            check=check,
        )

    def start_nconnect(self, party: Party, *arguments: str, name: str | None = None) -> Process:
        """Start the real command, as a process of its own: ``nconnect <arguments>``."""
        return self.start(party, nconnect_command(*arguments), name=name or arguments[0])

    async def run_nconnect(
        self, party: Party, *arguments: str, check: bool = True, seconds: float = RUN_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run the real command to its end: ``nconnect <arguments>``."""
        return await self.run(party, nconnect_command(*arguments), check=check, seconds=seconds)

    def process_ids(self, party: Party) -> list[int]:
        """All that runs in the party's namespace."""
        return namespaces.process_ids([self.namespace(party)])

    def keep(self) -> None:
        """Leave everything running, now and when this process ends; ``remove_labs(kept=True)`` removes it."""
        (self.directory / "kept").touch()
        self._kept = True
        os.close(self._lock)

    async def close(self) -> None:
        """Stop the processes, last started first, and remove the lab, unless it is to be kept."""
        if self._kept:
            return
        try:
            for process in reversed(self.processes):
                if process.returncode is None:
                    await process.stop()
        finally:
            self.remove()

    def remove(self) -> None:
        """Remove the lab at once, killing what still runs in it."""
        for process in self.processes:
            process.kill()
        self.processes.clear()
        _destroy(self.identifier)
        os.close(self._lock)

    def _entrance(self, party: Party) -> list[str]:
        # It also mounts a /sys that shows the namespace's own interfaces.
        return ["ip", "netns", "exec", self.namespace(party)]

    def _make_namespaces(self) -> None:
        names = {party: self.namespace(party) for party in Party}
        namespaces.ip("".join(f"netns add {name}\n" for name in names.values()))
        for name in names.values():
            namespaces.shell(SETTINGS, name)
        namespaces.ip(LINKS.format(**names))
        for party, name in names.items():
            namespaces.ip(ADDRESSES[party], namespace=name)


def require_root() -> None:
    """Namespaces need root (CAP_SYS_ADMIN and CAP_NET_ADMIN), iproute2 and a TUN device."""
    if os.geteuid() != 0:
        raise PrivilegeError("network namespaces need root: run it with sudo")
    if shutil.which("ip") is None:
        raise HostError("the command `ip` is missing: apt-get install iproute2")
    if not Path("/dev/net/tun").exists():
        raise HostError("/dev/net/tun is missing: modprobe tun (in a container: --device /dev/net/tun)")


def nconnect_command(*arguments: str) -> list[str]:
    """The command line of `nconnect` as it is installed beside this file."""
    return [sys.executable, "-m", "nconnect", *arguments]


def namespace_name(identifier: str, party: Party) -> str:
    """The name of a party's namespace, as ``ip netns`` shows it."""
    return f"nc-{identifier}-{party}"


def lab_identifiers() -> list[str]:
    """The labs of this machine: running, kept, or left by a crash."""
    return sorted(path.stem for path in LABS_DIRECTORY.glob("*.lock"))


def remove_labs(*, kept: bool = False) -> list[str]:
    """Remove the labs whose process is gone, with `kept` also those left running on purpose.

    Returns the identifiers of the removed labs.
    """
    removed = []
    for identifier in lab_identifiers():
        if not kept and (LABS_DIRECTORY / identifier / "kept").exists():
            continue
        with _locked(identifier) as free:
            if free:
                _destroy(identifier)
                removed.append(identifier)
    return removed


def _claim_identifier() -> tuple[str, int]:
    """A new identifier and the descriptor of its lock, which lasts as long as this process."""
    LABS_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    while True:
        identifier = secrets.token_hex(2)
        try:
            lock = os.open(_lock_file(identifier), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Another process looked for stale labs just now, and takes this one for such.
            os.close(lock)
            continue
        return identifier, lock


@contextlib.contextmanager
def _locked(identifier: str) -> Iterator[bool]:
    """True while we hold the lock of a lab; False if its process lives or somebody else removes it."""
    try:
        lock = os.open(_lock_file(identifier), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # No name any more: removed between our open and our lock.
        yield os.fstat(lock).st_nlink > 0
    except BlockingIOError:
        yield False
    finally:
        os.close(lock)


def _lock_file(identifier: str) -> Path:
    return LABS_DIRECTORY / f"{identifier}.lock"


def _destroy(identifier: str) -> None:
    """Remove what belongs to a lab, whatever of it is there; the lock file goes last."""
    namespaces.remove([namespace_name(identifier, party) for party in Party])
    shutil.rmtree(LABS_DIRECTORY / identifier, ignore_errors=True)
    _lock_file(identifier).unlink(missing_ok=True)
