"""An experiment on a cluster with TLS and a user promotes as any other does, and leaves no secret anywhere."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.e2e import short

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(300)]

PASSWORD = f"Ahorn-{os.getpid()}-Kastanie"  # another one in a run of this test beside us
UNASKED = f"Esche-{os.getpid()}-Linde"  # of a variable that no experiment names; etcd would log it
GATES = (
    "  - acknowledged-writes\n  - linearizable\n  - replicas-equal\n  - no-unexpected-exit\n  - recovery: {limit: 5s}"
)
ATTEMPTS = 3  # "cannot tell" on a busy machine is an honest answer


def watch(process, labs: Path) -> tuple[dict[bytes, set[bytes]], set[bytes]]:
    """Return what can be seen while a process runs: the environments of every command line of the machine, and the
    private keys of the labs. Its own environment is not among them: the password was put there by who started it.
    """
    said, keys = {}, set()
    own = "".join(f"{word}\0" for word in process.args).encode()
    while process.poll() is None:
        for proc in Path("/proc").glob("[0-9]*"):
            try:
                command, environment = (proc / "cmdline").read_bytes(), (proc / "environ").read_bytes()
            except OSError:  # it has ended
                continue
            if command not in (own, b""):  # a fork shows its parent's, and nothing while it becomes another program
                said.setdefault(command, set()).add(environment)
        keys |= {path.read_bytes() for path in labs.glob("*/nodes/*/tls/key.pem")}
        time.sleep(0.1)
    return said, keys


def secrets_of(key: bytes) -> list[bytes]:
    return [line for line in key.splitlines() if line and not line.startswith(b"-----")]


@pytest.mark.parametrize(
    ("access", "variable"),
    [
        ("tls: true, user: root, password-env: ETCD_PASSWORD", "ETCD_PASSWORD"),
        ("user: gate, password-env: GATE_PASSWORD", "GATE_PASSWORD"),
    ],
    ids=["tls-and-user", "user"],
)
def test_a_guarded_cluster_survives_its_leader_and_tells_no_secret(tmp_path, access, variable):
    file, labs = tmp_path / "guarded.yaml", tmp_path / "labs"
    file.write_text(
        short.text(gates=GATES, duration="10s", rate="100/s").replace("fsync: false", f"fsync: false, {access}")
    )
    environment = {**os.environ, "CHAOSGATE_LABS": str(labs), "ETCD_UNASKED": UNASKED, variable: PASSWORD}
    for attempt in range(ATTEMPTS):
        runs = tmp_path / f"runs{attempt}"
        process = short.command("run", file, "--runs", runs, env=environment)
        with process.stdout:
            commands, keys = watch(process, labs)
            output = process.stdout.read()
        if process.returncode != 11:
            break
    assert process.returncode == 0, output
    (verdict,) = (json.loads(path.read_text()) for path in runs.glob("*/verdict.json"))
    assert verdict["decision"] == "promote"

    assert len(keys) == (4 if "tls" in access else 0)
    assert not list(labs.rglob("*.pem"))
    assert any(b"--data-dir=" in command for command in commands)
    for ours in (b"workloads.child", b"chaos.agent", b"chaos.agent.meter", b"chaos.targets.netns.init"):
        seen = [environment for command, found in commands.items() if ours in command for environment in found]
        assert any(b"PATH=" in environment for environment in seen), ours
    secrets = [PASSWORD.encode(), UNASKED.encode(), b"PRIVATE KEY", *(line for key in keys for line in secrets_of(key))]
    recorded = [path for path in runs.rglob("*") if path.is_file()]
    assert any(path.name == "etcd1-etcd.log" for path in recorded)
    assert [command for command, seen in commands.items() if any(PASSWORD.encode() in text for text in seen)] == []
    told = [path.read_bytes() for path in recorded] + [output.encode(), *commands]
    assert [secret for secret in secrets if any(secret in text for text in told)] == []
