"""Searches of X: counted before they are read, within a budget, and able to go on after a crash.

X sells posts one by one, so each page is paid for in the books before it is asked for, and nothing is read twice
that is already there.
"""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import pandas as pd
import tweepy
from tqdm.auto import tqdm

from hrf_utils import posts, settings
from hrf_utils.collecting import Page
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.tasks import Task
from hrf_utils.x import FIELDS, PRICE, Answer, Budget, RefusedError, UnreadableError, ask, client, now, read_page

OPERATORS = "lang:en -is:retweet (place_country:US OR -has:geo)"
"""Behind each phrase: English, no retweets, and of the geotagged posts only those from the US."""

_PAGE, _SMALLEST = 100, 10
_KEPT = timedelta(days=7)
_REACH = _KEPT - timedelta(hours=2)  # a search may have to wait on its way


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
        api, budget, searches = client(), Budget(store), store.queries(self.dataset)
        unfinished = searches[searches["status"] == "running"].sort_values("started_at")
        for row in unfinished.to_dict("records") if not settings.flag("DRY_RUN") else []:
            row["started_at"] = row["started_at"].to_pydatetime()
            search = _Search(api, budget, self, row["query"], {name: row[name] for name in _STATE})
            yield from search.read(row["read"])
        query, chance, policy = self.plan
        searches = store.queries(self.dataset)
        ended = searches[(searches["query"] == query) & (searches["status"] == "complete")]
        state = dict.fromkeys(_STATE, "") | {
            "started_at": now(), "status": "asked", "since_id": ended["newest_id"].iloc[0] if len(ended) else "",
            "policy": policy, "propensity": chance}
        yield from _Search(api, budget, self, query, state).begin()


_STATE = ("started_at", "status", "since_id", "until_id", "newest_id", "oldest_id", "next_token", "problems")


class _Search:
    """One search: where it stands (`state`, columns of the table of queries) and how it goes on."""

    def __init__(self, api: tweepy.Client, budget: Budget, source: XSource, query: str, state: dict):
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
            self.state |= {"status": "estimated", "ended_at": now()}
            yield self._page()
            return
        try:
            self.budget.check(cost)
        except InputError:
            self.state |= {"status": "too dear", "ended_at": now()}
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

    def _advance(self, came: Answer, done: int) -> tuple | None:
        """Move the search behind a page; gives the gap that its end leaves, if any."""
        known = [one for one in (*came.ids, self.state["newest_id"], self.state["oldest_id"]) if one]
        self.state |= {"next_token": came.next_token, "newest_id": max(known, key=int, default=""),
                       "oldest_id": min(known, key=int, default=""),
                       "problems": "\n".join(filter(None, [self.state["problems"], came.problems]))}
        if came.next_token and done < self.source.most:
            return None
        begins = _time_of(self.state["since_id"]) or self.state["started_at"] - _REACH
        gap = (begins, _time_of(self.state["oldest_id"]), f"more than {self.source.most:,} posts")
        self.state |= {"status": "complete", "ended_at": now(), "next_token": "",
                       "newest_id": self.state["newest_id"] or self.state["since_id"]}
        return gap if came.next_token else None

    def _page(self, **more: object) -> Page:
        return Page(self.query, more.pop("posts", pd.DataFrame()), state=dict(self.state), **more)

    def _window(self) -> dict:
        """From when on: what came after the last search, or all that X keeps; to when, if a token expired."""
        since = _time_of(self.state["since_id"]) or self.state["started_at"] - _REACH
        if since < now() - _KEPT:
            since, self.state["since_id"] = now() - _REACH, ""
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
        return ask(self.api.search_recent_tweets, query=self.words, max_results=size, tweet_fields=FIELDS,
                   expansions="geo.place_id", place_fields=["full_name"], user_auth=not self.api.bearer_token,
                   **self._window(), **token)


def replay(store: Store, dataset: str) -> tuple[int, int]:
    """Read the pages again that could not be read when they came.

    Returns
    -------
    How many could be read now, and how many posts of them were new.
    """
    read = new = 0
    for page in tqdm(store.quarantine(dataset).to_dict("records"), desc="replay", unit=" pages"):
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
