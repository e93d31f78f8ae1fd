"""A policy file: whatever is in it, users and their grants, or what is wrong with a line that it has."""

from __future__ import annotations

from pathlib import Path

from nconnect.permission.policy_file import MAX_PROBLEMS, parse

ERRORS = ()
KEYS = [bytes([number]).hex() * 32 for number in range(3)]


def seeds() -> list[bytes]:
    users = f'[users]\nann = "{KEYS[0]}"\nbob = "x.{KEYS[1]}"\n'
    return [
        users.encode(),
        (
            '[services]\nllm = "192.168.1.20:11434/tcp"\nweb = ["10.0.0.1:80/tcp", "[fd00::20]:80/tcp"]\n'
            f'{users}[groups]\nstaff = ["ann", "bob"]\n[[grants]]\ngroups = ["staff"]\n'
            'to = ["llm", "lan", "192.168.1.0/24"]\nexpires = 2027-01-01T00:00:00Z\nrate = "50mbit"\n'
            '[[grants]]\nusers = ["ann"]\nexpires = 2027-01-01\nquota = "100GB"\n'
        ).encode(),
        b'[users]\nann = 3\nann.b = 4\n[[users]]\ngrants = [{to = ["x"]}]\n',
    ]


def run(data: bytes) -> None:
    policy, problems = parse(Path("policy.toml"), data)
    assert len(problems) <= MAX_PROBLEMS
    for problem in problems:
        assert 1 <= problem.line <= data.count(b"\n") + 1
        assert problem.reason
    for key, user in policy.users.items():
        assert len(key) == 32
        for now in (0.0, 1.8e9, 1e12):
            decision = user.decide(now)
            assert (decision.grant is None) == bool(decision.code)
