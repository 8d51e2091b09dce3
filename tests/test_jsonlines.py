"""JSON lines with somebody who answers in any order, says nonsense, keeps silent, or dies."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading

import pytest

from chaos.errors import AgentError
from chaos.jsonlines import JsonLines, Questions, answered
from chaos.piped import PipedProcess
from tests.leftovers import await_true

PATIENCE_S = 20.0


class Stream:
    """A channel without a process: what a test puts into `come` is heard, `went` is what was said."""

    def __init__(self) -> None:
        self.come: queue.Queue[bytes | None] = queue.Queue()
        self.went: queue.Queue[bytes] = queue.Queue()

    def send(self, line):
        self.went.put(line)

    def lines(self):
        yield from iter(self.come.get, None)

    def end(self, grace_s):
        self.come.put(None)

    def fate(self, why=""):
        return f"hung up {why}".strip()

    def asked(self):
        return json.loads(self.went.get(timeout=PATIENCE_S))

    def says(self, **said):
        self.come.put(json.dumps(said).encode() + b"\n")


@pytest.fixture
def stream():
    made = Stream()
    yield made
    made.end(0)


@pytest.fixture
def child(tmp_path):
    """Start Python code with pipes; it ends with the test."""
    started = []

    def start(code) -> PipedProcess:
        log = tmp_path / "log"
        with log.open("ab") as errors:
            argv = [sys.executable, "-c", code]
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        started.append(PipedProcess(process, log))
        return started[-1]

    yield start
    for one in started:
        one.end(0)
        if not one._stdout.closed:  # no test listened to it
            one._stdout.close()


def listening(channel) -> tuple[JsonLines, list]:
    heard: list = []
    return JsonLines(channel, name="it", heard=heard.append, ended=lambda: heard.append("end")), heard


# ---------------------------------------------------------------- questions


def test_answers_find_who_asked_in_any_order(stream):
    questions = Questions(stream, name="it")
    first, second = questions.send({"op": "a"}), questions.send({"op": "b"})
    numbers = {said["op"]: said["id"] for said in (stream.asked(), stream.asked())}
    stream.says(id=numbers["b"], got="b")
    stream.says(id=numbers["a"], got="a")
    assert answered("a", first, PATIENCE_S) == {"got": "a"}
    assert answered("b", second, PATIENCE_S) == {"got": "b"}


def test_what_nobody_asked_for_is_heard_apart(stream):
    heard: queue.Queue = queue.Queue()
    Questions(stream, name="it", heard=heard.put)
    stream.says(id=99, got="an answer to no question")
    stream.says(event="news")
    assert heard.get(timeout=PATIENCE_S) == {"event": "news"}


def test_a_refusal_a_late_answer_and_an_end_are_errors(stream):
    why: queue.Queue = queue.Queue()
    questions = Questions(stream, name="it", ended=why.put)
    refused, late = questions.send({}), questions.send({})
    stream.says(id=stream.asked()["id"], error="not today")
    with pytest.raises(AgentError, match="op: not today"):
        answered("op", refused, PATIENCE_S)
    with pytest.raises(AgentError, match="op: no answer within 0 s"):
        answered("op", late, 0.01)
    questions.end(0)
    for open_at_the_end in (late, questions.send({})):
        with pytest.raises(AgentError, match="op: the it is gone: it hung up"):
            answered("op", open_at_the_end, PATIENCE_S)
    assert why.get(timeout=PATIENCE_S) == "the it is gone: it hung up"


def test_who_talks_nonsense_answers_no_more(stream, monkeypatch):
    raised: queue.Queue = queue.Queue()
    monkeypatch.setattr(threading, "excepthook", raised.put)
    asked = Questions(stream, name="it").send({})
    stream.come.put(b"not JSON\n")
    with pytest.raises(AgentError, match="is gone"):
        answered("op", asked, PATIENCE_S)
    assert raised.get(timeout=PATIENCE_S).exc_type is json.JSONDecodeError


# ---------------------------------------------------------------- a process


def test_a_killed_child_is_heard_to_its_last_whole_line(child):
    process = child('import os; os.write(1, b\'{"n": 1}\\n{"n":\'); os.kill(os.getpid(), 9)')
    lines, heard = listening(process)
    assert lines.over.wait(PATIENCE_S)
    lines.end(0)
    assert heard == [{"n": 1}, "end"]
    assert process.fate() == "ended by signal 9"
    assert not lines.say({})


def test_a_child_that_fails_is_told_of_by_the_last_line_of_its_log(child):
    process = child("raise ValueError('of this')")
    assert process.fate() == "ended with exit code 1: ValueError: of this"
    assert process.fate("better known") == "ended with exit code 1: better known"


def test_the_end_of_its_input_ends_a_child_that_listens(child):
    process = child('import sys; sys.stdin.read(); print(\'{"last": "words"}\')')
    lines, heard = listening(process)
    lines.end(PATIENCE_S)
    lines.end(PATIENCE_S)
    assert heard == [{"last": "words"}, "end"]
    assert process.fate() == "ended with exit code 0"


def test_a_child_that_does_not_listen_is_killed_after_a_grace(child):
    process = child("import time; print('{}', flush=True); time.sleep(1000)")
    begun = threading.Event()
    lines = JsonLines(process, name="it", heard=lambda _: begun.set(), ended=lambda: None)
    assert begun.wait(PATIENCE_S)
    lines.end(0.05)
    assert process.fate() == "ended by signal 9"


@pytest.mark.parametrize("grace_s", [0.0, 0.2])
def test_a_child_whose_pipe_is_full_can_be_ended(child, grace_s):
    lines, heard = listening(child("import time; print('{}', flush=True); time.sleep(1000)"))
    stuck = threading.Thread(target=lambda: lines.say({"much": "x" * (1 << 20)}), daemon=True)
    stuck.start()
    await_true("it writes and can't", lambda: lines._lock.locked() and heard)
    ending = threading.Thread(target=lambda: lines.end(grace_s), daemon=True)
    ending.start()
    for one in (ending, stuck):
        one.join(PATIENCE_S)
        assert not one.is_alive()
    assert heard == [{}, "end"]
