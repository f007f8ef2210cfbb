"""What a post is: its columns, its id, its time, and an author nobody can name."""

import hashlib
import hmac
import os
import re
import secrets
from typing import NamedTuple

import pandas as pd

from hrf_utils import settings
from hrf_utils.settings import InputError
from hrf_utils.text import clean

OPTIONAL = ["author", "author_location", "place", "created_at", "conversation_id", "lang", "query", "kind",
            "city", "state", "country", "incident", "version"]
"""Columns that are kept when a file has them."""

_ROUNDED = re.compile(r"\d+([.,]\d+)?[eE]\+?\d+")
TEXT_NAMES = ("text", "tweets")
_X_EPOCH_MS = 1_288_834_974_657


class Posts(NamedTuple):
    """Posts of one file, what was refused (row number, reason) and which columns were ignored."""

    frame: pd.DataFrame
    refused: list[tuple[int, str]]
    ignored: list[str]


def from_table(table: pd.DataFrame, dataset: str, where: str, known: tuple[str, ...] = ()) -> Posts:
    """Turn a table of text cells into posts.

    Parameters
    ----------
    table : cells as `files.read_table` gives them
    dataset : name of the data set the posts belong to
    where : name of the file, for messages
    known : further columns that the caller reads itself

    Returns
    -------
    Posts
        `frame` has ``dataset``, ``id``, ``text``, ``created_at`` (UTC), ``row`` (first data row
        is 1), and the optional columns. A row without id gets its row number; a missing time is
        read from the id where that is an X id; authors are pseudonyms.

    Raises
    ------
    InputError
        If there is no text column, an id was mangled by a spreadsheet, two rows share an id but
        not their text, or no row can be used.
    """
    text_name = column(table, TEXT_NAMES, where)
    frame = pd.DataFrame({"dataset": dataset, "row": range(1, len(table) + 1)}, index=table.index)
    frame["id"] = table["id"].str.strip() if "id" in table else ""
    frame["id"] = frame["id"].where(frame["id"] != "", frame["row"].astype(str)).map(clean)
    frame["text"] = table[text_name].map(clean)
    for name in OPTIONAL:
        frame[name] = table[name].map(clean) if name in table else ""
    _check_ids(frame, where)
    given = pd.to_datetime(frame["created_at"], utc=True, errors="coerce", format="mixed")
    given = given.dt.tz_localize(None).dt.floor("s").dt.as_unit("s")
    frame["created_at"] = given.fillna(x_time(frame["id"]))
    frame["author"] = pseudonyms(frame["author"])
    refused = [(row, "the text is empty") for row in frame.loc[frame["text"] == "", "row"]]
    repeated = frame.duplicated("id") & (frame["text"] != "")
    refused += [(row, "the id stood in an earlier row") for row in frame.loc[repeated, "row"]]
    ignored = [str(name) for name in table.columns
               if name not in {"id", text_name, *OPTIONAL, *known}]
    usable = frame[(frame["text"] != "") & ~repeated].reset_index(drop=True)
    if usable.empty:
        raise InputError(f"{where} has no row with a text")
    return Posts(usable, sorted(refused), ignored)


def column(table: pd.DataFrame, names: tuple[str, ...], where: str) -> str:
    """The first of `names` that the table has, or an `InputError` that says what was looked for."""
    for name in names:
        if name in table:
            return name
    found = ", ".join(map(str, table.columns[:10]))
    raise InputError(f"{where} has no column {' or '.join(names)}; it has: {found}")


def check_id(identity: str, where: str) -> None:
    """Raise `InputError` for an id that a spreadsheet took for a number."""
    if _ROUNDED.fullmatch(identity):
        raise InputError(f"{where}: the id {identity} was rounded by a spreadsheet; export the ids as text")


def _check_ids(frame: pd.DataFrame, where: str) -> None:
    for row, identity in zip(frame["row"], frame["id"], strict=True):
        check_id(identity, f"{where} row {row}")
    texts = frame.groupby("id")["text"].transform("first")
    other = frame[frame["text"] != texts]
    if len(other):
        first = other.iloc[0]
        raise InputError(f"{where} row {first['row']}: the id {first['id']} stands in an earlier row "
                         "with another text; ids must be unique")


def made_by_x(ids: pd.Series) -> pd.Series:
    """Which ids have the form of X's."""
    return ids.str.fullmatch(r"\d{15,19}")


def x_time(ids: pd.Series) -> pd.Series:
    """Time at which X made an id (UTC), NaT where the id is none of X's.

    X ids carry milliseconds since 4 November 2010 in the bits above the 22 lowest.
    """
    made = [((int(text) >> 22) + _X_EPOCH_MS) // 1000 if by_x else None
            for by_x, text in zip(made_by_x(ids), ids, strict=True)]
    return pd.to_datetime(pd.Series(made, index=ids.index, dtype="Int64"), unit="s").dt.as_unit("s")


def pseudonyms(authors: pd.Series) -> pd.Series:
    """Replace each author by a keyed hash (HMAC-SHA256, 16 hex digits); an empty author stays so."""
    names = {name: _pseudonym(name) for name in authors.unique()}
    return authors.map(names)


def _pseudonym(author: str) -> str:
    if not author or re.fullmatch(r"a[0-9a-f]{16}", author):
        return author
    digest = hmac.new(_pseudonym_key(), author.lower().encode("utf8"), hashlib.sha256)
    return "a" + digest.hexdigest()[:16]


def _pseudonym_key() -> bytes:
    """``PSEUDONYM_KEY``, else a key made once below ``HRF_HOME`` that only its owner can read."""
    if settings.get("PSEUDONYM_KEY"):
        return settings.get("PSEUDONYM_KEY").encode("utf8")
    path = settings.data_path("pseudonym.key")
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    return path.read_bytes()
