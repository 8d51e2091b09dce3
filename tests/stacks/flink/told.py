"""A server that gives the answers that a JobManager gave, by method and path."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

JOB = {
    "jid": "9e60",
    "name": "keyed-count",
    "state": "RUNNING",
    "timestamps": {"RUNNING": 1795252996747, "FINISHED": 0},
    "vertices": [
        {
            "id": "8045",
            "name": "Source: input[1] -> Calc[2]",
            "parallelism": 2,
            "status": "RUNNING",
            "metrics": {"read-records": 0, "write-records": 3401},
        },
        {
            "id": "b717",
            "name": "OverAggregate[5] -> Calc[6] -> counts[7]: Writer",
            "parallelism": 2,
            "status": "RUNNING",
            "metrics": {"read-records": 3399, "write-records": 7},
        },
    ],
}
SUBTASKS = {
    "8045": {"subtasks": [{"subtask": 0, "status": "RUNNING", "attempt": 5, "taskmanager-id": "taskmanager1"}]},
    "b717": {"subtasks": [{"subtask": 0, "status": "SCHEDULED", "attempt": 5, "taskmanager-id": "(unassigned)"}]},
}
CHECKPOINTS = {
    "counts": {"restored": 5, "total": 22, "in_progress": 0, "completed": 20, "failed": 2},
    "latest": {"completed": {"id": 20, "end_to_end_duration": 18}, "savepoint": None, "failed": None, "restored": None},
}
SOURCE = [
    {"id": "busyTimeMsPerSecond", "avg": 250.0},
    {"id": "backPressuredTimeMsPerSecond", "avg": 100.0},
    {"id": "Source__input[1].pendingRecords", "sum": 41.0},
]
REFUSED = {
    "errors": [
        "Internal server error.",
        (
            "<Exception on server side:\norg.apache.flink.util.FlinkException: Could not run.\n\tat org.x.Y(Y.java:1)\n"
            "Caused by: java.lang.RuntimeException: outer\n\t... 3 more\n"
            "Caused by: org.apache.flink.table.api.ValidationException: Table 'inptu' not found; is it misspelt?\n"
        ),
    ]
}
ANSWERS: Mapping[str, Any] = {
    "GET /config": {"flink-version": "2.3.0"},
    "GET /taskmanagers": {"taskmanagers": [{"id": "taskmanager1"}, {"id": "taskmanager2"}]},
    "GET /overview": {"taskmanagers": 2, "slots-total": 4, "slots-available": 2, "flink-version": "2.3.0"},
    "GET /jobs/overview": {"jobs": [{"jid": "9e60", "name": "keyed-count", "state": "RUNNING", "start-time": 7}]},
    "GET /jobs/9e60": JOB,
    "GET /jobs/9e60/checkpoints": CHECKPOINTS,
    "GET /jobs/9e60/metrics": [{"id": "numRestarts", "value": "3"}],
    **{f"GET /jobs/9e60/vertices/{vertex}": said for vertex, said in SUBTASKS.items()},
    "GET /jobs/9e60/vertices/8045/subtasks/metrics": SOURCE,
    "GET /jobs/9e60/vertices/b717/subtasks/metrics": [],
    "GET /jobs/9e60/savepoints/made": {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/s"}},
    "GET /jobs/9e60/savepoints/waits": {"status": {"id": "IN_PROGRESS"}, "operation": None},
    "GET /jobs/9e60/savepoints/fails": {
        "status": {"id": "COMPLETED"},
        "operation": {"failure-cause": {"stack-trace": "a.B: outer\nCaused by: a.b.CheckpointException: declined\n"}},
    },
    "POST /jars/upload": {"filename": "/web/0871_runner.jar", "status": "success"},
    "POST /jars/0871_runner.jar/run": {"jobid": "9e60"},
    "POST /jars/refused.jar/run": (400, REFUSED),
    "POST /jars/0871_runner.jar/plan": {"plan": {"jid": "77", "nodes": []}},
    "POST /jars/refused.jar/plan": (400, REFUSED),
    "POST /jobs/9e60/stop": {"request-id": "made"},
    "GET /broken": "no JSON",
}


def _wanted(said: Any, query: str) -> Any:
    """Leave the metrics that were not asked for out of a list of them."""
    asked = parse_qs(query).get("get", [""])[0].split(",")
    return [one for one in said if one["id"] in asked] if isinstance(said, list) and asked != [""] else said


class Told:
    """Where it answers, and what it was asked: (method and path, query, body)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[tuple[str, str, bytes]] = []


@contextlib.contextmanager
def told(answers: Mapping[str, Any] = ANSWERS) -> Iterator[Told]:
    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server_told.asked.append((f"{self.command} {path}", query, body))
            said = _wanted(answers.get(f"{self.command} {path}", (404, {"errors": ["Not found: " + path]})), query)
            status, data = said if isinstance(said, tuple) else (200, said)
            text = data.encode() if isinstance(data, str) else json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815 — the library calls them so

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server_told = Told(f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server_told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
