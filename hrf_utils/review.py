"""What people decide about incidents, and which of them are worth a decision first.

A decision is a row of the audit log and belongs to posts, not to an incident's id: whenever incidents are built
again, a decision goes to the incident that holds most of its posts.
"""

import copy
import json
import re
from collections import Counter
from datetime import date

import numpy as np
import pandas as pd

from hrf_utils import decisions, settings, store_reviews, tasks
from hrf_utils.decisions import STATUSES, plain
from hrf_utils.settings import ROOT, InputError
from hrf_utils.store import Store
from hrf_utils.text import clean, components, near_duplicates

_SAID = STATUSES | {"edit": "edited", "note": "noted"}
_HEAVIEST = 10


# ---- steps


def record(store: Store, task: str, dataset: str, incident_id: str, action: str, who: str,
           value: dict | None = None, note: str = "") -> int:
    """Write one step to the audit log, and bring its incident up to date, in one transaction; the step's number.

    Merge and split take effect when incidents are built next; the incidents say so until then.

    Parameters
    ----------
    action : and what `value` it takes: ``approve``; ``reject`` (``label``: what its posts are instead, if the
        reviewer says so); ``edit`` (some of `decisions.FIELDS`); ``merge`` (``with``: ids of other incidents);
        ``split`` (``posts``: ids of its posts that are another incident); ``note``; ``undo`` (``number`` of the step
        that is meant, by default the last of anyone; `incident_id` is not needed)
    who : name of the reviewer

    Raises
    ------
    InputError
        If the step cannot be taken; nothing is written then.
    """
    step = {"incident_id": incident_id, "posts": [], "action": action, "who": clean(who), "note": clean(note),
            "value": {} if value is None else copy.deepcopy(value)}
    with store_reviews.reviewing(store) as connection:
        more = step["value"].get("with") if isinstance(step["value"], dict) else None
        ids = {one for one in (incident_id, *(more if isinstance(more, list) else ())) if isinstance(one, str)}
        found, members, log = store_reviews.read(connection, task, dataset, ids)
        row = found[found["incident_id"] == incident_id].to_dict("records")
        if not row and action != "undo":
            raise InputError(f"there is no incident {incident_id!r} in {dataset}; look again")
        posts = {one: rows["id"].tolist() for one, rows in members.groupby("incident_id")}
        step["posts"] = posts.get(incident_id, [])
        decisions.check(step, decisions.Case(row[0] if row else {}, posts, log, tasks.load(task)))
        number = store_reviews.append(connection, task, dataset, step)
        found, members, log = store_reviews.read(connection, task, dataset, posts=set(step["posts"]))
        store_reviews.update(connection, found, apply(found, members, log))
    return number


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
    own = {one: set(ids) for one, ids in members.groupby("incident_id")["id"]}
    for incident, steps in _told(members, log).items():
        if (row := number.get(incident)) is None:
            continue
        edits = {name: cell for step in steps if step.action == "edit" for name, cell in step.value.items()
                 if name in rows}
        if edits:
            rows.at[row, "built"] = json.dumps({name: plain(rows.at[row, name]) for name in edits})
            _set(rows, row, edits)
        rows.at[row, "status"], rows.at[row, "review"] = _state(steps, own.get(incident, set()), two)
    pairs, home = links(log), members.set_index("id")["incident_id"].to_dict()
    ends = pd.DataFrame({"a": pairs["a"].map(home), "b": pairs["b"].map(home), "same": pairs["same"]}).dropna()
    waiting = ends[(ends["a"] == ends["b"]) != ends["same"].astype(bool)]
    for row in sorted({number[one] for one in (*waiting["a"], *waiting["b"]) if one in number}):
        rows.at[row, "review"] = "; ".join(filter(None, (rows.at[row, "review"],
                                                         "a merge or split takes effect with the next build")))
    return rows


def _told(members: pd.DataFrame, log: pd.DataFrame) -> dict[str, list]:
    """Standing steps about each incident: those of which it holds most of the posts.

    Steps whose posts are in no incident any more stand under the id that theirs had.
    """
    home, told = members.set_index("id")["incident_id"].to_dict(), {}
    for step in _standing(log, *_SAID):
        held = Counter(home[post] for post in step.posts if post in home) or {step.incident_id: 0}
        if step.posts:
            told.setdefault(min(held, key=lambda one: (-held[one], one != step.incident_id, one)), []).append(step)
    return told


