"""Where a post's event took place, from words alone: the only geography of the project.

What a name may mean is `gazetteer`'s knowledge; this room decides what it means in a text. State outlines stand in
``data/geo/us_states.geojson``.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from hrf_utils.gazetteer import CODES, FOLDER, SHORT, City, Entry, gazetteer, key, one_country, settle


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

_MARKED_US, _MARKED_ABROAD = 5_000, 50_000
"""Inhabitants from which a capitalised city name counts behind "in" or before "police"."""
_ALONE_US, _ALONE_ABROAD = 25_000, 150_000
"""The same for one that stands by itself, since most small towns share their name with families and words."""
_ALONE_FAMILY = 1_000_000
"""The same in the countries whose cities bear the names of American families."""
_FAMILIES = frozenset("MX ES CO PE AR CL VE EC GT CU BO DO HN SV NI CR PA PY UY PH BR PT".split())
_FAMOUS = 350_000
"""The same for one in a longer name that is not known as a whole ("Denver Broncos")."""
_LOWER = 4
"""How many times as large a city has to be if its name is not capitalised."""

_ORIGIN, _NAMED, _SCENE = 0, 1, 2
"""How strongly a mention speaks for the scene of the event: "from X" and countries, a bare name, "in X"."""

_WORD = re.compile(r"(https?://\S+|\w+(?:'\w+)*)")
_FLAG = re.compile("[\U0001F1E6-\U0001F1FF]{2}")
_TAG = re.compile(r"[#@](\w+)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_|(?<=\D)(?=\d)")
_HANDLE = re.compile(r"(\w*?)_?(pd|police|sheriff)\w*")
_TOPIC = re.compile(r"(\w+?)(protests?|riots?|police\w*|pd|sheriff\w*|strong|uprising|blm|shooting|news|march)")

_NEAR = frozenset("in near outside downtown uptown north south east west ne nw se sw central metro greater across "
                  "throughout around inside northern southern eastern western northeast northwest southeast southwest "
                  "suburban rural".split())
_FORCE = frozenset("police pd cops cop officers officer deputies deputy sheriff sheriffs troopers trooper swat mayor "
                   "policeman policemen detectives constable constables council protest protests protesters "
                   "protestors cbd jail resident residents man woman teen state national highway".split())
_TITLE = frozenset("officer mr mrs ms miss dr sgt sergeant lt lieutenant captain capt detective det deputy trooper "
                   "president senator sen governor gov judge chief mayor justice constable inspector corporal cpl agent "
                   "attorney coach rev pastor st".split())
_STREET = frozenset("st street ave avenue av blvd boulevard road rd drive dr lane ln parkway pkwy highway hwy pike "
                    "square plaza bridge terrace way expressway freeway turnpike bus streets avenues".split())
_ROAD = frozenset("street avenue ave boulevard blvd road drive".split())
_COMPASS = frozenset("north south east west n s e w ne nw se sw".split())
_DATES = frozenset("mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep oct nov dec".split())
_ACTS = frozenset("was said says told is had".split())
_PRESS = frozenset("Blade Chronicle Courier Dispatch Enquirer Examiner Gazette Globe Herald Inquirer Journal Ledger "
                   "Mail Mercury News Observer Post Press Record Register Sentinel Star Sun Times Tribune".split())
"""A newspaper is named after its city and reports from around it."""
_OF = frozenset("city town mayor village university streets outskirts people residents suburb borough".split())
_AMERICAN = frozenset("deputies deputy sheriff sheriffs troopers trooper".split())
_ALONG = frozenset("down along onto off between".split())
_CORNER = frozenset("at near between on of".split())
_ORIGINS = frozenset("from via".split())
_LITTLE = frozenset("the a an this that these those my our your his her their all some two three and or but so if when "
                    "as at on for is are was were no not now then here what why how i we they he she it".split())
_WORDLIKE = frozenset("IN OR ME OK HI ID LA OH PA MA AL DE CO AR MS MO MD MT NE VA CT AK SC ND SD".split())
"""Postal codes that mean something else when they stand alone in capitals."""


def state_shapes() -> dict:
    """Outlines of the states as GeoJSON."""
    return json.loads((FOLDER / "us_states.geojson").read_text(encoding="utf8"))


@cache
def _state_centers() -> dict[str, tuple[float, float]]:
    """Middle (latitude, longitude) of each state's largest ring."""
    entries, centers = gazetteer().entries, {}
    for feature in state_shapes()["features"]:
        shape = feature["geometry"]
        polygons = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        longitudes, latitudes = zip(*max((polygon[0] for polygon in polygons), key=len), strict=True)
        centers[entries[key(feature["properties"]["name"])].state] = (
            (min(latitudes) + max(latitudes)) / 2, (min(longitudes) + max(longitudes)) / 2)
    return centers


