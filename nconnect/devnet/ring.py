"""Which node serves which client: the predecessor of the client's ID on the ring of node IDs, or where the
configuration places it.

Source: nknd ``lnode/localnode.go`` findAddrForClient (Chord). A real ring's IDs are random, so one of four
nodes may own most of it; here they are evenly spaced, so that a few clients spread over a few nodes.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from nconnect.nkn.addresses import client_id, split_sub_client

ID_SIZE = 32
# The leading bytes of an ID that are its place on the ring; the rest is a hash, to look like any other ID.
_PLACE_SIZE = 4


def node_id(index: int, nodes: int, public_key: bytes) -> bytes:
    """The 32-byte ID of node ``index`` of ``nodes``, at ``index / nodes`` of the way round the ring."""
    place = (index << 8 * _PLACE_SIZE) // nodes
    return place.to_bytes(_PLACE_SIZE) + hashlib.sha256(public_key).digest()[_PLACE_SIZE:]


class Ring:
    """The nodes that are up, as indexes, in the order of their IDs."""

    __slots__ = ("_ids", "_indexes")

    def __init__(self, nodes: Iterable[tuple[bytes, int]]) -> None:
        """``nodes``: ID and index of each node that is up."""
        ordered = sorted(nodes)
        self._ids = [identifier for identifier, _ in ordered]
        self._indexes = [index for _, index in ordered]

    def responsible(self, client_id: bytes) -> int | None:
        """The index of the node that serves ``client_id``; None if no node is up."""
        if not self._ids:
            return None
        # Before the first ID comes the last one: index -1 goes round the ring.
        return self._indexes[bisect_right(self._ids, client_id) - 1]


class Placement:
    """Where each client is; changes with the nodes that are up."""

    __slots__ = ("_places", "_ring", "_up")

    def __init__(self, places: Mapping[str, Sequence[int]]) -> None:
        """``places``: for some public keys, in lower-case hex, the nodes of their sub-clients 0, 1, …"""
        self._places = places
        self._ring = Ring(())
        self._up: set[int] = set()

    def set_nodes(self, nodes: Iterable[tuple[bytes, int]]) -> None:
        """ID and index of each node that is up."""
        up = list(nodes)
        self._ring = Ring(up)
        self._up = {index for _, index in up}

    def responsible(self, address: str) -> int | None:
        """The index of the node that serves a client; None if no node is up.

        A client whose own node is down is served by the ring, like all others.
        """
        if self._places:
            number, base = split_sub_client(address)
            nodes = self._places.get(base.rpartition(".")[2].lower(), ())
            if number is not None and number < len(nodes) and nodes[number] in self._up:
                return nodes[number]
        return self._ring.responsible(client_id(address))
