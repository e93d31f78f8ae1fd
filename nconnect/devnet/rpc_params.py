"""Parameters and errors of JSON-RPC calls, as nknd checks and words them (``api/common/interfaces.go``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nconnect.nkn.messages import ErrorCode

Params = Mapping[str, Any]

# nknd reads numbers as float64 and turns them into uint32.
MAX_NUMBER = 2**32 - 1


class Failure(Exception):
    """An error answer; ``data`` says more than the code."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        self.code = code
        self.message = message
        self.data = data


def fail(code: ErrorCode, data: str | None = None) -> Failure:
    """The failure of a code, with nknd's words for it."""
    return Failure(code, code.description, data)


def need(params: Params, count: int) -> None:
    """Fail if there are fewer parameters."""
    if len(params) < count:
        raise fail(ErrorCode.INVALID_PARAMS, f"length of params is less than {count}")


def string(params: Params, name: str, otherwise: ErrorCode = ErrorCode.INVALID_PARAMS) -> str:
    """A parameter that must be there and be text; fail with ``otherwise``."""
    need(params, 1)
    value = params.get(name)
    if not isinstance(value, str):
        raise fail(otherwise, f"{name} should be a string")
    return value


def number(params: Params, name: str, default: int) -> int:
    """A parameter that may be missing, and must be a number otherwise."""
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fail(ErrorCode.INVALID_PARAMS, f"{name} should be a float64")
    return int(min(max(value, 0), MAX_NUMBER))


def hexadecimal(params: Params, name: str) -> bytes:
    """A parameter that may be missing, and must be hexadecimal text otherwise."""
    if name not in params:
        return b""
    try:
        return bytes.fromhex(string(params, name))
    except ValueError as error:
        raise fail(ErrorCode.INVALID_PARAMS, f"{name} should be a hex string") from error
