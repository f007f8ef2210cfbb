"""Policies: chances that sum to one, a bandit that learns, and a value that does not depend on who collected."""

import numpy as np
import pandas as pd
import pytest

from hrf_utils import policies
from hrf_utils.intervals import resamples
from hrf_utils.settings import InputError

POOLS = [np.repeat([1, 0], [20, 80]), np.repeat([1, 0], [90, 10]), np.repeat([1, 0], [50, 50]), np.zeros(10, int)]


def test_chances_follow_what_came_and_leave_a_floor():
    rng = np.random.default_rng(0)
    assert policies.chances("uniform", np.zeros(4), np.zeros(4), rng).tolist() == [0.25] * 4
    given = policies.chances("bandit", np.array([90, 10, 0, 0]), np.array([100, 100, 100, 0]), rng)
    assert given.sum() == pytest.approx(1) and given.min() >= policies.FLOOR / 4
    assert given[0] > 0.8 and given[3] > given[1]  # what was never tried may yet be the best
    with pytest.raises(InputError, match="unknown POLICY 'greedy'; there are uniform and bandit"):
        policies.chances("greedy", np.zeros(1), np.zeros(1), rng)


def test_a_phrase_is_drawn_with_the_chance_that_is_told(force):
    table = pd.DataFrame({"hits": [50, 0], "posts": [50, 50]}, index=["good", "poor"])
    rng = np.random.default_rng(0)
    drawn = [policies.choose("bandit", table, rng) for _ in range(2000)]
    share = np.mean([phrase == "poor" for phrase, _ in drawn])
    told = np.mean([chance for phrase, chance in drawn if phrase == "poor"])
    assert share == pytest.approx(policies.FLOOR / 2, abs=0.01) and told == pytest.approx(policies.FLOOR / 2, abs=0.003)


def test_the_bandit_beats_chance_and_comes_near_the_best():
    ends = {}
    for policy in policies.POLICIES:
        logs = [policies.replay(POOLS, policy, 100, 10, seed) for seed in range(20)]
        ends[policy] = np.array([log["hits"].sum() / log["best"].sum() for log in logs])
    assert ends["bandit"].mean() > 0.9 and ends["uniform"].mean() < 0.5 and ends["bandit"].min() > ends["uniform"].max()


@pytest.mark.parametrize("collector", policies.POLICIES)
def test_a_policy_is_judged_alike_whoever_collected(collector):
    target = np.array([0.1, 0.2, 0.6, 0.1])
    truth = target @ [pool.mean() for pool in POOLS]
    one = np.ones((1, 400))
    found = [policies.value(policies.replay(POOLS, collector, 400, 10, seed), target, one, 10)[0] for seed in range(30)]
    plain = [policies.replay(POOLS, collector, 400, 10, seed)["hits"].mean() / 10 for seed in range(30)]
    assert np.mean(found) == pytest.approx(truth, abs=0.03)
    assert abs(np.mean(plain) - truth) > 0.05
    held = policies.value(policies.replay(POOLS, "uniform", 400, 10, 0), target, resamples(np.arange(400), 200), 10)
    assert held.shape == (201,) and held.std() > 0


def test_relevant_posts_are_positive_and_not_known_to_be_abroad(force):
    posts = pd.DataFrame({"id": list("abcd"), "author_location": "", "text": [
        "Police shot a man in Tulsa, OK", "Police shot a man in Paris, France", "Police shot a man", "Police smiled"]})
    answers = pd.Series([5, 5, 5, 1], index=list("abcd"))
    assert policies.relevant(posts, answers, force).tolist() == [True, False, True, False]
    assert policies.relevant(posts, answers.head(0), force).tolist() == [False] * 4


def test_yields_count_every_phrase_of_the_task(force):
    found = pd.DataFrame({"query": ["police", "police", "police baton", "another"]})
    table = policies.yields(found, np.array([True, False, True, True]), force)
    assert table.index.tolist() == list(force.queries)
    assert table.loc["police", ["posts", "hits", "value"]].tolist() == [2, 1, 0.5]
    assert table.loc["police abuse", "posts"] == 0 and np.isnan(table.loc["police abuse", "value"])
