"""The API under generated requests, many clients, and killed workers: short in `make test`, whole in `make soak`."""

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import cycle

import httpx
import hypothesis
import hypothesis.strategies as st
import pytest
import schemathesis
from conftest import ROOT, soak
from load_api import together
from schemathesis.specs.openapi import checks as of_document
from test_api import in_store, models, serve  # noqa: F401 - fixtures
from test_watch import COLLECT, make, present  # noqa: F401 - fixtures
from tqdm import tqdm
from x_server import some_posts

from hrf_utils import pipeline
from hrf_utils.store import Store

CHECKS = [of_document.status_code_conformance, of_document.content_type_conformance,
          of_document.response_schema_conformance]
PATHS = ["/", "/index.html", "/health", "/predict", "/incidents", "/collect", "/threat_level/1", "/openapi.json",
         "/incidents/000000000000/review", "/force/x.html", "*", "//", "/%", "/\\"]
METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PATCH", "BREW", "CONNECT"]
BODIES = [b"", b"{}", b"[]", b"null", b"1e999", b'{"texts": ["' + b"a" * 5000 + b'"]}', b'{"texts": [null]}',
          b"\xff\xfe", b'{"texts": {"a": 1}}', b'{"texts": ["\\ud800"]}', b"[" * 5000, b"9" * 5000,
          b'{"texts": ["x"], "task": 0}', b'{"action": "undo", "who": "x"}',
          b'{"action": "note", "who": "x", "note": "y"}']


