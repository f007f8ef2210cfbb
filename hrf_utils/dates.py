"""When a post's event took place, from its words and the time it was posted.

A grammar of few forms, since a post says "last night" or "June 3" and hardly ever more. What stands in the future
("will", "next Tuesday"), bounds a time ("until Friday") or dates a report ("police said Tuesday") is no event's date.
"""

import re
from calendar import month_abbr, monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

OFFSET = timedelta(hours=6)
"""What is taken from a post's time (UTC) for its local day: US Central standard time, in the middle of the country.
An evening on either coast is off by at most two hours from it."""
_SMALL_HOURS = timedelta(hours=4)
"""How long after midnight "tonight" is still the evening before."""
_AHEAD = timedelta(days=45)
"""A day and month without a year that comes so soon is still ahead; one that comes later was last year's."""


class When(NamedTuple):
    """When an event was: `date` is the day itself, a week's Monday, or the first of a month or year.

    `precision` is ``day``, ``week``, ``month`` or ``year``; `method` is ``calendar`` ("June 3"), ``weekday``
    ("on Tuesday") or ``relative`` ("last night").
    """

    date: date
    precision: str
    method: str


_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "a couple": 2, "a couple of": 2, "couple": 2, "couple of": 2,
            "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12,
            "twenty": 20}
_MONTHS = {name.lower(): number for number, name in enumerate(month_abbr) if number}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PRECISIONS = ("day", "week", "month", "year")

