"""X, through tweepy: a client that waits and tries again as it should, what it costs, and the form of its answers."""

import json
import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import pandas as pd
import requests
import tweepy
from requests.adapters import HTTPAdapter
from tqdm.auto import tqdm

from hrf_utils import files, posts, settings
from hrf_utils.settings import InputError
from hrf_utils.store import Store

PRICE = {"post": 0.005, "expansion": 0.010, "count": 0.005}
"""US dollars X asks for one of each (November 2026); an expansion is the place of a geotagged post."""
_HOST = "https://api.twitter.com"
_TIMEOUT = (10, 60)
_TRIES, _LONGEST_WAIT = 5, 20 * 60
FIELDS = ["author_id", "conversation_id", "created_at", "edit_history_tweet_ids", "geo", "lang", "note_tweet"]
_BOOKS = threading.Lock()
LOOKUP = 100
"""Posts that one request can ask for by their ids."""
_GONE = {"Not Found Error": "deleted, or its author is", "Authorization Error": "no longer public"}
_STOPS = {
    401: "X refuses the credentials; check BEARER_TOKEN, or the four keys, in .env",
    402: "X says that the credit is used up; buy credit, and run again",
    403: "X does not allow this with your access; recent search needs an app in a project with credit",
    404: "nothing answers at this address; check X_API_URL"}

for _name in ("tweepy", "oauthlib", "requests_oauthlib"):  # their debug messages show credentials
    logging.getLogger(_name).setLevel(logging.WARNING)


class _Adapter(HTTPAdapter):
    """Sends requests for X to ``X_API_URL``, if that is set, and waits no longer than it should."""

    def send(self, request: requests.PreparedRequest, **options: object) -> requests.Response:
        if settings.get("X_API_URL"):
            request.url = request.url.replace(_HOST, settings.get("X_API_URL").rstrip("/"), 1)
        answer = super().send(request, **options | {"timeout": _TIMEOUT})
        if not answer.headers.get("x-rate-limit-reset", "0").isdigit():
            del answer.headers["x-rate-limit-reset"]  # tweepy would stumble over it
        return answer


def client() -> tweepy.Client:
    """A client with the credentials of ``.env``: a bearer token, else the four keys of a user.

    Raises
    ------
    InputError
        If neither is complete; the message names what is missing.
    """
    token = settings.get("BEARER_TOKEN") or None
    keys = {"CONSUMER_KEY": settings.get("CONSUMER_KEY") or settings.get("API_KEY"),
            "CONSUMER_SECRET": settings.get("CONSUMER_SECRET") or settings.get("API_SECRET_KEY"),
            "ACCESS_KEY": settings.get("ACCESS_KEY"), "ACCESS_SECRET": settings.get("ACCESS_SECRET")}
    missing = [name for name, value in keys.items() if not value]
    if not token and missing:
        raise InputError(f"SOURCE=x needs BEARER_TOKEN in .env, or the four keys, of which {', '.join(missing)} "
                         "is missing" if len(missing) < 4 else "SOURCE=x needs BEARER_TOKEN, or the four keys, in .env")
    made = tweepy.Client(token, *([] if token else keys.values()), return_type=requests.Response)
    made.session.mount(_HOST, _Adapter())
    return made


class RefusedError(InputError):
    """X refuses a request for good; `code` is its status."""

    def __init__(self, code: int, said: str):
        super().__init__(f"{_STOPS.get(code, 'X refuses the request')} ({code}{said})")
        self.code = code


def ask(call: Callable[..., requests.Response], tries: int = _TRIES, **parameters: object) -> bytes:
    """The body of X's answer, after as many waits and tries as that takes.

    A rate limit is waited for as long as X tells, twenty minutes in all, and that is no try. Where X does not tell, the
    wait is a minute and then twice as long each time; servers that fail and connections that break are tried again
    sooner. With one try there is no wait at all.

    Raises
    ------
    RefusedError
        If X refuses (400, 401, 402, 403, 404).
    InputError
        If X asks to wait for more than twenty minutes, or does not answer; nothing that was collected is lost
        by it.
    """
    attempt, waited = 0, 0.0
    while attempt < tries:
        try:
            return call(**parameters).content
        except tweepy.TooManyRequests as error:
            problem, told = "it only asks to wait", (error.reset_time or 0) - time.time()
            if told > 0 and tries > 1:
                waited += told
                _wait(told + 1, waited)
                continue
            if attempt < tries - 1:
                _wait(60.0 * 2**attempt)
        except (tweepy.TwitterServerError, requests.ConnectionError, requests.Timeout,
                requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError,
                AttributeError, TypeError) as error:  # the last two: an error page that tweepy cannot read
            problem = (str(error).splitlines() or [""])[0][:200]
            if attempt < tries - 1:
                time.sleep(2**attempt * (1 + random.random()))
        except tweepy.HTTPException as error:
            said = "; ".join(map(str, error.api_messages))
            raise RefusedError(error.response.status_code, f": {said[:200]}" if said else "") from error
        attempt += 1
    raise InputError(f"X did not answer in {tries} tries ({problem}); what came is kept, run again to go on")


