"""What the labels are like, and which posts are worth a person's time next."""

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from hrf_utils.settings import InputError
from hrf_utils.tasks import Task
from hrf_utils.text import canonical, near_duplicates


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


def queue(posts: pd.DataFrame, labels: pd.DataFrame, n: int = 200) -> pd.DataFrame:
    """Unlabelled posts to label next, the most uncertain first, near-duplicates once.

    Uncertainty is one minus the gap between the two likeliest labels under a quick linear model of
    the labels at hand (margin sampling; Settles, "Active learning literature survey", 2009).

    Parameters
    ----------
    posts : posts with ``id`` and ``text``
    labels : labelled posts with ``id``, ``text`` and ``label``

    Returns
    -------
    DataFrame with ``id``, ``text``, ``guess``, ``uncertainty``; at most `n` rows.

    Raises
    ------
    InputError
        If all labels are the same.
    """
    if labels["label"].nunique() < 2:
        raise InputError("all labels are the same; label some posts of another one first")
    rest = posts[~posts["id"].isin(labels.loc[labels["dataset"].isin(posts["dataset"]), "id"])]
    if rest.empty:
        return pd.DataFrame(columns=["id", "text", "guess", "uncertainty"])
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
                          LogisticRegression(C=10, class_weight="balanced", max_iter=1000))
    model.fit(labels["text"], labels["label"])
    chances = model.predict_proba(rest["text"])
    best = np.sort(chances, axis=1)
    table = rest[["id", "text"]].assign(guess=model.classes_[chances.argmax(axis=1)],
                                        uncertainty=1 - (best[:, -1] - best[:, -2]))
    table["group"] = near_duplicates(table["text"])
    table = table.sort_values(["uncertainty", "id"], ascending=[False, True], kind="stable")
    return table.drop_duplicates("group").drop(columns="group").head(n).reset_index(drop=True)
