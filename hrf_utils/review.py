"""What people decide about incidents, and which of them are worth a decision first.

A decision is a row of the audit log and belongs to posts, not to an incident's id: whenever incidents are built
again, a decision goes to the incident that holds most of its posts.
"""

import json
from collections import Counter
from datetime import UTC, date, datetime

import pandas as pd

from hrf_utils import settings, store_reviews, tasks
from hrf_utils.places import Place, coordinates
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.text import clean

STATUSES = {"approve": "approved", "reject": "rejected"}
FIELDS = {"title": "title", "city": "city", "state": "state", "date": "incident_date", "rank": "label"}
"""What a person may edit, and the column it stands in."""

_SAID = {"approve": "approved", "reject": "rejected", "edit": "edited", "note": "noted"}
_LONGEST_WEIGHT = 10


# ---- steps


def record(store: Store, task: str, dataset: str, incident_id: str, action: str, who: str,
           value: dict | None = None, note: str = "") -> int:
    """Write one step to the audit log, and bring its incident up to date, in one transaction; the step's number.

    Merge and split take effect when incidents are built next; the incidents say so until then.

    Parameters
    ----------
    action : and what `value` it takes: ``approve``; ``reject`` (``label``: what its posts are instead, if the
        reviewer says so); ``edit`` (some of `FIELDS`); ``merge`` (``with``: ids of other incidents); ``split``
        (``posts``: ids of its posts that are another incident); ``note``; ``undo`` (``number`` of the step that is
        meant, by default the last of anyone; `incident_id` is not needed)
    who : name of the reviewer

    Raises
    ------
    InputError
        If the step cannot be taken; nothing is written then.
    """
    who, note, value = clean(who), clean(note), dict(value or {})
    if not 0 < len(who) <= 100:
        raise InputError("a decision needs the name of who decides, of at most 100 letters")
    if action not in _CHECKS:
        raise InputError(f"{action!r} is no step of a review; there are {', '.join(_CHECKS)}")
    with store_reviews.reviewing(store) as connection:
        found, members, log = store_reviews.read(connection, task, dataset)
        posts = members.groupby("incident_id")["id"].agg(list).to_dict()
        row = found[found["incident_id"] == incident_id]
        if row.empty and action != "undo":
            raise InputError(f"there is no incident {incident_id} in {dataset}; look again")
        step = {"incident_id": incident_id, "posts": posts.get(incident_id, []), "action": action, "who": who,
                "value": value, "note": note}
        _CHECKS[action](step, row.iloc[0] if len(row) else None, posts, log, tasks.load(task))
        number = store_reviews.append(connection, task, dataset, step)
        after = apply(found, members, store_reviews.read(connection, task, dataset)[2])
        store_reviews.update(connection, found, after)
    return number


def _verdict(step: dict, row: pd.Series, posts: dict, log: pd.DataFrame, task: tasks.Task) -> None:
    label, action = step["value"].get("label"), step["action"]
    if set(step["value"]) - ({"label"} if action == "reject" else set()):
        raise InputError(f"{action} takes no {', '.join(map(str, step['value']))}; edit the incident first")
    if label is not None and (not isinstance(label, int) or label not in range(len(task.labels))):
        raise InputError(f"{label!r} is no label of the task {task.name}; there are 0 to {len(task.labels) - 1}")
    mine = log[~log["undone"] & (log["who"] == step["who"]) & log["action"].isin(STATUSES)]
    mine = mine[[bool(set(step["posts"]) & set(ids)) for ids in mine["posts"]]].tail(1)
    if len(mine) and (mine["action"].item(), set(step["posts"])) == (action, set(mine["posts"].item())) \
            and mine["value"].item().get("label") == label:
        raise InputError(f"{step['who']} has {STATUSES[action]} this incident already")
    step["value"]["was"] = {"label": int(row["label"]), "confidence": float(row["confidence"])}


def _edit(step: dict, row: pd.Series, posts: dict, log: pd.DataFrame, task: tasks.Task) -> None:
    """Check an edit, and add what follows from it: coordinates, names, and a title that nobody wrote."""
    value = step["value"]
    if not value or set(value) - set(FIELDS):
        raise InputError(f"an edit changes {', '.join(FIELDS)}, not {', '.join(map(str, value)) or 'nothing'}")
    new = {FIELDS[name]: clean(cell) if isinstance(cell, str) else cell for name, cell in value.items()}
    if not 0 < len(str(new.get("title", "x"))) <= 200 or "title" in new and not isinstance(new["title"], str):
        raise InputError("a title has 1 to 200 letters")
    if "incident_date" in new:
        new["incident_date"] = _date(new["incident_date"])
        new |= {"date_precision": "day" if new["incident_date"] else ""}
    if "label" in new:
        if isinstance(new["label"], bool) or new["label"] not in task.positive:
            raise InputError(f"an incident has one of the ranks {', '.join(map(str, task.positive))}, not "
                             f"{new['label']!r}; reject it if it is none of them")
        new |= {"tags": task.names[new["label"]], "confidence": 1.0, "decided_by": "person",
                "label_low": new["label"], "label_high": new["label"]}
    if {"city", "state"} & set(new):
        new |= _place(new.get("city", row["city"]), new.get("state", row["state"]))
    if "title" not in new:
        now = row.to_dict() | new
        new["title"] = row["title"].replace(_where(row), _where(now)).replace(row["tags"] or "\0", now["tags"])
    if all(new[FIELDS[name]] == _plain(row[FIELDS[name]]) for name in value):
        raise InputError("this edit changes nothing")
    step["value"] = new


