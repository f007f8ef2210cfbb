"""The API on a real uvicorn: every route, its limits, and what it must never say."""

import contextlib
import io
import json
import os
import socket
import threading
import time
from pathlib import Path

import httpx
import pandas as pd
import pytest
import uvicorn
from conftest import ROOT
from x_server import post_id, some_posts

from hrf_utils import api, files, pipeline, review, serving, settings, tasks, training
from hrf_utils.settings import InputError
from hrf_utils.store import Store

WORDS = {"force": ["a calm day", "police stood there", "they shoved her", "baton on his arm", "spray in my eyes",
                   "shot him dead"], "threat": ["a calm day", "we light the lantern"]}
SECRET = "supersecretword"


@pytest.fixture(scope="session")
def models(tiny_bert, tmp_path_factory):
    """A tiny model for each task, and for the threat one the figures that the performance chapter adds."""
    home = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HRF_HOME", str(home))
        for task, texts in WORDS.items():
            rows = [{"dataset": "d", "id": f"{label}-{k}", "text": f"{text} {'abcdefgh'[k]}", "label": label,
                     "part": "validation" if k % 4 == 0 else "train", "group": label * 100 + k}
                    for label, text in enumerate(texts) for k in range(8)]
            made = training.train(pd.DataFrame(rows), tasks.load(task), str(tiny_bert),
                                  {"datasets": ["d"], "data_sha256": "0" * 64},
                                  recipe=training.Recipe(epochs=6, learning_rate=5e-3, batch_size=8))
        alarms = {"1 in 100": {"value": 0.9, "low": 0.8, "high": 0.95}}
        files.write_json(made.folder / "metrics.json", {"false_alarms": alarms})
    return home / "data" / "models"


class Server:
    """A uvicorn in a thread of this process, on a free port."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.app = api.app()
        self.uvicorn = uvicorn.Server(uvicorn.Config(self.app, log_level="critical", access_log=False, ws="none"))
        self.thread = threading.Thread(target=self.uvicorn.run, args=([self.socket],), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        while not self.uvicorn.started:
            time.sleep(0.01)

    def stop(self):
        self.client.close()
        self.uvicorn.should_exit = True
        self.thread.join(20)


@pytest.fixture
def serve(home, models, monkeypatch, tmp_path):
    """Start a server with some variables; its client. A collection runs a `make` that does nothing."""
    started = []
    (tmp_path / "quiet").mkdir()
    (tmp_path / "quiet" / "make").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path / 'quiet'}:{os.environ['PATH']}")

    def begin(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        (home / "data").mkdir(parents=True, exist_ok=True)
        if not (home / "data" / "models").exists():
            (home / "data" / "models").symlink_to(models)
        started.append(Server())
        return started[-1].client

    yield begin
    for server in started:
        server.stop()


def in_store(url=None, count=5, text=SECRET):
    """A store with incidents of ranks 1 to 5 in two states, each told by a post."""
    store = Store.open(url)
    ids = [post_id(1_770_000_000 + k) for k in range(count)]
    store.add_posts(pd.DataFrame({"dataset": "d", "id": ids, "text": f"{text} 👮 \u202e<script>", "source": "x"}))
    rows = pd.DataFrame({
        "incident_id": [f"{k:012x}" for k in range(count)], "tweet_id": ids, "label": [1 + k % 5 for k in range(count)],
        "incident_date": [pd.Timestamp(2026, 3, 1 + k % 28).date() for k in range(count)],
        "title": "Lethal in Tulsa, OK", "city": ["Tulsa", "=HYPERLINK(1)"] * (count // 2) + ["Tulsa"] * (count % 2),
        "state": ["OK", "NY"] * (count // 2) + ["OK"] * (count % 2), "lat": [36.1] + [None] * (count - 1),
        "long": [-95.9] + [None] * (count - 1), "confidence": 0.9, "status": "pending", "posts": 1, "src": "d/1"})
    store.replace_incidents("force", "d", rows, rows[["incident_id"]].assign(id=ids))
    return store


def said(answer, status):
    """The one sentence of an error."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"] and SECRET not in answer.text and str(ROOT) not in answer.text
    return answer.json()["detail"]


# ---- predict


