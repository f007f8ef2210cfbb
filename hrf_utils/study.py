"""Which changes to the recipe help: variants, cross-validated on the same folds.

A fold that was computed is kept below ``data/studies/`` and not computed again, so that a study of hours
may be stopped at any time and goes on with the fold at which it was.
"""

import json
import shutil
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from hrf_utils import datasets, evaluation, files, inference, settings, splits, training
from hrf_utils.intervals import interval
from hrf_utils.network import READER_SHARE, mix
from hrf_utils.tasks import Task
from hrf_utils.variants import VARIANTS, Variant


def fold_of(rows: pd.DataFrame, repeat: int, folds: int = 5) -> np.ndarray:
    """Fold of each row, stratified by label, related rows together; shape (n,)."""
    answer = np.zeros(len(rows), int)
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=repeat)
    for number, (_, test) in enumerate(dealt.split(rows, rows["label"], rows["group"])):
        answer[test] = number
    return answer


def out_of_fold(rows: pd.DataFrame, task: Task, name: str, encoder: str, repeat: int = 0, folds: int = 5,
                judged: int = 0, epochs: float = 0, unlabelled: list[str] | None = None) -> np.ndarray:
    """Logits for each row from a network that saw neither it nor a relative of it.

    Within each training part a tenth is kept for validation, as `training.train` has it.

    Parameters
    ----------
    rows : ``dataset``, ``id``, ``text``, ``label``, ``group``
    name : of a variant
    judged : folds to predict, the first ones; 0 for all
    epochs : instead of the recipe's, for a quick try; 0 for the recipe's
    unlabelled : texts for the variants that use such

    Returns
    -------
    ndarray, shape (2, n, labels): the calibrated logits of reader and counter; NaN in folds not judged.
    """
    variant, fold = VARIANTS[name], fold_of(rows, repeat, folds)
    recipe = replace(training.Recipe(), **variant.recipe, **({"epochs": epochs} if epochs else {}))
    texts = unlabelled if variant.needs_unlabelled else []
    beside = files.frame_sha256(datasets.invented(task, rows)[["id", "text", "label"]])
    told = rows[["id", "text"]].assign(label=splits.strata(rows), group=rows["group"])
    facts = [files.frame_sha256(told), beside, name, asdict(recipe), encoder, repeat, folds, texts, task.normalise]
    keep = settings.data_path("studies", task.name, files.text_sha256(json.dumps(facts))[:12], "x").parent
    answer = np.full((2, len(rows), len(task.labels)), np.nan, np.float32)
    for number in tqdm(range(judged or folds), desc=name):
        path = keep / f"{number}.npy"
        if not path.exists():
            scores = _one_fold(rows, fold == number, task, variant, recipe, encoder, repeat, texts,
                               keep / f"work-{number}")
            with files.whole(path) as temporary:
                np.save(temporary, scores)
        answer[:, fold == number] = np.load(path)
    return answer


def _one_fold(rows: pd.DataFrame, is_test: np.ndarray, task: Task, variant: Variant, recipe: training.Recipe,
              encoder: str, repeat: int, texts: list[str], work: Path) -> np.ndarray:
    rest = rows[~is_test].reset_index(drop=True)
    held = fold_of(rest, repeat, min(10, rest["label"].value_counts().min())) == 0
    parts = pd.concat([rest.assign(part=np.where(held, "validation", "train")), rows[is_test].assign(part="test")])
    posts = datasets.invented(task, parts)
    extra = splits.supplement(parts, posts[variant.beside(posts)] if variant.beside else posts)
    extra = extra.assign(group=-1 - np.arange(len(extra)))
    learn = pd.concat([parts[parts["part"] == "train"], extra], ignore_index=True).astype({"label": int, "group": int})
    if variant.weigh:
        learn["weight"] = variant.weigh(learn)
    targets = np.eye(len(task.labels))[learn["label"]]
    if variant.soften:
        targets = variant.soften(learn, targets)

    def halves(of: pd.Series | list[str], seed: int, some: np.ndarray | slice = slice(None)) -> np.ndarray:
        shutil.rmtree(work, ignore_errors=True)  # of a run that was stopped, perhaps in another network of this fold
        change = partial(variant.change, texts=texts) if variant.change else None
        model, tokenizer, _ = training.fit(learn[some], rest[held], task.names, encoder, recipe, seed, work,
                                           targets[some], change, task.normalise)
        training.calibrate(model, tokenizer, learn[some], rest[held], task.positive)
        return inference.logits(model.halves, tokenizer, inference.tokenise(tokenizer, list(of)), model.device)

    if variant.taught:
        inner, told = fold_of(learn, repeat), np.zeros_like(targets)
        for part in range(inner.max() + 1):
            told[inner == part] = blend(halves(learn["text"][inner == part], repeat, inner != part))
        targets = (1 - variant.taught) * targets + variant.taught * told
    if variant.self_training:
        chance = blend(halves(texts, repeat))
        sure = chance.max(axis=1) >= np.median(chance.max(axis=1))
        taught = pd.DataFrame({"text": np.array(texts, object)[sure], "label": chance[sure].argmax(axis=1)})
        learn, targets = pd.concat([learn, taught], ignore_index=True), np.concatenate([targets, chance[sure]])
    found = [halves(rows.loc[is_test, "text"], repeat + 100 * k) for k in range(variant.seeds)]
    shutil.rmtree(work)
    chances = np.mean([[inference.softmax(half) for half in one] for one in found], axis=0)
    return np.log(chances.clip(1e-9)).astype(np.float32)


