"""The benchmark: what it makes, measures and works out; the notebook itself runs with the others."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hrf_utils import benchmark, growth, inference


@pytest.fixture
def clock(monkeypatch):
    """A clock of the benchmark's own; its answer is a function that lets seconds pass."""
    now = [0.0]
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_made_posts_differ_but_for_the_repeats_that_real_ones_have():
    texts = [" ".join(f"w{k}x{word}" for word in range(60)) for k in range(50)]
    found = growth.made(texts, 4000)
    assert len(found) == 4000 and found == growth.made(texts, 4000) != growth.made(texts, 4000, seed=1)
    assert 1 - len(set(found)) / 4000 == pytest.approx(growth.REPEATS, abs=0.03)
    words = [len(text.split()) for text in found]
    assert np.mean(words) == pytest.approx(0.9 * 60, rel=0.03)
    assert set(" ".join(found).split()) <= set(" ".join(texts).split())
    assert growth.made(["one"], 3) == ["one"] * 3


def test_exponents_are_those_of_the_times():
    sizes = np.array([1000, 10_000, 100_000])
    table = pd.concat([pd.DataFrame({"work": name, "posts": sizes, "seconds": 3e-6 * sizes**power})
                       for name, power in (("line", 1.0), ("square", 2.0))])
    bend = pd.DataFrame({"work": "bend", "posts": sizes, "seconds": [1.0, 1.0, 100.0]})
    found = growth.exponents(pd.concat([table, bend])).round(6)
    assert found["all sizes"].to_dict() == {"line": 1.0, "square": 2.0, "bend": 1.0}
    assert found["last two"].to_dict() == {"line": 1.0, "square": 2.0, "bend": 2.0}


def test_recipes_learn_the_same_rows_and_are_timed_by_their_training_alone(force, tiny_bert):
    rows = pd.DataFrame({"text": ["police stood there", "they shoved her", "a calm day"] * 12, "label": [1, 2, 0] * 12})
    rows = pd.concat([rows, pd.DataFrame({"text": ["x"] * 3, "label": [3, 4, 5]})], ignore_index=True)
    table = benchmark.training_table(rows, rows, force, str(tiny_bert), 2)
    assert table.index.tolist() == ["every post padded to 280 tokens", "Trainer's defaults", "ours"]
    assert table.loc["Trainer's defaults", "ratio"] == 1 and (table["macro_f1"] >= 0).all()
    assert (table["reached_s"] <= 2 * len(rows) / table["posts_per_s"] * 1.001).all() and (table["reached_s"] > 0).all()
    assert table["posts_per_s"].iloc[0] < table["posts_per_s"].iloc[1]


def test_ways_take_turns(clock):
    order, slow = [], iter([0.02, 0.01, 0.04, 0.02, 0.02, 0.01])

    def does(name):
        def do():
            order.append(name)
            clock(next(slow))
        return do

    seconds = benchmark.alternated({"a": does("a"), "b": does("b")}, {"a": 2, "b": 1}, 3)
    assert order == ["a", "b"] * 3 and seconds.shape == (3, 2)
    assert seconds["a"].tolist() == pytest.approx([0.01, 0.02, 0.01])


def test_the_table_of_ways_sets_each_beside_the_pipeline(clock):
    def way(seconds, labels):
        def classify(texts):
            clock(seconds * len(texts))
            return None if labels is None else np.resize(labels, len(texts))
        return classify

    found = {"one at a time": ("float32", way(0.004, None)), benchmark.PIPELINE: ("float32", way(0.002, None)),
             "ours, float32": ("float32", way(0.001, [0, 1])), "ours, int8": ("int8", way(0.0005, [0, 1, 0, 2]))}
    table = benchmark.inference_table(found, ["x"] * 40, 2, useful=100.0, peak={"float32": 1e6, "int8": 1e6})
    assert table.loc["ours, float32", "ratio"] == pytest.approx(2)
    assert table.loc["one at a time", "ratio"] == pytest.approx(0.5)
    assert table["agreement"].fillna(-1).tolist() == [-1, -1, 1, 0.75]
    assert table.loc["ours, int8", "peak"] == pytest.approx(100 / 0.0005 / 1e6)


def test_peaks_are_measured_for_each_number_format():
    found = benchmark.peaks(size=256, repeats=2)
    formats = {"float32", "int8"} | ({"bfloat16"} if inference.has_bfloat16() else set())
    assert set(found) == formats and min(found.values()) > 1e8
