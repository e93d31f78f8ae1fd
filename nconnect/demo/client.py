"""What an application on the user's machine does: OpenAI's own client, pointed at a LAN address.

``python -m nconnect.demo.client --base-url http://192.168.77.20:11434/v1`` embeds a question and some
sentences and prints the nearest. Nothing in here knows of a tunnel.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import openai

from nconnect.demo.services import EmbeddingReport

QUESTION = "My kitten sleeps near the window."
SENTENCES = (
    "The cat purrs on the window sill.",
    "A dog barks at the postman.",
    "Interest rates rose by a quarter of a percent.",
    "The router forwards packets to the next hop.",
    "She baked bread with rye and honey.",
)
TIMEOUT_SECONDS = 20.0


def nearest(question: Sequence[float], sentences: Sequence[Sequence[float]]) -> list[tuple[float, int]]:
    """Cosine similarity and index of each sentence, the most similar first. All vectors have length 1."""
    scores = [sum(a * b for a, b in zip(question, sentence, strict=True)) for sentence in sentences]
    return sorted(((score, index) for index, score in enumerate(scores)), reverse=True)


def connect(base_url: str) -> openai.OpenAI:
    """A client that speaks up at the first failure."""
    return openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=TIMEOUT_SECONDS)


def peer_address(extensions: Mapping[str, Any]) -> tuple[str, int]:
    """The other end of the TCP connection that an HTTP answer came over, while that is open."""
    host, port = extensions["network_stream"].get_extra_info("server_addr")[:2]
    return host, port


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the answer came from the address in the URL."""
    parser = argparse.ArgumentParser(description="Ask an embeddings server for the nearest sentence")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--report", type=Path, help="write the figures to this file as JSON")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        with connect(options.base_url) as client:
            model = client.models.list().data[0].id
            answer = client.embeddings.with_raw_response.create(
                model=model, input=[options.question, *SENTENCES]
            )
            peer, port = peer_address(answer.http_response.extensions)
    except openai.OpenAIError as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        print(f"{options.base_url}: {error}{cause}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    question, *sentences = (entry.embedding for entry in answer.parse().data)
    ranking = nearest(question, sentences)
    print(f"“{options.question}” · {model} · {len(question)} dimensions")
    for score, index in ranking:
        print(f"  {score:5.2f}  {SENTENCES[index]}")
    asked_by = answer.headers.get("x-asked-by", "")
    print(f"answered by {peer}:{port}, which was asked by {asked_by}")
    if options.report:
        report = EmbeddingReport(seconds, peer, asked_by, SENTENCES[ranking[0][1]])
        options.report.write_bytes(msgspec.json.encode(report))
    return 0 if peer == urlsplit(options.base_url).hostname else 1


if __name__ == "__main__":
    sys.exit(main())
