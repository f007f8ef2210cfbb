"""Collecting from Bluesky, against a local server that speaks the format of Jetstream."""

import json
import threading
import time
import urllib.parse

import pytest
from websockets.sync.server import serve

from hrf_utils import bluesky, collecting, compliance, sources
from hrf_utils.settings import InputError
from hrf_utils.store import Store


def post(number, at, text="Police pushed a protester", operation="create", **record):
    commit = {"operation": operation, "collection": "app.bsky.feed.post", "rkey": f"3k{number}", "rev": "r"}
    if operation != "delete":
        commit |= {"cid": "c", "record": {"$type": "app.bsky.feed.post", "text": text, "langs": ["en"],
                                          "createdAt": "1999-01-01T00:00:00Z"} | record}
    return {"did": f"did:plc:author{number % 5}", "time_us": int(at * 1e6), "kind": "commit", "commit": commit}


class Jetstream:
    """Sends the events behind a cursor; `breaks` is after how many events each connection ends."""

    def __init__(self, events):
        self.events, self.breaks, self.cursors = events, [], []
        self.server = serve(self.answer, "127.0.0.1", 0)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}/subscribe"

    def answer(self, connection):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(connection.request.path).query))
        assert query["wantedCollections"] == "app.bsky.feed.post"
        self.cursors.append(int(query["cursor"]))
        left = self.breaks.pop(0) if self.breaks else len(self.events) + 1
        for event in self.events:
            if left == 0:
                return
            if not isinstance(event, dict) or event.get("time_us", 0) >= self.cursors[-1]:
                connection.send(event if isinstance(event, str) else json.dumps(event))
                left -= 1
        time.sleep(1)


@pytest.fixture
def now():
    return time.time()


@pytest.fixture
def stream(now, monkeypatch):
    events = [post(k, now - 500 + k) for k in range(250)]
    stream = Jetstream([*events, post(999, now + 60, "the stream has reached the present")])
    monkeypatch.setenv("JETSTREAM_URL", stream.url)
    monkeypatch.setattr(bluesky, "time", type("Clock", (), {"time": time.time, "sleep": lambda seconds: None}))
    yield stream
    stream.server.shutdown()


def run(force, most=10_000, store=None):
    store = store or Store.open()
    return collecting.collect(bluesky.BlueskySource(force, most), store), store


def test_what_holds_a_phrase_is_kept_up_to_the_present(force, stream, now):
    stream.events[5:5] = [post(1000, now - 495, "nothing of interest"), post(1001, now - 495, langs=["pt"]),
                          post(1002, now - 495, "Tear gas! Says the POLICE", langs=[])]
    found, store = run(force)
    posts = store.posts("bluesky-force")
    assert len(posts) == 251 and found["status"].tolist() == ["complete"] and found["spent"].tolist() == [0]
    assert posts["author"].str.fullmatch("a[0-9a-f]{16}").all() and "did:" not in posts.to_csv()
    assert set(posts["query"]) == {"police"}
    assert posts["created_at"].min().timestamp() == pytest.approx(now - 500, abs=1)
    assert store.gaps("bluesky-force").empty


def test_the_next_run_goes_on_behind_the_last(force, stream, now):
    found, store = run(force, most=100)
    assert found["read"].tolist() == [100] and found["status"].tolist() == ["to be continued"]
    found, _ = run(force, store=store)
    assert stream.cursors[1] == int((now - 500 + 99) * 1e6) and found["new"].tolist() == [150]
    assert len(store.posts("bluesky-force")) == 250 and store.gaps("bluesky-force").empty


def test_a_broken_stream_is_gone_on_with(force, stream):
    stream.breaks = [30, 0, 1, 100]
    _, store = run(force)
    assert len(store.posts("bluesky-force")) == 250 and len(stream.cursors) == 5


def test_a_stream_that_does_not_answer_stops_with_a_sentence(force, stream):
    stream.breaks = [130, 1, 0, 1, 0, 1]  # the one event is the last of those that came already
    with pytest.raises(InputError, match="Bluesky did not answer in 5 tries .* what came is kept"):
        run(force)
    _, store = run(force)
    assert len(store.posts("bluesky-force")) == 250


def test_silence_is_a_failure(force, stream, monkeypatch):
    monkeypatch.setattr(bluesky, "_SILENCE", 0.1)
    stream.events = stream.events[:-1]
    with pytest.raises(InputError, match=r"\(silence\)|timed out"):
        run(force)


def test_what_cannot_be_read_is_counted(force, stream, now):
    stream.events[3:3] = ["{", "[1]", json.dumps({"kind": "commit", "time_us": 10**30}),
                          post(7, now - 490, reply="no object"), post(8, now - 490, text=None),
                          {"kind": "identity", "did": "did:plc:x", "time_us": int((now - 490) * 1e6)}]
    stream.events[3:3] = [post(3009, now - 490, text="half of a police emoji \ud83d")]
    found, store = run(force)
    assert len(store.posts("bluesky-force")) == 251 and found["refused"].tolist() == [5]
    assert store.posts("bluesky-force")["text"].str.contains("half").sum() == 1


def test_a_jump_in_the_stream_is_a_gap(force, stream, now):
    _, store = run(force, most=10)
    stream.events = [post(k, now + 3600 + k) for k in range(20)]
    run(force, store=store)
    gap = store.gaps("bluesky-force").iloc[0]
    assert gap["reason"] == "Jetstream no longer had them"
    assert gap["ends"].timestamp() == pytest.approx(now + 3600, abs=1)


def test_a_reply_stands_with_its_thread(force, stream, now):
    uri = "at://did:plc:author3/app.bsky.feed.post/3k3"
    stream.events[4:4] = [post(2000, now - 490, reply={"root": {"uri": uri}, "parent": {"uri": uri}})]
    _, store = run(force)
    posts = store.posts("bluesky-force").set_index("id")["conversation_id"]
    reply = next(one for one in posts.index if one.endswith("/3k2000"))
    assert posts[reply].endswith("/3k3") and posts[posts[reply]] == posts[reply]


def test_what_its_author_deletes_is_dropped(force, stream, now, monkeypatch):
    stream.events[200:200] = [post(7, now - 320, operation="delete"), post(5_000, now - 320, operation="delete")]
    _, store = run(force)
    assert len(store.posts("bluesky-force")) == 250
    done = compliance.comply(store)
    assert done.dropped["reason"].tolist() == ["deleted"] and len(store.posts("bluesky-force")) == 249
    assert "/3k7" in done.dropped["id"][0]


def test_it_is_a_source_of_a_run(force):
    source = sources.open_source("bluesky", force, most_posts=7, most_minutes=3)
    assert (source.name, source.dataset, source.most, source.minutes) == ("bluesky", "bluesky-force", 7, 3)
