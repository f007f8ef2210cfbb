"""What a step of a review may be: each is checked against the incident it is about, and made complete."""

import json
from datetime import UTC, date, datetime
from typing import NamedTuple

import pandas as pd

from hrf_utils.places import Place, coordinates, spoken
from hrf_utils.settings import InputError
from hrf_utils.tasks import Task
from hrf_utils.text import clean

STATUSES = {"approve": "approved", "reject": "rejected"}
FIELDS = {"title": "title", "city": "city", "state": "state", "date": "incident_date", "rank": "label"}
"""What a person may edit, and the column it stands in."""
_THEN = ("label", "confidence", "city", "incident_date", "date_precision")


class Case(NamedTuple):
    """An incident (for an undo there is none), the posts of all incidents by id, the log so far, and the task."""

    row: dict
    posts: dict[str, list[str]]
    log: pd.DataFrame
    task: Task


def check(step: dict, case: Case) -> None:
    """Complete a step (``action``, ``posts``, ``value``, ``who``, ``note``) in place.

    Raises
    ------
    InputError
        If it cannot be taken.
    """
    takes = {"approve": set(), "reject": {"label"}, "edit": set(FIELDS), "merge": {"with"}, "split": {"posts"},
             "note": set(), "undo": {"number"}}
    action, value = step["action"], step["value"]
    if action not in takes:
        raise InputError(f"{action!r} is no step of a review; there are {', '.join(takes)}")
    if not 0 < len(step["who"]) <= 100:
        raise InputError("a decision needs the name of who decides, of at most 100 letters")
    if not isinstance(value, dict) or set(value) - takes[action]:
        raise InputError(f"the value of {action} is an object with {', '.join(takes[action]) or 'nothing in it'}")
    checks = {"approve": _verdict, "reject": _verdict, "edit": _edit, "merge": _merge, "split": _split, "undo": _undo}
    if action in checks:
        checks[action](step, case)
    elif not step["note"]:
        raise InputError("a note needs words")


def _verdict(step: dict, case: Case) -> None:
    label, log = step["value"].get("label"), case.log
    if "label" in step["value"] and (type(label) is not int or label not in range(len(case.task.labels))):
        raise InputError(case.task.no_label(label))
    mine = [one for one in log[~log["undone"] & (log["who"] == step["who"])].itertuples()
            if one.action in STATUSES and set(one.posts) & set(step["posts"])]
    if mine and (mine[-1].action, set(mine[-1].posts), mine[-1].value.get("label")) == (
            step["action"], set(step["posts"]), label):
        raise InputError(f"{step['who']} has {STATUSES[step['action']]} this incident already")
    step["value"]["was"] = {name: plain(case.row[name]) for name in _THEN if name in case.row}


def _edit(step: dict, case: Case) -> None:
    """Check an edit, and add what follows from it: coordinates, names, and the title unless it is edited, too."""
    row, value = case.row, step["value"]
    new = {FIELDS[name]: clean(cell) if isinstance(cell, str) else cell for name, cell in value.items()}
    if "title" in new and not (isinstance(new["title"], str) and 0 < len(new["title"]) <= 200):
        raise InputError("a title has 1 to 200 letters")
    if "incident_date" in new:
        new["incident_date"] = _date(new["incident_date"])
        new["date_precision"] = "day" if new["incident_date"] else ""
    if "label" in new:
        rank = new["label"]
        if type(rank) is not int or rank not in case.task.positive:
            raise InputError(f"{rank!r} is none of the ranks of an incident, {case.task.positive}; if nothing of the "
                             "kind happened, reject it")
        new |= {"tags": case.task.names[rank], "confidence": 1.0, "decided_by": "reviewed", "label_low": rank,
                "label_high": rank}
    if {"city", "state"} & set(new):
        new |= _place(new.get("city", row["city"]), new.get("state", row["state"]))
    if all(new[FIELDS[name]] == plain(row[FIELDS[name]]) for name in value):
        raise InputError("this edit changes nothing")
    if "title" not in new:
        made, now = (_head(one, case.task) for one in (row, row | new))
        day = row["title"].removeprefix(made)
        if "incident_date" in new:
            to = date.fromisoformat(new["incident_date"]) if new["incident_date"] else None
            day = f", {to.day} {to:%B %Y}" if to else ""
        new["title"] = now + day if row["title"].startswith(made) else row["title"]
    step["value"] = new


def _head(row: dict, task: Task) -> str:
    """How the title of an incident begins."""
    return f"{spoken(row['city'], row['state'], row['country'])}: {task.told[row['label']]}"


def _date(text: object) -> str | None:
    try:
        day = date.fromisoformat(text) if text else None
    except (ValueError, TypeError) as error:
        raise InputError(f"{text!r} is no date; write it like 2026-03-01") from error
    if day and not date(1900, 1, 1) <= day <= datetime.now(UTC).date():
        raise InputError(f"{day} lies in the future or before 1900")
    return day and day.isoformat()


def _place(city: object, state: object) -> dict:
    if not (isinstance(city, str) and isinstance(state, str)):
        raise InputError("city and state are texts; leave empty what is unknown")
    point, middle = (coordinates(Place(name, state or None, "US")) for name in (city or None, None))
    if state and not middle:
        raise InputError(f"{state!r} is no state; write two letters like OK")
    if city and point == middle:
        raise InputError(f"no city {city!r} is known in {state or 'the US without its state'}; correct it, or leave it "
                         "empty")
    lat, long = point or (None, None)
    return {"city": city, "state": state, "country": "US" if point else "", "lat": lat, "long": long,
            "place_method": "person"}


def _ids(step: dict, name: str, known: set[str], what: str) -> set[str]:
    ids = step["value"].get(name)
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) and one in known for one in ids):
        raise InputError(f"{step['action']} needs a list of {what}: {json.dumps({name: ['…']}, ensure_ascii=False)}")
    return set(ids)


def _merge(step: dict, case: Case) -> None:
    own = case.row["incident_id"]
    others = _ids(step, "with", set(case.posts) - {own}, "ids of other incidents")
    step["posts"] = sorted({post for one in (own, *others) for post in case.posts[one]})


def _split(step: dict, case: Case) -> None:
    if _ids(step, "posts", set(step["posts"]), "ids of posts of the incident") == set(step["posts"]):
        raise InputError("a split leaves at least one post behind")


def _undo(step: dict, case: Case) -> None:
    standing = case.log[~case.log["undone"] & (case.log["action"] != "undo")]
    if standing.empty:
        raise InputError("there is no step left to undo")
    last = standing.iloc[-1]
    if step["value"].get("number", last["number"]) != last["number"]:
        raise InputError(f"the last step is number {last['number']} by now, {last['action']} by {last['who']}")
    step |= {"incident_id": last["incident_id"], "posts": last["posts"],
             "value": {"number": int(last["number"]), "action": last["action"], "who": last["who"]}}


def plain(cell: object) -> object:
    """A cell as JSON can hold it."""
    if pd.isna(cell):
        return None
    return cell.isoformat()[:10] if hasattr(cell, "isoformat") else getattr(cell, "item", lambda: cell)()
