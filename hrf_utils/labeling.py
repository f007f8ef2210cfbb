"""What the labels are like, and which posts are worth a person's time next."""

import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from hrf_utils.settings import InputError
from hrf_utils.tasks import Task
from hrf_utils.text import canonical, near_duplicates

MIX = "uncertain 0.4, diverse 0.1, rare 0.4, audit 0.1"
AUDIT_SHARE = 0.1
"""Share of all posts that are kept apart for the audit sample, and queued for no other reason."""
_AUDIT_KEY = "the audit sample"  # sixteen bytes; `datasets.withheld` hashes with another key
_CLUSTERED = 20_000


def label_counts(labels: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Number and share of posts by label; every label of the task has a row."""
    counts = labels["label"].value_counts().reindex(range(len(task.labels)), fill_value=0)
    table = pd.DataFrame({"name": task.names, "posts": counts.to_numpy(),
                          "share": counts.to_numpy() / max(1, counts.sum())})
    return table.rename_axis("label")


def disagreements(labels: pd.DataFrame) -> pd.DataFrame:
    """Texts that stand more than once, with the labels they carry.

    One row a text (compared as `text.canonical` has it): ``copies``, ``labels`` (sorted, distinct)
    and ``agree``. Where equal texts carry different labels, no model can get both right.
    """
    keys = labels["text"].map(canonical)
    by_text = labels.groupby(keys)["label"]
    table = pd.DataFrame({"copies": by_text.size(), "labels": by_text.agg(lambda x: sorted(set(x)))})
    table = table[table["copies"] > 1]
    return table.assign(agree=table["labels"].map(len) == 1).reset_index(drop=True)


def shares(mix: str) -> dict[str, float]:
    """The share of each reason in a mix like ``uncertain 0.5, audit 0.5``; reasons of share 0 are left out.

    Raises
    ------
    InputError
        If a reason is unknown or stands twice, a share is no number from 0 to 1, or they do not sum to 1.
    """
    known = [part.split()[0] for part in MIX.split(", ")]
    parts = [part.split() for part in mix.split(",")]
    try:
        found = {name: float(share) for name, share in parts}
        fits = set(found) <= set(known) and len(found) == len(parts) and min(found.values()) >= 0
    except ValueError:
        fits = False
    if not fits or not abs(sum(found.values()) - 1) < 1e-6:
        raise InputError(f'mix={mix!r} must give shares that sum to 1 to some of {", ".join(known)}, like "{MIX}"')
    return {name: share for name, share in found.items() if share}


def audit_order(ids: pd.Series) -> np.ndarray:
    """A number from 0 to 1 for each id, as good as random and always the same; shape (n,).

    Posts below `AUDIT_SHARE` are the audit sample, to be labelled in this order: whatever part of it
    is done is a random sample of all posts, whatever any model thinks of them.
    """
    return pd.util.hash_array(ids.to_numpy(dtype=object), hash_key=_AUDIT_KEY) / 2**64


def queue(posts: pd.DataFrame, labels: pd.DataFrame, task: Task, n: int = 200, mix: str = MIX) -> pd.DataFrame:
    """Unlabelled posts to label next, each for one of four reasons, the reasons taking turns.

    ``uncertain``: a quick linear model of the labels at hand cannot decide between two (margin sampling;
    Settles, "Active learning literature survey", 2009). ``diverse``: the middle of a cluster of posts like
    which few were labelled. ``rare``: a positive label that is rare so far is likely, as the quick model
    and the task's patterns see it. ``audit``: drawn at random, see `audit_order`. Near-duplicates, of each
    other or of a labelled post, are left out, but not from the audit: a sample without them would be
    one of texts and not of posts.

    Parameters
    ----------
    posts : posts with ``dataset``, ``id`` and ``text``
    labels : labelled posts with ``dataset``, ``id``, ``text`` and ``label``
    mix : the share of each reason

    Returns
    -------
    DataFrame with ``id``, ``text`` and ``why``, in the order to label; at most `n` rows.

    Raises
    ------
    InputError
        If the mix cannot be read, or all labels are the same.
    """
    wanted = shares(mix)
    if labels["label"].nunique() < 2:
        raise InputError("all labels are the same; label some posts of another one first")
    done = labels.loc[labels["dataset"].isin(posts["dataset"]), "id"]
    rest = posts.loc[~posts["id"].isin(done), ["id", "text"]].reset_index(drop=True)
    drawn = pd.Series(audit_order(rest["id"]), rest.index)
    free = rest[(drawn >= AUDIT_SHARE) & ~rest["text"].map(canonical).duplicated()]
    ranked = {"audit": drawn[drawn < AUDIT_SHARE].sort_values().index[:round(n * wanted.get("audit", 0))]}
    if len(free):
        chances, rare = _likely(free["text"], labels, task)
        best = np.sort(chances, axis=1)
        ranked["uncertain"] = free.index[np.argsort(best[:, -2] - best[:, -1], kind="stable")[::-1]]
        ranked["rare"] = free.index[rare]
        if "diverse" in wanted:
            ranked["diverse"] = _middles(free["text"], labels["text"], 2 * int(np.ceil(n * wanted["diverse"])))
    ranked = {why: rows[:3 * n] for why, rows in ranked.items() if why in wanted}
    listed = rest.loc[pd.Index([], dtype=int).append(list(ranked.values())).unique()]
    groups = near_duplicates(pd.concat([labels["text"], listed["text"]]))
    chosen = _take_turns(ranked, wanted, pd.Series(groups[len(labels):], listed.index), set(groups[:len(labels)]), n)
    return rest.loc[list(chosen)].assign(why=list(chosen.values())).reset_index(drop=True)


def _take_turns(ranked: dict[str, pd.Index], wanted: dict[str, float], group: pd.Series, known: set[int],
                n: int) -> dict[int, str]:
    """Rows chosen, and why, in order: the reason that lags most behind its share takes the next of its rows."""
    taken, chosen = known | set(group[ranked.get("audit", [])]), {}
    turns, had = {why: iter(rows) for why, rows in ranked.items()}, dict.fromkeys(ranked, 0)
    while turns and len(chosen) < n:
        why = max(turns, key=lambda one: wanted[one] * (len(chosen) + 1) - had[one])
        row = next((row for row in turns[why] if why == "audit" or group[row] not in taken), None)
        if row is None:
            del turns[why]
            continue
        chosen[row], had[why] = why, had[why] + 1
        taken.add(group[row])
    return chosen


def _words(texts: pd.Series) -> TfidfVectorizer:
    """TF-IDF of words and their pairs; a text always has words, if only punctuation."""
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2 if len(texts) > 200 else 1,
                           token_pattern=r"\w+|[^\w\s]")


def _likely(texts: pd.Series, labels: pd.DataFrame, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, labels) under a quick model, and the rows likeliest to carry a rare positive label.

    A label is rare with less than an even share of the labels at hand. Its chance is the mean of the quick
    model's and of how often it was right where the keyword rule says what it says of the post.
    """
    k = len(task.labels)
    model = make_pipeline(_words(labels["text"]), LogisticRegression(C=5, class_weight="balanced", max_iter=200))
    model.fit(labels["text"], labels["label"])
    chances = np.zeros((len(texts), k))
    chances[:, model.classes_] = model.predict_proba(texts)
    right = 0.5 + np.eye(k)
    np.add.at(right, (task.keyword_rule(labels["text"]), labels["label"]), 1)
    told = (right / right.sum(axis=1, keepdims=True))[task.keyword_rule(texts)]
    counts = np.bincount(labels["label"], minlength=k)
    fewest = sorted(task.positive, key=lambda label: counts[label])
    rare = [label for label in fewest if counts[label] < counts.sum() / k] or fewest[:1]
    return chances, pd.unique(np.argsort(-(chances + told)[:, rare], axis=0, kind="stable").ravel())


def _middles(texts: pd.Series, labelled: pd.Series, clusters: int) -> pd.Index:
    """The post in the middle of each cluster of a sample, first of the clusters with the fewest labelled posts.

    Posts are placed by TF-IDF reduced to fifty dimensions, since a pretrained encoder took minutes for 5,000 posts.
    """
    sample = texts.sample(min(len(texts), _CLUSTERED), random_state=0)
    words = _words(sample)
    counts = words.fit_transform(sample)
    place = make_pipeline(TruncatedSVD(min(50, counts.shape[1]), random_state=0), Normalizer())
    found = MiniBatchKMeans(max(1, min(clusters, len(sample))), n_init=1, random_state=0)
    nearest = found.fit_transform(place.fit_transform(counts)).argmin(axis=0)
    crowd = np.bincount(found.predict(place.transform(words.transform(labelled))), minlength=len(nearest))
    return sample.index[pd.unique(nearest[np.argsort(crowd, kind="stable")])]
