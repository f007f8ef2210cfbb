"""Agreement: alpha, who differs from whom, decisions with their log, and errors that are found."""

import numpy as np
import pandas as pd
import pytest

from hrf_utils import agreement, datasets
from hrf_utils.settings import InputError
from hrf_utils.store import Store


def given(labels, origin="session", text="t"):
    """Rows of labels from ``{labeler: {post: label}}``."""
    rows = [(who, post, label) for who, said in labels.items() for post, label in said.items()]
    frame = pd.DataFrame(rows, columns=["labeler", "id", "label"])
    return frame.assign(dataset="d", origin=origin, text=text, labelled_at=pd.Timestamp("2026-01-01"), note="")


@pytest.fixture
def three():
    """Three labelers of 200 posts; the third never tells rank 2 from rank 3."""
    rng = np.random.default_rng(0)
    truth = dict(enumerate(rng.integers(0, 6, 200)))
    blind = {post: 2 if label == 3 else label for post, label in truth.items()}
    return given({"ann": truth, "bob": truth, "cy": {post: blind[post] for post in range(100)}}).astype({"id": str})


def test_alpha_is_that_of_the_literature(force):
    # the worked example of Wikipedia's article on it: 15 units, 12 of them with two labels or more, nominal 0.691
    a = [None, None, None, None, None, 3, 4, 1, 2, 1, 1, 3, 3, None, 3]
    b = [1, None, 2, 1, 3, 3, 4, 3, None, None, None, None, None, None, None]
    c = [None, None, 2, 1, 3, 4, 4, None, 2, 1, 1, 3, 3, None, 4]
    said = dict(zip("abc", (a, b, c), strict=True))
    labels = given({who: {str(post): x for post, x in enumerate(row) if x} for who, row in said.items()})
    got = agreement.alpha(labels, force, draws=50)
    assert got.loc["all labels, nominal", "value"] == pytest.approx(0.691, abs=0.001)
    assert got.loc["all labels, nominal", "units"] == 12
    assert got.loc["all labels, nominal", "low"] < 0.691 < got.loc["all labels, nominal", "high"]
    assert np.isnan(got.loc["5  Lethal", "value"])


def test_alpha_by_label_shows_which_two_are_confused(three, force):
    got = agreement.alpha(three, force, draws=30)["value"]
    assert got["0  No police"] == got["5  Lethal"] == 1
    assert got["2  Open hand"] < 0.95 and got["3  Blunt force"] < 0.95
    assert got["all labels, nominal"] < got["all labels, ordinal"] < 1
    assert agreement.alpha(three[three["labeler"] == "ann"], force).empty


def test_only_labels_given_without_knowing_of_others_are_readings(three, force):
    rows = pd.concat([three.assign(origin=origin) for origin in ("import", "review", "adjudication", "audit")])
    assert set(agreement.readings(rows)["origin"]) == {"import", "audit"}


def test_pairs_of_labelers_and_what_they_confuse(three, force):
    got = agreement.between(three, force).set_index(["labeler", "and"])
    assert got.loc[("ann", "bob"), ["posts", "value"]].tolist() == [200, 1.0]
    assert got.loc[("ann", "cy"), "mostly"] == "Blunt force / Open hand" and got.loc[("ann", "cy"), "posts"] == 100
    matrix = agreement.confusion(three, force)
    assert (matrix == matrix.T).all() and matrix[2, 3] > 0 == matrix[0, 5]
    threes = (three.loc[three["labeler"] == "ann", "label"].head(100) == 3).sum()
    assert matrix[2, 3] == 2 * threes


def test_the_model_is_held_against_people_on_the_posts_that_several_labelled():
    labels = given({"ann": {"1": 0, "2": 1, "3": 2, "9": 5}, "bob": {"1": 0, "2": 3, "9": 5}, "cy": {"2": 3}})
    answers = pd.DataFrame({"dataset": "d", "id": ["1", "2", "3"], "cluster": [0, 1, 2], "predicted": [4, 3, 2]})
    got = agreement.second_reader(labels, answers, 50)
    assert got["posts"] == 2  # 3 has one label, and 9 is no answered post
    assert got["people"]["value"] == pytest.approx((1 + 1 / 3) / 2)
    assert got["model"]["value"] == pytest.approx((0 + 2 / 3) / 2)
    assert got["difference"]["value"] == pytest.approx(-1 / 3)
    alone = agreement.second_reader(labels, answers.tail(1))
    assert alone == {"posts": 0, "people": None, "model": None, "difference": None}


