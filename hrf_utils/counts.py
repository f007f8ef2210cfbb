"""Counts that are right: how many posts and incidents there truly are, as far as the model's errors are known.

A model that errs counts wrong, and rare labels most. A sample with true and predicted labels tells how it errs; the
counts are corrected by it and carry a 95% interval. What the intervals cannot tell apart is not ranked.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from hrf_utils.gazetteer import FOLDER
from hrf_utils.intervals import interval, resamples, tell_apart
from hrf_utils.settings import InputError
from hrf_utils.tasks import Task
from hrf_utils.text import near_duplicates

LEAST_AUDIT = 100
"""Posts of the random audit from which it replaces the test split: its label shares are then good to ten points."""
LEAST_CELL = 5
"""Cells with fewer incidents are merged into "other", so that no table points at a few people."""
ROUGH = {"D": ["week", "month", "year"], "W": ["month", "year"], "M": ["year"]}
"""Dates that are too rough to be counted in days, weeks or months."""
_PRIOR = 0.5
"""Rows that each true label has before any test row is seen, dealt over all answers; keeps a label of few rows open."""
_ROUNDS = 300
_VANISHED = 0.05
"""Share of a count that is left when the best estimate is that all of it is error."""

_ASSUMES = {
    "audit": "Corrected with {n:,} posts that were drawn at random and labelled by a person. This assumes only that "
             "the draw was random and the person right; it asks nothing of the model.",
    "test": "Corrected with the model's errors on {n:,} test posts, until {least} posts of the random audit are "
            "labelled. This assumes that a post of a given kind is misread as often here as in the test, and that "
            "only the shares of the kinds differ; on posts of another time, place or language that may not hold.",
    "": "No corrected count: these posts are unlike the test; label {least} posts of the random audit. The model found "
        "{strained} less often than its errors on {n:,} test posts alone would give."}


class Correction(NamedTuple):
    """How many posts truly carry each label, `posts` of shape (draws + 1, k): the estimate, then its replicates.

    `factors` of the same shape are what a count of the model's is multiplied with; `method` is ``audit`` or ``test``,
    `n` the rows of that sample, and `assumes` says in words what the correction rests on. `strained` names the labels
    that the model found less often than its errors in the test alone would give: there the assumption fails, and
    `posts` and `factors` are no numbers.
    """

    posts: np.ndarray
    factors: np.ndarray
    method: str
    n: int
    assumes: str
    strained: tuple[str, ...] = ()


def from_sample(truth: np.ndarray, said: np.ndarray, groups: np.ndarray, counted: np.ndarray,
                draws: int = 1000) -> np.ndarray:
    """Number of posts of each label, from a random sample of those that were counted; shape (draws + 1, k).

    Prediction-powered inference for a mean (Angelopoulos et al., "Prediction-powered inference", Science 2023): what
    the model counted, plus the mean difference between truth and prediction in the sample. For each label one
    error in either direction is added to the sample, so that a sample without errors does not claim certainty (Bonett
    and Price, 2012).

    Parameters
    ----------
    truth, said : labels of the sample, shape (n,)
    groups : number of the near-duplicates that a row belongs to; rows of a group are resampled together
    counted : what the model said of all posts, shape (k,)
    """
    k = len(counted)
    added = np.arange(k)
    off = np.eye(k)[np.r_[truth, added]] - np.eye(k)[np.r_[said, (added + 1) % k]]
    weights = resamples(np.r_[pd.factorize(groups)[0], len(truth) + added], draws)
    return np.maximum(counted + counted.sum() * (weights @ off) / weights.sum(axis=1, keepdims=True), 0)


def from_test(truth: np.ndarray, said: np.ndarray, groups: np.ndarray, counted: np.ndarray,
              draws: int = 1000) -> np.ndarray:
    """Number of posts of each label, from how test rows were misread; shape (draws + 1, k).

    Maximum likelihood of the label shares under label shift, by the EM of Saerens, Latinne and Decaestecker (2002) on
    the confusion matrix: what Rogan and Gladen (1978) invert, kept within 0 and 1. Replicates draw the test rows
    again by group, and the posts. Parameters as in `from_sample`, the rows being those of the test.
    """
    k, total = len(counted), counted.sum()
    if not total:
        return np.zeros((draws + 1, k))
    cells = np.zeros((len(truth), k * k))
    cells[np.arange(len(truth)), np.asarray(truth) * k + np.asarray(said)] = 1
    read_as = (resamples(groups, draws) @ cells).reshape(-1, k, k) + _PRIOR / k
    read_as /= read_as.sum(axis=2, keepdims=True)
    again = np.random.default_rng(1).multinomial(total, counted / total, draws)
    said_share = np.vstack([counted, again]) / total
    shares = np.full((draws + 1, k), 1 / k)
    for _ in range(_ROUNDS):
        expected = np.einsum("dk,dkj->dj", shares, read_as)
        shares = shares * np.einsum("dj,dkj->dk", said_share / expected, read_as)
    return shares * total


def test_rows(predictions: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``predictions.csv`` with their ``group`` in the model's ``split.csv``.

    Raises
    ------
    InputError
        If they are not of one split.
    """
    group = split[split["part"] == "test"].drop_duplicates("id").set_index("id")["group"]
    if set(predictions["id"]) != set(group.index):
        raise InputError("predictions.csv was written for another model; run `make performance` again")
    return predictions.assign(group=predictions["id"].map(group))


