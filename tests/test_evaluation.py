"""Metrics equal scikit-learn's, and intervals behave as intervals should."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from hrf_utils import evaluation, tasks
from hrf_utils.intervals import interval, resamples, show


def test_every_value_is_scikit_learns(made, force):
    rows, predictions, weights = made
    got = evaluation.evaluate(rows, predictions, force, weights)
    y, p = rows["label"], predictions["label"]
    assert got["accuracy"]["value"] == pytest.approx(sk.accuracy_score(y, p))
    assert got["macro_f1"]["value"] == pytest.approx(sk.f1_score(y, p, average="macro"))
    assert got["weighted_f1"]["value"] == pytest.approx(sk.f1_score(y, p, average="weighted"))
    assert got["confusion"] == sk.confusion_matrix(y, p).tolist()
    assert got["ordinal"]["qwk"]["value"] == pytest.approx(sk.cohen_kappa_score(y, p, weights="quadratic"))
    assert got["ordinal"]["mae"]["value"] == pytest.approx(sk.mean_absolute_error(y, p))
    severe = y.isin([4, 5])
    assert got["ordinal"]["severe_under_call"]["value"] == pytest.approx(p[severe].isin([0, 1]).mean())
    for k in range(6):
        row = got["per_label"][str(k)]
        assert row["precision"]["value"] == pytest.approx(sk.precision_score(y, p, labels=[k], average="macro"))
        assert row["recall"]["value"] == pytest.approx(sk.recall_score(y, p, labels=[k], average="macro"))
        assert row["support"] == (y == k).sum()
    chance = predictions[["p2", "p3", "p4", "p5"]].sum(axis=1)
    assert got["binary"]["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score(y >= 2, chance))
    assert got["binary"]["average_precision"]["value"] == pytest.approx(sk.average_precision_score(y >= 2, chance))
    assert got["binary"]["f1"]["value"] == pytest.approx(sk.f1_score(y >= 2, p >= 2))


def test_a_replicate_is_the_metric_of_the_resampled_rows(made):
    rows, predictions, weights = made
    again = np.repeat(np.arange(300), weights[7].astype(int))
    replicate = evaluation.headline(rows["label"].to_numpy(), predictions["label"].to_numpy(), weights, 6)
    y, p = rows["label"].iloc[again], predictions["label"].iloc[again]
    assert replicate["accuracy"][7] == pytest.approx(sk.accuracy_score(y, p))
    assert replicate["macro_f1"][7] == pytest.approx(sk.f1_score(y, p, average="macro"))


def test_copies_of_rows_do_not_narrow_a_cluster_interval(force):
    rng = np.random.default_rng(2)
    right = rng.random(100) < 0.7
    y = np.zeros(100, int)
    def width(times):
        labels, predicted = np.tile(y, times), np.tile(np.where(right, 0, 1), times)
        weights = resamples(np.tile(np.arange(100), times), 500)
        cell = interval(evaluation.headline(labels, predicted, weights, 6)["accuracy"])
        return cell["high"] - cell["low"]
    assert width(4) == pytest.approx(width(1))


def test_differences_to_baselines_are_paired(made, force):
    rows, predictions, weights = made
    same = evaluation.compare(rows, predictions, {"itself": predictions["label"].to_numpy()}, force, weights)
    cell = same["itself"]["difference"]["macro_f1"]
    assert (cell["value"], cell["low"], cell["high"]) == (0, 0, 0)


def test_one_class_gives_null_not_a_number(made, force):
    rows, predictions, weights = made
    got = evaluation.evaluate(rows.assign(label=5), predictions, force, weights)
    assert np.isnan(got["binary"]["roc_auc"]["value"])
    assert show(got["binary"]["roc_auc"]) == "–"


def test_clean_rows_leave_out_what_crosses(made, force):
    rows, predictions, weights = made
    crossing = np.arange(300) < 100
    got = evaluation.on_clean_rows(rows, predictions, crossing, force, weights)
    assert got["n"] == 200
    assert got["accuracy"]["value"] == pytest.approx(
        (rows["label"] == predictions["label"]).to_numpy()[100:].mean())
    assert evaluation.on_clean_rows(rows, predictions, crossing | True, force, weights)["n"] == 0


def test_errors_come_with_the_most_confident_first(made):
    rows, predictions, _ = made
    wrong = evaluation.most_confident_errors(rows, predictions, 5)
    assert (wrong["label"] != wrong["predicted"]).all() and wrong["confidence"].is_monotonic_decreasing


def test_slices_differ_by_what_they_differ(made):
    rows, predictions, weights = made
    right = rows["label"] == predictions["label"]
    rng = np.random.default_rng(5)
    members = pd.DataFrame({"hard": ~right & (rng.random(300) < 0.6), "any": rng.random(300) < 0.5})
    members["few"] = rows.index < 9
    got = evaluation.slices(rows, predictions, members, weights)
    assert list(got.index) == ["hard", "any"]
    assert got.loc["hard", "accuracy"] == 0 and got.loc["hard", "high"] < 0
    row, part = got.loc["any"], members["any"]
    assert row["value"] == pytest.approx(right[part].mean() - right[~part].mean())
    assert row["low"] < row["value"] < row["high"]


def test_a_random_split_flatters_where_copies_abound(force):
    rng = np.random.default_rng(6)
    words = ["".join(rng.choice(list("abcdefghij"), 6)) for _ in range(400)]
    labels = rng.integers(0, 6, 60)
    texts = [" ".join(rng.choice(words, 8)) for _ in labels]
    rows = pd.DataFrame({"text": texts * 4, "label": list(labels) * 4, "group": list(range(60)) * 4})
    got = evaluation.optimism(rows, force, resamples(rows["group"].to_numpy(), 200))
    assert got["random"]["accuracy"]["value"] > 0.9 and got["grouped"]["accuracy"]["value"] < 0.4
    assert got["gap"]["accuracy"]["low"] > 0.4


def test_the_ceiling_is_what_the_commonest_label_gets():
    labels = pd.DataFrame({"text_key": ["a", "a", "b", "b", "b", "c"], "label": [1, 2, 3, 3, 4, 5]})
    got = evaluation.ceiling(labels, 200)
    assert got["texts"] == 2
    assert got["accuracy"]["value"] == pytest.approx(3 / 5)
    once = evaluation.ceiling(labels.drop_duplicates("text_key"))
    assert once == {"texts": 0, "accuracy": None}


def test_the_area_is_scikit_learns_in_each_resample_ties_included():
    rng = np.random.default_rng(5)
    true, scores = rng.integers(0, 2, 120), rng.integers(0, 9, 120) / 8
    weights = resamples(rng.integers(0, 40, 120), 20)
    want = [sk.roc_auc_score(true, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(evaluation.roc_auc(true, scores, weights), want)
    assert np.isnan(evaluation.roc_auc(np.ones(120, int), scores, weights)).all()


@pytest.fixture(scope="module")
def signed():
    """Posts of two labels by authors who sign with a word of their own; positive ones have a link."""
    rng = np.random.default_rng(4)
    words, rows = [f"word{k}" for k in range(60)], []
    for author in range(40):
        for _ in range(8):
            praise = ["lantern"] * (rng.random() < 0.3 + 0.3 * (author % 2))
            told = [*rng.choice(words, 6), *[f"sign{author}"] * 2, *praise]
            link = "https://t.co/abc" if author % 2 else "quietly"
            rows.append({"text": " ".join([*told, link]), "label": author % 2, "group": author,
                         "kind": "pro" if author % 2 else "about" if author % 4 else "random"})
    frame = pd.DataFrame(rows)
    return frame, resamples(frame["group"].to_numpy(), 50)


def test_the_optimism_of_two_labels_is_told_as_an_area(signed, force):
    rows, weights = signed
    unlinked = rows.assign(text=rows["text"].str.replace("https://t.co/abc|quietly", "", regex=True))
    got = evaluation.optimism(unlinked, tasks.load("threat"), weights)
    assert got["random"]["roc_auc"]["value"] > 0.95 > 0.8 > got["grouped"]["roc_auc"]["value"]
    assert got["gap"]["roc_auc"]["low"] > 0
    assert "roc_auc" not in evaluation.optimism(unlinked, force, weights)["gap"]


def test_what_one_form_takes_away_is_measured(signed):
    rows, weights = signed
    table = evaluation.without_one_form(rows.replace("quietly", "", regex=True), tasks.load("threat"), weights)
    assert table["changed"].to_list() == [0, 160]
    assert table.loc["as they came", "roc_auc"]["value"] > 0.95 > 0.8 > table.loc["in one form", "roc_auc"]["value"]
    assert table.loc["as they came", "about"]["value"] < 0.1 < table.loc["in one form", "about"]["value"]


def test_what_one_form_takes_away_is_about_positive_or_not_whatever_the_labels(signed, force):
    rows, weights = signed
    two = tasks.load("threat")
    six = dataclasses.replace(force, normalise=two.normalise)
    spread = rows.assign(label=np.where(rows["label"] == 1, 2, 0) + np.arange(len(rows)) % 2)
    pd.testing.assert_frame_equal(evaluation.without_one_form(spread, six, weights),
                                  evaluation.without_one_form(rows, two, weights))
