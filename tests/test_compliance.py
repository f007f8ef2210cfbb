"""Posts that are gone from X leave nothing behind but their id."""

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import ROOT, soak
from x_server import some_posts

from hrf_utils import (
    collecting,
    compliance,
    incidents,
    reports,
    review,
    schema,
    sources,
    store_reviews,
    x,
    x_search,
)
from hrf_utils.settings import InputError
from hrf_utils.store import Store


@pytest.fixture
def collected(force, server, db_url, monkeypatch):
    """A store with 250 posts from X, five of them edited, with a prediction, a label and an incident for each."""
    monkeypatch.setenv("BUDGET_USD", "100")
    monkeypatch.setenv("BUDGET_USD_MONTH", "1000")
    monkeypatch.setenv("DB_URL", db_url)
    server.posts = some_posts(soak(250, 2000), x.time.time(), step=30)
    for number, post in enumerate(server.posts):
        post["text"] = f"Police pushed number-{number}-quokka & \"others\" in Tulsa, OK 👮"
    store = Store.open()
    collecting.collect(x_search.XSource(force, 10_000, ("police", 1.0, "uniform")), store)
    posts = store.posts("x-force")
    edited = posts.head(5).assign(version=[f"{int(one) + 1}" for one in posts["id"].head(5)])
    store.add_page({"dataset": "x-force", "query": "police", "started_at": x.now()}, edited)
    said = posts[["id"]].assign(label=2, confidence=0.9, p0=0.1)
    store.add_predictions("force", "x-force", "m", said)
    store.add_labels(posts[["dataset", "id"]].assign(task="force", labeler="ann", label=2, origin="session",
                                                     codebook_version=1))
    placed = incidents.date_all(incidents.place_all(posts.assign(label=2, confidence=0.9, decided_by="predicted")))
    store.replace_incidents("force", "x-force", *incidents.build(placed, force, "m"))
    return store


def words(number):
    return f"number-{number}-quokka"


def everywhere(home, store):
    """All bytes of all files below the run's root, and all cells of all tables."""
    found = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    with store.engine.connect() as connection:
        for table in schema.posts.metadata.sorted_tables:
            found += [str(row).encode() for row in connection.execute(sa.select(table))]
    path = store.engine.url.database
    found += [part.read_bytes() for part in Path(path).parent.glob("store.db*")] if path and "/" in path else []
    return b"\n".join(found).decode("utf8", "replace")


