"""What a scoring job has done, in a small SQLite file of its own: ids and texts seen, and the shards that are whole."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hrf_utils.settings import InputError

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE ids (id TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID;
CREATE TABLE texts (digest BLOB PRIMARY KEY, again INTEGER DEFAULT 0, answer BLOB) WITHOUT ROWID;
CREATE TABLE shards (number INTEGER PRIMARY KEY, at INTEGER, rows INTEGER, fresh BLOB, done TEXT);
"""


class Shard(NamedTuple):
    """A stretch of an archive: where it begins, its rows, and which posts in it have a text not seen before (n,)."""

    number: int
    at: int
    rows: int
    fresh: np.ndarray


class Job:
    """One job; nothing of what is written within `whole` stays unless all of it does."""

    def __init__(self, path: Path):
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA cache_size=-100000")

    @contextmanager
    def whole(self) -> Iterator[None]:
        """One transaction; also a full disk rolls it back."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise InputError(f"cannot write {self.path}: {error}; what was finished is kept") from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        self._db.close()

    def begin(self) -> None:
        for statement in filter(str.strip, _TABLES.split(";")):
            self._db.execute(statement)

    def facts(self) -> dict[str, object]:
        """What was set down of the job; empty while it is not prepared."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            return {}
        return {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM meta")}

    def set_down(self, **facts: object) -> None:
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", [(name, json.dumps(facts[name])) for name in facts])

    def add(self, identity: str, digest: bytes | None, row: int) -> bool:
        """Take in a post, and say whether its text is new; without a digest it has none. A doubled id is refused."""
        if not self._db.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (identity, row)).rowcount:
            first = self._db.execute("SELECT row FROM ids WHERE id = ?", (identity,)).fetchone()[0]
            raise InputError(f"row {row}: the id {identity[:80]} stood in row {first} before; ids must be unique")
        if digest is None:
            return False
        new = self._db.execute("INSERT OR IGNORE INTO texts (digest) VALUES (?)", (digest,)).rowcount
        if not new:
            self._db.execute("UPDATE texts SET again = 1 WHERE digest = ?", (digest,))
        return bool(new)

    def add_shard(self, shard: Shard) -> None:
        self._db.execute("INSERT INTO shards VALUES (?, ?, ?, ?, NULL)", (*shard[:3], shard.fresh.tobytes()))

    def shards(self) -> list[Shard]:
        """The shards that are still to be scored, in order."""
        found = self._db.execute("SELECT number, at, rows, fresh FROM shards WHERE done IS NULL ORDER BY number")
        return [Shard(*place, np.frombuffer(fresh, bool)) for *place, fresh in found]

    def answers(self, digests: list[bytes], fresh: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Answers (n, k) to all posts of a shard, from those given to its fresh ones and those kept for repeats."""
        new = [digest for digest, is_new in zip(digests, fresh, strict=True) if is_new]
        self._db.executemany("UPDATE texts SET answer = ? WHERE digest = ? AND again = 1",
                             [(row.tobytes(), digest) for row, digest in zip(given, new, strict=True)])
        answer = np.empty((len(digests), given.shape[1]), np.float32)
        answer[fresh] = given
        for row in np.flatnonzero(~fresh):
            kept = self._db.execute("SELECT answer FROM texts WHERE digest = ?", (digests[row],)).fetchone()[0]
            answer[row] = np.frombuffer(kept, np.float32)
        return answer

    def finish(self, shard: Shard, counts: dict[str, float]) -> None:
        self._db.execute("UPDATE shards SET done = ? WHERE number = ?", (json.dumps(counts), shard.number))

    def counts(self) -> list[dict]:
        """What was counted in each shard that is whole."""
        found = self._db.execute("SELECT done FROM shards WHERE done IS NOT NULL ORDER BY number")
        return [json.loads(done) for done, in found]
