"""How fast it is: the same posts through other ways and ours, in turn, on the same machine.

What is compared runs in alternation, so that whatever else the machine does meets all alike, and a ratio is the median
of ratios within a round. Shares of the matrix peak count useful operations: products of tokens that are no padding.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from sklearn.metrics import f1_score
from tqdm import tqdm
from transformers import TrainerCallback

from hrf_utils import classifier, inference, scoring, training
from hrf_utils.classifier import Classifier
from hrf_utils.growth import apart, made
from hrf_utils.tasks import Task

PIPELINE = "transformers.pipeline, batches of 32"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_LONGEST = 280
_PADDED, _DEFAULTS = f"every post padded to {_LONGEST} tokens", "Trainer's defaults"


def peaks(size: int = 2048, repeats: int = 5) -> dict[str, float]:
    """Operations a second of the machine's matrix products, at their best, by number format; int8 on the processor.

    bfloat16 only where the hardware multiplies it by itself: elsewhere it is emulated, a hundred times as slowly.
    """
    import onnxruntime
    from onnx import TensorProto, helper
    size = 8192 if DEVICE == "cuda" else size
    one, other = torch.randn(size, size, device=DEVICE), torch.randn(size, size, device=DEVICE)
    whole = [part.clamp(-1, 1).mul(100).to(torch.int8).cpu().numpy() for part in (one, other)]
    ends = [helper.make_tensor_value_info("a", TensorProto.UINT8, [size, size]),
            helper.make_tensor_value_info("c", TensorProto.INT32, [size, size])]
    weight = helper.make_tensor("b", TensorProto.INT8, [size, size], whole[1].tobytes(), raw=True)
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    ways = {"float32": lambda: _done(one @ other), "int8": lambda: session.run(None, {"a": whole[0].view(np.uint8)})}
    if inference.has_bfloat16():
        half = [part.bfloat16() for part in (one, other)]
        ways["bfloat16"] = lambda: _done(half[0] @ half[1])
    seconds = alternated(ways, dict.fromkeys(ways, 1), repeats + 1).iloc[1:].min()
    return {way: 2 * size**3 / seconds[way] for way in ways}


def _done(answer: torch.Tensor) -> torch.Tensor:
    """An answer that a GPU has come to."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return answer


def operations(model: Classifier, texts: list[str]) -> float:
    """Operations that matrix products of a model's encoder need for a post on average, padding not counted."""
    config = model.model.config
    tokens = np.array([len(ids) for ids in inference.tokenise(model.tokenizer, texts)], float)
    width, inner = config.hidden_size, config.intermediate_size
    each = (8 * width**2 + 4 * width * inner) * tokens + 4 * width * tokens**2
    return float(config.num_hidden_layers * each.mean())


def ways(run: Path, names: list[str], encoder: str) -> dict[str, tuple[str, Callable]]:
    """Ways to classify texts, each with its number format; those of the same network give labels, others None.

    Peers without a network like ours run the same encoder with the head that their library gives it.
    """
    import onnxruntime
    from sentence_transformers import SentenceTransformer
    where, exact = classifier.encoder_folder(encoder), Classifier.load(run)
    tokenizer = transformers.AutoTokenizer.from_pretrained(where, model_max_length=exact.manifest["tokens"])
    head = transformers.AutoModelForSequenceClassification.from_pretrained(where, num_labels=len(names))
    head.eval().to(DEVICE)
    pipeline = transformers.pipeline("text-classification", model=head, tokenizer=tokenizer, device=DEVICE,
                                     batch_size=32, truncation=True)
    sentences, linear = SentenceTransformer(where, device=DEVICE), torch.nn.LazyLinear(len(names))
    session = onnxruntime.InferenceSession(run / "model.onnx")
    rough = Classifier.load(run, fast="int8")

    def alone(texts: list[str]) -> None:
        with torch.inference_mode():
            for one in texts:
                head(**tokenizer(one, truncation=True, return_tensors="pt").to(DEVICE)).logits.argmax().item()

    def encode(texts: list[str]) -> None:
        with torch.inference_mode():
            linear(torch.from_numpy(sentences.encode(texts, show_progress_bar=False))).argmax(1)

    def plain(answer: inference.Answer) -> Callable:
        def run_it(texts: list[str]) -> np.ndarray:
            found = []
            for start in range(0, len(texts), 32):
                batch = exact.tokenizer(texts[start:start + 32], truncation=True, padding=True, return_tensors="pt")
                found.append(answer(batch["input_ids"], batch["attention_mask"]).numpy().argmax(axis=1))
            return np.concatenate(found)
        return run_it

    def onnx(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0])

    def ours(model: Classifier, cascade: bool = False) -> Callable:
        return lambda texts: model.predict(texts, cascade)["label"].to_numpy()

    fast = Classifier.load(run, fast=True)
    same = exact if fast.format == "int8" else fast
    return {
        "one at a time": ("float32", alone), PIPELINE: ("float32", lambda texts: pipeline(texts) and None),
        "sentence-transformers, linear head": ("float32", encode),
        "ONNX Runtime, batches of 32": ("float32", plain(onnx)), "ONNX Runtime, int8": ("int8", plain(rough.answer)),
        "ours, float32": ("float32", ours(exact)), "ours, exact": (same.format, ours(same)),
        "ours, int8": ("int8", ours(rough)),
        "ours, cascade": (fast.format, ours(fast, cascade=True))}


