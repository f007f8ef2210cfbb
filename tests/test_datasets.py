"""Labels in: what a labelled file may not be, and which label of a post counts."""

import pandas as pd
import pytest

from hrf_utils import datasets, splits, tasks
from hrf_utils.settings import InputError


def test_labels_by_number_or_name_and_both_spellings_of_columns(force, table):
    path = table(tweets=["one text", "two texts", "three"], labels=["5", "open hand", "0.0"], labeler=["a", "", "a"],
                 codebook_version=["1", "", "2.0"])
    read = datasets.read_labelled(path, force)
    assert datasets.as_labels(read, force)["codebook_version"].tolist() == [1, 0, 2] and not read.notes
    unsaid = datasets.read_labelled(table(text=["a", "b"], label=[1, 2]), force)
    assert datasets.as_labels(unsaid, force)["codebook_version"].tolist() == [0, 0]
    assert read.labels["label"].tolist() == [5, 2, 0] and read.labels["labeler"].tolist() == ["a", "file", "a"]


@pytest.mark.parametrize(("columns", "says"), [
    ({"text": ["a", "b"], "label": ["1", "9"]}, "row 2: '9' is no label of the task force"),
    ({"text": ["a", "b"], "label": ["1", ""]}, "row 2: '' is no label"),
    ({"text": ["a", "b"], "kind": ["1", "2"]}, "no column label or labels"),
    ({"label": ["1", "2"]}, "no column text or tweets"),
    ({"text": ["same", "same"], "label": ["1", "2"], "id": ["1", "2"]}, "all rows have the same text"),
    ({"text": ["a", "b"], "label": ["1", "1"]}, "all rows have the label 1"),
    ({"text": ["a", "b"], "label": ["1", "2"], "codebook_version": ["1", "99"]}, "row 2: '99' is no codebook_version"),
])
def test_bad_labelled_files_are_one_sentence(force, table, columns, says):
    with pytest.raises(InputError, match=says):
        datasets.read_labelled(table(**columns), force)


def test_a_person_outranks_a_file_and_the_majority_counts():
    rows = pd.DataFrame({"dataset": "d", "id": list("aaabbcc"), "labeler": list("xyzxyxy"),
                         "label": [1, 1, 5, 2, 3, 0, 4],
                         "origin": ["import"] * 5 + ["import", "session"], "text": "t"})
    assert datasets.one_label_each(rows).set_index("id")["label"].to_dict() == {"a": 1, "b": 3, "c": 4}


def test_adjudication_outranks_review_and_that_a_session_or_the_audit():
    when = pd.date_range("2026-01-01", periods=9)
    rows = pd.DataFrame({"dataset": "d", "id": list("aaaabbbcc"), "labeler": list("wxyzxyzxy"),
                         "label": [0, 1, 2, 5, 0, 0, 3, 4, 1], "labelled_at": when, "text": "t",
                         "origin": ["import", "session", "review", "adjudication", "session", "audit", "review",
                                    "import", "audit"]})
    assert datasets.one_label_each(rows).set_index("id")["label"].to_dict() == {"a": 5, "b": 3, "c": 1}
    again = pd.concat([rows, rows.iloc[[3]].assign(labeler="v", label=2, labelled_at=when[-1])], ignore_index=True)
    assert datasets.one_label_each(again).set_index("id")["label"]["a"] == 2
    assert datasets.one_label_each(again.iloc[::-1]).set_index("id")["label"]["a"] == 2


def test_a_quarter_of_the_starter_comes_without_label(force):
    read = datasets.read_labelled(force.starter, force)
    assert 0.2 < 1 - len(read.labels) / len(read.posts) < 0.3


def test_posts_about_another_subject_train_or_judge_whole_groups_at_a_time(force):
    threat = tasks.load("threat")
    rows = datasets.unrelated(threat)
    assert len(rows) == len(datasets.starter_posts(force)) and rows["label"].eq(0).all()
    assert rows["kind"].eq(datasets.ANOTHER_SUBJECT).all() and 0.2 < (rows["part"] == "test").mean() < 0.3
    assert not splits.crossing(rows.assign(part=rows["part"].replace("supplement", "train"))).any()
    assert datasets.unrelated(force).empty
    beside = datasets.invented(threat, rows.head(0)[["dataset", "id", "text", "label", "kind", "author"]])
    ours = beside[beside["kind"] == datasets.ANOTHER_SUBJECT]
    assert set(ours["id"]) == set(rows.loc[rows["part"] == "supplement", "id"]) and len(beside) > len(ours)
