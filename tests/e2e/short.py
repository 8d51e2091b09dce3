"""A short experiment on a real etcd, to be broken by tests, and how a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from chaos.options import Options
from chaos.preflight import refuse_what_cannot_run
from chaos.session import RunResult, listening, run_set
from chaos.spec import load_text
from chaos.stage import Flags

ROOT = Path(__file__).resolve().parents[2]

TEXT = """
chaosgate: 1
name: {name}
stack:
  etcd: {{members: 3, fsync: false, election: 500ms}}
load:
  kv: {{keys: 20, mix: {{put: 45%, get: 40%, cas: 5%, once: 10%}}, pinned: 50%{kv}}}
  rate: {rate}
  users: 20
  timeout: 400ms
  shape: [{{ramp: 500ms}}, {{hold: 60s}}]
warm-up: 500ms
duration: {duration}
{steps}
gates:
{gates}
seed: 3
"""

KILL = "steps:\n  - {name: kill, at: 2s, for: 2s, on: leader, fault: kill}"


def text(
    *,
    name: str = "short",
    steps: str = KILL,
    gates: str = "  - acknowledged-writes\n  - linearizable",
    duration: str = "8s",
    kv: str = "",
    rate: str = "200/s",
) -> str:
    """Return the file's text."""
    return TEXT.format(name=name, steps=steps, gates=gates, duration=duration, kv=kv, rate=rate)


def run(runs: Path, yaml: str, **options: object) -> RunResult:
    """Run it in this process, so that a test can break a part of it; the recording stays below `runs`."""
    experiment = load_text(yaml, "short.yaml")
    chosen = Options(runs=runs, **options)
    refuse_what_cannot_run([experiment], chosen)
    flags = Flags()
    with listening(flags):
        (result,) = run_set([experiment], chosen, flags=flags, watch=lambda _: None)
    return result


def command(*arguments: object, **popen: object) -> subprocess.Popen[str]:
    """Start `chaosgate ARGUMENTS` as a user would, in a process of its own."""
    argv = [sys.executable, "-m", "chaos.cli", *map(str, arguments)]
    return subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **popen
    )