def files_with(posts, home):
    """Files below the run's root that hold posts: tables, pages, caches, a notebook that shows them."""
    rows = posts[["id", "text"]]
    for path in (home / "data/labels/out.csv", home / "data/raw/posts.parquet", home / "data/raw/posts.jsonl",
                 home / "data/raw/twarc.jsonl", home / "data/raw/posts.json", home / "reports/force/5_incidents.html",
                 home / "data/models/force/.training-1/learn.parquet", home / "reports/force/.1_scrape.ipynb",
                 home / "notebooks/1_scrape.ipynb", home / "data/splits/force/x.csv"):
        path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(home / "data/labels/out.csv", index=False)
    rows.to_csv(home / "data/splits/force/x.csv", index=False)
    rows.to_parquet(home / "data/raw/posts.parquet")
    rows.to_parquet(home / "data/models/force/.training-1/learn.parquet")
    listed = rows.to_dict("records")
    lines = [json.dumps(row | {"text": row["text"] + "\u2028\x85"}, ensure_ascii=False) for row in listed]
    (home / "data/raw/posts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf8")
    (home / "data/raw/twarc.jsonl").write_text(json.dumps({"data": listed, "meta": {"result_count": len(listed)}}))
    (home / "data/raw/posts.json").write_text(json.dumps({"data": listed}))
    (home / "reports/force/5_incidents.html").write_text("\n".join(rows["text"]))
    shown = [nbformat.v4.new_output("stream", text=text) for text in rows["text"]]
    cells = [nbformat.v4.new_code_cell("1", outputs=[one]) for one in shown]
    for path in (home / "notebooks/1_scrape.ipynb", home / "reports/force/.1_scrape.ipynb"):
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.mark.soak
def test_what_is_deleted_on_x_leaves_no_residue_anywhere(force, collected, server, home):
    count = soak(100, 1000)
    body = json.dumps({"data": [server.posts[0]], "odd": None}).encode()
    for text in (body, b"<html>"):
        collected.add_page({"dataset": "x-force", "query": "police", "started_at": x.now()}, pd.DataFrame(),
                           unreadable=(text, "no page"))
    files_with(collected.posts("x-force"), home)
    gone, kept = server.posts[:count], server.posts[count:]
    before = everywhere(home, collected)
    assert all(before.count(words(number)) > 8 for number in range(len(server.posts)))
    server.posts = kept
    done = compliance.comply(collected)
    after = everywhere(home, collected)
    assert [number for number in range(count) if words(number) in after] == []
    assert all(after.count(words(number)) >= 7 for number in range(count, count + len(kept)))
    assert (done.public, len(done.dropped), done.waiting, done.problem) == (len(kept), count, 0, "")
    assert set(collected.tombstones()["id"]) == {post["id"] for post in gone}
    assert set(collected.labels("force", ["x-force"])["id"]) == {post["id"] for post in kept}
    assert len(collected.quarantine("x-force")) == 1
    told = collected.incidents("force", "x-force")
    assert not set(told["tweet_id"]) & {post["id"] for post in gone} and len(told) > 0
    assert len(compliance.comply(collected).dropped) == 0


def test_what_was_dropped_never_comes_back(force, collected, server):
    gone, server.posts = server.posts[:5], server.posts[5:]
    compliance.comply(collected)
    again = pd.DataFrame({"dataset": "x-force", "id": [post["id"] for post in gone], "text": "back", "task": "force",
                          "label": 1, "labeler": "ann", "origin": "session", "codebook_version": 1})
    assert collected.add_posts(again) == collected.add_labels(again) == 0
    search = {"dataset": "x-force", "query": "police", "started_at": x.now()}
    assert collected.add_page(search, again) == 0 and not set(again["id"]) & set(collected.posts("x-force")["id"])


def test_ids_of_dropped_posts_leave_the_log_of_reviews(collected, server):
    told = collected.incidents("force", "x-force")
    one = told.sort_values("posts").iloc[-1]
    review.record(collected, "force", "x-force", one["incident_id"], "approve", "ann")
    seen = store_reviews.log(collected, "force", "x-force")["posts"][0]
    server.posts = [post for post in server.posts if post["id"] != seen[0]]
    assert len(seen) > 1 and len(compliance.comply(collected).dropped) == 1
    log = store_reviews.log(collected, "force", "x-force")
    assert log["posts"].tolist() == [seen[1:]] and log["who"].tolist() == ["ann"]


def test_hundreds_are_asked_for_and_paid_for_the_longest_unchecked_first(collected, server, clock, monkeypatch):
    monkeypatch.setenv("BUDGET_USD", "0.6")
    server.asked.clear()
    server.sold, server.posts = 0.0, server.posts[3:]
    clock.now += 30 * 3600
    done = compliance.comply(collected)
    assert (done.waiting, done.public + len(done.dropped)) == (150, 100) and "left of BUDGET_USD" in done.problem
    assert collected.queries("x")["spent"].sum() == pytest.approx(server.sold)
    for waiting in (50, 0, 0):
        assert compliance.comply(collected, timedelta(hours=20)).waiting == waiting
    asked = [query["ids"].split(",") for _, query in server.asked]
    assert list(map(len, asked)) == [100, 100, 50] and len(set(sum(asked, []))) == 250
    spent, server.script = collected.queries("x")["spent"].sum(), [lambda *_: (403, {}, b"{}")]
    assert "does not allow" in compliance.comply(collected).problem  # and what X refuses costs nothing
    assert collected.queries("x")["spent"].sum() == pytest.approx(spent)


