"""Sentences to vectors with a real model that needs no download: wordllama's l2_supercat.

32,000 token vectors of 256 numbers, 16 MB, inside its wheel on PyPI. A text's embedding is the mean of its
tokens' vectors, scaled to length 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import wordllama

Vectors = npt.NDArray[np.float32]

MODEL = "wordllama-l2-supercat"
# The model was trained so that the first 64 and 128 numbers are an embedding too (Matryoshka).
DIMENSIONS = (64, 128, 256)


class Embedder:
    """wordllama's tokenizer and token vectors."""

    def __init__(self) -> None:
        # Both files are in the wheel. It looks for the tokenizer in a folder of another name, and would
        # download it; named as the cache, its own folder has everything.
        model = wordllama.WordLlama.load(
            cache_dir=Path(wordllama.__file__).parent, dim=DIMENSIONS[-1], disable_download=True
        )
        self._vectors: Vectors = model.embedding
        self._tokenizer = model.tokenizer
        self._tokenizer.no_padding()

    @property
    def vocabulary(self) -> int:
        """The number of tokens; token numbers are below it."""
        return len(self._vectors)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The token numbers of each text."""
        return [
            encoded.ids for encoded in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]

    def embed(self, inputs: Sequence[Sequence[int]], dimensions: int) -> Vectors:
        """The embedding of each token sequence, a row of `dimensions` numbers with length 1."""
        means = np.stack([self._vectors[list(tokens), :dimensions].mean(axis=0) for tokens in inputs])
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        scaled: Vectors = (means / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
        return scaled
