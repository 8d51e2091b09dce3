"""How a lab is spoken to: one JSON object a line, over unix sockets in the lab's folder. Standard library only.

    controller ─┐   run/lab.sock     ┌─ lab init (PID 1 of the lab): which nodes have power
    agent      ─┴──▶ run/<node>.sock ┴─ node init (PID 1 of the node): which processes run

One request a connection; the answer is {"ok": true, …} or {"error": "a sentence"}. Times are ns of CLOCK_MONOTONIC.

Ops of a node (its socket is gone while it has no power):

start     {"process": {name, argv, env, cwd, log}} → {"process": row}; refused while one of that name runs
signal    {"name": "etcd" or "" for all, "signal": "KILL" | "STOP" | "CONT" | "TERM" | "INT" | "HUP", "lasting": false}
          → {"signalled": [name, …]}: to the process group of each that runs. "lasting": neither revive nor boot
          start it again.
revive    {"name": "" for all} → {"revived": [name, …]}: start again, by its recorded command, what a signal op
          killed; nothing happens to what runs, and to what ended by itself or was ended for good
ps        {} → {"processes": [row, …]}
stop_all  {} → {}: SIGSTOP to every process of the node, forks and daemons included; its init goes on answering
cont_all  {} → {}: SIGCONT to all, but those that a signal op stopped
row       {name, pid (in the node), pid_lab (in the lab), pid_host (the controller's), started_ns, starts, exit_code
          (null: runs; negative: ended by that signal), ended_ns, stopped (by SIGSTOP or frozen), killed (by a signal
          op, and not started since), node}

Ops of the lab:

nodes     {} → {"nodes": {name: {pid (of its init, in the lab), up, down_ns, address, port, netns (path, in the lab's
          /proc), freezer (path of cgroup.freeze, or null)}}}
ps        {} → {"processes": [row, …]} of all nodes, those without power too
poweroff  {"node": name} → {"ended_ns": t}: its bridge port goes down, so that nobody hears a RST; then its init
          is killed, and with it every process of the node, before the answer. Nothing happens to a node that is off
boot      {"node": name} → {"booted": [name, …], "failed": {name: why}}: a fresh init; starts again what ran when the
          power was lost; port up. Nothing happens to a node that is on
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Handle = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_REQUEST_BYTES = 1 << 20
_PATIENCE_S = 1.0  # with an asker that connects and says nothing; an init has others to serve


def disk(lab: str | Path, node: str) -> tuple[str, str]:
    """Return the folder of a node's files, and the control socket of what serves them, if anything of ours does."""
    return str(Path(lab, "nodes", node)), str(Path(lab, "run", f"{node}.disk"))


def call(socket_path: str | Path, request: Mapping[str, Any], timeout_s: float = 10.0) -> dict[str, Any]:
    """Ask one thing and return the answer without its "ok".

    Raises TargetError when nobody listens, when there is no answer within `timeout_s`, and for an {"error": …}.
    """
    path = Path(socket_path)
    asked = f"{path.stem}: {request.get('op')}"
    try:
        answer = _exchange(path, request, timeout_s)
    except TimeoutError as error:
        raise TargetError(f"{asked}: no answer within {timeout_s} s") from error
    except (OSError, ValueError) as error:
        raise TargetError(f"{asked}: nobody answers at {path} ({error}); has the node lost its power?") from error
    if "error" in answer:
        raise TargetError(f"{asked}: {answer['error']}")
    answer.pop("ok", None)
    return answer


def _exchange(path: Path, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as asker, short(path) as address:
        asker.settimeout(timeout_s)
        asker.connect(address)
        asker.sendall(json.dumps(request).encode() + b"\n")
        with asker.makefile("rb") as lines:
            answer = json.loads(lines.readline())
    if not isinstance(answer, dict):
        raise ValueError(f"not an object: {answer!r}")  # noqa: TRY004 - text is wrong, not a caller
    return answer


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """Yield a name for `path` that fits into the 108 bytes of a sockaddr_un, however deep the folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at `path`, in place of one that a dead init left there."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    with short(path) as address:
        server.bind(address)
    server.listen(64)
    return server


def answer(server: socket.socket, handle: Handle) -> None:
    """Serve the next asker of a listening socket: one request, one answer."""
    connection, _ = server.accept()
    with connection:
        connection.settimeout(_PATIENCE_S)
        reply = json.dumps(_reply(connection, handle)).encode() + b"\n"
        with contextlib.suppress(OSError):  # the asker went away: what was done is done
            connection.sendall(reply)


def _reply(connection: socket.socket, handle: Handle) -> Mapping[str, Any]:
    try:
        with connection.makefile("rb") as lines:
            return {"ok": True, **handle(json.loads(lines.readline(_REQUEST_BYTES)))}
    except TargetError as refusal:
        return {"error": str(refusal)}
    except Exception as error:  # noqa: BLE001 - an init that dies of a bad request takes its node with it
        return {"error": f"{type(error).__name__}: {error}"}
