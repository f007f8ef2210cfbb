"""The store of posts, labels, predictions and incidents; the only SQL of the project.

SQLite by default, PostgreSQL by ``DB_URL``; the same tables and the same upserts on both. Times are
UTC. Every row says which data set it belongs to, so that a run reads what it names and nothing else.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from tqdm.auto import tqdm

from hrf_utils import settings
from hrf_utils.settings import InputError

SCHEMA_VERSION = "2"
_CHUNK = 400

_schema = sa.MetaData()


def _text(name: str, **options: object) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False, server_default="", **options)


def _key(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, primary_key=True)


_meta = sa.Table("meta", _schema, _key("name"), _text("value"))

_posts = sa.Table(
    "posts", _schema, _key("dataset"), _key("id"),
    sa.Column("created_at", sa.DateTime), _text("text"), _text("author"), _text("author_location"),
    _text("place"), _text("lang"), _text("conversation_id"), _text("source"), _text("query"), _text("kind"),
    _text("city"), _text("state"), _text("country"), _text("incident"),
    sa.Column("seen_at", sa.DateTime, nullable=False))

_COUNTS = ("read", "new", "repeated", "refused")

_queries = sa.Table(
    "queries", _schema, _key("dataset"), _key("query"),
    sa.Column("started_at", sa.DateTime, primary_key=True), _text("source"),
    *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in _COUNTS),
    sa.Column("spent", sa.Float, nullable=False, server_default="0"), sa.Column("propensity", sa.Float),
    _text("policy"), _text("status"), sa.Column("ended_at", sa.DateTime), _text("since_id"), _text("until_id"),
    _text("newest_id"), _text("oldest_id"), _text("next_token"), sa.Column("expected", sa.Integer), _text("problems"))

_versions = sa.Table(
    "versions", _schema, _key("dataset"), _key("id"), _key("version"), _text("text"),
    sa.Column("seen_at", sa.DateTime, nullable=False))

_gaps = sa.Table(
    "gaps", _schema, _key("dataset"), _key("query"), sa.Column("begins", sa.DateTime, primary_key=True),
    sa.Column("ends", sa.DateTime), _text("reason"))

_quarantine = sa.Table(
    "quarantine", _schema, _key("dataset"), _key("query"), sa.Column("received_at", sa.DateTime, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False), _text("reason"), sa.Column("replayed_at", sa.DateTime))


def _of_post() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["dataset", "id"], ["posts.dataset", "posts.id"],
                                   ondelete="CASCADE")


_labels = sa.Table(
    "labels", _schema, _key("task"), _key("dataset"), _key("id"), _key("labeler"),
    sa.Column("label", sa.Integer, nullable=False), _text("origin"),
    sa.Column("codebook_version", sa.Integer, nullable=False),
    sa.Column("labelled_at", sa.DateTime, nullable=False), _of_post())

_predictions = sa.Table(
    "predictions", _schema, _key("task"), _key("dataset"), _key("id"), _key("model"),
    sa.Column("label", sa.Integer, nullable=False), sa.Column("confidence", sa.Float, nullable=False),
    _text("probabilities"), sa.Column("predicted_at", sa.DateTime, nullable=False), _of_post())

_incidents = sa.Table(
    "incidents", _schema, _key("task"), _key("dataset"), _key("incident_id"),
    sa.Column("incident_date", sa.Date), _text("tweet_id"), _text("user_name"), _text("title"),
    _text("description"), _text("city"), _text("state"), _text("country"),
    sa.Column("lat", sa.Float), sa.Column("long", sa.Float), _text("place_method"),
    sa.Column("label", sa.Integer, nullable=False), sa.Column("confidence", sa.Float, nullable=False),
    _text("decided_by"), _text("status"), _text("tags"), _text("src"),
    sa.Column("posts", sa.Integer, nullable=False), _text("model"))

_incident_posts = sa.Table(
    "incident_posts", _schema, _key("task"), _key("dataset"), _key("incident_id"), _key("id"),
    sa.ForeignKeyConstraint(
        ["task", "dataset", "incident_id"],
        ["incidents.task", "incidents.dataset", "incidents.incident_id"], ondelete="CASCADE"),
    _of_post())

_FORCE_RANKS = """
CREATE VIEW force_ranks AS
SELECT incident_id, incident_date, tweet_id, user_name, description, city, state, lat, long, title,
       label AS force_rank, status, confidence, tags, src
