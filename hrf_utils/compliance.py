"""Posts that are gone from X, and posts that are too old, are dropped here: from the store and from all files.

X's terms give 24 hours for that. What stays of a post is its id, so that it is never stored again.
"""

import html
import json
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
from tqdm.auto import tqdm

from hrf_utils import files, posts, settings, sources, store_reviews, x
from hrf_utils.settings import InputError
from hrf_utils.store import Store

_ID_NAMES = ("id", "tweet_id")
_QUOTE = 40  # letters of a post by which a notebook's output is known to show it


class Outcome(NamedTuple):
    """What a check found.

    public, waiting : posts that X still has, and posts it was not asked for
    dropped : ``dataset``, ``id``, ``reason``
    problem : what ended the check early, or ``""``
    """

    public: int
    dropped: pd.DataFrame
    waiting: int
    problem: str


def comply(store: Store, older_than: timedelta = timedelta(0)) -> Outcome:
    """Ask X for all posts that have an id of X's, and drop those that are gone, or older than ``RETENTION_DAYS``.

    With ``DRY_RUN`` nothing is asked or dropped, and the outcome says what it would cost.

    The posts that were checked longest ago come first. A check that ends early, at a budget say, still drops what
    it found. Files go before the rows of the store, so that a run that is cut short is made good by the next one.

    Parameters
    ----------
    older_than : leave out posts that were checked less than so long ago

    Raises
    ------
    InputError
        If somebody collects at the same time.
    """
    with store.alone("collect"):
        known = store.checked()
        told = known.merge(store.tombstones()[["dataset", "id", "reason"]])
        old = pd.concat([told, _too_old(known)]).drop_duplicates(["dataset", "id"])
        due = known[posts.made_by_x(known["id"]) & (known["source"] != "bluesky") & ~known["id"].isin(old["id"])
                    & ~(pd.to_datetime(known["checked_at"]) > x.now() - older_than)]
        if settings.flag("DRY_RUN"):
            return Outcome(0, old.head(0), len(due), f"a look at all costs up to ${len(due) * x.PRICE['post']:.2f}")
        pages = store.quarantine_of("x")
        gone, public, waiting, problem = _look_up(store, due, pages)
        dropped = pd.concat([old, known.merge(gone, on="id")], ignore_index=True)[["dataset", "id", "reason"]]
        ids = set(dropped["id"]) | set(gone["id"])
        if ids:
            _clean_files(ids, store.texts(dropped))
            store.forget(dropped, pages[[bool(ids & _ids_in(body)) for body in pages["body"]]],
                         store_reviews.forgetting(dropped))
        store.scrub()
    return Outcome(public, dropped, waiting, problem)


def _too_old(known: pd.DataFrame) -> pd.DataFrame:
    """Collected posts that are older than ``RETENTION_DAYS``, counted from when they were collected."""
    days = settings.number("RETENTION_DAYS")
    aged = known["source"].isin(sources.LIVE) & (known["seen_at"] < x.now() - timedelta(days=days)) & (days > 0)
    return known[aged].assign(reason=f"older than {days:g} days")


def _look_up(store: Store, due: pd.DataFrame, pages: pd.DataFrame) -> tuple[pd.DataFrame, int, int, str]:
    """Ask for posts, a hundred at a time, each hundred paid for in the books before it is asked for.

    Returns
    -------
    gone : ``id`` and ``reason``
    public, waiting : how many X has, and how many were not asked for
    problem : why it ended early, or ``""``
    """
    inside = {one for body in pages["body"] for one in _ids_in(body)}
    ids = list(dict.fromkeys([*due["id"], *sorted(inside)]))
    gone, asked, public, problem = {}, 0, 0, ""
    if not ids:
        return pd.DataFrame(columns=["id", "reason"]), 0, 0, ""
    try:
        api, budget = x.client(), x.Budget(store)
        for start in tqdm(range(0, len(ids), x.LOOKUP), desc="check", unit_scale=x.LOOKUP, unit=" posts"):
            some = ids[start:start + x.LOOKUP]
            found, missing = x.buy(api, store, some, budget)
            here = due[due["id"].isin(found["id"] if len(found) else [])]
            store.mark_checked(here, x.now())
            gone, asked, public = gone | missing, asked + len(some), public + len(here)
    except InputError as error:
        problem = str(error)
    return pd.DataFrame(gone.items(), columns=["id", "reason"]), public, len(ids) - asked, problem