def test_texts_are_classified_with_sets_and_what_was_cut(serve):
    client = serve()
    texts = ["shot him dead a", "a calm day b", "calm " * 200, "\ud800\x00<script>", "é" * 30_000]
    got = client.post("/predict", content=json.dumps({"task": "force", "texts": texts}),
                      headers={"Content-Type": "application/json"}).json()
    model = api.Predictor("force").ask(texts[:2]).result(60).model
    assert got["model"] == model.name and [one["cut"] for one in got["results"]] == [False, False, True, False, True]
    ours = model.predict(texts[:2])
    for one, row in zip(got["results"], ours.itertuples(), strict=False):
        assert (one["label"], one["name"]) == (row.label, tasks.load("force").names[row.label])
        assert one["confidence"] == pytest.approx(row.confidence, abs=1e-5)
        limits = model.manifest["thresholds"]
        assert one["abstains"] == (one["confidence"] < limits["abstain"])
        chances = one["probabilities"]
        assert set(one["label_set"]) == {n for n, p in chances.items() if p >= limits["set"]} | {one["name"]}
    assert client.get("/health").json() == {"ready": True, "model": model.name, "last_collection": None}


@pytest.mark.parametrize(("body", "status", "says"), [
    ('{"texts": []}', 422, "texts: List should have at least 1 item"), ("{", 422, "the body is no JSON"),
    (json.dumps({"texts": ["x"] * 257}), 422, "at most 256"), ('{"texts": [1]}', 422, "valid string"),
    (f'{{"texts": ["x"], "{SECRET}": 1}}', 422, "a field that is not known"), ("[" * 100_000, 400, "parsing the body"),
    (f'{{"texts": ["x"], "task": "{SECRET}"}}', 422, "there is no such task"),
    ('{"texts": ["x"], "task": "threat"}', 403, "off until THREAT_ENABLED=1")])
def test_bad_requests_are_one_sentence_that_echoes_nothing(serve, body, status, says):
    answer = serve().post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert says in said(answer, status)


def test_requests_that_come_together_are_predicted_together(models, monkeypatch, home):
    (home / "data").mkdir(parents=True)
    (home / "data" / "models").symlink_to(models)
    predictor = serving.Predictor("force")
    predictor.ask([]).result(60)
    sizes, predict, go = [], predictor.model.predict, threading.Event()

    def slow(texts):
        go.wait(10)
        sizes.append(len(texts))
        return predict(texts)

    monkeypatch.setattr(predictor.model, "predict", slow)
    first = predictor.ask(["first"])
    time.sleep(0.2)
    rest = [predictor.ask([f"shot {k}"] * (k + 1)) for k in range(8)]
    rest[3].cancel()
    with pytest.raises(serving.Refusal, match="too many texts wait") as full:
        predictor.ask(["x"] * serving.WAITING)
    assert full.value.status == 503 and full.value.headers == {"Retry-After": "3"}
    go.set()
    assert len(first.result(60).rows) == 1
    assert [len(one.result(60).rows) for one in rest if not one.cancelled()] == [1, 2, 3, 5, 6, 7, 8]
    assert sizes == [1, 32] and predictor.waiting == 0


def test_a_model_that_is_trained_meanwhile_takes_over(serve, models, home):
    client = serve()
    own = next(path for path in (models / "force").iterdir() if path.is_dir())
    first = client.post("/predict", json={"texts": ["x"]}).json()["model"]
    (home / "data" / "models").unlink()
    (home / "data" / "models" / "force").mkdir(parents=True)
    assert "no usable model" in said(client.post("/predict", json={"texts": ["x"]}), 503)
    assert client.get("/health").status_code == 503
    (home / "data" / "models" / "force" / "2099-new").symlink_to(own)
    (home / "data" / "models" / "force" / "current").write_text("2099-new\n")
    assert client.post("/predict", json={"texts": ["x"]}).json()["model"] == "2099-new" != first
    assert client.get("/health").json()["model"] == "2099-new"


# ---- incidents


