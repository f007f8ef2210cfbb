"""The tables of the store, and how a store of an earlier version becomes one of this."""

import sqlalchemy as sa

from hrf_utils.settings import InputError

SCHEMA_VERSION = 4
_tables = sa.MetaData()


def _text(name: str, **options: object) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False, server_default="", **options)


def _key(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, primary_key=True)


meta = sa.Table("meta", _tables, _key("name"), _text("value"))

posts = sa.Table(
    "posts", _tables, _key("dataset"), _key("id"),
    sa.Column("created_at", sa.DateTime), _text("text"), _text("author"), _text("author_location"),
    _text("place"), _text("lang"), _text("conversation_id"), _text("source"), _text("query"), _text("kind"),
    _text("city"), _text("state"), _text("country"), _text("incident"),
    sa.Column("seen_at", sa.DateTime, nullable=False), sa.Column("checked_at", sa.DateTime))

COUNTS = ("read", "new", "repeated", "refused")

queries = sa.Table(
    "queries", _tables, _key("dataset"), _key("query"),
    sa.Column("started_at", sa.DateTime, primary_key=True), _text("source"),
    *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in COUNTS),
    sa.Column("spent", sa.Float, nullable=False, server_default="0"), sa.Column("propensity", sa.Float),
    _text("policy"), _text("status"), sa.Column("ended_at", sa.DateTime), _text("since_id"), _text("until_id"),
    _text("newest_id"), _text("oldest_id"), _text("next_token"), sa.Column("expected", sa.Integer), _text("problems"))

versions = sa.Table(
    "versions", _tables, _key("dataset"), _key("id"), _key("version"), _text("text"),
    sa.Column("seen_at", sa.DateTime, nullable=False))

gaps = sa.Table(
    "gaps", _tables, _key("dataset"), _key("query"), sa.Column("begins", sa.DateTime, primary_key=True),
    sa.Column("ends", sa.DateTime), _text("reason"))

quarantine = sa.Table(
    "quarantine", _tables, _key("dataset"), _key("query"), sa.Column("received_at", sa.DateTime, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False), _text("reason"))

tombstones = sa.Table(
    "tombstones", _tables, _key("dataset"), _key("id"), sa.Column("gone_at", sa.DateTime, nullable=False),
    _text("reason"))


def _of_post() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["dataset", "id"], ["posts.dataset", "posts.id"],
                                   ondelete="CASCADE")


labels = sa.Table(
    "labels", _tables, _key("task"), _key("dataset"), _key("id"), _key("labeler"),
    sa.Column("label", sa.Integer, nullable=False), _text("origin"),
    sa.Column("codebook_version", sa.Integer, nullable=False),
    sa.Column("labelled_at", sa.DateTime, nullable=False),
    sa.Column("weight", sa.Float, nullable=False, server_default="1"),
    sa.Column("unsure", sa.Integer, nullable=False, server_default="0"), _text("note"), _of_post())

label_steps = sa.Table(
    "label_steps", _tables, sa.Column("number", sa.Integer, primary_key=True), _text("task"), _text("dataset"),
    _text("id"), _text("labeler"), _text("action"), sa.Column("label", sa.Integer), _text("origin"),
    sa.Column("codebook_version", sa.Integer), sa.Column("unsure", sa.Integer, nullable=False, server_default="0"),
    _text("note"), _text("before"), sa.Column("undoes", sa.Integer), sa.Column("at", sa.DateTime, nullable=False),
    _of_post())

predictions = sa.Table(
    "predictions", _tables, _key("task"), _key("dataset"), _key("id"), _key("model"),
    sa.Column("label", sa.Integer, nullable=False), sa.Column("confidence", sa.Float, nullable=False),
    _text("probabilities"), sa.Column("predicted_at", sa.DateTime, nullable=False), _of_post())

incidents = sa.Table(
    "incidents", _tables, _key("task"), _key("dataset"), _key("incident_id"),
    sa.Column("incident_date", sa.Date), _text("tweet_id"), _text("user_name"), _text("title"),
    _text("description"), _text("city"), _text("state"), _text("country"),
    sa.Column("lat", sa.Float), sa.Column("long", sa.Float), _text("place_method"),
    sa.Column("label", sa.Integer, nullable=False), sa.Column("confidence", sa.Float, nullable=False),
    _text("decided_by"), _text("status"), _text("tags"), _text("src"),
    sa.Column("posts", sa.Integer, nullable=False), _text("model"), _text("review"), _text("built"),
    _text("date_precision"), sa.Column("first_post", sa.Date), sa.Column("label_low", sa.Integer),
    sa.Column("label_high", sa.Integer), _text("representatives"))

incident_posts = sa.Table(
    "incident_posts", _tables, _key("task"), _key("dataset"), _key("incident_id"), _key("id"),
    sa.ForeignKeyConstraint(
        ["task", "dataset", "incident_id"],
        ["incidents.task", "incidents.dataset", "incidents.incident_id"], ondelete="CASCADE"),
    _of_post())

reviews = sa.Table(
    "reviews", _tables, sa.Column("number", sa.Integer, primary_key=True), _text("task"), _text("dataset"),
    _text("incident_id"), _text("posts"), _text("action"), _text("value"), _text("who"),
    sa.Column("at", sa.DateTime, nullable=False), _text("note"))

force_ranks = sa.Table("force_ranks", sa.MetaData(), *(
    sa.Column(name, {"incident_date": sa.Date, "lat": sa.Float, "long": sa.Float, "force_rank": sa.Integer,
                     "confidence": sa.Float}.get(name, sa.Text), primary_key=name == "incident_id")
    for name in ("incident_id", "incident_date", "tweet_id", "user_name", "description", "city", "state", "lat", "long",
                 "title", "force_rank", "status", "confidence", "tags", "src")))
"""What the dashboard of the first project reads: a view of the store, and the table of a second database."""
_FORCE_RANKS = f"""
CREATE VIEW force_ranks AS
SELECT {", ".join("label AS force_rank" if c.name == "force_rank" else c.name for c in force_ranks.c)}
FROM incidents
WHERE task = 'force' AND dataset = (SELECT value FROM meta WHERE name = 'incidents of force')
"""


def create(connection: sa.Connection) -> None:
    """Make what is missing of the tables, and bring a store of an earlier version up to this one.

    Raises
    ------
    InputError
        If a later version of this project wrote the store.
    """
    _tables.create_all(connection)
    version = connection.scalar(sa.select(meta.c.value).where(meta.c.name == "schema_version"))
    if version is None:
        connection.execute(sa.text(_FORCE_RANKS))
        connection.execute(meta.insert().values(name="schema_version", value=str(SCHEMA_VERSION)))
    elif int(version) < SCHEMA_VERSION:
        _add_columns(connection)
        connection.execute(meta.update().values(value=str(SCHEMA_VERSION)).where(meta.c.name == "schema_version"))
    elif int(version) > SCHEMA_VERSION:
        raise InputError(f"the store has schema version {version}, this code needs {SCHEMA_VERSION}; "
                         "use the code it was written with, or another DB_URL")


def _add_columns(connection: sa.Connection) -> None:
    """Bring the tables of an earlier version of the schema up to this one, which only adds to them."""
    for table in _tables.sorted_tables:
        there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        for column in table.c:
            if column.name not in there:
                definition = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))
