"""What stands around the routes of the API: who may ask, how much and how often; and texts predicted together."""

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import queue
import threading
import time
import urllib.parse
from collections import OrderedDict
from concurrent.futures import Future
from typing import NamedTuple

import pandas as pd
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hrf_utils import settings, text
from hrf_utils.classifier import Classifier, run_folder
from hrf_utils.settings import InputError

BODY = 1_000_000
"""Bytes that a request may bring."""
SECONDS = 30.0
"""Time that a request may take, from its headers to the end of the answer."""
IDLE = 75
"""Seconds for which a connection may wait for its next request; a slow client finds a shorter one closed under it."""
AT_ONCE = 128
"""Requests that one process works on at the same time."""
WAITING, BATCH, LINGER = 1024, 64, 0.005
"""Texts that may wait to be predicted; texts that are predicted in one go; seconds in which the next one is awaited."""
_REMEMBERED = 10_000  # addresses whose rate is known
_OPEN = ("/", "/health")
_BODILESS = {"GET", "HEAD"}
_NO_KEY = "this needs the header X-API-Key"
_HEADERS = {
    b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer", b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
                                b"script-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
                                b"frame-ancestors 'self'"}

log = logging.getLogger("hrf")


class Refusal(Exception):  # noqa: N818 - it is an answer, and no error of ours
    """An answer that is no result: its status, one sentence, and after how many seconds to try again."""

    def __init__(self, status: int, detail: str, retry_after: float = 0.0):
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = {"Retry-After": str(int(retry_after) + 1)} if status in {429, 503} else {}

    def answer(self) -> JSONResponse:
        return JSONResponse({"detail": self.detail}, self.status, self.headers)


def address() -> tuple[str, int]:
    """Host and port of ``SERVE_AT``.

    Raises
    ------
    InputError
        If it is no such pair, or is not this machine's own and ``SERVER_KEY`` is not set.
    """
    host, _, port = settings.get("SERVE_AT").rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise InputError(f"SERVE_AT={settings.get('SERVE_AT')} is no address; write one like 127.0.0.1:8000")
    host = host.strip("[]")
    if not is_loopback(host) and not settings.get("SERVER_KEY"):
        raise InputError(f"SERVE_AT={host}:{port} can be reached from other machines; set SERVER_KEY, or serve at "
                         "127.0.0.1")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Rate:
    """How often each address asks: `per_minute` at once, then evenly as many (a leaky bucket); 0 = no limit."""

    def __init__(self, per_minute: float):
        self.every = 60 / per_minute if per_minute else 0.0
        self.due = OrderedDict()

    def wait(self, who: str, now: float) -> float:
        """Seconds for which an address has to wait; one that has to wait was not counted."""
        due = max(self.due.pop(who, now), now)
        excess = due + self.every - now - 60
        self.due[who] = due if excess > 0 else due + self.every
        while len(self.due) > _REMEMBERED:
            self.due.popitem(last=False)
        return max(0.0, excess)


class Guard:
    """ASGI middleware: keys, limits, and errors that tell nothing of texts, paths or SQL; one line of log a request.

    Without a key only this machine is answered, and no page of another site in its browser. Each process counts for
    itself.

    Parameters
    ----------
    key : what ``X-API-Key`` has to be; empty = nothing
    per_minute : requests that one address may make
    origins : sites whose pages may ask
    """

    def __init__(self, app: ASGIApp, key: str, per_minute: float, origins: list[str]):
        self.app, self.key, self.origins = app, key.encode("utf8"), set(origins)
        self.rate, self.working = Rate(per_minute), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        began, status = time.monotonic(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS.items()]
            await send(message)

        self.working += 1
        try:
            async with asyncio.timeout(SECONDS):
                self._check(scope, began)
                body = b"" if scope["method"] in _BODILESS else await _body(scope, receive)
                await self.app(scope, _again(body, receive), answer)
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else self._trouble(error)
            if not status:
                await refusal.answer()(scope, receive, answer)
        finally:
            self.working -= 1
            route = getattr(scope.get("route"), "path", "-")
            log.info("%s %s %d %.0f ms", scope["method"], route, status, (time.monotonic() - began) * 1000)
        return None

    @staticmethod
    def _trouble(error: Exception) -> Refusal:
        if isinstance(error, TimeoutError):
            return Refusal(503, f"this took longer than {SECONDS:.0f} seconds; ask for less, or later", SECONDS)
        place = error.__traceback__
        while place.tb_next:
            place = place.tb_next
        log.error("%s at %s:%d", type(error).__name__, place.tb_frame.f_code.co_filename, place.tb_lineno)
        return Refusal(500, "something went wrong here; the server's log says where")

    def _check(self, scope: Scope, now: float) -> None:
        headers = dict(scope["headers"])
        wait = self.rate.wait((scope.get("client") or ["-"])[0], now)
        if wait:
            raise Refusal(429, "too many requests from this address", wait)
        if self.working > AT_ONCE:
            raise Refusal(503, "too many requests at once", 1)
        page = scope["path"] in _OPEN or scope["path"].endswith((".html", ".png"))
        free = page and scope["method"] in _BODILESS
        if self.key:
            if not free and not hmac.compare_digest(headers.get(b"x-api-key", b""), self.key):
                raise Refusal(401, _NO_KEY)
            return
        at, name = _site("//" + headers.get(b"host", b"").decode("latin1"))
        ends = [end[0] for end in (scope.get("server"), scope.get("client")) if end and end[1] is not None]
        if not all(is_loopback(end) for end in [*ends, name or "localhost"]):
            raise Refusal(403, "without SERVER_KEY this server answers its own machine only")
        origin = headers.get(b"origin", b"").decode("latin1")
        foreign = origin and origin not in self.origins and _site(origin)[0] != at
        if foreign or not free and headers.get(b"sec-fetch-site") == b"cross-site" and origin not in self.origins:
            raise Refusal(403, "pages of other sites may not ask; CORS_ORIGINS names those that may")


