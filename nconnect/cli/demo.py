"""`nconnect demo`: the whole way on one machine, in network namespaces."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect demo`."""
    parser.add_argument(
        "--llm", action="store_true", help="A language model that streams tokens, instead of embeddings."
    )
    parser.add_argument("--keep", action="store_true", help="Leave it running, and print commands to try.")
    parser.add_argument("--remove", action="store_true", help="Remove what --keep left running.")


def command(llm: bool, keep: bool, remove: bool) -> int:
    """Show nconnect at work: a user, an NKN network, a provider and its LAN, all on this machine."""
    from nconnect.demo.demo import DemoOptions, run_demo
    from nconnect.host.privileges import require_net_admin

    require_net_admin("nconnect demo")
    return asyncio.run(run_demo(DemoOptions(llm=llm, keep=keep, remove=remove)))
