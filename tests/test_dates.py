"""When an event took place, from words and the time of the post."""

import json
import os
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest

from hrf_utils.dates import event_date

POSTED = datetime(2020, 6, 10, 20, 0)
"""A Wednesday, two in the afternoon where the local day is counted."""


def told(text, posted=POSTED):
    """Date and precision in one line; "-" if the text does not say."""
    when = event_date(text, posted)
    return f"{when.date} {when.precision}" if when else "-"


@pytest.mark.parametrize(("text", "answer"), [
    ("they gassed us today", "2020-06-10 day"),
    ("This morning a deputy shot him", "2020-06-10 day"),
    ("cop hit a kid this afternoon", "2020-06-10 day"),
    ("cops are wild TONIGHT", "2020-06-10 day"),
    ("just now on Pine", "2020-06-10 day"),
    ("they gassed us yesterday", "2020-06-09 day"),
    ("cops abusing their power last night", "2020-06-09 day"),
    ("arrested overnight", "2020-06-09 day"),
    ("the day before yesterday he was beaten", "2020-06-08 day"),
    ("shot two days ago", "2020-06-08 day"),
    ("shot 2 days ago", "2020-06-08 day"),
    ("a couple of days ago", "2020-06-08 day"),
    ("three hours ago", "2020-06-10 day"),
    ("15 hours ago", "2020-06-09 day"),
    ("20 mins ago they fired", "2020-06-10 day"),
    ("an hour ago", "2020-06-10 day"),
    ("two weeks ago", "2020-05-25 week"),
    ("a few days ago", "2020-06-01 week"),
    ("3 months ago", "2020-03-01 month"),
    ("a year ago", "2019-01-01 year"),
    ("like 30 years ago cops shot him", "1990-01-01 year"),
])
def test_relative_days(text, answer):
    assert told(text) == answer


@pytest.mark.parametrize(("text", "answer"), [
    ("Officers shot him on Tuesday", "2020-06-09 day"),
    ("shot on Wednesday", "2020-06-10 day"),
    ("Thursday night on Pine", "2020-06-04 day"),
    ("last Friday they came", "2020-06-05 day"),
    ("last Wednesday they came", "2020-06-03 day"),
    ("this past Saturday", "2020-06-06 day"),
    ("on Tues. police fired", "2020-06-09 day"),
    ("Sat night, Pine St", "2020-06-06 day"),
    ("Sun., June 7, on the bridge", "2020-06-07 day"),
    ("friday morning they came", "2020-06-05 day"),
    ("Monday's protest", "2020-06-08 day"),
    ("this Friday on Pine", "-"),
    ("he sat on the curb in the sun", "-"),
    ("we sat night after night, on sun 3 of us", "-"),
    ("the Sun reports", "-"),
    ("they wed in church", "-"),
    ("Black Friday cops", "-"),
    ("every Sunday they beat someone", "-"),
    ("Mondays are for cops", "-"),
    ("#BloodySunday", "-"),
])
def test_weekdays(text, answer):
    assert told(text) == answer


@pytest.mark.parametrize(("text", "answer"), [
    ("On June 3 police fired", "2020-06-03 day"),
    ("on june 3rd", "2020-06-03 day"),
    ("Jun 3rd, near Pine", "2020-06-03 day"),
    ("Jan. 6 attack", "2020-01-06 day"),
    ("June 3, 2019", "2019-06-03 day"),
    ("June 3 2019", "2019-06-03 day"),
    ("3 June 2019", "2019-06-03 day"),
    ("on 28 May", "2020-05-28 day"),
    ("the 3rd of June", "2020-06-03 day"),
    ("Dec. 24 raid", "2019-12-24 day"),
    ("May 30 and 31 on Lake Street", "2020-05-30 day"),
    ("May 30-31", "2020-05-30 day"),
    ("on may 30th", "2020-05-30 day"),
    ("March 4 stop", "2020-03-04 day"),
    ("6/3/20", "2020-06-03 day"),
    ("06/03/2020", "2020-06-03 day"),
    ("on 6/3 they fired", "2020-06-03 day"),
    ("protest (6/1)", "2020-06-01 day"),
    ("13/5/2020 in Leeds", "2020-05-13 day"),
    ("2020-06-03 Portland", "2020-06-03 day"),
    ("February 29, 2020", "2020-02-29 day"),
    ("Feb 29 again", "2020-02-29 day"),
    ("February 30", "-"),
    ("thread (1/2)", "-"),
    ("24/7 cops, 50/50 and 4/4", "-"),
    ("you may 30 times say so", "-"),
    ("we march 3 miles", "-"),
    ("may 12 cops fall", "-"),
    ("May 12 cops fall", "-"),
    ("area code 555-01-2020", "-"),
])
def test_days_of_a_month(text, answer):
    assert told(text) == answer


