"""A cluster that stays: a process of its own holds it until it is told to end, and a file says where it is.

    chaosgate lab up ──starts──▶ keeper ──holds──▶ cluster          <labs>/<id>/lab.json, kubeconfig
         ◀── {"pid"} … {"up"} ────┘ ▲
    chaosgate lab down ──SIGTERM────┘                               SIGKILL: the kernel ends the cluster with it

`python -m chaos.targets.kubernetes.lab.keeper {"nodes", "zones", "images", "base"}` speaks JSON lines until it is up.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos import errors
from chaos.environment import of_children
from chaos.errors import ChaosgateError, TargetError
from chaos.targets.netns.launch import readable
from chaos.targets.netns.sweep import held_labs, is_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

STATE = "lab.json"
_DOWN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A cluster that stays. `pid` is its keeper's; `zones` maps nodes to theirs, "" for none."""

    id: str
    pid: int
    kubeconfig: str
    version: str
    zones: Mapping[str, str]
    began_s: float  # since 1970

    @property
    def lives(self) -> bool:
        """Whether its keeper holds it."""
        return self.id in held_labs(living=True)


def keep(base: Path, *, nodes: int, zones: Sequence[str], images: Sequence[Path], say: Callable[[str], None]) -> Kept:
    """Start a keeper and wait until its cluster is up; whatever ends the wait before that ends the keeper, too."""
    asked = {"base": str(base), "nodes": nodes, "zones": list(zones), "images": [str(i.absolute()) for i in images]}
    with subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps(asked)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=of_children(PYTHONPATH=str(Path(__file__).parents[4])),
        start_new_session=True,  # a Ctrl-C is ours to answer, and the end of this terminal not its end
    ) as starter:
        assert starter.stdout is not None
        assert starter.stderr is not None
        pid, told = 0, {}
        try:
            for line in starter.stdout:
                told = json.loads(line)
                pid = told.get("pid", pid)
                if "up" in told:
                    return Kept(**told["up"])
                if "error" in told:
                    break
                if "say" in told:
                    say(told["say"])
        except BaseException:  # also Ctrl-C: no half-built cluster may stay
            if pid:
                end(pid)
            raise
        said = starter.stderr.read().strip()[-2000:]
    raise _reason(told, said)


def _reason(told: Mapping[str, str], said: str) -> ChaosgateError:
    """Return what a keeper could not do, as what it is."""
    if "error" not in told:
        return TargetError(f"the lab's keeper ended: {said or 'it said nothing'}")
    kind: type[ChaosgateError] = getattr(errors, told["kind"])
    return kind(told["error"])


def end(pid: int) -> None:
    """Tell a keeper to end, and wait until it has; TargetError if it does not."""
    try:
        keeper = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(keeper, signal.SIGTERM)
        if not readable(keeper, _DOWN_S):
            raise TargetError(f"the lab's keeper, pid {pid}, is still there {_DOWN_S:.0f} s after SIGTERM")
    except ProcessLookupError:
        return
    finally:
        os.close(keeper)


def kept(base: Path) -> list[Kept]:
    """Return the clusters below `base`, the oldest first, those whose keeper died included."""
    files = [path for path in base.glob(f"*/{STATE}") if is_ours(path.parent)]
    found = []
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # just ended
            found.append(Kept(**json.loads(file.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda one: one.began_s)


def take_down(base: Path, one: Kept) -> None:
    """End a cluster that stays, with all that it left; TargetError if something of it is still there."""
    end(one.pid)
    if (base / one.id).exists():
        raise TargetError(f"lab {one.id}: its keeper has ended and left {base / one.id}; `chaosgate heal` tries again")


# ---------------------------------------------------------------- the keeper


def main(asked: Mapping[str, Any]) -> int:
    """Boot a cluster, tell where it is, hold it until SIGTERM; return the exit code."""
    from chaos.targets.kubernetes.lab.cluster import Cluster  # noqa: PLC0415 - what only the keeper needs
    from chaos.targets.kubernetes.lab.programs import VERSION  # noqa: PLC0415

    asked_to_end = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    for number in asked_to_end:
        signal.signal(number, _leave)
    _tell(pid=os.getpid())
    base = Path(asked["base"])
    images = [Path(image) for image in asked["images"]]
    try:
        with Cluster.open(
            base=base,
            nodes=asked["nodes"],
            zones=asked["zones"],
            images=images,
            say=lambda text: _tell(say=text),
        ) as cluster:
            here = Kept(
                id=cluster.lab.id,
                pid=os.getpid(),
                kubeconfig=str(cluster.kubeconfig),
                version=VERSION,
                zones=cluster.layout.zones,
                began_s=time.time(),
            )
            _note(cluster.lab.folder, here)
            _tell(up=asdict(here))
            _be_silent(cluster.lab.folder / "logs" / "keeper.log")
            while True:
                signal.pause()
    except ChaosgateError as error:
        _tell(error=str(error), kind=type(error).__name__)
        return error.exit_code
    except SystemExit as told_to:
        return int(told_to.code or 0)


def _leave(number: int, _frame: object) -> None:
    """End in order: one signal is enough, and a second must not interrupt the end."""
    for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _note(folder: Path, here: Kept) -> None:
    """Write it down whole or not at all."""
    part = folder / f".{STATE}"
    part.write_text(json.dumps(asdict(here), indent=1) + "\n", encoding="utf-8")
    part.replace(folder / STATE)


def _tell(**words: Any) -> None:
    try:
        os.write(1, json.dumps(words).encode() + b"\n")
    except BrokenPipeError:  # who started us is gone, and nobody else knows of us
        raise SystemExit(1) from None


def _be_silent(log: Path) -> None:
    """Let go of who started us, and write what there is to say to a log."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)


if __name__ == "__main__":
    if os.fork():  # who started us need not wait for the end of a keeper
        os._exit(0)
    sys.exit(main(json.loads(sys.argv[1])))
