"""How good a model is, as far as the test rows can tell: metrics with intervals, and baselines."""

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import average_precision_score
from sklearn.model_selection import BaseCrossValidator, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC
from tqdm import tqdm

from hrf_utils.confidence import calibration_error, flagged_at_recall
from hrf_utils.intervals import interval, resamples, share
from hrf_utils.tasks import Task
from hrf_utils.text import one_form


def confusions(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, k: int) -> np.ndarray:
    """Weighted confusion matrices, shape (draws, k, k): true labels in rows."""
    cells = np.zeros((len(labels), k * k))
    cells[np.arange(len(labels)), labels * k + predicted] = 1
    return (weights @ cells).reshape(-1, k, k)


def from_confusion(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, per-label precision, recall and F1, macro and weighted F1 of confusion matrices.

    `matrices` has shape (draws, k, k). As in scikit-learn, a label that is neither true nor
    predicted does not count in the macro mean, and a precision without predictions is 0.
    """
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    true, said = matrices.sum(axis=2), matrices.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * hits / (true + said)
        total = true.sum(axis=1)
        return {
            "accuracy": hits.sum(axis=1) / total, "macro_f1": np.nanmean(f1, axis=1),
            "weighted_f1": (np.nan_to_num(f1) * true).sum(axis=1) / total,
            "precision": np.where(said > 0, hits / said, 0.0), "recall": hits / true, "f1": f1}


def _ordinal(matrices: np.ndarray, severe: dict | None) -> dict[str, np.ndarray] | None:
    """Quadratic kappa, mean absolute rank error, and share of severe under-calls."""
    k = matrices.shape[1]
    distance = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    total = matrices.sum(axis=(1, 2))
    chance = np.einsum("di,dj->dij", matrices.sum(axis=2), matrices.sum(axis=1))
    chance /= total[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        answer = {"qwk": 1 - (matrices * distance**2).sum((1, 2)) / (chance * distance**2).sum((1, 2)),
                  "mae": (matrices * distance).sum((1, 2)) / total}
        if severe:
            rows = matrices[:, severe["label"]]
            missed = rows[:, :, severe["predicted"]].sum((1, 2))
            answer["severe_under_call"] = missed / rows.sum((1, 2))
    return answer


def _binary(labels: np.ndarray, chances: np.ndarray, predicted: np.ndarray, task: Task,
            weights: np.ndarray) -> dict[str, np.ndarray]:
    true = np.isin(labels, task.positive).astype(int)
    said = np.isin(predicted, task.positive).astype(int)
    scores = positive_chance(chances, task)
    of_confusion = from_confusion(confusions(true, said, weights, 2))
    answer = {"accuracy": of_confusion["accuracy"],
              **{name: of_confusion[name][:, 1] for name in ("precision", "recall", "f1")}}
    answer["roc_auc"] = roc_auc(true, scores, weights)
    answer["average_precision"] = np.array([
        average_precision_score(true, scores, sample_weight=w) if 0 < (true * w).sum() < w.sum() else np.nan
        for w in tqdm(weights, desc="average precision", leave=False)])
    return answer


def roc_auc(true: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in each resample, shape (draws + 1,); not a number without both kinds of rows."""
    order = np.argsort(scores, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))
    drawn, true = weights[:, order], np.asarray(true, int)[order]
    above, below = (np.add.reduceat(drawn * part, first, axis=1) for part in (true, 1 - true))
    beaten = np.cumsum(below, axis=1) - below / 2
    with np.errstate(invalid="ignore"):
        return (above * beaten).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1))


def positive_chance(chances: np.ndarray, task: Task) -> np.ndarray:
    """Probability that a row is positive: the sum over the task's positive labels; shape (n,)."""
    return np.asarray(chances)[:, task.positive].sum(axis=1)


def evaluate(rows: pd.DataFrame, predictions: pd.DataFrame, task: Task,
             weights: np.ndarray) -> dict:
    """All metrics of one model on test rows, each with its interval.

    Parameters
    ----------
    rows : test rows with ``label``
    predictions : ``label`` and p0 … p(K-1) in the same order
    weights : resamples of the rows, shape (draws + 1, n)

    Returns
    -------
    dict with the keys that ``metrics.json`` documents.
    """
    labels, predicted = rows["label"].to_numpy(int), predictions["label"].to_numpy(int)
    chances = predictions.filter(regex=r"^p\d+$").to_numpy()
    matrices = confusions(labels, predicted, weights, len(task.labels))
    scores = from_confusion(matrices)
    per_label = {
        str(k): {name: interval(scores[name][:, k]) for name in ("precision", "recall", "f1")}
        | {"support": int((labels == k).sum())} for k in range(len(task.labels))}
    ordinal = _ordinal(matrices, task.severe_under_call) if task.ordinal else None
    binary = _binary(labels, chances, predicted, task, weights)
    error = interval(calibration_error(labels, predicted, chances.max(axis=1), weights))
    return {
        "n": len(labels),
        **{name: interval(scores[name]) for name in ("accuracy", "macro_f1", "weighted_f1")},
        "binary": {name: interval(values) for name, values in binary.items()},
        "per_label": per_label,
        "ordinal": ordinal and {name: interval(values) for name, values in ordinal.items()},
        "calibration": {"ece": error["value"], "ece_low": error["low"], "ece_high": error["high"]},
        "confusion": matrices[0].astype(int).tolist(),
    }


