"""What a run acts upon, what stops it, and what a watcher of it sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from chaos.model import LoadStatus, Reading
    from chaos.ports import Clock, LoadSource, Probe, Stack, Target
    from chaos.recording import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a watcher of the run sees, ten times a second at most. `at_s` counts from t = 0 and is negative before."""

    experiment: str
    phase: str
    at_s: float | None = None
    duration_s: float = 0.0
    load: LoadStatus | None = None
    in_force: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything with effects that a run acts upon."""

    target: Target
    stack: Stack
    traffic: LoadSource
    recorder: Recorder
    clock: Clock
    folder: Path
    probes: Mapping[str, tuple[Probe, float]]  # name → (probe, seconds between two looks)
    compare_replicas: Callable[[], Sequence[Reading]] | None = None  # the quiet comparison, after the drain


@dataclass(slots=True)
class Flags:
    """Set from signal handlers and other threads, read by the deciding thread."""

    interrupted: str = ""  # the signal's name
    wakers: list[Callable[[], None]] = field(default_factory=list)
