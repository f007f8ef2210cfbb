"""Bulk scoring: every post once and in its place, whatever the archive holds and whenever it is stopped."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import soak

from hrf_utils import archives, classifier, engines, files, network, scoring, settings
from hrf_utils.classifier import Classifier
from hrf_utils.settings import InputError
from hrf_utils.store_archive import Job

ROOT = Path(__file__).resolve().parent.parent
WORDS = ["police", "shot", "calm", "spray", *"abcdefgh"]


@pytest.fixture(scope="session")
def trained(force, tiny_bert, tmp_path_factory):
    """A model that was not trained, but knows words."""
    before, home = os.environ.get("HRF_HOME"), tmp_path_factory.mktemp("scoring")
    os.environ["HRF_HOME"] = str(home)
    try:
        model, tokenizer = classifier.from_encoder(str(tiny_bert), force.names)
        texts = [f"{word} {other}" for word in WORDS for other in WORDS]
        network.fit_counter(model.counter, tokenizer(texts)["input_ids"], np.arange(len(texts)) // 3 % 6,
                            np.ones(len(texts)))
        manifest = {"task": "force", "labels": force.names, "temperature": 1.0, "tokens": 64,
                    "thresholds": {"set": 0.1, "abstain": 0.9, "settled": 0.4}, "trained_at": "2026-01-01T00:00:00"}
        classifier.save(model, tokenizer, manifest, "", {})
    finally:
        os.environ.pop("HRF_HOME") if before is None else os.environ.update(HRF_HOME=before)
    return home


@pytest.fixture
def model(trained, home, monkeypatch):
    """The model in the home of a test, and shards of 20 rows."""
    shutil.copytree(trained / "data" / "models", home / "data" / "models")
    monkeypatch.setattr(engines, "SHARD", 20)
    return Classifier.load(classifier.run_folder("force"), fast=True)


def some_texts(n=110):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 20))) + f" {'abcdefgh'[k % 8] * (k % 7)}" for k in range(n)]
    for k in range(5, n, 6):  # repeats, most of them in another shard
        texts[k] = texts[rng.integers(k)]
    return texts


def write(folder, kind, ids, texts):
    path, frame = folder / f"archive.{kind}", pd.DataFrame({"id": ids, "more": "x", "text": texts})
    {"csv": lambda: frame.to_csv(path, index=False), "parquet": lambda: frame.to_parquet(path, row_group_size=17),
     "jsonl": lambda: frame.to_json(path, orient="records", lines=True)}[kind]()
    return path


def read(folder):
    parts = sorted(folder.glob("part-*.parquet"))
    assert [int(part.stem[5:]) for part in parts] == list(range(len(parts)))
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


def rejects(folder):
    with open(folder / "rejects.csv", newline="", encoding="utf8") as file:
        return {int(row): reason for row, reason in list(csv.reader(file))[1:]}


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_post_is_scored_once_and_in_its_place(kind, cascade, model, tmp_path, monkeypatch):
    texts = some_texts()
    ids = [f"{10**18 + k}" for k in range(len(texts))]
    asked, predict = [], Classifier.predict
    monkeypatch.setattr(Classifier, "predict", lambda self, of, *more: asked.extend(of) or predict(self, of, *more))
    folder = scoring.classify(write(tmp_path, kind, ids, texts), "force", cascade=cascade)
    got, alone = read(folder), predict(model, texts, cascade)
    assert got["id"].tolist() == ids
    np.testing.assert_allclose(got.filter(regex=r"^p\d"), alone.filter(regex=r"^p\d"), atol=0.02)
    np.testing.assert_allclose(got["confidence"], got.filter(regex=r"^p\d").max(axis=1))
    assert (got["label"] == alone["label"]).mean() > 0.95
    assert sorted(asked) == sorted({text.strip() for text in texts})
    told = scoring.summary(folder)
    assert (told["posts"], told["rejected"], told["distinct"], told["shards"]) == (110, 0, len(asked), 6)
    assert told["labels"] == got["label"].value_counts().reindex(range(6), fill_value=0).tolist()
    assert (told["settled"] > 0) == cascade and (not cascade or told["settled"] <= alone["settled"].sum() + 2)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert scoring.classify(tmp_path / f"archive.{kind}", "force", cascade=cascade) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before and len(before) == 8


def test_broken_rows_are_named_and_the_rest_goes_on(model, tmp_path):
    path = tmp_path / "broken.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\n1,calm police\n2,\xff\xfe shot\n\n3,too,many\n4,"  "\n5\n6,"a ""quoted"" '
                     b'comma, and\nline"\n7,"not" closed well\n8,=1+1 <script>\x00\n9,"never closed')
    folder = scoring.classify(path, "force")
    assert read(folder)["id"].tolist() == ["1", "6", "8"]
    found = rejects(folder)
    assert list(found) == [2, 3, 4, 5, 7, 9] and scoring.summary(folder)["rejected"] == 6
    assert found[2] == "it is not UTF-8" and found[3] == "it has 3 cells, not 2" and found[4] == "the text is empty"
    assert "shot" not in (folder / "rejects.csv").read_text()
    lines = tmp_path / "broken.jsonl"
    lines.write_bytes(b'{"id": 1, "text": "calm"}\n{"id": 2\n[3]\n{"id": "4", "tweets": "shot"}\n{"id": 5, "text": 5}\n'
                      b'{"id": 6, "text": "\\ud83d"}\n\n{"id": 7, "text": "\xff"}\n' + b"[" * 100_000 + b"\n")
    folder = scoring.classify(lines, "force")
    assert read(folder)["id"].tolist() == ["1", "4", "6"] and list(rejects(folder)) == [2, 3, 5, 7, 8]


@pytest.mark.parametrize(("rows", "says"), [
    ("id,text\n1,calm\n2,shot\n1,calm\n", "row 3: the id 1 stood in row 1 before"),
    ("id,text\n1,calm\n ,shot\n", "row 2 has no id"), ("text\ncalm\n", "has no column id"),
    ("id,words\n1,calm\n", "has no column text or tweets"), ("id,text\n1.36E+18,calm\n", "rounded by a spreadsheet"),
    ("", "is empty"), ("id,text\n", "has no rows"), ("id,text\n1, \n", "has no row with a text")])
def test_what_cannot_be_an_archive_is_refused_and_leaves_nothing(rows, says, model, home, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(rows)
    with pytest.raises(InputError, match=says):
        scoring.classify(path, "force")
    assert not list((home / "data").glob("scores/**/*.*"))


def test_archives_of_other_kinds_are_refused(model, tmp_path):
    for name, content, says in (("a.txt", b"x", "is none of"), ("a.parquet", b"x", "cannot be read")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=says):
            scoring.classify(tmp_path / name, "force")
    pd.DataFrame({"id": [1.5e18], "text": ["a"]}).to_parquet(tmp_path / "f.parquet")
    with pytest.raises(InputError, match="stored as rounded numbers"):
        scoring.classify(tmp_path / "f.parquet", "force")
    with pytest.raises(InputError, match="unknown ENGINE 'spark'; there are local, ray"):
        scoring.classify(tmp_path / "a.txt", "force", engine="spark")
    assert settings.VARIABLES["ENGINE"].default == "local"


def test_a_post_of_ten_megabytes_is_cut_before_it_is_read(model, tmp_path, monkeypatch):
    path, longest = tmp_path / "long.csv", []
    path.write_text("id,text\n1,calm\n2," + "shot " * 2_000_000 + "\n3,spray\n")
    predict = Classifier.predict
    monkeypatch.setattr(Classifier, "predict", lambda self, of, *more: longest.extend(map(len, of)) or
                        predict(self, of, *more))
    got = read(scoring.classify(path, "force"))
    assert got["id"].tolist() == ["1", "2", "3"] and max(longest) < 25_001


class Stopped(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("of", ["pq.write_table", "Job.finish", "Job.answers", "Job.add_shard", "Job.set_down",
                                "files.write_json"])
def test_a_job_that_stops_anywhere_goes_on_and_comes_to_the_same(of, model, home, tmp_path, monkeypatch):
    path = write(tmp_path, "csv", range(110), some_texts())
    whole = read(scoring.classify(path, "force"))
    shutil.rmtree(home / "data" / "scores")
    owner, name = {"pq": scoring.pq, "Job": Job, "files": files}[of.split(".")[0]], of.split(".")[1]
    real, stops = getattr(owner, name), 0
    for allowed in (0, 0, 3, 1):  # calls until it is stopped once more
        calls = iter(range(allowed))

        def fails(*arguments, calls=calls, **more):
            if next(calls, None) is None:
                raise Stopped
            return real(*arguments, **more)

        monkeypatch.setattr(owner, name, fails)
        try:
            scoring.classify(path, "force")
        except Stopped:
            stops += 1
    monkeypatch.setattr(owner, name, real)
    assert stops >= 2
    pd.testing.assert_frame_equal(read(scoring.classify(path, "force")), whole)


def test_a_full_disk_is_said_and_what_is_whole_stays(model, tmp_path, monkeypatch):
    path, write_table, left = write(tmp_path, "csv", range(110), some_texts()), scoring.pq.write_table, iter(range(2))

    def full(*arguments):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        write_table(*arguments)

    monkeypatch.setattr(scoring.pq, "write_table", full)
    with pytest.raises(InputError, match="cannot write .*part-00002.parquet: No space left on device"):
        scoring.classify(path, "force")
    folder = next(settings.data_path("scores", "force", "x").parent.iterdir())
    assert sorted(p.name for p in folder.glob("*.parquet")) == ["part-00000.parquet", "part-00001.parquet"]
    monkeypatch.setattr(scoring.pq, "write_table", write_table)
    assert read(scoring.classify(path, "force"))["id"].tolist() == [str(k) for k in range(110)]


def test_what_changed_between_stop_and_start_is_refused(model, tmp_path, monkeypatch):
    path, finish = write(tmp_path, "csv", range(110), some_texts()), Job.finish

    def stopped(self, shard, counts):
        if shard.number == 2:
            raise Stopped
        finish(self, shard, counts)

    monkeypatch.setattr(Job, "finish", stopped)
    with pytest.raises(Stopped):
        scoring.classify(path, "force")
    monkeypatch.setattr(Job, "finish", finish)
    with pytest.raises(InputError, match="begun with another setting of CASCADE"):
        scoring.classify(path, "force", cascade=True)
    manifest = model.folder / "manifest.json"
    before = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(before) | {"temperature": 2.0}))
    with pytest.raises(InputError, match="begun with another model"):
        scoring.classify(path, "force")
    manifest.write_text(before)
    archive = path.read_bytes()
    path.write_bytes(archive.replace(b"calm", b"shot"))
    with pytest.raises(InputError, match="is not as it was when its scoring began"):
        scoring.classify(path, "force")
    path.write_bytes(archive)
    assert len(read(scoring.classify(path, "force"))) == 110
    manifest.write_text(json.dumps(json.loads(before) | {"temperature": 2.0}))
    with pytest.raises(InputError, match="begun with another model"):
        scoring.classify(path, "force")


def test_an_archive_that_changes_while_it_is_scored_is_noticed(model, tmp_path, monkeypatch):
    path, finish = write(tmp_path, "csv", range(110), some_texts()), Job.finish

    def meddling(self, shard, counts):
        finish(self, shard, counts)
        path.write_bytes(path.read_bytes()[:-1] + b"!")

    monkeypatch.setattr(Job, "finish", meddling)
    with pytest.raises(InputError, match="has changed while it was scored"):
        scoring.classify(path, "force")


@pytest.mark.soak
def test_a_killed_process_goes_on_with_its_shards(model, home, tmp_path):
    texts = some_texts(2000)
    path = write(tmp_path, "csv", range(len(texts)), texts)
    code = ("from hrf_utils import engines, scoring; engines.SHARD = 20; "
            f"scoring.classify({str(path)!r}, 'force')")
    rng, folder = np.random.default_rng(0), settings.data_path("scores", "force", files.dataset_name(path))
    for _ in range(soak(1, 25)):
        going = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
        aim = len(list(folder.glob("part-*"))) + int(rng.integers(1, 4))
        while len(list(folder.glob("part-*"))) < aim and going.poll() is None:
            time.sleep(0.002)
        time.sleep(float(rng.random()) / 50)
        going.send_signal(signal.SIGKILL)
        assert going.wait() == -signal.SIGKILL or (folder / "summary.json").exists()
    assert list(folder.glob("part-*"))
    got = read(scoring.classify(path, "force"))
    assert got["id"].tolist() == [str(k) for k in range(len(texts))]
    assert (got["label"] == model.predict(texts)["label"]).mean() > 0.99
    assert not list(folder.glob(".part*")) or scoring.summary(folder)["shards"] == 100


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: requirements-ray.txt")
def test_ray_gives_the_same_and_survives_a_killed_worker(model, home, tmp_path, monkeypatch):
    import ray
    for module in (engines, sys.modules[__name__]):  # so that the worker that dies is the one made here
        ray.cloudpickle.register_pickle_by_value(module)
    path = write(tmp_path, "csv", range(110), some_texts())
    ours = read(scoring.classify(path, "force"))
    shutil.rmtree(home / "data" / "scores")
    mark = tmp_path / "killed"
    score = engines._score

    def dying(model, path, shard, cascade):
        if shard.number == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return score(model, path, shard, cascade)

    monkeypatch.setattr(engines._Worker, "score", staticmethod(dying))
    theirs = read(scoring.classify(path, "force", engine="ray"))
    assert mark.exists() and not ray.is_initialized()
    pd.testing.assert_frame_equal(theirs, ours, atol=0.01)


def test_rows_can_be_read_from_any_place_on(tmp_path):
    texts = ["line\n" * (k % 3) + f"“{k}”, 🚓" for k in range(60)]
    for kind in ("csv", "jsonl", "parquet"):
        path = write(tmp_path, kind, range(60), texts)
        every = list(archives.rows(path))
        assert [row.text for row in every] == [text.strip() for text in texts]
        for k in (0, 1, 16, 17, 35, 59):
            assert list(archives.rows(path, every[k].at, k)) == every[k:]
