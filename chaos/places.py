"""Where chaosgate keeps things: recordings, the cache, and the folder below which labs live."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache() -> Path:
    """Return the folder of what is fetched or built once: $CHAOSGATE_CACHE, $XDG_CACHE_HOME/chaosgate, ~/.cache/…."""
    if own := os.environ.get("CHAOSGATE_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "chaosgate"


def labs() -> Path:
    """Return the folder that holds the labs of this user: $CHAOSGATE_LABS, else one in the temporary folder."""
    if own := os.environ.get("CHAOSGATE_LABS"):
        return Path(own)
    return Path(tempfile.gettempdir()) / f"chaosgate-labs-{real_uid()}"


def real_uid() -> int:
    """Return the uid outside of our own user namespace."""
    return int(os.environ.get("CHAOSGATE_REAL_UID", os.getuid()))