def _set(rows: pd.DataFrame, row: int, cells: dict) -> None:
    for name, cell in cells.items():
        rows.at[row, name] = date.fromisoformat(cell) if name == "incident_date" and cell else cell


def _state(steps: list, posts: set[str], two: bool) -> tuple[str, str]:
    """Status of an incident with these posts after steps about it, and in words who said what."""
    verdicts = _verdicts(steps, two)
    sides = {step.action for step in verdicts}
    people = {step.who for step in verdicts}
    words = [f"{_SAID[action]} by {' and '.join(sorted({s.who for s in chosen}))}" for action in _SAID
             if (chosen := [step for step in (verdicts if action in STATUSES else steps) if step.action == action])]
    if len(sides) > 1:
        words.append("they disagree")
    elif verdicts and two and len(people) < 2:
        words.append("a second person is missing")
    new = posts - {post for step in verdicts for post in step.posts}
    if verdicts and new:
        words.append(f"{len(new)} posts came since")
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


def progress(incidents: pd.DataFrame, members: pd.DataFrame, log: pd.DataFrame) -> pd.DataFrame:
    """How many incidents have which status, and who said so: ``incidents`` and ``by``, by status."""
    status, told = incidents.set_index("incident_id")["status"], _told(members, log)
    by = {name: Counter(who for one in status.index[status == name]
                        for who in {step.who for step in _verdicts(told.get(one, []), two=True)})
          for name in ("approved", "rejected", "pending")}
    words = [", ".join(f"{who} {count}" for who, count in sorted(people.items())) for people in by.values()]
    counts = status.value_counts().reindex(list(by), fill_value=0)
    return pd.DataFrame({"incidents": counts.to_numpy(), "by": words}, pd.Index(by, name="status"))


# ---- what to look at first


def queue(incidents: pd.DataFrame, members: pd.DataFrame, posts: pd.DataFrame,
          highest: int | None = None) -> pd.DataFrame:
    """Incidents that wait for a decision, the most worth a person's time first.

    ``score`` is the product of ``severity`` (rank in parts of `highest`, by default of the highest that there is),
    ``verifiability`` and ``uncertainty`` (one minus the model's confidence; a person's label leaves none).
    Verifiability is the mean of ``link`` (1 with a link to an outlet or a picture or film of
    ``data/review/outlets.csv``), ``independent`` (1 - 1/n for n posts that share neither author nor text),
    ``named_city`` and ``day`` (1 if the date is known to the day).

    Parameters
    ----------
    posts : ``id``, ``text`` and ``author`` of the posts of the incidents
    """
    ranked = _scored(incidents, members, posts, highest)
    return ranked[ranked["status"] == "pending"].sort_values(
        ["score", "severity", "incident_id"], ascending=[False, False, True]).reset_index(drop=True)


def _scored(incidents: pd.DataFrame, members: pd.DataFrame, posts: pd.DataFrame, highest: int | None) -> pd.DataFrame:
    told = members.merge(posts[["id", "text", "author"]], on="id")
    known = pd.read_csv(ROOT / "data" / "review" / "outlets.csv")["domain"].map(re.escape)
    site = re.compile(rf"(?<![\w@.-])(?:https?://)?(?:[\w-]+\.)*(?:{'|'.join(known)})(?![\w-]|\.\w)", re.IGNORECASE)
    one, copy_of = told["incident_id"], pd.Series(near_duplicates(told["text"]), told.index)
    author = told["author"].where(told["author"].fillna("") != "", "post " + told["id"])
    rows = pd.Series(range(len(told)), told.index)
    same = [np.column_stack([rows, rows.groupby([one, key]).transform("first")]) for key in (author, copy_of)]
    voices = pd.Series(components(len(told), np.concatenate(same)), told.index).groupby(one).nunique()
    ids, has = incidents["incident_id"], told["text"].map(lambda text: bool(site.search(text))).groupby(one).any()
    exact = incidents["date_precision"] == "day" if "date_precision" in incidents else True
    parts = {"link": ids.map(has).eq(True), "independent": 1 - 1 / ids.map(voices).astype(float).fillna(1),
             "named_city": incidents["city"].fillna("") != "", "day": incidents["incident_date"].notna() & exact}
    table = incidents.assign(**{name: part.astype(float) for name, part in parts.items()})
    table = table.assign(severity=table["label"] / (highest or max(table["label"], default=1)),
                         verifiability=table[list(parts)].mean(axis=1),
                         uncertainty=(1 - table["confidence"]).where(table["decided_by"] == "predicted", 0.0))
    return table.assign(score=table["severity"] * table["verifiability"] * table["uncertainty"])


