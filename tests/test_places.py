"""Where an event took place, from words alone."""

import pandas as pd
import pytest

from hrf_utils.places import Place, coordinates, locate, state_shapes


@pytest.mark.parametrize(("text", "city", "state", "country"), [
    ("Officers shot a man in Tulsa, OK on Monday", "Tulsa", "OK", "US"),
    ("TULSA, Okla. (AP) Police say", "Tulsa", "OK", "US"),
    ("a deputy in Montclair NJ tackled him", "Montclair", "NJ", "US"),
    ("Springfield, Illinois council meets", "Springfield", "IL", "US"),
    ("NYPD swung batons", "New York City", "NY", "US"),
    ("cops all over Brooklyn tonight", "New York City", "NY", "US"),
    ("Seattle Police used tear gas", "Seattle", "WA", "US"),
    ("marching in #LosAngeles", "Los Angeles", "CA", "US"),
    ("Washington, D.C. was loud", "Washington", "DC", "US"),
    ("Portland, Maine is quiet", "Portland", "ME", "US"),
    ("State troopers across Ohio", None, "OH", "US"),
    ("Met Police kettled students", "London", None, "GB"),
    ("riot police in Hong Kong", "Hong Kong", None, "HK"),
    ("protest in Nigeria over SARS", None, None, "NG"),
    ("the cop hit me or maybe it was ok in the end", None, None, None),
    ("Officer Austin Jackson was cleared", None, None, None),
    ("Springfield police fired", None, None, None),
    ("Officer Chad Reed tased a man", None, None, None),
    ("Virginia Hall and Georgia Smith saw it", None, None, None),
    ("Ohio State Police stopped a bus", None, "OH", "US"),
    ("downtown Portland is full of smoke", None, None, None),
    ("", None, None, None),
])
def test_places(text, city, state, country):
    assert locate(text)[:3] == (city, state, country)


def test_the_event_goes_before_the_author():
    assert locate("shot in Tulsa, OK", "Boston, MA").city == "Tulsa"
    told = locate("they shot him", "Boston, MA")
    assert (told.city, told.method) == ("Boston", "author: city, state")
    assert told.confidence < locate("shot in Boston, MA").confidence
    assert locate("they shot him", "somewhere over the rainbow").method == "unknown"


def test_hostile_text_has_no_place_and_takes_no_time():
    for text in ("A" * 100_000, "In " * 20_000, "👮" * 1000, "\u202e", "#" * 5000):
        assert locate(text).city is None


def test_coordinates():
    assert coordinates(Place("Tulsa", "OK", "US")) == pytest.approx((36.15, -95.99), abs=0.05)
    assert coordinates(Place(None, "KS", "US")) == pytest.approx((38.5, -98.4), abs=1)
    assert coordinates(Place("London", None, "GB")) is None and coordinates(Place()) is None


def test_every_state_has_a_shape():
    names = {feature["properties"]["name"] for feature in state_shapes()["features"]}
    assert len(names) == 51 and "District of Columbia" in names


def test_on_the_starter_truth(force):
    """A floor below what was measured, so that a change for the worse is seen."""
    posts = pd.read_csv(force.starter, dtype=str, keep_default_na=False)
    found = pd.DataFrame([locate(text) for text in posts["text"]]).fillna("")
    states = found["state"] != ""
    cities = found["city"] != ""
    assert (found["state"] == posts["state"])[states].mean() > 0.93
    assert (found["city"] == posts["city"])[cities].mean() > 0.90
    assert cities.sum() / (posts["city"] != "").sum() > 0.5
