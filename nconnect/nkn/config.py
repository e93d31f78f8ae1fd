"""What an NKN client can be told to do; the defaults are the official SDKs' unless a reason is given."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from nconnect.config import MAIN_NET_SEEDS
from nconnect.errors import ConfigError
from nconnect.nkn.resolver import Resolver

# Every sub-client is a websocket and a copy of each message; beyond this, more paths only cost.
MAX_SUB_CLIENTS = 32


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Configuration of a MultiClient. Times are seconds."""

    seed_rpc: tuple[str, ...] = MAIN_NET_SEEDS
    """URLs of nodes to ask who serves us; the next one is asked when one fails."""

    sub_clients: int = 4
    """Number of sub-clients, each with a node of its own: a message has that many independent paths."""

    original: bool = False
    """Whether the address without a sub-client prefix joins too."""

    socket_mark: int = 0
    """SO_MARK of every socket, so that a policy rule can keep them out of a tunnel; needs CAP_NET_ADMIN."""

    accept_unencrypted: bool = False
    """Whether messages (never sessions) that relays could read are taken."""

    tls: bool = False
    """Whether to speak TLS with nodes: hides whom we talk to from who watches the network. Few nodes do."""

    ssl_context: ssl.SSLContext | None = None
    """Which certificates to trust with ``tls``; None: the system's authorities."""

    resolvers: tuple[Resolver, ...] = ()
    """Who is asked first what a destination stands for; after them it may be a registered name."""

    resolver_timeout: float = 10.0
    """The longest that the resolvers may take for one destination, all together."""

    name_cache: float = 20.0
    """How long a registered name is remembered: a block's time, as old as the chain's own answer may be."""

    rpc_timeout: float = 10.0
    """The longest that one seed may take to answer."""

    rpc_concurrency: int = 1
    """How many seeds are asked at once, of which the first answer counts; 0: all."""

    rpc_retries: int = 0
    """How often the seeds are asked again when all have failed."""

    websocket_timeout: float = 5.0
    """The longest that connecting to a node and its websocket handshake may take."""

    challenge_timeout: float = 5.0
    """How long to wait for a node's challenge: old nodes send none."""

    join_timeout: float = 10.0
    """The longest that a node may take to answer setClient."""

    ping_interval: float = 8.0
    """A ping is sent this often, as nodes do."""

    silence_timeout: float = 10.0
    """A connection on which nothing came for so long is dropped, as nodes do."""

    reconnect_min: float = 1.0
    """Back-off after the second failure; the first is tried again at once."""

    reconnect_max: float = 64.0
    """Back-off grows with the outage up to this."""

    connect_timeout: float = 30.0
    """The longest that connect() waits for the first sub-client: three seeds that do not answer."""

    connect_attempts: int = 3
    """connect() gives up when each sub-client has failed so often: where everything refuses at once, after
    little more than a second."""

    path_wait: float = 0.25
    """How long a dial waits for the sub-clients that are not ready when one is. A session keeps the paths
    with which it began, and sub-clients that start together are ready within some round trips of each
    other."""

    reply_timeout: float = 10.0
    """The longest that send() waits for the reply."""

    def tls_context(self) -> ssl.SSLContext | None:
        """What to connect to nodes with; None without TLS."""
        if not self.tls:
            return None
        return self.ssl_context or ssl.create_default_context()

    def __post_init__(self) -> None:
        if not self.seed_rpc:
            raise ConfigError("seed_rpc is empty: give the URL of at least one NKN node")
        for url in self.seed_rpc:
            check_url(url)
        if not 0 <= self.sub_clients <= MAX_SUB_CLIENTS:
            raise ConfigError(f"sub_clients must be 0 to {MAX_SUB_CLIENTS}, not {self.sub_clients}")
        if self.sub_clients == 0 and not self.original:
            raise ConfigError("sub_clients is 0 and original is off: no client is left")
        if self.rpc_concurrency < 0 or self.rpc_retries < 0:
            raise ConfigError("rpc_concurrency and rpc_retries cannot be negative")
        if not 0 <= self.socket_mark <= 0xFFFFFFFF:
            raise ConfigError(f"socket_mark must fit in 32 bits, not {self.socket_mark}")
        if not 0 < self.ping_interval < self.silence_timeout:
            raise ConfigError("ping_interval must be more than 0 and less than silence_timeout")


def check_url(url: str) -> None:
    """ConfigError unless ``url`` can be asked by JSON-RPC."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(f"{url!r} is not the URL of an NKN node: it looks like http://host:30003")
