"""Which changes to the recipe help: variants, cross-validated on the same folds.

A fold that was computed is kept below ``data/studies/`` and not computed again, so that a study of hours
may be stopped at any time and goes on where it was.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from tqdm import tqdm
from transformers import Trainer, TrainerCallback

from hrf_utils import classifier, datasets, evaluation, files, network, settings, splits, training
from hrf_utils.intervals import interval
from hrf_utils.tasks import Task


@dataclass(frozen=True)
class Variant:
    """One change to the default recipe.

    what : the change, for a reader
    recipe : fields of `training.Recipe` that differ
    supplement : labels whose invented posts train beside the rows; None for all
    soften : turns the target probabilities (n, labels) of the training rows into others
    weigh : gives a weight to each training row
    change : alters the network and the trainer before they start
    """

    what: str
    recipe: dict = field(default_factory=dict)
    supplement: tuple[int, ...] | None = None
    soften: Callable[[pd.DataFrame, np.ndarray], np.ndarray] | None = None
    weigh: Callable[[pd.DataFrame], np.ndarray] | None = None
    change: Callable[[network.Network, Trainer], None] | None = None


class _FirstToken(network.Reader):
    def pool(self, vectors: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return vectors[:, 0]


def _first_token(model: network.Network, trainer: Trainer) -> None:
    model.reader.__class__ = _FirstToken


def _slower_below(model: network.Network, trainer: Trainer, decay: float = 0.85) -> None:
    """Each layer learns more slowly than the one above it (Howard and Ruder, ULMFiT, 2018)."""
    layers = model.reader.encoder.config.num_hidden_layers
    rates: dict[float, list] = {}
    for name, parameter in model.reader.named_parameters():
        number = next((int(part) for part in name.split(".") if part.isdigit()), -1)
        depth = layers if name.startswith("head") else number
        rates.setdefault(trainer.args.learning_rate * decay ** (layers - depth), []).append(parameter)
    groups = [{"params": members, "lr": rate} for rate, members in rates.items()]
    trainer.optimizer = torch.optim.AdamW(groups, weight_decay=trainer.args.weight_decay, fused=True)


class _Averaging(TrainerCallback):
    def __init__(self, decay: float):
        self.average = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=self.average)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.averaged.update_parameters(model)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        model.load_state_dict(self.averaged.module.state_dict())


def _averaged(model: network.Network, trainer: Trainer) -> None:
    """Exponential moving average of the weights (Izmailov et al., 2018, with decay 0.99)."""
    trainer.add_callback(_Averaging(0.99))


def _smooth(rows: pd.DataFrame, targets: np.ndarray) -> np.ndarray:
    return 0.9 * targets + 0.1 / targets.shape[1]


def _neighbours(rows: pd.DataFrame, targets: np.ndarray) -> np.ndarray:
    """Soft ordinal labels: probability falls with the distance in ranks (Diaz and Marathe, 2019)."""
    ranks = np.arange(targets.shape[1])
    near = np.exp(-2.0 * np.abs(np.subtract.outer(ranks, ranks)))
    return targets @ (near / near.sum(axis=1, keepdims=True))


def _held_out(rows: pd.DataFrame) -> np.ndarray:
    """Probabilities that a linear model of the other rows gives each row, shape (n, labels)."""
    model = make_pipeline(evaluation.words(), LogisticRegression(C=5, class_weight="balanced", max_iter=1000))
    folds = min(5, rows["label"].value_counts().min())
    return cross_val_predict(model, rows["text"], rows["label"], groups=rows["group"], method="predict_proba",
                             cv=StratifiedGroupKFold(folds, shuffle=True, random_state=0))


def _softened(rows: pd.DataFrame, targets: np.ndarray) -> np.ndarray:
    """Three tenths of each target come from a linear model that did not see the row."""
    return 0.7 * targets + 0.3 * _held_out(rows)


def _doubted(rows: pd.DataFrame) -> np.ndarray:
    """Rows whose label such a model thinks least likely, one in twenty, are left out (confident learning,
    Northcutt, Jiang and Chuang, 2021)."""
    chance = _held_out(rows)[np.arange(len(rows)), rows["label"]]
    return (chance > np.quantile(chance, 0.05)).astype(float)


VARIANTS = {
    "default": Variant("the default recipe"),
    "first token": Variant("the reader's head sits on the first token's vector, not on the mean", change=_first_token),
    "no class weights": Variant("all errors weigh the same", {"class_weight_power": 0.0}),
    "full class weights": Variant("labels weigh as if equally frequent", {"class_weight_power": 1.0}),
    "label smoothing": Variant("a tenth of each target goes to all labels", soften=_smooth),
    "ordinal targets": Variant("targets spread to neighbouring ranks", soften=_neighbours),
    "softened targets": Variant("three tenths of each target from a held-out linear model", soften=_softened),
    "doubted labels out": Variant("the one in twenty least likely labels do not train", weigh=_doubted),
    "slower lower layers": Variant("learning rate falls by 0.85 a layer from the top", change=_slower_below),
    "averaged weights": Variant("moving average of the weights, decay 0.99", change=_averaged),
    "no supplement": Variant("no invented posts beside the labelled rows", supplement=()),
    "supplement of ranks 2 to 4": Variant("invented posts of ranks 2 to 4 alone", supplement=(2, 3, 4)),
    "twice the rate": Variant("learning rate 2e-4", {"learning_rate": 2e-4}),
    "two epochs less": Variant("two epochs less", {"epochs": training.Recipe.epochs - 2}),
}


def fold_of(rows: pd.DataFrame, repeat: int, folds: int = 5) -> np.ndarray:
    """Fold of each row, stratified by label, related rows together; shape (n,)."""
    answer = np.zeros(len(rows), int)
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=repeat)
    for number, (_, test) in enumerate(dealt.split(rows, rows["label"], rows["group"])):
        answer[test] = number
    return answer


def out_of_fold(rows: pd.DataFrame, task: Task, name: str, encoder: str, repeat: int = 0, folds: int = 5,
                epochs: float = 0) -> np.ndarray:
    """Logits for each row from a network that saw neither it nor a relative of it.

    Within each training part a tenth is kept for validation, as `training.train` has it.

    Parameters
    ----------
    rows : ``dataset``, ``id``, ``text``, ``label``, ``group``
    name : of a variant
    epochs : instead of the recipe's, for a quick try; 0 for the recipe's

    Returns
    -------
    ndarray, shape (2, n, labels): the calibrated logits of reader and counter.
    """
    variant, fold = VARIANTS[name], fold_of(rows, repeat, folds)
    recipe = replace(training.Recipe(), **variant.recipe, **({"epochs": epochs} if epochs else {}))
    facts = [files.frame_sha256(rows[["id", "text", "label"]]), name, asdict(recipe), encoder, repeat, folds]
    keep = settings.data_path("studies", task.name, files.text_sha256(json.dumps(facts))[:12], "x").parent
    answer = np.zeros((2, len(rows), len(task.labels)), np.float32)
    for number in tqdm(range(folds), desc=name):
        path = keep / f"{number}.npy"
        if not path.exists():
            scores = _one_fold(rows, fold == number, task, variant, recipe, encoder, repeat, keep / f"work-{number}")
            with files.whole(path) as temporary:
                np.save(temporary, scores)
        answer[:, fold == number] = np.load(path)
    return answer


def _one_fold(rows: pd.DataFrame, is_test: np.ndarray, task: Task, variant: Variant, recipe: training.Recipe,
              encoder: str, seed: int, work: Path) -> np.ndarray:
    rest = rows[~is_test].reset_index(drop=True)
    held = fold_of(rest, seed, min(10, rest["label"].value_counts().min())) == 0
    parts = pd.concat([rest.assign(part=np.where(held, "validation", "train")), rows[is_test].assign(part="test")])
    extra = splits.supplement(parts, datasets.invented(task, parts))
    if variant.supplement is not None:
        extra = extra[extra["label"].isin(variant.supplement)]
    extra = extra.assign(group=-1 - np.arange(len(extra)))
    learn = pd.concat([parts[parts["part"] == "train"], extra], ignore_index=True).astype({"label": int, "group": int})
    if variant.weigh:
        learn["weight"] = variant.weigh(learn)
    targets = np.eye(len(task.labels))[learn["label"]]
    if variant.soften:
        targets = variant.soften(learn, targets)
    model, tokenizer, _ = training.fit(learn, rest[held], task.names, encoder, recipe, seed, work, targets,
                                       variant.change)
    training.calibrate(model, tokenizer, learn, rest[held])
    shutil.rmtree(work)
    return classifier.logits(model, tokenizer, rows.loc[is_test, "text"].tolist(), halves=True)


def linear(rows: pd.DataFrame, repeat: int = 0, folds: int = 5) -> np.ndarray:
    """Labels that the TF-IDF + linear SVM gives each row on the same folds, shape (n,)."""
    fold, answer = fold_of(rows, repeat, folds), np.zeros(len(rows), int)
    for number in range(folds):
        svm = evaluation.linear_svm().fit(rows.loc[fold != number, "text"], rows.loc[fold != number, "label"])
        answer[fold == number] = svm.predict(rows.loc[fold == number, "text"])
    return answer


def blend(halves: np.ndarray, share: float = network.READER_SHARE) -> np.ndarray:
    """Probabilities of reader and counter (2, n, labels) mixed; `share` is the reader's; (n, labels)."""
    return network.mix(*map(classifier.softmax, halves), share)


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


def _signed(value: float, low: float, high: float) -> str:
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
