"""A short notation for histories in tests: op(call, return), one key unless said otherwise.

put("a", 1, 2), get("a", 3, 4), cas("a", "b", 5, 6), refused("a", 7, 8), append("x", 9, 10)
"""

from __future__ import annotations

from chaos.model import Outcome
from gates.linearizability import Answer, History, Operation, check


def _operation(op, call, end, outcome=Outcome.OK, key="x", **fields):
    return Operation(op=op, key=key, call_ns=call, return_ns=end, outcome=outcome, **fields)


def put(value, call, end, **more):
    return _operation("put", call, end, value=value, **more)


def get(value, call, end, **more):
    return _operation("get", call, end, value=value, **more)


def cas(expect, value, call, end, **more):
    return _operation("cas", call, end, expect=expect, value=value, swapped=True, **more)


def refused(expect, call, end, **more):
    return _operation("cas", call, end, expect=expect, value="never", swapped=False, **more)


def append(value, call, end, **more):
    return _operation("append", call, end, value=value, **more)


def judged(*operations, **settings):
    return check(History.of(operations), **settings)


def is_ok(*operations):
    return judged(*operations).answer is Answer.OK


def is_illegal(*operations):
    return judged(*operations).answer is Answer.ILLEGAL


UNKNOWN = {"outcome": Outcome.UNKNOWN}
FAILED = {"outcome": Outcome.FAILED}