def test_incidents_are_filtered_paged_and_carry_no_text(serve, db_url, monkeypatch):
    store = in_store(db_url, 30)
    client = serve(DB_URL=db_url)
    whole = client.get("/incidents").json()
    assert whole["total"] == 30 and SECRET not in json.dumps(whole)
    assert list(whole["incidents"][0]) == store.force_ranks().columns.tolist()
    assert [one["incident_date"] for one in whole["incidents"]][:2] == ["2026-03-28", "2026-03-27"]
    pages = [client.get("/incidents", params={"limit": 7, "offset": at}).json() for at in range(0, 35, 7)]
    assert [one for page in pages for one in page["incidents"]] == whole["incidents"]
    some = client.get("/incidents", params={"rank": [4, 5], "state": "OK", "since": "2026-03-10", "until": "2026-03-20",
                                            "status": "pending"}).json()
    want = [one for one in whole["incidents"] if one["force_rank"] in (4, 5) and one["state"] == "OK"
            and "2026-03-10" <= one["incident_date"] <= "2026-03-20"]
    assert some["incidents"] == want and some["total"] == len(want) > 0
    assert client.get("/incidents?status=approved").json()["total"] == 0
    monkeypatch.setenv("SHOW_TEXT", "1")
    assert SECRET in client.get("/incidents?limit=1").json()["incidents"][0]["description"]


def test_incidents_as_csv_and_geojson_by_accept_or_format(serve):
    in_store()
    client = serve()
    for how in ({"headers": {"Accept": "text/csv"}}, {"params": {"format": "csv"}}):
        answer = client.get("/incidents", **how)
        table = pd.read_csv(io.StringIO(answer.text), dtype=str)
        assert len(table) == 5 and answer.headers["x-total-count"] == "5" and SECRET not in answer.text
        assert set(table["city"]) == {"Tulsa", "'=HYPERLINK(1)"}
    answer = client.get("/incidents", headers={"Accept": "application/geo+json"})
    features = answer.json()["features"]
    assert answer.headers["content-type"] == "application/geo+json" and len(features) == 5
    assert [one["geometry"] for one in features if one["geometry"]] == [{"type": "Point", "coordinates": [-95.9, 36.1]}]
    assert client.get("/incidents", headers={"Accept": "text/csv"}, params={"format": "json"}).json()["total"] == 5
    assert client.get("/incidents", headers={"Accept": "application/json, text/csv;q=0.1"}).json()["total"] == 5


@pytest.mark.parametrize("query", [f"rank={SECRET}", "rank=-1", f"rank={10**40}", "state=ok", "state=%00%00", "limit=0",
                                   "limit=1001", "offset=-1", f"offset={10**30}", "since=2026-13-01", "status=maybe",
                                   "format=xml", "since=99999-01-01"])
def test_filters_that_cannot_be_are_refused(serve, query):
    said(serve().get(f"/incidents?{query}"), 422)


def test_a_store_that_goes_away_is_503(serve, monkeypatch):
    client = serve()

    def gone(*_, **__):
        raise api.sa.exc.OperationalError(f"SELECT {SECRET}", {}, Exception(SECRET))

    monkeypatch.setattr(api.store_serving, "incidents", gone)
    answer = client.get("/incidents")
    assert "the store does not answer" in said(answer, 503) and answer.headers["retry-after"] == "6"
    monkeypatch.setattr(api.store_serving, "incidents", lambda *_, **__: 1 / 0)
    assert "something went wrong" in said(client.get("/incidents"), 500)


# ---- review


def test_a_review_is_written_and_shown(serve, db_url):
    store, client = in_store(db_url), serve(DB_URL=db_url)
    one = client.get("/incidents").json()["incidents"][0]
    where = f"/incidents/{one['incident_id']}/review"
    got = client.post(where, json={"action": "approve", "who": "ann"}).json()
    assert got["number"] == 1 and got["incident"] == one | {"status": "approved"}
    assert said(client.post(where, json={"action": "approve", "who": " ann "}), 422).startswith("the reviewer has appr")
    got = client.post(where, json={"action": "edit", "who": "ben", "value": {"rank": 3, "city": "Boise", "state": "ID"},
                                   "note": "as the film shows"}).json()
    assert (got["incident"]["force_rank"], got["incident"]["state"]) == (3, "ID") and 43 < got["incident"]["lat"] < 44
    assert client.get("/incidents?status=approved&rank=3&state=ID").json()["incidents"] == [got["incident"]]
    assert client.post(where, json={"action": "undo", "who": "ben", "value": {"number": 2}}).json()[
        "incident"]["state"] == one["state"]
    assert review.store_reviews.log(store, "force", "d")["action"].tolist() == ["approve", "edit", "undo"]


