"""What a devnet is made of: how many nodes, where they listen, what they do to messages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nconnect.errors import AddressError, ConfigError, UsageError
from nconnect.nkn.addresses import Address
from nconnect.nkn.transactions import parse_amount
from nconnect.nkn.wallet import parse_wallet_address

# Enough to give every sub-client of a MultiClient a node of its own; each node costs a port.
MAX_NODES = 256
# Beyond a minute a message is lost rather than late: the SDKs gave up on its answer long ago.
MAX_LATENCY_MS = 60_000.0
MAX_PORT = 65_535


_SETTINGS = {"latency": "latency_ms", "jitter": "jitter_ms", "loss": "loss_pct", "rate": "rate_mbit"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What one node does to the messages that pass through it. Zeros: nothing, at no cost.

    A message enters the network at its sender's node and leaves it at its receiver's. Each of the two adds
    half of its latency and jitter, so that between two nodes of one shape a message takes ``latency_ms``.
    """

    latency_ms: float = 0.0
    """One way, for a whole message."""
    jitter_ms: float = 0.0
    """The latency varies by up to this much both ways, evenly; messages may overtake each other."""
    loss_pct: float = 0.0
    """Percentage of messages that vanish between two nodes of this shape."""
    rate_mbit: float = 0.0
    """What the node takes from its clients, and what it hands them, in Mbit/s each; 0 = as fast as it can."""

    def __post_init__(self) -> None:
        _check_range("latency", self.latency_ms, MAX_LATENCY_MS, "milliseconds")
        _check_range("jitter", self.jitter_ms, MAX_LATENCY_MS, "milliseconds")
        _check_range("loss", self.loss_pct, 100.0, "per cent")
        _check_range("rate", self.rate_mbit, math.inf, "Mbit/s")

    def with_settings(self, text: str) -> Shape:
        """This shape with some values changed, as in ``rate=5,latency=100``.

        Names: latency and jitter in milliseconds, loss in per cent, rate in Mbit/s. ConfigError: it is none.
        """
        changes = {}
        for setting in text.split(","):
            name, equals, value = setting.partition("=")
            field_name = _SETTINGS.get(name.strip())
            try:
                number = float(value) if field_name and equals else math.nan
            except ValueError:
                number = math.nan
            if field_name is None or math.isnan(number):
                raise ConfigError(
                    f"{setting!r} shapes nothing: expected {', '.join(_SETTINGS)}, each with a number, "
                    "as in rate=5,latency=100"
                )
            changes[field_name] = number
        return replace(self, **changes)

    @property
    def is_neutral(self) -> bool:
        """True if messages pass unchanged."""
        return not (self.latency_ms or self.jitter_ms or self.loss_pct or self.rate_mbit)