def _wait(seconds: float, in_all: float = 0.0) -> None:
    if in_all > _LONGEST_WAIT:
        raise InputError(f"X asks to wait for {seconds / 60:.0f} minutes; what came is kept, run again then")
    tqdm.write(f"waiting {seconds:.0f} s, as X asks")
    time.sleep(seconds)


class Budget:
    """US dollars that a run on X, and the month it stands in, may spend."""

    def __init__(self, store: Store):
        first = now().replace(day=1, hour=0, minute=0, second=0)
        spent = store.spent("x", first)
        self.left = min(settings.number("BUDGET_USD"), settings.number("BUDGET_USD_MONTH") - spent)

    def check(self, dollars: float) -> None:
        """Raise `InputError` for a sum that is not left."""
        if dollars > self.left + 1e-9:
            raise InputError(f"this needs ${dollars:.2f}, and ${max(0.0, self.left):.2f} is left of BUDGET_USD and "
                             "BUDGET_USD_MONTH; raise them, or read fewer posts (most_posts)")

    def take(self, dollars: float) -> float:
        """Set a sum aside, if it is left, and give it."""
        self.check(dollars)
        self.left -= dollars
        return dollars


class UnreadableError(InputError):
    """A page that is no page; `body` is what came."""

    def __init__(self, body: bytes, why: str):
        super().__init__(f"a page from X cannot be read ({why}); its bytes are kept for `make replay`, and the "
                         "search goes on with the next run")
        self.body = body


class Answer(NamedTuple):
    """A page of X: posts as `posts.from_table` makes them, the ids in it, and what it cost."""

    posts: pd.DataFrame
    ids: list[str]
    refused: int
    price: float
    next_token: str
    problems: str


def read_page(body: bytes, dataset: str, query: str) -> Answer:
    """Read a page of X's v2 format.

    Raises
    ------
    UnreadableError
        If it is not JSON, or not of that format.
    """
    try:
        page = json.loads(body)
        meta, errors = page["meta"], page.get("errors") or []
        page.setdefault("data", [] if meta["result_count"] == 0 else None)
        rows, refused = files.x_rows(page)
        token, problems = meta.get("next_token") or "", [error.get("title", "unnamed") for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableError(body, f"{type(error).__name__}: {error}"[:200]) from error
    table = pd.DataFrame(rows)
    if rows:
        table = table[table["id"].str.fullmatch(r"\d{1,19}") & (table["text"].str.strip() != "")]
        table = table.sort_values("version", key=lambda ids: ids.str.zfill(19)).drop_duplicates("id", keep="last")
    ids = [one for one in (*table["id"], *table["version"]) if one] if len(table) else []
    found = table
    if ids:
        found = posts.from_table(table, dataset, "a page from X").frame
        found = found.assign(query=query, source="x", checked_at=now())
    places = len((page.get("includes") or {}).get("places") or [])
    price = len(page["data"]) * PRICE["post"] + places * PRICE["expansion"]
    return Answer(found, ids, refused + len(rows) - len(table), price, token, "\n".join(problems))


def lookup(api: tweepy.Client, ids: list[str], dataset: str,
           tries: int = _TRIES) -> tuple[pd.DataFrame, dict[str, str]]:
    """Posts by their ids, at most `LOOKUP`; what X neither gives nor calls gone is in neither answer.

    Returns
    -------
    posts : as `posts.from_table` makes them
    gone : why each of the others is not to be had, by id

    Raises
    ------
    InputError
        As `ask` does, or if the answer cannot be read.
    """
    body = ask(api.get_tweets, tries, ids=ids, tweet_fields=FIELDS, user_auth=not api.bearer_token)
    try:
        page = json.loads(body)
        page["meta"] = {"result_count": len(page.get("data") or [])}
        gone = {error["resource_id"]: _GONE[error["title"]] for error in page.get("errors") or []
                if error.get("title") in _GONE and error.get("resource_id") in ids}
        return read_page(json.dumps(page).encode(), dataset, "").posts, gone
    except (ValueError, TypeError, AttributeError) as error:  # an UnreadableError is a ValueError
        raise InputError("X's answer to a lookup cannot be read; run again") from error


def buy(api: tweepy.Client, store: Store, ids: list[str], budget: Budget | None = None,
        tries: int = _TRIES) -> tuple[pd.DataFrame, dict[str, str]]:
    """What `lookup` gives, paid for in the books before X is asked; what X does not give, or refuses, is paid back.

    Where X does not answer it stays paid, since nobody knows. Without a `budget` that of this moment holds.

    Raises
    ------
    InputError
        As `lookup` does, or if the sum is not left.
    """
    search = {"dataset": "x", "query": "", "source": "x", "started_at": now(), "status": "lookup"}
    with _BOOKS:
        budget = budget or Budget(store)
        price = budget.take(len(ids) * PRICE["post"])
        store.add_page(search, pd.DataFrame(), spent=price)

    def pay_back(dollars: float) -> None:
        store.add_page(search | {"ended_at": now()}, pd.DataFrame(), spent=-dollars)
        budget.left += dollars

    try:
        found, gone = lookup(api, ids, "x", tries)
    except RefusedError:
        pay_back(price)
        raise
    pay_back(price - len(found) * PRICE["post"])
    return found, gone


def now() -> datetime:
    """The time, UTC, without its zone."""
    return datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None)