def linear(rows: pd.DataFrame, repeat: int = 0, folds: int = 5) -> np.ndarray:
    """Labels that the TF-IDF + linear SVM gives each row on the same folds, shape (n,)."""
    fold, answer = fold_of(rows, repeat, folds), np.zeros(len(rows), int)
    for number in range(folds):
        svm = evaluation.linear_svm().fit(rows.loc[fold != number, "text"], rows.loc[fold != number, "label"])
        answer[fold == number] = svm.predict(rows.loc[fold == number, "text"])
    return answer


def blend(halves: np.ndarray, share: float = READER_SHARE) -> np.ndarray:
    """Probabilities of reader and counter (2, n, labels) mixed; `share` is the reader's; (n, labels)."""
    return mix(*map(inference.softmax, halves), share)


def compare(labels: np.ndarray, answers: dict[str, list[np.ndarray]], against: str, task: Task,
            weights: np.ndarray) -> pd.DataFrame:
    """Accuracy, macro-F1 and the F1 of each label, and the paired difference of each to one of them.

    Parameters
    ----------
    answers : predicted labels (n,) of each method, one array a repeat; repeats are averaged
    against : the method that the others are compared with
    weights : resamples of the rows

    Returns
    -------
    One row a method and measure: ``method``, ``measure``, ``value``, ``low``, ``high``, and the same of
    the difference as ``by``, ``by_low``, ``by_high``.
    """
    k = len(task.labels)
    scores = {}
    for name, repeats in answers.items():
        found = [evaluation.from_confusion(evaluation.confusions(labels, said, weights, k)) for said in repeats]
        scores[name] = {"accuracy": np.mean([x["accuracy"] for x in found], axis=0),
                        "macro-F1": np.mean([x["macro_f1"] for x in found], axis=0)}
        scores[name] |= {f"F1 {label}": np.mean([x["f1"][:, label] for x in found], axis=0) for label in range(k)}
    rows = []
    for name, measures in scores.items():
        for measure, values in measures.items():
            gap = interval(values - scores[against][measure])
            rows.append({"method": name, "measure": measure} | interval(values)
                        | {"by": gap["value"], "by_low": gap["low"], "by_high": gap["high"]})
    return pd.DataFrame(rows)


def as_table(compared: pd.DataFrame) -> pd.DataFrame:
    """The result of `compare` for readers: a row a method, accuracy and macro-F1 with their differences."""
    cells = compared[~compared["measure"].str.startswith("F1")].pivot(index="method", columns="measure")
    columns = {}
    for measure in ("accuracy", "macro-F1"):
        columns[measure] = cells["value", measure].map("{:.3f}".format)
        columns[f"{measure}, difference"] = [_signed(*row) for row in zip(
            cells["by", measure], cells["by_low", measure], cells["by_high", measure], strict=True)]
    return pd.DataFrame(columns).loc[compared["method"].unique()]


def by_label(compared: pd.DataFrame, method: str, task: Task) -> pd.DataFrame:
    """F1 of each label under one method of `compare`, pooled over folds, with the difference and its interval."""
    rows = compared[(compared["method"] == method) & compared["measure"].str.startswith("F1")]
    return pd.DataFrame({
        "label": [f"{label.number}  {label.name}" for label in task.labels],
        "F1": [f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" for row in rows.itertuples()],
        "difference": [_signed(row.by, row.by_low, row.by_high) for row in rows.itertuples()]}).set_index("label")


def helped(compared: pd.DataFrame) -> list[str]:
    """Methods of `compare` that are better in accuracy or macro-F1 by more than chance among so many comparisons.

    The level is shared out over all comparisons (Bonferroni), with a normal spread as wide as the 95% interval.
    """
    rows = compared[compared["measure"].isin(["accuracy", "macro-F1"]) & (compared["by_high"] > compared["by_low"])]
    spread = (rows["by_high"] - rows["by_low"]) / (2 * norm.isf(0.025))
    return rows.loc[rows["by"] > norm.isf(0.025 / max(1, len(rows))) * spread, "method"].unique().tolist()


def _signed(value: float, low: float, high: float) -> str:
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