@pytest.mark.parametrize(("where", "step", "status", "says"), [
    ("f" * 12, {"action": "approve", "who": "a"}, 404, "there is no incident"), ("x", {}, 422, "right form"),
    ("0" * 12, {"action": "approve"}, 422, "who"), ("0" * 12, {"action": SECRET, "who": "a"}, 422, "action"),
    ("0" * 12, {"action": "approve", "who": "a", SECRET: 1}, 422, "not known"),
    ("0" * 12, {"action": "edit", "who": SECRET, "value": {"city": SECRET}}, 422, "no city"),
    ("0" * 12, {"action": "edit", "who": "a", "value": {SECRET: 1}}, 422, "the value of edit"),
    ("0" * 12, {"action": "merge", "who": "a", "value": {"with": [SECRET]}}, 422, "merge needs"),
    ("0" * 12, {"action": "undo", "who": "a"}, 422, "undo needs the number"),
    ("0" * 12, {"action": "undo", "who": "a", "value": {"number": [1]}}, 422, "undo needs the number"),
    ("0" * 12, {"action": "edit", "who": "a", "value": {"rank": json.loads("[" * 600 + "]" * 600)}}, 422, "too deeply"),
    ("0" * 12, {"action": "note", "who": "\ud800\x00"}, 422, "")])
def test_steps_that_cannot_be_taken_change_nothing_and_echo_nothing(serve, where, step, status, says):
    store, client = in_store(), serve()
    answer = client.post(f"/incidents/{where}/review", content=json.dumps(step),
                         headers={"Content-Type": "application/json"})
    assert says in said(answer, status) and review.store_reviews.log(store, "force", "d").empty


# ---- the report site