def headline(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray,
             k: int) -> dict[str, np.ndarray]:
    """Replicates of accuracy and macro-F1, shape (draws + 1,) each."""
    scores = from_confusion(confusions(labels, predicted, weights, k))
    return {name: scores[name] for name in ("accuracy", "macro_f1")}


def words() -> TfidfVectorizer:
    """TF-IDF of words and pairs of words."""
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, strip_accents="unicode")


def linear_svm() -> Pipeline:
    """The baseline that every text classifier has to beat: a linear SVM on `words`."""
    return make_pipeline(words(), LinearSVC(class_weight="balanced", random_state=0))


def baselines(learn: pd.DataFrame, test: pd.DataFrame, task: Task) -> dict[str, np.ndarray]:
    """Predictions of the baselines for the test rows.

    They learn from train and validation rows; the model's weights see the train rows only. `learn`
    and `test` have ``text`` and ``label``. The baselines are the most frequent label, the task's
    keyword rule, and TF-IDF with a linear SVM.
    """
    svm = linear_svm().fit(learn["text"], learn["label"])
    return {
        "majority": np.full(len(test), learn["label"].mode()[0]),
        "keyword_rule": task.keyword_rule(test["text"]).to_numpy(),
        "tfidf_svm": svm.predict(test["text"]),
    }


def compare(rows: pd.DataFrame, predictions: pd.DataFrame, others: dict[str, np.ndarray], task: Task,
            weights: np.ndarray) -> dict[str, dict]:
    """Accuracy and macro-F1 of each baseline, and the paired difference model minus baseline."""
    k, labels = len(task.labels), rows["label"].to_numpy(int)
    ours = headline(labels, predictions["label"].to_numpy(int), weights, k)
    answer = {}
    for name, predicted in others.items():
        theirs = headline(labels, predicted, weights, k)
        answer[name] = {metric: interval(theirs[metric]) for metric in theirs}
        answer[name]["difference"] = {metric: interval(ours[metric] - theirs[metric])
                                      for metric in theirs}
    return answer


def on_clean_rows(rows: pd.DataFrame, predictions: pd.DataFrame, crossing: np.ndarray, task: Task,
                  weights: np.ndarray) -> dict:
    """n, accuracy, macro-F1 and yes-or-no accuracy on the test rows that have no relative in training."""
    clean = ~crossing
    if not clean.any():
        return {"n": 0, "accuracy": None, "macro_f1": None, "binary_accuracy": None}
    labels, predicted = rows["label"].to_numpy(int)[clean], predictions["label"].to_numpy(int)[clean]
    scores = headline(labels, predicted, weights[:, clean], len(task.labels))
    right = np.isin(labels, task.positive) == np.isin(predicted, task.positive)
    return {"n": int(clean.sum())} | {name: interval(values) for name, values in scores.items()} \
        | {"binary_accuracy": share(right, weights[:, clean])}


def most_confident_errors(rows: pd.DataFrame, predictions: pd.DataFrame, n: int = 12) -> pd.DataFrame:
    """The wrong predictions with the highest confidence: id, text, label, predicted, confidence."""
    table = rows[["id", "text", "label"]].reset_index(drop=True).assign(
        predicted=predictions["label"].to_numpy(), confidence=predictions["confidence"].to_numpy())
    wrong = table[table["label"] != table["predicted"]]
    return wrong.sort_values("confidence", ascending=False, kind="stable").head(n)


def slices(rows: pd.DataFrame, predictions: pd.DataFrame, members: pd.DataFrame, weights: np.ndarray,
           least: int = 10) -> pd.DataFrame:
    """Accuracy on parts of the test rows, each against all the other rows; the worst part first.

    Parameters
    ----------
    members : bool, one column a slice, rows as in `rows`
    least : rows that a slice, and what is outside it, needs to be shown

    Returns
    -------
    One row a slice: ``n``, ``accuracy``, ``elsewhere``, and ``value``, ``low``, ``high`` of the
    difference.
    """
    right = (rows["label"].to_numpy() == predictions["label"].to_numpy()).astype(float)
    table = {}
    for name, inside in members.items():
        parts = [inside.to_numpy(bool), ~inside.to_numpy(bool)]
        if min(part.sum() for part in parts) < least:
            continue
        with np.errstate(invalid="ignore"):
            within, outside = ((weights[:, part] @ right[part]) / weights[:, part].sum(axis=1) for part in parts)
        table[name] = {"n": int(parts[0].sum()), "accuracy": within[0], "elsewhere": outside[0]} \
            | interval(within - outside)
    columns = ["n", "accuracy", "elsewhere", "value", "low", "high"]
    return pd.DataFrame.from_dict(table, orient="index", columns=columns).rename_axis("slice").sort_values("value")


