"""A node's processes as the kernel shows them: there or not, stopped or not, using the CPU or not.

pid_lab ─▶ /proc/<pid>/stat: state (R S T Z), utime + stime        proc(5)
pid_lab ─▶ /proc/<pid>/net/tcp: what the node listens on           proc(5)
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.agent.ground import inside

if TYPE_CHECKING:
    from chaos.agent.ground import Place

TCP_LISTEN = "0A"
CHECK_S = 0.4
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def stat(pid: int) -> dict[str, Any] | None:
    """Return {"state", "cpu_ns"} of a process of this PID namespace; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return {"state": fields[0], "cpu_ns": (int(fields[11]) + int(fields[12])) * TICK_NS}


def listening(pids: list[int]) -> list[int]:
    """Return the TCP ports on which the network namespace of these processes can be reached from outside."""
    for pid in pids:
        try:
            tables = [Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii") for name in ("tcp", "tcp6")]
        except OSError:
            continue
        return sorted({port for table in tables for port in listening_ports(table)})
    return []


def listening_ports(table: str) -> list[int]:
    """Return the ports of listeners that are not bound to loopback, from the text of /proc/net/tcp or tcp6."""
    rows = [line.split() for line in table.splitlines()[1:]]
    local = [row[1] for row in rows if len(row) > 3 and row[3] == TCP_LISTEN]
    pairs = [(text.rpartition(":")[0], int(text.rpartition(":")[2], 16)) for text in local]
    return [port for address, port in pairs if not _is_loopback(address)]


def _is_loopback(address: str) -> bool:
    return address.endswith("7F") if len(address) == 8 else address == "00000000000000000000000001000000"


def check_port(source: Place, sink: Place, port: int) -> dict[str, Any]:
    """Connect from one node to another's port, say something, wait for any answer.

    "outcome": refused | no connection | accepted (and silent) | answered. Any bytes, or the end of the
    connection, are an answer: somebody's program read our line.
    """
    began_ns = time.monotonic_ns()
    with inside(source.netns):
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with stream:
        stream.settimeout(CHECK_S)
        outcome = _converse(stream, (sink.address, port))
    return {"port": port, "outcome": outcome, "at_ns": began_ns, "took_ns": time.monotonic_ns() - began_ns}


def _converse(stream: socket.socket, address: tuple[str, int]) -> str:
    try:
        stream.connect(address)
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "no connection"
    try:
        stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
        stream.recv(1)
    except TimeoutError:
        return "accepted"
    except OSError:
        return "answered"
    return "answered"
