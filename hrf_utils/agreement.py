"""How far people agree on labels, and the model with them: alpha, who differs from whom, what to decide again, which
labels to doubt."""

import warnings
from itertools import combinations

import krippendorff
import numpy as np
import pandas as pd
from cleanlab.rank import get_label_quality_scores
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union

from hrf_utils.intervals import interval, resamples, share, wilson
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.tasks import Task
from hrf_utils.text import canonical, clean, near_duplicates

_POST = ["dataset", "id"]
_ADJUDICATOR = "adjudicator "
"""What a labeler's name starts with where a decision is meant, so that it replaces no reading of the same person."""


def readings(labels: pd.DataFrame) -> pd.DataFrame:
    """The labels that people gave without knowing of others': imported ones, of sessions and of the audit."""
    return labels[labels["origin"].isin(["import", "session", "audit"])]


def _counts(given: pd.DataFrame, unit: str | list[str], k: int) -> np.ndarray:
    """How often each unit with two labels or more got each label, shape (units, labels)."""
    table = given.groupby(unit)["label"].value_counts().unstack(fill_value=0)
    counts = table.reindex(columns=range(k), fill_value=0).to_numpy()
    return counts[counts.sum(axis=1) > 1]


def _alpha(counts: np.ndarray, level: str) -> float:
    """Krippendorff's alpha; not a number where only one label was ever given."""
    if (counts.sum(axis=0) > 0).sum() < 2:
        return np.nan
    return krippendorff.alpha(value_counts=counts, level_of_measurement=level)


def alpha(given: pd.DataFrame, task: Task, unit: str | list[str] = _POST, draws: int = 300) -> pd.DataFrame:
    """Krippendorff's alpha of all labels and of each against the rest, with intervals that resample units.

    1 is perfect agreement and 0 what chance gives (Krippendorff, "Content analysis", 2019). An ordinal task has
    it twice: ``ordinal``, where a near miss is a smaller disagreement, and ``nominal``.

    Parameters
    ----------
    given : one row a label, from `readings`
    unit : column(s) that say what was labelled; units with one label do not count

    Returns
    -------
    One row a measure: ``units``, for a label those that anybody gave it to, ``value``, ``low``, ``high``.
    Empty where no unit has two labels.
    """
    counts = _counts(given, unit, len(task.labels))
    cuts = {"all labels, ordinal": (counts, "ordinal")} if task.ordinal else {}
    cuts["all labels, nominal"] = (counts, "nominal")
    for label in task.labels:
        one = counts[:, label.number]
        cuts[f"{label.number}  {label.name}"] = (np.column_stack([counts.sum(axis=1) - one, one]), "nominal")
    drawn = np.random.default_rng(0).integers(len(counts), size=(draws, len(counts))) if len(counts) else []
    rows = {}
    for name, (table, level) in cuts.items() if len(counts) else ():
        values = np.array([_alpha(table, level), *(_alpha(table[rows], level) for rows in drawn)])
        rows[name] = {"units": int((table[:, 1:].sum(axis=1) > 0).sum()) if name[0].isdigit() else len(table)}
        rows[name] |= interval(values)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["units", "value", "low", "high"]) \
        .rename_axis("labels")


