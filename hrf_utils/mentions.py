"""Which names in a text are used as places, and how strongly each speaks for the scene of an event.

What a name may mean is the `gazetteer`'s knowledge. Here it is read with what stands around it: "in" before it,
"police" behind it, its state behind a comma; a capitalised neighbour, an age or a title makes it a person's, a road
or a street corner makes it a street's.
"""

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from hrf_utils.gazetteer import CODES, SHORT, City, Entry, find, gazetteer, one_country, settle

ORIGIN, NAMED, SCENE = 0, 1, 2
"""How strongly a mention speaks for the scene: "from X" or a country, a bare name, "in X" or "X police"."""

_MARKED = {True: 5_000, False: 50_000}
"""Inhabitants from which a capitalised city name counts behind "in" or before "police"; in the US, and abroad."""
_BARE = {True: 25_000, False: 150_000}
"""The same for one that stands by itself, since most small towns share their name with families and words."""
_BARE_FAMILY = 1_000_000
"""The same in the countries of `_FAMILIES`, whose cities bear the names of American families."""
_FAMOUS = 350_000
"""The same for one in a longer name that is not known as a whole ("Denver Broncos")."""
_SMALL = 4
"""How many times as large a city has to be if its name is written in small letters."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_FAMILIES = _set("AR BO BR CL CO CR CU DO EC ES GT HN MX NI PA PE PH PR PT PY SV UY VE")
_NEAR = _set("across around central downtown east eastern greater in inside metro ne near north northeast northern "
             "northwest nw outside rural se south southeast southern southwest suburban sw throughout uptown west "
             "western")
_FORCE = _set("cbd constable constables cop cops council deputies deputy detectives highway jail man mayor national "
              "officer officers pd police policeman policemen protest protesters protestors protests resident "
              "residents sheriff sheriffs state swat teen trooper troopers woman")
_AMERICAN = _set("deputies deputy sheriff sheriffs trooper troopers")
_TITLE = _set("agent attorney capt captain chief coach constable corporal cpl deputy det detective dr gov governor "
              "inspector judge justice lieutenant lt mayor miss mr mrs ms officer pastor president rev sen senator "
              "sergeant sgt st trooper")
_ACTS = _set("had is said says told was")
_ROAD = _set("ave avenue blvd boulevard drive road street")
_WAY = _ROAD | _set("av avenues bridge bus dr expressway freeway highway hwy lane ln parkway pike pkwy plaza rd square "
                    "st streets terrace turnpike way")
_ALONG = _set("along between down off onto")
_CORNER = _set("at between near of on")
_COMPASS = _set("e east n ne north nw s se south sw w west")
_DATES = _set("apr aug dec feb fri jan jul jun mar may mon nov oct sat sep sun thu tue wed")
_OF = _set("borough city mayor outskirts people residents streets suburb town university village")
_PRESS = _set("Blade Chronicle Courier Dispatch Enquirer Examiner Gazette Globe Herald Inquirer Journal Ledger Mail "
              "Mercury News Observer Post Press Record Register Sentinel Star Sun Times Tribune")
"""A newspaper is named after its city and reports from around it."""
_LITTLE = _set("a all an and are as at but for he her here his how i if is it its my no not now on or our so some that "
               "the their then there these they this those three two was we were what when why your")
_WORDLIKE = _set("AK AL AR CO CT DE HI ID IN LA MA MD ME MO MS MT ND NE OH OK OR PA SC SD VA")
"""Postal codes that mean something else when they stand alone."""

_WORD = re.compile(r"(https?://\S+|\w+(?:'\w+)*)")
_TAG = re.compile(r"[#@](\w+)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_|(?<=\D)(?=\d)")
_HANDLE = re.compile(r"(\w*?)_?(pd|police|sheriff)\w*")
_TOPIC = re.compile(r"(\w+?)(blm|march|news|pd|police\w*|protests?|riots?|sheriff\w*|shooting|strong|uprising)")
_FLAG = re.compile("[\U0001F1E6-\U0001F1FF]{2}")


class Mention(NamedTuple):
    """A place that a text names, what told it (as in `places.Place`), and how strongly it speaks for the scene."""

    city: str | None
    state: str | None
    country: str | None
    method: str
    strength: int


def mentions(text: str, trusted: bool = False) -> list[Mention]:
    """Every place that a text names, from left to right.

    Parameters
    ----------
    text : str
    trusted : whether the text is nothing but a place, as in a profile, so that a bare name needs no mark
    """
    if "#" in text or "@" in text:
        text = _TAG.sub(_spelled_out, text)
    parts = _WORD.split(text.replace("’", "'").replace("'s", "").replace("'S", ""))
    words, gaps = parts[1::2], parts[0::2]
    lower = [word.lower() for word in words]
    found = list(find(words, gaps, lower))
    codes = [] if CODES.isdisjoint(words) else [at for at, word in enumerate(words) if word in CODES]
    flags = set(_FLAG.findall(text)) if trusted else set()
    told = list(_Reading(words, gaps, lower, trusted).mentions(found, codes)) if found or codes else []
    if not told and len(flags) == 1:
        code = "".join(chr(ord(letter) - 0x1F1E6 + ord("A")) for letter in flags.pop())
        return [Mention(None, None, code, "country", ORIGIN)]
    return told


def _spelled_out(tag: re.Match) -> str:
    """What a hashtag or a department's handle names, behind a "#"; other handles are dropped."""
    joined, body, is_topic = gazetteer().joined, tag[1].lower(), tag[0][0] == "#"
    if body in joined and is_topic:
        return f"#{joined[body].title()} "
    topic = (_TOPIC if is_topic else _HANDLE).fullmatch(body)
    for name in (topic[1] + topic[2], topic[1]) if topic else ():
        if name in joined:
            return f"#{joined[name].title()} police "
    return "#" + _CAMEL.sub(" ", tag[1]) if is_topic else " "


