"""A fresh network namespace a test, and no name servers but its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nconnect.host import networks

from .namespaces import Netns


@pytest.fixture
def netns() -> Iterator[Netns]:
    """The test runs in this namespace, with loopback up and nothing else."""
    with Netns() as namespace, namespace.inside():
        yield namespace


@pytest.fixture(autouse=True)
def resolver_files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """In the place of this machine's resolv.conf and of systemd-resolved's; there are none."""
    directory = tmp_path_factory.mktemp("resolver")
    paths = [directory / "resolv.conf", directory / "uplinks.conf"]
    monkeypatch.setattr(networks, "RESOLVER_FILES", paths)
    return paths
