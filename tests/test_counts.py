"""Counts: corrected ones hold the truth as often as they claim, and nothing is ranked that cannot be told apart."""

import numpy as np
import pandas as pd
import pytest
from conftest import soak

from hrf_utils import counts, figures, intervals
from hrf_utils.settings import InputError

SHARES = np.array([0.42, 0.2, 0.04, 0.03, 0.06, 0.25])


def misread(truth, reads, generator):
    return (generator.random(len(truth))[:, None] > reads[truth].cumsum(axis=1)).sum(axis=1).clip(0, 5)


def world(seed):
    """A model that errs, 330 test rows, and 1,500 posts whose labels come in other shares."""
    generator = np.random.default_rng(seed)
    right = np.array([0.85, 0.7, 0.6, 0.5, 0.8, 0.85])
    reads = np.diag(right)
    for k in range(6):
        reads[k, np.arange(6) != k] = generator.dirichlet(np.full(5, 0.7)) * (1 - right[k])
    test = np.r_[np.repeat(np.arange(6), 2), generator.choice(6, 318, p=SHARES)]
    truth = generator.choice(6, 1500, p=generator.dirichlet(SHARES * 20 + 0.3))
    return test, misread(test, reads, generator), truth, misread(truth, reads, generator)


@pytest.mark.soak
@pytest.mark.parametrize("way", ["test", "sample"])
def test_intervals_hold_the_true_counts_as_often_as_they_say(way):
    held = []
    for seed in range(soak(60, 200)):
        test, test_said, truth, said = world(seed)
        counted, true = np.bincount(said, minlength=6), np.bincount(truth, minlength=6)
        if way == "sample":
            drawn = np.random.default_rng(seed).choice(len(truth), 100, replace=False)
            got = counts.from_sample(truth[drawn], said[drawn], np.arange(100), counted, 300)
        else:
            got = counts.from_test(test, test_said, np.arange(len(test)), counted, 150)
        low, high = np.quantile(got[1:], [0.025, 0.975], axis=0)
        held.append((low <= true) & (true <= high))
    assert 0.90 <= np.mean(held) <= 0.99
    assert np.mean(held, axis=0).min() >= 0.85


def test_correcting_mends_a_count_that_is_wrong():
    truth = np.repeat([0, 1], [900, 100])
    said = np.r_[np.repeat([0, 1], [720, 180]), np.repeat([0, 1], [10, 90])]
    got = counts.from_test(truth, said, np.arange(1000), np.array([7300, 2700]), 200)
    assert got[0].tolist() == pytest.approx([9000, 1000], rel=0.02)
    assert got.sum(axis=1) == pytest.approx(10_000)
    assert counts.from_sample(truth, said, np.arange(1000), np.array([7300, 2700]), 200)[0].tolist() \
        == pytest.approx([9000, 1000], rel=0.01)


def test_a_sample_without_errors_and_a_test_in_copies_claim_less():
    few = counts.from_sample(np.zeros(100, int), np.zeros(100, int), np.arange(100), np.array([1000, 0]), 400)
    assert np.quantile(few[:, 1], 0.975) > 5
    test, said, _, _ = world(0)
    counted = np.array([5000, 3000, 500, 500, 500, 500])
    widths = []
    for groups in (np.arange(330).repeat(6), np.arange(1980)):
        got = counts.from_test(test.repeat(6), said.repeat(6), groups, counted, 200)[1:, 0]
        widths.append(np.ptp(np.quantile(got, [0.025, 0.975])))
    assert widths[0] > 1.5 * widths[1]


def decided(labels, by="predicted"):
    return pd.DataFrame({"id": [f"{by}{k}" for k in range(len(labels))], "label": labels, "decided_by": by})