def optimism(rows: pd.DataFrame, task: Task, weights: np.ndarray, seed: int = 0, folds: int = 5) -> dict[str, dict]:
    """What a split that ignores groups pretends: cross-validated scores of the linear SVM, twice.

    Parameters
    ----------
    rows : labelled rows with ``text``, ``label`` and ``group``
    weights : resamples of these rows, by group

    Returns
    -------
    dict of ``random`` (rows dealt at random), ``grouped`` (groups kept whole) and ``gap`` (their paired
    difference), each with the intervals of ``accuracy`` and ``macro_f1``, and of ``roc_auc`` where there are two
    labels.
    """
    folds = max(2, min(folds, rows["label"].value_counts().min()))
    ways = {"random": StratifiedKFold(folds, shuffle=True, random_state=seed),
            "grouped": StratifiedGroupKFold(folds, shuffle=True, random_state=seed)}
    scores = {name: _linear_scores(rows, task, _out_of_fold(rows, way), weights) for name, way in ways.items()}
    scores["gap"] = {metric: scores["random"][metric] - scores["grouped"][metric] for metric in scores["random"]}
    return {name: {metric: interval(values) for metric, values in row.items()} for name, row in scores.items()}


def _out_of_fold(rows: pd.DataFrame, folds: BaseCrossValidator) -> np.ndarray:
    """Decision values of the linear SVM, shape (n, labels)."""
    labels = np.unique(rows["label"])
    scores = np.full((len(rows), len(labels)), -np.inf)
    groups = rows["group"] if isinstance(folds, StratifiedGroupKFold) else None
    for learn, test in folds.split(rows, rows["label"], groups):
        svm = linear_svm().fit(rows["text"].iloc[learn], rows["label"].iloc[learn])
        found = svm.decision_function(rows["text"].iloc[test])
        found = found if found.ndim == 2 else np.column_stack([-found, found])
        scores[np.ix_(test, np.searchsorted(labels, svm.classes_))] = found
    return scores


def _linear_scores(rows: pd.DataFrame, task: Task, scores: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    labels = rows["label"].to_numpy()
    answer = headline(labels, np.unique(labels)[scores.argmax(axis=1)], weights, len(task.labels))
    if len(task.labels) == 2:
        answer["roc_auc"] = roc_auc(np.isin(labels, task.positive), positive_chance(scores, task), weights)
    return answer


def without_one_form(rows: pd.DataFrame, task: Task, weights: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """What links, mentions and the like give away: how well a linear SVM tells positive posts with and without them.

    It is cross-validated, groups kept whole.

    Returns
    -------
    One row a way to read: ``changed`` (rows whose text is another one in one form), ``roc_auc``, and for each kind of
    negative rows the share that is flagged where 80% of the positive ones are found, all as intervals.
    """
    folds = StratifiedGroupKFold(max(2, min(5, rows["label"].value_counts().min())), shuffle=True, random_state=seed)
    spaced, true = rows["text"].str.split().str.join(" "), np.isin(rows["label"], task.positive)
    table = {}
    for name, texts in (("as they came", spaced), ("in one form", one_form(rows["text"], task.normalise))):
        scores = _out_of_fold(rows.assign(text=texts, label=true.astype(int)), folds)[:, -1]
        table[name] = {"changed": int((spaced != texts).sum()),
                       "roc_auc": interval(roc_auc(true, scores, weights))} \
            | flagged_at_recall(rows, scores, task, weights)
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("texts")


def ceiling(labels: pd.DataFrame, draws: int = 1000) -> dict[str, object]:
    """The best that a model could do on texts with several labels.

    Parameters
    ----------
    labels : one row a label that a person gave, with ``text_key`` (equal for a text's copies) and ``label``

    Returns
    -------
    dict of ``texts`` (number with two labels or more) and ``accuracy`` (the share of labels that the commonest label
    of each text gets right). A model sees one answer a text, so that no accuracy above it is to be had on texts like
    these; with few labels a text it is an optimistic estimate. The interval resamples texts; None where no text has
    two.
    """
    counts = labels.groupby(["text_key", "label"]).size().groupby("text_key").agg(["sum", "max"])
    copies, top = counts[counts["sum"] > 1].to_numpy(float).T
    if not len(copies):
        return {"texts": 0, "accuracy": None}
    weights = resamples(np.arange(len(copies)), draws)
    return {"texts": len(copies), "accuracy": interval((weights @ top) / (weights @ copies))}
