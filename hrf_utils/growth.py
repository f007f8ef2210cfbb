"""How work grows with the number of posts, and the posts that are made for it."""

import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
import pandas as pd
from tqdm import tqdm

from hrf_utils import places, text
from hrf_utils.store import Store

REPEATS = 0.16
"""Share of posts that repeat another one exactly, as in the public tweets."""


def made(texts: list[str], n: int, seed: int = 0) -> list[str]:
    """`n` posts made of real ones: a tenth of the words dropped, two swapped, and `REPEATS` of them exact repeats."""
    rng, found = np.random.default_rng(seed), []
    for source, repeats in zip(rng.integers(len(texts), size=n), rng.random(n) < REPEATS, strict=True):
        if repeats and found:
            found.append(found[rng.integers(len(found))])
            continue
        words = texts[source].split()
        words = [word for word, kept in zip(words, rng.random(len(words)) > 0.1, strict=True) if kept] or words
        if len(words) > 1:
            one, other = rng.integers(len(words), size=2)
            words[one], words[other] = words[other], words[one]
        found.append(" ".join(words))
    return found


def growth(texts: list[str], sizes: list[int]) -> pd.DataFrame:
    """Three kinds of work at several sizes; a row each: ``work``, ``posts``, ``seconds``, and ``gib``.

    Each size has a process of its own; ``gib`` is the most that it held until then, with the posts themselves.
    """
    found = [apart(_works, texts, n) for n in tqdm(sizes, desc="growth")]
    return pd.DataFrame([row for rows, _, _ in found for row in rows])


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Exponents of the works of `growth`: slopes of log seconds on log posts, over all sizes and the last two."""
    rows = {}
    for work, part in table.groupby("work"):
        posts, seconds = np.log(part["posts"]), np.log(part["seconds"])
        rows[work] = {name: np.polyfit(posts[-some:], seconds[-some:], 1)[0]
                      for name, some in (("all sizes", len(part)), ("last two", 2))}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("work")


def _works(texts: list[str], n: int) -> list[dict]:
    frame, rows = pd.DataFrame({"dataset": "d", "id": [str(k) for k in range(n)], "text": made(texts, n)}), []
    places.locate("Austin, Texas")  # reads the gazetteer
    with tempfile.TemporaryDirectory() as work:
        store = Store.open(f"sqlite:///{work}/hrf.db")
        for name, do in (("places", lambda: [places.locate(one) for one in frame["text"]]),
                         ("import into SQLite", lambda: store.add_posts(frame)),
                         ("near-duplicates", lambda: text.near_duplicates(frame["text"]))):
            started = time.perf_counter()
            do()
            rows.append({"work": name, "posts": n, "seconds": time.perf_counter() - started, "gib": highest()})
    return rows


def apart(do: Callable, *arguments: object) -> tuple[object, float, float]:
    """Run in a new process: the answer, the seconds that it took, and the most memory that it held, in GiB."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(highest).result()  # starts the process
        started = time.perf_counter()
        answer = pool.submit(do, *arguments).result()
        return answer, time.perf_counter() - started, pool.submit(highest).result()


def highest() -> float:
    """The most memory that this process held, in GiB; what it was started from does not count where Linux tells."""
    told = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+)", told.read_text()) if told.exists() else None
    return int(found[1] if found else getrusage(RUSAGE_SELF).ru_maxrss) / 2**20
