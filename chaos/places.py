"""Where chaosgate keeps things: the cache, and the folder below which labs live; and where its own packages lie."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

OUR_PACKAGES = ("gates", "reports", "workloads")  # and `chaos`, of which this is a part


def package_in_the_way() -> str:
    """Return where the first package lies that would be imported in place of one of ours, as "`name` (place)"."""
    home = Path(__file__).resolve().parent.parent
    for name in OUR_PACKAGES:
        there = sys.modules.get(name)
        spec = importlib.util.find_spec(name) if there is None else there.__spec__
        origin = spec.origin if spec is not None else getattr(there, "__file__", None)
        if origin is None or Path(origin).resolve() != home / name / "__init__.py":
            return f"`{name}` ({origin or 'of unknown origin'})"
    return ""


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