def test_only_what_x_calls_gone_is_dropped(collected, server, clock):
    def partly(code, headers, body):
        page = json.loads(body)
        ids = [post["id"] for post in page.pop("data")]
        page["errors"] = [{"title": "Authorization Error", "resource_id": ids[0]},
                          {"title": "Service Unavailable", "resource_id": ids[1]},
                          {"title": "Not Found Error", "resource_id": "p1", "resource_type": "place"}]
        return code, headers, json.dumps(page).encode()
    server.script = [partly]
    done = compliance.comply(collected)
    assert done.dropped["reason"].tolist() == ["no longer public"] and len(collected.posts("x-force")) == 249
    server.script = [lambda *_: (401, {}, b"{}")]
    done = compliance.comply(collected)
    assert "refuses the credentials" in done.problem and done.dropped.empty and done.waiting == 249
    for body in (b"<html>", b'{"data": [{"id": "1", "geo": 5}]}'):
        server.script = [lambda code, headers, _, body=body: (code, headers, body)]
        assert compliance.comply(collected).problem == "X's answer to a lookup cannot be read; run again"
    assert len(collected.posts("x-force")) == 249


def test_a_dry_run_says_what_it_would_cost_and_drops_nothing(collected, server, monkeypatch):
    monkeypatch.setenv("DRY_RUN", "1")
    asked, server.posts = len(server.asked), server.posts[5:]
    done = compliance.comply(collected)
    assert (done.problem, done.waiting) == ("a look at all costs up to $1.25", 250) and done.dropped.empty
    assert len(server.asked) == asked and len(collected.posts("x-force")) == 250


def test_posts_are_dropped_by_age_without_asking_x(collected, server, clock, monkeypatch):
    monkeypatch.delenv("BEARER_TOKEN")
    monkeypatch.setenv("RETENTION_DAYS", "30")
    clock.now = pd.Timestamp.now("UTC").timestamp() + 29 * 86_400
    assert compliance.comply(collected).dropped.empty
    clock.now += 2 * 86_400
    done = compliance.comply(collected)
    assert len(done.dropped) == 250 and done.problem == "" and collected.posts("x-force").empty
    assert done.dropped["reason"].unique().tolist() == ["older than 30 days"]


def test_starter_posts_and_row_numbers_are_not_asked_for(force, server, table):
    collecting.collect(sources.open_source("starter", force), Store.open())
    collecting.collect(sources.open_source("file", force, table(text=["a b", "c d"])), Store.open())
    assert compliance.comply(Store.open()).public == 0 and server.asked == []


def test_a_file_that_cannot_be_read_is_named(collected, server, home):
    (home / "data").mkdir(parents=True, exist_ok=True)
    (home / "data" / "x.json").write_text('{"id": "' + server.posts[0]["id"] + '"')
    server.posts = server.posts[1:]
    with pytest.raises(InputError, match="x.json may hold posts that are to be dropped and cannot be read"):
        compliance.comply(collected)
    assert len(collected.posts("x-force")) == 250


def test_a_report_on_posts_that_were_not_checked_says_so(collected, clock, home):
    assert reports._banners("x-force")[0].startswith("250 posts from X behind this report were not checked")
    clock.now = pd.Timestamp.now("UTC").timestamp()
    collected.mark_checked(collected.posts("x-force"), x.now())
    assert reports._banners("x-force") == []


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
def test_make_comply_says_what_it_did(collected, server):
    server.clock.now = pd.Timestamp.now("UTC").timestamp()
    server.posts = server.posts[7:]
    environment = os.environ | {"X_API_URL": server.url, "BEARER_TOKEN": "secret"}
    done = subprocess.run(["make", "comply"], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "243 posts are public on X; 7 were dropped." in done.stdout and "deleted" in done.stdout
