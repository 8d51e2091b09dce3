"""Questions that the tests ask of a lab."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from chaos.targets.netns.lab import NodeSpec

SLEEP = ("sleep", "1000")


def nodes(*names):
    return [NodeSpec(name=name, role="member") for name in names]


def ask(lab, at, op, **more):
    return lab.node_call(at, {"op": op, **more})


def row(lab, node, name):
    return next(r for r in ask(lab, node, "ps")["processes"] if r["name"] == name)


def inside(lab, node, *argv):
    """Run a command on the node's network; return (exit code, output)."""
    with lab.spawn(node, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        out, _ = process.communicate(timeout=20)
    return process.returncode, out.decode()


def reaches(lab, source, address):
    return inside(lab, source, "ping", "-c1", "-W1", address)[0] == 0


def exists(pid):
    return Path(f"/proc/{pid}").exists()


def stopped(pid):
    return stat(pid)[0] == "T"


def stat(pid):
    """Return the fields of proc_pid_stat(5) from the state on: state, ppid, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def namespace(pid, kind):
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def own_network():
    """Return the calling thread's network namespace."""
    return str(Path("/proc/thread-self/ns/net").readlink())


def pids_in(pid_namespace):
    found = []
    for path in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            if str(path.readlink()) == pid_namespace:
                found.append(int(path.parts[2]))
        except OSError:  # ended meanwhile
            continue
    return found


as_root = os.geteuid() == 0  # test_netns_unprivileged.py is for ordinary users
