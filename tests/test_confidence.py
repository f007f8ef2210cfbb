"""Temperature, thresholds, label sets and reading effort, against worlds whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from hrf_utils import confidence, tasks
from hrf_utils.intervals import resamples


@pytest.fixture(scope="module")
def world():
    """Logits of 6,000 posts whose softmax is the truth, labels drawn from it, and ones as weights."""
    rng = np.random.default_rng(7)
    scores = rng.normal(0, 2, (6000, 6))
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(6, p=row) for row in chances])
    return scores, chances, labels, np.ones((2, 6000))


def test_the_temperature_undoes_overconfidence(world):
    scores, _, labels, _ = world
    assert confidence.fit_temperature(scores * 3, labels) == pytest.approx(3, rel=0.05)


def test_a_label_of_several_strata_is_calibrated_as_one(world):
    scores, _, strata, _ = world

    def of_labels(cooled):
        return np.logaddexp.reduceat(cooled, [0, 2, 4], axis=1)

    warm = confidence.fit_temperature(scores * 3, strata // 2, of_labels)
    assert warm == pytest.approx(3, rel=0.05)
    assert confidence.fit_temperature(of_labels(scores * 3), strata // 2) != pytest.approx(warm, rel=0.05)


def test_label_sets_hold_the_truth_as_often_as_promised(world, force):
    _, chances, labels, _ = world
    threshold = confidence.fit_thresholds(chances[:1000], labels[:1000])["set"]
    sets = confidence.label_sets(chances[1000:], threshold)
    table = confidence.set_coverage(sets, labels[1000:], np.ones((2, 5000)), force)
    assert table.loc["all", "value"] == pytest.approx(0.9, abs=0.02)
    assert table["n"].iloc[1:].sum() == 5000 and table.loc["all", "size"] == pytest.approx(sets.sum(axis=1).mean())
    assert confidence.label_sets(chances, 2.0).sum() == len(chances)


def test_abstaining_keeps_the_share_right_that_was_asked(world):
    _, chances, labels, _ = world
    at = confidence.fit_thresholds(chances[:3000], labels[:3000])["abstain"]
    kept = chances[3000:].max(axis=1) >= at
    right = chances[3000:].argmax(axis=1) == labels[3000:]
    assert right[kept].mean() == pytest.approx(0.9, abs=0.03) and 0 < kept.mean() < 1
    assert confidence.fit_thresholds(np.full((50, 6), 1 / 6), np.full(50, 5))["abstain"] == 1.0


def test_a_tenth_of_the_true_labels_may_fall_out_of_their_sets():
    for rows in (9, 19, 49, 99):
        of_true = (1 + np.arange(rows)) / (rows + 1)
        got = confidence.fit_thresholds(np.column_stack([of_true, 1 - of_true]), np.zeros(rows, int))["set"]
        assert got == pytest.approx(of_true[(rows + 1) // 10 - 1])


def test_risk_falls_as_fewer_are_answered(world):
    _, chances, labels, weights = world
    table = confidence.risk_coverage(labels, chances.argmax(axis=1), chances.max(axis=1), weights)
    assert table["value"].iloc[-1] == pytest.approx((chances.argmax(axis=1) != labels).mean())
    assert table["value"].iloc[3] < table["value"].iloc[10] < table["value"].iloc[-1]
    assert table["coverage"].iloc[-1] == 1


def test_reading_effort_counts_what_must_be_read(force):
    labels = np.array([5, 0, 5, 0, 0, 0, 0, 0, 0, 5])
    chance = np.linspace(1, 0, 10)
    table = confidence.reading_effort(labels, chance, force, np.ones((3, 10)))
    assert table.loc["80%", "value"] == 1.0
    table = confidence.reading_effort(labels, -np.abs(labels - 5.0), force, np.ones((3, 10)))
    assert table["value"].tolist() == [0.3, 0.3, 0.3, 0.3]


def test_calibration_error_of_a_calibrated_model_is_small():
    rng = np.random.default_rng(4)
    sure = rng.uniform(0.3, 1, 20_000)
    right = rng.random(20_000) < sure
    def error(said):
        return confidence.calibration_error(np.zeros(20_000), np.where(right, 0, 1), said, np.ones((1, 20_000)))[0]
    assert error(sure) < 0.02 and error(sure**0.25) > 0.1


def test_reliability_bins_hold_equally_many_rows(made):
    rows, predictions, weights = made
    y, p, sure = (s.to_numpy() for s in (rows["label"], predictions["label"], predictions["confidence"]))
    table = confidence.reliability(y, p, sure, weights)
    assert len(table) == 10 and table["value"].mean() == pytest.approx((y == p).mean())
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert table["confidence"].is_monotonic_increasing


def test_false_alarms_follow_bayes(force):
    labels = np.array([5] * 100 + [0] * 100)
    predicted = np.array([5] * 80 + [0] * 20 + [5] * 10 + [0] * 90)
    weights = resamples(np.arange(200), 50)
    table = confidence.false_alarms(labels, predicted, force, weights)
    assert table.loc["1 in 100", "value"] == pytest.approx(0.1 * 0.99 / (0.1 * 0.99 + 0.8 * 0.01))


@pytest.fixture(scope="module")
def indicator():
    """2,000 posts of three kinds with a score, by authors; `about` scores higher than `random`."""
    rng = np.random.default_rng(3)
    kinds = np.repeat(["pro", "about", "random"], [500, 500, 1000])
    chance = 1 / (1 + np.exp(-rng.normal(np.select([kinds == "pro", kinds == "about"], [2, 0], -2), 1)))
    rows = pd.DataFrame({"kind": kinds, "label": (kinds == "pro").astype(int),
                         "author": [f"{kind}{k % 50}" for k, kind in enumerate(kinds)]})
    return rows, chance, resamples(pd.factorize(rows["author"])[0], 200)


def test_operating_points_find_what_they_promise_and_weigh_as_they_say(indicator):
    rows, chance, _ = indicator
    task, labels = tasks.load("threat"), rows["label"].to_numpy()
    points = confidence.operating_points(chance, labels, task)
    for recall in (0.5, 0.8, 0.9, 0.95):
        assert (chance[labels == 1] >= points[f"finds {recall:.0%}"]).mean() == pytest.approx(recall, abs=0.0021)

    def loss(least, cost):
        return (chance[labels == 1] < least).mean() + cost * (chance[labels == 0] >= least).mean()

    for cost in confidence.COSTS:
        tried = [loss(least, cost) for least in np.linspace(0, 1, 301)]
        assert loss(points[f"a false flag weighs {cost}"], cost) <= min(tried) + 1e-9
    assert confidence.operating_points(chance[:500], labels[:500], task) == {}
    assert confidence.operating_points(chance[500:], labels[500:], task) == {}
    assert points["a false flag weighs 100"] > points["a false flag weighs 10"] > points["a false flag weighs 1"]


def test_each_kind_is_counted_by_itself(indicator):
    rows, chance, weights = indicator
    table = confidence.flagged_by_kind(rows, chance > 0.5, weights)
    assert table["n"].to_dict() == {"about": 500, "pro": 500, "random": 1000}
    assert table["authors"].to_dict() == {"about": 50, "pro": 50, "random": 50}
    assert table["value"].to_dict() == pytest.approx(
        {kind: (chance[rows["kind"] == kind] > 0.5).mean() for kind in ("about", "pro", "random")})
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()
    assert confidence.flagged_by_kind(rows.assign(kind=""), chance > 0.5, weights).empty
    none = confidence.flagged_by_kind(rows, chance > 2, weights).loc["about"]
    assert none["low"] == none["value"] == 0 and 0.05 < none["high"] < 0.1  # 0 of 50 authors, not of 500 posts


def test_kinds_are_compared_where_as_many_positives_are_found(indicator):
    rows, chance, weights = indicator
    least = np.sort(chance[rows["label"] == 1])[100]  # 400 of 500 reach it
    got = confidence.flagged_at_recall(rows, chance, tasks.load("threat"), weights)
    assert {kind: cell["value"] for kind, cell in got.items()} == pytest.approx(
        {kind: (chance[rows["kind"] == kind] >= least).mean() for kind in ("about", "random")})
    assert got["about"]["low"] < got["about"]["value"] < got["about"]["high"]
    tied = confidence.flagged_at_recall(rows, np.zeros(2000), tasks.load("threat"), weights)
    assert tied["about"]["value"] == tied["random"]["value"] == 1  # one score for all: who finds some flags all
    none_found = np.vstack([weights[0], np.where(rows["label"] == 1, 0, 1)])  # a resample without any positive row
    assert np.isnan(confidence.flagged_at_recall(rows, chance, tasks.load("threat"), none_found)["about"]["low"])
