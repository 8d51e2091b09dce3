"""An experiment on a cluster with TLS and a user promotes as any other does, and leaves no secret anywhere."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.e2e import short

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(300)]

PASSWORD = "Ahorn-42-Kastanie"  # noqa: S105 — of a cluster that lives for seconds
GATES = (
    "  - acknowledged-writes\n  - linearizable\n  - replicas-equal\n  - no-unexpected-exit\n  - recovery: {limit: 5s}"
)
ATTEMPTS = 3  # "cannot tell" on a busy machine is an honest answer


def watch(process, labs: Path) -> tuple[set[bytes], set[bytes]]:
    """Return every command line of the machine while a process runs, and the private keys of the labs."""
    said, keys = set(), set()
    while process.poll() is None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                said.add(path.read_bytes())
            except OSError:  # it has ended
                continue
        keys |= {path.read_bytes() for path in labs.glob("*/nodes/*/tls/key.pem")}
        time.sleep(0.3)
    return said, keys


def secrets_of(key: bytes) -> list[bytes]:
    return [line for line in key.splitlines() if line and not line.startswith(b"-----")]


@pytest.mark.parametrize(
    "access",
    ["tls: true, user: root, password-env: ETCD_PASSWORD", "user: gate, password-env: GATE_PASSWORD", "tls: true"],
    ids=["tls-and-user", "user", "tls"],
)
def test_a_guarded_cluster_survives_its_leader_and_tells_no_secret(tmp_path, access):
    file, labs = tmp_path / "guarded.yaml", tmp_path / "labs"
    file.write_text(
        short.text(gates=GATES, duration="10s", rate="100/s").replace("fsync: false", f"fsync: false, {access}")
    )
    environment = {**os.environ, "CHAOSGATE_LABS": str(labs), "ETCD_PASSWORD": PASSWORD, "GATE_PASSWORD": PASSWORD}
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
    assert any(b"workloads.child" in command for command in commands)
    secrets = [PASSWORD.encode(), b"PRIVATE KEY", *(line for key in keys for line in secrets_of(key))]
    recorded = [path for path in runs.rglob("*") if path.is_file()]
    assert any(path.name == "etcd1-etcd.log" for path in recorded)
    told = [path.read_bytes() for path in recorded] + [output.encode(), *commands]
    assert [secret for secret in secrets if any(secret in text for text in told)] == []
