"""A local server that speaks the v2 format of X: recent search, counts and lookup, with scripted faults."""

import json
import threading
import urllib.parse
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EPOCH_MS = 1_288_834_974_657
NOW = 1_780_000_000.0


def post_id(at: float, k: int = 0) -> str:
    """The id that X would give the k-th post of a moment (seconds since 1970)."""
    return str(((round(at * 1000) - EPOCH_MS) << 22) + k)


def some_posts(count: int, now: float, step: float = 60.0) -> list[dict]:
    """Posts about force, one every `step` seconds before `now`, newest first."""
    return [{"id": post_id(now - 600 - step * k, k), "text": f"Police pushed protester number {k} 👮 in Tulsa",
             "author_id": str(1000 + k % 7), "lang": "en", "conversation_id": post_id(now - 600 - step * k, k),
             "created_at": datetime.fromtimestamp(now - 600 - step * k, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
             "edit_history_tweet_ids": [post_id(now - 600 - step * k, k)],
             **({"geo": {"place_id": "p1"}} if k % 10 == 0 else {})} for k in range(count)]


class Clock:
    """Time that only passes while somebody sleeps."""

    def __init__(self, now: float):
        self.now, self.slept = now, []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


class XServer:
    """Serve `posts`; `script` holds a fault for each of the next requests, None for an ordinary answer.

    `sold` is what X would charge, in US dollars, also for answers that a fault then spoiled; `impatient` counts
    requests before `limited_until`.

    A fault takes the ordinary answer (status, headers, body) and gives the one that is sent; `BreakError` lets the
    connection break after half of it.
    """

    def __init__(self, posts: list[dict], clock: Clock, token: str = "secret"):
        self.posts, self.clock, self.token = posts, clock, token
        self.script, self.asked, self.impatient, self.limited_until, self.sold = [], [], 0, 0.0, 0.0
        self.on_request = lambda number: None
        handler = type("Handler", (_Handler,), {"x": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answer(self, path: str, query: dict, authorization: str) -> tuple[int, dict, bytes]:
        self.impatient += self.clock.time() < self.limited_until
        if authorization != f"Bearer {self.token}" and not authorization.startswith("OAuth "):
            return 401, {}, b'{"title": "Unauthorized", "detail": "Unauthorized"}'
        found = {"/2/tweets/search/recent": self._search, "/2/tweets/counts/recent": self._counts,
                 "/2/tweets": self._lookup}.get(path)
        if found is None:
            return 404, {}, b"{}"
        answer = found(query)
        places = len(answer.get("includes", {}).get("places", []))
        self.sold += 0.005 * max(1, len(answer["data"])) if "data" in answer else 0.0
        self.sold += 0.010 * places
        return 200, {"x-rate-limit-remaining": "449"}, json.dumps(answer).encode()

    def _matching(self, query: dict) -> list[dict]:
        start = query.get("start_time")
        first = datetime.strptime(start, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if start else None
        oldest = datetime.fromtimestamp(self.clock.time(), UTC) - timedelta(days=7)
        assert first is None or first > oldest
        low = max(int(query.get("since_id", 0)), int(post_id((first or oldest).timestamp())))
        high = int(query.get("until_id", 2**63))
        return sorted((post for post in self.posts if low < int(post["id"]) < high), key=lambda one: -int(one["id"]))

    def _search(self, query: dict) -> dict:
        assert 10 <= int(query["max_results"]) <= 100 and len(query["query"]) <= 512
        found, begin = self._matching(query), int(query.get("next_token", "t0")[1:])
        page = found[begin:begin + int(query["max_results"])]
        meta = {"result_count": len(page)} | ({"newest_id": page[0]["id"], "oldest_id": page[-1]["id"]} if page else {})
        if begin + len(page) < len(found):
            meta["next_token"] = f"t{begin + len(page)}"
        answer = {"meta": meta} | ({"data": page} if page else {})
        if any("geo" in post for post in page):
            answer["includes"] = {"places": [{"id": "p1", "full_name": "Tulsa, OK"}]}
        return answer

    def _counts(self, query: dict) -> dict:
        return {"data": [], "meta": {"total_tweet_count": len(self._matching(query))}}

    def _lookup(self, query: dict) -> dict:
        ids = query["ids"].split(",")
        assert len(ids) <= 100
        there = {post["id"]: post for post in self.posts}
        missing = [{"resource_id": one, "title": "Not Found Error"} for one in ids if one not in there]
        return {"data": [there[one] for one in ids if one in there]} | ({"errors": missing} if missing else {})


class BreakError(Exception):
    """The connection breaks after half of the body."""


class _Handler(BaseHTTPRequestHandler):
    x: XServer

    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query))
        self.x.asked.append((address.path, query))
        self.x.on_request(len(self.x.asked))
        status, headers, body = self.x.answer(address.path, query, self.headers.get("Authorization", ""))
        fault = self.x.script.pop(0) if self.x.script else None
        sent = body
        if fault is not None:
            try:
                status, headers, body = fault(status, headers, body)
                sent = body
            except BreakError:
                sent = body[:len(body) // 2]
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body)), "Connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_):
        pass
