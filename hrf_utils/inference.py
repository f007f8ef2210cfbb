"""How a network answers: posts of like length together, in a number format that the machine is fast with."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, normalizers
from tqdm import tqdm

from hrf_utils import lean
from hrf_utils.text import FORMS

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

BATCH_TOKENS = 2048
"""Most tokens in a batch, padding counted: enough to keep a processor busy, few enough to stay in its cache."""
_FEWEST = 256
"""Tokens that a batch may have where there are few posts, so that every processor gets some."""
GPU_BATCH_TOKENS = 65536
"""The same on a GPU, which is idle between small batches."""

ENOUGH = 0.99
"""Share of labels that a faster number format has to keep."""
_CHARACTERS = 4_000_000
"""Characters tokenised at once: a tokenizer holds all the tokens of a text before it cuts them."""
Answer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From token ids and their mask, both (posts, tokens), to scores (…, posts, labels)."""


def softmax(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities, shape (n, labels), of scores divided by a temperature."""
    scaled = scores / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def without(tokenizer: object, forms: Iterable[str]) -> None:
    """Let a tokenizer leave out some of `text.FORMS`; ``tokenizer.json`` keeps that, so all who use it see one form."""
    steps = [normalizers.Replace(Regex(FORMS[form]), " ") for form in FORMS if form in forms]
    if steps:
        core = tokenizer.backend_tokenizer
        spaces = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
        core.normalizer = normalizers.Sequence([*steps, *spaces, *([core.normalizer] if core.normalizer else [])])


def tokenise(tokenizer: object, texts: list[str]) -> list[list[int]]:
    """Token ids of each text, cut at the tokenizer's longest; as many at once as bound what the tokenizer holds."""
    found, part, size = [], [], 0
    for number, text in enumerate(texts, 1):
        part.append(text)
        size += len(text)
        if size > _CHARACTERS or number == len(texts):
            found += tokenizer(part, truncation=True)["input_ids"]
            part, size = [], 0
    return found


def logits(answer: Answer, tokenizer: object, ids: list[list[int]], device: torch.device | str = "cpu") -> np.ndarray:
    """Scores (…, n, labels) for posts as token ids, in their order.

    Each processor works on batches of its own, smaller ones where there are few posts: threads that share a batch wait
    for each other after every operation, the longer the busier the machine is.
    """
    bar = tqdm(total=len(ids), desc="predict", unit=" posts", disable=len(ids) < 500, leave=False)

    def one(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch, mask = _padded([ids[row] for row in rows], tokenizer.pad_token_id)
            found = answer(batch.to(device), mask.to(device)).float().cpu().numpy()
        bar.update(len(rows))
        return found

    on_gpu, threads = torch.device(device).type != "cpu", torch.get_num_threads()
    lengths = np.array([len(one) for one in ids], int)
    most = GPU_BATCH_TOKENS if on_gpu else min(BATCH_TOKENS, max(_FEWEST, lengths.sum() // (4 * threads)))
    dealt = list(batches(lengths, most))
    if on_gpu or len(dealt) < 2 * threads or threads == 1:
        found = list(map(one, dealt))
    else:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            found = list(pool.map(one, dealt))
        torch.set_num_threads(threads)
    bar.close()
    return np.concatenate(found, axis=-2)[..., np.argsort(np.concatenate(dealt)), :]


def batches(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Rows in order of length, as many at once as so many tokens hold when padded to the longest of them."""
    order, start = np.argsort(lengths, kind="stable"), 0
    while start < len(order):
        padded = lengths[order[start:]] * np.arange(1, len(order) - start + 1)
        stop = start + max(1, int(np.searchsorted(padded, tokens, side="right")))
        yield order[start:stop]
        start = stop


def _padded(ids: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = np.array([len(one) for one in ids])
    mask = np.arange(lengths.max()) < lengths[:, None]
    batch = np.full(mask.shape, pad)
    batch[mask] = np.concatenate(ids)
    return torch.from_numpy(batch), torch.from_numpy(mask.astype(np.int64))


def has_bfloat16() -> bool:
    """Whether the processor, or the GPU where there is one, multiplies bfloat16 by itself."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False) if torch.cuda.is_available() else
                torch.cpu._is_avx512_bf16_supported())


def fastest(model: torch.nn.Module, folder: Path, kind: bool | str = True, kept: float = 0.0) -> tuple[str, Answer]:
    """The network in the number format that this machine is fastest with at the same labels, and the format's name.

    bfloat16 where the hardware has it, else on a processor eight-bit integers through ONNX Runtime (dynamic
    quantisation of ``model.onnx``) if they have `kept` the label of enough posts (`ENOUGH`), else float32.
    ``kind="int8"`` asks for eight bits anyway. The annex A1 shows how fast each is.
    """
    if kind != "int8" and has_bfloat16():
        encoder = model.reader.encoder
        model.reader.encoder = lean.Lean(encoder) if lean.fits(encoder) else encoder.bfloat16()
        return "bfloat16", model
    if kind != "int8" and (kept < ENOUGH or torch.cuda.is_available()):
        return "float32", model
    return "int8", int8(folder / "model.onnx")


def kept_by_int8(model: torch.nn.Module, tokenizer: object, path: Path, texts: list[str]) -> float:
    """Share of texts that an exported network in eight bits gives the label of `model`, the same in float32."""
    ids = tokenise(tokenizer, texts)
    labels = [logits(answer, tokenizer, ids).argmax(axis=1) for answer in (model, int8(path))]
    return float((labels[0] == labels[1]).mean())


def int8(path: Path) -> Answer:
    """An exported network whose matrices are quantised to eight bits, run by ONNX Runtime."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    with tempfile.TemporaryDirectory() as work:
        small = Path(work) / "int8.onnx"
        # a scale for each column of a matrix, and none for the embeddings: few labels change by it
        quantize_dynamic(path, small, ["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # `logits` gives every processor a batch
        session = onnxruntime.InferenceSession(small.read_bytes(), options)

    def answer(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        fed = {"input_ids": ids.cpu().numpy(), "attention_mask": mask.cpu().numpy()}
        return torch.from_numpy(session.run(None, fed)[0])

    return answer
