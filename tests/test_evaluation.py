"""Metrics equal scikit-learn's, and intervals behave as intervals should."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from hrf_utils import evaluation


@pytest.fixture(scope="module")
def made(force):
    """300 test rows in 200 groups, with a model that is right three times in four."""
    rng = np.random.default_rng(1)
    labels = rng.choice(6, 300, p=[0.4, 0.2, 0.06, 0.04, 0.1, 0.2])
    predicted = np.where(rng.random(300) < 0.75, labels, rng.choice(6, 300))
    chances = rng.dirichlet(np.ones(6), 300) * 0.5
    chances[np.arange(300), predicted] += 0.5
    rows = pd.DataFrame({"id": np.arange(300).astype(str), "text": "t", "label": labels,
                         "group": rng.choice(200, 300)})
    predictions = pd.DataFrame(chances, columns=[f"p{k}" for k in range(6)]).assign(
        label=predicted, confidence=chances.max(axis=1))
    weights = evaluation.resamples(rows["group"].to_numpy(), 200)
    return rows, predictions, weights


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


def test_clusters_are_drawn_whole(made):
    rows, _, weights = made
    for _, members in rows.groupby("group").indices.items():
        assert (weights[:, members] == weights[:, members[:1]]).all()


def test_copies_of_rows_do_not_narrow_a_cluster_interval(force):
    rng = np.random.default_rng(2)
    right = rng.random(100) < 0.7
    y = np.zeros(100, int)
    def width(times):
        labels, predicted = np.tile(y, times), np.tile(np.where(right, 0, 1), times)
        weights = evaluation.resamples(np.tile(np.arange(100), times), 500)
        cell = evaluation.interval(evaluation.headline(labels, predicted, weights, 6)["accuracy"])
        return cell["high"] - cell["low"]
    assert width(4) == pytest.approx(width(1))


def test_the_interval_covers_as_often_as_it_says():
    rng, covered = np.random.default_rng(3), 0
    for _ in range(300):
        right = rng.random(150) < 0.8
        weights = evaluation.resamples(np.arange(150), 200, seed=int(rng.integers(1e9)))
        cell = evaluation.interval((weights @ right) / weights.sum(axis=1))
        covered += cell["low"] <= 0.8 <= cell["high"]
    assert 0.89 <= covered / 300 <= 0.98


def test_differences_to_baselines_are_paired(made, force):
    rows, predictions, weights = made
    same = evaluation.compare(rows, predictions, {"itself": predictions["label"].to_numpy()}, force, weights)
    cell = same["itself"]["difference"]["macro_f1"]
    assert (cell["value"], cell["low"], cell["high"]) == (0, 0, 0)


def test_one_class_gives_null_not_a_number(made, force):
    rows, predictions, weights = made
    got = evaluation.evaluate(rows.assign(label=5), predictions, force, weights)
    assert np.isnan(got["binary"]["roc_auc"]["value"])
    assert evaluation.show(got["binary"]["roc_auc"]) == "–"


def test_calibration_error_of_a_calibrated_model_is_small():
    rng = np.random.default_rng(4)
    confidence = rng.uniform(0.3, 1, 20_000)
    right = rng.random(20_000) < confidence
    def error(said):
        return evaluation.calibration_error(np.zeros(20_000), np.where(right, 0, 1), said, np.ones((1, 20_000)))[0]
    assert error(confidence) < 0.02 and error(confidence**0.25) > 0.1


def test_reliability_bins_hold_equally_many_rows(made):
    rows, predictions, weights = made
    y, p, sure = (s.to_numpy() for s in (rows["label"], predictions["label"], predictions["confidence"]))
    table = evaluation.reliability(y, p, sure, weights)
    assert len(table) == 10 and table["value"].mean() == pytest.approx((y == p).mean())
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert table["confidence"].is_monotonic_increasing


def test_false_alarms_follow_bayes(force):
    labels = np.array([5] * 100 + [0] * 100)
    predicted = np.array([5] * 80 + [0] * 20 + [5] * 10 + [0] * 90)
    rows, predictions = pd.DataFrame({"label": labels}), pd.DataFrame({"label": predicted})
    weights = evaluation.resamples(np.arange(200), 50)
    table = evaluation.false_alarms(rows, predictions, force, weights)
    assert table.loc["1 in 100", "value"] == pytest.approx(0.1 * 0.99 / (0.1 * 0.99 + 0.8 * 0.01))


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
