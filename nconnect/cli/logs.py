"""What log lines look like. Apart, as `logging` takes time to load and short commands log nothing."""

from __future__ import annotations

import json
import logging
import time

from nconnect.cli import background

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""By how often `-v` was given."""


class TextFormatter(logging.Formatter):
    """Time (UTC), level, logger, message; what strangers said cannot steer the terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return background.clean(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (Unix seconds), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": round(record.created, 3),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
        )


def set_up(verbose: int, log_format: str) -> None:
    """Log to stderr, in the format `text` or `json`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    # Warnings of libraries about our own inputs are told by our errors already.
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logging.getLogger("nconnect").setLevel(LEVELS[min(verbose, 2)])