@dataclass(frozen=True)
class DevnetConfig:
    """A whole network. The defaults of the protocol's times are nknd's; tests shorten them."""

    nodes: int = 4
    """One for each sub-client of a MultiClient."""
    listen: str = "127.0.0.1:30003"
    """``host:port`` of the JSON-RPC server; node i serves websockets on port + 1 + i. Port 0: any free."""
    advertise: str | None = None
    """The host in the addresses handed to clients. None: the listen host, or if that is a wildcard
    (0.0.0.0, ::) whatever address the client reached."""
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_pct: float = 0.0
    rate_mbit: float = 0.0
    node_shapes: Mapping[int, Shape] = field(default_factory=dict)
    """Shapes of single nodes, by index, instead of the four values above."""
    places: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """For some public keys, in lower-case hex, the nodes of their sub-clients 0, 1, … while those are up."""
    seed: int = 0
    """Of the nodes' keys, the block hashes and all that is random: two devnets with one seed drop alike."""
    verify_signatures: bool = False
    """Check every outbound message's signatures, and ask receivers for receipts and check those."""
    tls: bool = False
    """Serve ``wss`` too, with a certificate of the devnet's own: node i on port + 1 + nodes + i."""

    faucet: str = "1000"
    """NKN that every account is born with, as a decimal number: enough for a hundred names."""
    balances: Mapping[str, str] = field(default_factory=dict)
    """NKN of single accounts instead, by wallet address."""
    instant: bool = True
    """Transactions count at once. Otherwise they wait for the next block, as they do on a real network."""

    block_interval: float = 20.0
    """Seconds between blocks, each with a new signature-chain block hash (nknd ConsensusDuration)."""
    ping_interval: float = 8.0
    """Seconds between a node's websocket pings (nknd pingInterval)."""
    silence_timeout: float = 10.0
    """Seconds after which a client that is not heard, or does not read, is dropped (nknd pongTimeout)."""
    refusal_delay: float = 3.0
    """Seconds a node waits after refusing a signature, so that the answer arrives before it hangs up."""

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MAX_NODES:
            raise ConfigError(f"a devnet has 1 to {MAX_NODES} nodes, not {self.nodes}")
        _, port = self.endpoint
        ports = self.nodes * (2 if self.tls else 1)
        if port and port + ports > MAX_PORT:
            raise ConfigError(
                f"listen {self.listen}: {self.nodes} nodes need the ports up to {port + ports}; "
                f"take a port below {MAX_PORT + 1 - ports}"
            )
        if self.advertise is not None and (not self.advertise or any(c in "/ []" for c in self.advertise)):
            raise ConfigError(
                f"advertise {self.advertise!r}: expected a host name or an IP address without a port"
            )
        for index in self.node_shapes:
            if not 0 <= index < self.nodes:
                raise ConfigError(f"a shape for node {index}: the nodes are 0 to {self.nodes - 1}")
        for index in (node for nodes in self.places.values() for node in nodes):
            if not 0 <= index < self.nodes:
                raise ConfigError(f"a client placed at node {index}: the nodes are 0 to {self.nodes - 1}")
        for name in ("block_interval", "ping_interval", "silence_timeout", "refusal_delay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} {value}: expected a number of seconds above 0")
        # Says at once what is wrong with an amount, or with latency, jitter, loss or rate.
        self.funds()
        self._default_shape()

    @property
    def endpoint(self) -> tuple[str, int]:
        """``listen`` as host and port."""
        return parse_endpoint(self.listen)

    def shape(self, index: int) -> Shape:
        """What node ``index`` does to messages."""
        return self.node_shapes.get(index) or self._default_shape()

    def funds(self) -> tuple[dict[bytes, int], int]:
        """``balances`` by program hash, and ``faucet``, both in units of 10⁻⁸ NKN."""
        try:
            faucet = parse_amount(self.faucet)
            return {
                parse_wallet_address(address): parse_amount(amount)
                for address, amount in self.balances.items()
            }, faucet
        except (AddressError, UsageError) as error:
            raise ConfigError(f"the devnet's funds: {error}") from error

    def _default_shape(self) -> Shape:
        return Shape(self.latency_ms, self.jitter_ms, self.loss_pct, self.rate_mbit)


def parse_node_shape(text: str, default: Shape) -> tuple[int, Shape]:
    """Index and shape of ``3:rate=5,latency=100``; what it does not say is as in ``default``.

    Raises:
        ConfigError: it is none.
    """
    index, colon, settings = text.partition(":")
    if not (colon and index.isascii() and index.isdigit()):
        raise ConfigError(f"{text!r} is not the shape of a node: expected NODE:NAME=VALUE,…, as in 3:rate=5")
    return int(index[:6]), default.with_settings(settings)


def parse_place(text: str) -> tuple[str, tuple[int, ...]]:
    """Public key and nodes of ``KEY:0,1,2,3``; ConfigError: it is none."""
    key, _, nodes = text.partition(":")
    numbers = nodes.split(",")
    try:
        key = Address.parse(key).public_key.hex()
    except AddressError as error:
        raise ConfigError(f"{text!r} places no client: {error}") from error
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise ConfigError(f"{text!r} places no client: expected KEY:0,1,2,3, with numbers of nodes")
    return key, tuple(int(number[:6]) for number in numbers)


def parse_endpoint(text: str) -> tuple[str, int]:
    """``host:port`` or ``[IPv6]:port``; ConfigError names the text."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"listen {text!r}: write an IPv6 address in brackets, as in [::1]:30003")
    if not colon or not host:
        raise ConfigError(f"listen {text!r}: expected host:port, as in 127.0.0.1:30003")
    if not (port.isascii() and port.isdigit() and int(port[:6]) <= MAX_PORT):
        raise ConfigError(f"listen {text!r}: {port!r} is not a port (0 to {MAX_PORT})")
    return host, int(port)


def format_endpoint(host: str, port: int) -> str:
    """``host:port`` as in a URL: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_range(name: str, value: float, most: float, unit: str) -> None:
    if not (math.isfinite(value) and 0 <= value <= most):
        raise ConfigError(
            f"{name} {value:g}: expected a number of {unit} from 0"
            + (f" to {most:g}" if most < math.inf else "")
        )
