"""Task files: what they hold, and what they may not."""

import pandas as pd
import pytest

from hrf_utils import tasks, text
from hrf_utils.settings import InputError


def test_the_two_tasks_are_as_the_contract_has_them(force):
    assert len(force.labels) == 6 and force.positive == [2, 3, 4, 5] and force.ordinal
    threat = tasks.load("threat")
    assert len(threat.labels) == 2 and threat.positive == [1] and not threat.ordinal
    assert set(threat.normalise) == set(text.FORMS) and not force.normalise


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
    ("title: t\nquestion: q\ntypo: 1\nlabels: []", "typo"), ("title: [", "line"),
    ("title: t\nquestion: q\nnormalise: [links, emoji]\nlabels: [{name: a, definition: b, color: c, positive: true},"
     "{name: b, definition: b, color: c, positive: false}]", "emoji"),
    ("title: t\nquestion: q\nunrelated: nothing\nlabels: [{name: a, definition: b, color: c, positive: true},"
     "{name: b, definition: b, color: c, positive: false}]", "'nothing', a task without a starter corpus")])
def test_bad_task_files_are_named(tmp_path, monkeypatch, text, says):
    monkeypatch.setattr(tasks, "FOLDER", tmp_path)
    (tmp_path / "bad.yml").write_text(text)
    with pytest.raises(InputError, match=says) as error:
        tasks.load("bad")
    assert "bad.yml" in str(error.value)


LABELS = """title: t
question: q
codebook_version: 3
labels:
- {name: a, definition: b, color: c, positive: true, examples: [one, two], since: 2}
- {name: b, definition: b, color: c, positive: false}
patterns: {1: [bee]}
edge_cases:
"""


@pytest.mark.parametrize(("cases", "says"), [
    ("- {case: x}", "has case and label"), ("- {case: x, label: 1, typo: 2}", "has case and label"),
    ("- {case: x, label: 2}", "none of 0 to 1"), ("- {case: x, label: as b}", "give a match"),
    ("- {case: x, label: 1, match: '('}", "no regular expression"),
    ("- {case: x, label: 1, since: 4}", "no version from 1"),
    ("- {case: x, label: 1, since: soon}", "no version from 1")])
def test_a_bad_codebook_entry_is_named(tmp_path, monkeypatch, cases, says):
    monkeypatch.setattr(tasks, "FOLDER", tmp_path)
    (tmp_path / "bad.yml").write_text(LABELS + cases)
    with pytest.raises(InputError, match=says):
        tasks.load("bad")
    (tmp_path / "bad.yml").write_text(LABELS.replace("[one, two]", "one") + "- {case: x, label: 1}")
    with pytest.raises(InputError, match="not a list of texts"):
        tasks.load("bad")


def test_an_edit_of_the_codebook_puts_older_labels_in_doubt(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "FOLDER", tmp_path)
    cases = ("case: new, label: 1, since: 3", "case: told, label: as b, since: 3, match: cat", "case: old, label: 1",
             "case: one is no fox, label: 1, since: 3, match: fox")
    (tmp_path / "t.yml").write_text(LABELS + "\n".join(f"- {{{case}}}" for case in cases))
    task = tasks.load("t")
    labels = pd.DataFrame([(0, "x", 1), (1, "x", 2), (0, "x", 2), (0, "a bee", 2), (0, "a Cat", 2), (0, "a bee", 3),
                           (1, "a bee", 0), (1, "a Cat", 2), (0, "a Fox", 2), (1, "a fox", 2)],
                          columns=["label", "text", "codebook_version"])
    assert task.in_doubt(labels)["because"].to_dict() == {
        0: "a", 1: "new", 3: "new", 4: "told", 7: "new; told", 8: "one is no fox", 9: "new"}
    assert task.in_doubt(labels.loc[[2, 5, 6]]).empty and task.in_doubt(labels.head(0)).empty
    assert task.cases()["since"].tolist() == [3, 3, 1, 3] and task.codebook()["examples"].tolist() == ["one · two", ""]


def test_every_label_has_examples_that_its_task_would_not_contradict(force):
    for task in (force, tasks.load("threat")):
        assert all(len(label.examples) >= 2 for label in task.labels)
        starter = set(pd.read_csv(task.starter, dtype=str)["text"])
        assert not starter & {example for label in task.labels for example in label.examples}
