"""Posts from X, through tweepy: patient, within a budget, and able to go on after a crash.

X sells posts one by one, so a search is counted before it is read, each page is paid for in the books before
it is asked for, and nothing is read twice that is already there.
"""

import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pandas as pd
import requests
import tweepy
from requests.adapters import HTTPAdapter
from tqdm.auto import tqdm

from hrf_utils import files, posts, settings
from hrf_utils.collecting import Page
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.tasks import Task

PRICE = {"post": 0.005, "expansion": 0.010, "count": 0.005}
"""US dollars X asks for one of each (November 2026); an expansion is the place of a geotagged post."""
OPERATORS = "lang:en -is:retweet (place_country:US OR -has:geo)"
"""Behind each phrase: English, no retweets, and of the geotagged posts only those from the US."""

_HOST = "https://api.twitter.com"
_PAGE, _SMALLEST = 100, 10
_KEPT = timedelta(days=7)
_REACH = _KEPT - timedelta(hours=2)  # a search may have to wait on its way
_TIMEOUT = (10, 60)
_TRIES, _LONGEST_WAIT = 5, 20 * 60
_FIELDS = ["author_id", "conversation_id", "created_at", "edit_history_tweet_ids", "geo", "lang", "note_tweet"]
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


def ask(call: Callable[..., requests.Response], **parameters: object) -> bytes:
    """The body of X's answer, after as many waits and tries as that takes.

    A rate limit is waited for as long as X tells, or for a minute and then twice as long each time where it
    does not; servers that fail and connections that break are tried five times.

    Raises
    ------
    RefusedError
        If X refuses (400, 401, 402, 403, 404).
    InputError
        If X asks to wait for more than twenty minutes, or does not answer; nothing that was collected is lost
        by it.
    """
    for attempt in range(_TRIES):
        try:
            return call(**parameters).content
        except tweepy.TooManyRequests as error:
            problem = "it only asks to wait"
            _wait_as_told(error.reset_time, attempt)
        except (tweepy.TwitterServerError, requests.ConnectionError, requests.Timeout,
                requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError,
                AttributeError, TypeError) as error:  # the last two: an error page that tweepy cannot read
            problem = (str(error).splitlines() or [""])[0][:200]
            if attempt < _TRIES - 1:
                time.sleep(2**attempt * (1 + random.random()))
        except tweepy.HTTPException as error:
            said = "; ".join(map(str, error.api_messages))
            raise RefusedError(error.response.status_code, f": {said[:200]}" if said else "") from error
    raise InputError(f"X did not answer in {_TRIES} tries ({problem}); what came is kept, run again to go on")


def _wait_as_told(reset: int | None, attempt: int) -> None:
    told = reset - time.time() if reset else 0.0
    seconds = told + 1 if told > 0 else 60.0 * 2**attempt
    if seconds > _LONGEST_WAIT:
        raise InputError(f"X asks to wait for {seconds / 60:.0f} minutes; what came is kept, run again then")
    tqdm.write(f"waiting {seconds:.0f} s, as X asks")
    time.sleep(seconds)


class _Budget:
    """US dollars that a run, and the month it stands in, may spend."""

    def __init__(self, store: Store):
        first = _now().replace(day=1, hour=0, minute=0, second=0)
        spent = store.spent(XSource.name, first)
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


