"""What a chat application on the user's machine does: stream a language model's tokens as they come.

``python -m nconnect.demo.llm_client --base-url http://192.168.77.20:8080/v1`` prints a continuation of the
prompt word by word, and how long the first token took.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import openai

from nconnect.demo.client import connect
from nconnect.demo.services import StreamReport

PROMPT = "A private tunnel between two networks is useful because"
MAX_TOKENS = 48
# The first token's time is the median of these: the scheduler of a busy machine adds tens of milliseconds.
DEFAULT_RUNS = 3


def stream(client: openai.OpenAI, model: str, *, echo: bool) -> StreamReport:
    """Ask once, with `echo` printing each token as it arrives."""
    started = time.monotonic()
    first = 0.0
    tokens = 0
    answer = client.completions.create(
        model=model,
        prompt=PROMPT,
        max_tokens=MAX_TOKENS,
        temperature=0,
        stream=True,
        # llama.cpp's own: without it, every answer after the first would skip reading the prompt.
        extra_body={"cache_prompt": False},
    )
    if echo:
        print(PROMPT, end="", flush=True)
    for chunk in answer:
        if chunk.choices and chunk.choices[0].text:
            first = first or time.monotonic() - started
            tokens += 1
            if echo:
                print(chunk.choices[0].text.replace("\n", " "), end="", flush=True)
    if echo:
        print(flush=True)
    return StreamReport(first, time.monotonic() - started, tokens)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one answer, and time some more of the same."""
    parser = argparse.ArgumentParser(description="Stream tokens and time the first")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS)
    parser.add_argument("--report", type=Path, help="write the figures to this file as JSON")
    options = parser.parse_args(arguments)
    try:
        with connect(options.base_url) as client:
            model = client.models.list().data[0].id
            # The first answer also warms the server's caches, and is not counted.
            shown = stream(client, model, echo=True)
            timings = [stream(client, model, echo=False) for _ in range(options.runs)] or [shown]
    except openai.OpenAIError as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        print(f"{options.base_url}: {error}{cause}", file=sys.stderr)
        return 1
    if not all(timing.tokens for timing in timings):
        print(f"{options.base_url}: {model} gave no token", file=sys.stderr)
        return 1
    middle = StreamReport(
        first=statistics.median(timing.first for timing in timings),
        total=statistics.median(timing.total for timing in timings),
        tokens=timings[0].tokens,
    )
    print(
        f"{model}: first token after {middle.first * 1000:.0f} ms, "
        f"{middle.tokens / middle.total:.0f} tokens/s (median of {len(timings)} answers)"
    )
    if options.report:
        options.report.write_bytes(msgspec.json.encode(middle))
    return 0


if __name__ == "__main__":
    sys.exit(main())
