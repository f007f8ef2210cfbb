"""How good a model is, as far as the test rows can tell: metrics with intervals, and baselines.

Every interval is a 95% percentile bootstrap that resamples whole clusters of related rows (Efron and
Tibshirani, "An introduction to the bootstrap", 1993). Metrics of one call share their resamples, so
that differences are paired.
"""

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC
from tqdm import tqdm

from hrf_utils.tasks import Task

LEVEL = 0.95
PREVALENCES = (100, 1_000, 10_000)


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
    answer = {"accuracy": of_confusion["accuracy"], "f1": of_confusion["f1"][:, 1]}
    for name, function in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
        answer[name] = np.array([
            function(true, scores, sample_weight=w) if 0 < (true * w).sum() < w.sum() else np.nan
            for w in tqdm(weights, desc=name, leave=False)])
    return answer


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


def calibration_error(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray,
                      weights: np.ndarray, bins: int = 10) -> np.ndarray:
    """Expected calibration error over `bins` equally wide bins, shape (draws + 1,).

    The mean distance between confidence and share right, bins weighted by their rows. Resampling
    makes it larger on average, so its interval leans upward.
    """
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = (labels == predicted) - confidence
    by_bin = weights @ (gap[:, None] * (bin_of[:, None] == np.arange(bins)))
    return np.abs(by_bin).sum(axis=1) / weights.sum(axis=1)


def reliability(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray,
                weights: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Share of right answers at each confidence, in `bins` bins of equally many rows.

    One row a bin: mean ``confidence``, and ``value``, ``low``, ``high`` of the share that is right.
    """
    order = pd.Series(confidence).rank(method="first")
    bin_of = pd.qcut(order, min(bins, len(order)), labels=False).to_numpy()
    right, rows = labels == predicted, []
    for number in np.unique(bin_of):
        members = bin_of == number
        drawn = weights[:, members].sum(axis=1)
        with np.errstate(invalid="ignore"):
            share = (weights[:, members] @ right[members]) / drawn
        rows.append({"confidence": confidence[members].mean()} | interval(share))
    return pd.DataFrame(rows)


def linear_svm() -> Pipeline:
    """The baseline that every text classifier has to beat: TF-IDF of words and pairs, linear SVM."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, strip_accents="unicode")
    return make_pipeline(words, LinearSVC(class_weight="balanced", random_state=0))


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
    """n, accuracy and macro-F1 on the test rows that have no relative in training."""
    clean = ~crossing
    if not clean.any():
        return {"n": 0, "accuracy": None, "macro_f1": None}
    scores = headline(rows["label"].to_numpy(int)[clean], predictions["label"].to_numpy(int)[clean],
                      weights[:, clean], len(task.labels))
    return {"n": int(clean.sum())} | {name: interval(values) for name, values in scores.items()}


def false_alarms(rows: pd.DataFrame, predictions: pd.DataFrame, task: Task,
                 weights: np.ndarray) -> pd.DataFrame:
    """Share of flagged posts that would be false where positives are rare.

    From the test split's rates of true and false alarms; one row a prevalence (1 in 100, …) with
    ``value``, ``low``, ``high``.
    """
    true = np.isin(rows["label"], task.positive).astype(int)
    said = np.isin(predictions["label"], task.positive).astype(int)
    matrices = confusions(true, said, weights, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        hit = matrices[:, 1, 1] / matrices[:, 1].sum(axis=1)
        alarm = matrices[:, 0, 1] / matrices[:, 0].sum(axis=1)
        rows_ = {f"1 in {n:,}": interval(alarm * (1 - 1 / n) / (alarm * (1 - 1 / n) + hit / n))
                 for n in PREVALENCES}
    return pd.DataFrame.from_dict(rows_, orient="index").rename_axis("positives")


def most_confident_errors(rows: pd.DataFrame, predictions: pd.DataFrame, n: int = 12) -> pd.DataFrame:
    """The wrong predictions with the highest confidence: id, text, label, predicted, confidence."""
    table = rows[["id", "text", "label"]].reset_index(drop=True).assign(
        predicted=predictions["label"].to_numpy(), confidence=predictions["confidence"].to_numpy())
    wrong = table[table["label"] != table["predicted"]]
    return wrong.sort_values("confidence", ascending=False, kind="stable").head(n)


def show(cell: dict | None, percent: bool = False) -> str:
    """An interval as a reader wants it: ``0.81 (0.79 to 0.84)``."""
    if cell is None or cell["value"] is None or not np.isfinite(cell["value"]):
        return "–"
    form = "{:.0%}" if percent else "{:.3f}"
    value, low, high = (form.format(cell[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
