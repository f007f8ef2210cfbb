"""Collecting from X, against a local server that speaks its format: nothing lost, nothing overspent."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa
from conftest import soak
from x_server import NOW, BreakError, post_id, some_posts

from hrf_utils import collecting, x, x_search
from hrf_utils.settings import InputError
from hrf_utils.store import Store

PRICES = x.PRICE


def run(force, most=1000, store=None, phrase="police"):
    store = store or Store.open()
    source = x_search.XSource(force, most, (phrase, 0.1, "bandit"))
    return collecting.collect(source, store), store


def status(code, headers=None, body=b"{}"):
    return lambda *_: (code, headers or {}, body)


def test_all_pages_are_read_and_paid_for(force, server):
    found, store = run(force)
    posts = store.posts("x-force")
    assert set(posts["id"]) == {post["id"] for post in server.posts} and found["new"].tolist() == [250]
    assert posts["author"].str.fullmatch("a[0-9a-f]{16}").all() and posts["place"].eq("Tulsa, OK").sum() == 25
    assert posts["created_at"].max().timestamp() == pytest.approx(NOW - 600, abs=1)
    row = found.iloc[0]
    assert row["status"] == "complete" and row["newest_id"] == server.posts[0]["id"] and row["propensity"] == 0.1
    assert row["policy"] == "bandit"
    assert row["spent"] == pytest.approx(PRICES["count"] + 250 * PRICES["post"] + 3 * PRICES["expansion"])
    assert [path for path, _ in server.asked] == ["/2/tweets/counts/recent"] + ["/2/tweets/search/recent"] * 3


def test_the_next_search_asks_only_for_what_is_new(force, server, clock):
    _, store = run(force)
    clock.now += 4 * 3600
    server.posts += some_posts(5, clock.now)
    found, _ = run(force, store=store)
    assert (found["read"].tolist(), found["new"].tolist()) == ([5], [5])
    clock.now += 3600
    found, _ = run(force, store=store)
    assert found["read"].tolist() == [0] and found["newest_id"].iloc[0] == max(post["id"] for post in server.posts)
    assert store.gaps("x-force").empty


def test_a_limit_of_posts_leaves_a_gap_that_is_told(force, server, clock):
    found, store = run(force, most=100)
    assert found["read"].tolist() == [100] and found["expected"].tolist() == [250]
    gap = store.gaps("x-force").iloc[0]
    assert gap["reason"] == "more than 100 posts"
    assert gap["ends"].timestamp() == pytest.approx(NOW - 600 - 60 * 99, abs=1)
    clock.now += 60
    assert run(force, most=100, store=store)[0]["read"].tolist() == [0]


def test_an_outage_of_more_than_seven_days_is_a_gap(force, server, clock):
    _, store = run(force)
    clock.now += 10 * 86_400
    server.posts += some_posts(5, clock.now)
    found, _ = run(force, store=store)
    gap = store.gaps("x-force").iloc[0]
    assert found["new"].tolist() == [5] and gap["reason"] == "X keeps seven days"
    assert gap["begins"].timestamp() == pytest.approx(NOW - 600, abs=1)
    assert gap["ends"].timestamp() == pytest.approx(clock.now - x_search._REACH.total_seconds(), abs=1)


@pytest.mark.parametrize("at", range(1, 8))
def test_a_crash_before_any_commit_is_gone_on_from(force, server, monkeypatch, at):
    whole, expected = run(force)
    store, add, calls = Store.open(f"sqlite:///{x.settings.data_path('second.db')}"), Store.add_page, []

    def crash(self, *arguments, **options):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return add(self, *arguments, **options)

    monkeypatch.setattr(Store, "add_page", crash)
    with pytest.raises(KeyboardInterrupt):
        run(force, store=store)
    monkeypatch.setattr(Store, "add_page", add)
    run(force, store=store)
    assert store.posts_digest("x-force") == expected.posts_digest("x-force")
    assert not (store.queries("x-force")["status"] == "running").any()


def test_an_expired_token_is_replaced_by_the_last_id(force, server, monkeypatch):
    server.script = [None, None, status(401)]
    with pytest.raises(InputError, match="refuses the credentials"):
        run(force)
    server.script = [status(400, body=b'{"errors": [{"message": "Invalid next_token"}]}')]
    _, store = run(force, store=Store.open())
    assert set(store.posts("x-force")["id"]) == {post["id"] for post in server.posts}
    assert any("until_id" in query for _, query in server.asked)


@pytest.mark.parametrize(("fault", "waits"), [
    (status(429, {"x-rate-limit-reset": str(int(NOW) + 300)}), [301]), (status(429), [60]),
    (status(429, {"x-rate-limit-reset": "-5"}), [60]), (status(429, {"x-rate-limit-reset": str(int(NOW) - 9)}), [60]),
    (status(429, {"x-rate-limit-reset": "soon"}), [60])])
def test_a_rate_limit_is_waited_for_as_told(force, server, clock, fault, waits):
    def limit(*answer):
        server.limited_until = clock.now + waits[0] - 1
        return fault(*answer)
    server.script = [None, limit]
    found, _ = run(force)
    assert found["new"].tolist() == [250] and clock.slept == waits and server.impatient == 0


def test_waits_that_x_asks_for_are_no_tries(force, server, clock):
    def limit(*_):
        server.limited_until = int(clock.now) + 100
        return 429, {"x-rate-limit-reset": str(int(clock.now) + 100)}, b"{}"
    server.script = [None, *[limit] * 8]
    found, _ = run(force)
    assert found["new"].tolist() == [250] and len(clock.slept) == 8 and server.impatient == 0


def test_a_wait_that_is_too_long_stops_with_a_sentence(force, server, clock):
    server.script = [None, status(429, {"x-rate-limit-reset": str(int(NOW) + 86_400)})]
    with pytest.raises(InputError, match="X asks to wait for 1440 minutes; what came is kept"):
        run(force)
    assert clock.slept == [] and run(force)[0]["new"].sum() == 250


def broken(status, headers, body):
    raise BreakError


@pytest.mark.parametrize("fault", [status(503), status(500, body=b"[]"), broken])
def test_failures_are_tried_again_and_again_and_then_named(force, server, clock, fault):
    server.script = [None, fault, fault]
    assert run(force)[0]["new"].tolist() == [250] and len(clock.slept) == 2
    clock.now += 60
    server.script = [fault] * 5
    with pytest.raises(InputError, match="X did not answer in 5 tries"):
        run(force)
    assert len(clock.slept) == 6


def test_a_stall_is_a_failure(force, server, clock, monkeypatch):
    monkeypatch.setattr(x, "_TIMEOUT", (1, 0.2))
    server.script = [None, lambda *answer: (time.sleep(0.6), answer)[1]]
    assert run(force)[0]["new"].tolist() == [250] and len(clock.slept) == 1


@pytest.mark.parametrize(("code", "says"), [(401, "check BEARER_TOKEN"), (402, "credit is used up"),
                                            (403, "does not allow this"), (404, "check X_API_URL"), (400, "refuses")])
def test_refusals_stop_at_once_with_a_sentence(force, server, clock, code, says):
    server.script = [None, None, status(code, body=b'{"detail": "because"}')]
    if code == 400:
        server.script = [None, status(code, body=b'{"detail": "because"}')]
    with pytest.raises(InputError, match=rf"{says}.*\({code}: because\)"):
        run(force)
    assert clock.slept == [] and run(force)[0]["status"].tolist()[-1] == "complete"
    assert len(Store.open().posts("x-force")) == 250


@pytest.mark.parametrize("body", [b'{"data": [{"id"', b"<html>busy</html>", b"[1, 2]", b'{"data": [1]}', b"\xff\xfe",
                                  b'{"meta": {"result_count": 3}}', b'{"meta": null, "data": []}'])
def test_a_page_that_cannot_be_read_is_kept_as_it_came(force, server, body):
    server.script = [None, None, status(200, body=body)]
    with pytest.raises(InputError, match="cannot be read .* its bytes are kept"):
        run(force)
    store = Store.open()
    kept = store.quarantine("x-force")
    assert kept["body"].tolist() == [body] and len(store.posts("x-force")) == 100
    run(force, store=store)
    assert len(store.posts("x-force")) == 250


def test_a_page_that_could_not_be_read_is_replayed_when_it_can_be(force, server, monkeypatch):
    server.script = [None, None, status(200, body=b"<html>"), None, None]
    monkeypatch.setattr(x, "_TRIES", 1)
    real, kept = x_search.read_page, []
    def poor(body, *more):
        kept.append(body)
        if len(kept) == 1:
            raise x.UnreadableError(body, "a field this version does not know")
        return real(body, *more)
    monkeypatch.setattr(x_search, "read_page", poor)
    for _ in range(3):
        with contextlib.suppress(InputError):
            run(force)
    monkeypatch.setattr(x_search, "read_page", real)
    store = Store.open()
    with store.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM posts"))
    assert x_search.replay(store, "x-force") == (1, 100) and len(store.posts("x-force")) == 100
    assert x_search.replay(store, "x-force") == (0, 0) and len(store.quarantine("x-force")) == 1


def rewritten(change):
    def fault(code, headers, body):
        page = json.loads(body)
        change(page)
        return code, headers, json.dumps(page).encode()
    return fault


def test_doubled_reordered_empty_and_strange_pages_give_each_post_once(force, server):
    def empty(page):
        page.update(meta={"result_count": 0, "next_token": "t0"}, data=[])
    def strange(page):
        page["data"] += [7, {"no": "id"}, {"id": "x1", "text": "t"}, {"id": "12", "text": " "}, page["data"][0]]
        page["data"].reverse()
        page.update(new_field={"a": 1}, errors=[{"title": "Not Found Error"}])
    server.script = [None, rewritten(empty), rewritten(strange)]
    found, store = run(force)
    assert store.posts("x-force")["id"].tolist() == sorted(post["id"] for post in server.posts)
    assert found["problems"].tolist() == ["Not Found Error"] and found["refused"].tolist() == [5]


def test_an_edited_post_keeps_its_history_in_whatever_order(force, server, clock):
    first, edited = dict(server.posts[0]), post_id(NOW - 300)
    later = first | {"id": edited, "text": "Police pushed nobody", "edit_history_tweet_ids": [first["id"], edited]}
    _, store = run(force)
    server.posts.append(later)
    clock.now += 60
    run(force, store=store)
    row = store.posts("x-force").set_index("id").loc[first["id"]]
    assert row["text"] == "Police pushed nobody" and len(store.posts("x-force")) == 250
    assert store.versions("x-force")["text"].tolist() == [first["text"], "Police pushed nobody"]
    other = Store.open(f"sqlite:///{x.settings.data_path('other.db')}")
    run(force, store=other, phrase="taser officer")
    assert other.posts("x-force").set_index("id").loc[first["id"], "text"] == "Police pushed nobody"


def test_a_search_that_exceeds_the_budget_is_not_begun(force, server, monkeypatch):
    monkeypatch.setenv("BUDGET_USD", "1")
    with pytest.raises(InputError, match=r"this needs \$1.25, and \$0.99 is left"):
        run(force)
    store = Store.open()
    assert len(server.asked) == 1 and store.queries("x-force")["spent"].tolist() == [PRICES["count"]]
    assert store.queries("x-force")["status"].tolist() == ["too dear"]
    monkeypatch.setenv("BUDGET_USD", "5")
    monkeypatch.setenv("BUDGET_USD_MONTH", "1.2")
    with pytest.raises(InputError, match="BUDGET_USD_MONTH"):
        run(force)
    monkeypatch.setenv("BUDGET_USD", "much")
    with pytest.raises(InputError, match="BUDGET_USD=much is no amount"):
        run(force)


def test_no_run_and_no_month_spends_more_than_its_budget_even_when_pages_are_lost(force, server, clock, monkeypatch):
    monkeypatch.setenv("BUDGET_USD", "1.30")
    monkeypatch.setenv("BUDGET_USD_MONTH", "6")
    server.posts = some_posts(240, NOW)
    for k in range(12):
        server.script, before = [None, None, status(200, body=b"<html>")], server.sold
        with contextlib.suppress(InputError):
            run(force, phrase=force.queries[k % 4])
        assert server.sold - before <= 1.30
        assert server.sold <= Store.open().spent("x", x.now().replace(day=1)) + 1e-9 <= 6 + 1e-6
    spent = server.sold
    with pytest.raises(InputError, match="BUDGET_USD_MONTH"):
        run(force)
    assert spent > 3 and server.sold == pytest.approx(spent, abs=0.006)


def test_a_dry_run_only_counts(force, server, monkeypatch):
    monkeypatch.setenv("DRY_RUN", "1")
    found, store = run(force)
    assert store.posts("x-force").empty and found["status"].tolist() == ["estimated"]
    assert found["expected"].tolist() == [250] and found["spent"].tolist() == [PRICES["count"]]


def test_credentials_are_named_when_they_are_missing(force, server, monkeypatch):
    monkeypatch.delenv("BEARER_TOKEN")
    with pytest.raises(InputError, match="SOURCE=x needs BEARER_TOKEN, or the four keys"):
        run(force)
    for name in ("API_KEY", "API_SECRET_KEY", "ACCESS_KEY"):
        monkeypatch.setenv(name, "k")
    with pytest.raises(InputError, match="of which ACCESS_SECRET is missing"):
        run(force)
    monkeypatch.setenv("ACCESS_SECRET", "k")
    found, _ = run(force)
    assert found["new"].tolist() == [250] and all("counts" not in path for path, _ in server.asked)


def test_no_secret_is_logged(force, server, caplog):
    with caplog.at_level("DEBUG"):
        run(force)
    assert "secret" not in caplog.text


def test_only_one_collects_at_a_time(force, server):
    store = Store.open()
    with store.alone("collect"), pytest.raises(InputError, match="another process does the same"):
        run(force, store=Store.open())
    assert server.asked == []


def test_the_host_is_the_one_tweepy_uses():
    sent = []
    api = x.tweepy.Client("t", return_type=requests.Response)
    api.session.request = lambda method, url, **_: sent.append(url) or pytest.fail(url) if x._HOST not in url else \
        (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        api.search_recent_tweets("police")


def test_chapter_1_tells_the_story_of_a_collection(force, server, home, monkeypatch):
    monkeypatch.undo()  # a process of its own has the real clock
    server.clock.now = time.time()
    server.posts = some_posts(150, server.clock.now)
    environment = os.environ | {"HRF_HOME": str(home), "X_API_URL": server.url, "BEARER_TOKEN": "secret",
                                "BUDGET_USD": "2", "SOURCE": "x", "PARAMS": "-p most_posts 100"}
    done = subprocess.run(["make", "scrape"], env=environment, capture_output=True, text=True,
                          cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    page = (home / "reports" / "force" / "1_scrape.html").read_text()
    assert "100 of them new" in page and "Cost: $" in page and "secret" not in page
    assert "more than 100 posts" in page and "Police pushed" not in page and "x-force" in page
    dry = environment | {"HRF_HOME": str(home / "dry"), "DRY_RUN": "1"}
    done = subprocess.run(["make", "scrape"], env=dry, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    page = (home / "dry" / "reports" / "force" / "1_scrape.html").read_text()
    assert "Read 0 posts from x" in page and "estimated" in page and "Cost: $0.01" in page


# ---- kill -9, in a process of its own


KILLED = """
import os, signal, sys
from hrf_utils import collecting, settings, tasks, x, x_search
from hrf_utils.store import Store
import sqlalchemy as sa
from conftest import soak
from x_server import Clock
at, when = int(sys.argv[1]), sys.argv[2]
x.time, calls, add = Clock(float(sys.argv[3])), [], Store.add_page
def counted(self, *arguments, **options):
    calls.append(1)
    if len(calls) == at and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    if len(calls) == at and when == "within":
        import hrf_utils.store as store
        write = store._insert
        def killed(connection, table, rows):
            write(connection, table, rows)
            if table.name == "posts" or not len(arguments[1]):
                os.kill(os.getpid(), signal.SIGKILL)
        store._insert = killed
    answer = add(self, *arguments, **options)
    if len(calls) == at and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