def coordinates(place: Place) -> tuple[float, float] | None:
    """Latitude and longitude of a US place: its city's, else the middle of its state."""
    if place.country != "US":
        return None
    entry = gazetteer().entries.get(key(place.city or ""), Entry(""))
    city = settle(entry.cities, place.state)
    return city.point if city else _state_centers().get(place.state or "")


def locate(text: str, author_location: str | None = None) -> Place:
    """Place of the event that a post tells of, as far as its words say.

    Every name that may be a place is read with what stands around it: "Tulsa, OK", a department, a hashtag, "in" or
    "police" beside it, or the size of the only city that can be meant. The scene ("in X", "X police") goes before a
    bare name, and that before an origin ("from X") or a country that is merely spoken of. Of two places that speak
    equally loud only what they share is given: the state, the country, or nothing. A name with several bearers
    ("Springfield") stays open unless the post itself names the state. Where the text says nothing at all, the
    author's location is read the same way, and its method says so.
    """
    place = _read(text, False)
    if place is None and author_location:
        told = _read(author_location, True)
        place = told and told._replace(method=f"author: {told.method}", confidence=told.confidence / 2)
    return place or Place()


def _read(text: str, trusted: bool) -> Place | None:
    if "#" in text or "@" in text:
        text = _TAG.sub(_spelled_out, text)
    parts = _WORD.split(text.replace("’", "'").replace("'s", "").replace("'S", ""))
    words, gaps = parts[1::2], parts[0::2]
    names = list(_names(words, gaps, [word.lower() for word in words]))
    codes = [] if CODES.keys().isdisjoint(words) else [at for at, word in enumerate(words) if word in CODES]
    told = _agree(_Reading.of(words, gaps, trusted).mentions(names, codes)) if names or codes else None
    return told or (_flag(text) if trusted else None)


def _names(words: list[str], gaps: list[str], lower: list[str]) -> Iterator[tuple[int, int, Entry]]:
    """First word, word behind the last, and meaning of the longest names, from left to right."""
    entries, heads, _ = gazetteer()
    done = 0
    for first in [at for at, word in enumerate(lower) if word in heads]:
        if first < done:
            continue
        head = heads[lower[first]]
        if lower[first + 1:first + 2] and lower[first + 1] in head.seconds:
            most = 1
            while most < head.most and first + most < len(words) and _joined(lower[first + most - 1], gaps[first + most]):
                most += 1
            for last in range(first + most, first + 1, -1):
                entry = entries.get(" ".join(lower[first:last]))
                if entry:
                    done = last
                    yield first, last, entry
                    break
        if first >= done and head.alone and (head.small or words[first] != lower[first]):
            yield first, first + 1, entries[lower[first]]


def _joined(word: str, gap: str) -> bool:
    """Whether a name may go on over a gap: "Fort Worth", "Winston-Salem", "St. Louis", "D.C."."""
    return gap in {" ", "-"} or (gap in {".", ". "} and (len(word) == 1 or word in {"st", "ft", "mt"}))


def _flag(text: str) -> Place | None:
    """The country of the only flag in a text."""
    flags = {"".join(chr(ord(letter) - 0x1F1E6 + ord("A")) for letter in pair) for pair in _FLAG.findall(text)}
    return _told(None, None, flags.pop(), "country") if len(flags) == 1 else None


def _spelled_out(tag: re.Match) -> str:
    """What a hashtag or a department's handle names, behind a "#"; other handles are dropped."""
    joined, body = gazetteer().joined, tag[1].lower()
    if body in joined and tag[0][0] == "#":
        return f"#{joined[body].title()} "
    topic = (_TOPIC if tag[0][0] == "#" else _HANDLE).fullmatch(body)
    for name in (topic[1] + topic[2], topic[1]) if topic else ():
        if name in joined:
            return f"#{joined[name].title()} police "
    return "#" + _CAMEL.sub(" ", tag[1]) if tag[0][0] == "#" else " "


def _told(city: str | None, state: str | None, country: str | None, method: str) -> Place:
    return Place(city, state, country, method, _CONFIDENCE[method])


