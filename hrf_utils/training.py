"""Fine-tuning an encoder for a task, with Hugging Face `Trainer`."""

import subprocess
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import transformers
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, f1_score
from tqdm import tqdm
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from hrf_utils import classifier
from hrf_utils.settings import ROOT, InputError
from hrf_utils.tasks import Task


class Trained(NamedTuple):
    """A trained model's folder and its learning curve (one row an epoch)."""

    folder: Path
    history: pd.DataFrame


class _Rows(torch.utils.data.Dataset):
    def __init__(self, frame: pd.DataFrame, tokenizer: object):
        texts = frame["text"].tolist()
        self.ids = tokenizer(texts, truncation=True, max_length=classifier.LONGEST)["input_ids"]
        self.labels = frame["label"].tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict:
        ids = self.ids[row]
        return {"input_ids": ids, "labels": self.labels[row], "length": len(ids)}


class _Watch(TrainerCallback):
    """Shows a bar, and stops the training when the loss is no longer a number."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(total=state.max_steps, desc="train", unit=" steps")

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


def train(frame: pd.DataFrame, task: Task, encoder: str, about: dict, *, seed: int = 0,
          epochs: float = 6, learning_rate: float = 1e-4, batch_size: int = 32,
          class_weight_power: float = 0.5, patience: int = 3) -> Trained:
    """Fine-tune an encoder on the train part of a split and save it as the task's current model.

    After each epoch the macro-F1 on the validation part is measured; training stops when it has not
    risen for `patience` epochs, and the best epoch is kept. A temperature is then fitted to the
    validation part (Guo et al., "On calibration of modern neural networks", 2017). Numbers are
    bfloat16 where the processor has instructions for them.

    Parameters
    ----------
    frame : rows of a split with ``part``, ``text``, ``label``, ``dataset``, ``id``, ``group``
    encoder : ``minilm``, a hub id, or a local folder
    about : facts for the manifest that are known outside: ``datasets``, ``data_sha256``, and others
    class_weight_power : 0 leaves labels as frequent as they are, 1 balances them

    Raises
    ------
    InputError
        If a label has no training row, the encoder cannot be loaded or the loss is not a number.
    """
    transformers.set_seed(seed)
    parts = dict(list(frame.groupby("part")))
    weights = class_weights(parts["train"]["label"], len(task.labels), class_weight_power)
    model, tokenizer = classifier.from_encoder(encoder, task.names)
    weight = torch.tensor(weights, dtype=torch.float)

    def loss(outputs, labels, num_items_in_batch=None):
        scores = outputs.logits.float()
        return torch.nn.functional.cross_entropy(scores, labels, weight=weight.to(scores.device))

    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model, _arguments(scratch, seed, epochs, learning_rate, batch_size),
            train_dataset=_Rows(parts["train"], tokenizer),
            eval_dataset=_Rows(parts["validation"], tokenizer),
            data_collator=transformers.DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8),
            compute_loss_func=loss, compute_metrics=_metrics,
            callbacks=[EarlyStoppingCallback(patience), _Watch()])
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        history = _history(trainer.state.log_history)
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    validation = parts["validation"]
    scores = classifier.logits(model, tokenizer, validation["text"].tolist())
    best = history.loc[history["macro_f1"].idxmax()]
    manifest = {
        "task": task.name, "labels": task.names, "encoder": encoder, "seed": seed,
        "temperature": fit_temperature(scores, validation["label"].to_numpy()),
        "trained_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "parameters": {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size,
                       "class_weight_power": class_weight_power, "patience": patience},
        "validation": {"n": len(validation), "epoch": best["epoch"], "accuracy": best["accuracy"],
                       "macro_f1": best["macro_f1"]},
        "rows": {part: len(rows) for part, rows in parts.items()},
        "commit": commit(), "versions": {name: version(name) for name in ("torch", "transformers")},
    } | about
    split = frame[["dataset", "id", "label", "part", "group"]]
    folder = classifier.save(model, tokenizer, manifest, card(task, manifest),
                             {"split": split, "history": history})
    return Trained(folder, history)


def _arguments(folder: str, seed: int, epochs: float, learning_rate: float,
               batch_size: int) -> TrainingArguments:
    cpu = not torch.cuda.is_available()
    half = torch.cpu._is_avx512_bf16_supported() if cpu else torch.cuda.is_bf16_supported()
    return TrainingArguments(
        folder, seed=seed, num_train_epochs=epochs, learning_rate=learning_rate,
        per_device_train_batch_size=batch_size, per_device_eval_batch_size=2 * batch_size,
        warmup_steps=0.1, weight_decay=0.01, bf16=bool(half), use_cpu=cpu,
        train_sampling_strategy="group_by_length", eval_strategy="epoch", save_strategy="epoch",
        save_total_limit=1, load_best_model_at_end=True, metric_for_best_model="macro_f1",
        logging_strategy="epoch", report_to="none", disable_tqdm=True, dataloader_pin_memory=not cpu)


def _metrics(prediction: transformers.EvalPrediction) -> dict:
    predicted = prediction.predictions.argmax(axis=1)
    return {"accuracy": accuracy_score(prediction.label_ids, predicted),
            "macro_f1": f1_score(prediction.label_ids, predicted, average="macro")}


def _history(log: list[dict]) -> pd.DataFrame:
    """One row an epoch: train_loss, validation_loss, accuracy and macro_f1 on validation."""
    losses = {row["epoch"]: float(row["loss"]) for row in log if "loss" in row}
    rows = [{"epoch": row["epoch"], "train_loss": losses.get(row["epoch"], np.nan),
             "validation_loss": float(row["eval_loss"]), "accuracy": float(row["eval_accuracy"]),
             "macro_f1": float(row["eval_macro_f1"])} for row in log if "eval_loss" in row]
    return pd.DataFrame(rows)


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """Temperature that minimises the log loss of scores (n, labels) for labels (n,)."""
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -log_softmax(scores / np.exp(log_temperature), axis=1)[rows, labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def commit() -> str:
    """Commit of this checkout, with ``+`` if files differ from it; empty outside git."""
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain") else "")


def card(task: Task, manifest: dict) -> str:
    """The model card, in Markdown."""
    rows = manifest["rows"]
    labels = "\n".join(f"- {label.number} {label.name}: {label.definition}" for label in task.labels)
    return f"""---
