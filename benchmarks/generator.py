"""What the load generator can do on this machine; a number is worth nothing without the machine it was taken on.

    python benchmarks/generator.py [--seconds 5] [--only kv|records]

1. open loop against a server that does nothing but answer: highest rate kept exactly on one core, and its lag
2. the kv mix, closed loop, beside a real etcd of three members
3. puts, closed loop, two generator processes, three members
4. records into Kafka, open loop, one process, one broker: rate kept exactly, and what a core of the generator makes
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos.model import Load, LoadStage
from chaos.stacks.etcd.versions import DEFAULT_VERSION, provide
from tests.lone_broker import lone_broker
from workloads import etcd_messages as etcd
from workloads import http2
from workloads.driver import LocustWorkload
from workloads.unary import CallError, Unary

PUTS = {"mix": {"put": 1.0, "get": 0.0, "cas": 0.0, "once": 0.0}}
RECORD_RATES = (2000, 5000, 10_000, 15_000, 20_000)
RATES = (500, 1000, 2000, 3000, 4000, 5000, 6000)


# ---------------------------------------------------------------- a server that does nothing but answer


@dataclass(slots=True)
class Incoming:
    """What a connection has sent so far: first the preface, which is skipped, then frames."""

    reader: http2.FrameReader = field(default_factory=http2.FrameReader)
    skip: int = len(http2.PREFACE)


def _answer(stream: int) -> bytes:
    body = etcd.put_response(1)
    message = b"\x00" + len(body).to_bytes(4, "big") + body
    head = http2.literals([(":status", "200"), ("content-type", "application/grpc")])
    return (
        http2.pack(http2.HEADERS, http2.END_HEADERS, stream, head)
        + http2.pack(http2.DATA, 0, stream, message)
        + http2.pack(http2.HEADERS, 5, stream, http2.literals([("grpc-status", "0")]))
    )


def _serve(listener: socket.socket) -> None:
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.data is None:
                sock, _address = listener.accept()
                sock.sendall(http2.pack_settings({}))
                ready.register(sock, selectors.EVENT_READ, (sock, Incoming()))
            else:
                _take(ready, *key.data)


def _take(ready: selectors.BaseSelector, sock: socket.socket, state: Incoming) -> None:
    data = sock.recv(65536)
    if not data:
        ready.unregister(sock)
        sock.close()
        return
    state.reader.feed(data[state.skip :])
    state.skip = 0
    while frame := state.reader.next():
        if frame.kind == http2.DATA and frame.flags & http2.END_STREAM:
            sock.sendall(_answer(frame.stream))


@contextmanager
def answering_server():
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listener:
        server = multiprocessing.Process(target=_serve, args=(listener,), daemon=True)
        server.start()
        try:
            yield {"none": f"127.0.0.1:{listener.getsockname()[1]}"}
        finally:
            server.kill()
            server.join()


# ---------------------------------------------------------------- a real etcd


@contextmanager
def etcd_members(count: int = 3):
    folder, binary = Path(tempfile.mkdtemp(prefix="chaosgate-bench-")), str(provide(DEFAULT_VERSION))
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2 * count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    cluster = ",".join(f"m{n}={urls[count + n]}" for n in range(count))
    members = []
    try:
        for n in range(count):
            argv = [binary, "--name", f"m{n}", "--data-dir", str(folder / str(n)), "--log-level", "error"]
            argv += ["--listen-client-urls", urls[n], "--advertise-client-urls", urls[n], "--unsafe-no-fsync"]
            argv += ["--listen-peer-urls", urls[count + n], "--initial-advertise-peer-urls", urls[count + n]]
            members.append(subprocess.Popen([*argv, "--initial-cluster", cluster], stderr=subprocess.DEVNULL))
        endpoints = {f"etcd{n + 1}": f"127.0.0.1:{ports[n]}" for n in range(count)}
        _wait(endpoints)
        yield endpoints
    finally:
        for member in members:
            member.kill()
            member.wait()
        shutil.rmtree(folder)


def _wait(endpoints) -> None:
    for address in endpoints.values():
        for _ in range(100):
            try:
                unary = Unary(address, timeout_s=1)
                unary.call(etcd.PUT, etcd.put_request("ready", "1"))
                break
            except CallError:
                time.sleep(0.1)
            finally:
                unary.close()


# ---------------------------------------------------------------- measuring


def spawn(argv, **popen) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, **popen)


def measure(load: Load, endpoints, seconds: float) -> dict[str, float]:
    """Run a load; return what its processes said at the end, summed, and its rate."""
    folder = Path(tempfile.mkdtemp(prefix="chaosgate-bench-"))
    try:
        ramp_s = load.stages[0].ramp_s
        workload = LocustWorkload(spawn)
        generator = workload.start(load, endpoints, folder, 0, 1, "bench", duration_s=seconds + ramp_s)
        while generator.status().running:
            time.sleep(0.1)
        generator.drain()
        generator.close()
        ends = [json.loads(path.read_text()) for path in sorted((folder / "samples").glob("*-*.closed.json"))]
        return {
            "ok_per_s": sum(e["ok"] for e in ends) / (seconds + ramp_s / 2),
            "dropped": sum(e["dropped"] for e in ends),
            "errors": sum(e["failed"] + e["unknown"] for e in ends),
            "cores": sum(e["cpu_share"] for e in ends),
            "lag_p50_ms": max(e["lag_p50_s"] for e in ends) * 1e3,
            "lag_p99_ms": max(e["lag_p99_s"] for e in ends) * 1e3,
        }
    finally:
        shutil.rmtree(folder)


def show(name: str, found: dict[str, float]) -> None:
    print(
        f"{name:34} {found['ok_per_s']:8.0f}/s  {found['cores']:5.2f} cores  lag p50 {found['lag_p50_ms']:6.2f} ms"
        f"  p99 {found['lag_p99_ms']:7.2f} ms  dropped {found['dropped']}  errors {found['errors']}",
        flush=True,
    )


def show_records(rate: int, found: dict[str, float]) -> None:
    """One row: the schedule is exact if nothing was dropped and lags are short; a core makes rate / cores."""
    show(f"records into Kafka, asked {rate}/s", found)
    print(f"{'':34} {found['ok_per_s'] / found['cores']:8.0f}/s per core", flush=True)


def kv(seconds: float) -> None:
    with answering_server() as endpoints:
        for rate in RATES:
            load = Load(workload="kv", rate_per_s=float(rate), settings=PUTS, stages=(LoadStage(ramp_s=1.0),))
            show(f"open loop, 1 process, asked {rate}/s", measure(load, endpoints, seconds))
    with etcd_members() as endpoints:
        for name, settings, processes in (
            ("kv mix, closed loop, 1 process", {}, 1),
            ("kv mix, closed loop, 2 processes", {}, 2),
            ("puts, closed loop, 2 processes", PUTS, 2),
            ("puts by 20 a txn, 1 process (txns)", {**PUTS, "batch": 20}, 1),
        ):
            load = Load(workload="kv", closed_loop=True, processes=processes, settings=settings, timeout_s=2.0)
            show(name, measure(load, endpoints, seconds))


def records(seconds: float) -> None:
    with lone_broker() as broker:
        for rate in RECORD_RATES:
            settings = {"topic": broker.topic(f"at-{rate}"), "keys": 40}
            load = Load(
                workload="records",
                rate_per_s=float(rate),
                users=8,
                timeout_s=10.0,
                settings=settings,
                stages=(LoadStage(ramp_s=1.0),),
            )
            show_records(rate, measure(load, broker.endpoints, seconds))


PARTS = {"kv": kv, "records": records}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", choices=PARTS, help="default: all of it")
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, {multiprocessing.cpu_count()} cores, Linux {platform.release()}\n")
    for name, part in PARTS.items():
        if asked.only in (None, name):
            part(asked.seconds)


if __name__ == "__main__":
    main()
