"""Where posts come from: the starter corpus, a file, X, Bluesky; and the public set that can be downloaded."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from hrf_utils import files, posts, settings
from hrf_utils.bluesky import BlueskySource
from hrf_utils.collecting import Page, Source
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.tasks import Task
from hrf_utils.x_search import XSource

LIVE = ("x", "bluesky")
"""Sources that have something new every time."""
_PAGE = 5_000

_PUBLIC_URL = ("https://github.com/BloomTech-Labs/human-rights-first-police-ds-a/raw/8d56eba/"
               "notebooks/labs36_notebooks/")
_PUBLIC = {
    "training.csv": "61be21333639063830c89bd6443dbd58745e835af4f3705d9554ba93498ab91c",
    "test.csv": "618d2c7e5c82bd1f1680788fe5b1e718c43e5837de7749e7340932a63b1c6ef9",
}


class FileSource:
    """Posts from a CSV, JSONL or parquet file; labels in it are left where they are."""

    def __init__(self, path: str | Path, name: str = "file"):
        self.name, self.path = name, Path(path)
        self.dataset = files.dataset_name(path)

    def pages(self, store: Store) -> Iterator[Page]:
        read = posts.from_table(files.read_table(self.path), self.dataset, str(self.path))
        refused = len(read.refused)
        for query, rows in read.frame.groupby("query", sort=True):
            for start in range(0, len(rows), _PAGE):
                yield Page(query, rows.iloc[start:start + _PAGE].assign(source=self.name), refused)
                refused = 0


def open_source(source: str, task: Task, path: str = "", most_posts: int = 100,
                plan: tuple[str, float, str] | None = None, most_minutes: float = 10) -> Source:
    """The source a run names; for the last three arguments see `XSource` and `BlueskySource`.

    Raises
    ------
    InputError
        If the source is unknown, needs a path that was not given, or has no corpus for the task.
    """
    if source == "starter":
        if not task.starter.exists():
            raise InputError(f"the task {task.name} has no starter corpus; use SOURCE=file POSTS=…")
        return FileSource(task.starter, "starter")
    if source == "file":
        if not path:
            raise InputError("SOURCE=file needs POSTS=path to a CSV, JSONL or parquet file")
        return FileSource(path)
    if source == "x":
        return XSource(task, most_posts, plan)
    if source == "bluesky":
        return BlueskySource(task, most_posts, most_minutes)
    raise InputError(f"unknown SOURCE {source!r}; there are starter, file, x and bluesky")


def found_by(texts: pd.Series, queries: tuple[str, ...]) -> pd.DataFrame:
    """Which search phrase finds which text: one that holds all of its words; columns ``query`` and ``row`` (index)."""
    lowered = texts.str.lower()
    pairs = [(query, row) for query in queries for row, text in lowered.items()
             if all(word in text for word in query.lower().split())]
    return pd.DataFrame(pairs, columns=["query", "row"])


def download(folder: Path | None = None) -> list[Path]:
    """Fetch the public labelled set into ``data/raw/hrf/``, resuming and verifying digests.

    ``HRF_DATA_URL`` replaces the address the files are fetched from.

    Raises
    ------
    InputError
        If the address does not answer or a file's digest is not the published one.
    """
    folder = folder or settings.data_path("raw", "hrf")
    folder.mkdir(parents=True, exist_ok=True)
    base = (settings.get("HRF_DATA_URL") or _PUBLIC_URL).rstrip("/") + "/"
    return [_fetch(base + name, folder / name, digest) for name, digest in _PUBLIC.items()]


def _fetch(url: str, path: Path, digest: str) -> Path:
    if path.exists() and files.sha256(path) == digest:
        return path
    part = path.with_suffix(".part")
    if not (part.exists() and files.sha256(part) == digest):
        _receive(url, part)
    found = files.sha256(part)
    if found != digest:
        part.unlink()
        raise InputError(f"{path.name} from {url} has sha256 {found[:12]}…, not the published "
                         f"{digest[:12]}…; nothing was kept")
    part.replace(path)
    return path


def _receive(url: str, part: Path) -> None:
    """Append what is missing of `url` to `part`; a broken connection keeps what came."""
    done = part.stat().st_size if part.exists() and url.startswith("http") else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            resumed = done and answer.status == 206
            missing = int(answer.headers.get("Content-Length") or 0)
            with open(part, "ab" if resumed else "wb") as file, tqdm(
                    desc=part.stem, unit="B", unit_scale=True, initial=done if resumed else 0) as bar:
                while block := answer.read(1 << 16):
                    missing -= file.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code == 416:
            part.unlink()
            return _receive(url, part)
        raise InputError(f"cannot download {part.stem}.csv: {url} answers {error.code}") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise InputError(f"cannot download {part.stem}.csv: {getattr(error, 'reason', error)}; it needs a "
                         "network, or a mirror in HRF_DATA_URL") from error
    if missing > 0:
        raise InputError(f"the connection broke while {part.stem}.csv came; what came is kept, run "
                         "`make data` again to go on")
    return None


def main() -> None:
    """Download the public set; what ``make data`` runs."""
    for path in download():
        print(f"{path}: verified")


if __name__ == "__main__":
    settings.command(main)
