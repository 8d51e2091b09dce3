"""Linearizability of registers with compare-and-swap, and of append-only texts.

History.read(path) / History.from_samples(table) / History.of(operations)  ─▶  check(history)  ─▶  Result
"""

from gates.linearizability.checker import check
from gates.linearizability.command import main_check
from gates.linearizability.history import History, Operation
from gates.linearizability.result import Answer, Result

__all__ = ["Answer", "History", "Operation", "Result", "check", "main_check"]
