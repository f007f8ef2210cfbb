"""Where a post's event took place, from words alone: the only geography of the project.

What a name may mean is the `gazetteer`'s knowledge, what it means in a text that of `mentions`; this room decides
where the event was. State outlines stand in ``data/geo/us_states.geojson``.
"""

import json
from functools import cache
from typing import NamedTuple

from hrf_utils.gazetteer import FOLDER, Entry, gazetteer, key, settle
from hrf_utils.mentions import NAMED, ORIGIN, SCENE, Mention, mentions


class Place(NamedTuple):
    """Where something is: state as two letters (US, DC included), country as ISO two letters.

    Unknown parts are None. `method` says what told: ``city, state``, ``alias`` (a department, district or nickname),
    ``tag`` (a hashtag or a department's handle), ``city``, ``county``, ``state``, ``country``, the same with
    ``author:`` in front if it was the author's location, or ``unknown``; `confidence` is a fixed judgement for each
    method, not a measured chance.
    """

    city: str | None = None
    state: str | None = None
    country: str | None = None
    method: str = "unknown"
    confidence: float = 0.0


_CONFIDENCE = {"city, state": 0.95, "alias": 0.9, "tag": 0.8, "city": 0.8, "county": 0.8, "state": 0.75, "country": 0.7}


def state_shapes() -> dict:
    """Outlines of the states as GeoJSON."""
    return json.loads((FOLDER / "us_states.geojson").read_text(encoding="utf8"))


@cache
def _states() -> dict[str, tuple[str, tuple[float, float]]]:
    """Name of each state, and the middle (latitude, longitude) of its largest ring."""
    entries, states = gazetteer().entries, {}
    for feature in state_shapes()["features"]:
        name, shape = feature["properties"]["name"], feature["geometry"]
        polygons = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        longitudes, latitudes = zip(*max((polygon[0] for polygon in polygons), key=len), strict=True)
        states[entries[key(name)].state] = name, (
            (min(latitudes) + max(latitudes)) / 2, (min(longitudes) + max(longitudes)) / 2)
    return states


def coordinates(place: Place) -> tuple[float, float] | None:
    """Latitude and longitude of a US place: its city's, else the middle of its state."""
    if place.country != "US":
        return None
    entry = gazetteer().entries.get(key(place.city or ""), Entry(""))
    city = settle(entry.cities, place.state)
    return city.point if city else _states().get(place.state or "", (None, None))[1]


def spoken(city: str, state: str, country: str) -> str:
    """A place as a title names it, from its parts ("" where unknown): "Tulsa, Oklahoma", or "Place unknown"."""
    if state or city:
        return ", ".join(filter(None, (city, _states().get(state, (state,))[0])))
    return {"": "Place unknown", "US": "United States"}.get(country, country)


def is_home(method: str) -> bool:
    """Whether a place is only where the author lives, by the method that told it; nothing happened there."""
    return method.startswith("author")


def locate(text: str, author_location: str | None = None) -> Place:
    """Place of the event that a post tells of, as far as its words say.

    Every name that may be a place is read with what stands around it: "Tulsa, OK", a department, a hashtag, "in" or
    "police" beside it, or the size of the only city that can be meant. The scene ("in X", "X police") goes before a
    bare name, and that before an origin ("from X") or a country that is merely spoken of. Of two places that speak
    equally loud only what they share is given: the state, the country, or nothing. A name with several bearers
    ("Springfield") stays open unless the post itself names the state. Where the text says nothing at all, the
    author's location is read the same way, and its method says so.
    """
    place = _agree(mentions(text))
    if place is None and author_location:
        told = _agree(mentions(author_location, trusted=True))
        place = told and told.country and told._replace(method=f"author: {told.method}", confidence=told.confidence / 2)
    return place or Place()


def _agree(mentions: list[Mention]) -> Place | None:
    """The place that the strongest mentions share, made exact by weaker ones that fit; None if there is none."""
    told = None
    for strength in (SCENE, NAMED, ORIGIN):
        places = {mention[:3]: Place(*mention[:4], _CONFIDENCE[mention.method]) for mention in reversed(mentions)
                  if mention.strength == strength}
        if told is None and places:
            told, one = _shared(list(places.values()))
            if not one:
                return told
        elif told:
            fitting, one = _shared([place for place in places.values() if _fits(told, place)] or [told])
            told = fitting if one else told
    return told


def _fits(broad: Place, exact: Place) -> bool:
    """Whether a place lies within another."""
    return all(a in {None, b} for a, b in zip(broad[:3], exact[:3], strict=True))


def _shared(places: list[Place]) -> tuple[Place, bool]:
    """The most exact of places that lie within each other and True, else what they share and False."""
    exact = max(places, key=lambda place: (place.city is not None, place.state is not None, place.confidence))
    if all(_fits(place, exact) for place in places):
        return exact, True
    if exact.state and len({place.state for place in places}) == 1:
        return Place(None, exact.state, "US", "state", _CONFIDENCE["state"]), False
    if len({place.country for place in places}) == 1:
        return Place(None, None, exact.country, "country", _CONFIDENCE["country"]), False
    return Place(), False
