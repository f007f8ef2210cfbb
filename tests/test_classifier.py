"""Training and model folders, with BERT and ELECTRA small enough to train in seconds."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
import transformers
from conftest import bfloat16
from tokenizers import Tokenizer

from hrf_utils import classifier, inference, network, tasks, training
from hrf_utils.classifier import Classifier, run_folder
from hrf_utils.settings import InputError
from hrf_utils.text import FORMS, one_form

TEXTS = {0: "a calm day by the sea", 1: "police stood there", 2: "they shoved her", 3: "baton on his arm",
         4: "spray in my eyes", 5: "shot him dead"}


@pytest.fixture(scope="session")
def split():
    rows = [{"dataset": "d", "id": f"{label}-{k}", "text": f"{text} {'abcdefghijkl'[k]}", "label": label,
             "part": "validation" if k % 4 == 0 else "train", "group": label * 100 + k}
            for label, text in TEXTS.items() for k in range(12)]
    return pd.DataFrame(rows)


def fit(split, force, encoder, seed=0, processes=1, **more):
    recipe = training.Recipe(**{"epochs": 2, "learning_rate": 5e-3, "batch_size": 8} | more)
    return training.train(split, force, str(encoder), {"datasets": ["d"], "data_sha256": "0" * 64}, recipe=recipe,
                          seed=seed, processes=processes)


@pytest.fixture(scope="session")
def folder(split, force, tiny_bert, tmp_path_factory):
    """One trained model for all tests that only read it."""
    home = tmp_path_factory.mktemp("trained")
    before = os.environ.get("HRF_HOME")
    os.environ["HRF_HOME"] = str(home)
    try:
        return fit(split, force, tiny_bert, epochs=25).folder
    finally:
        os.environ.pop("HRF_HOME") if before is None else os.environ.update(HRF_HOME=before)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def test_it_learns_and_predicts_in_the_order_given(folder, split):
    got = Classifier.load(folder, "force").predict(split["text"])
    assert (got["label"] == split["label"]).mean() > 0.8
    assert list(got.columns) == ["label", "confidence", "p0", "p1", "p2", "p3", "p4", "p5"]
    np.testing.assert_allclose(got.filter(regex="^p").sum(axis=1), 1, atol=1e-5)
    backwards = Classifier.load(folder).predict(split["text"].tolist()[::-1])
    assert backwards["label"].tolist()[::-1] == got["label"].tolist()


def test_hostile_and_empty_input(folder):
    model = Classifier.load(folder)
    assert len(model.predict([])) == 0
    got = model.predict(["", "x" * 1_000_000, "\u202e👮", "<script>", "a\x00b"])
    assert len(got) == 5 and np.isfinite(got["confidence"]).all()


def test_a_text_is_read_as_far_as_the_encoder_can(folder):
    assert json.loads((folder / "manifest.json").read_text())["tokens"] == 160
    texts = [" ".join(["calm"] * before + ["shot"] * 5 + ["calm"] * 40) for before in (140, 150, 160)]
    chances = Classifier.load(folder).predict([*texts, "calm " * 200]).filter(regex="^p").to_numpy()
    assert np.abs(chances[:2] - chances[3]).max(axis=1).min() > 1e-6 and (chances[2] == chances[3]).all()


def test_the_folder_is_of_use_without_this_project(folder, split):
    texts = split["text"].tolist()[:10]
    manifest = json.loads((folder / "manifest.json").read_text())
    ours = Classifier.load(folder).predict(texts)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, return_tensors="np")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for rows in (slice(0, 1), slice(0, 10)):
        scores = session.run(None, {k: batch[k][rows] for k in ("input_ids", "attention_mask")})[0]
        chances = inference.softmax(scores, manifest["temperature"])
        np.testing.assert_allclose(chances, ours.filter(regex=r"^p\d").to_numpy()[rows], atol=1e-4)


def test_the_manifest_says_what_was_trained(folder, split):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["rows"] == {"train": 54, "validation": 18} and manifest["task"] == "force"
    assert manifest["parameters"]["epochs"] == 25 and len(manifest["model_sha256"]) == 64
    card = (folder / "README.md").read_text()
    assert "## Prohibited use" in card and manifest["data_sha256"] in card
    assert not list(folder.glob("*.bin"))


def test_the_same_seed_gives_the_same_weights(split, force, tiny_bert):
    one, two, other = (fit(split, force, tiny_bert, seed=seed).folder for seed in (3, 3, 4))
    digests = [json.loads((f / "manifest.json").read_text())["model_sha256"] for f in (one, two, other)]
    assert digests[0] == digests[1] != digests[2]


def test_electra_goes_through_the_same_code(split, force, tiny_electra):
    trained = fit(split, force, tiny_electra, epochs=1)
    assert Classifier.load(trained.folder).model.config.model_type == "electra"
    assert (trained.folder / "model.onnx").exists() and len(trained.history) == 1


def test_runs_are_kept_and_current_names_the_latest(split, force, tiny_bert):
    first = fit(split, force, tiny_bert, epochs=1).folder
    second = fit(split, force, tiny_bert, epochs=1, seed=1).folder
    assert first.exists() and run_folder("force") == second and run_folder("force", first.name) == first


def test_nan_loss_keeps_the_current_model(split, force, tiny_bert):
    kept = fit(split, force, tiny_bert, epochs=1).folder
    with pytest.raises(InputError, match="not a number.*the current model was kept"):
        fit(split, force, tiny_bert, learning_rate=1e30)
    assert run_folder("force") == kept
    assert [p.name for p in kept.parent.iterdir() if p.is_dir()] == [kept.name]


def test_a_label_without_training_row_is_named(split, force, tiny_bert):
    part = split["part"].where(split["label"] != 4, "validation")
    with pytest.raises(InputError, match="label 4 has no row to train on"):
        fit(split.assign(part=part), force, tiny_bert)


def test_a_killed_training_goes_on_and_ends_where_a_whole_one_does(split, force, tiny_bert, monkeypatch):
    class Killed(BaseException):
        pass

    def die(self, args, state, control, **kwargs):
        if state.epoch > 1.5:
            raise Killed
    whole = fit(split, force, tiny_bert, epochs=3)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training._Watch, "on_step_begin", die, raising=False)
        fit(split, force, tiny_bert, epochs=3)
    (work,) = whole.folder.parent.glob(".training-*")
    (done,) = work.glob("checkpoint-*")
    (work / "checkpoint-9999").mkdir()
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(training._Watch, "on_step_begin", lambda *_, **__: steps.append(1), raising=False)
        again = fit(split, force, tiny_bert, epochs=3)
    digests = [json.loads((f / "manifest.json").read_text())["model_sha256"] for f in (whole.folder, again.folder)]
    assert digests[0] == digests[1] and len(again.history) == 3
    assert len(steps) < len(whole.history) * 7 and done.name == "checkpoint-7"
    assert not list(whole.folder.parent.glob(".training-*"))


def test_two_processes_train_as_one(split, force, tiny_bert):
    trained = fit(split, force, tiny_bert, epochs=20, batch_size=4, processes=2)
    got = Classifier.load(trained.folder).predict(split["text"])
    assert (got["label"] == split["label"]).mean() > 0.8 and len(trained.history) == 20
    with pytest.raises(InputError, match="training in 2 processes failed.*the current model was kept"):
        fit(split, force, tiny_bert, learning_rate=1e30, processes=2)
    assert run_folder("force") == trained.folder


def test_a_training_that_lost_a_process_keeps_its_checkpoints(split, force, tiny_bert, monkeypatch):
    found = []

    def killed(command, **options):
        work = Path(command[-1])
        found.append(sorted(folder.name for folder in work.glob("checkpoint-*")))
        for name in ("checkpoint-1/trainer_state.json", "checkpoint-2/half"):
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).touch()
        return subprocess.CompletedProcess(command, -9)

    monkeypatch.setattr(subprocess, "run", killed)
    for _ in range(2):
        with pytest.raises(InputError, match="training in 2 processes failed"):
            fit(split, force, tiny_bert, processes=2)
    assert found == [[], ["checkpoint-1"]]


def test_the_last_epoch_is_kept_so_that_validation_chooses_nothing(split, force, tiny_bert):
    trained = fit(split, force, tiny_bert, epochs=3)
    manifest = json.loads((trained.folder / "manifest.json").read_text())
    got = Classifier.load(trained.folder).predict(split.loc[split["part"] == "validation", "text"])
    assert manifest["validation"]["accuracy"] == pytest.approx((got["label"] == split["label"].loc[got.index]).mean())
    assert set(manifest["thresholds"]) == {"set", "abstain", "settled"} and 0 <= manifest["kept_by_int8"] <= 1


def test_the_run_before_is_one_that_can_answer(split, force, tiny_bert):
    first, second = (fit(split, force, tiny_bert, epochs=1, seed=seed).folder for seed in (0, 1))
    last = Classifier.load(second)
    assert classifier.earlier_run(last) == first and classifier.earlier_run(Classifier.load(first)) is None
    manifest = json.loads((first / "manifest.json").read_text())
    for bad in ({"labels": list("abcdef")}, {"files": {"model.onnx": "0"}}):
        (first / "manifest.json").write_text(json.dumps(manifest | bad))
        assert classifier.earlier_run(last) is None
    (first / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != "thresholds"}))
    assert classifier.earlier_run(last) is None
    with pytest.raises(InputError, match="was trained by an earlier version"):
        Classifier.load(first)


def test_a_model_can_be_described_afterwards(copy):
    classifier.describe(copy, "a card", {"n": 1})
    assert (copy / "README.md").read_text() == "a card" and json.loads((copy / "metrics.json").read_text()) == {"n": 1}
    assert len(Classifier.load(copy).predict(["text"])) == 1


def test_supplement_rows_train_and_stay_out_of_the_split(split, force, tiny_bert):
    part = split["part"].where((split["label"] != 4) | (split["part"] != "train"), "supplement")
    folder = fit(split.assign(part=part), force, tiny_bert).folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["rows"]["supplement"] == 9 and manifest["supplement"] == ["d"]
    assert set(pd.read_csv(folder / "split.csv")["part"]) == {"train", "validation"}


def test_a_label_that_weighs_more_counts_more(split, force, tiny_bert):
    weighed = split.assign(weight=np.where(split["id"] == "5-1", 9.0, np.nan))
    digests = [json.loads((fit(frame, force, tiny_bert, epochs=1).folder / "manifest.json").read_text())["model_sha256"]
               for frame in (split, split.assign(weight=1.0), weighed)]
    assert digests[0] == digests[1] != digests[2]


def test_one_loss_that_is_not_a_number_is_not_passed_over(split, force, tiny_bert, monkeypatch):
    loss, steps = training._loss, iter(range(1000))
    monkeypatch.setattr(training, "_loss", lambda outputs, labels, num_items_in_batch=None: loss(outputs, labels) * (
        float("nan") if outputs.logits.requires_grad and next(steps) == 3 else 1.0))
    with pytest.raises(InputError, match="the loss is not a number"):
        fit(split, force, tiny_bert)


def test_rows_without_a_weight_weigh_one(split, force, tiny_bert, tmp_path):
    learn, held = split[split["part"] == "train"], split[split["part"] == "validation"]
    heads = [training.fit(rows, held, force.names, str(tiny_bert), training.Recipe(epochs=1, batch_size=8), 0,
                          tmp_path / str(number))[0].reader.head.weight.detach().numpy()
             for number, rows in enumerate([learn, learn.assign(weight=np.nan)])]
    np.testing.assert_array_equal(*heads)


@pytest.fixture
def with_kinds(split):
    """Label 0 has two kinds, and some posts of kinds that are rare or not known."""
    rows = split[split["label"].isin([0, 3, 5])].assign(label=split["label"].eq(5).astype(int))
    kind = rows["text"].map(lambda text: "sea" if "sea" in text else "arm" if "arm" in text else "man")
    more = rows[(kind == "sea") & (rows["part"] == "train")].assign(id=lambda x: "more-" + x["id"])
    kind[(kind == "sea") & rows["id"].isin(["0-1", "0-2"])] = ["", "odd"]
    return pd.concat([rows.assign(kind=kind), *[more.assign(id=f"{n}" + more["id"], kind="sea") for n in range(2)]])


def test_posts_of_a_kind_are_a_stratum_of_their_label(with_kinds):
    strata = training._Strata(with_kinds, 2)
    assert strata.label_of == [0, 0, 1]
    rows = pd.DataFrame({"label": [0, 0, 0, 0, 1, 1], "kind": ["sea", "arm", "odd", "", "man", None]})
    assert strata.number(rows).tolist() == [0, 1, 0, 0, 2, 2]
    soft = strata.targets(rows[:2], np.array([[0.7, 0.3], [0.7, 0.3]]))
    np.testing.assert_allclose(soft, [[0.7, 0, 0.3], [0, 0.7, 0.3]])
    of_one = strata.targets(rows[4:5], np.array([[0.4, 0.6]]))[0]
    assert of_one[2] == pytest.approx(0.6) and of_one[:2].sum() == pytest.approx(0.4) and of_one[0] > of_one[1] > 0
    assert training._Strata(with_kinds.drop(columns="kind"), 2).label_of == [0, 1]
    many = with_kinds.assign(kind=with_kinds["kind"].where(with_kinds["id"].str[-1] > "4"))
    assert training._Strata(many, 2).label_of == [0, 0, 0, 1, 1]  # rows of no known kind are as good as a kind
    assert training._Strata(with_kinds[with_kinds["label"] == 1], 2).label_of == [0, 1]


def test_the_counter_weighs_labels_alike_whatever_their_kinds(with_kinds, tiny_bert, monkeypatch):
    given, fit_counter = {}, network.fit_counter

    def watched(counter, ids, strata, weights):
        given.update(strata=strata, weights=weights)
        fit_counter(counter, ids, strata, weights)

    monkeypatch.setattr(network, "fit_counter", watched)
    fit(with_kinds, tasks.load("threat"), tiny_bert, epochs=1)
    sums = pd.Series(given["weights"]).groupby(np.array([0, 0, 1])[given["strata"]]).sum()
    assert sums[0] == pytest.approx(sums[1]) and pd.Series(given["weights"])[given["strata"] < 2].nunique() == 1


def test_a_label_is_as_probable_as_its_strata_in_every_form(with_kinds, tiny_bert):
    model = Classifier.load(fit(with_kinds, tasks.load("threat"), tiny_bert, epochs=6).folder)
    texts = sorted(set(with_kinds["text"]))
    assert (model.predict(texts)["label"] == [int("shot" in text) for text in texts]).all()
    net = calmed(model).model
    classifier._export_onnx(net, model.tokenizer, model.folder / "model.onnx")
    batch = model.tokenizer(texts, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        read, counted = (half.softmax(1).numpy() for half in net.strata(ids, mask))
        whole, apart = net(ids, mask).softmax(1).numpy(), net.halves(ids, mask).softmax(2).numpy()
    assert read.shape == (len(texts), 3) and read.max() < 0.9
    np.testing.assert_allclose(apart[:, :, 0], [read[:, :2].sum(axis=1), counted[:, :2].sum(axis=1)], atol=1e-5)
    np.testing.assert_allclose(whole[:, 1], network.mix(read[:, 2], counted[:, 2]), atol=1e-5)
    session = onnxruntime.InferenceSession(model.folder / "model.onnx")
    found = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
    np.testing.assert_allclose(inference.softmax(found), whole, atol=1e-4)


def test_kinds_are_learned_in_several_processes_too(with_kinds, tiny_bert):
    model = Classifier.load(fit(with_kinds, tasks.load("threat"), tiny_bert, processes=2, epochs=1).folder)
    assert model.model.config.label_of == [0, 0, 1] and model.model.reader.head.out_features == 3


def test_an_encoder_out_of_reach_says_what_works(split, force, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="ENCODER=no/such.*minilm works offline"):
        fit(split, force, "no/such")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="pickled weights are not loaded"):
        fit(split, force, tmp_path)


def test_the_embedded_encoder_is_verified(monkeypatch):
    assert (classifier.encoder_folder("minilm")).endswith("model")
    monkeypatch.setattr(classifier, "_MINILM_SHA256", "0" * 64)
    with pytest.raises(InputError, match="not the official all-MiniLM"):
        classifier.encoder_folder("minilm")


def test_no_model_yet_says_what_to_run():
    with pytest.raises(InputError, match="run `make train`"):
        run_folder("force")


def flip_a_byte(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damage", "says"), [
    (flip_a_byte, "model.safetensors is not the file that was saved"),
    (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    (lambda f: (f / "manifest.json").unlink(), "it has no manifest.json"),
    (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is damaged"),
    (lambda f: (f / "manifest.json").write_text("{}"), "manifest.json is damaged"),
    (lambda f: (f / "model.pt").write_bytes(b"\x80"), "is a pickle"),
    (shutil.rmtree, "is no model folder"),
])
def test_a_damaged_folder_is_refused(copy, damage, says):
    damage(copy)
    with pytest.raises(InputError, match=says):
        Classifier.load(copy)


def test_a_model_of_another_task_is_refused(copy):
    with pytest.raises(InputError, match="model for the task force, not threat"):
        Classifier.load(copy, "threat")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"labels": ["a", "b"]}))
    with pytest.raises(InputError, match="name different labels"):
        Classifier.load(copy)


def test_a_full_disk_keeps_the_current_model(split, force, tiny_bert, monkeypatch):
    kept = fit(split, force, tiny_bert, epochs=1).folder
    def full(*_, **__):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(classifier, "_export_onnx", full)
    with pytest.raises(InputError, match="cannot write the model.*No space left"):
        fit(split, force, tiny_bert, epochs=1, seed=2)
    assert run_folder("force") == kept
    left = {p.name for p in kept.parent.iterdir() if not p.name.startswith(".training-")}
    assert left == {kept.name, "current"}


def test_class_weights():
    weights = training.class_weights(pd.Series([0] * 9 + [1]), 2, 1.0)
    np.testing.assert_allclose(weights, [5 / 9, 5])
    np.testing.assert_allclose(training.class_weights(pd.Series([0] * 9 + [1]), 2, 0.0), [1, 1])


@pytest.mark.parametrize(("count", "weigh"), [(6, False), (2, False), (6, True)])
def test_the_counter_is_the_linear_model_that_was_fitted(split, tiny_bert, count, weigh):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    net, tokenizer = classifier.from_encoder(str(tiny_bert), list("abcdef"[:count]))
    texts, labels = split["text"].tolist() * 2, np.tile(split["label"], 2) % count
    texts[0] = "shot shot shot police [SEP] calm"
    ids = tokenizer(texts)["input_ids"]
    weights = np.random.default_rng(0).uniform(0, 3, len(texts)) if weigh else np.ones(len(texts))
    network.fit_counter(net.counter, ids, labels, weights)
    tokens = [tokenizer.convert_ids_to_tokens(row) for row in ids]
    pairs = [[*(t for t in row if t[0] != "["), *(f"{a} {b}" for a, b in zip(row, row[1:], strict=False)
                                                  if "[" not in (a[0], b[0]))] for row in tokens]
    plain = TfidfVectorizer(analyzer=lambda row: row, min_df=2, sublinear_tf=True)
    model = LogisticRegression(C=5, max_iter=1000)
    model.fit(plain.fit_transform(pairs), labels, sample_weight=weights)
    batch = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    chances = inference.softmax(net.counter(batch).numpy())
    np.testing.assert_allclose(chances, model.predict_proba(plain.transform(pairs)), atol=0.005)


def calmed(model):
    """So small a model is quite sure of everything; one that is less so shows differences."""
    with torch.no_grad():
        for half in (model.model.reader.head, model.model.counter):
            half.weight.mul_(0.02)
            half.bias.mul_(0.02)
    return model


@pytest.mark.parametrize("kind", [pytest.param("bfloat16", marks=bfloat16), "int8"])
def test_faster_number_formats_give_the_same_labels(kind, copy, split, monkeypatch):
    monkeypatch.setattr(inference, "has_bfloat16", lambda: kind == "bfloat16")
    model = calmed(Classifier.load(copy))
    classifier._export_onnx(model.model, model.tokenizer, copy / "model.onnx")
    exact = model.predict(split["text"])
    fast = Classifier(model.model, model.tokenizer, model.manifest | {"kept_by_int8": 0.99}, copy, fast=True)
    assert fast.format == kind and model.format == "float32"
    got = fast.predict(split["text"])
    assert (got["label"] == exact["label"]).mean() > 0.95
    np.testing.assert_allclose(got["confidence"], exact["confidence"], atol=0.1)
    assert (got != exact).any(axis=None)


def test_eight_bits_are_used_only_where_they_keep_the_labels(copy, split, monkeypatch):
    monkeypatch.setattr(inference, "has_bfloat16", lambda: False)
    model, texts = calmed(Classifier.load(copy)), split["text"].tolist()
    for kept in ({}, {"kept_by_int8": 0.989}):
        manifest = {name: value for name, value in model.manifest.items() if name != "kept_by_int8"} | kept
        assert Classifier(model.model, model.tokenizer, manifest, copy, fast=True).format == "float32"
    classifier._export_onnx(model.model, model.tokenizer, copy / "model.onnx")
    rough = Classifier(model.model, model.tokenizer, model.manifest, copy, fast="int8")
    said = [one.predict(texts)["label"] for one in (model, rough)]
    kept = inference.kept_by_int8(model.model, model.tokenizer, copy / "model.onnx", texts)
    assert kept == pytest.approx((said[0] == said[1]).mean()) and rough.format == "int8"
    with torch.no_grad():
        model.model.reader.head.bias.add_(torch.tensor([9.0, 0, 0, 0, 0, 0]))
        model.model.counter.bias.add_(torch.tensor([9.0, 0, 0, 0, 0, 0]))
    assert inference.kept_by_int8(model.model, model.tokenizer, copy / "model.onnx", texts) < kept


def test_a_cascade_asks_the_reader_only_where_the_counter_is_unsure(copy, split, monkeypatch):
    model, texts = calmed(Classifier.load(copy)), split["text"]
    whole = model.predict(texts)
    counted = inference.softmax(inference.logits(
        lambda ids, mask: model.model.counted(ids), model.tokenizer, inference.tokenise(model.tokenizer, list(texts))))
    limit = float(np.sort(np.unique(counted.max(axis=1)))[-5])
    model.manifest["thresholds"]["settled"] = limit
    got = model.predict(texts, cascade=True)
    settled = counted.max(axis=1) >= limit
    assert got["settled"].tolist() == settled.tolist() and 0 < settled.sum() < len(texts)
    np.testing.assert_allclose(got.filter(regex="^p")[settled], counted[settled], atol=1e-6)
    np.testing.assert_allclose(got.filter(regex="^p")[~settled], whole.filter(regex="^p")[~settled], atol=1e-5)
    model.manifest["thresholds"]["settled"] = 2.0
    assert not model.predict(texts, cascade=True)["settled"].any() and model.predict([], cascade=True).empty


def test_a_model_sees_one_form_of_a_text_wherever_it_is_asked(split, force, tiny_bert, home):
    forms = tuple(FORMS)
    run = fit(split, replace(force, normalise=forms), tiny_bert, epochs=1).folder
    plain = pd.Series(["shot him dead", "spray in my eyes", ""])
    marked = pd.Series(["RT @bob: shot  #him dead https://t.co/x", "@a spray in\nmy eyes www.b.org", "https://t.co/y"])
    model = Classifier.load(run)
    pd.testing.assert_frame_equal(model.predict(marked), model.predict(plain))
    alone = Tokenizer.from_file(str(run / "tokenizer.json"))
    assert [one.ids for one in alone.encode_batch(list(marked))] == model.tokenizer(list(plain))["input_ids"]
    seen = [alone.normalizer.normalize_str(text) for text in marked]
    assert seen == one_form(marked, forms).str.lower().tolist()
