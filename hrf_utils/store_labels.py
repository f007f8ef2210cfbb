"""Labels in the store as a labeler gives them: one step, one transaction, and nothing is ever overwritten for good.

Table `label_steps` is append-only: each row is one thing that a labeler did to one post, and ``before`` holds, as
JSON, the label that stood there. So the labels can be told from the steps, and any step taken back.
"""

import json
from collections.abc import Iterable
from datetime import datetime

import pandas as pd
import sqlalchemy as sa

from hrf_utils import schema
from hrf_utils.settings import InputError
from hrf_utils.store import Store, _here, _insert, _parts

_KEY = ("task", "dataset", "id", "labeler")
_VALUE = ("label", "origin", "codebook_version", "labelled_at", "unsure", "note")
_COUNTED = ("label", "skip")  # what an undo takes back


def labelled(store: Store, task: str, dataset: str, ids: list[str] | None = None) -> pd.DataFrame:
    """``id``, ``labeler`` and ``origin`` of all labels of a data set, or of those of the posts named."""
    t = schema.labels.c
    query = sa.select(t.id, t.labeler, t.origin).where(t.task == task, t.dataset == dataset).order_by(t.id, t.labeler)
    if ids is None:
        return store._read(query)
    parts = [store._read(query.where(t.id.in_(some))) for some in _parts(ids)]
    return pd.concat(parts or [store._read(query.limit(0))], ignore_index=True)


def texts(store: Store, dataset: str, ids: list[str]) -> dict[str, str]:
    """Text of each post named that is there."""
    t, found = schema.posts.c, {}
    with store.engine.connect() as connection:
        for some in _parts(ids):
            found |= dict(connection.execute(sa.select(t.id, t.text).where(t.dataset == dataset, t.id.in_(some))).all())
    return found


def opinion(store: Store, task: str, dataset: str, post: str) -> tuple[int, float] | None:
    """Label and confidence that a model gave a post last; None if none did."""
    t = schema.predictions.c
    query = sa.select(t.label, t.confidence).where(t.task == task, t.dataset == dataset, t.id == post)
    with store.engine.connect() as connection:
        row = connection.execute(query.order_by(t.predicted_at.desc(), t.model).limit(1)).one_or_none()
    return tuple(row) if row else None


def steps(store: Store, task: str, dataset: str, labeler: str) -> pd.DataFrame:
    """What a labeler did in a data set, in order; without what was undone, and without the undoing."""
    return store._read(_standing_steps(task, dataset, labeler, [*_COUNTED, "remark"]))


def _standing_steps(task: str, dataset: str, labeler: str, actions: Iterable[str]) -> sa.Select:
    t, again = schema.label_steps.c, schema.label_steps.alias().c
    undone = sa.select(again.undoes).where(again.undoes.is_not(None))
    return sa.select(schema.label_steps).order_by(t.number).where(
        t.task == task, t.dataset == dataset, t.labeler == labeler, t.action.in_(actions), t.number.not_in(undone))


def write(store: Store, step: dict, label: dict | None = None) -> None:
    """Write one step, and the ``label``, ``origin`` and ``codebook_version`` that it gives, in one transaction.

    Raises
    ------
    InputError
        If the post is gone; nothing is written then.
    """
    post = sa.select(schema.posts.c.id).where(_here(schema.posts, step, ("dataset", "id")))
    with store._transaction() as connection:
        _wait(connection)
        if connection.scalar(post.with_for_update(read=True, key_share=True)) is None:
            raise InputError(f"the post {step['id']} is not in the data set {step['dataset']} any more; take the next")
        if label:
            before, step = _standing(connection, step), step | label
            row = {"unsure": 0, "note": "", "labelled_at": step["at"]} | step
            _insert(connection, schema.labels, pd.DataFrame([row]))
            step["before"] = _as_json(before)
        connection.execute(schema.label_steps.insert().values(step))


def write_all(store: Store, rows: pd.DataFrame, at: datetime) -> int:
    """Write labels from elsewhere, each with its step, all in one transaction; how many were new or another."""
    t = schema.labels.c
    query = sa.select(schema.labels).where(t.task.in_(rows["task"].unique()), t.dataset.in_(rows["dataset"].unique()))
    with store._transaction() as connection:
        _wait(connection)
        there = {tuple(row[name] for name in _KEY): {name: row[name] for name in _VALUE}
                 for row in connection.execute(query).mappings()}
        steps = []
        for row in rows[[*_KEY, *_VALUE]].to_dict("records"):
            before = there.get(tuple(row[name] for name in _KEY), {})
            if not before or any(before[name] != row[name] for name in ("label", "origin", "unsure", "note")):
                steps.append(row | {"action": "import", "before": _as_json(before), "at": at})
        if steps:
            names = [name for name in steps[0] if name != "labelled_at"]
            connection.execute(schema.label_steps.insert(), [{name: step[name] for name in names} for step in steps])
            _insert(connection, schema.labels, pd.DataFrame(steps)[[*_KEY, *_VALUE]])
        return len(steps)


def undo(store: Store, task: str, dataset: str, labeler: str, at: datetime) -> dict | None:
    """Take back the labeler's last label or skip that stands, in one transaction; that step, None if there is none.

    Raises
    ------
    InputError
        If the label was changed since by something other than a step; nothing is written then.
    """
    last = _standing_steps(task, dataset, labeler, _COUNTED).order_by(None)
    last = last.order_by(schema.label_steps.c.number.desc()).limit(1)
    with store._transaction() as connection:
        _wait(connection)
        step = dict(connection.execute(last).mappings().one_or_none() or {})
        if not step:
            return None
        if step["action"] == "label":
            now = _standing(connection, step)
            if any(now.get(name) != step[name] for name in ("label", "unsure", "note")):
                raise InputError(f"your label of the post {step['id']} was changed since, not in a session; "
                                 "nothing was undone")
            if step["before"]:
                row = json.loads(step["before"])
                row["labelled_at"] = datetime.fromisoformat(row["labelled_at"])
                connection.execute(sa.update(schema.labels).where(_here(schema.labels, step, _KEY)).values(row))
            else:
                connection.execute(sa.delete(schema.labels).where(_here(schema.labels, step, _KEY)))
        undoing = {name: step[name] for name in _KEY} | {"action": "undo", "undoes": step["number"], "at": at}
        connection.execute(schema.label_steps.insert().values(undoing))
    return step


def _wait(connection: sa.Connection) -> None:
    """Let one writer of steps in at a time, so that what it reads is what it changes."""
    _insert(connection, schema.meta, pd.DataFrame([{"name": "labelling", "value": "one at a time"}]))


def _standing(connection: sa.Connection, key: dict) -> dict:
    query = sa.select(*(schema.labels.c[name] for name in _VALUE)).where(_here(schema.labels, key, _KEY))
    return dict(connection.execute(query).mappings().one_or_none() or {})


def _as_json(row: dict) -> str:
    return json.dumps(row | {"labelled_at": row["labelled_at"].isoformat()}) if row else ""