def test_the_audit_replaces_the_test_from_a_hundred_posts_and_it_says_so(force):
    posts = pd.concat([decided([0] * 500 + [5] * 500), decided([4] * 30, "labelled")], ignore_index=True)
    test = pd.DataFrame({"label": [0, 1, 2, 3, 4, 5] * 20, "predicted": [0, 1, 2, 3, 4, 5] * 20, "group": range(120)})
    here = pd.DataFrame({"id": [f"labelled{k}" for k in range(30)], "label": 4, "predicted": 4, "group": range(30),
                         "audit": True})
    got = counts.correct(posts, test, here, force)
    assert got.method == "test" and got.n == 120 and "only the shares of the kinds differ" in got.assumes
    assert got.posts[0].tolist() == pytest.approx([500, 0, 0, 0, 30, 500], abs=8)
    assert got.strained == ()
    errs = test.assign(predicted=np.where((test["label"] == 0) & (test["group"] % 12 == 0), 5, test["predicted"]))
    got = counts.correct(decided([0] * 900 + [5] * 100), errs, here, force)
    assert got.strained == ("Lethal",) and got.assumes.startswith("No corrected count: these posts are unlike the test")
    table = found((60, "TX", 5, "predicted"), (20, "TX", 4, "labelled"))
    labels, cells = counts.by_label(table.assign(id="1"), table, got, force), counts.by_cell(table, table["state"], got)
    assert labels[["value", "low", "incidents_value", "incidents_high"]].isna().all(axis=None)
    assert cells.loc["TX", ["incidents", "value"]].tolist() == [80, 80] and 60 < cells.loc["TX", "low"] < 70
    more = [decided([0] * 100, "labelled").assign(id=[f"audit{k}" for k in range(100)])]
    audit = pd.DataFrame({"id": more[0]["id"], "label": 0, "predicted": [0] * 50 + [5] * 50, "group": range(100),
                          "audit": True})
    got = counts.correct(pd.concat([posts, *more]), test, pd.concat([here.assign(audit=False), audit]), force)
    assert got.method == "audit" and got.n == 100 and "drawn at random" in got.assumes
    assert got.posts[0].sum() == pytest.approx(1130, rel=0.03) and got.posts[0, 5] < 150
    assert got.factors[0, 5] < 0.3 and got.factors[0, 3] == 1


def test_an_audit_that_the_model_learned_from_does_not_count():
    labels = pd.DataFrame({"dataset": "d", "id": list("abcd"), "origin": ["import", "audit", "audit", "session"]})
    known = pd.DataFrame({"dataset": ["d"] * 4 + ["other"], "id": list("abcda"), "text": ["t"] * 5, "label": 1})
    split = pd.DataFrame({"dataset": ["d", "other"], "id": ["b", "c"], "part": "train"})
    got = counts.labelled_here(labels, known, split)
    assert got["id"].tolist() == list("bcd") and got["audit"].tolist() == [False, True, False]


def test_predictions_of_another_split_are_refused():
    split = pd.DataFrame({"id": ["1", "2"], "part": ["test", "train"], "group": [7, 8]})
    assert counts.test_rows(pd.DataFrame({"id": ["1"]}), split)["group"].tolist() == [7]
    with pytest.raises(InputError, match="make performance"):
        counts.test_rows(pd.DataFrame({"id": ["2"]}), split)


@pytest.fixture
def halved(force):
    """A correction that halves what the model says of label 5, and says what a person decided is right."""
    factors = np.ones((201, 6))
    factors[:, 5] = 0.5
    return counts.Correction(np.tile(np.arange(6.0) * 10, (201, 1)), factors, "test", 9, "")


def found(*rows):
    return pd.DataFrame([row for n, *row in rows for _ in range(n)], columns=["state", "label", "decided_by"])


def test_incidents_are_corrected_by_label_and_small_cells_merged(force, halved):
    table = found((60, "TX", 5, "predicted"), (20, "TX", 4, "labelled"), (4, "NY", 5, "predicted"),
                  (3, "OH", 3, "predicted"))
    got = counts.by_cell(table, table["state"], halved)
    assert got["incidents"].to_dict() == {"TX": 80, "other": 7} and got.loc["TX", "value"] == 50
    assert 30 < got.loc["TX", "low"] < 42 < 58 < got.loc["TX", "high"] < 70
    labels = counts.by_label(table.assign(id="1"), table, halved, force)
    assert labels.loc[5, "incidents_value"] == 32 and labels.loc[5, "incidents"] == 64
    assert labels["incidents"].isna().tolist() == [True, True, False, False, False, False, False]
    assert labels.loc["all", ["incidents", "incidents_value", "value"]].tolist() == [87, 55, 140]
    assert labels.loc[3, ["posts", "value"]].tolist() == [3, 30]


