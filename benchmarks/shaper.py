"""Measures the shaper of this machine: `python benchmarks/shaper.py [--backend NAME] [--quick]`.

    delay error    one-way, user space to user space, against the request; the bare path's own is included
    loss           asked and got
    throughput     one TCP stream, and 64-byte datagrams a second, from sockets of our own
    times          to open, to change a rule, to take it back
    proxy          an asyncio TCP proxy with the same delays, beside it: what a shaper without privilege would give

Results go to standard output as a table; run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import statistics
import struct
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/agent/shaper")]

from shaperlab import ShaperLab  # noqa: E402

from chaos.agent.shaper import Rule, open_shaper, probe  # noqa: E402
from chaos.agent.shaper.kernel import be_punctual, entered  # noqa: E402
from chaos.model import Impairment  # noqa: E402

DELAYS_MS = (1, 5, 20, 50, 100)
LOSSES = (0.01, 0.05, 0.1, 0.3)
MEASURER_PRIORITY = 30
STAMP = struct.Struct("<Q")


def percentiles(values_ms):
    ordered = sorted(values_ms)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def row(name, *cells):
    print(f"{name:<34}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def delays(lab, shaper, count):
    bare, _ = percentiles(lab.flow("n2", "n1", count=count).delays_ms)
    row("bare path, one way", f"{bare * 1000:.0f} us")
    for asked in DELAYS_MS:
        shaper.set("n1", [Rule(direction="in", impairment=Impairment(delay_s=asked / 1000))])
        p50, p99 = percentiles(lab.flow("n2", "n1", count=count).delays_ms)
        row(f"delay {asked} ms: error p50, p99", f"{(p50 - asked) * 1000:.0f} us", f"{(p99 - asked) * 1000:.0f} us")
    shaper.set("n1", [])


def losses(lab, shaper, count):
    for asked in LOSSES:
        shaper.set("n1", [Rule(direction="in", impairment=Impairment(loss=asked))])
        got = lab.flow("n2", "n1", count=count, gap_s=0.00025).lost_share
        row(f"loss {asked:.0%}: got", f"{got:.2%}")
    shaper.set("n1", [])


def times(shaper, count):
    first, second = ([Rule(direction="in", impairment=Impairment(delay_s=d))] for d in (0.02, 0.021))
    asked = {"on": lambda: first, "change": lambda: second, "off": list}
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(count):
        for name, rules in asked.items():
            begin = time.perf_counter()
            shaper.set("n1", rules())
            taken[name].append((time.perf_counter() - begin) * 1000)
    for name, values in taken.items():
        p50, p99 = percentiles(values)
        row(f"time to put in force: {name}, p50, p99", f"{p50:.2f} ms", f"{p99:.2f} ms")


def gigabits(lab, seconds):
    """One stream's throughput in Gbit/s, received."""
    listener = lab.socket("n1", socket.SOCK_STREAM)
    listener.bind((lab.address("n1"), 0))
    listener.listen()
    stop = time.monotonic() + seconds

    def send():
        with lab.socket("n2", socket.SOCK_STREAM) as stream:
            stream.connect(listener.getsockname())
            data = bytes(1 << 18)
            with contextlib.suppress(OSError):
                while time.monotonic() < stop:
                    stream.sendall(data)

    thread = threading.Thread(target=send)
    thread.start()
    accepted, _ = listener.accept()
    received, buffer, begin = 0, bytearray(1 << 20), time.monotonic()
    while size := accepted.recv_into(buffer):
        received += size
    elapsed = time.monotonic() - begin
    thread.join()
    accepted.close()
    listener.close()
    return received * 8 / elapsed / 1e9


def packets(lab, seconds):
    """Datagrams a second that arrive when as many as possible are sent."""
    with lab.socket("n2") as sender, lab.socket("n1") as receiver:
        receiver.bind((lab.address("n1"), 0))
        receiver.settimeout(0.5)
        sender.connect(receiver.getsockname())
        stop = time.monotonic() + seconds

        def send():
            data = bytes(64)
            with contextlib.suppress(OSError):
                while time.monotonic() < stop:
                    for _ in range(50):
                        sender.send(data)

        thread = threading.Thread(target=send)
        thread.start()
        count = 0
        with contextlib.suppress(TimeoutError):
            while True:
                receiver.recv(100)
                count += 1
        thread.join()
    return count / seconds


