"""The states of a connection and what leads from one to the next, as a table."""

from __future__ import annotations

import enum


class State(enum.Enum):
    IDLE = "neither dialled nor dialled by the peer"
    DIALLING = "handshake sent, not answered"
    ESTABLISHED = "data flows both ways"
    CLOSING = "our application is done; the rest of its data is sent, acknowledged and read"
    CLOSED = "over; what was received stays readable"


class Trigger(enum.Enum):
    CONNECT = "our application dials"
    HANDSHAKE = "the peer's handshake arrives"
    CLOSE = "our application closes"
    DRAINED = "all that was written is acknowledged and read, or nothing is for the linger time"
    PEER_CLOSE = "the peer's close arrives"
    GIVE_UP = "the peer does not answer"
    ABORT = "our application aborts"


TRANSITIONS: dict[State, dict[Trigger, State]] = {
    State.IDLE: {
        Trigger.CONNECT: State.DIALLING,
        Trigger.HANDSHAKE: State.ESTABLISHED,
        Trigger.CLOSE: State.CLOSED,
        Trigger.PEER_CLOSE: State.CLOSED,
        Trigger.ABORT: State.CLOSED,
    },
    State.DIALLING: {
        Trigger.HANDSHAKE: State.ESTABLISHED,
        Trigger.CLOSE: State.CLOSED,
        Trigger.PEER_CLOSE: State.CLOSED,
        Trigger.GIVE_UP: State.CLOSED,
        Trigger.ABORT: State.CLOSED,
    },
    State.ESTABLISHED: {
        Trigger.CLOSE: State.CLOSING,
        Trigger.PEER_CLOSE: State.CLOSED,
        Trigger.GIVE_UP: State.CLOSED,
        Trigger.ABORT: State.CLOSED,
    },
    State.CLOSING: {
        Trigger.DRAINED: State.CLOSED,
        Trigger.PEER_CLOSE: State.CLOSED,
        Trigger.GIVE_UP: State.CLOSED,
        Trigger.ABORT: State.CLOSED,
    },
    State.CLOSED: {},
}
