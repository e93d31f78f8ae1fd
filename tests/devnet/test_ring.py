from __future__ import annotations

from collections import Counter

from nconnect.devnet.ring import Placement, Ring, node_id
from nconnect.nkn.addresses import client_id


def ring(nodes: int, *, without: int | None = None) -> Ring:
    return Ring((node_id(i, nodes, bytes([i])), i) for i in range(nodes) if i != without)


def test_clients_spread_evenly_over_the_nodes() -> None:
    placed = Counter(ring(4).responsible(client_id(f"__{i}__.x")) for i in range(4000))
    assert set(placed) == {0, 1, 2, 3}
    assert min(placed.values()) > 850


def test_the_node_is_the_predecessor_on_the_ring() -> None:
    identifier = node_id(2, 4, b"key")
    two = Ring([(node_id(0, 4, b"x"), 0), (identifier, 2)])
    assert two.responsible(identifier) == 2
    assert two.responsible((int.from_bytes(identifier) - 1).to_bytes(32)) == 0
    assert two.responsible(b"\xff" * 32) == 2
    # Before the first node comes the last one.
    assert two.responsible(b"\x00" * 32) == 2


def test_a_dead_node_hands_its_clients_to_one_other_and_all_else_stays() -> None:
    whole, rest = ring(4), ring(4, without=2)
    for i in range(500):
        identifier = client_id(f"client {i}")
        before = whole.responsible(identifier)
        assert rest.responsible(identifier) == (1 if before == 2 else before)


def test_no_node_no_responsible_node() -> None:
    assert Ring([]).responsible(bytes(32)) is None


def test_ids_are_32_bytes_and_in_order() -> None:
    ids = [node_id(i, 7, bytes([i])) for i in range(7)]
    assert ids == sorted(ids)
    assert {len(identifier) for identifier in ids} == {32}


def test_a_client_may_have_a_place_of_its_own() -> None:
    key = "ab" * 32
    placement = Placement({key: (3, 1)})
    nodes = [(node_id(index, 4, bytes(32)), index) for index in range(4)]
    placement.set_nodes(nodes)
    for address in (key, f"laptop.{key}", f"laptop.{key.upper()}"):
        assert [placement.responsible(f"__{index}__.{address}") for index in (0, 1)] == [3, 1]
        for other in (f"__2__.{address}", address):
            assert placement.responsible(other) == Ring(nodes).responsible(client_id(other))
    placement.set_nodes(nodes[:3])
    assert placement.responsible(f"__0__.{key}") == Ring(nodes[:3]).responsible(client_id(f"__0__.{key}"))