def test_the_figure_shows_what_is_corrected_and_only_that(force, halved, monkeypatch):
    table, alts = found((60, "TX", 5, "predicted"), (20, "TX", 4, "labelled")), []
    monkeypatch.setattr(figures, "show", lambda figure, alt: alts.append(alt))
    for correction in (halved, halved._replace(posts=halved.posts * np.nan, factors=halved.factors * np.nan)):
        labels = counts.by_label(table.assign(id="1"), table, correction, force)
        figures.corrected(labels.drop(index="all"), force)
    assert "Lethal 60, corrected 30 (30 to 30)" in alts[0]
    assert "Lethal 60." in alts[1] and "corrected" not in alts[1]


def test_the_chart_over_time_tells_of_small_cells_and_of_what_was_not_collected(force, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: shown.append((figure, alt)))
    rows = [{"period": f"2026-03-0{day}", "unit": "D", "collected": day != 2, "other": 3 * (day == 1)}
            | dict.fromkeys(force.positive, 0) | {5: 6 * (day == 3)} for day in (1, 2, 3)]
    figures.timeline(pd.DataFrame(rows), force)
    figures.timeline(pd.DataFrame([]), force)
    (figure, alt), names = shown[0], [text.get_text() for text in shown[0][0].axes[0].get_legend().texts]
    assert len(shown) == 1 and names[-2:] == ["kinds with fewer than five in the day", "nothing collected"]
    assert "by day over 3 days, of which 1 have no posts" in alt and "Lethal 6, kinds with fewer than five" in alt
    assert sum(bar.get_height() for bar in figure.axes[0].containers[-1]) == 3


def test_rates_divide_by_the_census(halved):
    assert counts.census()["population"].sum() == 331_449_281 and len(counts.census()) == 51
    table = found((40, "VT", 4, "predicted"), (60, "CA", 4, "predicted"), (9, "??", 4, "predicted"))
    got = counts.rates(counts.by_cell(table, table["state"], halved))
    assert got.index.tolist() == ["VT", "CA"] and got.loc["VT", "value"] == pytest.approx(40 / 0.643077)
    assert got["group"].tolist() == [1, 2] and got["rank_low"].tolist() == [1, 2] == got["rank_high"].tolist()


def ranked(*rows):
    return intervals.tell_apart(pd.DataFrame(rows, columns=["value", "low", "high"], index=list("ABCD")[:len(rows)]))


def test_what_overlaps_is_not_ranked():
    got = ranked((10, 8, 12), (9, 7, 11), (7.5, 6, 9), (3, 2, 4))
    assert got["group"].tolist() == [1, 1, 1, 2]
    assert got["rank_low"].tolist() == [1, 1, 1, 4] and got["rank_high"].tolist() == [3, 3, 3, 4]
    chain = ranked((10, 9, 12), (8.5, 7, 10), (7, 5.5, 8))
    assert chain["group"].tolist() == [1, 1, 2] and chain["rank_low"].tolist() == [1, 1, 2]
    assert intervals.order(got, "states") == (
        "As far as the intervals tell, any of 3 of the 4 states may be the highest: A, B, C.")
    below = ranked((9, 1, 17), (8, 7, 9), (4, 3, 6), (1, 0, 0.5))  # the third overlaps with the first, and is below B
    assert below["group"].tolist() == [1, 1, 1, 2]
    assert intervals.order(below, "states").endswith("any of 2 of the 4 states may be the highest: A, B.")
    assert intervals.order(ranked((9, 8, 10), (3, 2, 4)), "states") == "A stands clearly above the other 1 states."
    assert intervals.order(ranked((9, 2, 10), (3, 1, 4)), "states").startswith("No ranking: as far as")
    assert "too few" in intervals.order(ranked((1, 0, 2)), "states")


def test_a_timeline_marks_what_was_not_collected_and_hides_small_cells(force):
    times = pd.Series(pd.to_datetime(["2026-03-01", "2026-03-02", "2026-03-05", None]))
    table = pd.DataFrame({"incident_date": ["2026-03-01"] * 11 + ["1992-04-29"], "label": [5] * 6 + [4] * 3 + [5] * 3,
                          "date_precision": ["day"] * 8 + ["post", "week", "month", "day"]})
    got = counts.timeline(table, times, force)
    assert got.index.tolist() == [f"2026-03-0{k}" for k in range(1, 6)]
    assert got["collected"].tolist() == [True, True, False, False, True]
    assert got.iloc[0][[5, 4, "other"]].tolist() == [6, 0, 3] and got[[*force.positive, "other"]].to_numpy().sum() == 9
    assert counts.timeline(table, times[:0], force).empty
