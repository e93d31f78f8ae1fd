"""Hypothesis drives two sessions through any operations; whatever happens, no byte is lost or doubled."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nconnect.ncp import Config, Mode
from nconnect.ncp.sequence import MAX_SEQUENCE

from .pair import Endpoint, Link, Pair

PATHS = 2
names = st.sampled_from([f"__{i}__" for i in range(PATHS)])


class Sessions(RuleBasedStateMachine):
    """Two endpoints of one mode over two paths that are made and unmade."""

    pair: Pair

    @initialize(
        mode=st.sampled_from(Mode),
        seed=st.integers(0, 2**32),
        loss=st.sampled_from([0.0, 0.05, 0.3]),
        jitter=st.sampled_from([0.0, 0.05]),
        window=st.sampled_from([2000, 1 << 20]),
        first=st.sampled_from([1, MAX_SEQUENCE - 5]),
    )
    def start(self, mode: Mode, seed: int, loss: float, jitter: float, window: int, first: int) -> None:
        self.mode = mode
        self.window = window
        config = Config(mode=mode, mtu=500, window_size=window, send_buffer=5000, first_sequence=first)
        self.pair = Pair(
            config,
            seed=seed,
            paths=PATHS,
            link=lambda: Link(delay=0.02, loss=loss, jitter=jitter, duplicate=loss),
        )
        self.written: dict[bool, list[bytes]] = {True: [], False: []}
        self.down: set[tuple[bool, str]] = set()
        self.pair.establish(within=60.0)

    def endpoint(self, dialler: bool) -> Endpoint:
        return self.pair.dialler if dialler else self.pair.acceptor

    @rule(
        dialler=st.booleans(),
        sizes=st.lists(st.integers(1, 500), max_size=30),
        fill=st.binary(min_size=1, max_size=1),
    )
    def write(self, dialler: bool, sizes: list[int], fill: bytes) -> None:
        messages = [fill * size for size in sizes]
        self.written[dialler] += messages
        self.endpoint(dialler).outbox.extend(messages)

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.03, 0.3, 3.0]))
    def wait(self, seconds: float) -> None:
        self.pair.run_for(seconds)

    @rule(dialler=st.booleans(), reading=st.booleans())
    def pause_or_go_on_reading(self, dialler: bool, reading: bool) -> None:
        self.endpoint(dialler).reading = reading

    @rule(dialler=st.booleans(), name=names, lost=st.booleans())
    def take_path(self, dialler: bool, name: str, lost: bool) -> None:
        self.endpoint(dialler).connection.set_path_ready(name, False, self.pair.now, lost=lost)

    @rule(dialler=st.booleans(), name=names)
    def give_path(self, dialler: bool, name: str) -> None:
        self.endpoint(dialler).connection.set_path_ready(name, True, self.pair.now)

    @rule(dialler=st.booleans(), name=names, down=st.booleans())
    def cut_or_mend(self, dialler: bool, name: str, down: bool) -> None:
        self.pair.link(self.endpoint(dialler), name).down = down

    @rule(dialler=st.booleans())
    def time_out_early(self, dialler: bool) -> None:
        self.endpoint(dialler).connection.handle_timeout(self.pair.now)

    @rule(dialler=st.booleans(), count=st.integers(0, 3))
    def take_only_some_of_transmit(self, dialler: bool, count: int) -> None:
        endpoint = self.endpoint(dialler)
        for _, item in zip(range(count), endpoint.connection.transmit(self.pair.now), strict=False):
            self.pair.carry(endpoint, item)

    @precondition(lambda self: hasattr(self, "pair"))
    @invariant()
    def nothing_grows(self) -> None:
        for endpoint in (self.pair.dialler, self.pair.acceptor):
            assert not endpoint.connection.closed
            assert endpoint.errors == []
            stats = endpoint.connection.stats
            assert stats.bytes_sent - self.pair.peer(endpoint).received_bytes <= self.window
            assert 0 <= stats.bytes_in_flight <= stats.bytes_sent
            assert 0 <= stats.bytes_queued <= 5000
            assert stats.refused == 0
            if self.mode is not Mode.UNORDERED:
                self.check_prefix(endpoint)

    def check_prefix(self, receiver: Endpoint) -> None:
        sent = b"".join(self.written[receiver is self.pair.acceptor])
        assert sent.startswith(receiver.data)

    def teardown(self) -> None:
        """Mend everything: then all must arrive, soon, and the session must end in order."""
        if not hasattr(self, "pair"):
            return
        pair = self.pair
        for endpoint in (pair.dialler, pair.acceptor):
            endpoint.reading = True
            for i in range(PATHS):
                endpoint.connection.set_path_ready(f"__{i}__", True, pair.now)
                link = pair.link(endpoint, f"__{i}__")
                link.down = False
                link.loss = 0.0
        totals = {dialler: sum(map(len, self.written[dialler])) for dialler in (True, False)}
        pair.run(
            lambda: (
                pair.acceptor.received_bytes >= totals[True] and pair.dialler.received_bytes >= totals[False]
            ),
            within=30.0,
        )
        for dialler, receiver in ((True, pair.acceptor), (False, pair.dialler)):
            if self.mode is Mode.STREAM:
                assert receiver.data == b"".join(self.written[dialler])
            elif self.mode is Mode.MESSAGE:
                assert receiver.received == self.written[dialler]
            else:
                assert Counter(receiver.received) == Counter(self.written[dialler])
        pair.dialler.connection.close(pair.now)
        pair.run(lambda: pair.dialler.connection.closed and pair.acceptor.connection.closed, within=15.0)


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