def between(given: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Labelers two by two: how often both labelled the same post alike, and what they confuse most.

    Returns
    -------
    One row a pair with a post in common: ``labeler``, ``and``, ``posts``, the share alike as ``value``, ``low`` and
    ``high``, and ``mostly``, the commonest two labels that they gave to one post; most posts first.
    """
    by_labeler = given.pivot_table(index=_POST, columns="labeler", values="label")
    rows = []
    for one, other in combinations(by_labeler, 2):
        both = by_labeler[[one, other]].dropna().astype(int)
        apart = both[both[one] != both[other]].value_counts()
        if len(both):
            mostly = f"{task.names[apart.index[0][0]]} / {task.names[apart.index[0][1]]}" if len(apart) else "–"
            rows.append({"labeler": one, "and": other, "posts": len(both)}
                        | wilson((both[one] == both[other]).sum(), len(both)) | {"mostly": mostly})
    columns = ["labeler", "and", "posts", "value", "low", "high", "mostly"]
    return pd.DataFrame(rows, columns=columns).sort_values("posts", ascending=False, ignore_index=True)


def confusion(given: pd.DataFrame, task: Task) -> np.ndarray:
    """How often two readings of a post were the labels a and b; symmetric, shape (labels, labels)."""
    counts = _counts(given, _POST, len(task.labels))
    return counts.T @ counts - np.diag(counts.sum(axis=0))


def second_reader(given: pd.DataFrame, answers: pd.DataFrame, draws: int = 1000) -> dict[str, object]:
    """How often two people label a post alike, and how often the model and one of them do, on the same posts.

    Parameters
    ----------
    given : one row a label, from `readings`
    answers : ``dataset``, ``id``, ``cluster`` (what intervals draw as one piece) and ``predicted``, the model's label,
        of posts that it did not learn from

    Returns
    -------
    dict of ``posts`` (those that several people labelled), and intervals of the share alike: ``people``, ``model``, and
    ``difference``, the model's minus people's. A post counts once, however many labelled it. The intervals are None
    where there is no such post.
    """
    both = answers.merge(given[[*_POST, "label"]], on=_POST)
    both["alike"] = both.groupby([*_POST, "label"])["label"].transform("size") - 1
    both["others"] = both.groupby(_POST)["label"].transform("size") - 1
    both = both[both["others"] > 0]
    if both.empty:
        return {"posts": 0, "people": None, "model": None, "difference": None}
    both["people"], both["model"] = both["alike"] / both["others"], (both["label"] == both["predicted"]).astype(float)
    by_post = both.groupby(_POST).agg({"cluster": "first", "people": "mean", "model": "mean"})
    weights = resamples(by_post["cluster"].to_numpy(), draws)
    apart = weights @ (by_post["model"] - by_post["people"]).to_numpy() / weights.sum(axis=1)
    return {"posts": len(by_post), "people": share(by_post["people"], weights),
            "model": share(by_post["model"], weights), "difference": interval(apart)}


def to_adjudicate(labels: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Posts on which readings differ and nobody has decided yet, the rarest label first.

    Returns
    -------
    One row a post: ``dataset``, ``id``, ``text`` and ``labels``, what each labeler said.
    """
    decided = pd.MultiIndex.from_frame(labels.loc[labels["origin"].isin(["adjudication", "review"]), _POST])
    given = readings(labels)
    given = given[~pd.MultiIndex.from_frame(given[_POST]).isin(decided)]
    given = given[given.groupby(_POST)["label"].transform("nunique") > 1].sort_values([*_POST, "labeler"])
    frequency = labels["label"].value_counts()
    given = given.assign(rarest=given["label"].map(frequency),
                         labels=given["labeler"] + ": " + given["label"].map(dict(enumerate(task.names))))
    by_post = given.groupby(_POST).agg(text=("text", "first"), labels=("labels", "; ".join), rarest=("rarest", "min"))
    return by_post.reset_index().sort_values(["rarest", *_POST], ignore_index=True).drop(columns="rarest")


def adjudicate(store: Store, task: Task, dataset: str, post: str, label: int | str, who: str, why: str) -> None:
    """Decide which label a post has: writes one of origin ``adjudication``, and keeps what it had been decided to be.

    Raises
    ------
    InputError
        If the label is unknown, nobody signs, no reason is given, or there is no such labelled post.
    """
    number, who, why = task.number(str(label)), clean(who), clean(why)
    if number is None:
        raise InputError(task.no_label(label))
    if not who or not why:
        raise InputError(f"the decision on post {post} needs who decides and why")
    before = store.labels(task.name, [dataset])
    before = before[before["id"] == post]
    if before.empty:
        raise InputError(f"the data set {dataset} has no labelled post {post}; nothing was decided")
    earlier = before[before["labeler"] == _ADJUDICATOR + who]
    for row in earlier[earlier["label"] != number].itertuples():
        why = clean(f"{why} (was {task.names[row.label]} on {row.labelled_at:%Y-%m-%d}: {row.note})")
    store.add_labels(pd.DataFrame([{
        "task": task.name, "dataset": dataset, "id": post, "labeler": _ADJUDICATOR + who, "label": number,
        "origin": "adjudication", "note": why, "codebook_version": task.codebook_version}]))


def log(labels: pd.DataFrame, task: Task) -> pd.DataFrame:
    """What was decided, latest first: ``id``, ``label``, ``who``, ``when`` and ``why``."""
    decided = labels[labels["origin"] == "adjudication"].sort_values("labelled_at", ascending=False)
    return pd.DataFrame({"id": decided["id"], "label": decided["label"].map(dict(enumerate(task.names))),
                         "who": decided["labeler"].str.removeprefix(_ADJUDICATOR), "when": decided["labelled_at"],
                         "why": decided["note"]}).reset_index(drop=True)


def suspects(rows: pd.DataFrame) -> pd.DataFrame:
    """Labelled posts, those whose label is most likely wrong first.

    A linear model of words, their pairs and pieces of words answers for each row from rows that are no near-duplicates
    of it; the less it believes the label given, the more suspect it is (self-confidence; Northcutt, Jiang and Chuang,
    "Confident learning", 2021).

    Parameters
    ----------
    rows : ``id``, ``text`` and ``label``, one row a post

    Returns
    -------
    The rows with ``belief``, the probability of the label given, and ``rather``, the label it would give; none where
    each label stands once.
    """
    most = rows["label"].value_counts().max()
    if most < 2:
        return rows.head(0).assign(belief=0.0, rather=0)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True,
                             min_df=2 if len(rows) > 200 else 1)
    model = make_pipeline(make_union(words, pieces), LogisticRegression(C=1, class_weight="balanced", tol=1e-3))
    kinds, labels = np.unique(rows["label"], return_inverse=True)
    folds = StratifiedGroupKFold(min(5, most), shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class|Number of classes in training")
        chances = cross_val_predict(model, rows["text"], labels, groups=near_duplicates(rows["text"]), cv=folds,
                                    method="predict_proba")
    table = rows.assign(belief=get_label_quality_scores(labels, chances, method="self_confidence"),
                        rather=kinds[chances.argmax(axis=1)])
    return table.sort_values("belief", kind="stable")


def planted(rows: pd.DataFrame, task: Task, seeds: int = 5) -> pd.DataFrame:
    """How many of the first 100 suspects are errors that were planted: one row a seed, ``planted`` and ``precision``.

    Of the labels 8%, drawn at random, are changed to another one, drawn at random. Labels that were wrong before
    count as right, so that the true precision is higher.
    """
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        wrong = rng.choice(len(rows), round(0.08 * len(rows)), replace=False)
        labels = rows["label"].to_numpy(copy=True)
        labels[wrong] = (labels[wrong] + rng.integers(1, len(task.labels), len(wrong))) % len(task.labels)
        ranked = suspects(rows.assign(label=labels, row=range(len(rows))))
        found.append({"planted": len(wrong), "precision": ranked["row"].head(100).isin(wrong).mean()})
    return pd.DataFrame(found)


def caught(ranked: pd.DataFrame, parts: tuple[float, ...] = (0.05, 0.1, 0.2)) -> pd.DataFrame:
    """Where the rows stand whose text stands twice with different labels: one of each two at least is wrong.

    Parameters
    ----------
    ranked : from `suspects`, which sees no copy of a row that it judges

    Returns
    -------
    One row a part: ``rows`` of such texts, and the share of them among the first `part` of all, with an interval that
    resamples texts; chance gives `part`. Empty where there are no such texts.
    """
    keys = ranked["text"].map(canonical)
    contested = ranked.groupby(keys)["label"].transform("nunique").to_numpy() > 1
    place = np.arange(len(ranked))[contested] / len(ranked)
    if not len(place):
        return pd.DataFrame(columns=["rows", "value", "low", "high"]).rename_axis("part")
    weights = resamples(keys[contested].to_numpy())
    return pd.DataFrame([{"part": part, "rows": len(place)} | share(place < part, weights) for part in parts]) \
        .set_index("part")