def question(incident: dict, task: tasks.Task) -> str:
    """A draft of what a person may ask the author of an incident's post; "" if nothing is missing. Nothing is sent.

    The words stand in the task file; a task without them asks nobody.
    """
    words = task.author_questions or {}
    lacks = {"place": not incident["city"],
             "date": pd.isna(incident["incident_date"]) or incident.get("date_precision", "day") != "day"}
    asked = [words[name] for name, missing in lacks.items() if missing and name in words]
    return "\n".join([words["opening"], *asked, words["closing"]]) if asked else ""


# ---- from review to labels


def labels(incidents: pd.DataFrame, members: pd.DataFrame, posts: pd.DataFrame, log: pd.DataFrame,
           task: tasks.Task) -> pd.DataFrame:
    """Labels that decided incidents give to the posts that were looked at: ``id``, ``labeler``, ``label``, ``weight``.

    An approved incident gives its rank to those of its posts whose own label is positive, a rejected one the label
    that its reviewers named, if any; that holds when its posts form no incident any more, for that very reason.
    People do not review at random. So a label weighs the inverse of the share that is decided among incidents of its
    rank and third of the queue's score, both as they were when it was first decided; weights have the mean 1 and are
    then capped at 10 (inverse probability weighting; Horvitz and Thompson, 1952).

    Parameters
    ----------
    posts : all posts with their ``label``
    """
    two = settings.flag("TWO_PERSON")
    verdicts = {one: live for one, steps in _told(members, log).items() if (live := _verdicts(steps, two))}
    lost = verdicts.keys() - set(incidents["incident_id"])
    members = pd.concat([members, *(pd.DataFrame({"incident_id": one, "id": verdicts[one][0].posts}) for one in lost)])
    rows = [{"incident_id": one, "status": _state(verdicts[one], set(), two)[0]} for one in sorted(lost)]
    then = pd.concat([incidents, pd.DataFrame(rows, columns=["incident_id", "status"])], ignore_index=True)
    for row, one in enumerate(then["incident_id"]):
        if one in verdicts:
            _set(then, row, verdicts[one][0].value["was"] | {"decided_by": "predicted"})
    scored = _scored(then, members, posts, task.positive[-1])
    third, decided = np.ceil(scored["score"].rank(method="first", pct=True) * 3), then["status"].isin(STATUSES.values())
    share = decided.groupby([scored["label"], third]).transform("mean")
    ranks, given = incidents.set_index("incident_id")["label"], []
    own, hits = members.groupby("incident_id")["id"].agg(set), posts["label"].isin(task.positive)
    for one, status, part in zip(then["incident_id"][decided], then["status"][decided], share[decided], strict=True):
        approved = status == "approved" and one in ranks
        named = {ranks[one]} if approved else {step.value.get("label") for step in verdicts[one]}
        seen = own[one].intersection((post for step in verdicts[one] for post in step.posts),
                                     posts.loc[hits, "id"] if approved else posts["id"])
        who = f"review: {', '.join(sorted({step.who for step in verdicts[one]}))}"
        given += [(post, who, int(*named), 1 / part) for post in sorted(seen) if len(named) == 1 and None not in named]
    table = pd.DataFrame(given, columns=["id", "labeler", "label", "weight"]).astype({"label": int, "weight": float})
    return table.assign(weight=(table["weight"] / table["weight"].mean()).clip(upper=_HEAVIEST),
                        codebook_version=task.codebook_version)