class XSource:
    """Recent search on X for one of the task's phrases, from where the last search for it ended.

    A search that was cut short is gone on with before a new one begins. What X no longer gives, and what the
    limit of posts leaves unread, is recorded as a gap.

    Parameters
    ----------
    most : posts to read in one search
    plan : the phrase to search for, the chance that it had, and the policy that gave it; by default any phrase
    """

    name = "x"

    def __init__(self, task: Task, most: int = 100, plan: tuple[str, float, str] | None = None):
        self.dataset, self.most = f"x-{task.name}", most
        self.plan = plan or (random.choice(task.queries), 1 / len(task.queries), "uniform")

    def pages(self, store: Store) -> Iterator[Page]:
        """Yield what was asked, paid and read, step by step; see `Source`.

        Raises
        ------
        InputError
            If credentials are missing, a budget does not suffice, or X refuses.
        """
        api, budget, searches = client(), _Budget(store), store.queries(self.dataset)
        unfinished = searches[searches["status"] == "running"].sort_values("started_at")
        for row in unfinished.to_dict("records") if not settings.flag("DRY_RUN") else []:
            row["started_at"] = row["started_at"].to_pydatetime()
            search = _Search(api, budget, self, row["query"], {name: row[name] for name in _STATE})
            yield from search.read(row["read"])
        query, chance, policy = self.plan
        searches = store.queries(self.dataset)
        ended = searches[(searches["query"] == query) & (searches["status"] == "complete")]
        state = dict.fromkeys(_STATE, "") | {
            "started_at": _now(), "status": "asked", "since_id": ended["newest_id"].iloc[0] if len(ended) else "",
            "policy": policy, "propensity": chance}
        yield from _Search(api, budget, self, query, state).begin()


_STATE = ("started_at", "status", "since_id", "until_id", "newest_id", "oldest_id", "next_token", "problems")


