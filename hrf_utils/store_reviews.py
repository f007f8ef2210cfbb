"""What people decided about incidents, in the store: an audit log to which rows are only added."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd
import sqlalchemy as sa

from hrf_utils import schema
from hrf_utils.store import Store, _here, _insert, _now, _parts

_CHANGES = ("status", "review", "built", "title", "city", "state", "country", "lat", "long", "incident_date", "label",
            "tags", "confidence", "decided_by", "place_method", "date_precision", "label_low", "label_high")
"""Columns of incidents that a review may change, as far as there are such."""


def log(store: Store, task: str, dataset: str) -> pd.DataFrame:
    """All steps of a data set in their order.

    Columns: ``number``, ``incident_id`` (as it was), ``posts`` (ids that the incident had), ``action``, ``value``,
    ``who``, ``at`` (UTC), ``note``, and ``undone``, which says whether a later step took it back.
    """
    with store.engine.connect() as connection:
        return _log(connection, task, dataset)


def _log(connection: sa.Connection, task: str, dataset: str) -> pd.DataFrame:
    t = schema.reviews.c
    names = ["number", "incident_id", "posts", "action", "value", "who", "at", "note"]
    rows = connection.execute(sa.select(*(t[name] for name in names)).where(t.task == task, t.dataset == dataset)
                              .order_by(t.number)).all()
    frame = pd.DataFrame(rows, columns=names)
    frame = frame.assign(**{name: frame[name].map(json.loads).astype(object) for name in ("posts", "value")})
    taken_back = {value["number"] for value in frame.loc[frame["action"] == "undo", "value"]}
    return frame.assign(undone=frame["number"].isin(taken_back))


@contextmanager
def reviewing(store: Store) -> Iterator[sa.Connection]:
    """One transaction in which nobody else decides, so that every step is judged by all that came before it."""
    with store._transaction() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("reviews"))))
        yield connection


def read(connection: sa.Connection, task: str, dataset: str, ids: set[str] | None = None,
         posts: set[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Incidents, their posts (``incident_id`` and ``id``), and the log, as they stand now.

    Parameters
    ----------
    ids, posts : read only the incidents with one of these ids, or with one of these posts. The posts of a few say
        where all posts are that the log has beside theirs
    """
    said = _log(connection, task, dataset)
    if ids is None and posts is not None:
        ids = set(_rows(connection, schema.incident_posts, task, dataset, "id", posts)["incident_id"])
    found = _rows(connection, schema.incidents, task, dataset, "incident_id", ids)
    members = _rows(connection, schema.incident_posts, task, dataset, "incident_id", ids)
    if posts is not None:
        beside = {post for step in said["posts"] for post in step} - set(members["id"])
        members = pd.concat([members, _rows(connection, schema.incident_posts, task, dataset, "id", beside)])
    return found, members[["incident_id", "id"]], said


def _rows(connection: sa.Connection, table: sa.Table, task: str, dataset: str, name: str,
          values: set[str] | None) -> pd.DataFrame:
    """Rows of a data set, in the order of its ids, or only those with one of some values in a column."""
    query = sa.select(table).where(table.c.task == task, table.c.dataset == dataset)
    queries = [query] if values is None else [query.where(table.c[name].in_(some)) for some in _parts(sorted(values))]
    rows = [row for one in queries for row in connection.execute(one.order_by(table.c.incident_id)).all()]
    return pd.DataFrame(rows, columns=[column.name for column in table.c])


def append(connection: sa.Connection, task: str, dataset: str, step: dict) -> int:
    """Add a step to the log; its number."""
    number = 1 + (connection.scalar(sa.select(sa.func.max(schema.reviews.c.number))) or 0)
    cells = step | {name: json.dumps(step[name], ensure_ascii=False) for name in ("posts", "value")}
    connection.execute(sa.insert(schema.reviews).values(number=number, task=task, dataset=dataset, at=_now(), **cells))
    return number


def update(connection: sa.Connection, before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Write what reviews changed of incidents; both frames have the same rows in the same order."""
    names = [name for name in _CHANGES if name in before]
    old, new = (frame[names].astype(object).where(frame[names].notna(), None) for frame in (before, after))
    for row in (old.ne(new) & ~(old.isna() & new.isna())).any(axis=1).to_numpy().nonzero()[0]:
        here = _here(schema.incidents, before.iloc[row], ("task", "dataset", "incident_id"))
        connection.execute(sa.update(schema.incidents).where(here).values(
            {name: getattr(cell, "item", lambda cell=cell: cell)() for name, cell in new.iloc[row].items()}))


def digest(store: Store, task: str, dataset: str) -> str:
    """Digest of the log of a data set, for what depends on it."""
    t = schema.reviews.c
    return store._digest(sa.select(t.number, t.posts, t.action, t.value, t.who)
                         .where(t.task == task, t.dataset == dataset).order_by(t.number))


def replace_labels(store: Store, task: str, dataset: str, rows: pd.DataFrame) -> None:
    """Make `rows` (``id``, ``labeler``, ``label``, ``weight``, ``codebook_version``) the labels that come from reviews.

    Those of decisions that were taken back go; one that stays as it is keeps its time.
    """
    t, key = schema.labels.c, ["id", "labeler"]
    own = [t.task == task, t.dataset == dataset, t.origin == "review"]
    with reviewing(store) as connection:
        there = pd.DataFrame(connection.execute(sa.select(t.id, t.labeler, t.label, t.labelled_at).where(*own)).all(),
                             columns=[*key, "label", "labelled_at"])
        for one in set(there[key].itertuples(index=False, name=None)) - set(
                rows[key].itertuples(index=False, name=None)):
            connection.execute(sa.delete(schema.labels).where(*own, t.id == one[0], t.labeler == one[1]))
        known = rows.merge(there, how="left", on=[*key, "label"])
        known["labelled_at"] = known["labelled_at"].fillna(pd.Timestamp(_now()))
        _insert(connection, schema.labels, known.assign(task=task, dataset=dataset, origin="review"))


def forgetting(posts: pd.DataFrame) -> Callable[[sa.Connection], None]:
    """Work for `Store.forget`: take the ids of posts out of the log, whose rows stay."""
    gone = set(posts["id"])

    def kept(item: object) -> object:
        if isinstance(item, list):
            return [kept(one) for one in item if not (isinstance(one, str) and one in gone)]
        return {name: kept(one) for name, one in item.items()} if isinstance(item, dict) else item

    def work(connection: sa.Connection) -> None:
        t = schema.reviews.c
        for number, note, *cells in connection.execute(sa.select(t.number, t.note, t.posts, t.value)
                                                       .where(t.dataset.in_(posts["dataset"].unique().tolist()))).all():
            texts = [json.dumps(kept(json.loads(cell)), ensure_ascii=False) for cell in cells]
            said = " ".join("…" if word.strip(".,;:!?()\"'") in gone else word for word in note.split(" "))
            if [said, *texts] != [note, *cells]:
                connection.execute(sa.update(schema.reviews).where(t.number == number).values(
                    note=said, posts=texts[0], value=texts[1]))

    return work
