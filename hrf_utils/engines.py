"""Where shards are scored: in this process, or by a pool of actors that Ray Data keeps on one machine or on many."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hrf_utils import archives, settings
from hrf_utils.classifier import Classifier
from hrf_utils.settings import InputError
from hrf_utils.store_archive import Shard

SHARD = 10_000
"""Rows of an archive that are scored and written together: long enough to sort by length, short enough to lose."""


class Answers(NamedTuple):
    """Probabilities (n, labels) of the fresh posts of a shard, and how many the counter settled."""

    chances: np.ndarray
    settled: int


def usable(path: Path, shard: Shard) -> list[archives.Row]:
    """The rows of a shard that can be scored.

    Raises
    ------
    InputError
        If they are no longer as many as when the job was prepared.
    """
    part = islice(archives.rows(path, shard.at, shard.number * SHARD), shard.rows)
    found = [row for row in part if not row.problem]
    if len(found) != len(shard.fresh):
        raise InputError(f"{path} has changed while it was scored; give it back, or remove what was scored")
    return found


def _score(model: Classifier, path: Path, shard: Shard, cascade: bool) -> Answers:
    texts = [row.text for row, fresh in zip(usable(path, shard), shard.fresh, strict=True) if fresh]
    found = model.predict(texts, cascade)
    settled = int(found["settled"].sum()) if cascade else 0
    return Answers(found.filter(regex=r"^p\d+$").to_numpy(np.float32), settled)


def local(run: Path, path: Path, shards: list[Shard], cascade: bool) -> Iterator[Answers]:
    """Score shards one after another in this process."""
    model = Classifier.load(run, fast=True)
    for shard in shards:
        yield _score(model, path, shard, cascade)


class _Worker:
    """An actor with a model of its own; it reads the shards that it is given from the archive."""

    score = staticmethod(_score)

    def __init__(self, run: Path, path: Path, cascade: bool):
        os.environ["TQDM_DISABLE"] = "1"
        self.model, self.path, self.cascade = Classifier.load(run, fast=True), path, cascade

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        number, at, rows, fresh = (batch[name][0] for name in Shard._fields)
        shard = Shard(int(number), int(at), int(rows), np.frombuffer(fresh, bool))
        found = self.score(self.model, self.path, shard, self.cascade)
        return {"number": [shard.number], "labels": [found.chances.shape[1]], "settled": [found.settled],
                "chances": [found.chances.tobytes()]}


def ray(run: Path, path: Path, shards: list[Shard], cascade: bool) -> Iterator[Answers]:
    """Score shards in as many actors as the machines of ``RAY_ADDRESS`` (default: this one) have processors.

    Archive and model have to be within reach of every machine under the same path. A shard whose actor dies is
    given to another one.

    Raises
    ------
    InputError
        If Ray is not installed, or does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("ENGINE=ray needs Ray: .venv/bin/pip install -r requirements-ray.txt") from error
    try:
        ray.init(address=settings.get("RAY_ADDRESS") or "local", log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"RAY_ADDRESS={settings.get('RAY_ADDRESS')} does not answer: {error}") from error
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    actors = min(len(shards), int(ray.cluster_resources().get("CPU", 1)))
    items = [shard._replace(fresh=shard.fresh.tobytes())._asdict() for shard in shards]
    done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _Worker, fn_constructor_args=(run.resolve(), path.resolve(), cascade), batch_size=1, num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=actors))
    try:
        for shard, row in zip(shards, done.iter_rows(), strict=True):
            if row["number"] != shard.number:
                raise RuntimeError(f"Ray gave shard {row['number']} where {shard.number} was due")
            yield Answers(np.frombuffer(row["chances"], np.float32).reshape(-1, row["labels"]), row["settled"])
    finally:
        ray.shutdown()