def throughput(lab, shaper, seconds):
    for name, rules in (
        ("kernel's own path", []),
        ("through the shaper, 0 ms", [Rule(direction="in", impairment=Impairment())]),
        ("through the shaper, 20 ms", [Rule(direction="in", impairment=Impairment(delay_s=0.02))]),
    ):
        shaper.set("n1", rules)
        row(name, f"{gigabits(lab, seconds):.2f} Gbit/s", f"{packets(lab, seconds):.0f} /s")
    shaper.set("n1", [])


# ---------------------------------------------------------------- the proxy beside it


class Proxy:
    """Accepts in n1 and passes on to a server in n1, each piece of data `delay_s` later."""

    def __init__(self, lab, target, delay_s):
        self._listener = lab.socket("n1", socket.SOCK_STREAM)
        self._listener.bind((lab.address("n1"), 0))
        self._listener.listen()
        self._netns, self._target, self._delay_s = lab.namespace("n1"), target, delay_s
        self.address = self._listener.getsockname()
        self._loop = asyncio.new_event_loop()
        self._stop, self._ended = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with entered(self._netns):  # what this thread connects to lies in n1
            self._loop.run_until_complete(self._serve())

    async def _serve(self):
        async with await asyncio.start_server(self._carry, sock=self._listener):
            await self._stop.wait()
            await self._ended.wait()

    async def _carry(self, reader, writer):
        _, upstream = await asyncio.open_connection(*self._target)
        while data := await reader.read(1 << 16):
            self._loop.call_later(self._delay_s, upstream.write, data)
        upstream.close()
        writer.close()
        self._ended.set()

    def close(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


def proxy_delays(lab, count):
    for asked in DELAYS_MS:
        with lab.socket("n1", socket.SOCK_STREAM) as server:
            server.bind((lab.address("n1"), 0))
            server.listen()
            with contextlib.closing(Proxy(lab, server.getsockname(), asked / 1000)) as proxy:
                p50, p99 = percentiles(_stream_delays_ms(lab, server, proxy.address, count))
        row(f"proxy {asked} ms: error p50, p99", f"{(p50 - asked) * 1000:.0f} us", f"{(p99 - asked) * 1000:.0f} us")


def _stream_delays_ms(lab, server, address, count):
    with lab.socket("n2", socket.SOCK_STREAM) as stream:
        stream.connect(address)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sender = threading.Thread(target=_send_stamps, args=(stream, count))
        sender.start()
        accepted, _ = server.accept()
        with accepted:
            got: list[float] = []
            while len(got) < count:
                sent_ns = STAMP.unpack(accepted.recv(STAMP.size, socket.MSG_WAITALL))[0]
                got.append((time.monotonic_ns() - sent_ns) / 1e6)
        sender.join()
    return got


def _send_stamps(stream, count):
    for _ in range(count):
        stream.sendall(STAMP.pack(time.monotonic_ns()))
        time.sleep(0.003)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=["netem", "tap", "nfqueue"])
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    scale = 0.1 if asked.quick else 1
    print("punctual:", be_punctual(MEASURER_PRIORITY), "; backends:", dict(probe()))
    usable = [asked.backend] if asked.backend else [name for name, why in probe().items() if not why]
    lab = ShaperLab(3)
    for backend in usable:
        begin = time.perf_counter()
        shaper = open_shaper(lab.ports, backend)
        print(f"\n{backend} (3 ports, SCHED_FIFO {shaper.realtime})")
        row("time to open", f"{(time.perf_counter() - begin) * 1000:.0f} ms")
        with contextlib.closing(shaper):
            delays(lab, shaper, round(600 * scale))
            losses(lab, shaper, round(12_000 * scale))
            times(shaper, round(100 * scale) if backend == "tap" else 5)
            throughput(lab, shaper, 4 * scale)
    print("\nTCP proxy (asyncio)")
    proxy_delays(lab, round(400 * scale))
    lab.close()


if __name__ == "__main__":
    main()
