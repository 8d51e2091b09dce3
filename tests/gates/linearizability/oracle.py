"""Brute force, written apart from the checker: every order of a tiny history is tried, by the definition.

Also the makers of histories that the tests share: tiny random ones, and big ones of a simulated atomic register.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import cache

from chaos.model import Outcome
from gates.linearizability import Operation


def typed(value):
    return "null" if value is None else json.dumps(value, sort_keys=True)


def step(state, operation, appends):
    """Return the states after `operation`: none if it can't have answered so."""
    value = operation.value if not appends else operation.value or ""
    if operation.op == "get":
        return [state] if operation.outcome is Outcome.UNKNOWN or typed(value) == typed(state) else []
    if operation.op == "put":
        return [value]
    if operation.op == "append":
        return [state + value]
    expect = operation.expect if not appends else operation.expect or ""
    same = typed(expect) == typed(state)
    if operation.outcome is Outcome.UNKNOWN:
        return [value] if same else [state]
    return ([value] if same else []) if operation.swapped else ([] if same else [state])


def explained(operations):
    """Say whether some order of one key's operations explains them all."""
    kept = [o for o in operations if o.outcome is not Outcome.FAILED]
    appends = any(o.op == "append" for o in operations)
    ok = [o.outcome is Outcome.OK for o in kept]
    after = [[b for b in range(len(kept)) if ok[b] and kept[b].return_ns < kept[a].call_ns] for a in range(len(kept))]

    @cache
    def possible(placed, text):
        if all(placed >> i & 1 or not ok[i] for i in range(len(kept))):
            return True
        state = json.loads(text)
        return any(
            possible(placed | 1 << i, typed(following))
            for i in range(len(kept))
            if not placed >> i & 1 and all(placed >> b & 1 for b in after[i])
            for following in step(state, kept[i], appends)
        )

    return possible(0, typed("" if appends else None))


KINDS = {
    "unique": {"ops": ("put", "get", "get"), "values": None},
    "swaps": {"ops": ("put", "get", "cas", "cas"), "values": None},
    "refused": {"ops": ("put", "get", "cas", "cas", "refused"), "values": None},
    "repeats": {"ops": ("put", "get", "cas", "refused"), "values": ("a", "b", None, "", 1, True)},
    "appends": {"ops": ("append", "get", "get"), "values": ("a", "b", "ab", "")},
    "mixed": {"ops": ("append", "get", "put", "cas", "refused"), "values": ("a", "b", "")},
}


def tiny(rng: random.Random, kind: str, key="x"):
    """Return a random history of one key, mostly as an honest store would answer, then perhaps disturbed."""
    ops, domain = KINDS[kind]["ops"], KINDS[kind]["values"]
    appends = any(op == "append" for op in ops)
    span = rng.choice((4, 8, 16))
    state, operations, seen = ("" if appends else None), [], [None]
    for number in range(rng.randint(1, 7)):
        op = rng.choice(ops)
        value = f"v{number}" if domain is None else rng.choice(domain)
        if appends and value is None:
            value = ""
        at = number * span // 8
        call, end = max(0, at - rng.randrange(span // 2)), at + rng.randrange(span // 2)
        outcome = rng.choices((Outcome.OK, Outcome.UNKNOWN, Outcome.FAILED), (8, 2, 0.5))[0]
        fields = {"key": key, "client": number, "call_ns": call, "return_ns": end, "outcome": outcome}
        old = state if rng.random() < 0.8 else rng.choice(seen)
        if appends and old is None:
            old = ""
        if op == "get":
            operations.append(Operation(op="get", value=old, **fields))
            continue
        effect = outcome is Outcome.OK or (outcome is Outcome.UNKNOWN and rng.random() < 0.5)
        if op == "refused":
            expect = rng.choice([s for s in seen if s is not None] or ["w"]) if rng.random() < 0.8 else old
            operations.append(Operation(op="cas", value=value, expect=expect, swapped=False, **fields))
            continue
        if op == "cas":
            operations.append(Operation(op="cas", value=value, expect=old, swapped=True, **fields))
        else:
            operations.append(Operation(op=op, value=value, **fields))
        seen.append(value)
        if effect:
            state = state + value if op == "append" else value
    rng.shuffle(operations)
    return operations


def simulated(*, operations, clients, keys=10, swap_share=0.0, unknown_share=0.0, refused_share=0.0, seed=1):
    """Return the history of atomic registers: each operation takes effect at one point between call and return."""
    rng = random.Random(seed)
    free = [rng.randrange(1000) for _ in range(clients)]
    planned = []
    for number in range(operations):
        client = number % clients
        call = free[client]
        point = call + 1 + int(rng.expovariate(1 / 400))
        end = point + 1 + int(rng.expovariate(1 / 400))
        free[client] = end + rng.randrange(200)
        planned.append((point, number, client, call, end))
    state, done = {}, []
    for _, number, client, call, end in sorted(planned):
        key, chance = f"k{rng.randrange(keys)}", rng.random()
        unknown = rng.random() < unknown_share
        fields = {"key": key, "client": client, "call_ns": call, "return_ns": None if unknown else end}
        fields["outcome"] = Outcome.UNKNOWN if unknown else Outcome.OK
        value = f"v{number}"
        if chance < swap_share:
            done.append(Operation(op="cas", value=value, expect=state.get(key), swapped=True, **fields))
        elif chance < swap_share + refused_share:
            stale = f"v{rng.randrange(number + 1)}"
            if stale != state.get(key):
                done.append(Operation(op="cas", value=value, expect=stale, swapped=False, **fields))
            continue
        elif chance < 0.5 + (swap_share + refused_share) / 2:
            done.append(Operation(op="put", value=value, **fields))
        else:
            done.append(Operation(op="get", value=state.get(key), **fields))
            continue
        state[key] = value
    return [replace(o, place=i) for i, o in enumerate(sorted(done, key=lambda o: o.call_ns), 1)]
