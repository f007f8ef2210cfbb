"""Bulk scoring: an archive of any size through a model, shard by shard, resumed where it was stopped."""

import csv
import hashlib
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from hrf_utils import archives, classifier, engines, files, settings
from hrf_utils.settings import InputError
from hrf_utils.store_archive import Job, Shard

_ENGINES = {"local": engines.local, "ray": engines.ray}


def classify(path: Path | str, task: str, engine: str = "local", cascade: bool = False) -> Path:
    """Score an archive with the current model of a task, below ``data/scores/<task>/<data set>/``.

    Writes ``part-00000.parquet`` and so on, 10,000 rows of the archive each, in its order (``id``, ``label``,
    ``confidence``, ``p0`` …), ``rejects.csv`` (``row``, ``reason``) and at the end ``summary.json``. The same text is
    scored once. A job that was killed goes on with the first shard that is not whole; one that is done is left alone.

    Parameters
    ----------
    path : CSV, lines of JSON, or parquet, with an id and a text in every row
    engine : ``local`` or ``ray``
    cascade : let the counter answer alone where it is sure, as in `Classifier.predict`

    Returns
    -------
    Path of the folder.

    Raises
    ------
    InputError
        If the archive cannot be used (`archives.rows`) or has a doubled id, the disk is full, or archive, model or
        cascade are not those that the job began with.
    """
    if engine not in _ENGINES:
        raise InputError(f"unknown ENGINE {engine!r}; there are {', '.join(_ENGINES)}")
    path, run = Path(path), classifier.run_folder(task)
    dataset = files.dataset_name(path)
    folder = settings.data_path("scores", task, dataset)
    facts = {"archive": str(path.resolve()), "model": run.name, "manifest_sha256": files.sha256(run / "manifest.json"),
             "cascade": cascade}
    _same_archive(folder, facts["archive"])
    if (folder / "summary.json").exists():
        _same(summary(folder), facts, folder)
        print(f"{path} is scored already; see {folder}")
        return folder
    job = _prepared(path, folder, facts)
    known, shards = job.facts(), job.shards()
    _same(known, facts, folder)
    with tqdm(total=known["rows"], initial=known["rows"] - sum(shard.rows for shard in shards), desc="classify",
              unit=" posts", smoothing=0.1) as bar:
        answered, started = _ENGINES[engine](run, path, shards, cascade), time.monotonic()
        for shard, answers in zip(shards, answered, strict=True):
            rows = engines.usable(path, shard)
            with job.whole():
                chances = job.answers([_digest(row.text) for row in rows], shard.fresh, answers.chances)
                _write(folder / f"part-{shard.number:05}.parquet", [row.id for row in rows], chances)
                job.finish(shard, {"settled": answers.settled, "seconds": time.monotonic() - started, "labels":
                                   np.bincount(chances.argmax(axis=1), minlength=chances.shape[1]).tolist()})
            started = time.monotonic()
            bar.update(shard.rows)
    if files.dataset_name(path) != dataset:
        raise InputError(f"{path} has changed while it was scored; remove {folder} and score it anew")
    _finish(job, folder, {"task": task, "dataset": dataset} | known)
    return folder


def summary(folder: Path) -> dict:
    """What was counted of an archive that is scored."""
    return json.loads((folder / "summary.json").read_text(encoding="utf8"))


def _same_archive(folder: Path, archive: str) -> None:
    """Refuse an archive of which an earlier version was begun and not finished."""
    for other in folder.parent.glob("*/job.db"):
        if other.parent != folder and not (other.parent / "summary.json").exists() \
                and Job(other).facts().get("archive") == archive:
            raise InputError(f"{archive} is not as it was when its scoring began; give it back, or remove "
                             f"{other.parent}")


def _same(known: dict, facts: dict, folder: Path) -> None:
    for name, what in (("model", "model"), ("manifest_sha256", "model"), ("cascade", "setting of CASCADE")):
        if known[name] != facts[name]:
            raise InputError(f"{folder} was begun with another {what} ({known[name]}, now {facts[name]}); take that "
                             "one, or remove the folder to score anew")


def _prepared(path: Path, folder: Path, facts: dict) -> Job:
    """The job of a folder; a new one reads the whole archive once, and leaves nothing behind where that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(folder / "job.db")
    if not job.facts():
        try:
            with job.whole(), files.whole(folder / "rejects.csv") as temporary:
                _prepare(job, path, temporary, facts)
        except BaseException:
            job.close()
            shutil.rmtree(folder)
            raise
    return job


def _prepare(job: Job, path: Path, rejects: Path, facts: dict) -> None:
    job.begin()
    rows = posts = distinct = at = 0
    fresh: list[bool] = []
    with open(rejects, "w", newline="", encoding="utf8") as file:
        out = csv.writer(file)
        out.writerow(["row", "reason"])
        for row in tqdm(archives.rows(path), desc="read", unit=" rows"):
            if rows % engines.SHARD == 0:
                _close(job, rows, at, fresh)
                at, fresh = row.at, []
            rows += 1
            if row.problem:
                out.writerow([row.number, row.problem])
            if row.id:
                new = job.add(row.id, None if row.problem else _digest(row.text), row.number)
                fresh += [] if row.problem else [new]
                posts, distinct = posts + (not row.problem), distinct + new
    _close(job, rows, at, fresh)
    if not posts:
        raise InputError(f"{path} has no row with a text" if rows else f"{path} has no rows")
    job.set_down(**facts, rows=rows, posts=posts, rejected=rows - posts, distinct=distinct)


def _close(job: Job, rows: int, at: int, fresh: list[bool]) -> None:
    """Set down the shard that ends after so many rows of the archive."""
    if rows:
        number = (rows - 1) // engines.SHARD
        job.add_shard(Shard(number, at, rows - number * engines.SHARD, np.array(fresh, bool)))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf8"), digest_size=16).digest()


def _write(path: Path, ids: list[str], chances: np.ndarray) -> None:
    table = {"id": pa.array(ids, pa.string()), "label": pa.array(chances.argmax(axis=1), pa.int32()),
             "confidence": pa.array(chances.max(axis=1, initial=0), pa.float32())}
    table |= {f"p{k}": pa.array(chances[:, k], pa.float32()) for k in range(chances.shape[1])}
    with files.whole(path) as temporary:
        pq.write_table(pa.table(table), temporary)


def _finish(job: Job, folder: Path, facts: dict) -> None:
    counts = job.counts()
    seconds = sum(one["seconds"] for one in counts)
    labels = np.sum([one["labels"] for one in counts], axis=0).tolist()
    files.write_json(folder / "summary.json", facts | {
        "labels": labels, "settled": sum(one["settled"] for one in counts), "shards": len(counts), "seconds": seconds,
        "posts_per_second": facts["posts"] / max(seconds, 1e-9)})
    job.close()
    job.path.unlink()
