"""Corroboration: pairs are told rightly, and an estimate holds the true size of a simulated population."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import soak

from hrf_utils import corroboration
from hrf_utils.settings import InputError

CITIES = [("Portland", "OR"), ("Seattle", "WA"), ("Tulsa", "OK"), ("Boise", "ID"), ("Reno", "NV"), ("Erie", "PA")]


def incidents(*rows):
    frame = pd.DataFrame(rows, columns=["date", "city", "state", "posts"])
    return frame.assign(id=[str(k) for k in range(len(frame))], date=pd.to_datetime(frame["date"]),
                        posts=frame["posts"].map(lambda ids: frozenset(ids.split())))


def test_pairs_need_a_link_or_place_and_time():
    known = incidents(("2020-06-01", "Portland", "OR", "7"), ("2020-06-01", "Tulsa", "OK", ""),
                      ("2020-06-01", "Boise", "ID", ""), ("2020-06-01", "Reno", "NV", ""))
    ours = incidents(("2020-07-30", "Salem", "OR", "7 8"), ("2020-06-03", "Tulsa", "OK", ""),
                     ("2020-06-04", "Boise", "ID", ""), ("2020-06-02", "", "NV", ""), ("2020-06-01", "Tulsa", "TX", ""))
    got = corroboration.match(known, ours)
    assert set(got.itertuples(index=False, name=None)) == {(0, 0, "link"), (1, 1, "city"), (3, 3, "state")}


def test_an_incident_has_one_partner_and_the_most_pairs_win():
    known = incidents(("2020-06-01", "Tulsa", "OK", ""), ("2020-06-03", "Tulsa", "OK", ""))
    ours = incidents(("2020-06-02", "Tulsa", "OK", ""), ("2020-06-05", "Tulsa", "OK", ""))
    assert set(corroboration.match(known, ours).itertuples(index=False, name=None)) == {(0, 0, "city"), (1, 1, "city")}
    assert len(corroboration.match(known, ours.head(1))) == 1
    shuffled = ours.iloc[::-1].reset_index(drop=True)
    assert set(corroboration.match(known, shuffled)["ours"]) == {0, 1}


def population(seed, size=400, ours=0.4, theirs=0.5):
    """Two lists that each found some of `size` incidents, dates a day off and some cities unknown on our side."""
    generator = np.random.default_rng(seed)
    spots = [CITIES[k] for k in generator.integers(len(CITIES), size=size)]
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(generator.integers(0, 1800, size), unit="D")
    everything = pd.DataFrame({"date": days, "city": [c for c, _ in spots], "state": [s for _, s in spots]})
    everything["posts"] = [frozenset({str(k)}) for k in range(size)]
    found, listed = generator.random(size) < ours, generator.random(size) < theirs
    mine = everything[found].reset_index(drop=True)
    mine["date"] += pd.to_timedelta(generator.integers(0, 2, len(mine)), unit="D")
    mine["city"] = mine["city"].where(generator.random(len(mine)) < 0.8, "")
    theirs = everything[listed].reset_index(drop=True)
    theirs["posts"] = theirs["posts"].where(generator.random(len(theirs)) < 0.5, frozenset())
    return theirs, mine, int((found & listed).sum())


@pytest.mark.soak
def test_the_estimate_holds_the_true_size_as_often_as_it_says():
    held, wrong = [], []
    for seed in range(soak(40, 200)):
        known, ours, both = population(seed)
        pairs = len(corroboration.match(known, ours))
        told = corroboration.chapman(len(known), len(ours), pairs)
        held.append(told["low"] <= 400 <= told["high"])
        wrong.append(pairs - both)
    assert 0.85 <= np.mean(held) <= 1
    assert 0 < np.mean(wrong) < 6  # of 80: a few pairs by chance, which make the estimate a little too low


def test_chapman_alone_is_unbiased_and_covers():
    generator = np.random.default_rng(0)
    found, listed = generator.random((400, 300)) < 0.35, generator.random((400, 300)) < 0.25
    told = pd.DataFrame([corroboration.chapman(int(a.sum()), int(b.sum()), int((a & b).sum()))
                         for a, b in zip(found, listed, strict=True)])
    assert told["value"].mean() == pytest.approx(300, rel=0.03)
    assert 0.92 <= ((told["low"] <= 300) & (told["high"] >= 300)).mean() <= 0.98
    whole = corroboration.chapman(12, 7, 7)
    assert whole["value"] == whole["low"] == 12 and 15 < whole["high"] < 25


def test_only_days_that_both_cover_are_compared():
    known, ours, _ = population(0)
    days = pd.Series(pd.date_range("2020-06-01", "2021-06-01"))
    got = corroboration.compare(known, ours, days)
    assert got["known"] == known["date"].between(days.min(), days.max()).sum()
    assert got["recall"]["value"] == got["both"] / got["known"] and sum(got["by"].values()) >= got["both"]
    assert 0.2 < got["recall"]["low"] < 0.4 < got["recall"]["high"] < 0.6
    assert got["by_chance"] < got["both"] / 3 and got["all"]["low"] < 400 / 5 < got["all"]["high"]
    apart = corroboration.compare(known, ours, pd.Series(pd.to_datetime(["1999-01-01"])))
    assert apart["known"] == 0 and apart["all"] is None and apart["states"] == {}


def crowded(seed, shuffle=False):
    """Two lists so close in time that many pairs come by chance, all of them where nothing is linked nor true."""
    known, ours, both = population(seed)
    for frame in (known, ours):
        frame["date"] = pd.Timestamp("2020-01-01") + ((frame["date"] - pd.Timestamp("2020-01-01")) / 6).dt.floor("D")
    if shuffle:
        known = known.assign(date=known["date"].sample(frac=1, random_state=seed).to_numpy(),
                             posts=[frozenset()] * len(known))
    return corroboration.compare(known, ours, pd.Series(pd.date_range("2020-01-01", "2021-01-01"))), both


def test_pairs_that_chance_gives_do_not_count():
    got, both = zip(*(crowded(seed) for seed in range(6)), strict=True)
    raw, mended = np.mean([(sum(one["by"].values()), one["both"]) for one in got], axis=0)
    assert raw > np.mean(both) + 15 and abs(mended - np.mean(both)) < 6
    assert sum(one["all"]["low"] <= 400 <= one["all"]["high"] for one in got) >= 5
    alone, _ = crowded(0, shuffle=True)
    assert sum(alone["by"].values()) > 40 and alone["both"] < 20 and "0 share a post" in corroboration.sentence(alone)


def test_states_with_enough_have_an_estimate_of_their_own():
    known, ours, _ = population(1)
    got = corroboration.compare(known, ours, pd.Series(pd.date_range("2020-01-01", "2025-01-01")))
    assert got["states"] and all(row["both"] >= corroboration.LEAST_BOTH for row in got["states"].values())
    assert sum(row["known"] for row in got["states"].values()) <= got["known"]


def test_any_table_with_date_city_and_state_will_do(table):
    path = table(date=["2020-06-01", "no date", "2020-06-03T23:00:00Z"], city=["NYC", "Tulsa", "\x00"],
                 state=["New York", "OK", "tx"], links=["https://twitter.com/a/status/1267347317947953155 x", "", ""])
    got = corroboration.read(path)
    assert got[["city", "state"]].to_numpy().tolist() == [["New York City", "NY"], ["", "TX"]]
    assert got["posts"][0] == {"1267347317947953155"} and str(got["date"][1])[:10] == "2020-06-03"
    with pytest.raises(InputError, match="has no column state"):
        corroboration.read(table("b.csv", date=["2020-06-01"], city=["x"]))
    with pytest.raises(InputError, match="no row with a date and a US state"):
        corroboration.read(table("c.csv", date=["2020-06-01"], city=["Lagos"], state=["Lagos"]))


def test_a_linked_post_lends_its_place():
    known = incidents(("2020-06-01", "Tulsa", "OK", "7"))
    table = pd.DataFrame({"incident_id": ["a", "b", "c"], "incident_date": "2020-06-02", "city": "", "state": "",
                          "country": ["", "", "GB"], "lat": None})
    members = pd.DataFrame({"incident_id": ["a", "b", "c"], "id": ["7", "8", "7"]})
    got = corroboration.of_ours(table, members, known)
    assert got["id"].tolist() == ["a"] and got["state"].tolist() == ["OK"]
    home = table.assign(city="Boise", state="ID", country="US")
    assert corroboration.of_ours(home, members, known)["city"].tolist() == ["Tulsa", "Tulsa"]


def test_the_real_list_is_read():
    path = Path(os.environ.get("HRF_TEST_DATA") or "", "2020pb", "all-locations-v2.half.json")
    if not path.is_file():
        pytest.skip("HRF_TEST_DATA has no 2020PB list")
    got = corroboration.read(path)
    assert len(got) > 650 and (got["city"] != "").mean() > 0.98 and got["posts"].map(bool).mean() > 0.75
    assert got["state"].str.len().eq(2).all()
