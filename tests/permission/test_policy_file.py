"""The policy file: read strictly, and what is wrong is told with its line."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nconnect.errors import ConfigError
from nconnect.permission.decision import RefusalCode, Source
from nconnect.permission.grants import MAX_TARGETS, parse_target
from nconnect.permission.policy_file import MAX_FILE_BYTES, MAX_PROBLEMS, Problem, load, parse

ANN, BOB, EVE = (bytes([number]) * 32 for number in (1, 2, 3))
NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
RIGHT = f"""
[services]
llm = "192.168.1.20:11434/tcp"
web = ["192.168.1.20:80/tcp", "[fd00::20]:80/tcp"]

[users]
ann = "{ANN.hex()}"
bob = "laptop.{BOB.hex()}"
eve = "{EVE.hex()}"

[groups]
staff = ["ann", "bob"]

[[grants]]
groups = ["staff"]
to = ["llm", "192.168.2.0/24"]
expires = 2027-01-01T00:00:00Z
rate = "10mbit"

[[grants]]
users = ["ann"]
to = ["web"]
expires = 2026-09-01
rate = "50mbit"
quota = "100GB"
"""


def problems(text: str) -> list[tuple[int, str]]:
    _, found = parse(Path("policy.toml"), text.encode())
    return [(problem.line, problem.reason) for problem in found]


def test_what_it_grants() -> None:
    policy, found = parse(Path("policy.toml"), RIGHT.encode())
    assert found == []
    ann, bob, eve = (policy.users[key] for key in (ANN, BOB, EVE))
    decision = ann.decide(NOW)
    assert decision.grant is not None
    assert decision.grant.targets == tuple(
        map(
            parse_target,
            ("192.168.1.20:11434/tcp", "192.168.2.0/24", "192.168.1.20:80/tcp", "[fd00::20]:80/tcp"),
        )
    )
    assert not decision.grant.served
    assert (decision.name, decision.source, decision.by) == ("ann", Source.FILE, "policy.toml:7")
    # The most generous hold: one has no quota.
    assert (decision.grant.rate, decision.grant.quota) == (50_000_000, 0)
    assert decision.until == datetime(2026, 9, 1, tzinfo=UTC).timestamp()
    assert decision.grant.expires == datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    assert bob.decide(NOW).grant is not None
    nothing = eve.decide(NOW)
    assert (nothing.grant, nothing.code) == (None, RefusalCode.NOT_ADMITTED)
    assert nothing.by == "policy.toml:9"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'# ann = "{ANN.hex()}"\n[users]\nann = "{ANN.hex()}"\n', 3),
        (f'[users]\nbob = "{BOB.hex()}" # before: "{ANN.hex()}"\nann = "{ANN.hex()}"\n', 3),
        (f'[users]\nbob = "{ANN.hex()}.{BOB.hex()}"\n"ann" = \'a#b.{ANN.hex().upper()}\'\n', 3),
        (f'\nusers = {{ bob = "{BOB.hex()}", ann = "{ANN.hex()}" }}', 2),
        (f'\r\nusers.ann = "{ANN.hex()}"\r\n', 2),
    ],
)
def test_which_line_names_a_user(text: str, line: int) -> None:
    policy, found = parse(Path("policy.toml"), text.encode())
    assert found == []
    assert policy.users[ANN].decide(NOW).by == policy.where(policy.users[ANN]) == f"policy.toml:{line}"


def test_the_lines_of_thousands_are_found_at_once() -> None:
    """`decide` is asked all the time, and a gateway must start."""
    text = "[users]\n" + "".join(f'u{number} = "{number:064x}"\n' for number in range(10_000))
    policy, found = parse(Path("policy.toml"), text.encode())
    assert found == []
    assert policy.users[(9_999).to_bytes(32)].decide(NOW).by == "policy.toml:10001"


def test_a_key_in_escapes_has_the_file_only() -> None:
    policy, found = parse(Path("policy.toml"), f'[users]\nann = "\\u0030{ANN.hex()[1:]}"\n'.encode())
    assert found == []
    assert policy.users[ANN].decide(NOW).by == "policy.toml"


def test_a_grant_that_expires_takes_what_it_gave_and_no_more() -> None:
    policy, _ = parse(Path("policy.toml"), RIGHT.encode())
    autumn, later = (
        datetime(year, month, 1, tzinfo=UTC).timestamp() for year, month in ((2026, 9), (2027, 1))
    )
    decision = policy.users[ANN].decide(autumn)
    assert decision.grant is not None
    assert len(decision.grant.targets) == 2
    assert decision.grant.rate == 10_000_000
    assert policy.users[ANN].decide(later).code == RefusalCode.EXPIRED


@pytest.mark.parametrize("to", ["", 'to = ["lan"]', 'to = ["10.9.9.9", "lan"]'])
def test_all_that_is_served(to: str) -> None:
    text = f'[users]\nann = "{ANN.hex()}"\n[[grants]]\nusers = ["ann"]\n{to}\n'
    policy, found = parse(Path("policy.toml"), text.encode())
    assert found == []
    grant = policy.users[ANN].decide(NOW).grant
    assert grant is not None and grant.served
    assert len(grant.targets) == (1 if "10.9.9.9" in to else 0)


@pytest.mark.parametrize("text", ["", "# nothing\n", "[users]\n", "\ufeff"[:0]])
def test_an_empty_one_names_nobody(text: str) -> None:
    policy, found = parse(Path("policy.toml"), text.encode())
    assert (policy.users, found) == ({}, [])


USERS = f'[users]\nann = "{ANN.hex()}"\n'


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[users\n", 1, "Expected ']'"),
        ('[users]\nann = "', 2, "nterminated"),
        ("[users]\na = 1\na = 2\n", 3, "overwrite"),
        ("\n\n[guests]\n", 3, "unknown section 'guests'"),
        ("guests = 1\n", 1, "unknown section 'guests'"),
        ("users = 3\n", 1, "users is a table"),
        ("[users]\nann = 3\n", 2, "ann is not a key"),
        ('[users]\nann = ".*"\n', 2, "'.*' is not an NKN address"),
        (f'{USERS}"a b" = "{BOB.hex()}"\n', 3, "'a b' is not a name"),
        (f'{USERS}\n# again\nbob = "{ANN.hex()}"\n', 5, "bob has the same key as ann"),
        (f'{USERS}[groups]\nstaff = ["ann",\n  "zoe",\n]\n', 5, "there is no 'zoe' under [users]"),
        (f'{USERS}[groups]\nstaff = "ann"\n', 4, "staff is a list of users"),
        (f"{USERS}[groups]\nstaff = [3]\n", 4, "3 is not a text in quotes"),
        ('[services]\nllm = "192.168.1.999:80/tcp"\n', 2, "'192.168.1.999:80/tcp' is not a target"),
        ('[services]\nweb = ["10.0.0.1:80/tcp", "10.0.0.1:80"]\n', 2, "add /tcp or /udp"),
        ("[services]\nweb = 80\n", 2, "web is a target, or a list of them"),
        ('[services]\nlan = "10.0.0.1"\n', 2, "'lan' means all that is served"),
        ("grants = 3\n", 1, "write [[grants]]"),
        (f'{USERS}[grants]\nusers = ["ann"]\n', 3, "write [[grants]]"),
        (f"{USERS}[[grants]]\n", 3, "for whom?"),
        (f'{USERS}[[grants]]\nusers = ["ann"]\nuser = ["ann"]\n', 5, "unknown field 'user'"),
        (f'{USERS}[[grants]]\nusers = "ann"\n', 4, "users is a list of users"),
        (f'{USERS}[[grants]]\ngroups = ["staff"]\n', 4, "there is no 'staff' under [groups]"),
        (f'{USERS}[[grants]]\nusers = ["ann"]\nto = "lan"\n', 5, "to is a list"),
        (f'{USERS}[[grants]]\nusers = ["ann"]\nto = []\n', 5, "an empty list grants nothing"),
        (f'{USERS}[[grants]]\nusers = ["ann"]\nto = ["llm"]\n', 5, "there is no 'llm' under [services]"),
        (
            f'{USERS}[[grants]]\nusers = ["ann"]\nto = [\n  "10.0.0.1",\n  "10.0.0.0/8x",\n]\n',
            7,
            "not a target",
        ),
        (f'{USERS}[[grants]]\nusers = ["ann"]\nexpires = "2027-01-01"\n', 5, "no quotes"),
        (f'{USERS}[[grants]]\nusers = ["ann"]\nexpires = 2027-01-01T00:00:00\n', 5, "with its zone"),
        (f'{USERS}[[grants]]\nusers = ["ann"]\nexpires = 7\n', 5, "expires is a date"),
        (f'{USERS}[[grants]]\nusers = ["ann"]\nrate = 50\n', 5, "rate is a text in quotes: 50mbit"),
        (f'{USERS}[[grants]]\nusers = ["ann"]\nquota = "much"\n', 5, "'much' is not a size"),
        (f'grants = [{{users = ["ann"]}}, {{to = ["lan"]}}]\n{USERS}', 1, "for whom?"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, reason: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert found[0][0] == line
    assert reason in found[0][1]


def test_all_that_is_wrong_is_told_in_order_and_not_without_bound() -> None:
    text = '[services]\nllm = "x"\n[users]\nann = 3\n' + '[[grants]]\nusers = ["ann"]\nto = ["llm"]\n'
    # What follows from what was told already is not told as well.
    assert [line for line, _ in problems(text)] == [2, 4]
    text = "[users]\n" + "".join(f'user{number} = "x"\n' for number in range(100))
    assert [line for line, _ in problems(text)] == list(range(2, 2 + MAX_PROBLEMS))


def test_too_large_too_many_and_no_text() -> None:
    assert parse(Path("p"), b"#" * (MAX_FILE_BYTES + 1))[1][0].reason.startswith("larger than")
    assert parse(Path("p"), b"# a\n\xff\n")[1] == [Problem(2, "not UTF-8")]
    targets = ", ".join(f'"10.0.{number // 250}.{number % 250 + 1}"' for number in range(MAX_TARGETS + 1))
    [(line, reason)] = problems(f'{USERS}[[grants]]\nusers = ["ann"]\nto = [{targets}]\n')
    assert (line, f"more than {MAX_TARGETS} targets" in reason) == (2, True)


def test_the_file_and_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    assert load(path).users == {}
    path.write_text(RIGHT)
    path.chmod(0o644)
    policy = load(path)
    bob = policy.find_name("bob")
    assert bob is not None and bob.key == BOB
    assert policy.where(bob) == f"{path}:8"
    assert policy.find_name("zoe") is None
    path.write_text("[users]\nann = 3\nbob = 4\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [f"{path}:2", f"{path}:3"]


def test_one_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(RIGHT)
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="others may write it; run: chmod go-w"):
        load(path)


@pytest.mark.netns  # only root gives a file away
@pytest.mark.parametrize(
    ("owner", "reader", "accepted"),
    [(0, 0, True), (0, 12345, True), (12345, 12345, True), (12345, 0, False), (12345, 54321, False)],
)
def test_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, reader: int, accepted: bool
) -> None:
    """Its owner may write it whatever its mode says."""
    path = tmp_path / "policy.toml"
    path.write_text(RIGHT)
    os.chown(path, owner, owner)
    monkeypatch.setattr(os, "geteuid", lambda: reader)
    if accepted:
        assert load(path).users
    else:
        with pytest.raises(ConfigError, match=f"belongs to user {owner}, .*; run: chown root {path}"):
            load(path)


def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path)


def test_the_example_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/permission.md").read_text()
    example = text.partition("```toml\n")[2].partition("```")[0]
    policy, found = parse(Path("policy.toml"), example.encode())
    assert found == []
    assert {user.name: len(user.grants) for user in policy.users.values()} == {"ann": 2, "bob": 1}