class _Search:
    """One search: where it stands (`state`, columns of the table of queries) and how it goes on."""

    def __init__(self, api: tweepy.Client, budget: _Budget, source: XSource, query: str, state: dict):
        self.api, self.budget, self.source, self.query, self.state = api, budget, source, query, state
        self.words = f"({query}) {OPERATORS}"
        if len(self.words) > 512:
            raise InputError(f"the phrase {query!r} is too long; X takes 512 characters, operators included")

    def begin(self) -> Iterator[Page]:
        """Count what there is, see whether it can be paid for, and read it."""
        last, reach = _time_of(self.state["since_id"]), self.state["started_at"] - _REACH
        gap = None
        if last and last < reach:
            gap, self.state["since_id"] = (last, reach, "X keeps seven days"), ""
        expected = self.source.most
        if self.api.bearer_token:  # a user's keys do not count
            yield self._page(spent=self.budget.take(PRICE["count"]))
            expected = self._count()
        reading = min(expected, self.source.most)
        cost = reading * PRICE["post"]
        self.state["expected"] = expected
        tqdm.write(f"X has {expected:,} posts for {self.query!r}; to read {reading:,} costs ${cost:.2f} "
                   f"and ${PRICE['expansion']:.2f} for each that has a place")
        if settings.flag("DRY_RUN"):
            self.state |= {"status": "estimated", "ended_at": _now()}
            yield self._page()
            return
        try:
            self.budget.check(cost)
        except InputError:
            self.state |= {"status": "too dear", "ended_at": _now()}
            yield self._page()
            raise
        self.state["status"] = "running"
        yield self._page(gap=gap)
        yield from self.read()

    def read(self, done: int = 0) -> Iterator[Page]:
        """Read pages, newest first, until there are no more, or enough."""
        each = PRICE["post"] + PRICE["expansion"]
        while self.state["status"] == "running":
            affordable = max(_SMALLEST, min(_PAGE, int(self.budget.left / each)))
            size = max(_SMALLEST, min(affordable, self.source.most - done))
            dearest = self.budget.take(size * each)
            yield self._page(spent=dearest)  # in the books before it is asked for, whatever happens then
            try:
                body = self._ask(size)
                came = read_page(body, self.source.dataset, self.query)
            except RefusedError as error:
                self.budget.left += dearest
                expired = error.code == 400 and self.state["next_token"]
                if expired:
                    self.state |= {"next_token": "", "until_id": self.state["oldest_id"]}
                yield self._page(spent=-dearest)
                if not expired:
                    raise
                continue
            except UnreadableError as error:
                yield self._page(unreadable=(error.body, str(error)))
                raise
            done += len(came.posts)
            unused = dearest - came.price
            self.budget.left += unused
            gap = self._advance(came, done)
            yield self._page(posts=came.posts, refused=came.refused, spent=-unused, gap=gap)

    def _advance(self, came: "_Answer", done: int) -> tuple | None:
        """Move the search behind a page; gives the gap that its end leaves, if any."""
        known = [one for one in (*came.ids, self.state["newest_id"], self.state["oldest_id"]) if one]
        self.state |= {"next_token": came.next_token, "newest_id": max(known, key=int, default=""),
                       "oldest_id": min(known, key=int, default=""),
                       "problems": "\n".join(filter(None, [self.state["problems"], came.problems]))}
        if came.next_token and done < self.source.most:
            return None
        begins = _time_of(self.state["since_id"]) or self.state["started_at"] - _REACH
        gap = (begins, _time_of(self.state["oldest_id"]), f"more than {self.source.most:,} posts")
        self.state |= {"status": "complete", "ended_at": _now(), "next_token": "",
                       "newest_id": self.state["newest_id"] or self.state["since_id"]}
        return gap if came.next_token else None

    def _page(self, **more: object) -> Page:
        return Page(self.query, more.pop("posts", pd.DataFrame()), state=dict(self.state), **more)

    def _window(self) -> dict:
        """From when on: what came after the last search, or all that X keeps; to when, if a token expired."""
        since = _time_of(self.state["since_id"]) or self.state["started_at"] - _REACH
        if since < _now() - _KEPT:
            since, self.state["since_id"] = _now() - _REACH, ""
        asked = {"since_id": self.state["since_id"]} if self.state["since_id"] else \
            {"start_time": since.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return asked | ({"until_id": self.state["until_id"]} if self.state["until_id"] else {})

    def _count(self) -> int:
        body = ask(self.api.get_recent_tweets_count, query=self.words, granularity="day", **self._window())
        try:
            return int(json.loads(body)["meta"]["total_tweet_count"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("X's count of posts cannot be read; run again") from error

    def _ask(self, size: int) -> bytes:
        token = {"next_token": self.state["next_token"]} if self.state["next_token"] else {}
        return ask(self.api.search_recent_tweets, query=self.words, max_results=size, tweet_fields=_FIELDS,
                   expansions="geo.place_id", place_fields=["full_name"], user_auth=not self.api.bearer_token,
                   **self._window(), **token)


class UnreadableError(InputError):
    """A page that is no page; `body` is what came."""

    def __init__(self, body: bytes, why: str):
        super().__init__(f"a page from X cannot be read ({why}); its bytes are kept for `make replay`, and the "
                         "search goes on with the next run")
        self.body = body


class _Answer(NamedTuple):
    """A page of X: posts as `posts.from_table` makes them, the ids in it, and what it cost."""

    posts: pd.DataFrame
    ids: list[str]
    refused: int
    price: float
    next_token: str
    problems: str


def read_page(body: bytes, dataset: str, query: str) -> _Answer:
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
    found = posts.from_table(table, dataset, "a page from X").frame.assign(query=query, source="x") if ids else table
    places = len((page.get("includes") or {}).get("places") or [])
    price = len(page["data"]) * PRICE["post"] + places * PRICE["expansion"]
    return _Answer(found, ids, refused + len(rows) - len(table), price, token, "\n".join(problems))


def replay(store: Store, dataset: str) -> tuple[int, int]:
    """Read the pages again that could not be read when they came.

    Returns
    -------
    How many could be read now, and how many posts of them were new.
    """
    kept = store.quarantine(dataset)
    kept, read, new = kept[kept["replayed_at"].isna()], 0, 0
    for page in tqdm(kept.to_dict("records"), desc="replay", unit=" pages"):
        try:
            came = read_page(page["body"], dataset, page["query"])
        except UnreadableError:
            continue
        new += store.replayed(page, came.posts)
        read += 1
    return read, new


def _time_of(post_id: str) -> datetime | None:
    made = posts.x_time(pd.Series([post_id]))[0]
    return None if pd.isna(made) else made.to_pydatetime()


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None)
