"""Task files: what they hold, and what they may not."""

import pandas as pd
import pytest

from hrf_utils import tasks
from hrf_utils.settings import InputError


def test_the_two_tasks_are_as_the_contract_has_them(force):
    assert len(force.labels) == 6 and force.positive == [2, 3, 4, 5] and force.ordinal
    threat = tasks.load("threat")
    assert len(threat.labels) == 2 and threat.positive == [1] and not threat.ordinal


@pytest.mark.parametrize(("cell", "number"), [
    ("5", 5), ("5.0", 5), (" Lethal ", 5), ("open hand", 2), ("6", None), ("", None), ("5.5", None)])
def test_labels_are_numbers_or_names(force, cell, number):
    assert force.number(cell) == number


def test_keyword_rule_takes_the_highest_label(force):
    texts = pd.Series(["sunny day", "police arrived", "an officer shoved him", "cops fired tear gas",
                       "deputy swung a baton", "trooper shot and killed a man"])
    assert force.keyword_rule(texts).tolist() == [0, 1, 2, 5, 3, 5]


@pytest.mark.parametrize(("text", "says"), [
    ("labels: [{name: a, definition: b, color: c, positive: true}]", "missing"),
    ("title: t\nquestion: q\nlabels:\n- {name: a, definition: b, color: c, positive: true}", "two or more"),
    ("title: t\nquestion: q\ntypo: 1\nlabels: []", "typo"), ("title: [", "line")])
def test_bad_task_files_are_named(tmp_path, monkeypatch, text, says):
    monkeypatch.setattr(tasks, "FOLDER", tmp_path)
    (tmp_path / "bad.yml").write_text(text)
    with pytest.raises(InputError, match=says) as error:
        tasks.load("bad")
    assert "bad.yml" in str(error.value)
