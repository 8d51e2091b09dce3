"""A run in a process of its own, with folders of its own, that a test ends by force; and what must hold afterwards.

run = Ending(tmp_path, yaml, STOP_AT="cut.apply")  ─▶  run.wait()  ─▶  run.assert_killed(…) / assert_judged(…)
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Self

from chaos.cli import main
from chaos.model import EventKind, Proof
from chaos.recording import Recording
from chaos.streams import read_events
from gates.judge import read_verdict
from tests.e2e import forked
from tests.leftovers import assert_nothing_left, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.model import Event
    from gates.judge import Judgement
    from tests.leftovers import Snapshot

BEGUN_S = 60.0  # until a phase is reached, on a machine that others use too
ENDED_S = 60.0
KERNEL_S = 15.0  # for the kernel to take a whole lab
NO_YES = (11, 12)


class Ending:
    """`chaosgate run` of one experiment; everything that it makes on disk is below `folder`.

    `options` are the command's; `points` are variables of its environment, all of CHAOSGATE_….
    """

    def __init__(self, folder: Path, yaml: str, *options: str, **points: str) -> None:
        self.labs, self.temporary, self.runs = (folder / name for name in ("labs", "tmp", "runs"))
        for path in (self.labs, self.temporary, self.runs):
            path.mkdir(parents=True)
        file = folder / "ending.yaml"
        file.write_text(yaml, encoding="utf-8")
        self._own = {"CHAOSGATE_LABS": str(self.labs), "TMPDIR": str(self.temporary)}
        chosen = {f"CHAOSGATE_{name}": value for name, value in points.items()}
        forked.serve()
        self.before = snapshot(self._folders)
        self._clean = False
        environment = {**os.environ, **self._own, **chosen}
        self.process = forked.Forked("run", file, "--runs", self.runs, *options, env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        if not self._clean:  # a test has failed before it was: pytest removes the folder that names the cgroups
            self.assert_only_folders_left()
            self.heal()

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.labs, self.temporary)

    # ------------------------------------------------------------ while it goes on

    @property
    def recording(self) -> Path | None:
        """The recording's folder, once there is one."""
        return next((path for path in self.runs.iterdir() if path.is_dir()), None)

    @property
    def events(self) -> tuple[Event, ...]:
        """What has been recorded up to now."""
        return read_events(self.recording / "events.jsonl")[0] if self.recording else ()

    def await_event(self, what: str, found: Callable[[Event], bool], within_s: float = BEGUN_S) -> Event:
        """Wait for an event."""
        deadline = time.monotonic() + within_s
        while True:
            if events := [event for event in self.events if found(event)]:
                return events[0]
            assert self.process.poll() is None, f"it ended before there was {what}: {self.said()}"
            assert time.monotonic() < deadline, f"no {what} within {within_s} s"
            time.sleep(0.02)

    def await_phase(self, phase: str) -> None:
        """Wait until the run says that it is in a phase."""
        self.await_event(f"phase {phase}", lambda e: e.kind is EventKind.PHASE and e.detail == phase)

    def await_confirmed(self, step: str) -> None:
        """Wait until a fault is measured to be in force."""
        confirmed = Proof.CONFIRMED
        self.await_event(
            f"confirmation of {step}",
            lambda e: e.kind is EventKind.CONFIRM and e.step == step and e.data["proof"] == confirmed,
        )

    def pid_of(self, module: str) -> int:
        """Return the pid of the process of this run that executes a module."""
        return pid_of(module, self.before)

    # ------------------------------------------------------------ afterwards

    def wait(self, within_s: float = ENDED_S) -> int:
        """Wait until the process has ended; return its exit code."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {within_s} s; events: {self.events[-5:]}") from None

    def said(self) -> str:
        """Return all that it printed; only once it has ended."""
        return "" if self.process.stdout.closed else self.process.stdout.read()

    def heal(self) -> tuple[int, str]:
        """Run `chaosgate heal`; return its exit code and what it said."""
        return command("heal", CHAOSGATE_LABS=str(self.labs))

    def judge(self) -> tuple[int, Judgement]:
        """Judge the recording again by `chaosgate judge`; return its exit code and the judgement."""
        assert self.recording is not None
        code, _ = command("judge", str(self.recording))
        return code, read_verdict(self.recording)

    def assert_nothing_left(self, within_s: float = 3.0) -> None:
        """Compare the machine and this run's folders with what was there before."""
        assert_nothing_left(self.before, self._folders, within_s=within_s)
        self._clean = True

    def assert_only_folders_left(self) -> None:
        """Wait until the kernel has taken everything that lives: what is left are folders and cgroups, for `heal`."""
        inert = {"folders", "cgroups"}
        deadline = time.monotonic() + KERNEL_S
        while not (left := snapshot(self._folders).since(self.before)).keys() <= inert:
            assert time.monotonic() < deadline, f"left after {KERNEL_S} s, and not only {inert}: {left}"
            time.sleep(0.05)

    def assert_ended_in_order(self, code: int, step: str = "", *, word: str = "") -> None:
        """It ended by itself: nothing is left without `heal`, and its own verdict says that it can't tell.

        One of the problems is of the `step`, and `word` is among them.
        """
        self.assert_nothing_left()
        assert code in NO_YES, self.said()
        assert self.recording is not None
        judgement = read_verdict(self.recording)
        assert judgement.exit_code in NO_YES, judgement.sentence
        problems = " | ".join(judgement.verdicts[0].numbers["problems"])
        assert word in problems, problems
        assert not step or re.search(rf"\b{step}(#\d+)? (on|was|is)\b", problems), problems

    def assert_healed(self, step: str) -> None:
        """There is the proof that the step's effect is gone."""
        heals = [e.data for e in self.events if e.kind is EventKind.HEAL and e.step == step and e.data]
        assert heals, f"nothing says that {step} was healed"
        assert heals[-1]["proof"] == Proof.CONFIRMED, heals[-1]

    def assert_judged_as_cut_short(self) -> None:
        """What is recorded can be judged: it was cut short, so it can't tell."""
        assert self.recording is not None
        code, judgement = self.judge()
        assert code in NO_YES, judgement.sentence
        assert not Recording.open(self.recording).complete
        assert "the harness died" in " | ".join(judgement.verdicts[0].numbers["problems"])


def pid_of(module: str, before: Snapshot) -> int:
    """Return the pid of the one new process that executes a module; of its forks, the parent's."""
    running = re.compile(rf"(\d+) \S+( -[SP])* -m {re.escape(module)}( \d+)?")
    found = [running.fullmatch(name) for name in snapshot().since(before).get("processes", ())]
    pids = {int(match[1]) for match in found if match}
    (root,) = [pid for pid in pids if _parent(pid) not in pids]
    return root


def _parent(pid: int) -> int:
    """Return the pid of its parent (proc_pid_stat(5): the second field after the name in brackets)."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[1])


def command(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a short `chaosgate` command in this process, which saves a second of imports; return (exit code, output)."""
    kept = {name: os.environ.get(name) for name in environment}
    said = io.StringIO()
    os.environ.update(environment)
    try:
        with redirect_stdout(said):
            main(list(arguments), prog_name="chaosgate", standalone_mode=True)
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    raise AssertionError("a command ends with SystemExit")