tags: [text-classification]
---
# {task.title}

Answers the question "{task.question}" for one short English post, trained on
{manifest['trained_at'][:10]} from the encoder `{manifest['encoder']}`.

## Labels
{labels}

## Data
Data set {', '.join(manifest['datasets'])}: {rows.get('train', 0):,} rows to train on,
{rows.get('validation', 0):,} for validation, {rows.get('test', 0):,} frozen for the test. Digest of
rows and split: `{manifest['data_sha256']}`.

## Performance
On validation, which chose the epoch and is therefore optimistic: accuracy
{manifest['validation']['accuracy']:.3f}, macro-F1 {manifest['validation']['macro_f1']:.3f}
(n = {manifest['validation']['n']:,}). The figures to quote are those of the frozen test split, with
intervals and baselines, in the performance report of the same run.

## Intended use
Ranking posts for a person to read, and counting with error bars.

## Not intended
No decision about a person or an account; no police deployment; no automatic reply; no language
other than English. A label is what a text says, not proof that it happened.

## Known failures
Sarcasm, fiction that reads like news, several events in one post, who did it to whom, and anything
the training data rarely shows.

## Use without this project
`transformers`: `pipeline("text-classification", model=FOLDER)`. ONNX Runtime: `model.onnx` takes
`input_ids` and `attention_mask` from `tokenizer.json` (at most {classifier.LONGEST} tokens) and
returns logits; divide them by {manifest['temperature']:.4f} before the softmax.
"""