class _Mention(NamedTuple):
    place: Place
    strength: int


class _Reading(NamedTuple):
    """A text in words, in lower case, with the gaps before them (and one behind the last).

    `loud` says that capitals tell nothing about names (a headline), `shouted` that all letters are capitals,
    `trusted` that the text is nothing but a place.
    """

    words: list[str]
    lower: list[str]
    gaps: list[str]
    loud: bool
    shouted: bool
    trusted: bool

    @classmethod
    def of(cls, words: list[str], gaps: list[str], trusted: bool) -> "_Reading":
        long = [word for word in words if len(word) > 3] or words
        shouted = sum(map(str.isupper, long)) > 0.6 * len(long)
        loud = shouted or (len(long) > 5 and sum(word[0].isupper() for word in long) > 0.6 * len(long))
        return cls(words, [word.lower() for word in words], gaps, loud, shouted, trusted)

    def mentions(self, names: list[tuple[int, int, Entry]], codes: list[int]) -> Iterator[_Mention]:
        """Every place that the text names; names with several bearers as the states named beside them settle it."""
        states, countries = set(), set()
        for first, last, entry in names:
            if any(entry.region) and self._stands(first, last, entry):
                states.add(entry.region[1])
                countries.add(entry.region[2])
        state = next(iter(states - {None}), None) if len(states - {None}) == 1 else None
        countries -= {None, "US"}
        country = next(iter(countries)) if len(countries) == 1 and not state else None
        done = 0
        for number, (first, last, entry) in enumerate(names):
            if first < done or (self.trusted and self.words[first] in CODES and not entry.alias):
                continue
            behind = names[number + 1] if number + 1 < len(names) and names[number + 1][0] == last else None
            place, done = self._pair(first, last, entry, behind) or (None, last)
            place = place or self._alone(first, last, entry, state, country)
            if place:
                yield _Mention(place, self._strength(first, last, entry, place))
        covered = {at for first, last, entry in names if entry.alias or last > first + 1 for at in range(first, last)}
        for at in codes:
            if at not in covered and self._code_stands(at):
                yield _Mention(_told(None, self.words[at], "US", "state"), _NAMED)

    def _pair(self, first: int, last: int, entry: Entry, behind: tuple | None) -> tuple[Place, int] | None:
        """"Tulsa, OK", "Tulsa Oklahoma", "King County, Wash.", "Hamilton, Ontario": a name and what holds it."""
        gap = self.gaps[last]
        comma = gap.strip() in {",", "(", ",("}
        if last == len(self.words) or not (comma or gap in {" ", ". "}):
            return None
        abroad = behind and behind[2].region[2]
        if abroad and abroad != "US":
            city = settle(entry.cities, country=abroad)
            return (_told(city.name, None, abroad, "city, state"), behind[1]) if city and gap != ". " else None
        state, end = (behind[2].state, behind[1]) if behind and behind[2].state else self._code(last, comma)
        if not state:
            return None
        if entry.alias and entry.alias[1] == state:
            return _told(*entry.alias, "city, state"), end
        if state in entry.counties:
            return _told(None, state, "US", "county"), end
        more = gazetteer().entries.get(" ".join([*self.lower[first:last], "city"]))
        city = settle(entry.cities, state) or (more and settle(more.cities, state))
        if city:
            return _told(city.name, state, "US", "city, state"), end
        other = settle(entry.cities)
        if comma and not (other and other.population >= _FAMOUS):
            return _told(None, state, "US", "state"), end
        return None

    def _code(self, at: int, comma: bool) -> tuple[str | None, int]:
        """State that stands at a word as a code or in newspaper style, and the word behind it."""
        word, lower = self.words[at], self.lower[at]
        if len(word) == 1 and at + 1 < len(self.words) and self.gaps[at + 1] == ".":
            return SHORT.get(f"{lower} {self.lower[at + 1]}"), at + 2
        if comma and lower in SHORT and (len(lower) > 2 or self.gaps[at + 1][:1] == ".") and word[0].isupper():
            return SHORT[lower], at + 1
        if word in CODES and (comma or not self.shouted):
            return word, at + 1
        code = word.upper()
        if comma and code in CODES and (self.trusted or code not in _WORDLIKE):
            return code, at + 1
        return None, at

    def _code_stands(self, at: int) -> bool:
        if self.trusted:
            return True
        before = at and self.words[at - 1][0].isupper() and self.gaps[at] == ", "
        return not self.shouted and bool(before or self.words[at] not in _WORDLIKE)

    def _alone(self, first: int, last: int, entry: Entry, state: str | None, country: str | None) -> Place | None:
        """What a name means by itself, in a text that names at most one state or foreign country."""
        if not self._stands(first, last, entry):
            return None
        if entry.cities and last < len(self.words) and self.gaps[last] == " " and self.words[last] in _PRESS:
            city = settle(entry.cities)
            return city and _told(None, city.state, city.country, "state" if city.state else "country")
        if entry.alias:
            return _told(*entry.alias, "tag" if self.gaps[first].endswith("#") else "alias")
        if entry.counties:
            states = entry.counties if not state else entry.counties & {state}
            return _told(None, next(iter(states)), "US", "county") if len(states) == 1 else None
        if entry.state:
            return _told(None, entry.state, "US", "state")
        city = settle(entry.cities)
        if not city or (state and city.country == "US" and city.state != state):
            city = (state or country) and settle(entry.cities, state, country) or city
        if city and self._large(first, last, entry, city):
            method = "tag" if self.gaps[first].endswith("#") else "city"
            return _told(city.name, city.state, city.country, method)
        if not city and entry.cities and self._large(first, last, entry, entry.cities[0]) and one_country(entry.cities):
            return _told(None, None, entry.cities[0].country, "country")
        return _told(None, None, entry.country, "country") if entry.country else None

    def _large(self, first: int, last: int, entry: Entry, city: City) -> bool:
        """Whether a city is so large, for what stands around its name, that the name may be taken for it."""
        if self.trusted:
            return True
        marked = self._marked(first, last)
        american = city.country == "US"
        if not american and last < len(self.words) and self.lower[last] in _AMERICAN:
            return False
        famous = city.population >= _FAMOUS
        if not marked and self._person(first, last) and not (famous and american and not entry.needs):
            return False
        if self._goes_on(last) and not famous:
            return False
        if marked or self._opens(first, last):
            needed = _MARKED_US if american else _MARKED_ABROAD
        else:
            needed = _ALONE_US if american else _ALONE_FAMILY if city.country in _FAMILIES else _ALONE_ABROAD
        small = self.words[first] == self.lower[first]
        return city.population >= needed * (_LOWER if small else 1)

    def _goes_on(self, last: int) -> bool:
        """Whether a capitalised word behind a name makes it a longer one ("Ventura Park", "Justice Center")."""
        return not self.loud and last < len(self.words) and self.gaps[last] in {" ", "-"} \
            and self.words[last][0].isupper() and self.lower[last] not in _FORCE \
            and self.lower[last][:3] not in _DATES

    def _stands(self, first: int, last: int, entry: Entry) -> bool:
        """Whether a name is used as a place here, as far as what it `needs` and what stands around it say."""
        landmark = entry.alias and last > first + 1
        if entry.needs in {"never", "pair"} or (self._street(first, last) and not landmark):
            return False
        if self.trusted:
            return entry.needs != "mark" or len(self.words) < 4
        marked = self._marked(first, last)
        capital = self.words[first][0].isupper()
        title = first and self.gaps[first] in {" ", ". "} and self.lower[first - 1] in _TITLE
        if title and capital and (self.words[first - 1][0].isupper() or self.lower[first - 1] in _FORCE):
            return False
        if entry.needs == "case":
            return self.words[first:last] == re.findall(r"\w+", entry.name) and (marked or not self.shouted)
        if entry.needs == "word":
            return capital and self._near(first) and not self._goes_on(last)
        if entry.needs == "mark":
            return capital and marked
        if entry.needs == "name":
            acts = last < len(self.words) and self.lower[last] in _ACTS
            return marked or (capital and not self.loud and not acts and not self._person(first, last))
        return marked or last - first > 1 or bool(entry.cities or entry.state) or not self._person(first, last)

    def _near(self, first: int) -> bool:
        before = self.lower[first - 1] if first and self.gaps[first] == " " else ""
        if before in {"the", "of"} and first > 1:
            ahead = self.lower[first - 2]
            return ahead in _NEAR if before == "the" else ahead in _OF
        return before in _NEAR

    def _marked(self, first: int, last: int) -> bool:
        """Whether what stands around a name speaks for a place rather than a word or a person."""
        police = last < len(self.words) and self.gaps[last] == " " and self.lower[last] in _FORCE
        return police or self._near(first) or (first > 0 and self.lower[first - 1] in _ORIGINS)

    def _person(self, first: int, last: int) -> bool:
        """Whether a name is part of a longer one ("Austin Jackson") or has an age ("Jackson, 34,")."""
        behind = self.gaps[last]
        if behind == ", " and self.words[last].isdigit() and len(self.words[last]) < 3:
            return True
        if self.loud or self.gaps[first].endswith("#"):
            return False
        joined = self._goes_on(last)
        before = first and self.gaps[first] in {" ", "-"} and self.words[first - 1][0].isupper()
        other = self.lower[first - 1] if before else ""
        return bool(joined or (before and other not in _LITTLE | _STREET and other[:3] not in _DATES
                               and not gazetteer().entries.get(other, Entry("")).state))

    def _opens(self, first: int, last: int) -> bool:
        """Whether a name opens a report ("Tbilisi: ", "Dayton, June 9") or closes an address ("Grand Avenue, LA.")."""
        behind = self.gaps[last].strip()[:1]
        if first == 0 or self.gaps[first].strip()[-1:] in {".", "!", "?", ":", "|", "("}:
            return behind in {":", "-", "–", "—", ",", "."}
        return self.gaps[first] == ", " and self.words[first - 1][0].isupper() and behind in {":", ",", ".", "|", ";"}

    def _street(self, first: int, last: int) -> bool:
        """Whether a name is a street's: "Houston St", "4th and Madison", "at Lombard and Denver"."""
        words, lower, gaps = self.words, self.lower, self.gaps
        if first and lower[first - 1] in _ALONG:
            return True
        if last < len(words) and gaps[last] == " " and lower[last] in _STREET:
            return lower[last] in _ROAD or words[last][0].isupper() == words[first][0].isupper()
        while first > 1 and lower[first - 1] in _COMPASS:
            first -= 1
        if first > 1 and (lower[first - 1] == "and" or "&" in gaps[first] or "/" in gaps[first]):
            other = first - 2 if lower[first - 1] == "and" else first - 1
            while other > 1 and lower[other - 1] in _COMPASS:
                other -= 1
            return words[other][0].isdigit() or (other > 0 and lower[other - 1] in _CORNER)
        if last + 1 < len(words) and (lower[last] in {"and", "at"} or "&" in gaps[last] or "/" in gaps[last]):
            other = last + 1 if lower[last] in {"and", "at"} else last
            return words[other][0].isdigit() or (first > 0 and lower[first - 1] in _CORNER)
        return False

    def _strength(self, first: int, last: int, entry: Entry, place: Place) -> int:
        """How strongly a mention speaks for the scene of the event."""
        paper = last < len(self.words) and self.words[last] in _PRESS
        if entry.needs == "weak" or paper or (first and self.lower[first - 1] in _ORIGINS):
            return _ORIGIN
        if self._marked(first, last) and not self.gaps[first].endswith("#"):
            return _SCENE
        if place.method == "city, state" or self._opens(first, last):
            return _SCENE
        return _ORIGIN if place.method == "country" else _NAMED


