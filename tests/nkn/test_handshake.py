"""The JSON texts of joining a node, in both directions."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import CryptoError, DecodeError
from nconnect.nkn import handshake
from nconnect.nkn.handshake import ErrorCode, NodeInfo, SetClient
from nconnect.nkn.keys import KeyPair

NODE = NodeInfo("127.0.0.1:30004", "127.0.0.1:30003", b"\xee" * 32, b"\x11" * 32)
KEY = KeyPair.from_seed(b"\x01" * 32)
ADDRESS = "__0__." + KEY.public_key.hex()


def test_the_signature_over_a_challenge(vectors: dict[str, Any]) -> None:
    vector = vectors["auth_challenge"]
    key = KeyPair.from_seed(bytes.fromhex(vector["seed"]))
    challenge, salt = bytes.fromhex(vector["challenge"]), bytes.fromhex(vector["client_salt"])
    assert handshake.sign_challenge(key, challenge, salt).hex() == vector["signature"]
    text = json.loads(handshake.encode_set_client(ADDRESS, key, challenge, salt))
    assert text["Signature"] == vector["signature"]
    assert text["ClientSalt"] == vector["client_salt"]


def test_a_client_joins() -> None:
    challenge = handshake.decode_node_text(handshake.encode_challenge(b"\xab" * 32))
    assert (challenge.action, challenge.error) == (handshake.AUTH_CHALLENGE, ErrorCode.SUCCESS)
    request = handshake.decode_client_text(handshake.encode_set_client(ADDRESS, KEY, challenge.challenge))
    assert isinstance(request, SetClient)
    assert request.address == ADDRESS
    handshake.verify_challenge(KEY.public_key, b"\xab" * 32, request)
    with pytest.raises(CryptoError):
        handshake.verify_challenge(KEY.public_key, b"\xac" * 32, request)
    with pytest.raises(CryptoError):
        handshake.verify_challenge(KeyPair.generate().public_key, b"\xab" * 32, request)
    joined = handshake.decode_node_text(handshake.encode_joined(NODE, b"\x22" * 32))
    assert (joined.action, joined.error) == (handshake.SET_CLIENT, ErrorCode.SUCCESS)
    assert (joined.node, joined.block_hash) == (NODE, b"\x22" * 32)


def test_an_old_node_sends_no_challenge() -> None:
    text = handshake.encode_set_client(ADDRESS, KEY, None)
    assert json.loads(text) == {"Action": "setClient", "Addr": ADDRESS}
    assert handshake.decode_client_text(text) == SetClient(ADDRESS)


def test_later_news() -> None:
    news = handshake.decode_node_text(handshake.encode_block_hash(b"\x33" * 32))
    assert (news.action, news.block_hash) == (handshake.UPDATE_BLOCK_HASH, b"\x33" * 32)
    wrong = handshake.decode_node_text(handshake.encode_node_text("", ErrorCode.WRONG_NODE, NODE.to_json()))
    assert (wrong.error, wrong.node, wrong.description) == (48001, NODE, "WRONG NODE TO CONNECT")


def test_other_actions_are_named() -> None:
    assert handshake.decode_client_text('{"Action":"getlatestblockheight"}') == "getlatestblockheight"
    refused = handshake.decode_node_text(handshake.encode_node_text("x", ErrorCode.INVALID_METHOD, None))
    assert (refused.action, refused.error) == ("x", 42001)


def test_an_error_code_that_we_do_not_know() -> None:
    assert handshake.decode_node_text('{"Action":"setClient","Error":41002}').error == 41002
    assert handshake.decode_node_text(handshake.encode_node_text("", 41002, None)).description == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[" * 60_000, "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "lacks its Action or Error"),
        ('{"Action":1,"Error":0}', "lacks its Action or Error"),
        ('{"Action":"x","Error":"0"}', "lacks its Action or Error"),
        ('{"Action":"x","Error":true}', "lacks its Action or Error"),
        ('{"Action":"authChallenge","Error":0,"Challenge":"xyz"}', "Challenge is not hex"),
        ('{"Action":"authChallenge","Error":0,"Challenge":7}', "Challenge is not hex"),
        (" " * (handshake.MAX_TEXT_SIZE + 1), "longer than"),
    ],
)
def test_malformed_texts_say_what_is_wrong(text: str | bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        handshake.decode_node_text(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"Error":0}',
        '{"Action":"setClient"}',
        '{"Action":"setClient","Addr":5}',
        '{"Action":"setClient","Addr":"a","ClientSalt":"zz","Signature":""}',
        '{"Action":"setClient","Addr":"a","ClientSalt":null,"Signature":null}',
    ],
)
def test_malformed_requests_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        handshake.decode_client_text(text)


@pytest.mark.parametrize("value", [None, [], {}, {"addr": ""}, {"addr": 1}, {"addr": "h:1", "pubkey": "x"}])
def test_malformed_node_descriptions_are_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        NodeInfo.from_json(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Action",
                    "Error",
                    "Desc",
                    "Result",
                    "Challenge",
                    "Addr",
                    "ClientSalt",
                    "Signature",
                    "node",
                    "addr",
                ]
            ),
            children,
            max_size=5,
        )
    ),
)


@given(JSON, st.sampled_from(["authChallenge", "setClient", "updateSigChainBlockHash", ""]))
def test_hostile_texts_raise_only_decode_errors(value: object, action: str) -> None:
    for text in (value, {**(value if isinstance(value, dict) else {}), "Action": action, "Error": 0}):
        encoded = json.dumps(text)
        with contextlib.suppress(DecodeError):
            handshake.decode_client_text(encoded)
        with contextlib.suppress(DecodeError):
            parsed = handshake.decode_node_text(encoded)
            _ = parsed.node
            _ = parsed.block_hash
