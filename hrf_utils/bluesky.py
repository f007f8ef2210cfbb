"""Posts from Bluesky: its public stream of all posts (Jetstream), of which those that hold a phrase are kept.

The stream needs no login and costs nothing. Its cursor is a time, so that a run begins where the last one ended.
"""

import json
import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pandas as pd
from tqdm.auto import tqdm
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from hrf_utils import posts, settings
from hrf_utils.collecting import Page
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.tasks import Task

_COLLECTION = "app.bsky.feed.post"
_SILENCE = 20  # seconds; all of Bluesky is never silent for so long
_TRIES = 5
_PAGE, _EVENTS = 100, 20_000  # posts, or events read, after which the place in the stream is stored
_JUMP = timedelta(minutes=10)
_FAR = 4 * 10**15  # microseconds; the year 2096


class BlueskySource:
    """English posts on Bluesky that hold all words of one of the task's phrases.

    Parameters
    ----------
    most : posts to keep in one run; the next one goes on behind them
    minutes : that a run may take, and that the first one looks back
    """

    name = "bluesky"

    def __init__(self, task: Task, most: int = 100, minutes: float = 10):
        self.dataset, self.most, self.minutes = f"bluesky-{task.name}", most, minutes
        self.phrases = {query: query.lower().split() for query in task.queries}

    def pages(self, store: Store) -> Iterator[Page]:
        """Yield the posts between the end of the last run and the beginning of this one; see `Source`.

        Raises
        ------
        InputError
            If the stream does not answer.
        """
        began, before = _now(), store.queries(self.dataset)
        span = timedelta(minutes=self.minutes)
        cursor = int(before["newest_id"].iloc[0]) if len(before) else _microseconds(began - span)
        state = {"started_at": began, "status": "cut short", "newest_id": str(cursor)}
        yield Page("", pd.DataFrame(), state=dict(state))
        rows, deleted, refused, kept = {}, [], 0, 0
        for number, event in enumerate(self._events(cursor), 1):
            last, at = _time(cursor), _time(event["time_us"])
            cursor = max(cursor, event["time_us"])
            gap = (last, at, "Jetstream no longer had them") if at - last > _JUMP else None
            try:
                found, gone = self._read(event)
            except (AttributeError, KeyError, TypeError):
                found, gone, refused = {}, [], refused + 1
            rows |= found
            deleted += gone
            ended = at >= began or _now() >= began + span or kept + len(rows) >= self.most
            if ended or gap or len(rows) >= _PAGE or number % _EVENTS == 0:
                kept += len(rows)
                state["newest_id"] = str(cursor)
                if ended:
                    state |= {"ended_at": _now(), "status": "complete" if at >= began else "to be continued"}
                yield Page("", self._posts(rows), refused, dict(state), gap=gap, gone=deleted)
                rows, deleted, refused = {}, [], 0
            if ended:
                return

    def _events(self, cursor: int) -> Iterator[dict]:
        """Events about posts from a cursor on; a connection that breaks is made again."""
        failures = 0
        while True:
            query = urllib.parse.urlencode({"wantedCollections": _COLLECTION, "cursor": cursor})
            try:
                with connect(f"{settings.get('JETSTREAM_URL')}?{query}", close_timeout=1) as stream:
                    while True:
                        event = _parsed(stream.recv(timeout=_SILENCE))
                        if event.setdefault("time_us", cursor) > cursor:
                            cursor, failures = event["time_us"], 0
                        yield event
            except (OSError, WebSocketException) as error:  # silence is a TimeoutError, and that an OSError
                failures += 1
                if failures == _TRIES:
                    raise InputError(f"Bluesky did not answer in {_TRIES} tries ({error or 'silence'}); what came is "
                                     "kept, run again to go on, or check JETSTREAM_URL") from error
                tqdm.write(f"the stream broke ({error or 'silence'}); once more")
                time.sleep(2.0 ** (failures - 1))

    def _read(self, event: dict) -> tuple[dict[str, dict], list[str]]:
        """The post that an event brings, if it is one of ours, by its id; and the id of one that it deletes."""
        if event["kind"] != "commit" or event["commit"]["collection"] != _COLLECTION:
            return {}, []
        commit, author = event["commit"], event["did"]
        if commit["operation"] == "delete":
            return {}, [_id(author, commit["rkey"])]
        record = commit["record"]
        text, languages = record["text"].lower(), record.get("langs") or ["en"]
        phrase = next((query for query, words in self.phrases.items() if all(word in text for word in words)), "")
        if not phrase or not any(one.startswith("en") for one in languages):
            return {}, []
        name = _id(author, commit["rkey"])
        root = ((record.get("reply") or {}).get("root") or {}).get("uri", "")
        thread = root.removeprefix("at://").split(f"/{_COLLECTION}/")
        return {name: {
            "id": name, "text": record["text"], "author": author, "created_at": _time(event["time_us"]).isoformat(),
            "query": phrase, "lang": languages[0],
            "conversation_id": _id(*thread) if len(thread) == 2 else name}}, []

    def _posts(self, rows: dict[str, dict]) -> pd.DataFrame:
        if not rows:
            return pd.DataFrame()
        table = pd.DataFrame(rows.values(), dtype=object)
        return posts.from_table(table, self.dataset, "Bluesky").frame.assign(source=self.name)


def _parsed(message: str) -> dict:
    """An event; one that is none stands for something that cannot be read."""
    try:
        event = json.loads(message)
    except ValueError:
        event = None
    readable = isinstance(event, dict) and isinstance(event.get("time_us"), int) and 0 <= event["time_us"] < _FAR
    return event if readable else {}


def _id(author: str, key: str) -> str:
    """An id that does not name its author, as Bluesky's own does."""
    return f"{posts.pseudonyms(pd.Series([author]))[0]}/{key}"


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).replace(tzinfo=None)


def _microseconds(at: datetime) -> int:
    return int(at.replace(tzinfo=UTC).timestamp() * 1e6)


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None)
