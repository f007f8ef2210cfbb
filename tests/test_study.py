"""The study of variants: folds that do not leak, work that is kept, differences that are paired."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from hrf_utils import datasets, settings, study, tasks, training, variants
from hrf_utils.intervals import resamples

WORDS = {0: "a calm day by the sea", 1: "police stood there", 2: "they shoved her", 3: "baton on his arm",
         4: "spray in my eyes", 5: "shot him dead"}


@pytest.fixture
def rows(monkeypatch):
    """72 rows in pairs of relatives, no starter posts beside them, and a recipe for a tiny network."""
    monkeypatch.setattr(training, "Recipe", partial(training.Recipe, learning_rate=5e-3, batch_size=8))
    monkeypatch.setattr(datasets, "invented", lambda task, beside: beside.head(0))
    texts = [(f"{text} {'abcdef'[k // 2]}{'xy'[k % 2]}", label, label * 10 + k // 2)
             for label, text in WORDS.items() for k in range(12)]
    frame = pd.DataFrame(texts, columns=["text", "label", "group"])
    return frame.assign(id=frame.index.astype(str), dataset="d")


def test_folds_keep_relatives_together_and_differ_by_repeat(rows):
    one, two = study.fold_of(rows, 0, 3), study.fold_of(rows, 1, 3)
    assert pd.Series(one).groupby(rows["group"]).nunique().max() == 1 and set(one) == {0, 1, 2}
    assert (one != two).any()


@pytest.mark.parametrize("name", ["default", "distilled"])
def test_each_row_is_judged_once_by_a_network_that_did_not_see_it(rows, force, tiny_bert, monkeypatch, name):
    seen, fit = [], training.fit
    def watched(learn, held, *rest):
        seen.append((learn, held))
        return fit(learn, held, *rest)
    monkeypatch.setattr(training, "fit", watched)
    halves = study.out_of_fold(rows, force, name, str(tiny_bert), folds=3, epochs=1)
    assert halves.shape == (2, 72, 6) and np.abs(halves).sum(axis=(0, 2)).min() > 0
    fold = study.fold_of(rows, 0, 3)
    each = len(seen) // 3  # networks of a fold
    for number, (learn, held) in enumerate(seen):
        judged = set(rows.loc[fold == number // each, "group"])
        assert not judged & set(learn["group"]) and not judged & set(held["group"])
        assert not set(learn["group"]) & set(held["group"])


def test_kinds_are_learned_in_a_study_and_answers_are_of_labels(rows, tiny_bert, monkeypatch):
    strata, fit = [], training.fit
    def watched(*arguments):
        made = fit(*arguments)
        strata.append(made[0].config.label_of)
        return made
    monkeypatch.setattr(training, "fit", watched)
    threat = tasks.load("threat")
    rows = rows.assign(label=rows["label"].eq(5).astype(int), kind=np.where(rows["label"] == 5, "pro", "about"))
    one_kind = study.out_of_fold(rows, threat, "default", str(tiny_bert), folds=3, judged=1, epochs=1)
    more = rows.assign(kind=rows["kind"].where(np.arange(len(rows)) % 2 > 0, "random").where(rows["label"] == 0, "pro"))
    both = study.out_of_fold(more, threat, "default", str(tiny_bert), folds=3, judged=1, epochs=1)
    assert one_kind.shape == both.shape == (2, 72, 2)
    assert strata == [[0, 1], [0, 0, 1]]


def stop_in_the_second(monkeypatch, name):
    """Interrupt the second call of a function of `training`; a list that grows with each call."""
    does, calls = getattr(training, name), []
    def counted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return does(*arguments)
    monkeypatch.setattr(training, name, counted)
    return calls


def test_a_study_goes_on_where_it_was(rows, force, tiny_bert, monkeypatch):
    calls = stop_in_the_second(monkeypatch, "fit")
    with pytest.raises(KeyboardInterrupt):
        study.out_of_fold(rows, force, "default", str(tiny_bert), folds=3, epochs=1)
    first = study.out_of_fold(rows, force, "default", str(tiny_bert), folds=3, epochs=1)
    assert len(calls) == 4
    again = study.out_of_fold(rows, force, "default", str(tiny_bert), folds=3, epochs=1)
    assert len(calls) == 4 and (first == again).all()
    moved = rows.assign(group=rows["group"].to_numpy()[::-1])
    assert (study.fold_of(rows, 0, 3) != study.fold_of(moved, 0, 3)).any()
    study.out_of_fold(moved, force, "default", str(tiny_bert), folds=3, epochs=1)
    assert len(calls) == 7
    study.out_of_fold(rows, replace(force, normalise=("links",)), "default", str(tiny_bert), folds=3, epochs=1)
    assert len(calls) == 10


def test_a_network_does_not_go_on_from_another_of_its_fold(rows, force, tiny_bert, monkeypatch):
    def judged():
        return study.out_of_fold(rows, force, "two seeds", str(tiny_bert), folds=3, judged=1, epochs=2)
    stop_in_the_second(monkeypatch, "calibrate")
    with pytest.raises(KeyboardInterrupt):
        judged()
    resumed = judged()
    shutil.rmtree(settings.data_path("studies", "force", "x").parent)
    np.testing.assert_array_equal(resumed, judged())


def test_a_variant_changes_what_is_learned(rows, force, tiny_bert, monkeypatch):
    posts = rows.iloc[::9].assign(dataset="starter-1", text=[f"a story {k} of {text}" for k, text in WORDS.items()] +
                                  ["and another", "and the last"])
    monkeypatch.setattr(datasets, "invented", lambda task, beside: posts)
    texts, judged = [f"{text} again" for text in WORDS.values()] * 4, study.fold_of(rows, 0, 2) == 0
    learned = {name: study.out_of_fold(rows, force, name, str(tiny_bert), folds=2, judged=1, epochs=2, unlabelled=texts)
               for name, variant in variants.VARIANTS.items() if not variant.recipe and not variant.beside}
    for name, logits in learned.items():
        assert np.isfinite(logits[:, judged]).all() and np.isnan(logits[:, ~judged]).all(), name
        if name != "default":
            assert np.abs(logits[0, judged] - learned["default"][0, judged]).max() > 1e-3, name


def test_a_variant_chooses_among_the_invented_posts(rows, force, tiny_bert, monkeypatch):
    posts = rows.iloc[[0, 30, 50]].assign(dataset=["force-1", "force_contrast-2", "force-1"], label=[0, 2, 5],
                                          text=["one thing", "quite another", "a third"], id=["a", "b", "c"])
    monkeypatch.setattr(datasets, "invented", lambda task, beside: posts)
    seen, fit = {}, training.fit
    def watched(learn, *rest):
        seen[name] = set(learn["text"]) & set(posts["text"])
        return fit(learn, *rest)
    monkeypatch.setattr(training, "fit", watched)
    for name, variant in variants.VARIANTS.items():
        if variant.beside or name == "default":
            study.out_of_fold(rows, force, name, str(tiny_bert), folds=2, judged=1, epochs=1)
    assert seen == {"default": {"one thing", "quite another", "a third"}, "no supplement": set(),
                    "supplement of ranks 2 to 4": {"quite another"}, "contrast sets alone": {"quite another"},
                    "starter corpus alone": {"one thing", "a third"}}


def test_differences_are_paired_and_repeats_averaged(force):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 400)
    good, poor = (np.where(rng.random(400) < p, labels, (labels + 1) % 6) for p in (0.9, 0.6))
    weights = resamples(np.arange(400), 200)
    table = study.compare(labels, {"poor": [poor, poor], "good": [good, poor]}, "poor", force, weights)
    cell = table[(table["method"] == "good") & (table["measure"] == "accuracy")].iloc[0]
    gap = ((good == labels).mean() - (poor == labels).mean()) / 2
    assert cell["by"] == pytest.approx(gap) and 0 < cell["by_low"] < gap < cell["by_high"]
    same = table[table["method"] == "poor"]
    assert (same[["by", "by_low", "by_high"]] == 0).all().all()
    assert study.as_table(table).index.tolist() == ["poor", "good"]
    assert study.as_table(table).loc["poor", "macro-F1, difference"] == "+0.000 (+0.000 to +0.000)"
    assert study.helped(table) == ["good"] and study.helped(table[table["method"] == "poor"]) == []
    chance = pd.DataFrame({"method": [f"v{k}" for k in range(40)], "measure": "accuracy", "by": 0.005, "by_low": 0.0002,
                           "by_high": 0.0098})
    assert study.helped(chance) == [] and study.helped(chance.head(1)) == ["v0"]
    first = table[(table["method"] == "good") & (table["measure"] == "F1 0")].iloc[0]
    assert study.by_label(table, "good", force)["F1"].iloc[0].startswith(f"{first['value']:.3f} (")


def test_the_blend_is_a_mean_of_probabilities():
    halves = np.array([[[0.0, 2.0]], [[3.0, 0.0]]])
    half = study.blend(halves)
    assert half.sum() == pytest.approx(1)
    assert half == pytest.approx((2 * study.blend(halves, 1.0) + study.blend(halves, 0.0)) / 3)
