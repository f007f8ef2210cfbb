"""Fine-tuning an encoder for a task, with Hugging Face `Trainer`, on one processor or several."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import transformers
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, f1_score
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments

from hrf_utils import cards, classifier, confidence, files, inference, network
from hrf_utils.settings import ROOT, InputError, data_path
from hrf_utils.tasks import Task


@dataclass(frozen=True)
class Recipe:
    """How a model learns; the annex ``A2_what_helped`` compares changes to the defaults.

    epochs : passes over the training rows
    learning_rate : at its peak, after a warm-up over a tenth of the steps
    batch_size : posts a step
    class_weight_power : 0 leaves labels as frequent as they are, 1 balances them
    frozen : share of the encoder's layers, from below, that stay as they were pretrained, and the
        embeddings with them (Lee, Tang and Lin, 2019)
    """

    epochs: float = 3
    learning_rate: float = 1e-4
    batch_size: int = 32
    class_weight_power: float = 0.5
    frozen: float = 0.33


class Trained(NamedTuple):
    """A trained model's folder and its learning curve (one row an epoch)."""

    folder: Path
    history: pd.DataFrame


class _Rows(torch.utils.data.Dataset):
    """Texts as token ids; the labels of a row are the target probabilities of strata, and its weight at the end."""

    def __init__(self, rows: pd.DataFrame, tokenizer: object, targets: np.ndarray, weights: np.ndarray):
        self.ids = tokenizer(rows["text"].tolist(), truncation=True)["input_ids"]
        self.labels = np.column_stack([targets, weights]).astype(np.float32).tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict:
        ids = self.ids[row]
        return {"input_ids": ids, "labels": self.labels[row], "length": len(ids)}


class _Strata:
    """Labels, and within them the kinds of posts of those rows that a network learns from (see `network`).

    A kind has a stratum of its own where at least one in twenty of its label's rows are of it, and so have the rows
    of no known kind; posts of rarer kinds belong to the label's largest.
    """

    def __init__(self, learn: pd.DataFrame, labels: int):
        kinds = learn["kind"].fillna("") if "kind" in learn else ""
        counts = learn[["label"]].assign(kind=kinds).value_counts().rename("rows").reset_index()
        of_label = counts.groupby("label")["rows"].transform("sum")
        own = counts[counts["rows"] >= 0.05 * of_label]
        bare = pd.DataFrame({"label": sorted(set(range(labels)) - set(own["label"])), "kind": "", "rows": 1})
        own = pd.concat([own, bare]).astype({"label": int, "rows": int}).sort_values(
            ["label", "rows", "kind"], ascending=[True, False, True], ignore_index=True)
        self.label_of = own["label"].tolist()
        self._known = pd.Series(own.index, pd.MultiIndex.from_frame(own[["label", "kind"]]))
        self._largest = own.reset_index().groupby("label")["index"].first()
        self._shares = (own["rows"] / own.groupby("label")["rows"].transform("sum")).to_numpy()

    def number(self, rows: pd.DataFrame) -> np.ndarray:
        """Stratum of each row, shape (n,)."""
        kinds = rows["kind"].fillna("") if "kind" in rows else [""] * len(rows)
        keys = pd.MultiIndex.from_arrays([rows["label"], kinds])
        found = self._known.reindex(keys).to_numpy(float)
        return np.where(np.isnan(found), self._largest[rows["label"]], found).astype(int)

    def targets(self, rows: pd.DataFrame, of_labels: np.ndarray | None = None) -> np.ndarray:
        """Target probabilities (n, strata) of rows, all on their stratum or as those of labels (n, labels) are."""
        if of_labels is None:
            return np.eye(len(self.label_of))[self.number(rows)]
        same = np.array(self.label_of) == rows["label"].to_numpy()[:, None]
        return of_labels[:, self.label_of] * np.where(same, self.targets(rows), self._shares)


class _Collate:
    """Pads a batch to its longest post, rounded up to a multiple of eight."""

    def __init__(self, tokenizer: object):
        self.tokenizer = tokenizer

    def __call__(self, rows: list[dict]) -> dict:
        batch = self.tokenizer.pad({"input_ids": [row["input_ids"] for row in rows]}, pad_to_multiple_of=8,
                                   return_tensors="pt")
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"],
                "labels": torch.tensor([row["labels"] for row in rows])}