@pytest.mark.parametrize(("text", "answer"), [
    ("last week they shot him", "2020-06-01 week"),
    ("it was wild this week", "2020-06-08 week"),
    ("over the weekend police fired", "2020-06-01 week"),
    ("last weekend", "2020-06-01 week"),
    ("this weekend in the park", "-"),
    ("in June police fired", "2020-06-01 month"),
    ("in late May", "2020-05-01 month"),
    ("last December", "2019-12-01 month"),
    ("last June", "2019-06-01 month"),
    ("in August 2019", "2019-08-01 month"),
    ("died August 2019", "2019-08-01 month"),
    ("last month", "2020-05-01 month"),
    ("earlier this month", "2020-06-01 month"),
    ("later this month", "-"),
    ("in 2014 cops killed him", "2014-01-01 year"),
    ("last year", "2019-01-01 year"),
    ("so far in 2020", "-"),
    ("in march formation they may fall", "-"),
    ("2020 vision", "-"),
])
def test_weeks_months_and_years(text, answer):
    assert told(text) == answer


@pytest.mark.parametrize("text", [
    "", "the cops fired", "next Tuesday", "will be held on June 9", "the trial is scheduled for Monday", "until Friday",
    "he is due in court on Monday", "join us Saturday", "by June 9", "since Tuesday", "police said Tuesday",
    "was charged Tuesday with murder", "Police on Monday released footage", "footage uploaded on June 9", "on June 20",
    "tonight's coverage", "I wasn't born yesterday", "in today's news", "They'll march on Tuesday", "USA Today says",
    "I read today that cops lie"])
def test_the_future_bounds_and_reports_are_no_date_of_an_event(text):
    assert told(text) == "-"


@pytest.mark.parametrize(("text", "answer"), [
    ("In 2014 he was praised. Yesterday he shot a man on June 3.", "2020-06-09 day"),
    ("Last week it began. On June 9 they fired.", "2020-06-09 day"),
    ("The hearing will be on Monday. He was shot on May 25.", "2020-05-25 day"),
])
def test_of_several_dates_the_most_precise_counts_then_the_first(text, answer):
    assert told(text) == answer


def test_the_day_is_counted_in_the_middle_of_the_country():
    evening = datetime(2020, 6, 11, 3, 0)
    assert told("they gassed us today", evening) == told("tonight", evening) == "2020-06-10 day"
    assert told("last night", evening) == "2020-06-09 day"
    after_midnight = datetime(2020, 6, 11, 7, 0)
    assert told("tonight", after_midnight) == told("last night", after_midnight) == "2020-06-10 day"
    assert told("on Wednesday", evening) == "2020-06-10 day"
    assert told("today", evening.replace(tzinfo=UTC)) == "2020-06-10 day"
    assert told("today", datetime(2020, 6, 11, 8, 0, tzinfo=timezone(timedelta(hours=9)))) == "2020-06-10 day"


def test_a_day_without_year_is_the_last_one_unless_it_comes_soon():
    assert told("on May 30", datetime(2021, 2, 23)) == "2020-05-30 day"
    assert told("on Dec. 31", datetime(2021, 1, 2)) == "2020-12-31 day"
    assert told("on March 31", datetime(2021, 2, 23)) == "-"
    assert told("on January 2", datetime(2020, 12, 30)) == "-"


def test_the_answer_says_what_told():
    assert event_date("last night", POSTED) == (date(2020, 6, 9), "day", "relative")
    assert event_date("on Tuesday", POSTED).method == "weekday"
    assert event_date("June 3", POSTED).method == "calendar"
    assert event_date("police fired", POSTED) is None


@pytest.mark.parametrize("piece", ["1", "1/", "June ", "June 3 ", "on ", "a few ", "this ", "last night ", "may. ",
                                   "20-", "a couple of ", "Sat., ", "will be on June 3 ", "\n", "’"])
def test_hostile_texts_are_read_through(piece):
    assert event_date(piece * 20_000, POSTED) == event_date(piece * 200, POSTED)


@pytest.mark.skipif("HRF_TEST_DATA" not in os.environ, reason="HRF_TEST_DATA names no folder of real data")
def test_on_documented_incidents():
    """Days told by incidents that carry their date, as if posted two days later; measured when written: the very day
    in 0.89 (0.80 to 0.94, Wilson) of 73. The rest date a source, a later step, or the night before."""
    path = Path(os.environ["HRF_TEST_DATA"]) / "2020pb" / "all-locations-v2.half.json"
    rows = pd.DataFrame(json.loads(path.read_text(encoding="utf8"))["data"])
    rows = rows.assign(day=pd.to_datetime(rows["date"], errors="coerce")).dropna(subset=["day"])
    found = [event_date(f"{row.name_}. {row.description}", row.day.to_pydatetime() + timedelta(days=2, hours=18))
             for row in rows.rename(columns={"name": "name_"}).itertuples()]
    exact = [when.date == day.date() for when, day in zip(found, rows["day"], strict=True)
             if when and when.precision == "day"]
    assert len(exact) >= 60 and sum(exact) / len(exact) >= 0.85
