"""The JSON texts with which a client joins a node, in both directions.

1. node → client ``authChallenge``; 2. client → node ``setClient`` with a signature over the challenge and a
salt of its own; 3. node → client ``setClient`` with the node and a block hash, or an error; later
``updateSigChainBlockHash`` and, when another node becomes responsible, error 48001. Source: nknd
``api/websocket/server/server.go``, ``api/common/errcode``.
"""

from __future__ import annotations

import enum
import hashlib
import os
from dataclasses import dataclass
from typing import Any

import msgspec

from nconnect.errors import DecodeError
from nconnect.nkn.keys import KeyPair, verify

CHALLENGE_SIZE = 32
SALT_SIZE = 32
# A node's texts are some hundred bytes; a text of megabytes is an attack on the parser.
MAX_TEXT_SIZE = 64 * 1024

AUTH_CHALLENGE = "authChallenge"
SET_CLIENT = "setClient"
UPDATE_BLOCK_HASH = "updateSigChainBlockHash"


class ErrorCode(enum.IntEnum):
    """Error codes of nodes, in the texts and (negated) in JSON-RPC."""

    SUCCESS = 0
    ILLEGAL_DATA_FORMAT = 41003
    INVALID_METHOD = 42001
    INVALID_PARAMS = 42002
    INVALID_SIGNATURE = 42003
    INTERNAL_ERROR = 45001
    APPEND_TX_POOL = 45021
    WRONG_NODE = 48001

    @property
    def description(self) -> str:
        """The words that nknd puts beside the code."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    ErrorCode.SUCCESS: "SUCCESS",
    ErrorCode.ILLEGAL_DATA_FORMAT: "ILLEGAL DATAFORMAT",
    ErrorCode.INVALID_METHOD: "INVALID METHOD",
    ErrorCode.INVALID_PARAMS: "INVALID PARAMS",
    ErrorCode.INVALID_SIGNATURE: "VERIFY SIGNATURE ERROR",
    ErrorCode.INTERNAL_ERROR: "INTERNAL ERROR",
    ErrorCode.APPEND_TX_POOL: "INTERNAL ERROR, can not append tx to txpool",
    ErrorCode.WRONG_NODE: "WRONG NODE TO CONNECT",
}


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node as RPC and the texts name it.

    ``addr`` and ``rpc_addr`` are ``host:port``; ``public_key`` is what messages are signed for.
    """

    addr: str
    rpc_addr: str = ""
    public_key: bytes = b""
    id: bytes = b""

    def to_json(self) -> dict[str, str]:
        """The object that ``getwsaddr`` and ``setClient`` carry."""
        return {
            "addr": self.addr,
            "rpcAddr": self.rpc_addr,
            "pubkey": self.public_key.hex(),
            "id": self.id.hex(),
            "sdp": "",
        }

    @classmethod
    def from_json(cls, value: object) -> NodeInfo:
        """The reverse of `to_json`; DecodeError names the member that is wrong."""
        if not isinstance(value, dict):
            raise DecodeError("a node's description is not a JSON object")
        addr = value.get("addr")
        if not isinstance(addr, str) or not addr:
            raise DecodeError("a node's description lacks its address")
        rpc_addr = value.get("rpcAddr")
        return cls(
            addr,
            rpc_addr if isinstance(rpc_addr, str) else "",
            _hex_member(value, "pubkey"),
            _hex_member(value, "id"),
        )


@dataclass(frozen=True, slots=True)
class SetClient:
    """A client's request to be served.

    ``salt`` and ``signature`` are empty when the node sent no challenge.
    """

    address: str
    salt: bytes = b""
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class NodeText:
    """Any text of a node. ``error`` may be a code that `ErrorCode` does not list; ``result`` is as parsed."""

    action: str
    error: int
    description: str
    result: Any
    challenge: bytes = b""

    @property
    def block_hash(self) -> bytes:
        """The block hash of a ``setClient`` answer or an ``updateSigChainBlockHash``.

        DecodeError if there is none.
        """
        if isinstance(self.result, dict):
            return _hex_member(self.result, "sigChainBlockHash")
        return _hex_member({"Result": self.result}, "Result")

    @property
    def node(self) -> NodeInfo:
        """The node that a ``setClient`` answer or a WRONG_NODE error names; DecodeError if it names none."""
        if self.error == ErrorCode.SUCCESS and isinstance(self.result, dict):
            return NodeInfo.from_json(self.result.get("node"))
        return NodeInfo.from_json(self.result)