def _agree(mentions: Iterator[_Mention]) -> Place | None:
    """The place that the strongest mentions share, made exact by a weaker one that fits."""
    by_strength: dict[int, dict[tuple, Place]] = {}
    for place, strength in mentions:
        by_strength.setdefault(strength, {}).setdefault(place[:3], place)
    told = None
    for strength in sorted(by_strength, reverse=True):
        places = list(by_strength[strength].values())
        if told is None:
            told = _shared(places)
            if told is None or not told.confidence:
                return told and told._replace(confidence=_CONFIDENCE[told.method])
        else:
            exact = [place for place in places if _fits(told, place)]
            shared = _shared(exact) if exact else None
            told = shared if shared and shared.confidence else told
    return told


def _fits(broad: Place, exact: Place) -> bool:
    """Whether a place lies within another."""
    return all(a in {None, b} for a, b in zip(broad[:3], exact[:3], strict=True))


def _shared(places: list[Place]) -> Place | None:
    """The most exact of places that lie within each other; else what they share, without confidence."""
    exact = max(places, key=lambda place: (place.city is not None, place.state is not None, place.confidence))
    if all(_fits(place, exact) for place in places):
        return exact
    states, countries = {place.state for place in places}, {place.country for place in places}
    if len(states) == 1 and None not in states:
        return Place(None, exact.state, "US", "state")
    return Place(None, None, exact.country, "country") if len(countries) == 1 else None