def _ids_in(body: bytes) -> set[str]:
    """Ids of posts in a page from X, whether it can be read or not."""
    return {one.decode() for one in re.findall(rb'"id"\s*:\s*"(\d{15,19})"', body)}


def _clean_files(ids: set[str], texts: list[str]) -> None:
    """Take posts out of every file below ``HRF_HOME``.

    Reports are removed whole, as they tell of all posts together; make writes them again. Tables lose the rows of
    these posts, and notebooks the outputs that show them.
    """
    data, reports = (settings.home() / name for name in ("data", "reports"))
    for path in [*data.glob("models/*/.training-*"), *(p for p in reports.glob("*") if p.is_dir())]:
        shutil.rmtree(path)
    (reports / "index.html").unlink(missing_ok=True)
    of_table, of_json = partial(_clean_table, ids=ids), partial(_clean_json, ids=ids)
    cleaners = {".csv": of_table, ".parquet": of_table, ".jsonl": of_json, ".json": of_json,
                ".ipynb": partial(_clear_outputs, shown=[text[:_QUOTE] for text in texts])}
    found = [path for path in data.rglob("*") if "models" not in path.relative_to(data).parts]
    found += (settings.home() / "notebooks").rglob("*.ipynb")
    for path in found:
        if path.suffix in cleaners and path.is_file():
            try:
                cleaners[path.suffix](path)
            except ValueError as error:
                raise InputError(f"{path} may hold posts that are to be dropped and cannot be read "
                                 f"({str(error).splitlines()[0]}); remove it, and run again") from error


def _named(text: str, ids: set[str]) -> bool:
    return not ids.isdisjoint(re.findall(r"[\w/]+", text))


def _clean_table(path: Path, ids: set[str]) -> None:
    if path.suffix == ".parquet":
        frame, write = pd.read_parquet(path), pd.DataFrame.to_parquet
    elif _named(path.read_text(encoding="utf8"), ids):
        frame, write = pd.read_csv(path, dtype=str, keep_default_na=False), pd.DataFrame.to_csv
    else:
        return
    theirs = frame[[name for name in _ID_NAMES if name in frame]].astype(str).isin(ids).any(axis=1)
    if theirs.any():
        with files.whole(path) as temporary:
            write(frame[~theirs], temporary, index=False)


def _clean_json(path: Path, ids: set[str]) -> None:
    text = path.read_text(encoding="utf8")
    if _named(text, ids):
        parts = [part for part in text.split("\n") if part.strip()] if path.suffix == ".jsonl" else [text]
        kept = [json.dumps(item, ensure_ascii=False) for part in parts
                if (item := _without(json.loads(part), ids)) is not None]
        with files.whole(path) as temporary:
            temporary.write_text("\n".join(kept) + "\n", encoding="utf8")


def _without(item: object, ids: set[str]) -> object:
    """A JSON value without the objects that are one of these posts; None if it is one itself."""
    if isinstance(item, dict):
        if any(str(item.get(name)) in ids for name in _ID_NAMES):
            return None
        return {name: _without(value, ids) for name, value in item.items()}
    if isinstance(item, list):
        kept = [(value, _without(value, ids)) for value in item]
        return [new for old, new in kept if old is None or new is not None]
    return item


def _clear_outputs(path: Path, shown: list[str]) -> None:
    notebook = nbformat.read(path, as_version=4)
    hits = [cell for cell in notebook.cells if cell.cell_type == "code"
            and any(quote in html.unescape("\n".join(_strings(cell.outputs))) for quote in shown)]
    for cell in hits:
        cell.outputs = []
    if hits:
        with files.whole(path) as temporary:
            nbformat.write(notebook, temporary)


def _strings(item: object) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    else:
        for value in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            yield from _strings(value)