class _Watch(TrainerCallback):
    """Shows a bar, and stops the training when the loss is no longer a number."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(total=state.max_steps, desc="train", unit=" steps", disable=not state.is_world_process_zero)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs=None, **kwargs):
        for name in ("loss", "eval_loss"):
            if name in (logs or {}) and not np.isfinite(float(logs[name])):
                raise InputError(f"the {name} is not a number at step {state.global_step}; the "
                                 "current model was kept; try a smaller learning_rate")

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def class_weights(labels: pd.Series, count: int, power: float) -> np.ndarray:
    """Weight of each label: (mean label frequency / its frequency) ** power; shape (count,)."""
    frequency = labels.value_counts().reindex(range(count), fill_value=0).to_numpy()
    if (frequency == 0).any():
        raise InputError(f"label {int(np.argmin(frequency))} has no row to train on; "
                         "label some posts of it or give another LABELS")
    return (frequency.mean() / frequency) ** power


def train(frame: pd.DataFrame, task: Task, encoder: str, about: dict, *, recipe: Recipe = Recipe(),
          seed: int = 0, processes: int = 1) -> Trained:
    """Fit a network to the train part of a split and save it as the task's current model.

    Validation rows choose nothing while it learns; they serve the learning curve, the temperatures and
    the thresholds (see `confidence`). A training that was killed goes on from its last epoch when it is
    started again with the same rows, encoder, recipe, seed and number of processes. Numbers are bfloat16
    where the processor has instructions for them.

    Parameters
    ----------
    frame : rows with ``part``, ``text``, ``label``, ``dataset``, ``id``, ``group``, and perhaps ``weight`` (1 where
        there is none) and ``kind``; rows of the part ``supplement`` train as well, and are not kept with the split
    encoder : ``minilm``, a hub id, or a local folder
    about : facts for the manifest that are known outside: ``datasets``, ``data_sha256``, and others
    processes : more than 1 trains in as many processes through ``torchrun``, one a GPU where there are any

    Raises
    ------
    InputError
        If a label has no training row, the encoder cannot be loaded or the loss is not a number.
    """
    frame = frame.reset_index(drop=True)
    frame["weight"] = frame["weight"].fillna(1.0) if "weight" in frame else 1.0
    frame["kind"] = frame["kind"].fillna("") if "kind" in frame else ""
    learn = frame[frame["part"].isin(["train", "supplement"])]
    validation = frame[frame["part"] == "validation"]
    job = files.frame_sha256(frame[["id", "text", "label", "part", "weight", "kind"]]) + json.dumps(
        [encoder, asdict(recipe), seed, processes, task.normalise])
    work = data_path("models", task.name, f".training-{files.text_sha256(job)[:12]}", "x").parent
    arguments = (learn[["text", "label", "part", "weight", "kind"]], validation[["text", "label", "kind"]], task.names,
                 encoder, recipe, seed, work)
    try:
        model, tokenizer, history = fit(*arguments, forms=task.normalise) if processes == 1 else \
            _in_processes(processes, *arguments, task.normalise)
    except InputError:
        if processes == 1:  # of several, one may have been killed, and a rerun goes on from their checkpoints
            shutil.rmtree(work)
        raise
    temperature, thresholds, scores = calibrate(model, tokenizer, learn, validation, task.positive)
    labels = validation["label"].to_numpy()
    manifest = {
        "task": task.name, "labels": task.names, "encoder": encoder, "seed": seed, "tokens": tokenizer.model_max_length,
        "normalise": list(task.normalise), "temperature": temperature, "thresholds": thresholds,
        "trained_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "parameters": asdict(recipe),
        "validation": {"n": len(validation), **_scores(labels, scores)},
        "rows": frame["part"].value_counts().to_dict(),
        "supplement": sorted(frame.loc[frame["part"] == "supplement", "dataset"].unique()),
        "commit": commit(), "versions": {name: version(name) for name in ("torch", "transformers")},
    } | about
    split = frame.loc[frame["part"] != "supplement", ["dataset", "id", "label", "part", "group"]]
    tables = {"split": split, "history": history}
    folder = classifier.save(model, tokenizer, manifest, cards.card(task, manifest), tables,
                             validation["text"].tolist())
    shutil.rmtree(work)
    return Trained(folder, history)


def fit(learn: pd.DataFrame, validation: pd.DataFrame, names: list[str], encoder: str, recipe: Recipe, seed: int,
        work: Path, targets: np.ndarray | None = None, change: Callable[[network.Network, Trainer], None] | None = None,
        forms: Iterable[str] = ()) -> tuple[network.Network, object, pd.DataFrame]:
    """Train the reader of a new network; checkpoints stand in `work`, from which a second call goes on.

    Parameters
    ----------
    learn, validation : rows with ``text`` and ``label``, and perhaps ``kind``; those to learn from perhaps also with
        ``weight`` (1 where there is none), which makes a row count more
    targets : probabilities of the labels for each row of `learn`, if not all on its label; (n, labels)
    change : what a study alters before the training starts
    forms : what texts are read without (`text.FORMS`)

    Returns
    -------
    The network (its counter still empty), its tokenizer, and the learning curve.
    """
    transformers.set_seed(seed)
    strata = _Strata(learn, len(names))
    model, tokenizer = classifier.from_encoder(encoder, names, forms, strata.label_of)
    model.reader.freeze(recipe.frozen)
    by_label = class_weights(learn["label"], len(names), recipe.class_weight_power)
    rows = _Rows(learn, tokenizer, strata.targets(learn, targets), _weights(learn, by_label))
    seen = _Rows(validation, tokenizer, strata.targets(validation), by_label[validation["label"]])
    trainer = Trainer(
        model.reader, _arguments(str(work), seed, recipe, len(seen) > 0), train_dataset=rows,
        eval_dataset=seen, data_collator=_Collate(tokenizer), compute_loss_func=_loss,
        compute_metrics=partial(_metrics, strata.label_of), callbacks=[_Watch()])
    trainer.remove_callback(transformers.PrinterCallback)
    if change:
        change(model, trainer)
    trainer.train(resume_from_checkpoint=_whole_checkpoint(work))
    model.reader = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return model, tokenizer, _history(trainer.state.log_history)


def _weights(learn: pd.DataFrame, by_label: np.ndarray) -> np.ndarray:
    """How much each row counts, shape (n,): its own weight times its label's."""
    own = learn["weight"].fillna(1.0).to_numpy() if "weight" in learn else 1.0
    return by_label[learn["label"]] * own