class _Reading:
    """A text in words, with the gaps before them and one behind the last.

    `shouted` says that all letters are capitals, `loud` that capitals tell nothing about names (a headline, too).
    """

    def __init__(self, words: list[str], gaps: list[str], lower: list[str], trusted: bool) -> None:
        long = [word for word in words if len(word) > 3] or words
        self.words, self.gaps, self.lower, self.trusted = words, gaps, lower, trusted
        self.shouted = sum(map(str.isupper, long)) > 0.6 * len(long)
        self.loud = self.shouted or (len(long) > 5 and sum(word[0].isupper() for word in long) > 0.6 * len(long))

    def mentions(self, found: list[tuple[int, int, Entry]], codes: list[int]) -> Iterator[Mention]:
        """What the names that were found and the codes mean; one with several bearers as the states named settle it."""
        names = [_Name(self, *name) for name in found]
        regions = [name.entry.region for name in names if any(name.entry.region) and name.stands()]
        states = {region[1] for region in regions} - {None}
        abroad = {region[2] for region in regions} - {None, "US"}
        state = states.pop() if len(states) == 1 else None
        country = abroad.pop() if len(abroad) == 1 and not states and not state else None
        done = 0
        for name, behind in zip_longest(names, names[1:]):
            if name.first < done or (self.trusted and self.words[name.first] in CODES and not name.entry.alias):
                continue
            told, done = name.held_by(behind) or (name.alone(state, country), name.last)
            if told:
                yield Mention(*told, name.strength(told))
        covered = {at for name in names if name.entry.alias or name.last > name.first + 1
                   for at in range(name.first, name.last)}
        for at in codes:
            if at not in covered and self.code_stands(at):
                yield Mention(None, self.words[at], "US", "state", NAMED)

    def code(self, at: int, comma: bool) -> tuple[str | None, int]:
        """State that stands at a word as a code or in newspaper style, and the word behind it."""
        word, lower, gap = self.words[at], self.lower[at], self.gaps[at + 1]
        if comma and lower in SHORT and word[0].isupper() and (len(lower) > 2 or gap[:1] == "."):
            return SHORT[lower], at + 1
        if word in CODES and (comma or not self.shouted):
            return word, at + 1
        if comma and word.upper() in CODES and (self.trusted or word.upper() not in _WORDLIKE):
            return word.upper(), at + 1
        return None, at

    def code_stands(self, at: int) -> bool:
        """Whether a postal code that belongs to no name means the state."""
        address = at and self.words[at - 1][0].isupper() and self.gaps[at] == ", "
        return self.trusted or (not self.shouted and bool(address or self.words[at] not in _WORDLIKE))