def alternated(does: dict[str, Callable], sizes: dict[str, float], repeats: int) -> pd.DataFrame:
    """Seconds that each way takes for one unit of its size; a row a round, a column a way."""
    rounds = []
    for _ in tqdm(range(repeats), desc="rounds", disable=repeats < 2 or len(does) < 4):
        rounds.append({})
        for name, do in does.items():
            started = time.perf_counter()
            do()
            rounds[-1][name] = (time.perf_counter() - started) / sizes[name]
    return pd.DataFrame(rounds)


def inference_table(found: dict[str, tuple[str, Callable]], texts: list[str], repeats: int, useful: float,
                    peak: dict[str, float]) -> pd.DataFrame:
    """Posts a second of each way beside the pipeline's, the share of the matrix peak, and agreement with float32.

    Returns
    -------
    One row a way: ``format``, ``ratio`` to `PIPELINE` (median of rounds) with the lowest and highest, ``posts_per_s``
    (median), ``peak`` (share of its format's peak), and ``agreement`` of labels with ours in float32, if it is the
    same network.
    """
    some = {name: texts[:max(8, len(texts) // 4)] if name == "one at a time" else texts for name in found}
    labels = {name: do(some[name]) for name, (_, do) in found.items()}  # also warms up
    seconds = alternated({name: lambda do=do, of=some[name]: do(of) for name, (_, do) in found.items()},
                         {name: len(of) for name, of in some.items()}, repeats)
    ratios, truth = seconds[[PIPELINE]].to_numpy() / seconds, labels["ours, float32"]
    rows = {}
    for name, (kind, _) in found.items():
        ratio, median = ratios[name], seconds[name].median()
        rows[name] = {"format": kind, "ratio": ratio.median(), "low": ratio.min(), "high": ratio.max(),
                      "posts_per_s": 1 / median, "peak": useful / median / peak[kind],
                      "agreement": np.nan if labels[name] is None else (labels[name] == truth).mean()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("way")


def archive(texts: list[str], n: int, task: str, cascade: bool) -> dict[str, float]:
    """Make an archive of `n` posts and score it as `make classify` does, from file to files; its summary.

    It is scored in a process of its own, whose highest memory is ``gib``.
    """
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "archive.csv"
        pd.DataFrame({"id": [f"{k}" for k in range(n)], "text": made(texts, n)}).to_csv(path, index=False)
        found, seconds, gib = apart(_scored, path, task, cascade)
    return found | {"wall_posts_per_s": n / seconds, "gib": gib}


def _scored(path: Path, task: str, cascade: bool) -> dict:
    folder = scoring.classify(path, task, cascade=cascade)
    found = scoring.summary(folder)
    for part in folder.iterdir():
        part.unlink()
    folder.rmdir()
    return found


def training_table(rows: pd.DataFrame, validation: pd.DataFrame, task: Task, encoder: str,
                   epochs: float) -> pd.DataFrame:
    """How fast three recipes learn, and how well: every post padded to 280 tokens, `Trainer` as it comes, and ours.

    Returns
    -------
    One row a recipe: ``posts_per_s`` (evaluations not counted), ``ratio`` to ``Trainer``'s defaults, ``macro_f1`` on
    validation rows after the last epoch, and ``reached_s``, the seconds until it first stood at what all of
    them came to.
    """
    curves = {}
    for name in (_PADDED, _DEFAULTS, "ours"):
        with tempfile.TemporaryDirectory() as work:
            curves[name] = _learn(name, rows, validation, task, encoder, epochs, Path(work))
    found = pd.DataFrame({name: {"posts_per_s": len(rows) * epochs / curve["seconds"].iloc[-1],
                                 "macro_f1": curve["macro_f1"].iloc[-1]} for name, curve in curves.items()}).T
    found.insert(0, "ratio", found["posts_per_s"] / found.loc[_DEFAULTS, "posts_per_s"])
    common = min(curve["macro_f1"].max() for curve in curves.values())
    found["reached_s"] = [curve.loc[curve["macro_f1"] >= common, "seconds"].iloc[0] for curve in curves.values()]
    return found.rename_axis("recipe")


class _Clock(TrainerCallback):
    """Seconds of training, evaluations not counted, and macro-F1, after each epoch."""

    def __init__(self):
        self.seconds, self.curve = 0.0, []

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.since = time.perf_counter()

    def on_epoch_end(self, args, state, control, **kwargs):
        self.seconds += time.perf_counter() - self.since

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        self.curve.append({"seconds": self.seconds, "macro_f1": metrics["eval_macro_f1"]})


def _learn(name: str, rows: pd.DataFrame, validation: pd.DataFrame, task: Task, encoder: str, epochs: float,
           work: Path) -> pd.DataFrame:
    clock = _Clock()
    if name == "ours":
        recipe = replace(training.Recipe(), epochs=epochs)
        training.fit(rows, validation, task.names, encoder, recipe, 0, work,
                     change=lambda model, trainer: trainer.add_callback(clock))
        return pd.DataFrame(clock.curve)
    where = classifier.encoder_folder(encoder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(where, num_labels=len(task.names))
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        where, model_max_length=min(_LONGEST, model.config.max_position_embeddings))
    padding = "max_length" if name == _PADDED else False
    parts = [[{**tokenizer(row.text, truncation=True, padding=padding), "labels": row.label}
              for row in part.itertuples()] for part in (rows, validation)]
    arguments = transformers.TrainingArguments(
        str(work), num_train_epochs=epochs, eval_strategy="epoch", save_strategy="no", report_to="none",
        disable_tqdm=True, use_cpu=not torch.cuda.is_available())
    trainer = transformers.Trainer(
        model, arguments, train_dataset=parts[0], eval_dataset=parts[1], callbacks=[clock],
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda said: {"macro_f1": f1_score(said.label_ids, said.predictions.argmax(axis=1),
                                                           average="macro")})
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return pd.DataFrame(clock.curve)