def _whole_checkpoint(work: Path) -> bool:
    """Whether there is a checkpoint to go on from; one that was not written to its end is removed."""
    found = list(work.glob("checkpoint-*"))
    for folder in found:
        if not (folder / "trainer_state.json").exists():  # the file that is written last
            shutil.rmtree(folder)
    return any(folder.exists() for folder in found)


def calibrate(model: network.Network, tokenizer: object, learn: pd.DataFrame, validation: pd.DataFrame,
              positive: list[int]) -> tuple[float, dict[str, float], np.ndarray]:
    """Fit the counter to `learn`, make both halves of the network calibrated, and then their mixture.

    Returns
    -------
    The temperature and the thresholds of the whole, and its logits on `validation`, (n, labels).
    """
    device = model.reader.head.weight.device
    label_of, count = model.config.label_of, len(model.config.id2label)
    weights = _weights(learn, class_weights(learn["label"], count, 1.0))
    network.fit_counter(model.counter.cpu(), inference.tokenise(tokenizer, learn["text"].tolist()),
                        _Strata(learn, count).number(learn), weights)
    model.to(device).eval()
    labels, ids = validation["label"].to_numpy(), inference.tokenise(tokenizer, validation["text"].tolist())
    halves = ([model.reader.head.weight, model.reader.head.bias], [model.counter.weight, model.counter.bias])
    chances = []

    def of_labels(raw: np.ndarray) -> np.ndarray:
        return network.of_labels(torch.from_numpy(raw), label_of).numpy()

    with torch.no_grad():
        for half, raw in zip(halves, inference.logits(model.strata, tokenizer, ids, device), strict=True):
            warm = confidence.fit_temperature(raw, labels, of_labels)
            chances.append(inference.softmax(of_labels(raw / warm)))
            for part in half:
                part.div_(warm)
    scores = np.log(network.mix(*chances).clip(1e-9))
    temperature = confidence.fit_temperature(scores, labels)
    thresholds = confidence.fit_thresholds(inference.softmax(scores, temperature), labels)
    thresholds["settled"] = confidence.fit_settled(chances[1], np.exp(scores), labels, positive)
    return temperature, thresholds, scores