def test_a_decision_ends_a_disagreement_and_is_logged(db_url, force):
    store = Store.open(db_url)
    posts = pd.DataFrame({"dataset": "d", "id": ["1", "2", "3"], "text": ["one", "two", "three"]})
    store.add_posts(posts)
    labels = given({"ann": {"1": 5, "2": 0, "3": 1}, "bob": {"1": 5, "2": 1, "3": 4}})
    store.add_labels(labels.assign(task="force", codebook_version=1))
    waiting = agreement.to_adjudicate(store.labels("force", ["d"]), force)
    assert waiting["id"].tolist() == ["2", "3"] or waiting["id"].tolist() == ["3", "2"]
    assert "ann: No police; bob: Police, no force" in waiting["labels"].tolist()
    agreement.adjudicate(store, force, "d", "3", "Chemical and electric", "ann", "gas is named\x00 <b>")
    now = store.labels("force", ["d"])
    assert agreement.to_adjudicate(now, force)["id"].tolist() == ["2"]
    assert datasets.one_label_each(now).set_index("id")["label"]["3"] == 4
    assert now[(now["id"] == "3") & (now["labeler"] == "ann")]["label"].tolist() == [1]  # her reading stays
    agreement.adjudicate(store, force, "d", "3", 2, "ann", "read again")
    log = agreement.log(store.labels("force", ["d"]), force)
    assert log[["id", "label", "who"]].to_numpy().tolist() == [["3", "Open hand", "ann"]]
    assert log["why"][0].startswith("read again (was Chemical and electric on 2")
    assert log["why"][0].endswith(": gas is named <b>)")


@pytest.mark.parametrize(("change", "says"), [
    ({"label": 9}, "9 is no label of the task force"), ({"who": " "}, "needs who decides and why"),
    ({"why": ""}, "needs who decides and why"), ({"post": "7"}, "no labelled post 7; nothing was decided")])
def test_a_decision_that_cannot_be_changes_nothing(change, says, force, home):
    store = Store.open()
    store.add_posts(pd.DataFrame({"dataset": "d", "id": ["1"], "text": ["one"]}))
    store.add_labels(given({"ann": {"1": 5}}).assign(task="force", codebook_version=1))
    with pytest.raises(InputError, match=says):
        agreement.adjudicate(store, force, "d", **{"post": "1", "label": 2, "who": "ann", "why": "so"} | change)
    assert len(store.labels("force", ["d"])) == 1


def test_planted_errors_in_the_starter_corpus_come_first(force):
    found = agreement.planted(datasets.starter_posts(force), force, seeds=1)
    assert found["planted"].tolist() == [171] and found["precision"].mean() >= 0.6


def test_contested_texts_are_counted_where_they_stand():
    ranked = pd.DataFrame({"text": ["A b!", "c", "d", "e", "f", "g", "h", "i", "a b", "j"], "label": range(10)})
    got = agreement.caught(ranked, (0.1, 0.5, 1.0))
    assert got["rows"].tolist() == [2] * 3 and got["value"].tolist() == [0.5, 0.5, 1.0]
    assert agreement.caught(ranked.assign(label=1)).empty


def test_suspects_of_a_few_rows_with_a_label_that_stands_once():
    texts = ["gas in eyes", "gas again", "gas and smoke", "a calm day", "calm sea", "calm day out", "😀", "gas gas gas"]
    rows = pd.DataFrame({"id": list("abcdefgh"), "text": texts, "label": [4, 4, 4, 0, 0, 0, 5, 0]})
    got = agreement.suspects(rows)
    assert sorted(got["id"]) == list("abcdefgh") and got["belief"].is_monotonic_increasing
    assert "h" in set(got["id"].head(3))
    assert agreement.suspects(rows.iloc[[0, 3]]).empty
