"""Each target for a moment with the same inputs every time, and that the fuzzer finds what is to be found."""

from __future__ import annotations

import importlib

import pytest

from . import planted, runner

SEED = 1
# All together they take some 20 s; `scripts/fuzz` is for more.
RUNS = 10_000
# Each input of this one is a whole session.
FEWER_RUNS = {"ncp-session": 500}

# What issue and documentation promise a target for.
DECODERS = {
    "batch",
    "client-message",
    "client-text",
    "control-message",
    "envelope",
    "grant-text",
    "invite",
    "journal",
    "ncp-packet",
    "node-text",
    "payload",
    "policy-file",
    "rpc-reply",
    "virtio-header",
    "wallet-file",
}


def test_every_decoder_has_a_target() -> None:
    assert set(runner.targets()) >= DECODERS


@pytest.mark.parametrize("name", runner.targets())
def test_only_documented_errors(name: str) -> None:
    outcome = runner.fuzz(runner.targets()[name], seed=SEED, runs=FEWER_RUNS.get(name, RUNS))
    assert not outcome.failed, runner.report(name, outcome)


@pytest.mark.parametrize("name", runner.targets())
def test_it_begins_with_what_the_decoder_takes(name: str) -> None:
    """Otherwise the fuzzer would see nothing but refusals."""
    target = importlib.import_module(runner.targets()[name])
    taken = 0
    for data in target.seeds():
        try:
            target.run(data)
            taken += 1
        except target.ERRORS:
            pass
    assert taken


@pytest.mark.parametrize(
    ("mistake", "sign"), [("raise", "IndexError"), ("hang!", "timeout"), ("eat!!", "out of memory")]
)
def test_a_mistake_is_found_and_its_input_shown(
    mistake: str, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planted, "seeds", lambda: [mistake.encode()])
    monkeypatch.setattr(runner, "HANG_SECONDS", 1)
    outcome = runner.fuzz(planted.__name__, seed=SEED, runs=10)
    assert outcome.failed
    assert outcome.inputs == (mistake.encode(),)
    assert sign in outcome.output
    assert f"scripts/fuzz planted --input {mistake.encode().hex()}" in runner.report("planted", outcome)


def test_an_input_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["payload", "--input", "120811223344556677881a04deadbeef"]) == 0
    assert runner.main(["payload", "--input", "ff"]) == 0
    assert capsys.readouterr().out == "taken\nDecodeError: not a Payload of a known type\n"
    with pytest.raises(IndexError):
        runner.replay(planted, b"raise")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["payload", "--runs", "100"]) == 0
    assert capsys.readouterr().out.startswith("payload: Done 100 runs")
    with pytest.raises(SystemExit):
        runner.main(["no-such-target"])
    assert "no target no-such-target; there are batch, " in capsys.readouterr().err
