"""The replay of the queue: what it reveals, whom it judges by, and how its curves are read."""

import numpy as np
import pandas as pd
import pytest
from test_labeling import some

from hrf_utils import active, labeling

MIX = "uncertain 0.5, rare 0.4, audit 0.1"


@pytest.fixture
def rows():
    posts = some(700, [40, 40, 4, 3, 3, 10], "r")
    return posts.assign(group=np.arange(700) // 2)


def test_both_ways_begin_alike_and_the_judging_rows_stay_apart(rows, force, monkeypatch):
    seen, queue = [], labeling.queue
    monkeypatch.setattr(labeling, "queue", lambda posts, labels, *rest: seen.append((posts, labels)) or queue(
        posts, labels, *rest))
    runs = active.replay(rows, force, 0, MIX, 40, 280, 400)
    first = runs[runs["labels"] == active.START]
    assert first["macro_f1"].nunique() == first["rare"].nunique() == 1 and len(first) == 2
    assert runs[runs["way"] == active.QUEUE]["labels"].tolist() == [200, 240, 280]
    assert runs[runs["way"] == active.RANDOM]["labels"].tolist() == [200, 240, 280, 400]
    pool = seen[0][0]
    assert 0.7 * len(rows) < len(pool) < 0.9 * len(rows)
    assert not set(pool["group"]) & set(rows.loc[~rows["id"].isin(pool["id"]), "group"])
    assert all(set(labels["id"]) <= set(pool["id"]) and labels["id"].is_unique for _, labels in seen)
    found = active.curves(runs.assign(seed=0), "rare")
    assert found[active.QUEUE].iloc[0, -1] > 1.3 * found[active.RANDOM][280].iloc[0]


def test_a_replay_is_kept_and_not_made_again(rows, force, home, monkeypatch):
    one = active.replays(rows, force, range(2), MIX, 40, 240, 300)
    assert len(list((home / "data" / "studies" / "force").glob("active-*.csv"))) == 2
    monkeypatch.setattr(active, "replay", None)
    pd.testing.assert_frame_equal(active.replays(rows, force, range(2), MIX, 40, 240, 300), one)


def made(queue, random, seeds=4):
    """Runs whose curves are the same in all seeds, but for a small shift."""
    rows = [{"seed": seed, "way": way, "labels": labels, "macro_f1": score + 0.001 * seed, "rare": rare}
            for seed in range(seeds) for way, points in ((active.RANDOM, random), (active.QUEUE, queue))
            for labels, score, rare in points]
    return pd.DataFrame(rows)


def test_labels_needed_are_read_off_the_curves():
    random = [(200, 0.3, 10), (400, 0.4, 20), (1000, 0.5, 50)]
    got = active.needed(made([(200, 0.3, 10), (400, 0.45, 60), (600, 0.55, 90)], random))
    assert got["target"]["value"] == pytest.approx(0.5015) and got["end"] == 600
    assert got["labels"]["value"] == pytest.approx(500) and got["labels"]["low"] == pytest.approx(500)
    assert got["gap"]["value"] == pytest.approx(0.05)
    short = active.needed(made([(200, 0.3, 10), (400, 0.45, 60)], random))
    assert short["labels"]["value"] == 600 and short["gap"]["high"] < 0  # never reached: a step beyond the end
    assert active.speed(made([(200, 0.3, 10), (400, 0.45, 60)], random), 400)["value"] == pytest.approx(3)