class _Name:
    """A name in a text, and the words `before` and `behind` it, in small letters ("" behind a comma or full stop)."""

    def __init__(self, text: _Reading, first: int, last: int, entry: Entry) -> None:
        self.text, self.first, self.last, self.entry = text, first, last, entry
        self.gap_before, self.gap_behind = text.gaps[first], text.gaps[last]
        self.before = text.lower[first - 1] if first and self.gap_before == " " else ""
        self.behind = text.lower[last] if last < len(text.words) and self.gap_behind == " " else ""
        self.capital = text.words[first] != text.lower[first]
        self.marked = self.behind in _FORCE or self.near() or self.before in {"from", "via"}

    def near(self) -> bool:
        """Whether it stands behind "in", "in the", "downtown", "city of"."""
        if self.before in {"the", "of"} and self.first > 1:
            return self.text.lower[self.first - 2] in (_NEAR if self.before == "the" else _OF)
        return self.before in _NEAR

    def held_by(self, behind: "_Name | None") -> tuple[tuple, int] | None:
        """"Tulsa, OK", "King County, Wash.", "Hamilton, Ontario": a name with what holds it, and the word behind."""
        comma = self.gap_behind.strip() in {",", "(", ",("}
        if self.last == len(self.text.words) or not (comma or self.gap_behind == " "):
            return None
        if behind and behind.first != self.last:
            behind = None
        country = behind and behind.entry.region[2]
        if country and country != "US":
            city = settle(self.entry.cities, country=country)
            return ((city.name, None, country, "city, state"), behind.last) if city else None
        state, end = (behind.entry.region[1], behind.last) if behind and not behind.entry.region[0] else (None, 0)
        if not state:
            state, end = self.text.code(self.last, comma)
        if not state:
            return None
        if self.entry.alias and self.entry.alias[1] == state:
            return (*self.entry.alias, "city, state"), end
        if state in self.entry.counties:
            return (None, state, "US", "county"), end
        more = gazetteer().entries.get(" ".join([*self.text.lower[self.first:self.last], "city"]), Entry(""))
        city = settle(self.entry.cities, state) or settle(more.cities, state)
        if city:
            return (city.name, state, "US", "city, state"), end
        other = settle(self.entry.cities)
        return ((None, state, "US", "state"), end) if comma and not (other and other.population >= _FAMOUS) else None

    def alone(self, state: str | None, country: str | None) -> tuple | None:
        """What it means by itself, in a text that names at most one state or foreign country."""
        entry, tag = self.entry, self.gap_before.endswith("#")
        if not self.stands():
            return None
        if entry.alias:
            return *entry.alias, "tag" if tag else "alias"
        if entry.counties:
            states = entry.counties & {state} if state else entry.counties
            return (None, next(iter(states)), "US", "county") if len(states) == 1 else None
        if entry.state:
            return None, entry.state, "US", "state"
        city = settle(entry.cities)
        if not city or (state and city.state and city.state != state):
            city = settle(entry.cities, state, country) or city
        if self.paper():
            return city and (None, city.state, city.country, "state" if city.state else "country")
        if city and self.large(city):
            return city.name, city.state, city.country, "tag" if tag else "city"
        if not city and entry.cities and one_country(entry.cities) and self.large(entry.cities[0]):
            return None, None, entry.cities[0].country, "country"
        return (None, None, entry.country, "country") if entry.country else None

    def strength(self, told: tuple) -> int:
        """How strongly it speaks for the scene, given what it means."""
        if self.before in {"from", "via"} or self.paper():
            return ORIGIN
        if self.marked or told[3] == "city, state" or self.opens():
            return SCENE
        return NAMED if told[0] or told[1] else ORIGIN

    def stands(self) -> bool:
        """Whether it is used as a place here, as far as what it `needs` and what stands around it say."""
        entry, text = self.entry, self.text
        if entry.needs in {"never", "pair"} or (self.street() and not (entry.alias and self.last > self.first + 1)):
            return False
        if text.trusted:
            return entry.needs not in {"mark", "word"} or len(text.words) < 4
        if self.titled():
            return False
        if entry.needs == "case":
            exact = text.words[self.first:self.last] == re.findall(r"\w+", entry.name)
            return exact and (self.marked or not text.shouted)
        if entry.needs == "word":
            return self.capital and self.near() and not self.goes_on()
        if entry.needs == "mark":
            return self.capital and self.marked
        if entry.needs == "name":
            free = self.capital and not text.loud and self.behind not in _ACTS and not self.person()
            return self.marked or free
        known = entry.cities or entry.state or self.last > self.first + 1
        return self.marked or bool(known) or not self.person()

    def large(self, city: City) -> bool:
        """Whether a city is so large, for what stands around its name, that the name may be taken for it."""
        american, famous = city.country == "US", city.population >= _FAMOUS
        if self.text.trusted:
            return True
        if not american and self.behind in _AMERICAN:
            return False
        if not famous and self.goes_on():
            return False
        if not self.marked and self.person() and not (famous and american and not self.entry.needs):
            return False
        needed = _BARE_FAMILY if city.country in _FAMILIES else _BARE[american]
        if self.marked or self.opens():
            needed = _MARKED[american]
        return city.population >= needed * (1 if self.capital else _SMALL)

    def goes_on(self) -> bool:
        """Whether a capitalised word behind it makes it a longer one ("Ventura Park", "Austin Jackson")."""
        text, last = self.text, self.last
        return not text.loud and last < len(text.words) and self.gap_behind in {" ", "-"} \
            and text.words[last][0].isupper() and text.lower[last] not in _FORCE and text.lower[last][:3] not in _DATES

    def person(self) -> bool:
        """Whether it is part of a longer name ("Tyrone Jackson") or has an age ("Jackson, 34,")."""
        text, first, last = self.text, self.first, self.last
        age = text.words[last] if last < len(text.words) and self.gap_behind == ", " else ""
        if age.isdigit() and len(age) < 3:
            return True
        if text.loud or self.gap_before.endswith("#"):
            return False
        if self.goes_on():
            return True
        other = text.lower[first - 1] if first and self.gap_before in {" ", "-"} else ""
        return other != "" and text.words[first - 1][0].isupper() and other not in _LITTLE | _WAY \
            and other[:3] not in _DATES and not gazetteer().entries.get(other, Entry("")).state

    def titled(self) -> bool:
        """Whether a title makes it a person's: "Officer Austin", "Mr. Houston"."""
        text, first = self.text, self.first
        title = self.capital and first and self.gap_before in {" ", ". "} and text.lower[first - 1] in _TITLE
        return bool(title and (text.words[first - 1][0].isupper() or self.before in _FORCE))

    def paper(self) -> bool:
        """Whether it is a newspaper's: "Miami Herald"."""
        return bool(self.behind and self.entry.cities) and self.text.words[self.last] in _PRESS

    def opens(self) -> bool:
        """Whether it opens a report ("Tbilisi: ", "Dayton, June 9") or closes an address ("Grand Avenue, LA.")."""
        behind = self.gap_behind.strip()[:1]
        if self.first == 0 or self.gap_before.strip()[-1:] in {".", "!", "?", ":", "|", "("}:
            return behind in {":", "-", "–", "—", ",", "."}
        return self.gap_before == ", " and self.text.words[self.first - 1][0].isupper() \
            and behind in {":", ",", ".", "|", ";"}

    def street(self) -> bool:
        """Whether it is a street's: "Houston St", "down Lombard", "4th and Madison", "at Lombard and Denver"."""
        words, lower, gaps, first, last = self.text.words, self.text.lower, self.text.gaps, self.first, self.last
        if self.before in _ALONG:
            return True
        if self.behind in _WAY:
            return self.behind in _ROAD or words[last][0].isupper() == self.capital
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
