"""Files in and out: tables of posts, digests, and writes that are whole or not there."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from hrf_utils.settings import ROOT, InputError

STARTER = ROOT / "data" / "starter"


def sha256(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf8", "surrogatepass")).hexdigest()


def frame_sha256(frame: pd.DataFrame) -> str:
    """Hex SHA-256 of a frame's cells in the order given; the index does not count."""
    return text_sha256(frame.to_csv(index=False))


@contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it is moved there, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def write_json(path: Path | str, value: object) -> None:
    """Write JSON, whole or not at all; numbers that are not finite become null."""
    with whole(path) as temporary:
        text = json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf8")


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and value != value or value in (float("inf"), float("-inf")):
        return None
    return value


def dataset_name(path: Path | str) -> str:
    """Name of the data set in a file: its stem and the first eight digits of its digest.

    An edited file is another data set, so that a run can never mix two versions.
    """
    path = Path(path)
    prefix = "starter-" if path.resolve().parent == STARTER else "own-" if is_starter(path.stem) else ""
    return f"{prefix}{path.stem}-{sha256(existing(path))[:8]}"


def is_starter(dataset: str) -> bool:
    """Whether a data set is one of the corpora written for this project."""
    return dataset.startswith("starter-")


def existing(path: Path | str) -> Path:
    """The path, if a non-empty file is there.

    Raises
    ------
    InputError
        If the file is missing, a folder, or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty")
    return path


def read_table(path: Path | str) -> pd.DataFrame:
    """Read a CSV, JSONL, JSON or parquet file; every cell is text, what is missing is ``""``.

    A twarc line (one page of the X API with ``data`` and ``includes``) gives one row for each post, and so does an
    incident of 2020PB's JSON, whose text is its name and description.

    Raises
    ------
    InputError
        If the file is missing, empty, not UTF-8, of an unknown kind, or has no rows.
    """
    path = existing(path)
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".json": _read_json, ".parquet": pd.read_parquet}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} is none of {', '.join(readers)}")
    try:
        frame = readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if frame.empty:
        raise InputError(f"{path} has no rows")
    if "id" in frame and frame["id"].map(lambda cell: isinstance(cell, float) and cell >= 2**53).any():
        raise InputError(f"{path}: the ids are stored as rounded numbers; export them as text")
    return frame.map(_as_text)


def _as_text(cell: object) -> str:
    if isinstance(cell, str):
        return cell.encode("utf8", "replace").decode("utf8")  # JSON may hold half of a character, tables may not
    if cell is None or cell is pd.NaT or cell is pd.NA or isinstance(cell, float) and cell != cell:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows = []
    with open(path, encoding="utf8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path} line {number} is not JSON: {error.msg}") from error
            if not isinstance(item, dict):
                raise InputError(f"{path} line {number} is not a JSON object")
            rows.extend(x_rows(item)[0] if isinstance(item.get("data"), list) else [item])
    return pd.DataFrame(rows, dtype=object)


def _read_json(path: Path) -> pd.DataFrame:
    page = json.loads(path.read_text(encoding="utf8"))
    items = page.get("data") if isinstance(page, dict) else page
    if not (isinstance(items, list) and all(isinstance(item, dict) for item in items)):
        raise ValueError("it is neither a list of objects nor an object with such a list named data")
    if isinstance(page, dict) and "meta" in page:
        return pd.DataFrame(x_rows(page)[0], dtype=object)
    return pd.DataFrame([_of_2020pb(item) if {"name", "description"} <= item.keys() else item for item in items],
                        dtype=object)


def _of_2020pb(incident: dict) -> dict:
    text = ". ".join(filter(None, (incident["name"], incident["description"])))
    return {"id": incident.get("id"), "text": text, "created_at": incident.get("date"), "city": incident.get("city"),
            "state": incident.get("state"), "country": "US",
            "links": " ".join(str(link.get("url")) for link in incident.get("links") or [] if isinstance(link, dict))}


def x_rows(page: dict) -> tuple[list[dict], int]:
    """Posts of one page in the X API's v2 format, as rows of text cells, and how many were unusable.

    A long post's whole text is taken. ``id`` is the first id of a post's edit history, and ``version``
    its present one where it was edited. ``place`` is the name that a geotag carries.
    """
    includes = page.get("includes") or {}
    users = {user.get("id"): user for user in includes.get("users") or []}
    places = {place.get("id"): place for place in includes.get("places") or []}
    rows = []
    for post in page["data"]:
        if not (isinstance(post, dict) and post.get("id")):
            continue
        history = [str(one) for one in post.get("edit_history_tweet_ids") or []]
        place = places.get((post.get("geo") or {}).get("place_id"), {})
        cells = {name: post.get(name) for name in ("created_at", "lang", "conversation_id")} | {
            "id": min([*history, str(post["id"])], key=lambda one: (len(one), one)),
            "version": post["id"] if len(history) > 1 else "",
            "text": (post.get("note_tweet") or {}).get("text") or post.get("text"),
            "author": post.get("author_id"), "place": place.get("full_name"),
            "author_location": users.get(post.get("author_id"), {}).get("location")}
        rows.append({name: _as_text(cell) for name, cell in cells.items()})
    return rows, len(page["data"]) - len(rows)
