"""What a generator process (or the observer beside them) is told, first on its standard input, and how the two talk.

    driver ─▶ {"load": …, "endpoints": …, "index": 0, …}      child ─▶ {"say": "ready"}
           ─▶ {"order": "go", "epoch_ns": …}                         ─▶ {"say": "status", …} each second
           ─▶ {"order": "drain", "timeout_s": …}                     ─▶ {"say": "drained"}
           ─▶ {"order": "read back", "timeout_s": …}                 ─▶ {"say": "read back", "complete": …}
           ─▶ {"order": "close"}                                     ─▶ {"say": "closed"}

Passwords travel here and not in arguments, which every user of the machine can read. End of file on the standard
input means that the driver is gone: the child writes what it holds and ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.model import Load, LoadStage, to_json
from chaos.stacks.etcd.access import OPEN, Access, Tls

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The part of process `index` of `load.processes` in a load."""

    load: Load
    endpoints: Mapping[str, str]
    folder: str  # of the run; samples go to samples/ below it
    run_id: str
    seed: int
    index: int = 0
    duration_s: float | None = None  # from the epoch; None: until told to drain
    access: Access = OPEN
    observer: bool = False  # not a generator, but the process beside them

    @property
    def name(self) -> str:
        """Return the process's name; a generator's is that of samples/<name>.arrow."""
        return f"{self.load.workload}-{'observer' if self.observer else self.index}"

    @property
    def samples(self) -> Path:
        """Return the folder of the samples."""
        return Path(self.folder) / "samples"

    @property
    def users(self) -> int:
        """Return how many of the load's users are in this process."""
        return len(range(self.index, self.load.users, self.load.processes))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        data: dict[str, Any] = to_json(self)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Assignment:
        """Read it back; TypeError for unknown fields."""
        load = dict(data["load"])
        load["stages"] = tuple(LoadStage(**stage) for stage in load["stages"])
        access = dict(data["access"])
        access["tls"] = Tls(**access["tls"]) if access["tls"] else None
        return cls(**{**data, "load": Load(**load), "access": Access(**access)})
