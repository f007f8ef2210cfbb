"""Collecting: a source hands over pages, and each is in the store before the next one is asked for.

A new source needs a ``dataset``, a ``name`` and ``pages()``.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import pandas as pd
from tqdm.auto import tqdm

from hrf_utils.store import Store, utc


class Page(NamedTuple):
    """What one request to a source brought, and where the search it belongs to stands.

    query : what was asked for
    posts : in the form of `posts.from_table`
    refused : posts that could not be used
    state : columns of the table of queries that changed; ``started_at`` goes on with an earlier search
    spent : US dollars
    gap, unreadable, gone : see `Store.add_page`
    """

    query: str
    posts: pd.DataFrame
    refused: int = 0
    state: dict = {}
    spent: float = 0.0
    gap: tuple | None = None
    unreadable: tuple | None = None
    gone: list[str] = []


class Source(Protocol):
    """Anything that can be collected from."""

    name: str
    dataset: str

    def pages(self, store: Store) -> Iterator[Page]:
        """Yield pages; each is in the store before the next one is asked for. The store is for reading."""
        ...


def collect(source: Source, store: Store) -> pd.DataFrame:
    """Write all pages of a source to the store; returns the searches of this run, one row each.

    A page and where its search stands are one transaction, so that a run cut short keeps what it has, and
    a second run of the same source adds nothing twice.

    Raises
    ------
    InputError
        If somebody else collects into this store, or the source cannot go on.
    """
    started, touched = utc(), set()
    with store.alone("collect"):
        for page in tqdm(source.pages(store), desc=f"collect {source.dataset}", unit=" pages"):
            search = {"dataset": source.dataset, "query": page.query, "source": source.name, "started_at": started}
            search |= page.state
            touched.add((page.query, search["started_at"]))
            store.add_page(search, page.posts, page.refused, page.spent, page.gap, page.unreadable, page.gone)
    searches = store.queries(source.dataset)
    mine = [key in touched for key in zip(searches["query"], searches["started_at"].dt.to_pydatetime(), strict=True)]
    return searches[mine].set_index("query").sort_index()


def told(searches: pd.DataFrame) -> pd.DataFrame:
    """The searches of a run for readers: how many posts were counted and read, what it cost, how it ended."""
    table = searches[["read", "new", "repeated", "refused"]].copy()
    table.insert(0, "counted", [f"{count:,.0f}" if pd.notna(count) else "–" for count in searches["expected"]])
    table["cost"] = searches["spent"].map("${:.3f}".format)
    table["ended"] = searches["status"].replace("", "complete")
    return table.rename({"": "(everything)"})