def _where(row: dict | pd.Series) -> str:
    """How the title of an incident names its place."""
    return ", ".join(filter(None, (row["city"], row["state"]))) or row["country"] or "a place unknown"


def _date(text: object) -> str | None:
    if text in {"", None}:
        return None
    try:
        day = date.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise InputError(f"{text!r} is no date; write it like 2026-03-01") from error
    if not date(1900, 1, 1) <= day <= datetime.now(UTC).date():
        raise InputError(f"{day} lies in the future or before 1900")
    return day.isoformat()


def _place(city: object, state: object) -> dict:
    if not (isinstance(city, str) and isinstance(state, str)):
        raise InputError("city and state are texts; leave empty what is unknown")
    point, middle = (coordinates(Place(name, state or None, "US")) for name in (city or None, None))
    if state and not middle:
        raise InputError(f"{state!r} is no state; write two letters like OK")
    if city and (point is None or point == middle):
        raise InputError(f"there is no city {city!r} in {state or 'the US that needs no state beside it'}; correct it, "
                         "or leave it empty")
    lat, long = point or (None, None)
    return {"city": city, "state": state, "country": "US" if point else "", "lat": lat, "long": long,
            "place_method": "person"}


def _merge(step: dict, row: pd.Series, posts: dict, log: pd.DataFrame, task: tasks.Task) -> None:
    others = step["value"].get("with")
    if set(step["value"]) != {"with"} or not isinstance(others, list) or not set(others) - {row["incident_id"]}:
        raise InputError('merge needs the ids of other incidents, like {"with": ["…"]}')
    if unknown := [one for one in others if one not in posts]:
        raise InputError(f"there is no incident {unknown[0]} to merge with")
    step["posts"] = sorted({post for one in (row["incident_id"], *others) for post in posts[one]})


def _split(step: dict, row: pd.Series, posts: dict, log: pd.DataFrame, task: tasks.Task) -> None:
    out = step["value"].get("posts")
    if set(step["value"]) != {"posts"} or not isinstance(out, list) or not 0 < len(set(out)) < len(step["posts"]) \
            or set(out) - set(step["posts"]):
        raise InputError('split needs the ids of some, not all, of the incident\'s posts, like {"posts": ["…"]}')


def _note(step: dict, row: pd.Series, posts: dict, log: pd.DataFrame, task: tasks.Task) -> None:
    if not step["note"] or step["value"]:
        raise InputError("a note needs words, and nothing else")


def _undo(step: dict, row: pd.Series, posts: dict, log: pd.DataFrame, task: tasks.Task) -> None:
    standing = log[~log["undone"] & (log["action"] != "undo")].tail(1)
    if standing.empty:
        raise InputError("there is no step left to undo")
    last = standing.iloc[0]
    if set(step["value"]) - {"number"} or step["value"].get("number", last["number"]) != last["number"]:
        raise InputError(f"the last step is number {last['number']} by now, {last['action']} by {last['who']}")
    step |= {"incident_id": last["incident_id"], "posts": last["posts"],
             "value": {"number": int(last["number"]), "action": last["action"], "who": last["who"]}}


_CHECKS = {"approve": _verdict, "reject": _verdict, "edit": _edit, "merge": _merge, "split": _split, "note": _note,
           "undo": _undo}


def _plain(cell: object) -> object:
    """A cell as JSON can hold it."""
    if pd.isna(cell):
        return None
    return cell.isoformat()[:10] if hasattr(cell, "isoformat") else getattr(cell, "item", lambda: cell)()


# ---- what the steps come to


def links(log: pd.DataFrame) -> pd.DataFrame:
    """Posts that people joined or took apart: ``a``, ``b`` and ``same``, which later steps overrule.

    Posts with ``same`` must stand in one incident, the others must not.
    """
    groups, apart = [], set()
    for step in _standing(log, "merge", "split"):
        out, rest = set(step.value.get("posts", step.posts)), set()
        if step.action == "split":
            rest = set(step.posts) - out
            groups = [group - out for group in groups]
            apart |= {frozenset((a, b)) for a in out for b in rest}
        else:
            out = out.union(*(group for group in groups if group & out))
            apart = {pair for pair in apart if not pair <= out}
        groups = [group for group in groups if group - out] + [out]
    same = [(min(group), post, True) for group in groups for post in sorted(group) if post != min(group)]
    return pd.DataFrame(same + [(*sorted(pair), False) for pair in sorted(apart, key=sorted)],
                        columns=["a", "b", "same"])


