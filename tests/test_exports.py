"""Incidents as files, and in a second database."""

import json
import re
from datetime import date

import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import ROOT
from test_review import POSTS, THREE, Desk, built

from hrf_utils import exports, schema, settings, store_publish
from hrf_utils.settings import InputError
from hrf_utils.store import Store

WITHHELD = {"task", "dataset", "user_name", "review", "built"}
FORMULAS = ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "  =1", '"=1', "'=1", "\n=1", "\u200b=1", "\ufeff=1", "＝1",
            "\t", " \t x"]


def test_no_cell_of_a_csv_runs_in_a_spreadsheet():
    assert all(exports.inert(cell) == "'" + cell for cell in FORMULAS)
    plain = ["Lethal in Tulsa, OK", "a=b", "", -1.5, None, "2026-03-01", "👮"]
    assert [exports.inert(cell) for cell in plain] == plain


def test_files_hold_ids_and_no_text_no_author_and_nobody_who_reviewed(tmp_path, monkeypatch):
    frame, _ = built(**THREE)
    frame = frame.assign(title=["=cmd()", *frame["title"][1:]], review="approved by ann", built="{}", task="force",
                         incident_date=[date(2026, 3, 1), None, None])
    names = exports.write(frame, tmp_path, POSTS)
    everything = "".join((tmp_path / name).read_bytes().decode("utf8", "replace") for name in names)
    assert not [word for word in ("ann", "Cops tased", "user_name", "description", "a1") if word in everything]
    csv = pd.read_csv(tmp_path / "incidents.csv", dtype=str, keep_default_na=False)
    assert csv["title"][0] == "'=cmd()" and csv["tweet_id"].tolist() == ["p0", "p3", "p6"]
    assert csv["incident_date"].tolist() == ["2026-03-01", "", ""]
    rows = pd.read_parquet(tmp_path / "incidents.parquet")
    assert list(rows.columns) == list(csv.columns) and rows["title"][0] == "=cmd()" and rows["lat"].notna().sum() == 1
    collection = json.loads((tmp_path / "incidents.geojson").read_text("utf8"))
    first, second, _ = collection["features"]
    assert first["geometry"] == {"type": "Point", "coordinates": [-95.9, 36.1]} and second["geometry"] is None
    assert (first["id"], first["properties"]["incident_date"]) == ("i1", "2026-03-01")
    assert second["properties"]["incident_date"] is None
    told = pd.read_csv(tmp_path / "incidents_columns.csv", dtype=str)
    assert told["column"].tolist() == list(csv.columns) and told["meaning"].str.len().min() > 5
    monkeypatch.setenv("SHOW_TEXT", "1")
    exports.write(frame, tmp_path, POSTS)
    assert pd.read_csv(tmp_path / "incidents.csv")["description"][0].startswith("Cops tased")
    exports.write(frame.iloc[:0], tmp_path, POSTS)
    assert pd.read_parquet(tmp_path / "incidents.parquet").empty


def test_the_dictionary_names_every_column_and_the_readme_says_the_same():
    known = exports.columns()
    assert set(schema.incidents.c.keys()) - WITHHELD == set(known["column"])
    readme = (ROOT / "data" / "README.md").read_text()
    section = readme[readme.index("| column of the exports and the store | type | meaning |"):].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", section, re.M)
    assert rows == list(known.itertuples(index=False, name=None))


# ---- publish


@pytest.fixture
def backend(tmp_path, request, db_url):
    """A second database of the same kind as the store's."""
    if db_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'backend.db'}"
    url = sa.make_url(db_url)
    with sa.create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {url.database}b"))
    return url.set(database=f"{url.database}b").render_as_string(hide_password=False)


def published(backend):
    with sa.create_engine(backend).connect() as connection:
        return pd.read_sql(sa.text("SELECT * FROM force_ranks ORDER BY incident_id"), connection)


def test_approved_incidents_are_published_and_withdrawn_and_twice_is_once(db_url, backend):
    desk = Desk(db_url)
    desk.store.add_posts(POSTS)
    desk.build(**THREE)
    for one in ("i1", "i2"):
        desk.do(one, "approve")
    assert store_publish.publish(desk.store, backend) == (2, 2, 0, "d")
    first = published(backend)
    view = desk.store.force_ranks()
    assert list(first.columns) == list(view.columns) and first["incident_id"].tolist() == ["i1", "i2"]
    assert store_publish.publish(desk.store, backend) == (2, 0, 0, "d")
    pd.testing.assert_frame_equal(published(backend), first)
    desk.do("i1", "edit", value={"title": "Shots by the river"})
    desk.do("i2", "reject", "bob")
    desk.do("i3", "approve")
    assert store_publish.publish(desk.store, backend) == (2, 1, 1, "d")
    assert published(backend).set_index("incident_id")["title"].to_dict() == {
        "i1": "Shots by the river", "i3": "Place unknown: lethal force"}
    assert set(published(backend)["status"]) == {"approved"} and set(published(backend)["description"]) == {""}


def test_what_cannot_be_published_changes_nothing(db_url, backend):
    desk = Desk(db_url)
    desk.store.add_posts(POSTS)
    desk.build(**THREE)
    desk.do("i1", "approve")
    for url, says in (("", "names no database"), (db_url, "names a store of this project"),
                      ("nonsense", "BACKEND_DB_URL is not a database address"),
                      ("sqlite:////no/such/folder/x.db", "does not answer")):
        with pytest.raises(InputError, match=says):
            store_publish.publish(desk.store, url)
    store_publish.publish(desk.store, backend)
    with sa.create_engine(backend).begin() as connection:
        connection.execute(sa.text("ALTER TABLE force_ranks DROP COLUMN tags"))
    desk.do("i1", "reject")
    desk.do("i2", "approve")
    with pytest.raises(InputError, match="BACKEND_DB_URL cannot take the incidents"):
        store_publish.publish(desk.store, backend)
    assert published(backend)["incident_id"].tolist() == ["i1"]


def test_nothing_to_publish_makes_an_empty_table(db_url, backend):
    assert store_publish.publish(Store.open(db_url), backend) == (0, 0, 0, "")
    assert published(backend).empty


def test_make_publish_is_a_target_that_says_what_it_did(tmp_path, monkeypatch, capsys):
    from hrf_utils import pipeline
    monkeypatch.setenv("BACKEND_DB_URL", f"sqlite:///{tmp_path / 'b.db'}")
    pipeline.publish()
    assert "0 approved incidents are published (0 of them new), 0 were withdrawn." in capsys.readouterr().out
    assert "BACKEND_DB_URL" in settings.VARIABLES
