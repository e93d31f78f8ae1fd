"""`nconnect id`: this machine's public key, which is its address."""

from __future__ import annotations

import json

import typer

from nconnect.cli.options import Json
from nconnect.places import places


def command(as_json: Json = False) -> None:
    """Print this machine's public key; make one at first use."""
    from nconnect.tunnel.identity import load_or_create

    key = load_or_create(places().state).public_key.hex()
    typer.echo(json.dumps({"schema": 1, "public_key": key, "address": key}) if as_json else key)