Store.add_page = counted
collecting.collect(x_search.XSource(tasks.load("force"), 10_000, ("police", 1.0, "uniform")), Store.open())
"""


def collect_in_a_process(db_url, at, when):
    environment = os.environ | {"DB_URL": db_url, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen([sys.executable, "-c", KILLED, str(at), when, str(NOW)], env=environment,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1])


@pytest.mark.soak
def test_kill_9_at_every_boundary_loses_and_doubles_nothing(force, server, db_url, monkeypatch):
    """Twenty pages; each boundary is the asking for, the writing of, and the going on from a page."""
    monkeypatch.setenv("BUDGET_USD", "1000")
    monkeypatch.setenv("BUDGET_USD_MONTH", "1000000")
    pages, kills = soak(6, 20), soak(6, 200)
    server.posts = some_posts(100 * pages, NOW)
    expected = run(force, most=10_000)[1].posts_digest("x-force")
    store, killed = Store.open(db_url), 0
    for kill in range(kills):
        if not store.queries("x-force")["status"].eq("running").any():
            with store.engine.begin() as connection:  # the search is over: have it done again
                for table in ("posts", "queries"):
                    connection.execute(sa.text(f"DELETE FROM {table}"))
        process = collect_in_a_process(db_url, 1 + kill // 3 % (2 * pages + 3), ("before", "within", "after")[kill % 3])
        process.communicate()
        killed += process.returncode == -9
    assert collect_in_a_process(db_url, 10_000, "never").wait() == 0
    assert store.posts_digest("x-force") == expected and len(store.posts("x-force")) == 100 * pages
    assert killed > kills / 3
    assert not (store.queries("x-force")["status"] == "running").any()


# ---- scripts of faults


def faults(rng, clock, server):
    """One answer spoiled in a way that a network, a proxy or X can spoil it."""
    def limited(*_):
        reset = int(clock.now) + rng.randrange(1, 900)
        server.limited_until = reset
        return 429, {"x-rate-limit-reset": str(reset)}, b"{}"
    def doubled(page):
        page["data"] = page.get("data", []) * 2
    def reordered(page):
        rng.shuffle(page.get("data", []))
    def strange(page):
        page.update(more={"a": [None]}, errors=[{"title": "Authorization Error"}])
        page["data"] = [*page.get("data", []), 7, {"id": None}]
    cut = lambda code, headers, body: (code, headers, body[:rng.randrange(len(body))])  # noqa: E731
    return rng.choice([
        limited, status(429), status(429, {"x-rate-limit-reset": "-1"}), status(429, {"x-rate-limit-reset": "0"}),
        status(503), status(500, body=b"[]"), status(502, body=b"<html>"), broken, cut, status(200, body=b"<html>"),
        status(200, body=b""), status(401), status(402), status(403), rewritten(doubled), rewritten(reordered),
        rewritten(strange), None, None, None])


@pytest.mark.soak
def test_scripts_of_faults_lose_and_double_nothing(force, server, clock, monkeypatch):
    monkeypatch.setenv("BUDGET_USD", "1000")
    monkeypatch.setenv("BUDGET_USD_MONTH", "1000000")
    ids = sorted(post["id"] for post in server.posts)
    for seed in range(soak(25, 500)):
        rng = random.Random(seed)
        clock.now, server.limited_until = NOW, 0.0
        server.script = [faults(rng, clock, server) for _ in range(rng.randrange(1, 12))]
        store = Store.open(f"sqlite:///{x.settings.data_path(f'{seed}.db')}")
        for _ in range(20):
            with contextlib.suppress(InputError):
                run(force, store=store)
            if not server.script and not store.queries("x-force")["status"].eq("running").any():
                break
        with contextlib.suppress(InputError):
            run(force, store=store)
        assert store.posts("x-force")["id"].tolist() == ids and server.impatient == 0, f"seed {seed}"
