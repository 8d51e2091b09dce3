"""How long does the linearizability checker take? A table: operations x clients, with and without swaps.

    python benchmarks/checker.py [--most 1000000] [--porcupine]

The histories are of simulated atomic registers on ten keys: every client has one operation open at a time, and each
takes effect at one moment between its call and its return. Values are unique. Only checking is timed, not reading.
`--porcupine` times the Go checker (github.com/anishathalye/porcupine, fetched into a temporary folder) beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.model import Outcome
from gates.linearizability import Answer, History, check
from gates.linearizability.history import CAS, GET, NEVER, NULL, PUT

KEYS = 10
SIZES = (1_000, 10_000, 20_000, 100_000, 1_000_000)
CLIENTS = (8, 50, 200)
PORCUPINE_S = 60


def simulated(operations, clients, *, swap_share, unknown_share=0.001, seed=1):
    """Return a legal history; columns as History has them."""
    rng = np.random.default_rng(seed)
    call, point, returned = schedule(rng, operations, clients)
    key = rng.integers(0, KEYS, operations)
    kind = rng.choice([GET, PUT, CAS], operations, p=[0.5, 0.5 - swap_share, swap_share])
    value, expect = effects(key, point, kind)
    unknown = rng.random(operations) < unknown_share
    return History(
        keys=[f"k{n}" for n in range(KEYS)],
        values=[f"v{n}" for n in range(operations)],
        clients=list(range(clients)),
        key=key,
        client=np.arange(operations) % clients,
        op=kind,
        value=value,
        expect=expect,
        swapped=kind == CAS,
        call_ns=call,
        return_ns=np.where(unknown, NEVER, returned),
        outcome=np.where(unknown, Outcome.UNKNOWN, Outcome.OK).astype(np.int64),
        place=np.arange(1, operations + 1),
    )


def schedule(rng, operations, clients):
    """Return call, effect and return of each operation: about half a millisecond each way, a pause between two."""
    rounds = -(-operations // clients)
    out, back, pause = (rng.exponential(mean, (rounds, clients)).astype(np.int64) + 1 for mean in (5e5, 5e5, 1e5))
    end = np.cumsum(out + back + pause, axis=0)
    call = end - out - back
    return (part.reshape(-1)[:operations] for part in (call, call + out, call + out + back))


def effects(key, point, kind):
    """Return what each operation writes or reads, and what each swap expects: the write before it, on its key."""
    order = np.lexsort((point, key))
    writes = kind[order] != GET
    place = np.arange(len(order))
    latest = np.maximum.accumulate(np.where(writes, place, NULL))
    before = np.r_[NULL, latest[:-1]]
    first = np.searchsorted(key[order], key[order])
    source = np.where(before >= first, before, NULL)
    found = np.where(source == NULL, NULL, order[source])
    value, expect = np.empty_like(order), np.full(len(order), NULL)
    value[order] = np.where(writes, order, found)
    expect[order] = np.where(kind[order] == CAS, found, NULL)
    return value, expect


def timed(history):
    begin = time.perf_counter()
    result = check(history)
    assert result.answer is Answer.OK, result.reason
    return time.perf_counter() - begin


# ---------------------------------------------------------------- porcupine, side by side

GO_PROGRAM = """package main

import ("bufio"; "encoding/json"; "fmt"; "os"; "time"; "github.com/anishathalye/porcupine")

type op struct { Client, Op, Key, Value, Expect int; Call, Return int64 }

func main() {
	var history []porcupine.Operation
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var o op
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil { panic(err) }
		history = append(history, porcupine.Operation{
			ClientId: o.Client, Input: o, Output: o.Value, Call: o.Call, Return: o.Return})
	}
	model := porcupine.Model{
		Partition: func(h []porcupine.Operation) [][]porcupine.Operation {
			parts := map[int][]porcupine.Operation{}
			for _, o := range h { k := o.Input.(op).Key; parts[k] = append(parts[k], o) }
			var out [][]porcupine.Operation
			for _, p := range parts { out = append(out, p) }
			return out
		},
		Init: func() interface{} { return -1 },
		Step: func(state, input, output interface{}) (bool, interface{}) {
			o := input.(op)
			switch o.Op {
			case 0: return state.(int) == o.Value, state
			case 1: return true, o.Value
			}
			return state.(int) == o.Expect, o.Value
		},
	}
	begin := time.Now()
	answer := porcupine.CheckOperationsTimeout(model, history, LIMIT*time.Second)
	fmt.Println(answer, time.Since(begin).Seconds())
}
"""


def built(folder):
    """Build the Go program in `folder`; return its path."""
    (folder / "main.go").write_text(GO_PROGRAM.replace("LIMIT", str(PORCUPINE_S)))
    for command in ("go mod init bench", "go get github.com/anishathalye/porcupine@latest", "go build -o bench ."):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "bench"


def beside(program, history):
    """Return porcupine's answer and seconds. Its operations all return, so unknown ones are left as ok here."""
    names = ("client", "op", "key", "value", "expect", "call", "return")
    columns = (
        history.client,
        history.op,
        history.key,
        history.value,
        history.expect,
        history.call_ns,
        history.return_ns,
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    text = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    answer, seconds = done.stdout.split()
    return f"{float(seconds):10.3f} s {answer}"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--most", type=int, default=SIZES[-1], help="the greatest number of operations")
    options.add_argument("--porcupine", action="store_true", help="needs Go and its module proxy")
    asked = options.parse_args()
    print(
        f"{'operations':>10} {'clients':>8} {'swaps':>6} {'seconds':>9} {'ops/s':>12}" + "  porcupine" * asked.porcupine
    )
    with tempfile.TemporaryDirectory() as folder:
        program = built(Path(folder)) if asked.porcupine else None
        for operations in (n for n in SIZES if n <= asked.most):
            for clients in CLIENTS:
                for swap_share in (0.0, 0.25):
                    row(operations, clients, swap_share, program)


def row(operations, clients, swap_share, program):
    history = simulated(operations, clients, swap_share=swap_share, unknown_share=0.0 if program else 0.001)
    seconds = timed(history)
    other = f"  {beside(program, history)}" if program else ""
    print(
        f"{operations:10,} {clients:8} {swap_share:6.0%} {seconds:9.3f} {operations / seconds:12,.0f}{other}",
        flush=True,
    )


if __name__ == "__main__":
    main()
