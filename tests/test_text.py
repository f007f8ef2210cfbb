"""Near-duplicates: copies are found, other reports of the same event are not."""

import numpy as np
import pandas as pd
import pytest

from hrf_utils.text import FORMS, canonical, components, near_duplicates, one_form

BASE = "Officers on Fifth Street pushed the whole crowd back with their shields for about an hour tonight"


@pytest.mark.parametrize("copy", [
    f"RT @someone: {BASE}", f"{BASE} https://t.co/abc", f"{BASE.upper()}!!!", f"{BASE} via @paper 🚔",
    BASE[:70] + "…", BASE.replace("tonight", "today"), BASE.replace("&", "&amp;")])
def test_copies_are_linked(copy):
    assert len(set(near_duplicates(pd.Series([BASE, copy])))) == 1


@pytest.mark.parametrize("other", [
    "Shields out on Fifth Street, a crowd shoved back for an hour by officers", "👮", "",
    "Officers on Fifth Street handed out water to the crowd for an hour"])
def test_other_texts_are_not(other):
    assert len(set(near_duplicates(pd.Series([BASE, other])))) == 2


def test_emoji_only_texts_are_compared_as_they_are():
    groups = near_duplicates(pd.Series(["🚔🚔🚔", "👮👮👮", "🚔🚔🚔"]))
    assert groups[0] == groups[2] != groups[1]


def test_groups_do_not_depend_on_row_order():
    texts = pd.read_csv("data/starter/force.csv", dtype=str, keep_default_na=False)["text"].head(500)
    order = np.random.default_rng(0).permutation(len(texts))
    mixed = near_duplicates(texts.iloc[order])
    back = pd.Series(mixed, index=order).sort_index().to_numpy()
    pairs = pd.crosstab(near_duplicates(texts), back)
    assert ((pairs > 0).sum(axis=0) == 1).all() and ((pairs > 0).sum(axis=1) == 1).all()


def test_canonical_removes_what_copies_add():
    assert canonical("RT @a: Hello, &amp; WORLD! https://t.co/x 🚔") == "hello world"


def test_components_are_numbered_by_appearance():
    assert components(5, np.array([[3, 4], [1, 3]])).tolist() == [0, 1, 2, 1, 1]


def test_no_texts_no_groups():
    assert near_duplicates(pd.Series([], dtype=str)).shape == (0,)


@pytest.mark.parametrize(("text", "left"), [
    ("RT @some_one: Look  https://t.co/Ab1?x=1\n now", "Look now"), ("rt @a b", "b"),
    ("@a, write to b@c.org", ", write to b@c.org"),
    ("#Salt and # 5", "Salt and # 5"), ("ART AND SMART", "ART AND SMART"), ("www.a.org HTTP://x.y end", "end"),
    ("no rt here", "no rt here"),     ("مرحبا @x #سلام", "مرحبا سلام"), ("@a https://t.co/x", "")])
def test_one_form_leaves_out_what_came_with_the_collection(text, left):
    assert one_form(pd.Series([text]), tuple(FORMS)).tolist() == [left]
    assert one_form(pd.Series([text]), ()).tolist() == [text]


def test_one_form_leaves_out_only_what_was_asked():
    assert one_form(pd.Series(["RT @a: see https://t.co/x"]), ("links",)).tolist() == ["RT @a: see"]
