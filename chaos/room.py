"""Whether recordings will fit on their disk: what the plans expect, against what is free.

A rate that is asked for is known, so what it needs is refused where it can't be had. Where a calibration or the stack
itself says the rate, a machine LEAST times slower than assumed is given the benefit of the doubt.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

from chaos.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.plan import Timeline

CAP_BYTES = 4 << 30  # of one recording
FREE_BYTES_MIN = 256 << 20  # of the disk, stay free whatever is recorded
LEAST = 10


def size(number: float) -> str:
    """Return bytes as people read them: "21 MB", "1.4 GB"."""
    for unit, least in (("TB", 1e12), ("GB", 1e9)):
        if number >= least:
            return f"{number / least:,.3g} {unit}" if number < 1000 * least else f"{number / least:,.0f} {unit}"
    return f"{max(1, round(number / 1e6))} MB"


def deepest(folder: Path) -> Path:
    """Return what of a path is there. Raises OSError where no such path can be, as with too long a name."""
    for place in (folder.absolute(), *folder.absolute().parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(place)
            return place
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))


def free_bytes(runs: Path) -> int:
    """Return what is free for recordings in a folder that may not be there yet; UsageError if it can't be looked at."""
    try:
        return shutil.disk_usage(deepest(runs)).free
    except OSError as error:
        raise UsageError(f"--runs {runs}: {error.strerror or error}; give a folder that you may write to") from error


def least_bytes(planned: Timeline) -> float:
    """Return what a recording takes at least."""
    return planned.recording_bytes / (1 if planned.experiment.load.rate_per_s else LEAST)


def expected(planned: Timeline, runs: Path) -> str:
    """Say how large a recording gets, beside what is free for it, and what is wrong with that."""
    assumed = "" if planned.experiment.load.rate_per_s else ", at an assumed rate"
    said = f"about {size(planned.recording_bytes)}{assumed}; {size(free_bytes(runs))} are free in {runs}"
    wrong = _over_cap(planned) or _no_room([planned], runs)
    return f"{said}; TOO LARGE: {wrong}" if wrong else said


def too_large(planned: Sequence[Timeline], runs: Path) -> list[str]:
    """Return why a set's recordings can't be kept in `runs`, each with what would do; empty if they can."""
    over = [f"{one.experiment.name}: {why}" for one in planned if (why := _over_cap(one))]
    why = _no_room(planned, runs)
    return [*over, *([why] if why else [])]


def _over_cap(planned: Timeline) -> str:
    least = least_bytes(planned)
    if least <= CAP_BYTES:
        return ""
    return f"a recording of {size(least)}, and {size(CAP_BYTES)} are the most; shorten it, or lower its rate"


def _no_room(planned: Sequence[Timeline], runs: Path) -> str:
    kept = max((one.experiment.abort_when.free_disk_bytes or FREE_BYTES_MIN for one in planned), default=0)
    needed, free = sum(map(least_bytes, planned)), free_bytes(runs)
    if needed + kept <= free:
        return ""
    return (
        f"{runs}: the recordings take {size(needed)} and {size(kept)} must stay free, of {size(free)}; make room,"
        " shorten the runs, or give another --runs folder"
    )
