"""Archives of posts of any size, read as a stream: CSV, lines of JSON, parquet."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hrf_utils import files, posts
from hrf_utils.settings import InputError
from hrf_utils.text import clean

_LONGEST_CELL, _LONGEST_LINE = 2**25, 2**26


class Row(NamedTuple):
    """A row of an archive: its number from 1, where it stands, and its post, or why it cannot be used."""

    number: int
    at: int
    id: str
    text: str
    problem: str = ""


def rows(path: Path, at: int = 0, before: int = 0) -> Iterator[Row]:
    """Rows of an archive from a place on that `Row.at` gave, with so many rows before it.

    Texts are as `text.clean` makes them, so that no post is longer than the longest that X allows.

    Raises
    ------
    InputError
        If the file is missing, empty, of an unknown kind or damaged, lacks a column of ids or texts, or an id is
        missing or rounded.
    """
    readers = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    if files.existing(path).suffix.lower() not in readers:
        raise InputError(f"{path} is none of {', '.join(readers)}")
    found = readers[path.suffix.lower()](path, at)
    for number, (place, identity, text, problem) in enumerate(found, before + 1):
        if not problem:
            identity, text = clean(identity), clean(text)
            problem = "" if text else "the text is empty"
            if not identity:
                raise InputError(f"{path} row {number} has no id; scores are tied to posts by their ids")
            posts.check_id(identity, f"{path} row {number}")
        yield Row(number, place, identity, text, problem)


def _columns(names: list[str], path: Path) -> tuple[str, str]:
    header = pd.DataFrame(columns=names)
    return posts.column(header, ("id",), str(path)), posts.column(header, posts.TEXT_NAMES, str(path))


class _Lines:
    """Lines of a file as text, with the place behind the last one; bytes that are not UTF-8 become surrogates."""

    def __init__(self, file: object, at: int):
        self.file, self.at = file, at

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline(_LONGEST_LINE):
            self.at += len(line)
            yield line.decode("utf8", "surrogateescape")


def _csv(path: Path, at: int) -> Iterator[tuple]:
    csv.field_size_limit(_LONGEST_CELL)
    with open(path, "rb") as file:
        lines = _Lines(file, 0)
        reader = csv.reader(iter(lines), strict=True)
        try:
            names = [name.removeprefix("\ufeff") for name in next(reader, [])]
        except csv.Error as error:
            raise InputError(f"{path}: the line of column names cannot be read: {error}") from error
        of_id, of_text = map(names.index, _columns(names, path))
        if at:
            file.seek(at)
            lines.at = at
        while True:
            place = lines.at
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield place, "", "", f"it is no row of CSV: {error}"
                continue
            if len(cells) not in (0, len(names)):
                yield place, "", "", f"it has {len(cells)} cells, not {len(names)}"
            elif cells:
                yield place, cells[of_id], cells[of_text], _not_utf8("".join(cells))


def _not_utf8(text: str) -> str:
    return "it is not UTF-8" if re.search("[\udc80-\udcff]", text) else ""


def _jsonl(path: Path, at: int) -> Iterator[tuple]:
    with open(path, "rb") as file:
        file.seek(at)
        lines = _Lines(file, at)
        place = at
        for line in lines:
            if line.strip():
                yield place, *_of_json(line)
            place = lines.at


def _of_json(line: str) -> tuple[str, str, str]:
    if problem := _not_utf8(line):
        return "", "", problem
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        return "", "", "it is not JSON"
    if not isinstance(item, dict):
        return "", "", "it is no JSON object"
    text, identity = next((item[name] for name in posts.TEXT_NAMES if item.get(name)), ""), item.get("id", "")
    if not isinstance(text, str) or not isinstance(identity, str | int):
        return "", "", "its id or its text is neither text nor a whole number"
    return str(identity), text, ""


def _parquet(path: Path, at: int) -> Iterator[tuple]:
    try:
        file, place = pq.ParquetFile(path), 0
        names = _columns(file.schema_arrow.names, path)
        if pa.types.is_floating(file.schema_arrow.field("id").type):
            raise InputError(f"{path}: the ids are stored as rounded numbers; export them as text")
        for group in range(file.num_row_groups):
            if place + file.metadata.row_group(group).num_rows <= at:
                place += file.metadata.row_group(group).num_rows
                continue
            for batch in file.iter_batches(1000, row_groups=[group], columns=list(names)):
                for cells in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                    if place >= at:
                        yield place, *("" if cell is None else str(cell) for cell in cells), ""
                    place += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
