"""Splits out: the leakage gate, frozen tests, and what may train beside them."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hrf_utils import datasets, files, splits
from hrf_utils.settings import InputError
from hrf_utils.text import near_duplicates


@pytest.fixture(scope="module")
def starter(force):
    read = datasets.read_labelled(force.starter, force)
    return read.posts.merge(read.labels[["id", "label"]], on="id")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "split.csv"


def parts_of(split, key):
    """Parts that each value of a column stands in, where it stands in the parts that are used."""
    used = split[split["part"] != "unused"]
    return used.groupby(key)["part"].agg(set)


def test_nothing_related_crosses(starter, path):
    split = splits.make_split(starter, path, seed=0)
    assert split["part"].value_counts(normalize=True).round(1).to_dict() == {
        "train": 0.7, "test": 0.2, "validation": 0.1}
    copies = near_duplicates(split["text"])
    assert parts_of(split, copies).map(len).max() == 1
    authors = split[split["author"] != ""]
    assert parts_of(authors, "author").map(len).max() == 1
    assert splits.crossing(split).sum() == 0


def test_the_gate_can_fail(starter, path):
    split = splits.make_split(starter, path, seed=0)
    leaks = splits.would_cross(split, 0)
    assert leaks["random"].sum() > 50 and leaks["ours"].sum() == 0
    moved = split.index[split["part"] == "test"][0]
    copy = pd.concat([split, split.loc[[moved]].assign(part="train")], ignore_index=True)
    assert splits.crossing(copy).sum() >= 1


def test_threads_and_chains_of_relations_stay_together():
    frame = pd.DataFrame({"text": [f"{letter * 30} {letter}" for letter in "abcdef"],
                          "author": ["x", "x", "y", "y", "", ""],
                          "conversation_id": ["", "t", "t", "", "", ""]})
    assert splits.related(frame).tolist() == [0, 0, 0, 0, 1, 2]


def test_the_same_seed_gives_the_same_split_and_another_another(starter, tmp_path):
    one, again, other = (splits.make_split(starter, tmp_path / f"{k}.csv", seed)
                         for k, seed in enumerate((0, 0, 1)))
    assert one["part"].equals(again["part"]) and not one["part"].equals(other["part"])


def test_a_frozen_test_holds_when_labels_are_added(starter, path):
    first = splits.make_split(starter.iloc[:1200], path, seed=0)
    second = splits.make_split(starter, path, seed=0)
    frozen = set(first.loc[first["part"] == "test", "id"])
    assert set(second.loc[second["part"] == "test", "id"]) == frozen
    assert (second["part"] == "unused").any() and splits.crossing(second).sum() == 0


def test_a_new_label_of_a_frozen_row_has_no_effect(starter, path):
    first = splits.make_split(starter, path, seed=0)
    row = first.index[first["part"] == "test"][0]
    changed = starter.copy()
    changed.loc[row, "label"] = (changed.loc[row, "label"] + 1) % 6
    assert splits.make_split(changed, path, seed=0).loc[row, "label"] == first.loc[row, "label"]


@pytest.mark.parametrize("change", ["text", "gone"])
def test_a_changed_frozen_row_is_refused(starter, path, change):
    first = splits.make_split(starter, path, seed=0)
    row = first.index[first["part"] == "test"][0]
    changed = starter.drop(row) if change == "gone" else starter.assign(
        text=starter["text"].where(starter.index != row, "another text"))
    with pytest.raises(InputError, match=f"frozen test row {first['id'][row]} is gone or has another text"):
        splits.make_split(changed, path, seed=0)


def test_a_given_test_is_taken_whole_and_its_overlap_counted(starter, path):
    given = starter.assign(part=np.where(np.arange(len(starter)) % 5 == 0, "test", "train"))
    split = splits.make_split(given, path, seed=0, given=True)
    assert (split["part"].eq("test") == given["part"].eq("test")).all()
    assert splits.crossing(split).sum() > 50 and "unused" not in set(split["part"])


def test_one_rare_label_does_not_change_the_shares(path):
    rng = np.random.default_rng(0)
    text = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz "), 60)) for _ in range(1000)]
    frame = pd.DataFrame({"dataset": "d", "id": [str(k) for k in range(1000)], "author": "", "text": text,
                          "conversation_id": "", "label": [2] * 3 + [0, 1] * 498 + [0]})
    parts = splits.make_split(frame, path, seed=0)["part"]
    assert parts.value_counts(normalize=True).round(2).to_dict() == {"train": 0.7, "test": 0.2, "validation": 0.1}
    assert "train" in set(parts[:3])


def test_a_test_without_usable_rows_is_refused_and_nothing_frozen(starter, path):
    with pytest.raises(InputError, match="test file has no row"):
        splits.make_split(starter.assign(part="train"), path, seed=0, given=True)
    assert not path.exists()


def test_a_small_test_beside_large_labels_can_be_compared(starter, path):
    given = starter.assign(part=np.where(np.arange(len(starter)) < 2, "test", "train"))
    assert splits.would_cross(splits.make_split(given, path, seed=0, given=True), 0)["test"].sum() == 2


def test_a_label_without_training_rows_is_named(path):
    frame = pd.DataFrame({"dataset": "d", "id": [str(k) for k in range(30)], "author": "", "label": 0,
                          "conversation_id": [""] * 29 + ["only"],
                          "text": [f"{k} " + "abcdefghijklmnopqrstuvwxyz0123"[k] * 12 for k in range(30)]})
    frame.loc[29, "label"] = 3
    frame["part"] = ["train"] * 29 + ["test"]
    with pytest.raises(InputError, match="label 3 has no row left to train on"):
        splits.make_split(frame, path, seed=0, given=True)
    assert not path.exists()


def test_too_few_rows_are_refused(path):
    frame = pd.DataFrame({"dataset": "d", "id": ["1", "2"], "author": "", "conversation_id": "", "label": [0, 1],
                          "text": ["one thing", "quite another matter"]})
    with pytest.raises(InputError, match="too few|no row left"):
        splits.make_split(frame, path, seed=0)


def test_limit_keeps_every_label(starter, path):
    split = splits.make_split(starter, path, seed=0)
    small = splits.limit(split, 30)
    assert set(small.loc[small["part"] == "train", "label"]) == set(range(6))
    assert 25 <= (small["part"] == "train").sum() <= 40
    assert (small["part"] == "test").sum() == (split["part"] == "test").sum()


@pytest.mark.skipif("HRF_TEST_DATA" not in os.environ, reason="HRF_TEST_DATA names no folder of real data")
def test_on_the_public_training_set(force, path):
    source = Path(os.environ["HRF_TEST_DATA"]) / "hrf" / "training.csv"
    read = datasets.read_labelled(source, force)
    assert files.sha256(source).startswith("61be2133") and len(read.labels) == 5000
    assert read.labels["label"].value_counts().sort_index().tolist() == [2124, 974, 151, 84, 268, 1399]
    split = splits.make_split(read.posts.merge(read.labels[["id", "label"]], on="id"), path, seed=0)
    assert splits.crossing(split).sum() == 0 and splits.would_cross(split, 0)["random"].sum() > 50


def supplement(force, split):
    return splits.supplement(split, datasets.invented(force, split))


def test_supplement_never_resembles_a_row_that_judges(force):
    starter = pd.read_csv(force.starter, dtype=str)
    told = [f"{text} #breaking" for text in starter["text"].head(40)]
    split = pd.DataFrame({"dataset": "real", "id": [str(k) for k in range(40)], "text": told, "label": 0,
                          "part": ["test", "validation"] * 20, "group": range(40)})
    learn = pd.DataFrame({"dataset": "real", "id": [f"t{k}" for k in range(9999)], "text": "", "label": 0})
    split = pd.concat([split, learn.assign(part="train", group=0)])
    rows = supplement(force, split)
    assert set(rows["dataset"].str.split("-").str[1]) == {"force", "force_contrast"}
    assert set(rows["part"]) == {"supplement"}
    assert not set(rows.loc[rows["dataset"].str.startswith("starter-force-"), "id"]) & set(starter["id"].head(40))
    withheld = starter.loc[datasets.withheld(starter["id"]), "id"]
    assert not set(withheld) & set(rows.loc[rows["dataset"].str.startswith("starter-force-"), "id"])
    assert rows["label"].isin(range(6)).all() and len(rows) > 2000
    assert len(supplement(force, split.head(240))) == 200


def test_the_starter_corpus_does_not_supplement_itself(force):
    rows = datasets.read_labelled(force.starter, force)
    split = rows.posts.merge(rows.labels, on="id").assign(part="train", group=0)
    got = supplement(force, split)
    assert got["dataset"].str.startswith("starter-force_contrast-").all() and len(got) > 1000


def test_frozen_rows_are_left_out_of_a_study(tmp_path):
    frame = pd.DataFrame({"dataset": "d", "id": ["1", "2", "3"], "text": "t", "label": 0})
    path = tmp_path / "split.csv"
    assert len(splits.not_frozen(frame, path)) == 3
    frame.iloc[[1]][["dataset", "id", "label"]].to_csv(path, index=False)
    assert splits.not_frozen(frame, path)["id"].tolist() == ["1", "3"]


def test_a_changed_labelled_file_is_refused(table):
    path = table("rows.csv", text=["a", "b"], label=[0, 1])
    splits.same_files([files.dataset_name(path)], [path])
    known = [files.dataset_name(path)]
    table("rows.csv", text=["a", "c"], label=[0, 1])
    with pytest.raises(InputError, match="rows.csv is not the file that the model was trained and tested on"):
        splits.same_files(known, [path])


def test_a_model_that_learned_from_a_test_row_is_no_judge(tmp_path):
    testing = pd.DataFrame({"dataset": "d", "id": ["1", "2"], "text": "t"})
    split = pd.DataFrame({"dataset": "d", "id": ["1", "2", "9"], "part": ["test", "unused", "train"]})
    split.to_csv(tmp_path / "split.csv", index=False)
    files.write_json(tmp_path / "manifest.json", {"supplement": ["starter-1"]})
    assert splits.never_learned(tmp_path, testing)
    files.write_json(tmp_path / "manifest.json", {"supplement": ["starter-1", "d"]})  # its rows stand in no split
    assert not splits.never_learned(tmp_path, testing)
    files.write_json(tmp_path / "manifest.json", {"supplement": []})
    split.assign(part="validation").to_csv(tmp_path / "split.csv", index=False)
    assert not splits.never_learned(tmp_path, testing)


def test_intervals_draw_authors_where_posts_have_kinds():
    rows = pd.DataFrame({"kind": ["pro", "pro", "about", "about", "", ""], "author": ["x", "y", "z", "", "x", ""],
                         "group": [0, 0, 1, 1, 2, 3]})
    assert splits.clusters(rows).tolist() == ["x", "y", "z", "1", "2", "3"]


@pytest.mark.parametrize("seed", range(4))
def test_every_part_holds_every_kind_and_no_author_stands_in_two(tmp_path, seed):
    rng = np.random.default_rng(seed)
    kinds = [("pro", f"p{k}", 6) for k in range(20)] + [("about", f"a{k}", 5) for k in range(24)] \
        + [("random", f"r{k}", 5) for k in range(80)]
    rows = [{"kind": kind, "author": author, "label": int(kind == "pro")}
            for kind, author, n in kinds for _ in range(n)]
    frame = pd.DataFrame(rows).assign(dataset="d", conversation_id="", text=[
        " ".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 40)) for _ in rows])
    frame["id"] = frame.index.astype(str)
    split = splits.make_split(frame, tmp_path / "split.csv", seed)
    assert parts_of(split, "author").map(len).max() == 1
    found = pd.crosstab(split["kind"], split["part"], normalize="index")
    assert (found["test"] - 0.2).abs().max() < 0.06 and (found["validation"] - 0.1).abs().max() < 0.06