_MONTH = (r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
          r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?")
_DAY = r"(?P<day>3[01]|[12]\d|0?[1-9])(?P<th>st|nd|rd|th)?\b(?!…)"
_YEAR = r"(?:,?\s(?P<year>(?:19|20)\d\d)\b)?"
_COUNT = rf"(?P<count>\d{{1,3}}|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"


def _form(pattern: str) -> re.Pattern:
    return re.compile(pattern, re.IGNORECASE)


_MONTH_DAY = _form(rf"(?<![\w#@]){_MONTH}\s(?:the\s)?{_DAY}(?![:%/$]\d|\s?(?:%|people|cops|officers)){_YEAR}")
_DAY_MONTH = _form(rf"(?<![\w/:.$#-]){_DAY}\s(?P<of>of\s)?{_MONTH}{_YEAR}")
_ISO = _form(r"(?<![\d-])(?P<year>20\d\d)-(?P<first>\d\d)-(?P<second>\d\d)(?!\d)")
_SLASHED = _form(r"(?<![\d/-])(?P<first>\d\d?)(?P<slash>[/-])(?P<second>\d\d?)(?P=slash)(?P<year>(?:20)?\d\d)"
                 r"(?![\d/-])")
_SHORT = _form(r"(?:\b(?:on|from|dated)\s|(?P<bracket>\())(?P<first>\d\d?)/(?P<second>\d\d?)(?![\d/])")
_IN_MONTH = _form(rf"\b(?:in|during|last|early|late|mid|this past)[\s-](?:early\s|late\s|mid-?\s?)?{_MONTH}"
                  r"(?!\s\d{1,2}\b)(?:,?\s(?:of\s)?(?P<year>(?:19|20)\d\d)\b)?")
_MONTH_YEAR = _form(rf"(?<!\w){_MONTH},?\s(?:of\s)?(?P<year>(?:19|20)\d\d)\b")
_IN_YEAR = _form(r"\b(?:in|during|back in|of)\s(?P<year>(?:19|20)\d\d)(?![\d-])\b")
_WEEKDAY = _form(r"(?<![\w#@])(?:(?P<lead>on|last|this|past)\s)?(?:(?P<full>(?:mon|tues|wednes|thurs|fri|satur|sun)day)"
                 r"|(?P<short>mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)\b\.?"
                 r"(?P<hint>,?\s(?:night|morning|afternoon|evening|\d))?)(?!\w)")
_AGO = _form(rf"\b(?:(?P<few>a few|few|several)|{_COUNT})\+?\s?"
             r"(?P<unit>min|minute|hour|hr|day|night|week|month|year|yr)s?\sago\b")
_RELATIVE = _form(
    r"(?P<tonight>\b(?:tonight|this evening)\b(?!['’]s))|(?P<today>\b(?:today|this (?:morning|afternoon)"
    r"|just now|moments ago)\b(?!['’]s))"
    r"|(?P<before>\bthe (?:day|night) before (?:yesterday|last)\b)"
    r"|(?P<yesterday>(?<!born )(?<!like )\b(?:yesterday|last (?:night|evening)|overnight)\b)"
    r"|(?P<weekend>\b(?:last|over the|this past) weekend\b)|(?P<coming>\bthis weekend\b)"
    r"|(?<!later )\b(?P<which>last|this past|the past|this)\s(?P<span>week|month|year)\b(?!['’]s)")

_FUTURE = _form(r"\b(?:will|won['’]t|shall|going to|gonna|gon|scheduled|slated|upcoming|plan(?:s|ned|ning)?"
                r"|set (?:for|to)|(?:get|have|has|need|want) to|due|deadline|join us|rsvp|see you|expected|to appear"
                r"|begins|comes? out|tomorrow|can['’]t wait)\b|['’]ll\b")
_BOUND = _form(r"\b(?:next|coming|every|each|by|until|till?|before|after|since|through|for|black|good|super|later"
               r"|said|says|told|announced|sued|released|charged|ruled|filed|reported|testified|sentenced|indicted"
               r"|confirmed|identified|pleaded|convicted|arraigned|approved|voted|updated|published|resigned|learned"
               r"|found out|read|heard|usa|uploaded|as of"
               r"|(?:said|told|saw|posted|tweeted|wrote|shared|found)(?:\s\w+){0,2})"
               r"\s(?:on\s|late\s|early\s)?$")
_REPORT = _form(r",?\s(?:released|announced|said|filed|charged|sued|ruled|approved|voted|identified|confirmed|told"
                r"|i (?:found|saw|read|heard|wrote|posted))\b")


def event_date(text: str, posted: datetime) -> When | None:
    """When the event was that a post tells of, as far as its words say.

    Of several dates the most precise counts, and of those the first. Where the text says nothing, the time of the
    post is all there is: that is for the caller to take, and to say so.

    Parameters
    ----------
    text : str
    posted : time of the post; UTC if it has no time zone

    Returns
    -------
    When, or None if the text does not say
    """
    if posted.tzinfo:
        posted = posted.astimezone(UTC).replace(tzinfo=None)
    found = [(PRECISIONS.index(when.precision), start, when) for start, when in _readings(text, posted - OFFSET)]
    return min(found)[2] if found else None


def _readings(text: str, local: datetime) -> Iterator[tuple[int, When]]:
    """Where each date of an event stands, and what it is."""
    lower, latest = text.lower(), local.date() + timedelta(days=1)
    for hints, forms in _FORMS:
        if not any(hint in lower for hint in hints):
            continue
        for form, read in forms:
            for match in form.finditer(text):
                when = read(match, local)
                if when and when.date <= latest and not _elsewhere(text, match):
                    yield match.start(), when
                    if when.precision == "day":
                        break


def _elsewhere(text: str, match: re.Match) -> bool:
    """Whether the sentence speaks of the future, or of a report or a bound rather than of the event."""
    before = re.split(r"[!?\n]|(?<!&amp)[.;](?=\s)", text[max(0, match.start() - 100):match.start()])[-1]
    return bool(_FUTURE.search(before) or _BOUND.search(before) or _REPORT.match(text, match.end()))


def _calendar(match: re.Match, local: datetime) -> When | None:
    """A day of a month: "June 3", "3 June 2020", "6/3/20", "2020-06-03"."""
    parts = match.groupdict()
    if parts.get("month"):
        if not (_is_month(parts["month"]) or parts["th"] or parts.get("of") or parts["year"]):
            return None
        month, day = _MONTHS[parts["month"][:3].lower()], int(parts["day"])
    else:
        month, day = int(parts["first"]), int(parts["second"])
        if month > 12:
            month, day = day, month
        if parts.get("bracket") and month <= day <= 12:
            return None
    year = parts.get("year") and int(parts["year"]) % 100 + (int(parts["year"]) // 100 or 20) * 100
    if not 1 <= month <= 12 or not 1 <= day <= monthrange(year or 2000, month)[1]:
        return None
    return When(_latest(year, month, day, local.date()), "day", "calendar")


def _is_month(word: str) -> bool:
    """Whether a month's name is no verb or noun: "may" and "march" have to be capitalised."""
    return word[0].isupper() or word.lower() not in {"may", "mar", "march", "sept", "dec"}


def _latest(year: int | None, month: int, day: int, today: date) -> date:
    """The day of a year, else the last such day that is not ahead; one that is ahead soon stays ahead."""
    if year:
        return date(year, month, day)
    for candidate in range(today.year + 1, today.year - 9, -1):
        if day <= monthrange(candidate, month)[1] and date(candidate, month, day) <= today + _AHEAD:
            return date(candidate, month, day)
    raise AssertionError("a leap day comes every eight years at the latest")


def _month(match: re.Match, local: datetime) -> When | None:
    if not _is_month(match["month"]):
        return None
    month, year = _MONTHS[match["month"][:3].lower()], match["year"]
    first = date(int(year), month, 1) if year else date(local.year - (month > local.month), month, 1)
    if match[0].lower().startswith("last") and (first.year, first.month) == (local.year, local.month):
        first = first.replace(year=first.year - 1)
    return When(first, "month", "calendar")


def _year(match: re.Match, local: datetime) -> When | None:
    year = int(match["year"])
    return When(date(year, 1, 1), "year", "calendar") if year < local.year else None


def _weekday(match: re.Match, local: datetime) -> When | None:
    """The last such day: "on Tuesday", "Tuesday night", "last Friday", "Tues."."""
    short = match["short"]
    if short and (not short[0].isupper() or not (match["lead"] or match["hint"])):
        return None
    back = (local.weekday() - _WEEKDAYS.index((match["full"] or short)[:3].lower())) % 7
    lead = (match["lead"] or "").lower()
    if lead == "this" and back:
        return None
    if lead in {"last", "past"}:
        back = back or 7
    return When(local.date() - timedelta(days=back), "day", "weekday")


def _ago(match: re.Match, local: datetime) -> When | None:
    """"Three hours ago", "two days ago", "a few days ago" (that week), "2 weeks ago", "six years ago"."""
    unit = match["unit"].lower()[:2]
    count = (match["count"] or "3").lower()
    count = int(count) if count.isdigit() else _NUMBERS[count]
    if unit in {"mi", "ho", "hr"}:
        return When((local - timedelta(**{"minutes" if unit == "mi" else "hours": count})).date(), "day", "relative")
    if unit in {"da", "ni"}:
        then = local.date() - timedelta(days=count)
        return _week(then) if match["few"] else When(then, "day", "relative")
    if unit == "we":
        return _week(local.date() - timedelta(weeks=count))
    if match["few"]:
        return None
    if unit == "mo":
        return When(_months_back(local.date(), count), "month", "relative")
    return When(date(local.year - count, 1, 1), "year", "relative")


def _week(day: date) -> When:
    return When(day - timedelta(days=day.weekday()), "week", "relative")


def _months_back(day: date, count: int) -> date:
    months = day.year * 12 + day.month - 1 - count
    return date(months // 12, months % 12 + 1, 1)


def _relative(match: re.Match, local: datetime) -> When | None:
    """"Tonight", "yesterday", "last week", "over the weekend", "earlier this month"."""
    today, kind = local.date(), match.lastgroup
    if kind == "tonight":
        return When((local - _SMALL_HOURS).date(), "day", "relative")
    if kind in {"today", "yesterday", "before"}:
        back = {"today": 0, "yesterday": 1, "before": 2}[kind]
        return When(today - timedelta(days=back), "day", "relative")
    if kind in {"weekend", "coming"}:
        if kind == "coming" and today.weekday() in {2, 3, 4}:
            return None
        back = 0 if today.weekday() > 4 and not match[0].lower().startswith("last") else 1
        return _week(today - timedelta(weeks=back))
    back = 0 if "this" in match["which"].lower().split() and "past" not in match["which"].lower() else 1
    if match["span"].lower() == "week":
        return _week(today - timedelta(weeks=back))
    if match["span"].lower() == "month":
        return When(_months_back(today, back), "month", "relative")
    return When(date(today.year - 1, 1, 1), "year", "relative") if back else None


_FORMS = [
    (tuple(_MONTHS), [(_MONTH_DAY, _calendar), (_DAY_MONTH, _calendar), (_IN_MONTH, _month), (_MONTH_YEAR, _month)]),
    (("/", "-"), [(_ISO, _calendar), (_SLASHED, _calendar), (_SHORT, _calendar)]),
    (("in 19", "in 20", "of 19", "of 20", "ing 19", "ing 20"), [(_IN_YEAR, _year)]),
    (("day", *(name + end for name in (*_WEEKDAYS, "tues", "thur", "thurs") for end in "., ")), [(_WEEKDAY, _weekday)]),
    ((" ago",), [(_AGO, _ago)]),
    (("night", "day", "this ", "now", "moments", "evening", "week", "month", "year"), [(_RELATIVE, _relative)])]
"""What a text must hold for the forms behind it to be tried."""
