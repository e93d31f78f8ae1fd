"""`nconnect id`: this machine's public key, which is its address."""

from __future__ import annotations

import json
from argparse import ArgumentParser

from nconnect.cli.options import add_json
from nconnect.places import places


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect id`."""
    add_json(parser)


def command(as_json: bool) -> None:
    """Print this machine's public key; make one at first use."""
    from nconnect.tunnel.identity import load_or_create

    key = load_or_create(places().state).public_key.hex()
    print(json.dumps({"schema": 1, "public_key": key, "address": key}) if as_json else key)
