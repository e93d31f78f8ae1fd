"""`nconnect demo`: the whole way on one machine, in network namespaces."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer


def command(
    llm: Annotated[
        bool, typer.Option("--llm", help="A language model that streams tokens, instead of embeddings.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running, and print commands to try.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what --keep left running.")] = False,
) -> None:
    """Show nconnect at work: a user, an NKN network, a provider and its LAN, all on this machine."""
    from nconnect.demo.demo import DemoOptions, run_demo
    from nconnect.host.privileges import require_net_admin

    require_net_admin("nconnect demo")
    raise typer.Exit(asyncio.run(run_demo(DemoOptions(llm=llm, keep=keep, remove=remove))))
