"""Wallet files and wallet addresses, against the official SDK's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import base58
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from nconnect.errors import AddressError, DecodeError, NconnectError, UsageError
from nconnect.nkn.keys import KeyPair, program_hash
from nconnect.nkn.wallet import (
    MAX_JSON,
    ScryptParameters,
    Wallet,
    is_wallet_address,
    parse_wallet_address,
)

VECTORS = json.loads((Path(__file__).parent / "wallet_vectors.json").read_text(encoding="utf-8"))["wallets"]
FAST = ScryptParameters(salt=bytes(8), n=2)
ADDRESS = "NKNYmsC2xFvjvdxBqgvgRqx88C3vhtecfqah"

by_version = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"v{vector['json']['Version']}")


def master_key(vector: dict[str, Any]) -> bytes:
    """What the SDK drew at random for this file."""
    document, secret = vector["json"], vector["password"].encode()
    if document["Version"] == 1:
        key = hashlib.sha256(hashlib.sha256(secret).digest()).digest()
    else:
        scrypt = document["Scrypt"]
        key = hashlib.scrypt(
            secret, salt=bytes.fromhex(scrypt["Salt"]), n=scrypt["N"], r=scrypt["R"], p=scrypt["P"], dklen=32
        )
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes.fromhex(document["IV"])))
    return cipher.decryptor().update(bytes.fromhex(document["MasterKey"]))


@by_version
def test_opens_what_the_sdk_wrote(vector: dict[str, Any]) -> None:
    wallet = Wallet.from_json(json.dumps(vector["json"]), vector["password"])
    assert wallet.key.seed.hex() == vector["seed"]
    assert wallet.address == vector["json"]["Address"]


@by_version
def test_writes_what_the_sdk_wrote(vector: dict[str, Any]) -> None:
    document = vector["json"]
    scrypt = None
    if document["Version"] == 2:
        given = document["Scrypt"]
        scrypt = ScryptParameters(bytes.fromhex(given["Salt"]), given["N"], given["R"], given["P"])
    written = Wallet(KeyPair(bytes.fromhex(vector["seed"]))).to_json(
        vector["password"],
        version=document["Version"],
        scrypt=scrypt,
        iv=bytes.fromhex(document["IV"]),
        master_key=master_key(vector),
    )
    assert json.loads(written) == document
    assert list(json.loads(written)) == list(document)


@by_version
def test_names_in_any_case(vector: dict[str, Any]) -> None:
    document = json.loads(json.dumps(vector["json"]).lower())
    document["address"] = vector["json"]["Address"]
    assert Wallet.from_json(json.dumps(document), vector["password"]).key.seed.hex() == vector["seed"]


@by_version
@pytest.mark.parametrize("password", ["", "wrong", "pässword 124"])
def test_a_wrong_password(vector: dict[str, Any], password: str) -> None:
    with pytest.raises(UsageError, match=f"wrong password for wallet '{ADDRESS}'"):
        Wallet.from_json(json.dumps(vector["json"]), password)


def test_a_new_wallet_and_back() -> None:
    wallet = Wallet.create()
    text = wallet.to_json("secret")
    assert json.loads(text)["Version"] == 2 and json.loads(text)["Scrypt"]["N"] == 1 << 15
    assert Wallet.from_json(text, "secret").key.seed == wallet.key.seed
    assert Wallet.create().address != wallet.address


def test_every_file_is_another() -> None:
    wallet = Wallet.create()
    first, second = (json.loads(wallet.to_json("x", version=1)) for _ in range(2))
    assert all(first[name] != second[name] for name in ("IV", "MasterKey", "SeedEncrypted"))


@given(st.text(max_size=30), st.binary(min_size=32, max_size=32), st.sampled_from([1, 2]))
def test_any_password_and_seed(password: str, seed: bytes, version: int) -> None:
    text = Wallet(KeyPair(seed)).to_json(password, version=version, scrypt=FAST)
    assert Wallet.from_json(text, password).key.seed == seed


def test_a_password_that_is_not_utf_8() -> None:
    password = b"p\xe4ssword".decode(errors="surrogateescape")
    text = Wallet.create().to_json(password, scrypt=FAST)
    Wallet.from_json(text, password)
    with pytest.raises(UsageError, match="half a character"):
        Wallet.from_json(text, "\ud800")


def test_neither_seed_nor_password_is_printed() -> None:
    wallet = Wallet.create()
    assert repr(wallet) == f"Wallet({wallet.address})"


def changed(**fields: Any) -> str:
    document = dict(VECTORS[1]["json"])
    for name, value in fields.items():
        if value is None:
            del document[name]
        else:
            document[name] = value
    return json.dumps(document)


def scrypt(**fields: Any) -> str:
    return changed(Scrypt={**VECTORS[1]["json"]["Scrypt"], **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 10000, "not JSON"),
        ('{"Version": ' + "9" * 5000 + "}", "not JSON"),
        ("[]", "object is missing"),
        ("x" * (MAX_JSON + 1), "characters, the most"),
        (changed(Version=3), "version that is not known"),
        (changed(Version=True), "no number 'version'"),
        (changed(Version="2"), "no number 'version'"),
        (changed(MasterKey=None), "no text 'masterkey'"),
        (changed(IV="00"), "'iv' has 1 bytes, not 16"),
        (changed(SeedEncrypted="zz"), "'seedencrypted' is not hexadecimal"),
        (changed(Address=5), "no text 'address'"),
        (changed(Scrypt=None), "object is missing"),
        (scrypt(N=1000), "power of two"),
        (scrypt(N=0), "power of two"),
        (scrypt(N=1 << 22), "asks for too much"),
        (scrypt(N=1 << 400), "asks for too much"),
        (scrypt(R=1 << 20), "asks for too much"),
        (scrypt(R=0), "asks for too much"),
        (scrypt(P=17), "asks for too much"),
        (scrypt(Salt=""), "salt has 1 to 64 bytes"),
        (scrypt(N="1024"), "no number 'n'"),
    ],
)
def test_what_is_no_wallet(text: str, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        Wallet.from_json(text, "password")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(list(VECTORS[1]["json"])), json_values, max_size=3), st.text(max_size=50)
)
def test_random_files_raise_our_errors_only(fields: dict[str, Any], text: str) -> None:
    for candidate in (text, json.dumps(fields), json.dumps({**VECTORS[1]["json"], **fields})):
        try:
            Wallet.from_json(candidate, "password")
        except NconnectError as error:
            assert "\n" not in str(error)


def test_misuse_is_refused() -> None:
    wallet = Wallet.create()
    with pytest.raises(UsageError, match="version 3"):
        wallet.to_json("x", version=3)
    with pytest.raises(UsageError, match="IV of 16 bytes"):
        wallet.to_json("x", version=1, iv=bytes(15))


def test_wallet_address() -> None:
    key = KeyPair(b"\x01" * 32)
    assert parse_wallet_address(ADDRESS) == program_hash(key.public_key)
    assert is_wallet_address(ADDRESS)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "36 characters"),
        (ADDRESS[:-1], "36 characters|checksum"),
        (ADDRESS[:-1] + "j", "checksum is wrong"),
        (ADDRESS.replace("x", "y", 1), "checksum is wrong"),
        (ADDRESS.replace("s", "0", 1), "not Base58"),
        ("N" * 1000000, "not Base58"),
        ("ä" * 36, "not Base58"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "begins with NKN"),
    ],
)
def test_what_is_no_wallet_address(address: str, message: str) -> None:
    with pytest.raises(AddressError, match=message):
        parse_wallet_address(address)
    assert not is_wallet_address(address)


@given(st.binary(max_size=40) | st.text(max_size=70))
def test_random_addresses(data: bytes | str) -> None:
    address = data if isinstance(data, str) else base58.b58encode(data).decode()
    assert not is_wallet_address(address)