def _in_processes(processes: int, learn: pd.DataFrame, validation: pd.DataFrame, names: list[str], encoder: str,
                  recipe: Recipe, seed: int, work: Path,
                  forms: Iterable[str]) -> tuple[network.Network, object, pd.DataFrame]:
    """`fit` in several processes: this module is run by torchrun, and rank 0 leaves its reader in `work`."""
    _whole_checkpoint(work)  # so that no process removes one that another looks at
    learn.to_parquet(work / "learn.parquet")
    validation.to_parquet(work / "validation.parquet")
    job = {"names": names, "encoder": encoder, "recipe": asdict(recipe), "seed": seed, "forms": list(forms)}
    files.write_json(work / "job.json", job)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
               "-m", "hrf_utils.training", str(work)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise InputError(f"training in {processes} processes failed, for the reason above; the current model was kept")
    model, tokenizer = classifier.from_encoder(encoder, names, forms, _Strata(learn, len(names)).label_of)
    model.reader.load_state_dict(load_file(work / "reader.safetensors"))
    return model, tokenizer, pd.read_csv(work / "history.csv")


def _one_of_many(work: Path) -> None:
    """What each process of `_in_processes` does."""
    job = json.loads((work / "job.json").read_text(encoding="utf8"))
    learn, validation = (pd.read_parquet(work / f"{part}.parquet") for part in ("learn", "validation"))
    model, _, history = fit(learn, validation, job["names"], job["encoder"], Recipe(**job["recipe"]), job["seed"], work,
                            forms=job["forms"])
    if int(os.environ["RANK"]) == 0:
        save_file(model.reader.state_dict(), work / "reader.safetensors")
        history.to_csv(work / "history.csv", index=False)


def _loss(outputs, labels, num_items_in_batch=None):
    """Cross-entropy to target probabilities of strata, weighted by row (see `_Rows`)."""
    logarithms = torch.log_softmax(outputs.logits.float(), -1)
    weights = labels[:, -1]
    return -((labels[:, :-1] * logarithms).sum(-1) * weights).sum() / weights.sum()


def _arguments(folder: str, seed: int, recipe: Recipe, watched: bool) -> TrainingArguments:
    cpu = not torch.cuda.is_available()
    return TrainingArguments(
        folder, seed=seed, num_train_epochs=recipe.epochs, learning_rate=recipe.learning_rate,
        per_device_train_batch_size=recipe.batch_size, per_device_eval_batch_size=2 * recipe.batch_size,
        lr_scheduler_type="cosine", warmup_steps=0.1, weight_decay=0.01, optim="adamw_torch_fused",
        bf16=inference.has_bfloat16(), use_cpu=cpu, ddp_backend="gloo" if cpu and "RANK" in os.environ else None,
        remove_unused_columns=False, train_sampling_strategy="group_by_length",
        eval_strategy="epoch" if watched else "no", save_strategy="epoch", save_total_limit=1,
        logging_strategy="epoch", logging_nan_inf_filter=False, report_to="none", disable_tqdm=True,
        dataloader_pin_memory=not cpu)


def _scores(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    predicted = scores.argmax(axis=1)
    return {"accuracy": accuracy_score(labels, predicted), "macro_f1": f1_score(labels, predicted, average="macro")}


def _metrics(label_of: list[int], prediction: transformers.EvalPrediction) -> dict[str, float]:
    scores = network.of_labels(torch.from_numpy(prediction.predictions), label_of).numpy()
    return _scores(np.array(label_of)[prediction.label_ids[:, :-1].argmax(axis=1)], scores)


def _history(log: list[dict]) -> pd.DataFrame:
    """One row an epoch: train_loss, validation_loss, accuracy and macro_f1 of the reader on validation."""
    losses = {row["epoch"]: float(row["loss"]) for row in log if "loss" in row}
    rows = [{"epoch": row["epoch"], "train_loss": losses.get(row["epoch"], np.nan),
             "validation_loss": float(row["eval_loss"]), "accuracy": float(row["eval_accuracy"]),
             "macro_f1": float(row["eval_macro_f1"])} for row in log if "eval_loss" in row]
    return pd.DataFrame(rows)


def commit() -> str:
    """Commit of this checkout, with ``+`` if files differ from it; empty outside git."""
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain") else "")


if __name__ == "__main__":
    _one_of_many(Path(sys.argv[1]))
