"""Without root: `chaosgate run` as an ordinary user (uid 65534 where the tests run as root).

nobody ── chaosgate run ──▶ unshare --user --map-root-user --net ──▶ the same command, the same lab, fewer mechanisms
                                                                     SIGKILL, nft, SIGSTOP, NFQUEUE; the rest refused
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaos.recording import Recording
from chaos.stacks.etcd.versions import DEFAULT_VERSION, provide
from tests.e2e import short
from tests.leftovers import Snapshot, assert_nothing_left, snapshot

UID = 65534
AS_NOBODY = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups") if os.geteuid() == 0 else ()
OWNER = UID if AS_NOBODY else os.getuid()
INSIDE = ("unshare", "--user", "--map-root-user", "--net")
IMPORTS = "import chaos.cli, click, gevent, numpy, pyarrow"
PYTHONPATH = os.pathsep.join(dict.fromkeys([str(short.ROOT), *map(sysconfig.get_path, ("purelib", "platlib"))]))
WITHOUT_IPTABLES = ("ip", "nft", "tc", "unshare", "true")
CANNOT_TELL = 11
# On a busy machine a delay without real-time priority is not the one asked for, and the run says that it can't tell.
ATTEMPTS = 3  # a run that holds, or breaks down, is never repeated
RUN_S = 60.0

FAULTS = {
    "leader-kill": ("SIGKILL", "on: leader, fault: {kill: {down-for: 2s}}"),
    "leader-partition": ("nft", "for: 3s, on: leader, fault: {partition: {from: others}}"),
    "leader-freeze": ("SIGSTOP", "for: 2s, on: leader, fault: freeze"),
    "slow-follower": ("shaper", "for: 4s, on: follower, fault: {latency: {delay: 50ms, jitter: 10ms, direction: in}}"),
}


def can(*argv: str) -> bool:
    """Whether the ordinary user can run this."""
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*AS_NOBODY, *argv], env=environment, cwd="/", capture_output=True, check=False)
    return done.returncode == 0


@functools.cache
def interpreter() -> str | None:
    """Return a Python that this user can run with what we have installed: ours may lie in root's closed home."""
    return next((python for python in (sys.executable, "/usr/bin/python3") if can(python, "-c", IMPORTS)), None)


pytestmark = [
    pytest.mark.alone,
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(200),
    pytest.mark.skipif(
        not (shutil.which("unshare") and can(*INSIDE, "true")),
        reason="user namespaces are switched off on this machine",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An ordinary user's home: all that chaosgate may write is below it."""

    home: Path
    python: str
    before: Snapshot

    @property
    def runs(self) -> Path:
        """The folder of the recordings."""
        return self.home / "runs"

    @property
    def emptied(self) -> tuple[Path, Path]:
        """The folders in which a run leaves nothing."""
        return self.home / "labs", self.home / "tmp"

    def run(self, *yamls: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
        """Run `chaosgate run` on files with these texts, with an environment of the user's own."""
        files = [self.home / f"{number}.yaml" for number in range(len(yamls))]
        for file, yaml in zip(files, yamls, strict=True):
            file.write_text(yaml)
        labs, temporary = self.emptied
        environment = {
            **os.environ,
            "HOME": str(self.home),
            "TMPDIR": str(temporary),
            "CHAOSGATE_LABS": str(labs),
            "CHAOSGATE_CACHE": str(self.home / "cache"),
            "PYTHONPATH": PYTHONPATH,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": path,
        }
        argv = [*AS_NOBODY, self.python, "-m", "chaos.cli", "run", *map(str, files), "--runs", str(self.runs)]
        argv[0] = shutil.which(argv[0]) or argv[0]
        return subprocess.run(
            argv, cwd=self.home, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
        )

    def promoted(self, yaml: str) -> Recording:
        """Run it until it can tell, and return the recording of the run that promotes."""
        for _ in range(ATTEMPTS):
            done = self.run(yaml)
            if done.returncode != CANNOT_TELL:
                break
        assert done.returncode == 0, done.stdout + done.stderr
        newest = max(self.runs.glob("*/run.json"), key=lambda file: file.stat().st_mtime_ns)
        return Recording.open(newest.parent)


@pytest.fixture
def user():
    """A home of its own, open to its owner, with a cache that only root may write. Nothing is left in the end."""
    python = interpreter()
    if python is None:
        pytest.skip(f"no Python that uid {OWNER} can run finds our packages: ours are in a folder closed to others")
    with tempfile.TemporaryDirectory(prefix="chaosgate-user-") as name:
        home = Path(name)
        cached = home / "cache" / "etcd" / DEFAULT_VERSION
        shutil.copytree(provide(DEFAULT_VERSION).parent, cached)
        for path in (home / "labs", home / "tmp"):
            path.mkdir(mode=0o700)
        for path in (home, home / "labs", home / "tmp"):
            os.chown(path, OWNER, OWNER if AS_NOBODY else -1)
        made = User(home=home, python=python, before=snapshot([home / "labs", home / "tmp"]))
        yield made
        assert_nothing_left(made.before, made.emptied)


def yaml_of(name: str) -> str:
    """Return a short variant of the shipped experiment of this name, at a rate that NFQUEUE bears."""
    _, what = FAULTS[name]
    return short.text(name=name, steps=f"steps:\n  - {{name: fault, at: 3s, {what}}}", rate="100/s", duration="8s")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_needs_no_root(user, name):
    recording = user.promoted(yaml_of(name))
    target = recording.run["target"]
    shaper = target["shaper"]
    assert "root" not in target["capabilities"]
    assert target["freezer"] == "SIGSTOP"
    assert shaper["backend"] == ("nfqueue" if shaper["why"]["netem"] else "netem")  # the kernel's own goes first
    mechanism, _ = FAULTS[name]
    (inject,) = (event for event in recording.events if event.kind == "inject")
    assert inject.data["backends"] == [shaper["backend"] if mechanism == "shaper" else mechanism]
    assert {path.stat().st_uid for path in recording.folder.rglob("*")} == {OWNER}
    assert json.loads((recording.folder / "verdict.json").read_text())["decision"] == "promote"


def assert_refused(user, done, *words):
    """Exit 2, every word said, and nothing touched: no recording, no lab."""
    assert done.returncode == 2, done.stdout + done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert not user.runs.exists()
    assert_nothing_left(user.before, user.emptied)


def test_a_cpu_limit_is_refused_by_name_and_nothing_of_its_set_is_run(user):
    limited = yaml_of("leader-kill").replace("members: 3", "members: 3, cpu: 0.5").replace("leader-kill", "limited")
    done = user.run(yaml_of("leader-kill"), limited)
    if done.returncode != 2 and os.geteuid() != 0:
        pytest.skip("a cgroup cpu controller may be delegated to this user")
    assert_refused(user, done, "error: limited: cpu-limit on etcd1", "run as root, or leave")


def test_a_latency_without_any_shaper_is_refused_by_what_is_missing(user):
    programs = user.home / "bin"
    programs.mkdir()
    for program in WITHOUT_IPTABLES:
        (programs / program).symlink_to(shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"))
    done = user.run(yaml_of("slow-follower"), path=str(programs))
    if done.returncode == 0:
        pytest.skip("this kernel's netem needs no iptables")
    assert_refused(user, done, "error: slow-follower: shape: no shaper works here", "iptables: not found on PATH")