def _site(url: str) -> tuple[str, str | None]:
    """Place (host and port) and host of a URL; of one that is malformed no real ones."""
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.netloc, parts.hostname
    except ValueError:
        return "?", "?"


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The body of a request, read no further than `BODY`, whatever length it says it has."""
    said = dict(scope["headers"]).get(b"content-length", b"0")
    body, more = bytearray(), True
    while more:
        if int(said) > BODY or len(body) > BODY:
            raise Refusal(413, f"a request may bring {BODY:,} bytes")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the request broke off")
        body += message.get("body", b"")
        more = message.get("more_body", False) or len(body) > BODY
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read, and then what else comes."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return messages.pop() if messages else await receive()

    return give


class Predicted(NamedTuple):
    """What a model says: a row a text as `Classifier.predict` gives it, with ``cut``, and the model."""

    rows: pd.DataFrame
    model: Classifier


class Predictor:
    """The current model of a task behind a bounded queue; one thread predicts in one go for all who wait.

    A model that is trained meanwhile takes over with the next texts.
    """

    def __init__(self, task: str):
        self.task, self.model, self.waiting = task, None, 0
        self.lock, self.jobs = threading.Lock(), queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"predict {task}", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether the model that is current by now is loaded."""
        try:
            return self.model is not None and self.model.folder == run_folder(self.task)
        except InputError:
            return False

    def ask(self, texts: list[str]) -> Future:
        """A future `Predicted`.

        Raises
        ------
        Refusal
            503, if too many texts wait already.
        """
        with self.lock:
            if self.waiting and self.waiting + len(texts) > WAITING:
                raise Refusal(503, "too many texts wait to be predicted", 2)
            self.waiting += max(1, len(texts))
        future = Future()
        self.jobs.put((texts, future))
        return future

    def _work(self) -> None:
        while True:
            taken = [self.jobs.get()]
            with contextlib.suppress(queue.Empty):
                while sum(len(texts) for texts, _ in taken) < BATCH:
                    taken.append(self.jobs.get(timeout=LINGER))
            with self.lock:
                self.waiting -= sum(max(1, len(texts)) for texts, _ in taken)
            wanted = [(texts, future) for texts, future in taken if future.set_running_or_notify_cancel()]
            try:
                rows = self._predict([one for texts, _ in wanted for one in texts])
            except Exception as error:  # who asked is told; the thread goes on
                for _, future in wanted:
                    future.set_exception(error)
                continue
            start = 0
            for texts, future in wanted:
                future.set_result(Predicted(rows.iloc[start:start + len(texts)], self.model))
                start += len(texts)

    def _predict(self, texts: list[str]) -> pd.DataFrame:
        folder = run_folder(self.task)
        if self.model is None or self.model.folder != folder:
            self.model = Classifier.load(folder, self.task)
        kept = [text.clean(one) for one in texts]
        tokens = self.model.tokenizer(kept, truncation=False)["input_ids"] if kept else []
        most = self.model.manifest["tokens"]
        return self.model.predict(kept).assign(
            cut=[len(ids) > most or len(one) > text.LONGEST for ids, one in zip(tokens, texts, strict=True)])
