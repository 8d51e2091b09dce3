"""A recording is judged again only for the experiment that it is a recording of."""

from __future__ import annotations

import pytest

from chaos.cell import rejudge_newest
from chaos.errors import UsageError
from chaos.spec import load_text
from chaos.testing import RecordingBuilder
from tests.e2e import short


def recorded(folder, yaml):
    builder = RecordingBuilder()
    builder.run["experiment"] = "short"
    builder.traffic(2)
    builder.write(folder / "20260101T000000Z-short-abc", experiment=yaml)


def test_the_same_file_is_judged_again(tmp_path):
    recorded(tmp_path, short.text())
    result = rejudge_newest(load_text(short.text(), "short.yaml"), tmp_path)
    assert result.judgement is not None


def test_other_gates_are_what_judging_again_is_for(tmp_path):
    recorded(tmp_path, short.text())
    result = rejudge_newest(load_text(short.text(gates="  - no-unexpected-exit"), "short.yaml"), tmp_path)
    assert [v.gate for v in result.judgement.verdicts] == ["validity", "no-unexpected-exit"]


@pytest.mark.parametrize(("change", "named"), [({"steps": ""}, "steps"), ({"rate": "150/s"}, "load")])
def test_a_file_that_has_changed_since_is_refused(tmp_path, change, named):
    recorded(tmp_path, short.text())
    with pytest.raises(UsageError, match=f"another `{named}`"):
        rejudge_newest(load_text(short.text(**change), "short.yaml"), tmp_path)


def test_another_version_is_refused(tmp_path):
    recorded(tmp_path, short.text())
    yaml = short.text().replace("election: 500ms", "election: 500ms, version: 3.5.1")
    with pytest.raises(UsageError, match=r"3\.5\.1|another"):
        rejudge_newest(load_text(yaml, "short.yaml"), tmp_path)
