"""Do new posts still look like those the model was judged on? Estimates from predictions alone."""

import numpy as np
import pandas as pd

from hrf_utils.intervals import resamples, share
from hrf_utils.tasks import Task

LEAST = 30
"""Posts that a period needs to be shown."""


def periods(posts: pd.DataFrame, predictions: pd.DataFrame, clusters: np.ndarray, task: Task,
            draws: int = 500) -> pd.DataFrame:
    """Predicted label shares and estimated accuracy by day, week or month.

    The unit is the finest in which four in five posts stand in periods with enough posts to be shown (`LEAST`).

    The estimate is the mean calibrated confidence: what the accuracy would be if confidence still meant
    on these posts what it meant on the validation rows. No label is seen; where the posts are of another
    kind the confidence itself can be wrong.

    Parameters
    ----------
    posts : with ``created_at``; rows without a time are left out
    predictions : rows as in `posts`: ``label``, ``confidence``
    clusters : group of each row; copies of a text are one piece of evidence

    Returns
    -------
    One row a period and measure: ``period`` (its first day), ``segment`` (numbered anew after a gap, across
    which no line is drawn), ``n``, ``measure`` (label number as text, or ``accuracy``), ``value``, ``low``, ``high``.
    """
    times = pd.to_datetime(posts["created_at"], utc=True).dt.tz_localize(None)
    for unit in ("D", "W", "M"):
        period = times.dt.to_period(unit)
        counts = period.value_counts()
        if counts[counts >= LEAST].sum() >= 0.8 * counts.sum():
            break
    rows, segment, last = [], 0, None
    for when in sorted(period.dropna().unique()):
        members = (period == when).to_numpy()
        if members.sum() < LEAST:
            continue
        segment += last is not None and (when - last).n > 1
        last = when
        weights = resamples(clusters[members], draws)
        about = {"period": when.start_time, "segment": segment, "n": int(members.sum())}
        labels = predictions["label"].to_numpy()[members]
        rows += [about | {"measure": str(k)} | share(labels == k, weights) for k in range(len(task.labels))]
        rows.append(about | {"measure": "accuracy"}
                    | share(predictions["confidence"].to_numpy()[members], weights))
    return pd.DataFrame(rows, columns=["period", "segment", "n", "measure", "value", "low", "high"])
