"""Questions and answers over a unix socket, as a lab's inits and their askers exchange them."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import TargetError
from chaos.targets.netns import wire
from chaos.targets.netns.init import Plan, Plot
from chaos.targets.netns.nodeinit import Run, recorded


@pytest.fixture
def served(tmp_path):
    """Serve requests with a function, each in turn, below a folder whose path is longer than a sockaddr_un."""
    folder = tmp_path / ("x" * 60) / ("y" * 60)
    folder.mkdir(parents=True)
    server = wire.listen(folder / "n.sock")
    threads = []

    def serve(handle):
        thread = threading.Thread(target=wire.answer, args=(server, handle))
        thread.start()
        threads.append(thread)
        return folder / "n.sock"

    yield serve
    for thread in threads:
        thread.join(5)
    server.close()


def test_a_question_is_answered(served):
    path = served(lambda request: {"said": request["word"]})
    assert wire.call(path, {"op": "echo", "word": "ü" * 100_000}) == {"said": "ü" * 100_000}


def test_a_refusal_is_raised_with_its_sentence(served):
    def refuse(_request):
        raise TargetError("not today")

    with pytest.raises(TargetError, match="n: dance: not today"):
        wire.call(served(refuse), {"op": "dance"})


def test_a_bug_behind_the_socket_is_an_answer_too(served):
    with pytest.raises(TargetError, match="n: dance: ZeroDivisionError"):
        wire.call(served(lambda _: {"x": 1 / 0}), {"op": "dance"})


def test_no_answer_in_time_is_said(served):
    enough = threading.Event()
    path = served(lambda _: {"late": enough.wait(5)})
    with pytest.raises(TargetError, match=r"no answer within 0\.05 s"):
        wire.call(path, {"op": "dance"}, 0.05)
    enough.set()


def test_nobody_there_is_said(tmp_path):
    with pytest.raises(TargetError, match="nobody answers"):
        wire.call(tmp_path / "n.sock", {"op": "dance"})


def test_a_new_init_takes_the_place_of_a_dead_one(tmp_path):
    wire.listen(tmp_path / "n.sock").close()
    with pytest.raises(TargetError, match="refused"):
        wire.call(tmp_path / "n.sock", {"op": "dance"})
    wire.listen(tmp_path / "n.sock").close()


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.builds(Plot, name=texts, address=texts, port=texts, groups=st.tuples(texts), freezer=st.none() | texts))
def test_a_plan_survives_the_way_to_the_init(plot):
    import json
    from dataclasses import asdict

    plan = Plan(id="cg1", folder="/labs/cg1", hub_address="10.64.0.1", plots=(plot,))
    assert Plan.parse(json.dumps(asdict(plan))) == plan


runs = st.builds(
    Run,
    name=texts,
    argv=st.tuples(texts),
    env=st.just({}),
    cwd=texts,
    log=texts,
    node=texts,
    exit_code=st.none() | st.integers(-64, 255),
    retired=st.booleans(),
    killed=st.booleans(),
)


@given(runs, st.integers(0))
def test_only_what_ran_and_was_wanted_comes_back_after_a_power_loss(run, at_ns):
    after = run.lost_power(at_ns)
    assert not after.runs
    assert after.unpowered == (run.runs and not run.retired)
    assert after.lost_power(at_ns + 1) == after
    if not run.runs:
        assert after == run
    else:
        assert (after.exit_code, after.ended_ns) == (-9, at_ns)


@pytest.mark.parametrize("process", [{}, {"name": "p"}, {"name": "", "argv": ["true"]}, {"name": "p", "argv": []}])
def test_a_process_without_a_command_is_refused(process):
    with pytest.raises(TargetError, match="needs a name and an argv"):
        recorded(process, "a")
