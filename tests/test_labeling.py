"""The queue: a mix of reasons that is kept, an audit sample that no model sways, and nothing asked twice."""

import numpy as np
import pandas as pd
import pytest

from hrf_utils import datasets, labeling
from hrf_utils.settings import InputError

KINDS = ["a calm day by the sea with {}", "police stood there near {}", "cops shoved {} to the ground",
         "a baton on the arm of {}", "pepper spray in the eyes of {}", "officers shot {} dead"]


def some(n, weights, dataset, seed=0):
    """Short posts with a label each, drawn with the weights, no two of them alike."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(6, n, p=np.array(weights) / sum(weights))
    names = ["".join(rng.choice(list("bcdfghklmnprstvw"), 14)) for _ in range(2 * n)]
    texts = [KINDS[k].format(f"{names[2 * i]} {names[2 * i + 1]}") for i, k in enumerate(labels)]
    return pd.DataFrame({"dataset": dataset, "id": [f"{dataset}{i}" for i in range(n)], "text": texts, "label": labels})


@pytest.fixture
def labels():
    return some(200, [60, 60, 4, 4, 4, 68], "l")


@pytest.fixture
def posts():
    return some(1500, [40, 40, 3, 3, 3, 11], "p", 1)


def test_reasons_have_their_shares_and_take_turns(posts, labels, force):
    got = labeling.queue(posts, labels, force, 100)
    counts = got["why"].value_counts()  # there are six kinds of posts, too few for ten that differ
    assert counts["audit"] == 10 and 1 <= counts["diverse"] <= 6 and abs(counts["rare"] - counts["uncertain"]) <= 1
    assert list(got.columns) == ["id", "text", "why"] and got["id"].is_unique
    first = got["why"].head(20).value_counts()
    assert first["audit"] == 2 and first["diverse"] == 2 and first["rare"] == first["uncertain"] == 8
    assert set(labeling.queue(posts, labels, force, 50, "rare 1")["why"]) == {"rare"}


def test_rare_labels_are_found_and_clusters_without_labels_come_first(posts, labels, force):
    truth = posts.set_index("id")["label"]
    rare = labeling.queue(posts, labels, force, 60, "rare 1")["id"]
    assert truth[rare].isin([2, 3, 4]).mean() > 0.8 > 0.1 > truth.isin([2, 3, 4]).mean() - 0.05
    assert set(truth[rare]) >= {2, 3, 4}
    known = labels[labels["label"] != 0]
    diverse = labeling.queue(posts, known, force, 6, "diverse 1")["id"]
    assert truth[diverse].iloc[0] == 0


def test_the_audit_sample_is_random_fixed_and_not_asked_for_otherwise(posts, labels, force):
    audit = labeling.queue(posts, labels, force, 100, "audit 1")["id"]
    other = labels.assign(label=(labels["label"] + 3) % 6)
    assert labeling.queue(posts.iloc[::-1], other, force, 100, "audit 1")["id"].tolist() == audit.tolist()
    half = labeling.queue(posts, labels, force, 50, "audit 1")["id"]
    assert half.tolist() == audit.head(50).tolist()
    done = posts[posts["id"].isin(half)]
    more = labeling.queue(posts, pd.concat([labels, done]), force, 50, "audit 1")["id"]
    assert more.tolist() == audit.iloc[50:].tolist()
    kept_apart = set(posts.loc[labeling.audit_order(posts["id"]) < labeling.AUDIT_SHARE, "id"])
    assert set(audit) <= kept_apart and 100 < len(kept_apart) < 200
    asked = labeling.queue(posts, labels, force, 1500, "uncertain 0.5, diverse 0.2, rare 0.3")["id"]
    assert not kept_apart & set(asked) and len(asked) > 1000
    withheld = datasets.withheld(posts["id"])
    assert 0.05 < np.mean(labeling.audit_order(posts["id"])[withheld] < labeling.AUDIT_SHARE) < 0.16


def test_copies_are_queued_once_and_not_if_labelled(posts, labels, force):
    copies = posts.assign(id="c" + posts["id"], text=posts["text"] + " https://t.co/x")
    known = labels.assign(text=[*posts["text"].head(100), *labels["text"].iloc[100:]])
    got = labeling.queue(pd.concat([posts, copies]), known, force, 300, "uncertain 0.5, rare 0.5")
    plain = got["id"].str.removeprefix("c")
    assert plain.is_unique and len(got) == 300 and not set(plain) & set(posts["id"].head(100))


@pytest.mark.parametrize("mix", ["uncertain 0.5", "rare 1, unsure 0", "rare", "rare 2, audit -1", "", "rare x",
                                 "rare nan", "audit 0.5, audit 0.5", "rare 0.5 audit 0.5"])
def test_a_mix_that_cannot_be_is_one_sentence(mix, posts, labels, force):
    with pytest.raises(InputError, match="must give shares that sum to 1 to some of uncertain, diverse, rare, audit"):
        labeling.queue(posts, labels, force, 10, mix)


def test_few_posts_and_odd_texts(labels, force):
    assert labeling.queue(labels, labels, force).empty and list(labeling.queue(labels, labels, force)) == [
        "id", "text", "why"]
    texts = ["😀", "مرحبا", "<script>", "=1+1", "a", "…", "x" * 9000, "shot"]
    odd = pd.DataFrame({"dataset": "o", "id": list("abcdefgh"), "text": texts})
    got = labeling.queue(odd, labels.head(3).assign(text=["😀😀", "!", "b"], label=[0, 1, 2]), force)
    assert set(got["id"]) <= set("abcdefgh") and len(got) >= 5
    with pytest.raises(InputError, match="all labels are the same"):
        labeling.queue(odd, labels.assign(label=1), force)
