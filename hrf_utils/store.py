"""The store of posts, labels, predictions and incidents; the only SQL of the project.

SQLite by default, PostgreSQL by ``DB_URL``; the same tables and the same upserts on both. Times are
UTC. Every row says which data set it belongs to, so that a run reads what it names and nothing else.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from tqdm.auto import tqdm

from hrf_utils import schema, settings
from hrf_utils.settings import InputError

_CHUNK = 400


class Store:
    """One open store. Use `Store.open` and read or write whole frames.

    Every write is one transaction and idempotent: writing the same rows twice changes nothing.
    """

    def __init__(self, engine: sa.Engine):
        self.engine = engine

    @classmethod
    def open(cls, url: str | None = None) -> "Store":
        """Open the store at `url` (default: ``DB_URL``, else SQLite below ``HRF_HOME``).

        Raises
        ------
        InputError
            If the address is malformed, the database does not answer, or a later version wrote it.
        """
        url = url or settings.get("DB_URL") or f"sqlite:///{settings.data_path('hrf.db')}"
        with beginning(url, "DB_URL") as connection:
            schema.create(connection)
        return cls(connection.engine)

    def add_posts(self, posts: pd.DataFrame) -> int:
        """Insert or update posts by (dataset, id); returns how many were new.

        `posts` has at least ``dataset``, ``id`` and ``text``; other columns of the table are kept.
        """
        return self._write(schema.posts, posts.assign(seen_at=_now()))

    def add_page(self, search: dict, posts: pd.DataFrame, refused: int = 0, spent: float = 0.0,
                 gap: tuple[datetime | None, datetime | None, str] | None = None,
                 unreadable: tuple[bytes, str] | None = None, gone: Iterable[str] = ()) -> int:
        """Write a page of a search and where the search stands, in one transaction; how many posts were new.

        Parameters
        ----------
        search : ``dataset``, ``query`` and ``started_at``, and what is known of the other columns of the
            table of queries; its counts add up by themselves
        posts : may have ``version``, the id of this version of an edited post; all versions are kept, and
            the latest is the post's text, in whatever order they come
        refused, spent : posts that could not be used, and US dollars, to add to those of the search
        gap : from when to when posts are missing, and why
        unreadable : a page that could not be read, as it came, and why
        gone : ids of posts that were deleted where they came from; those that are here get a tombstone, and
            `forget` is to follow
        """
        with self._transaction() as connection:
            new = _add_versions(connection, search["dataset"], posts)
            sums, key = (*schema.COUNTS, "spent"), _here(schema.queries, search, ("dataset", "query", "started_at"))
            counted = connection.execute(sa.select(*(schema.queries.c[name] for name in sums)).where(key))
            before = counted.mappings().one_or_none() or dict.fromkeys(sums, 0)
            more = {"read": len(posts), "new": new, "repeated": len(posts) - new, "refused": refused, "spent": spent}
            row = search | {name: before[name] + more[name] for name in more}
            _insert(connection, schema.queries, pd.DataFrame([row]))
            here = {"dataset": search["dataset"], "query": search["query"]}
            if gap:
                row = here | dict(zip(("begins", "ends", "reason"), gap, strict=True))
                _insert(connection, schema.gaps, pd.DataFrame([row]))
            if unreadable:
                page = here | {"received_at": utc(), "body": unreadable[0], "reason": unreadable[1]}
                _insert(connection, schema.quarantine, pd.DataFrame([page]))
            for theirs in _of_each(schema.posts, pd.DataFrame({"dataset": search["dataset"], "id": list(gone)})):
                stones = connection.execute(sa.select(schema.posts.c.dataset, schema.posts.c.id).where(theirs)).all()
                _insert(connection, schema.tombstones, pd.DataFrame(stones, columns=["dataset", "id"]).assign(
                    gone_at=_now(), reason="deleted"))
        return new

    def replayed(self, page: dict, posts: pd.DataFrame) -> int:
        """Write the posts of a row of `quarantine` in its place, in one transaction; how many were new."""
        with self._transaction() as connection:
            new = _add_versions(connection, page["dataset"], posts)
            _delete_pages(connection, [page])
        return new

    def add_labels(self, labels: pd.DataFrame) -> int:
        """Insert or update labels by (task, dataset, id, labeler); returns how many were new."""
        return self._write(schema.labels, labels.assign(labelled_at=_now()))

    def add_predictions(self, task: str, dataset: str, model: str, frame: pd.DataFrame) -> int:
        """Store predictions (columns id, label, confidence, p0…) of one model; returns how many
        were new."""
        chances = frame.filter(regex=r"^p\d+$").round(6).to_numpy().tolist()
        rows = frame[["id", "label", "confidence"]].assign(
            task=task, dataset=dataset, model=model, predicted_at=_now(),
            probabilities=[json.dumps(row) for row in chances])
        return self._write(schema.predictions, rows)

    def replace_incidents(self, task: str, dataset: str, incidents: pd.DataFrame,
                          members: pd.DataFrame) -> None:
        """Replace the incidents of a data set, in one transaction.

        `incidents` has the columns of the table without ``task`` and ``dataset``; `members` those of its own.
        """
        with self._transaction() as connection:
            for table in (schema.incident_posts, schema.incidents):
                connection.execute(sa.delete(table).where(table.c.task == task, table.c.dataset == dataset))
            rows = incidents.assign(task=task, dataset=dataset)
            _insert(connection, schema.incidents, rows)
            _insert(connection, schema.incident_posts, members.assign(task=task, dataset=dataset))
            latest = {"name": f"incidents of {task}", "value": dataset}
            _insert(connection, schema.meta, pd.DataFrame([latest]))

    def posts(self, dataset: str) -> pd.DataFrame:
        """Posts of a data set, by id."""
        return self._rows(schema.posts, "id", dataset=dataset)

    def labels(self, task: str, datasets: Iterable[str]) -> pd.DataFrame:
        """Labels for a task in the data sets named, with the post each belongs to."""
        post = [c for c in schema.posts.c if c.name not in schema.labels.c and c.name != "seen_at"]
        query = sa.select(schema.labels, *post).join_from(schema.labels, schema.posts).where(
            schema.labels.c.task == task, schema.labels.c.dataset.in_(list(datasets)))
        return self._read(query.order_by(schema.labels.c.dataset, schema.labels.c.id, schema.labels.c.labeler))

    def queries(self, dataset: str) -> pd.DataFrame:
        """What each query to a source brought, latest first."""
        return self._rows(schema.queries, sa.desc("started_at"), "query", dataset=dataset)

    def gaps(self, dataset: str) -> pd.DataFrame:
        """Times of which posts are missing, and why, earliest first."""
        return self._rows(schema.gaps, "begins", "query", dataset=dataset)

    def versions(self, dataset: str) -> pd.DataFrame:
        """All versions that were seen of the posts that were edited."""
        return self._rows(schema.versions, "id", "version", dataset=dataset)

    def quarantine(self, dataset: str) -> pd.DataFrame:
        """Pages that could not be read, as they came, earliest first."""
        return self._rows(schema.quarantine, "received_at", dataset=dataset)

    def quarantine_of(self, source: str) -> pd.DataFrame:
        """Rows of `quarantine` in all data sets that a source collects."""
        return self._read(sa.select(schema.quarantine).where(schema.quarantine.c.dataset.startswith(f"{source}-")))

    def texts(self, posts: pd.DataFrame) -> list[str]:
        """All texts, earlier versions included, of posts (``dataset``, ``id``)."""
        with self.engine.connect() as connection:
            return [text for table in (schema.posts, schema.versions) for here in _of_each(table, posts)
                    for text in connection.scalars(sa.select(table.c.text).where(here))]

    def spent(self, source: str, since: datetime) -> float:
        """US dollars that all searches of a source begun since a time have cost."""
        total = sa.select(sa.func.sum(schema.queries.c.spent)).where(
            schema.queries.c.source == source, schema.queries.c.started_at >= since)
        return self._scalar(total) or 0.0

    def checked(self) -> pd.DataFrame:
        """``dataset``, ``id``, ``source``, ``seen_at`` and ``checked_at`` of all posts, the longest unchecked first."""
        t = schema.posts.c
        return self._read(sa.select(t.dataset, t.id, t.source, t.seen_at, t.checked_at)
                          .order_by(t.checked_at.nulls_first(), t.dataset, t.id))

    def mark_checked(self, posts: pd.DataFrame, at: datetime) -> None:
        """Write down that posts (``dataset``, ``id``) were public at a time."""
        with self._transaction() as connection:
            for here in _of_each(schema.posts, posts):
                connection.execute(sa.update(schema.posts).where(here).values(checked_at=at))

    def forget(self, posts: pd.DataFrame, pages: pd.DataFrame | None = None,
               also: Callable[[sa.Connection], None] | None = None) -> None:
        """Drop posts and all that is known of them, in one transaction; their ids stay as tombstones.

        Labels and predictions go with a post, and so does an incident that no other post tells of. What has a
        tombstone is never stored again. `scrub` is to follow.

        Parameters
        ----------
        posts : ``dataset``, ``id`` and ``reason``
        pages : rows of `quarantine` to drop as well
        also : further work of the same transaction
        """
        t, members = schema.incidents.c, schema.incident_posts.c
        with self._transaction() as connection:
            _insert(connection, schema.tombstones, posts.assign(gone_at=_now()))
            for table in (schema.posts, schema.versions):
                for here in _of_each(table, posts):
                    connection.execute(sa.delete(table).where(here))
            own = (members.task == t.task, members.dataset == t.dataset, members.incident_id == t.incident_id)
            connection.execute(sa.delete(schema.incidents).where(~sa.exists().where(*own)))
            shown = sa.exists().where(*own, members.id == t.tweet_id)
            connection.execute(sa.update(schema.incidents).where(~shown).values(
                tweet_id="", user_name="", description="", src=""))
            kept = sa.select(sa.func.count()).where(*own).scalar_subquery()
            connection.execute(sa.update(schema.incidents).where(kept < t.posts).values(representatives="[]"))
            if pages is not None:
                _delete_pages(connection, pages.to_dict("records"))
            if also:
                also(connection)
            _insert(connection, schema.meta, pd.DataFrame([{"name": "to scrub", "value": "yes"}]))

    def scrub(self) -> None:
        """Overwrite what `forget` dropped since the last time, so that the database's files hold none of it."""
        due = sa.select(schema.meta.c.value).where(schema.meta.c.name == "to scrub")
        if not self._scalar(due):
            return
        whole = {"sqlite": ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"], "postgresql": ["VACUUM FULL"]}
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in whole[self.engine.dialect.name]:
                connection.execute(sa.text(statement))
            connection.execute(sa.delete(schema.meta).where(schema.meta.c.name == "to scrub"))

    def tombstones(self) -> pd.DataFrame:
        """``dataset``, ``id``, ``gone_at`` and ``reason`` of the posts that were dropped."""
        return self._rows(schema.tombstones, "gone_at")

    @contextmanager
    def alone(self, work: str) -> Iterator[None]:
        """Keep everybody else from the same work on this store; the lock dies with its holder.

        Raises
        ------
        InputError
            If somebody else is at it.
        """
        refusal = InputError(f"another process does the same on this store ({work}); wait until it has ended")
        if self.engine.dialect.name == "postgresql":
            with self.engine.connect() as connection:
                connection.detach()  # closing it then ends its session, and the lock with it
                if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(sa.func.hashtext(work)))):
                    raise refusal
                try:
                    yield
                finally:  # the server ends a session some time after it was closed
                    with suppress(sa.exc.SQLAlchemyError):
                        connection.scalar(sa.select(sa.func.pg_advisory_unlock(sa.func.hashtext(work))))
            return
        path = self.engine.url.database
        with open(f"{path}.{work}.lock" if path else os.devnull, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise refusal from error
            yield

    def predictions(self, task: str, dataset: str, model: str) -> pd.DataFrame:
        """Predictions of one model for the posts of a data set."""
        return self._rows(schema.predictions, "id", task=task, dataset=dataset, model=model)

    def answers(self, task: str, dataset: str) -> pd.Series:
        """Label of each post that has one, by id: the highest that a person gave, else the last that a model gave."""
        labels = self.labels(task, [dataset]).sort_values("label").drop_duplicates("id", keep="last")
        t = schema.predictions.c
        said = self._read(sa.select(t.id, t.label).where(t.task == task, t.dataset == dataset)
                          .order_by(t.predicted_at)).drop_duplicates("id", keep="last")
        return pd.concat([said, labels[["id", "label"]]]).drop_duplicates("id", keep="last").set_index("id")["label"]

    def incidents(self, task: str, dataset: str) -> pd.DataFrame:
        """Incidents of a data set, latest first."""
        return self._rows(schema.incidents, sa.desc("incident_date"), "incident_id", task=task, dataset=dataset)

    def force_ranks(self) -> pd.DataFrame:
        """The view with the columns that the dashboard of the first project reads.

        It holds the incidents that were built last, so that it never mixes data sets.
        """
        return self._read(sa.text("SELECT * FROM force_ranks ORDER BY incident_id"))

    def posts_digest(self, dataset: str) -> str:
        """Digest of the ids, times and texts of a data set."""
        t = schema.posts.c
        return self._digest(sa.select(t.id, t.created_at, t.text)
                            .where(t.dataset == dataset).order_by(t.id))

    def labels_digest(self, task: str, datasets: Iterable[str], human_only: bool = False) -> str:
        """Digest of the labels in the data sets named; `human_only` leaves out imported ones."""
        t = schema.labels.c
        query = sa.select(t.dataset, t.id, t.labeler, t.label).where(
            t.task == task, t.dataset.in_(list(datasets))).order_by(t.dataset, t.id, t.labeler)
        return self._digest(query.where(t.origin != "import") if human_only else query)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """All of what is written inside, or nothing of it."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.DataError) as error:
            reason = str(error.orig).strip().splitlines()[0]
            raise InputError(f"the store cannot be written: {reason}; nothing of this step was "
                             "kept") from error

    def _digest(self, query: sa.Select) -> str:
        digest = hashlib.sha256()
        with self.engine.connect() as connection:
            for row in connection.execution_options(yield_per=10_000).execute(query):
                digest.update(repr(tuple(row)).encode("utf8", "surrogatepass"))
        return digest.hexdigest()

    def _read(self, query: sa.Executable) -> pd.DataFrame:
        with self.engine.connect() as connection:
            result = connection.execute(query)
            return pd.DataFrame(result.all(), columns=list(result.keys()))

    def _rows(self, table: sa.Table, *order: object, **cells: str) -> pd.DataFrame:
        """The rows of a table that have these cells."""
        return self._read(sa.select(table).where(_here(table, cells, cells)).order_by(*order))

    def _scalar(self, query: sa.Select) -> object:
        with self.engine.connect() as connection:
            return connection.scalar(query)

    def _write(self, table: sa.Table, rows: pd.DataFrame) -> int:
        count = sa.select(sa.func.count()).select_from(table)
        with self._transaction() as connection:
            before = connection.scalar(count)
            _insert(connection, table, rows)
            return connection.scalar(count) - before


@contextmanager
def beginning(url: str, variable: str) -> Iterator[sa.Connection]:
    """A transaction on a database that a variable names, opened for it; `InputError` if it does not answer."""
    try:
        address = sa.make_url(url)
        is_sqlite = address.get_backend_name() == "sqlite"
        engine = sa.create_engine(address, connect_args={"timeout": 60} if is_sqlite else {"connect_timeout": 10})
        if is_sqlite:
            sa.event.listen(engine, "connect", _sqlite_pragmas)
        with engine.begin() as connection:
            yield connection
    except sa.exc.ArgumentError as error:
        raise InputError(f"{variable} is not a database address like postgresql://user:password@host/name") from error
    except (sa.exc.OperationalError, sa.exc.NoSuchModuleError) as error:
        where = address.render_as_string(hide_password=True)
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise InputError(f"the store at {where} does not answer: {reason}") from error


def _add_versions(connection: sa.Connection, dataset: str, posts: pd.DataFrame) -> int:
    """Insert or update posts, all versions of them kept; how many were new."""
    posts = _without_tombstones(connection, posts)
    if posts.empty:
        return 0
    ids, t = posts["id"].unique().tolist(), schema.posts.c
    new = len(ids) - connection.scalar(sa.select(sa.func.count()).where(t.dataset == dataset, t.id.in_(ids)))
    _insert(connection, schema.posts, _latest(connection, posts).assign(seen_at=_now()))
    return new


def _latest(connection: sa.Connection, posts: pd.DataFrame) -> pd.DataFrame:
    """Keep the versions of edited posts, and give each of these posts the text of its latest one."""
    if "version" not in posts or posts.empty:
        return posts
    dataset, ids = posts["dataset"].iloc[0], posts["id"].tolist()
    here = (schema.versions.c.dataset == dataset) & schema.versions.c.id.in_(ids)
    before = set(connection.scalars(sa.select(schema.versions.c.id).where(here)))
    edited = before | set(posts.loc[posts["version"] != "", "id"])
    if not edited:
        return posts
    first = sa.select(schema.posts.c.dataset, schema.posts.c.id, schema.posts.c.text).where(
        schema.posts.c.dataset == dataset, schema.posts.c.id.in_(edited - before))
    stored = pd.DataFrame(connection.execute(first).all(), columns=["dataset", "id", "text"])
    came = posts[posts["id"].isin(edited)]
    seen = pd.concat([stored.assign(version=stored["id"]),
                      came.assign(version=came["version"].where(came["version"] != "", came["id"]))])
    _insert(connection, schema.versions, seen.assign(seen_at=_now()))
    t = schema.versions.c
    kept = connection.execute(sa.select(t.id, t.version, t.text).where(here)).all()
    latest = {row.id: row.text for row in sorted(kept, key=lambda row: (len(row.version), row.version))}
    return posts.assign(text=[latest.get(one, text) for one, text in zip(posts["id"], posts["text"], strict=True)])


def _without_tombstones(connection: sa.Connection, rows: pd.DataFrame) -> pd.DataFrame:
    if not {"dataset", "id"} <= set(rows.columns) or rows.empty:
        return rows
    t = schema.tombstones.c
    gone = connection.execute(sa.select(t.dataset, t.id).where(t.dataset.in_(rows["dataset"].unique().tolist()))).all()
    return rows[~pd.MultiIndex.from_frame(rows[["dataset", "id"]]).isin(gone)] if gone else rows


def _of_each(table: sa.Table, posts: pd.DataFrame) -> Iterator[sa.ColumnElement]:
    """Conditions that together hold for the rows of a table that belong to posts."""
    for dataset, rows in posts.groupby("dataset"):
        for some in _parts(rows["id"].tolist()):
            yield (table.c.dataset == dataset) & table.c.id.in_(some)


def _parts(values: list) -> Iterator[list]:
    """Values, few enough at a time for one statement."""
    return (values[start:start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _here(table: sa.Table, row: Mapping, names: Iterable[str]) -> sa.ColumnElement:
    """The condition that some cells are those of a row."""
    return sa.and_(True, *(table.c[name] == row[name] for name in names))


def _delete_pages(connection: sa.Connection, pages: list[dict]) -> None:
    for page in pages:
        here = _here(schema.quarantine, page, ("dataset", "query", "received_at"))
        connection.execute(sa.delete(schema.quarantine).where(here))


def _insert(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> None:
    """Upsert the columns of `rows` that the table has; NaN becomes NULL."""
    insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    keys = [column.name for column in table.primary_key]
    rows = _without_tombstones(connection, rows) if table is not schema.tombstones else rows
    if rows.empty:
        return
    rows = rows[[name for name in rows.columns if name in table.c]]
    rows = rows.drop_duplicates(keys, keep="last").astype(object).replace({np.nan: None, pd.NaT: None})
    bar = tqdm(range(0, len(rows), _CHUNK), desc=f"store {table.name}", unit_scale=_CHUNK,
               disable=len(rows) < 50 * _CHUNK)
    for start in bar:
        values = rows.iloc[start:start + _CHUNK].to_dict("records")
        statement = insert(table).values(values)
        changed = {n: statement.excluded[n] for n in rows.columns if n not in keys and n != "seen_at"}
        if changed:
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))
        else:
            connection.execute(statement.on_conflict_do_nothing(index_elements=keys))


def _sqlite_pragmas(connection: object, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def utc() -> datetime:
    """The time as the store has it: UTC, without its zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def _now() -> datetime:
    return utc().replace(microsecond=0)
