"""How sure the model is, and what a reader can do with that: when to believe, doubt, or read on.

Temperature and thresholds are fitted on validation rows and kept in the model's manifest; everything
else here measures them on test rows.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from hrf_utils.intervals import interval, share
from hrf_utils.tasks import Task

COVERAGE = 0.9
"""How often a label set should hold the true label, and an answer that is believed be right."""
BINS = 10
PREVALENCES = (100, 1_000, 10_000, 100_000)
RECALLS = (0.8, 0.9, 0.95, 0.99)
COSTS = (1, 10, 100)
"""How much a falsely flagged post may weigh beside a missed one, in equal numbers of positive and other posts."""


def fit_temperature(scores: np.ndarray, labels: np.ndarray,
                    of_labels: Callable[[np.ndarray], np.ndarray] = np.asarray) -> float:
    """Temperature that minimises the log loss of scores (n, k) for labels (n,).

    Guo et al., "On calibration of modern neural networks", 2017.

    Parameters
    ----------
    of_labels : makes scores (n, labels) of cooled ones, where a label has several of the k
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -log_softmax(of_labels(scores / np.exp(log_temperature)), axis=1)[rows, labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def fit_thresholds(chances: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The two thresholds of a model folder, from validation rows.

    ``set``: a label set holds every label of at least this probability, so that the true label is in
    it for 90 in 100 posts like these (split conformal prediction; Sadinle, Lei and Wasserman, "Least
    ambiguous set-valued classifiers", 2019). ``abstain``: of the posts whose confidence reaches this, 90 in
    100 get the right label; 1 if no confidence is enough.

    Parameters
    ----------
    chances : calibrated probabilities, shape (n, labels)
    labels : true labels, shape (n,)
    """
    of_true = np.sort(chances[np.arange(len(labels)), labels])
    allowed = int((len(labels) + 1) * (1 - COVERAGE) + 1e-9)
    confidence = chances.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    kept = np.cumsum(chances.argmax(axis=1)[order] == labels[order]) / np.arange(1, len(labels) + 1)
    enough = np.flatnonzero(kept >= COVERAGE)
    return {"set": float(of_true[allowed - 1]) if allowed else 0.0,
            "abstain": float(confidence[order][enough[-1]]) if len(enough) else 1.0}


def fit_settled(counted: np.ndarray, mixed: np.ndarray, labels: np.ndarray, positive: list[int]) -> float:
    """From which confidence on the counter may answer alone, from validation rows; above 1 if it never may.

    The lowest one at which at most one row in two hundred gets another label than from the whole network, and
    the share of positive rows that are found falls by at most half a point.

    Parameters
    ----------
    counted, mixed : probabilities of the counter and of the whole network, shape (n, labels)
    labels : true labels, shape (n,)
    """
    confidence, alone, both = counted.max(axis=1), counted.argmax(axis=1), mixed.argmax(axis=1)
    is_true = np.isin(labels, positive)
    missed = is_true * (np.isin(both, positive).astype(int) - np.isin(alone, positive))
    rows = pd.DataFrame({"changed": (alone != both) / len(labels), "missed": missed / max(1, is_true.sum())})
    sums = rows.groupby(confidence).sum().sort_index(ascending=False).cumsum()
    allowed = (sums <= 0.005).all(axis=1).cummin()
    return float(sums.index[allowed].min()) if allowed.any() else 2.0


def label_sets(chances: np.ndarray, threshold: float) -> np.ndarray:
    """Which labels stay possible, bool of shape (n, labels); the likeliest one always does."""
    return (chances >= threshold) | (chances == chances.max(axis=1, keepdims=True))


def set_coverage(sets: np.ndarray, labels: np.ndarray, weights: np.ndarray, task: Task) -> pd.DataFrame:
    """How often a label set holds the true label, over all rows and by true label.

    One row for all and one a label: ``n``, ``size`` (labels in a set, mean), and ``value``, ``low``,
    ``high`` of the coverage.
    """
    held = sets[np.arange(len(labels)), labels]
    parts = {"all": np.ones(len(labels), bool)} | {
        f"{label.number}  {label.name}": labels == label.number for label in task.labels}
    rows = {name: {"n": int(part.sum()), "size": sets[part].sum(axis=1).mean() if part.any() else np.nan}
            | share(held[part], weights[:, part]) for name, part in parts.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("true label")


def calibration_error(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray,
                      weights: np.ndarray) -> np.ndarray:
    """Expected calibration error over `BINS` equally wide bins, shape (draws + 1,).

    The mean distance between confidence and share right, bins weighted by their rows. Resampling
    makes it larger on average, so its interval leans upward.
    """
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = (labels == predicted) - confidence
    by_bin = weights @ (gap[:, None] * (bin_of[:, None] == np.arange(BINS)))
    return np.abs(by_bin).sum(axis=1) / weights.sum(axis=1)


def reliability(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray,
                weights: np.ndarray) -> pd.DataFrame:
    """Share of right answers at each confidence, in `BINS` bins of equally many rows.

    One row a bin: mean ``confidence``, and ``value``, ``low``, ``high`` of the share that is right.
    """
    order = pd.Series(confidence).rank(method="first")
    bin_of = pd.qcut(order, min(BINS, len(order)), labels=False).to_numpy()
    right = labels == predicted
    return pd.DataFrame([
        {"confidence": confidence[members].mean()} | share(right[members], weights[:, members])
        for members in (bin_of == number for number in np.unique(bin_of))])


def risk_coverage(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray,
                  weights: np.ndarray) -> pd.DataFrame:
    """Share of wrong answers among the most confident ones, as more of them are believed.

    One row for each 5%: ``coverage`` (share of posts answered), ``confidence`` (the lowest among them), and
    ``value``, ``low``, ``high`` of the share that is wrong (Geifman and El-Yaniv, "Selective
    classification for deep neural networks", 2017).
    """
    order = np.argsort(-confidence, kind="stable")
    wrong, rows = labels != predicted, []
    for coverage in np.arange(1, 21) / 20:
        believed = order[:max(1, round(coverage * len(order)))]
        rows.append({"coverage": coverage, "confidence": confidence[believed[-1]]}
                    | share(wrong[believed], weights[:, believed]))
    return pd.DataFrame(rows)


def reading_effort(labels: np.ndarray, chance: np.ndarray, task: Task, weights: np.ndarray) -> pd.DataFrame:
    """Share of all posts to read, the likeliest first, to see a given share of the positive ones.

    Parameters
    ----------
    chance : probability that a row is positive, shape (n,)

    Returns
    -------
    One row a recall: ``value``, ``low``, ``high`` of the share to read.
    """
    order = np.argsort(-chance, kind="stable")
    drawn = weights[:, order]
    found = np.cumsum(drawn * np.isin(labels[order], task.positive), axis=1)
    read = np.cumsum(drawn, axis=1) / drawn.sum(axis=1, keepdims=True)
    rows = {}
    for recall in RECALLS:
        last = (found < recall * found[:, -1:] - 1e-9).sum(axis=1)
        rows[f"{recall:.0%}"] = interval(np.take_along_axis(
            read, np.minimum(last, len(order) - 1)[:, None], axis=1)[:, 0])
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("of the positive posts")


def false_alarms(labels: np.ndarray, predicted: np.ndarray, task: Task, weights: np.ndarray) -> pd.DataFrame:
    """Share of flagged posts that would be false where positives are rare.

    From the test split's rates of true and false alarms; one row a prevalence (1 in 100, …) with
    ``value``, ``low``, ``high``.
    """
    true, said = np.isin(labels, task.positive), np.isin(predicted, task.positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        hit = (weights @ (true & said)) / (weights @ true)
        alarm = (weights @ (~true & said)) / (weights @ ~true)
        rows = {f"1 in {n:,}": interval(alarm * (1 - 1 / n) / (alarm * (1 - 1 / n) + hit / n))
                for n in PREVALENCES}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("positives")


def operating_points(chance: np.ndarray, labels: np.ndarray, task: Task) -> dict[str, float]:
    """Thresholds on the probability of a positive label, by what they are for, from validation rows.

    The highest ones that find 50, 80, 90 and 95% of the positive rows, and those with the least sum of the share
    that is missed and some times the share that is falsely flagged, see `COSTS`. None without both positive and
    other rows.
    """
    true = np.isin(labels, task.positive)
    if true.all() or not true.any():
        return {}
    found, falsely = np.sort(chance[true]), np.sort(chance[~true])
    points = {f"finds {recall:.0%}": float(found[int((1 - recall) * len(found) + 1e-9)])
              for recall in (0.5, 0.8, 0.9, 0.95)}
    at = np.append(np.unique(chance), np.nextafter(chance.max(), np.inf))
    missed = np.searchsorted(found, at) / len(found)
    flagged = 1 - np.searchsorted(falsely, at) / len(falsely)
    return points | {f"a false flag weighs {cost}": float(at[np.argmin(missed + cost * flagged)]) for cost in COSTS}


def flagged_by_kind(rows: pd.DataFrame, flagged: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
    """Share of the rows of each kind that is flagged: ``n``, ``authors``, ``value``, ``low``, ``high``.

    Parameters
    ----------
    rows : has ``kind`` and ``author``; rows without a kind are left out
    flagged : bool, shape (n,)
    """
    table = {}
    for kind in sorted(set(rows["kind"]) - {""}):
        part = (rows["kind"] == kind).to_numpy()
        table[kind] = {"n": part.sum(), "authors": rows.loc[part, "author"].nunique()} | share(
            flagged[part], weights[:, part])
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("kind")


def flagged_at_recall(rows: pd.DataFrame, chance: np.ndarray, task: Task, weights: np.ndarray) -> dict[str, dict]:
    """Share of each kind's other rows that is flagged where 80% of the positive rows are found.

    Each resample has a threshold of its own, so that the interval tells of the curve and not of one threshold.
    """
    order = np.argsort(-chance, kind="stable")
    drawn, falling = weights[:, order], -chance[order]
    true, kinds = np.isin(rows["label"].to_numpy()[order], task.positive), rows["kind"].to_numpy()[order]
    found = np.cumsum(drawn * true, axis=1)
    last = np.minimum((found < 0.8 * found[:, -1:] - 1e-9).sum(axis=1), len(order) - 1)
    last = np.searchsorted(falling, falling[last], side="right") - 1
    answer = {}
    for kind in sorted(set(kinds[~true]) - {""}):
        passed = np.cumsum(drawn * (~true & (kinds == kind)), axis=1)
        with np.errstate(invalid="ignore"):
            share_passed = passed[np.arange(len(drawn)), last] / passed[:, -1]
        answer[kind] = interval(np.where(found[:, -1] > 0, share_passed, np.nan))
    return answer
