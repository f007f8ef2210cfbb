"""Behavioural cases, slices, word weights and drift."""

import numpy as np
import pandas as pd
import pytest

from hrf_utils import behaviour, drift, explain, tasks
from hrf_utils.settings import InputError


def answers(labels):
    return pd.DataFrame({"label": labels, "confidence": 0.9})


def test_there_are_enough_cases_of_enough_capabilities(force):
    cases = behaviour.cases(force)
    assert len(cases) >= 400 and cases["capability"].nunique() >= 14
    assert cases["expected"].isin([-1, *range(6)]).all() and cases["why"].str.len().min() > 3
    assert cases[cases["of"] == ""].groupby("expected").size().min() >= 40
    assert cases["capability"].value_counts().min() >= 15


def test_a_perfect_model_passes_and_a_constant_one_fails_where_it_should(force):
    cases = behaviour.cases(force)
    base = cases.set_index("id")["expected"]
    truth = cases["expected"].where(cases["of"] == "", cases["of"].map(base))
    assert behaviour.summary(behaviour.run(cases, lambda texts: answers(truth)))["all"]["value"] == 0
    constant = behaviour.run(cases, lambda texts: answers(np.full(len(texts), 5)))
    table, total = behaviour.by_capability(constant), behaviour.summary(constant)
    assert total["invariance"]["value"] == 0 and total["all"]["value"] > 0.6
    assert table.loc["fiction and film", "value"] > 0.9 and table.loc["invariance names", "failed"] == 0
    assert table["value"].is_monotonic_decreasing


def test_a_variant_fails_when_its_answer_is_not_that_of_its_base(force):
    cases = behaviour.cases(force)
    labels = np.where(cases["of"] != "", 1, 2)
    got = behaviour.run(cases, lambda texts: answers(labels))
    assert got.loc[got["of"] != "", "failed"].all()


@pytest.mark.parametrize("expected", ["9", "=c2", "=no"])
def test_a_bad_case_is_named(force, tmp_path, monkeypatch, expected):
    monkeypatch.setattr(behaviour, "FOLDER", tmp_path)
    pd.DataFrame({"id": ["c1", "c2"], "capability": "x", "text": ["a", "b"], "expected": ["1", expected],
                  "why": "because"}).to_csv(tmp_path / "force.csv", index=False)
    with pytest.raises(InputError, match=f"case c2 expects '{expected}'"):
        behaviour.cases(force)


def test_slices_find_what_they_name():
    got = behaviour.slices(pd.Series(["I saw it", "Police said on #Tuesday https://t.co/x", "x" * 300, "a Somali man"]))
    assert got["told by a witness (I, me, we, us)"].tolist() == [True, False, False, False]
    assert got["with a hashtag"].tolist() == [False, True, False, False]
    assert got["over 250 characters"].tolist() == [False, False, True, False]
    assert got["naming an ethnicity or religion"].tolist() == [False, False, False, True]


def test_occlusion_finds_the_word_that_decides():
    def predict(texts):
        chance = np.array([0.9 if "gas" in text else 0.2 for text in texts])
        return pd.DataFrame({"label": (chance > 0.5).astype(int), "p0": 1 - chance, "p1": chance})
    gas, none, empty = explain.occlusion(["they used gas here", "they sang", ""], predict)
    assert gas.set_index("word")["weight"].to_dict() == pytest.approx({"they": 0, "used": 0, "gas": 0.7, "here": 0})
    assert none["weight"].tolist() == pytest.approx([0, 0]) and empty.empty


def test_drift_draws_no_line_across_a_gap(force):
    days = [*pd.date_range("2026-01-01", periods=3), *pd.date_range("2026-01-20", periods=3)]
    posts = pd.DataFrame({"created_at": np.repeat(days, 40)})
    predictions = pd.DataFrame({"label": np.where(np.arange(240) < 120, 0, 5), "confidence": 0.8})
    table = drift.periods(posts, predictions, np.arange(240), force, draws=50)
    shares = table[table["measure"] == "5"]
    assert shares["segment"].tolist() == [0, 0, 0, 1, 1, 1] and shares["value"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table.loc[table["measure"] == "accuracy", "value"].tolist() == pytest.approx([0.8] * 6)
    assert drift.periods(posts.assign(created_at=pd.NaT), predictions, np.arange(240), force).empty


def test_a_task_may_have_slices_of_its_own(force):
    texts = pd.Series(["The mosque is open", "سلام", "The church choir", "a lantern"])
    got = behaviour.slices(texts, tasks.load("threat"))
    assert got["words of Islam"].tolist() == [True, False, False, False]
    assert got["Arabic letters"].tolist() == [False, True, False, False]
    assert got["words of another religion"].tolist() == [False, False, True, False]
    assert got["no common English word"].tolist() == [False, True, False, False]
    assert list(behaviour.slices(texts, force)) == list(behaviour.slices(texts))