def rounds(count):
    """Settings of hypothesis, and seeds, for so many examples in all."""
    each = min(count, 1_000)
    some = hypothesis.settings(max_examples=each, deadline=None, database=None, phases=[hypothesis.Phase.generate],
                               suppress_health_check=list(hypothesis.HealthCheck))
    return tqdm([(some, number) for number in range(count // each)], unit=f" times {each}")


def check_status(status, head):
    assert status < 500 or status == 503 and b"retry-after" in head.lower(), (status, head)


def raw(port, request):
    """The answer to bytes on the wire: status and headers."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(request)
        wire.settimeout(0.5)
        try:
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
        except TimeoutError:  # it waits for more, and is not going to get it
            return 0, b""
    head = answer.split(b"\r\n\r\n")[0]
    return int(head.split(b" ")[1]) if head else 0, head


@pytest.fixture
def client(serve, monkeypatch):  # noqa: F811
    """A server with incidents to find, which starts no collection."""
    in_store(count=20)
    started = cycle([None, object()])
    monkeypatch.setattr(pipeline, "begin", lambda: next(started))
    client = serve(RATE_LIMIT="0", THREAT_ENABLED="1")
    client.post("/predict", json={"texts": ["x"]})
    yield client
    assert len(Store.open().posts("d")) == 20 and client.get("/health").status_code == 200


@pytest.mark.soak
def test_requests_generated_from_the_document_get_documented_answers(client):
    schema, seen = schemathesis.openapi.from_dict(client.get("/openapi.json").json()), Counter()
    operations = [found.ok() for found in schema.get_all_operations()]

    def ask(case):
        answer = case.call(base_url=str(client.base_url))
        seen[f"{case.method} {case.path} {answer.status_code}"] += 1
        check_status(answer.status_code, str(answer.headers).encode())
        case.validate_response(answer, checks=CHECKS)

    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for operation in operations
                        for mode in schemathesis.GenerationMode))
    for some, seed in rounds(soak(150, 50_000)):
        hypothesis.seed(seed)(some(hypothesis.given(cases)(ask)))()
    print(json.dumps(dict(sorted(seen.items()))))
    assert sum(seen.values()) >= soak(150, 50_000) and len(seen) > 12


@pytest.mark.soak
def test_bytes_on_the_wire_get_an_answer_or_none(client):
    seen = Counter()
    names = ["Content-Type", "Accept", "Content-Length", "Transfer-Encoding", "Host", "Origin", "X-API-Key", "Range",
             "Expect", "Upgrade", "Connection"]
    cells = [b"application/json", b"chunked", b"5", b"-1", b"9" * 30, b"websocket", b"100-continue", b"text/csv"]
    headers = st.lists(st.tuples(
        st.one_of(st.from_regex(r"[A-Za-z-]{1,20}", fullmatch=True), st.sampled_from(names)),
        st.one_of(st.binary(max_size=30), st.sampled_from(cells))), max_size=4)
    tails = st.one_of(st.just(""), st.text(max_size=20).map(lambda text: re.sub(r"\s", "+", text)))

    def ask(method, path, tail, headers, body):
        first = f"{method} {path}{tail} HTTP/1.1".encode("utf8", "replace")
        always = b"Host: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body)
        lines = b"".join(name.encode() + b": " + cell + b"\r\n" for name, cell in headers)
        status, head = raw(client.base_url.port, first + b"\r\n" + always + lines + b"\r\n" + body)
        seen[status] += 1
        check_status(status, head)

    given = hypothesis.given(st.sampled_from(METHODS), st.sampled_from(PATHS), tails, headers,
                             st.one_of(st.sampled_from(BODIES), st.binary(max_size=200)))
    for some, seed in rounds(soak(250, 50_000)):
        hypothesis.seed(seed)(some(given(ask)))()
    print(json.dumps(dict(sorted(seen.items()))))
    assert sum(seen.values()) >= soak(250, 50_000) and {400, 404, 405} | soak(set(), {200, 422}) <= set(seen)


@pytest.mark.soak
def test_fifty_clients_at_once_get_no_error(client):
    rate, (median, slow), statuses = asyncio.run(together(str(client.base_url), 50, soak(2, 60)))
    print(f"{rate:.0f} a second, p50 {median:.0f} ms, p99 {slow:.0f} ms")
    assert statuses == {200} and rate > 0


def begun(**variables):
    """`make serve` with two workers, in processes of its own: the process, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = f"127.0.0.1:{free.getsockname()[1]}"
    going = subprocess.Popen([sys.executable, "-m", "hrf_utils.api"], cwd=ROOT, start_new_session=True,
                             env=os.environ | variables | {"SERVE_AT": where, "WORKERS": "2", "RATE_LIMIT": "0"},
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return going, f"http://{where}"


def children(number):
    return [int(one) for one in subprocess.run(["pgrep", "-P", str(number)], capture_output=True,
                                               text=True).stdout.split()]


def wait_for(found, seconds=120):
    """Look until it is there."""
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def answers(url):
    try:
        return httpx.get(f"{url}/incidents").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.soak
def test_a_killed_worker_loses_no_review(models, home, db_url):  # noqa: F811
    in_store(db_url, 20)
    going, url = begun(DB_URL=db_url)
    try:
        kept, tried, ended = [], [0], threading.Event()
        wait_for(lambda: answers(url))

        def review(who):
            while not ended.is_set():
                tried[0] += 1
                step = {"action": "note", "who": who, "note": f"{who} {tried[0]}"}
                try:
                    answer = httpx.post(f"{url}/incidents/{tried[0] % 20:012x}/review", json=step, timeout=30)
                except httpx.HTTPError:
                    time.sleep(0.05)
                    continue
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    kept.append((answer.json()["number"], step["note"]))

        people = [threading.Thread(target=review, args=(f"p{k}",)) for k in range(4)]
        for one in people:
            one.start()

        def ten_more():
            enough = len(kept) + 10
            wait_for(lambda: len(kept) >= enough)

        for _ in range(soak(2, 30)):
            ten_more()
            os.kill(random.choice(children(going.pid)), signal.SIGKILL)
        ten_more()
        ended.set()
        for one in people:
            one.join(60)
        from hrf_utils import store_reviews
        log = store_reviews.log(Store.open(db_url), "force", "d")
        stored = set(zip(log["number"], log["note"], strict=True))
        assert len(kept) > 20 and set(kept) <= stored and log["number"].is_unique
        print(f"{len(kept)} reviews kept, {len(log)} stored, {tried[0]} tried")
    finally:
        going.terminate()
        going.wait(30)


@pytest.mark.soak
def test_workers_killed_while_they_collect_lose_no_post(present, make, db_url):  # noqa: F811
    make(COLLECT.replace("100", "1000"))
    store, asked = Store.open(db_url), threading.Event()
    present.on_request = lambda number: (asked.set(), time.sleep(0.1))
    going, url = begun(DB_URL=db_url, SCHEDULE="1", EVERY_HOURS="0.0003", BUDGET_USD="1000",
                       BUDGET_USD_MONTH="1000")

    def ids():
        return store.posts("x-force")["id"].tolist()

    try:
        wait_for(lambda: answers(url) and len(ids()) == 30)
        for number in range(soak(1, 20)):
            present.posts = some_posts(250, time.time(), 0.001) + present.posts  # three pages more, all newer
            asked.clear()
            assert asked.wait(120)
            time.sleep(random.uniform(0, 0.5))
            workers = children(going.pid)
            collecting = [] if number % 2 else [one for worker in workers for one in children(worker)]
            for one in workers:
                os.kill(one, signal.SIGKILL)
            for one in collecting:
                os.killpg(one, signal.SIGKILL)
            wait_for(lambda: len(ids()) >= len(present.posts))
        assert sorted(ids()) == sorted(post["id"] for post in present.posts)
        assert store.queries("x-force")["new"].sum() == len(present.posts) and store.gaps("x-force").empty
    finally:
        going.terminate()
        going.wait(30)