FROM incidents
WHERE task = 'force' AND dataset = (SELECT value FROM meta WHERE name = 'incidents of force')
"""


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
            If the address is malformed, the database does not answer, or was written by another
            version of the schema.
        """
        url = url or settings.get("DB_URL") or f"sqlite:///{settings.data_path('hrf.db')}"
        try:
            address = sa.make_url(url)
            engine = sa.create_engine(address, connect_args=_connect_args(address))
            if address.get_backend_name() == "sqlite":
                sa.event.listen(engine, "connect", _sqlite_pragmas)
            with engine.begin() as connection:
                _create(connection)
        except sa.exc.ArgumentError as error:
            raise InputError("DB_URL is not a database address like "
                             "postgresql://user:password@host/name") from error
        except (sa.exc.OperationalError, sa.exc.NoSuchModuleError) as error:
            where = address.render_as_string(hide_password=True)
            reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
            raise InputError(f"the store at {where} does not answer: {reason}") from error
        return cls(engine)

    def add_posts(self, posts: pd.DataFrame) -> int:
        """Insert or update posts by (dataset, id); returns how many were new.

        `posts` has at least ``dataset``, ``id`` and ``text``; other columns of the table are kept.
        """
        return self._write(_posts, posts.assign(seen_at=_now()))

    def add_page(self, search: dict, posts: pd.DataFrame, refused: int = 0, spent: float = 0.0,
                 gap: tuple[datetime | None, datetime | None, str] | None = None,
                 unreadable: tuple[bytes, str] | None = None) -> int:
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
        """
        key = [_queries.c[name] == search[name] for name in ("dataset", "query", "started_at")]
        with self._transaction() as connection:
            new = _add_versions(connection, search["dataset"], posts)
            counted = connection.execute(sa.select(*(_queries.c[name] for name in (*_COUNTS, "spent"))).where(*key))
            before = counted.mappings().one_or_none() or dict.fromkeys((*_COUNTS, "spent"), 0)
            more = {"read": len(posts), "new": new, "repeated": len(posts) - new, "refused": refused, "spent": spent}
            row = search | {name: before[name] + more[name] for name in more}
            _insert(connection, _queries, pd.DataFrame([row]))
            here = {"dataset": search["dataset"], "query": search["query"]}
            if gap:
                begins, ends, reason = gap
                _insert(connection, _gaps, pd.DataFrame([here | {"begins": begins, "ends": ends, "reason": reason}]))
            if unreadable:
                (body, reason), now = unreadable, datetime.now(UTC).replace(tzinfo=None)
                page = here | {"received_at": now, "body": body, "reason": reason}
                _insert(connection, _quarantine, pd.DataFrame([page]))
        return new

    def replayed(self, page: dict, posts: pd.DataFrame) -> int:
        """Write the posts of a row of `quarantine` and mark it as read, in one transaction; how many were new."""
        here = [_quarantine.c[name] == page[name] for name in ("dataset", "query", "received_at")]
        with self._transaction() as connection:
            new = _add_versions(connection, page["dataset"], posts)
            connection.execute(sa.update(_quarantine).where(*here).values(replayed_at=_now()))
        return new

    def add_labels(self, labels: pd.DataFrame) -> int:
        """Insert or update labels by (task, dataset, id, labeler); returns how many were new."""
        return self._write(_labels, labels.assign(labelled_at=_now()))

    def add_predictions(self, task: str, dataset: str, model: str, frame: pd.DataFrame) -> int:
        """Store predictions (columns id, label, confidence, p0…) of one model; returns how many
        were new."""
        chances = frame.filter(regex=r"^p\d+$").round(6).to_numpy().tolist()
        rows = frame[["id", "label", "confidence"]].assign(
            task=task, dataset=dataset, model=model, predicted_at=_now(),
            probabilities=[json.dumps(row) for row in chances])
        return self._write(_predictions, rows)

    def replace_incidents(self, task: str, dataset: str, incidents: pd.DataFrame,
                          members: pd.DataFrame) -> None:
        """Replace the incidents of a data set, in one transaction; a decided status survives.

        `incidents` has the columns of the table without ``task`` and ``dataset``; `members` has
        ``incident_id`` and ``id``.
        """
        def own(table: sa.Table) -> sa.ColumnElement:
            return (table.c.task == task) & (table.c.dataset == dataset)

        decided = sa.select(_incidents.c.incident_id, _incidents.c.status).where(
            own(_incidents), _incidents.c.status != "pending")
        with self._transaction() as connection:
            statuses = dict(connection.execute(decided).all())
            for table in (_incident_posts, _incidents):
                connection.execute(sa.delete(table).where(own(table)))
            rows = incidents.assign(task=task, dataset=dataset)
            rows["status"] = [statuses.get(incident, status) for incident, status
                              in zip(rows["incident_id"], rows["status"], strict=True)]
            _insert(connection, _incidents, rows)
            _insert(connection, _incident_posts, members.assign(task=task, dataset=dataset))
            latest = {"name": f"incidents of {task}", "value": dataset}
            _insert(connection, _meta, pd.DataFrame([latest]))

    def posts(self, dataset: str) -> pd.DataFrame:
        """Posts of a data set, by id."""
        return self._read(sa.select(_posts).where(_posts.c.dataset == dataset).order_by(_posts.c.id))

    def labels(self, task: str, datasets: Iterable[str]) -> pd.DataFrame:
        """Labels for a task in the data sets named, with the post each belongs to."""
        post = [c for c in _posts.c if c.name not in _labels.c and c.name != "seen_at"]
        query = sa.select(_labels, *post).join_from(_labels, _posts).where(
            _labels.c.task == task, _labels.c.dataset.in_(list(datasets)))
        return self._read(query.order_by(_labels.c.dataset, _labels.c.id, _labels.c.labeler))

    def queries(self, dataset: str) -> pd.DataFrame:
        """What each query to a source brought, latest first."""
        return self._read(sa.select(_queries).where(_queries.c.dataset == dataset)
                          .order_by(_queries.c.started_at.desc(), _queries.c.query))

    def gaps(self, dataset: str) -> pd.DataFrame:
        """Times of which posts are missing, and why, earliest first."""
        return self._read(sa.select(_gaps).where(_gaps.c.dataset == dataset).order_by(_gaps.c.begins, _gaps.c.query))

    def versions(self, dataset: str) -> pd.DataFrame:
        """All versions that were seen of the posts that were edited."""
        return self._read(sa.select(_versions).where(_versions.c.dataset == dataset)
                          .order_by(_versions.c.id, _versions.c.version))

    def quarantine(self, dataset: str) -> pd.DataFrame:
        """Pages that could not be read, as they came, earliest first."""
        return self._read(sa.select(_quarantine).where(_quarantine.c.dataset == dataset)
                          .order_by(_quarantine.c.received_at))

    def spent(self, source: str, since: datetime) -> float:
        """US dollars that all searches of a source begun since a time have cost."""
        total = sa.select(sa.func.sum(_queries.c.spent)).where(
            _queries.c.source == source, _queries.c.started_at >= since)
        with self.engine.connect() as connection:
            return connection.scalar(total) or 0.0

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
                yield
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
        t = _predictions.c
        return self._read(sa.select(_predictions).order_by(t.id).where(
            t.task == task, t.dataset == dataset, t.model == model))

    def answers(self, task: str, dataset: str) -> pd.Series:
        """Label of each post that has one, by id: the highest that a person gave, else the last that a model gave."""
        labels = self.labels(task, [dataset]).sort_values("label").drop_duplicates("id", keep="last")
        t = _predictions.c
        said = self._read(sa.select(t.id, t.label).where(t.task == task, t.dataset == dataset)
                          .order_by(t.predicted_at)).drop_duplicates("id", keep="last")
        return pd.concat([said, labels[["id", "label"]]]).drop_duplicates("id", keep="last").set_index("id")["label"]

    def incidents(self, task: str, dataset: str) -> pd.DataFrame:
        """Incidents of a data set, latest first."""
        t = _incidents.c
        return self._read(sa.select(_incidents).where(t.task == task, t.dataset == dataset)
                          .order_by(t.incident_date.desc(), t.incident_id))

    def force_ranks(self) -> pd.DataFrame:
        """The view with the columns that the dashboard of the first project reads.

        It holds the incidents that were built last, so that it never mixes data sets.
        """
        return self._read(sa.text("SELECT * FROM force_ranks ORDER BY incident_id"))

    def posts_digest(self, dataset: str) -> str:
        """Digest of the ids, times and texts of a data set."""
        t = _posts.c
        return self._digest(sa.select(t.id, t.created_at, t.text)
                            .where(t.dataset == dataset).order_by(t.id))

    def labels_digest(self, task: str, datasets: Iterable[str], human_only: bool = False) -> str:
        """Digest of the labels in the data sets named; `human_only` leaves out imported ones."""
        t = _labels.c
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

    def _write(self, table: sa.Table, rows: pd.DataFrame) -> int:
        count = sa.select(sa.func.count()).select_from(table)
        with self._transaction() as connection:
            before = connection.scalar(count)
            _insert(connection, table, rows)
            return connection.scalar(count) - before


def _add_versions(connection: sa.Connection, dataset: str, posts: pd.DataFrame) -> int:
    """Insert or update posts, all versions of them kept; how many were new."""
    if posts.empty:
        return 0
    ids = posts["id"].unique().tolist()
    known = sa.select(sa.func.count()).select_from(_posts).where(_posts.c.dataset == dataset, _posts.c.id.in_(ids))
    new = len(ids) - connection.scalar(known)
    _insert(connection, _posts, _latest(connection, posts).assign(seen_at=_now()))
    return new


def _latest(connection: sa.Connection, posts: pd.DataFrame) -> pd.DataFrame:
    """Keep the versions of edited posts, and give each of these posts the text of its latest one."""
    if "version" not in posts or posts.empty:
        return posts
    dataset, ids = posts["dataset"].iloc[0], posts["id"].tolist()
    here = (_versions.c.dataset == dataset) & _versions.c.id.in_(ids)
    before = set(connection.scalars(sa.select(_versions.c.id).where(here)))
    edited = before | set(posts.loc[posts["version"] != "", "id"])
    if not edited:
        return posts
    first = sa.select(_posts.c.dataset, _posts.c.id, _posts.c.text).where(
        _posts.c.dataset == dataset, _posts.c.id.in_(edited - before))
    stored = pd.DataFrame(connection.execute(first).all(), columns=["dataset", "id", "text"])
    came = posts[posts["id"].isin(edited)]
    seen = pd.concat([stored.assign(version=stored["id"]),
                      came.assign(version=came["version"].where(came["version"] != "", came["id"]))])
    _insert(connection, _versions, seen.assign(seen_at=_now()))
    kept = connection.execute(sa.select(_versions.c.id, _versions.c.version, _versions.c.text).where(here)).all()
    latest = {row.id: row.text for row in sorted(kept, key=lambda row: (len(row.version), row.version))}
    return posts.assign(text=[latest.get(one, text) for one, text in zip(posts["id"], posts["text"], strict=True)])


def _insert(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> None:
    """Upsert the columns of `rows` that the table has; NaN becomes NULL."""
    insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    keys = [column.name for column in table.primary_key]
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


def _create(connection: sa.Connection) -> None:
    _schema.create_all(connection)
    version = connection.scalar(sa.select(_meta.c.value).where(_meta.c.name == "schema_version"))
    if version is None:
        connection.execute(sa.text(_FORCE_RANKS))
        connection.execute(_meta.insert().values(name="schema_version", value=SCHEMA_VERSION))
    elif version == "1":
        _add_columns(connection)
        connection.execute(_meta.update().values(value=SCHEMA_VERSION).where(_meta.c.name == "schema_version"))
    elif version != SCHEMA_VERSION:
        raise InputError(f"the store has schema version {version}, this code needs {SCHEMA_VERSION}; "
                         "use the code it was written with, or another DB_URL")


def _add_columns(connection: sa.Connection) -> None:
    """Bring the tables of an earlier version of the schema up to this one, which only adds to them."""
    for table in _schema.sorted_tables:
        there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        for column in table.c:
            if column.name not in there:
                definition = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))


def _connect_args(address: sa.URL) -> dict:
    return {"timeout": 60} if address.get_backend_name() == "sqlite" else {"connect_timeout": 10}


def _sqlite_pragmas(connection: object, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)