def labelled_here(labels: pd.DataFrame, known: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Posts of a data set that people labelled in this project and that no file labelled, for `correct`.

    Parameters
    ----------
    labels : all labels of the data set, from the store
    known : the one label of each post that counts, with ``dataset``, ``id``, ``text``, ``label``
    split : ``split.csv`` of the model; a post of the audit that it learned from does not audit it
    """
    ours = set(labels["id"]) - set(labels.loc[labels["origin"] == "import", "id"])
    learned = split[split["part"].isin(["train", "validation"])].merge(labels[["dataset", "id"]])["id"]
    audit = set(labels.loc[labels["origin"] == "audit", "id"]) - set(learned)
    rows = known.merge(labels[["dataset", "id"]].drop_duplicates())
    rows = rows.loc[rows["id"].isin(ours), ["id", "text", "label"]].reset_index(drop=True)
    return rows.assign(audit=rows["id"].isin(audit), group=near_duplicates(rows["text"]))


def correct(decided: pd.DataFrame, test: pd.DataFrame, here: pd.DataFrame, task: Task) -> Correction:
    """Choose the sample that tells how the model errs, and correct the counts of posts by it.

    Parameters
    ----------
    decided : one row a post, with ``id``, ``label`` and ``decided_by``
    test : ``label``, ``predicted`` and ``group`` of the test rows
    here : rows of `labelled_here` with ``predicted``; the audit was drawn from all of them and all that the model
        decided, so that it is these it speaks for
    """
    k, audit = len(task.labels), here[here["audit"]]
    method = "audit" if len(audit) >= LEAST_AUDIT else "test"
    predicted = decided["decided_by"] == "predicted"
    said, exact = decided.loc[predicted, "label"], decided[~predicted]
    if method == "audit":
        said = pd.concat([said, here["predicted"]])
        exact = exact[~exact["id"].isin(here["id"])]
    sample, estimate = (audit, from_sample) if method == "audit" else (test, from_test)
    counted = np.bincount(said, minlength=k)
    posts = estimate(*(sample[name].to_numpy(int) for name in ("label", "predicted", "group")), counted)
    factors = np.where(counted > 0, posts / np.maximum(counted, 1), 1.0)
    gone = (factors[0] < _VANISHED) & (counted >= 4 * LEAST_CELL) & (method == "test")
    strained = tuple(np.array(task.names)[gone].tolist())
    assumes = _ASSUMES["" if strained else method].format(n=len(sample), least=LEAST_AUDIT,
                                                          strained=" and ".join(strained))
    posts += np.bincount(exact["label"], minlength=k)
    known = np.nan if strained else 1.0
    return Correction(posts * known, factors * known, method, len(sample), assumes, strained)


def _incidents(incidents: pd.DataFrame, correction: Correction, again: bool = True) -> np.ndarray:
    """Replicates of how many of these incidents there truly are by label: those that a label decided, and the others
    times how much the model over- or undercounts their label. With `again` they are also drawn anew (Poisson), and
    stay as they were counted where there is no correction."""
    k, predicted = correction.factors.shape[1], incidents["decided_by"] == "predicted"
    parts = [np.bincount(incidents.loc[which, "label"].astype(int), minlength=k) for which in (~predicted, predicted)]
    sure, guessed = (np.tile(part, (len(correction.factors), 1)).astype(float) for part in parts)
    if again:
        generator = np.random.default_rng(2)
        sure[1:], guessed[1:] = generator.poisson(sure[1:]), generator.poisson(guessed[1:])
    return sure + guessed * (np.nan_to_num(correction.factors, nan=1.0) if again else correction.factors)


def by_label(decided: pd.DataFrame, incidents: pd.DataFrame, correction: Correction, task: Task) -> pd.DataFrame:
    """Posts and incidents by label, and of all positive labels (``all``), as counted and as corrected, if they can be.

    Columns ``posts``, ``value``, ``low``, ``high``; ``incidents``, ``incidents_value`` … for positive labels only. An
    incident is taken to be missed or made up as often as a post of its label.
    """
    truly, rows = _incidents(incidents, correction, again=False), {}
    for name, numbers in {**{x.number: [x.number] for x in task.labels}, "all": task.positive}.items():
        row = {"posts": decided["label"].isin(numbers).sum()} | interval(correction.posts[:, numbers].sum(axis=1))
        if set(numbers) <= set(task.positive):
            told = interval(truly[:, numbers].sum(axis=1))
            row |= {"incidents": incidents["label"].isin(numbers).sum()} \
                | {f"incidents_{key}": value for key, value in told.items()}
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("label")


def by_cell(incidents: pd.DataFrame, cells: pd.Series, correction: Correction) -> pd.DataFrame:
    """Incidents in each cell (a month, a state), most first: as counted, and ``value``, ``low``, ``high`` as corrected.

    Where there is no correction, ``value`` is the count. The model is taken to err alike in all cells. The interval
    holds chance as well, what another such time would bring (Poisson), so that cells can be compared. Cells of fewer
    than `LEAST_CELL` become one named "other".
    """
    size = cells.map(cells.value_counts())
    table = {name: {"incidents": len(rows), **interval(_incidents(rows, correction).sum(axis=1))}
             for name, rows in incidents.groupby(cells.where(size >= LEAST_CELL, "other"))}
    frame = pd.DataFrame.from_dict(table, orient="index", columns=["incidents", "value", "low", "high"])
    return frame.sort_values("incidents", ascending=False, kind="stable").rename_axis(cells.name)


@cache
def census() -> pd.DataFrame:
    """``name`` and ``population`` of each state (two letters) at the census of 2020."""
    return pd.read_csv(FOLDER / "us_population.csv", index_col="state")


def rates(states: pd.DataFrame) -> pd.DataFrame:
    """Incidents (``value``) per million people of the states in a table of `by_cell`, highest first, told apart."""
    people = census()["population"].reindex(states.index).to_numpy(float) / 1e6
    rate = states[["value", "low", "high"]].div(people, axis=0).assign(incidents=states["incidents"]).dropna()
    return tell_apart(rate.sort_values("value", ascending=False))


def timeline(incidents: pd.DataFrame, times: pd.Series, task: Task) -> pd.DataFrame:
    """Incidents in each day, week or month of the collection by positive label; labels of few become ``other``.

    Rows run from the first to the last of the posts' `times`; ``collected`` says whether any post is from that
    period. Incidents that lie elsewhere, or whose date is too rough, are in no row.
    """
    known = times.dropna()
    if known.empty:
        return pd.DataFrame(columns=["unit", "collected", *task.positive, "other"]).rename_axis("period")
    span = (known.max() - known.min()).days
    unit = "D" if span <= 60 else "W" if span <= 400 else "M"
    every = pd.period_range(known.min(), known.max(), freq=unit)
    dated = pd.to_datetime(incidents["incident_date"]).where(~incidents["date_precision"].isin(ROUGH[unit]))
    table = incidents.groupby([dated.dt.to_period(unit), "label"]).size().unstack(fill_value=0)
    table = table.reindex(index=every, columns=task.positive, fill_value=0).astype(int)
    few = table.where(table < LEAST_CELL, 0)
    table = table.mask(table < LEAST_CELL, 0).assign(other=few.sum(axis=1))
    return table.assign(unit=unit, collected=every.isin(known.dt.to_period(unit))).set_axis(
        every.start_time.strftime("%Y-%m-%d")).rename_axis("period")
