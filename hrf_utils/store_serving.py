"""What the API reads of the store: a page of incidents, one post, and when posts came last."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import NamedTuple

import pandas as pd
import sqlalchemy as sa

from hrf_utils import schema
from hrf_utils.store import Store


class Found(NamedTuple):
    """One post: its text, and the label that a person gave it, if one did."""

    text: str
    label: int | None


def dataset(store: Store, task: str) -> str:
    """The data set whose incidents were built last; empty if none were."""
    return store._scalar(sa.select(schema.meta.c.value).where(schema.meta.c.name == f"incidents of {task}")) or ""


def incidents(store: Store, task: str, *, ids: Iterable[str] = (), ranks: Iterable[int] = (),
              states: Iterable[str] = (), statuses: Iterable[str] = (), since: date | None = None,
              until: date | None = None, limit: int = 1, offset: int = 0,
              texts: bool = False) -> tuple[pd.DataFrame, int]:
    """Incidents that were built last, latest first: some of those that fit all filters, and how many fit.

    The columns are those of the view ``force_ranks``; `texts` puts the text of each incident's post into an empty
    description.
    """
    t, p = schema.incidents.c, schema.posts.c
    fits = [t.task == task, t.dataset == dataset(store, task)]
    fits += [column.in_(list(wanted)) for column, wanted in
             ((t.incident_id, ids), (t.label, ranks), (t.state, states), (t.status, statuses)) if wanted]
    fits += [t.incident_date >= since] if since else []
    fits += [t.incident_date <= until] if until else []
    told = sa.func.coalesce(sa.func.nullif(t.description, ""), p.text, "") if texts else t.description
    own = {"description": told.label("description"), "force_rank": t.label.label("force_rank")}
    names = schema.force_ranks.c.keys()
    query = sa.select(*(own[name] if name in own else t[name] for name in names))
    query = query.select_from(schema.incidents.outerjoin(schema.posts, (p.dataset == t.dataset) & (p.id == t.tweet_id)))
    query = query.where(*fits).order_by(t.incident_date.desc().nulls_last(), t.incident_id)
    with store.engine.connect() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(schema.incidents).where(*fits))
        rows = connection.execute(query.limit(limit).offset(offset)).all()
    return pd.DataFrame(rows, columns=names, dtype=object), total


def post(store: Store, task: str, tweet_id: str) -> Found | None:
    """A post that came from X, or has an id as X makes them, by its id."""
    t, labels = schema.posts.c, schema.labels.c
    by_x = (t.source == "x") | (sa.func.length(t.id) >= 15)
    text = store._scalar(sa.select(t.text).where(t.id == tweet_id, by_x).limit(1))
    label = store._scalar(sa.select(sa.func.max(labels.label)).where(labels.task == task, labels.id == tweet_id))
    return None if text is None else Found(text, label)


def is_gone(store: Store, tweet_id: str) -> bool:
    """Whether a post was dropped because it is gone where it came from, or too old."""
    t = schema.tombstones.c
    return store._scalar(sa.select(t.id).where(t.id == tweet_id).limit(1)) is not None


def last_collected(store: Store) -> datetime | None:
    """When a search last brought something, or ended (UTC)."""
    t = schema.queries.c
    return store._scalar(sa.select(sa.func.max(sa.func.coalesce(t.ended_at, t.started_at))).where(t.status != "lookup"))
