"""Which phrase to search for next: any of them, or rather one that has paid so far.

A phrase pays by the share of its posts that turn out to be what the task looks for, in the US as far as is
known. The bandit is Thompson sampling (Thompson, 1933) with a floor of chance for every phrase; the chance that
the chosen one had is written down with each search, so that another policy can be judged by what was collected.
"""

import numpy as np
import pandas as pd

from hrf_utils.intervals import wilson
from hrf_utils.places import locate
from hrf_utils.settings import InputError
from hrf_utils.tasks import Task

POLICIES = ("uniform", "bandit")
FLOOR = 0.05
"""Share of the bandit's searches that are shared out evenly among all phrases."""
_DRAWS = 1_000


def chances(policy: str, hits: np.ndarray, reads: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chance of each phrase to be searched for next.

    Parameters
    ----------
    policy : ``uniform`` or ``bandit``
    hits, reads : relevant posts and all posts that each phrase has brought, shape (phrases,)

    Returns
    -------
    ndarray, shape (phrases,), that sums to 1. The bandit's are the chances that a phrase has the highest share,
    by draws from the Beta posteriors of all shares.

    Raises
    ------
    InputError
        If there is no such policy.
    """
    if policy not in POLICIES:
        raise InputError(f"unknown POLICY {policy!r}; there are {' and '.join(POLICIES)}")
    even = np.full(len(reads), 1 / len(reads))
    if policy == "uniform":
        return even
    shares = rng.beta(1 + hits, 1 + reads - hits, size=(_DRAWS, len(reads)))
    best = np.bincount(shares.argmax(axis=1), minlength=len(reads)) / _DRAWS
    return FLOOR * even + (1 - FLOOR) * best


def choose(policy: str, table: pd.DataFrame, rng: np.random.Generator) -> tuple[str, float]:
    """Draw a phrase from the table of `yields`; gives it and the chance that it had."""
    given = chances(policy, table["hits"].to_numpy(), table["posts"].to_numpy(), rng)
    chosen = rng.choice(len(given), p=given)
    return table.index[chosen], float(given[chosen])


def relevant(posts: pd.DataFrame, answers: pd.Series, task: Task) -> np.ndarray:
    """Whether each post is what the task looks for, and not known to be abroad; bool, shape (n,).

    Parameters
    ----------
    posts : ``id``, ``text``, ``author_location``
    answers : label by id; a post without one does not count as relevant
    """
    positive = posts["id"].map(answers).isin(task.positive).to_numpy(copy=True)
    for row in np.flatnonzero(positive):
        place = locate(posts["text"].iloc[row], posts["author_location"].iloc[row] or None)
        positive[row] = place.country in (None, "US")
    return positive


def yields(found: pd.DataFrame, relevant: np.ndarray, task: Task) -> pd.DataFrame:
    """What each phrase has brought.

    Parameters
    ----------
    found : posts with ``query``, the phrase that found them
    relevant : whether each is what the task looks for, shape (n,)

    Returns
    -------
    One row a phrase of the task, in its order: ``posts``, ``hits``, and the share of hits as ``value``, ``low`` and
    ``high``.
    """
    groups = pd.Series(relevant, index=found.index).groupby(found["query"])
    counts = pd.DataFrame({"posts": groups.size(), "hits": groups.sum()}).reindex(list(task.queries), fill_value=0)
    counts = counts.astype(int).rename_axis("phrase")
    return counts.join(pd.DataFrame([wilson(*row) for row in counts[["hits", "posts"]].to_numpy()], index=counts.index))


def replay(pools: list[np.ndarray], policy: str, searches: int, batch: int, seed: int) -> pd.DataFrame:
    """Simulate a policy: each search draws posts, with replacement, from the pool of the phrase it chose.

    Parameters
    ----------
    pools : for each phrase, whether each of its posts is relevant
    searches : number of searches
    batch : posts read in each

    Returns
    -------
    One row a search: ``phrase`` (number), ``chance`` it had, ``hits``, and what an all-knowing searcher who always
    takes the best phrase would have had, ``best``.
    """
    rng = np.random.default_rng(seed)
    hits, reads = np.zeros(len(pools)), np.zeros(len(pools))
    best, rows = max(pool.mean() for pool in pools) * batch, []
    for _ in range(searches):
        given = chances(policy, hits, reads, rng)
        chosen = rng.choice(len(pools), p=given)
        came = rng.choice(pools[chosen], batch).sum()
        hits[chosen] += came
        reads[chosen] += batch
        rows.append((chosen, given[chosen], came, best))
    return pd.DataFrame(rows, columns=["phrase", "chance", "hits", "best"])


def value(log: pd.DataFrame, target: np.ndarray, weights: np.ndarray, batch: int) -> np.ndarray:
    """Share of hits that a policy would have had, from what another one collected.

    Self-normalised inverse propensity (Swaminathan and Joachims, 2015).

    Parameters
    ----------
    log : ``phrase`` (number), ``chance`` and ``hits`` of each search
    target : chance of each phrase under the policy that is judged, shape (phrases,)
    weights : resamples of the searches, shape (draws + 1, searches)
    """
    importance = weights * (target[log["phrase"]] / log["chance"].to_numpy())
    return (importance @ log["hits"].to_numpy() / batch) / importance.sum(axis=1)
