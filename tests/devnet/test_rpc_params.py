from __future__ import annotations

import pytest

from nconnect.devnet.rpc_params import MAX_NUMBER, Failure, hexadecimal, need, number, string


def words(failure: pytest.ExceptionInfo[Failure]) -> tuple[int, str | None]:
    return failure.value.code, failure.value.data


def test_numbers_are_what_nknd_makes_of_a_float() -> None:
    assert number({}, "n", 7) == 7
    assert number({"n": 2.9}, "n", 7) == 2
    assert number({"n": -1}, "n", 7) == 0
    assert number({"n": 1e300}, "n", 7) == MAX_NUMBER
    wrong: object
    for wrong in ("1", True, None, []):
        with pytest.raises(Failure) as failure:
            number({"n": wrong}, "n", 7)
        assert words(failure) == (42002, "n should be a float64")


def test_text_and_hexadecimal() -> None:
    assert string({"s": "x"}, "s") == "x"
    assert hexadecimal({}, "h") == b""
    assert hexadecimal({"h": "00fF"}, "h") == b"\x00\xff"
    wrong: object
    for wrong, complaint in ((5, "h should be a string"), ("0", "h should be a hex string")):
        with pytest.raises(Failure) as failure:
            hexadecimal({"h": wrong}, "h")
        assert words(failure) == (42002, complaint)


def test_too_few() -> None:
    need({"a": 1}, 1)
    with pytest.raises(Failure) as failure:
        need({"a": 1}, 2)
    assert words(failure) == (42002, "length of params is less than 2")
