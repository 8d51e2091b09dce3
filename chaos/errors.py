"""Every error that chaosgate raises on purpose, and the exit code that each ends in.

ChaosgateError
├── UsageError               2   wrong use; nothing was touched
│   ├── SpecError            2   one experiment file, all its problems at once
│   └── CapabilityError      2   this machine or target can't do what the experiment needs
├── HarnessError            12   the harness or the environment broke down
│   ├── TargetError         12   a lab, cluster or node did not do what it was told
│   ├── StackError          12   the stack did not become ready, or an operation on it failed
│   ├── WorkloadError       12   the load generator broke down
│   ├── RecordingError      12   a recording can't be written or read
│   └── AgentError          12   the agent refused or could not carry out an action
└── DirtyError              13   something could not be healed: the target is dirty

Errors are for the harness; what the system under test does wrong is a Verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class ChaosgateError(Exception):
    """Base of all; `exit_code` is what the command ends with."""

    exit_code: ClassVar[int] = 12


class UsageError(ChaosgateError):
    """Wrong use of a command or an option."""

    exit_code: ClassVar[int] = 2


class SpecError(UsageError):
    """An experiment file is wrong; `problems` are whole lines `file:line:column: what; what would do`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class CapabilityError(UsageError):
    """The machine or target lacks something; the message names it and what would enable it."""


class HarnessError(ChaosgateError):
    """The harness or the environment broke down; says nothing about the system under test."""


class TargetError(HarnessError):
    """A lab, cluster or node did not do what it was told."""


class StackError(HarnessError):
    """The stack did not become ready in time, or an operation on it failed."""


class WorkloadError(HarnessError):
    """The load generator did not start, or died."""


class RecordingError(HarnessError):
    """A recording can't be written or read."""


class AgentError(HarnessError):
    """The agent refused an action or could not carry it out."""


class DirtyError(ChaosgateError):
    """Something could not be healed; nothing else may run on the target until `chaosgate heal` succeeds."""

    exit_code: ClassVar[int] = 13