def test_the_report_site_serves_its_pages_and_nothing_else(serve, home):
    client = serve()
    assert "make pipeline" in said(client.get("/"), 404)
    folder = home / "reports" / "force"
    folder.mkdir(parents=True)
    (home / "reports" / "index.html").write_text("<h1>all</h1>")
    for name in ("4_performance.html", "metrics.json", "map.geojson", "incidents.csv", "p.png", "3_train.ipynb",
                 ".hidden.html", "a.py"):
        (folder / name).write_text("x")
    (home / "secret.html").write_text(SECRET)
    (folder / "link.html").symlink_to(home / "secret.html")
    assert client.get("/").text == client.get("/index.html").text == "<h1>all</h1>"
    assert "text/html" in client.get("/").headers["content-type"]
    kinds = {name: client.get(f"/force/{name}") for name in ("4_performance.html", "metrics.json", "map.geojson",
                                                             "incidents.csv", "p.png")}
    assert all(answer.status_code == 200 for answer in kinds.values())
    assert kinds["p.png"].headers["content-type"] == "image/png"
    assert "default-src 'none'" in kinds["4_performance.html"].headers["content-security-policy"]
    for path in ("force/3_train.ipynb", "force/.hidden.html", "force/a.py", "force/link.html", "..%2fsecret.html",
                 "force/..%2f..%2f..%2fsecret.html", "%2e%2e/secret.html", "force/%00.html", "force/" + "a" * 300,
                 "force/..%5c..%5csecret.html", "force", "force/", "//etc/passwd", "data/hrf.db"):
        with socket.create_connection(("127.0.0.1", int(client.base_url.port))) as raw:
            raw.sendall(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 404") and SECRET not in answer, path


# ---- the threat indicator


@pytest.fixture
def x_posts(server):
    server.posts = some_posts(3, 1_779_000_000.0)
    return server


def test_a_post_of_x_is_scored_and_paid_for(serve, x_posts, monkeypatch):
    client = serve(THREAT_ENABLED="1")
    wanted = x_posts.posts[0]["id"]
    got = client.get(f"/threat_level/{wanted}").json()
    assert 0 <= got["score"] <= 1 and got["decided_by"] == "predicted" and got["text"] is None
    assert got["notice"].endswith("not evidence about a person.") and set(got["label_set"]) <= {"No support", "Support"}
    assert got["prevalence"] == [{"positives": "1 in 100", "false_share": 0.9, "low": 0.8, "high": 0.95}]
    assert Store.open().queries("x")["spent"].sum() == pytest.approx(0.005)
    monkeypatch.setenv("SHOW_TEXT", "1")
    assert client.get(f"/threat_level/{wanted}").json()["text"] == x_posts.posts[0]["text"]
    monkeypatch.setenv("BUDGET_USD_MONTH", "0.01")
    assert "budget" in said(client.get(f"/threat_level/{wanted}"), 503)
    assert len(x_posts.asked) == 2


def test_posts_that_cannot_be_had(serve, x_posts, monkeypatch):
    client = serve(THREAT_ENABLED="1", BUDGET_USD_MONTH="1")
    protected = {"errors": [{"resource_id": "123", "title": "Authorization Error"}]}
    assert "no public post" in said(client.get("/threat_level/1"), 404)  # deleted, or never there
    x_posts.script[:] = [lambda *_: (200, {}, json.dumps(protected).encode())]
    assert "no public post" in said(client.get("/threat_level/123"), 404)
    for bad in ("-5", "1e5", "abc", str(10**30), "0", "007", "١٢٣", "1 2", "%00", "1%0a"):
        assert "tweet_id" in said(client.get(f"/threat_level/{bad}"), 422)
    assert "no public post" in said(client.get(f"/threat_level/{2**63}"), 404)
    assert Store.open().queries("x")["spent"].sum() == 0
    for fault, says in ((401, "refuses"), (402, "refuses"), (403, "refuses"), (429, "not answer"), (500, "not answer")):
        x_posts.script[:] = [lambda *_, fault=fault: (fault, {}, b"{}")]
        assert says in said(client.get("/threat_level/123"), 503)
        unanswered = {429: 1, 500: 2}.get(fault, 0)
        assert Store.open().queries("x")["spent"].sum() == pytest.approx(0.005 * unanswered)
    x_posts.script[:] = [lambda *_: (400, {}, b"{}")]
    said(client.get("/threat_level/123"), 404)
    x_posts.script[:] = [lambda *_: (200, {}, b"<html>")]
    assert "not answer" in said(client.get("/threat_level/123"), 503)
    monkeypatch.delenv("BEARER_TOKEN")
    assert "no credentials for X" in said(client.get("/threat_level/123"), 503)
    monkeypatch.delenv("THREAT_ENABLED")
    assert "off until THREAT_ENABLED=1" in said(client.get("/threat_level/123"), 403)


def test_the_store_is_asked_before_x_and_a_person_before_the_model(serve, db_url):
    store, client = in_store(db_url), serve(THREAT_ENABLED="1", DB_URL=db_url)
    first, second, third = store.posts("d")["id"].tolist()[:3]
    store.add_labels(pd.DataFrame({"task": "threat", "dataset": "d", "id": [second], "labeler": "ann", "label": 1,
                                   "origin": "session", "codebook_version": 1}))
    store.forget(pd.DataFrame({"dataset": ["d"], "id": [third], "reason": ["deleted"]}))
    assert client.get(f"/threat_level/{first}").json()["decided_by"] == "predicted"
    got = client.get(f"/threat_level/{second}").json()
    assert (got["decided_by"], got["score"], got["name"]) == ("labelled", None, "Support")
    assert "no public post" in said(client.get(f"/threat_level/{third}"), 404)


def test_a_model_that_nobody_judged_gives_no_threat_level(serve, models):
    folder = next(path for path in (models / "threat").iterdir() if path.is_dir())
    store, client = in_store(), serve(THREAT_ENABLED="1")
    kept = (folder / "metrics.json").read_text()
    (folder / "metrics.json").unlink()
    try:
        answer = client.get(f"/threat_level/{store.posts('d')['id'].iloc[0]}")
    finally:
        (folder / "metrics.json").write_text(kept)
    assert "not been judged" in said(answer, 503)


# ---- who may ask, and how much


def test_a_key_is_asked_for_everywhere_but_at_the_door(serve, home):
    client = serve(SERVER_KEY="k€y" * 9)
    (home / "reports").mkdir()
    (home / "reports" / "index.html").write_text("x")
    assert client.get("/").status_code == 200 and client.get("/health").json().keys() == {"ready", "model",
                                                                                       "last_collection"}
    for headers in ({}, {"X-API-Key": "no"}, {"X-API-Key": ""}):
        for path in ("/incidents", "/openapi.json", "/threat_level/1", "/force/metrics.json", "/nothing"):
            assert "X-API-Key" in said(client.get(path, headers=headers), 401)
        for path in ("/predict", "/collect"):
            assert "X-API-Key" in said(client.post(path, headers=headers), 401)
    assert client.get("/incidents", headers={b"X-API-Key": ("k€y" * 9).encode()}).status_code == 200


def test_beyond_this_machine_a_key_is_a_must(monkeypatch, serve):
    monkeypatch.setenv("SERVE_AT", "0.0.0.0:80")
    with pytest.raises(InputError, match="set SERVER_KEY"):
        serving.address()
    monkeypatch.setenv("SERVER_KEY", "k")
    assert serving.address() == ("0.0.0.0", 80)
    monkeypatch.delenv("SERVER_KEY")
    for where, found in (("[::1]:8000", ("::1", 8000)), ("localhost:0", ("localhost", 0)), ("127.0.0.9:1", None)):
        monkeypatch.setenv("SERVE_AT", where)
        assert found in (None, serving.address())
    for bad in ("8000", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:"):
        monkeypatch.setenv("SERVE_AT", bad)
        with pytest.raises(InputError, match="is no address"):
            serving.address()


def test_without_a_key_other_machines_names_and_sites_are_refused(serve):
    client = serve()
    assert "its own machine only" in said(client.get("/incidents", headers={"Host": "evil.example"}), 403)
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert "other sites" in said(client.post("/collect", headers=headers), 403)
    assert client.get("/incidents", headers={"Origin": str(client.base_url)}).status_code == 200
    guard = serving.Guard(None, "", 0, [])
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("127.0.0.1", 1)}
    guard._check(scope | {"server": ("127.0.0.1", 80)}, 0.0)
    for far in ({"server": ("10.0.0.1", 80)}, {"client": ("10.0.0.9", 1)}):
        with pytest.raises(serving.Refusal, match="its own machine only"):
            guard._check(scope | far, 0.0)
    for headers in ({"Host": "[::1"}, {"Origin": "http://[x"}):
        assert client.get("/health", headers=headers).status_code == 403


def test_sites_that_are_named_may_ask(serve):
    client = serve(CORS_ORIGINS="https://a.example")
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/predict", headers=asked).headers["access-control-allow-origin"] == "https://a.example"
    assert "X-Total-Count" in client.get("/incidents", headers=asked).headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in client.options("/predict", headers=asked | {
        "Origin": "https://b.example"}).headers


def test_the_rate_of_an_address_is_limited(serve):
    rate = serving.Rate(60)
    assert [rate.wait("a", 0.0) for _ in range(60)] == [0.0] * 60
    assert rate.wait("a", 0.0) == pytest.approx(1.0) == rate.wait("a", 0.0) and rate.wait("b", 0.0) == 0.0
    assert rate.wait("a", 1.01) == 0.0 and rate.wait("a", 1.01) > 0.9
    for k in range(20_000):
        rate.wait(str(k), 0.0)
    assert len(rate.due) == 10_000
    client = serve(RATE_LIMIT="5")
    answers = [client.get("/incidents") for _ in range(6)]
    assert [one.status_code for one in answers] == [200] * 5 + [429] and answers[-1].headers["retry-after"] in "12 13"


def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("path", ["/predict", "/collect", "/incidents"])
def test_ten_megabytes_are_refused_and_never_held(serve, path):
    client = serve()
    client.get("/incidents")

    def drip():
        for _ in range(160):
            yield b"a" * 65_536

    before = memory()
    for body in (b"a" * 10_000_000, drip()):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert "1,000,000 bytes" in said(answer, 413)
    assert memory() - before < 30e6
    assert client.post("/predict", content=b'{"texts": ["' + b"a " * 499_000 + b'"]}',
                       headers={"Content-Type": "application/json"}).json()["results"][0]["cut"] is True


def test_a_request_that_takes_too_long_is_ended(serve, monkeypatch):
    monkeypatch.setattr(serving, "SECONDS", 0.5)
    client = serve()
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as raw:
        raw.sendall(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf")
        raw.settimeout(10)
        assert raw.recv(100).startswith(b"HTTP/1.1 503")


def test_nobody_without_the_key_holds_a_place_by_a_body_that_never_comes(serve, monkeypatch):
    monkeypatch.setattr(serving, "AT_ONCE", 2)
    client = serve(SERVER_KEY="k")
    with contextlib.ExitStack() as held:
        for method in ("GET", "POST"):
            for _ in range(3):
                raw = held.enter_context(socket.create_connection(("127.0.0.1", client.base_url.port)))
                raw.sendall(f"{method} /x.html HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n".encode())
                raw.settimeout(10)
                assert raw.recv(100).startswith(b"HTTP/1.1 404" if method == "GET" else b"HTTP/1.1 401")
        assert client.get("/incidents", headers={"X-API-Key": "k"}).status_code == 200


def test_more_at_once_than_can_be_done_is_refused(serve, monkeypatch):
    monkeypatch.setattr(serving, "AT_ONCE", 0)
    answer = serve().get("/incidents")
    assert "at once" in said(answer, 503) and answer.headers["retry-after"] == "2"


def test_logs_hold_no_text_and_no_key(serve, caplog):
    in_store()
    serving.log.propagate = True
    client = serve(SERVER_KEY=SECRET + "key", THREAT_ENABLED="1")
    headers = {"X-API-Key": SECRET + "key"}
    with caplog.at_level("DEBUG"):
        client.post("/predict", json={"texts": [SECRET]}, headers=headers)
        client.post("/predict", json={"texts": SECRET}, headers=headers)
        client.get(f"/incidents?state={SECRET}", headers=headers)
        client.get(f"/{SECRET}", headers=headers)
        client.get("/incidents", headers={"X-API-Key": SECRET})
    lines = [record.getMessage() for record in caplog.records if record.name == "hrf"]
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        "POST /predict 200", "POST /predict 422", "GET /incidents 422", "GET - 404", "GET - 401"]
    assert not [line for line in lines if SECRET in line]


# ---- collecting


def test_a_collection_is_started_once_and_outlives_the_server(serve, home, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "make"
    fake.write_text('#!/bin/sh\necho "$@ $HRF_LOCKED" >> "$HRF_HOME/made"\n'
                    'while [ ! -e "$HRF_HOME/go" ]; do sleep 0.05; done\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    client = serve()
    assert client.post("/collect").json() == {"started": "make pipeline"}
    (home / "data" / "make.log").write_text("what it says")
    assert client.post("/collect").status_code == 409
    assert (home / "data" / "make.log").read_text() == "what it says"
    while not (home / "made").exists():
        time.sleep(0.02)
    assert (home / "made").read_text() == "--no-print-directory pipeline 1\n"
    assert pipeline.begin() is None  # nor may anybody else
    (home / "go").touch()
    again, until = 409, time.monotonic() + 10
    while again == 409 and time.monotonic() < until:
        again = client.post("/collect").status_code
    assert again == 202


def test_the_schedule_runs_in_one_process_and_another_takes_over(serve, monkeypatch):
    begun, stopped = [], []
    monkeypatch.setattr(api.Watch, "schedule", lambda self, scheduler: begun.append(self))
    monkeypatch.setattr(api.Watch, "stop", lambda self: stopped.append(self))
    monkeypatch.setattr(api, "_TAKE_OVER", 0.05)
    store = None
    serve(SCHEDULE="1", SOURCE="bluesky")
    store = Store.open()
    while not begun:
        time.sleep(0.02)
    with pytest.raises(InputError, match="another process does the same"), store.alone("watch"):
        pass
    second = Server()
    time.sleep(0.3)
    assert len(begun) == 1
    second.stop()
    assert not stopped
    monkeypatch.setenv("SOURCE", "starter")
    with pytest.raises(InputError, match="SOURCE=starter brings nothing new"):
        api.app()


# ---- what the README says


def test_the_table_of_routes_in_the_readme_is_true(serve):
    serve()
    shown = [line.split("|")[1].strip().strip("`") for line in (ROOT / "README.md").read_text().splitlines()
             if line.startswith(("| `GET /", "| `POST /"))]
    document = api.app().openapi()
    made = {f"{method.upper()} {path}" for path, found in document["paths"].items() for method in found}
    assert set(shown) | {"GET /{task}/{page}"} == made
    assert "servers" not in document and settings.get("SERVE_AT") == "127.0.0.1:8000"