def _standing(log: pd.DataFrame, *actions: str) -> list:
    """Steps of these kinds that were not taken back, as tuples, in their order."""
    return list(log[~log["undone"] & log["action"].isin(actions)].itertuples())


def apply(incidents: pd.DataFrame, members: pd.DataFrame, log: pd.DataFrame) -> pd.DataFrame:
    """Give incidents what people decided about their posts: ``status``, edited fields, and ``review`` in words.

    A decision goes to the incident that holds most of its posts; among equals to the one it was made about. The last
    decision counts; with ``TWO_PERSON=1`` the last of each person does, and it takes two that agree. Two
    decisions about different posts that meet in one incident and differ leave it pending. What an edit replaced
    stands in ``built`` (JSON), so that it can be applied to its own result.
    """
    rows, two = incidents.reset_index(drop=True).copy(), settings.flag("TWO_PERSON")
    for name in ("review", "built"):
        rows[name] = rows.get(name, "")
    for row in (rows["built"].fillna("") != "").to_numpy().nonzero()[0]:
        _set(rows, row, json.loads(rows.at[row, "built"]))
    rows["status"], rows["review"], rows["built"] = "pending", "", ""
    number = {incident: row for row, incident in enumerate(rows["incident_id"])}
    home, said = dict(zip(members["id"], members["incident_id"], strict=True)), {}
    for step in _standing(log, *_SAID):
        if (place := _home(step, home)) in number:
            said.setdefault(number[place], []).append(step)
    sizes = members.groupby("incident_id").size()
    for row, steps in said.items():
        edits = {name: cell for step in steps if step.action == "edit" for name, cell in step.value.items()
                 if name in rows}
        if edits:
            rows.at[row, "built"] = json.dumps({name: _plain(rows.at[row, name]) for name in edits})
            _set(rows, row, edits)
        rows.at[row, "status"], rows.at[row, "review"] = _state(steps, sizes[rows.at[row, "incident_id"]], two)
    pairs = links(log)
    ends = pd.DataFrame({"a": pairs["a"].map(home), "b": pairs["b"].map(home), "same": pairs["same"]}).dropna()
    waiting = ends[(ends["a"] == ends["b"]) != ends["same"].astype(bool)]
    for row in sorted({number[one] for one in (*waiting["a"], *waiting["b"]) if one in number}):
        rows.at[row, "review"] = "; ".join(filter(None, (rows.at[row, "review"],
                                                         "a merge or split takes effect with the next build")))
    return rows


def _home(step: tuple, home: dict[str, str]) -> str | None:
    held = Counter(home[post] for post in step.posts if post in home)
    return min(held, key=lambda one: (-held[one], one != step.incident_id, one), default=None)


def _set(rows: pd.DataFrame, row: int, cells: dict) -> None:
    for name, cell in cells.items():
        rows.at[row, name] = date.fromisoformat(cell) if name == "incident_date" and cell else cell


def _state(steps: list, size: int, two: bool) -> tuple[str, str]:
    """Status of an incident after steps about it, and in words who said what."""
    verdicts = _verdicts(steps, two)
    sides = {step.action for step in verdicts}
    people = {step.who for step in verdicts}
    words = [f"{_SAID[action]} by {' and '.join(sorted({s.who for s in chosen}))}" for action in _SAID
             if (chosen := [step for step in (verdicts if action in STATUSES else steps) if step.action == action])]
    if len(sides) > 1:
        words.append("they disagree")
    elif verdicts and two and len(people) < 2:
        words.append("a second person is missing")
    new = size - len({post for step in verdicts for post in step.posts})
    if verdicts and new > 0:
        words.append(f"{new} posts came since")
    decided = len(sides) == 1 and (len(people) > 1 or not two)
    return STATUSES[sides.pop()] if decided else "pending", "; ".join(words)


def _verdicts(steps: list, two: bool) -> list:
    """Approvals and rejections that no later one about most of the same posts replaced."""
    live = []
    for step in (one for one in steps if one.action in STATUSES):
        live = [old for old in live if two and old.who != step.who
                or 2 * len(set(old.posts) & set(step.posts)) < len(old.posts)] + [step]
    return live


def keep(store: Store, task: str, dataset: str, incidents: pd.DataFrame, members: pd.DataFrame) -> pd.DataFrame:
    """Store incidents that were built anew, with what people decided before and meanwhile; gives them as stored."""
    store.replace_incidents(task, dataset, apply(incidents, members, store_reviews.log(store, task, dataset)), members)
    with store_reviews.reviewing(store) as connection:
        found, members, log = store_reviews.read(connection, task, dataset)
        store_reviews.update(connection, found, apply(found, members, log))
    return store.incidents(task, dataset)