# --- the client's side ---


def sign_challenge(key: KeyPair, challenge: bytes, salt: bytes) -> bytes:
    """The proof that the client holds its key: Ed25519 of SHA-256 of challenge and salt."""
    return key.sign(hashlib.sha256(challenge + salt).digest())


def encode_set_client(address: str, key: KeyPair, challenge: bytes | None, salt: bytes | None = None) -> str:
    """The ``setClient`` request; ``challenge`` is None for an old node, which sends none."""
    request = {"Action": SET_CLIENT, "Addr": address}
    if challenge is not None:
        salt = os.urandom(SALT_SIZE) if salt is None else salt
        request["ClientSalt"] = salt.hex()
        request["Signature"] = sign_challenge(key, challenge, salt).hex()
    return msgspec.json.encode(request).decode()


def decode_node_text(text: bytes | str) -> NodeText:
    """Parse a text of a node; DecodeError if it is none."""
    value = _decode_object(text)
    action, error, description = value.get("Action", ""), value.get("Error"), value.get("Desc", "")
    if not isinstance(action, str) or type(error) is not int or not isinstance(description, str):
        raise DecodeError("a node's text lacks its Action or Error")
    challenge = b""
    if action == AUTH_CHALLENGE and error == ErrorCode.SUCCESS:
        challenge = _hex_member(value, "Challenge")
    return NodeText(action, error, description, value.get("Result"), challenge)


# --- the node's side ---


def encode_node_text(action: str, error: int, result: object, challenge: bytes | None = None) -> str:
    """A node's text; without ``action`` for errors that answer no request."""
    known = error in ErrorCode._value2member_map_
    text: dict[str, object] = {"Action": action, "Error": error}
    if challenge is not None:
        text["Challenge"] = challenge.hex()
    text["Desc"] = ErrorCode(error).description if known else ""
    text["Result"] = result
    text["Version"] = 1
    return msgspec.json.encode(text).decode()


def encode_challenge(challenge: bytes) -> str:
    """The first text of a node."""
    return encode_node_text(AUTH_CHALLENGE, ErrorCode.SUCCESS, "", challenge)


def encode_joined(node: NodeInfo, block_hash: bytes) -> str:
    """The answer to a ``setClient`` that was accepted."""
    result = {"node": node.to_json(), "sigChainBlockHash": block_hash.hex()}
    return encode_node_text(SET_CLIENT, ErrorCode.SUCCESS, result)


def encode_block_hash(block_hash: bytes) -> str:
    """The news of a later block hash."""
    return encode_node_text(UPDATE_BLOCK_HASH, ErrorCode.SUCCESS, block_hash.hex())


def decode_client_text(text: bytes | str) -> SetClient | str:
    """A client's ``setClient``, or the name of another action that it asked for.

    DecodeError if it is neither.
    """
    value = _decode_object(text)
    action = value.get("Action")
    if not isinstance(action, str):
        raise DecodeError("a client's text lacks its Action")
    if action != SET_CLIENT:
        return action
    address = value.get("Addr")
    if not isinstance(address, str):
        raise DecodeError("a setClient lacks its Addr")
    if "Signature" not in value or "ClientSalt" not in value:
        return SetClient(address)
    return SetClient(address, _hex_member(value, "ClientSalt"), _hex_member(value, "Signature"))


def verify_challenge(public_key: bytes, challenge: bytes, request: SetClient) -> None:
    """CryptoError unless the request proves that its sender holds the key."""
    verify(public_key, hashlib.sha256(challenge + request.salt).digest(), request.signature)


def _decode_object(text: bytes | str) -> dict[str, Any]:
    if len(text) > MAX_TEXT_SIZE:
        raise DecodeError(f"a text of {len(text)} bytes is longer than {MAX_TEXT_SIZE}")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DecodeError("a text is not JSON") from error
    if not isinstance(value, dict):
        raise DecodeError("a text is not a JSON object")
    return value


def _hex_member(value: dict[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(value.get(name, ""))
    except (ValueError, TypeError) as error:
        raise DecodeError(f"{name} is not hexadecimal") from error
