"""Big histories of a simulated atomic register are ok; one wrong answer in them is found and named."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from oracle import simulated

from chaos.model import Outcome
from gates.linearizability import Answer, History, Operation, check

SHAPES = {
    "puts and gets": {},
    "unknown outcomes": {"unknown_share": 0.05},
    "swaps": {"swap_share": 0.4},
    "swaps, refused and unknown ones": {"swap_share": 0.3, "refused_share": 0.1, "unknown_share": 0.02},
}


@pytest.mark.parametrize("clients", [1, 8, 200])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_atomic_register_is_ok(shape, clients):
    result = check(History.of(simulated(operations=5_000, clients=clients, **SHAPES[shape])))
    assert result.answer is Answer.OK, result.reason
    assert result.keys == 10


@pytest.mark.parametrize("shape", SHAPES)
def test_one_stale_read_is_found_and_named(shape):
    operations = simulated(operations=4_000, clients=8, **SHAPES[shape])
    for seed in range(10):
        rng = random.Random(seed)
        place, stale = stale_read(operations, rng)
        result = check(History.of([*operations[:place], stale, *operations[place + 1 :]]))
        assert result.answer is Answer.ILLEGAL
        assert result.key == stale.key
        assert stale in result.witness
        assert len(result.witness) <= 8


def stale_read(operations, rng):
    """Return an ok get from the later half, changed to read a value of the first quarter."""
    late = range(len(operations) // 2, len(operations))
    reads = [n for n in late if operations[n].op == "get" and operations[n].outcome is Outcome.OK]
    place = rng.choice(reads)
    key, early = operations[place].key, operations[: len(operations) // 4]
    values = [o.value for o in early if o.op == "put" and o.key == key and o.outcome is Outcome.OK]
    return place, replace(operations[place], value=rng.choice(values))


def renamed(operations, count):
    def name(value):
        return None if value is None else f"w{int(value[1:]) % count}"

    return [replace(o, value=name(o.value), expect=name(o.expect)) for o in operations]


@pytest.mark.parametrize("values", [2, 5, 100])
def test_a_register_with_few_values_is_searched_and_ok(values):
    operations = renamed(simulated(operations=2_000, clients=20, unknown_share=0.01), values)
    result = check(History.of(operations))
    assert result.answer is Answer.OK
    assert result.methods["search"] == 10


def test_a_wrong_read_among_repeated_values_has_a_small_witness():
    operations = renamed(simulated(operations=2_000, clients=4), 50)
    place = next(n for n, o in enumerate(operations) if n > 1_000 and o.op == "get")
    wrong = replace(operations[place], value="w7" if operations[place].value != "w7" else "w8")
    result = check(History.of([*operations[:place], wrong, *operations[place + 1 :]]))
    assert result.answer is Answer.ILLEGAL
    assert wrong in result.witness
    assert len(result.witness) < 20


def appended(count, clients, rng):
    """Return appends and gets of one key that take effect at one point each."""
    points = sorted((rng.random() * 1_000, n % clients) for n in range(count))
    text, operations = "", []
    for number, (point, client) in enumerate(points):
        fields = {
            "key": "log",
            "client": client,
            "call_ns": int((point - rng.random() * 3) * 1_000),
            "return_ns": int((point + rng.random() * 3) * 1_000),
        }
        if number % 3:
            text += f"{number};"
            operations.append(Operation(op="append", value=f"{number};", **fields))
        else:
            operations.append(Operation(op="get", value=text, **fields))
    return operations


def test_an_appended_text_is_ok_and_a_piece_missing_from_it_is_not():
    operations = appended(600, 8, random.Random(3))
    assert check(History.of(operations)).answer is Answer.OK
    place = max(n for n, o in enumerate(operations) if o.op == "get")
    torn = replace(operations[place], value=operations[place].value.replace("100;", "", 1))
    result = check(History.of([*operations[:place], torn, *operations[place + 1 :]]))
    assert result.answer is Answer.ILLEGAL
