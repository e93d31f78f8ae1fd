"""What one input may cost."""

from __future__ import annotations

HANG_SECONDS = 10
"""The largest inputs that libFuzzer makes take some milliseconds."""

MEMORY_MIB = 400
"""Of the whole process: interpreter, libraries and coverage take some 100."""
