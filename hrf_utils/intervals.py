"""How far a number can be trusted: 95% intervals, and how they are written.

Most are percentile bootstraps that resample whole clusters of related rows (Efron and Tibshirani, "An
introduction to the bootstrap", 1993). Metrics that share their resamples have paired differences.
"""

import numpy as np
import pandas as pd
from scipy.stats import binomtest

LEVEL = 0.95


def resamples(clusters: np.ndarray, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """Row weights of a cluster bootstrap.

    Parameters
    ----------
    clusters : cluster number of each row, shape (n,)

    Returns
    -------
    ndarray of float, shape (draws + 1, n): how often each row was drawn; the first row is all ones.
    """
    numbers = pd.factorize(clusters)[0]
    count = numbers.max() + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    return np.vstack([np.ones(len(numbers)), drawn[:, numbers]])


def interval(values: np.ndarray) -> dict[str, float]:
    """Value, low and high of replicates whose first entry is the value itself."""
    tail = (1 - LEVEL) / 2
    finite = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(finite, [tail, 1 - tail]) if len(finite) else (np.nan, np.nan)
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def share(hits: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Interval of a share: `hits` of shape (n,) under row weights (draws + 1, n).

    Rows of weight 0 throughout do not count; without any row the share is not a number. Where all rows are hits, or
    none is, no resample differs, and the interval is `wilson`'s for as many cases as there are clusters.
    """
    hits = np.asarray(hits, float)
    with np.errstate(invalid="ignore"):
        found = interval((weights @ hits) / weights.sum(axis=1))
    if found["value"] in (0, 1):
        together = np.unique(weights[:33, weights.any(axis=0)], axis=1).shape[1]  # a cluster's rows are drawn together
        return wilson(round(found["value"] * together), together)
    return found


def wilson(hits: int, n: int) -> dict[str, float]:
    """Interval of a share of independent cases, of use at 0 and at 1 too (Wilson, 1927)."""
    if not n:
        return {"value": np.nan, "low": np.nan, "high": np.nan}
    limits = binomtest(int(hits), int(n)).proportion_ci(LEVEL, method="wilson")
    return {"value": hits / n, "low": limits.low, "high": limits.high}


def show(cell: dict | None, percent: bool = False) -> str:
    """An interval as a reader wants it: ``0.810 (0.790 to 0.840)``.

    In percent, one that lies close to all or to nothing has a decimal, and ``over 99.9%`` is all of it.
    """
    if cell is None or cell["value"] is None or not np.isfinite(cell["value"]):
        return "–"
    if percent and 0.999 < cell["low"] < 1:
        return "over 99.9%"
    close = 0.99 < cell["low"] < 1 or 0 < cell["high"] < 0.01
    form = "{:.3f}" if not percent else "{:.1%}" if close else "{:.0%}"
    value, low, high = (form.format(cell[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def tell_apart(table: pd.DataFrame) -> pd.DataFrame:
    """Which ranks each row of a table with ``value``, ``low``, ``high`` may have, as far as the intervals tell.

    ``rank_low`` counts the rows that lie wholly above it, ``rank_high`` leaves out those wholly below. Rows of one
    ``group`` overlap with its first row; a new group begins with the first row that does not.
    """
    low, high = table["low"].to_numpy(), table["high"].to_numpy()
    above, groups, first = (low[None, :] > high[:, None]).sum(axis=1), [], 0
    for row in range(len(table)):
        first = row if high[row] < low[first] else first
        groups.append(groups[-1] + (first == row) if groups else 1)
    below = (high[None, :] < low[:, None]).sum(axis=1)
    return table.assign(rank_low=above + 1, rank_high=len(table) - below, group=groups)


def order(table: pd.DataFrame, what: str) -> str:
    """What may be said of the order of a table of `tell_apart`."""
    if len(table) < 2:
        return f"There are too few {what} to compare."
    top = table.index[table["rank_low"] == 1].map(str).tolist()
    if len(top) == len(table):
        return f"No ranking: as far as the intervals tell, any of the {len(table)} {what} may be the highest."
    if len(top) == 1:
        return f"{top[0]} stands clearly above the other {len(table) - 1} {what}."
    more = f" and {len(top) - 8} more" if len(top) > 8 else ""
    return (f"As far as the intervals tell, any of {len(top)} of the {len(table)} {what} may be the highest: "
            f"{', '.join(top[:8])}{more}.")
