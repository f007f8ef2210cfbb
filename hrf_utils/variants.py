"""The changes to the recipe that were tried, each as one variant of the default."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PrinterCallback,
    Trainer,
    TrainerCallback,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from hrf_utils import evaluation, network, training


@dataclass(frozen=True)
class Variant:
    """One change to the default recipe.

    what : the change, for a reader
    recipe : fields of `training.Recipe` that differ
    beside : which of the invented posts train beside the rows
    soften : turns the target probabilities (n, labels) of the training rows into others
    weigh : gives a weight to each training row
    change : alters the network and the trainer before they start; also gets the unlabelled texts
    seeds : networks whose answers are averaged
    taught : share of each target that comes from networks that did not see the row
    self_training : whether a first network labels the unlabelled texts, and the half it is surest of trains a second
    """

    what: str
    recipe: dict = field(default_factory=dict)
    beside: Callable[[pd.DataFrame], pd.Series] | None = None
    soften: Callable[[pd.DataFrame, np.ndarray], np.ndarray] | None = None
    weigh: Callable[[pd.DataFrame], np.ndarray] | None = None
    change: Callable[[network.Network, Trainer, list[str]], None] | None = None
    seeds: int = 1
    taught: float = 0.0
    self_training: bool = False

    @property
    def needs_unlabelled(self) -> bool:
        return self.self_training or self.change is _domain_adapted


class _FirstToken(network.Reader):
    def pool(self, vectors: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return vectors[:, 0]


def _first_token(model: network.Network, trainer: Trainer, texts: list[str]) -> None:
    model.reader.__class__ = _FirstToken


def _dropout(model: network.Network, trainer: Trainer, texts: list[str]) -> None:
    """A tenth of all activations is dropped while the encoder learns (Srivastava et al., 2014)."""
    for part in model.reader.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.1


def _slower_below(model: network.Network, trainer: Trainer, texts: list[str], decay: float = 0.85) -> None:
    """Each layer learns more slowly than the one above it (Howard and Ruder, ULMFiT, 2018)."""
    top, rates = model.reader.depth("head"), {}
    for name, parameter in model.reader.named_parameters():
        rate = trainer.args.learning_rate * decay ** (top - model.reader.depth(name))
        rates.setdefault(rate, []).append(parameter)
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


def _averaged(model: network.Network, trainer: Trainer, texts: list[str]) -> None:
    """Exponential moving average of the weights (Izmailov et al., 2018, with decay 0.99)."""
    trainer.add_callback(_Averaging(0.99))


def _warm_up(module: torch.nn.Module, trainer: Trainer, rows: object, collate: Callable, loss: Callable | None) -> None:
    """One epoch of something else, at half the rate, before the training proper."""
    arguments = dataclasses.replace(
        trainer.args, num_train_epochs=1, learning_rate=trainer.args.learning_rate / 2, eval_strategy="no",
        save_strategy="no", logging_strategy="no")
    first = Trainer(module, arguments, train_dataset=rows, data_collator=collate, compute_loss_func=loss)
    first.remove_callback(PrinterCallback)
    first.train()


def _domain_adapted(model: network.Network, trainer: Trainer, texts: list[str]) -> None:
    """Masked words of unlabelled and training posts are guessed first (Gururangan et al., 2020)."""
    encoder, tokenizer = model.reader.encoder, trainer.data_collator.tokenizer
    guesser = AutoModelForMaskedLM.from_config(encoder.config)
    setattr(guesser, guesser.base_model_prefix, encoder)
    guesser.tie_weights()
    ids = tokenizer(texts, truncation=True)["input_ids"] + trainer.train_dataset.ids
    rows = [{"input_ids": one, "length": len(one)} for one in ids]
    mask = DataCollatorForLanguageModeling(tokenizer, pad_to_multiple_of=8)
    _warm_up(guesser, trainer, rows, lambda batch: mask([{"input_ids": row["input_ids"]} for row in batch]), None)


class _Pooled(torch.nn.Module):
    def __init__(self, reader: network.Reader):
        super().__init__()
        self.reader = reader

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor,
                labels: torch.Tensor | None = None) -> SequenceClassifierOutput:
        vectors = self.reader.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = self.reader.pool(vectors, attention_mask).float()
        return SequenceClassifierOutput(logits=torch.nn.functional.normalize(pooled, dim=1))


def _alike(outputs: SequenceClassifierOutput, labels: torch.Tensor, num_items_in_batch: object = None) -> torch.Tensor:
    """Supervised contrastive loss (Khosla et al., 2020): posts of one stratum lie close together."""
    near = outputs.logits @ outputs.logits.T / 0.1
    others = ~torch.eye(len(near), dtype=torch.bool, device=near.device)
    chance = near - torch.logsumexp(near.masked_fill(~others, -torch.inf), 1, keepdim=True)
    stratum = labels[:, :-1].argmax(1)
    same = (stratum[:, None] == stratum) & others
    return -(chance * same).sum() / same.sum().clamp(min=1)


def _contrasted(model: network.Network, trainer: Trainer, texts: list[str]) -> None:
    _warm_up(_Pooled(model.reader), trainer, trainer.train_dataset, trainer.data_collator, _alike)


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


def _half(rows: pd.DataFrame) -> np.ndarray:
    return np.where(rows["part"] == "supplement", 0.5, 1.0)


def _contrast(posts: pd.DataFrame) -> pd.Series:
    return posts["dataset"].str.contains("_contrast-")


VARIANTS = {
    "default": Variant("the default recipe"),
    "first token": Variant("the reader's head sits on the first token's vector, not on the mean", change=_first_token),
    "no class weights": Variant("all errors weigh the same", {"class_weight_power": 0.0}),
    "full class weights": Variant("labels weigh as if equally frequent", {"class_weight_power": 1.0}),
    "label smoothing": Variant("a tenth of each target goes to all labels", soften=_smooth),
    "ordinal targets": Variant("targets spread to neighbouring ranks", soften=_neighbours),
    "softened targets": Variant("three tenths of each target from a held-out linear model", soften=_softened),
    "doubted labels out": Variant("the one in twenty least likely labels do not train", weigh=_doubted),
    "dropout": Variant("a tenth of the encoder's activations is dropped", change=_dropout),
    "nothing frozen": Variant("all layers and the embeddings learn", {"frozen": 0.0}),
    "slower lower layers": Variant("learning rate falls by 0.85 a layer from the top", change=_slower_below),
    "domain-adapted first": Variant("an epoch of guessing masked words first", change=_domain_adapted),
    "contrasted first": Variant("an epoch of drawing posts of one label together first", change=_contrasted),
    "self-training": Variant("the unlabelled posts that a first network is surest of, half of them, train a second",
                             self_training=True),
    "two seeds": Variant("the answers of two networks averaged", seeds=2),
    "distilled": Variant("half of each target from networks that did not see the row", taught=0.5),
    "averaged weights": Variant("moving average of the weights, decay 0.99", change=_averaged),
    "no supplement": Variant("no invented posts beside the labelled rows", beside=lambda posts: posts["label"] < 0),
    "supplement at half weight": Variant("an invented post counts half as much as a row", weigh=_half),
    "supplement of ranks 2 to 4": Variant("invented posts of ranks 2 to 4 alone",
                                          beside=lambda posts: posts["label"].isin([2, 3, 4])),
    "starter corpus alone": Variant("no contrast sets beside the rows", beside=lambda posts: ~_contrast(posts)),
    "contrast sets alone": Variant("no starter corpus beside the rows", beside=_contrast),
    "half the rate": Variant("learning rate 5e-5", {"learning_rate": 5e-5}),
    "twice the rate": Variant("learning rate 2e-4", {"learning_rate": 2e-4}),
    "half the batch": Variant("16 posts a step", {"batch_size": 16}),
    "an epoch more": Variant("an epoch more", {"epochs": training.Recipe.epochs + 1}),
    "three epochs more": Variant("three epochs more", {"epochs": training.Recipe.epochs + 3}),
}
