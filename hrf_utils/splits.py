"""Splits out: what a model may learn from and what it is judged by, kept apart and frozen."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from hrf_utils import files, settings
from hrf_utils.settings import InputError
from hrf_utils.tasks import Task
from hrf_utils.text import components, near_duplicates

PARTS = ["train", "validation", "test"]


def related(frame: pd.DataFrame) -> np.ndarray:
    """Group rows that must stay on one side of a split.

    Near-duplicates, posts of one author and posts of one thread are linked; a group is a connected
    component. Returns ndarray of int, shape (n,), numbered by first appearance.
    """
    rows = np.arange(len(frame))
    links = [_links(pd.Series(near_duplicates(frame["text"])), rows)]
    for name in ("author", "conversation_id"):
        value = frame[name].reset_index(drop=True)
        links.append(_links(value[value != ""], rows))
    return components(len(frame), np.concatenate(links))


def _links(key: pd.Series, rows: np.ndarray) -> np.ndarray:
    first = pd.Series(rows[key.index], index=key.index).groupby(key).transform("first")
    return np.column_stack([key.index.to_numpy(), first.to_numpy()]).astype(int).reshape(-1, 2)


def make_split(frame: pd.DataFrame, path: Path, seed: int, given: bool = False) -> pd.DataFrame:
    """Add ``group`` and ``part`` to labelled posts, and freeze the test rows in `path`.

    A fifth is the test, a tenth the validation; both are stratified by label and kind and keep groups (see `related`)
    whole. Where `path` exists, its rows are the test part, with their labels as frozen, and nothing related to them is
    used: such rows get the part ``unused``.

    Parameters
    ----------
    frame : one row a post: dataset, id, text, label, author, conversation_id; with `given` also
        ``part``, which is ``test`` for the rows of a test file. Those are taken as they are:
        rows related to them may train, and `crossing` counts them.
    path : the frozen test rows: dataset, id, label, digest of the text
    seed : of the draw

    Raises
    ------
    InputError
        If frozen rows are gone or have changed, there are too few rows, or a label has no row left
        to train on.
    """
    frame = frame.reset_index(drop=True)
    frame["group"] = related(frame)
    if path.exists():
        frame = _hold(frame, path)
    elif not given:
        frame["part"] = "train"
        frame.loc[_fold(frame, 5, seed), "part"] = "test"
        frame = _leave_some(frame, "test")
    if not frame["part"].eq("test").any():
        raise InputError("the test file has no row that can be used")
    is_test = frame["part"] == "test"
    frame.loc[~is_test, "part"] = "train"
    if not given:
        frame.loc[~is_test & frame["group"].isin(frame.loc[is_test, "group"]), "part"] = "unused"
    rest = frame.index[frame["part"] == "train"]
    frame.loc[rest[_fold(frame.loc[rest], 10 if given else 8, seed)], "part"] = "validation"  # a tenth of all
    frame = _leave_some(frame, "validation")
    missing = set(frame["label"]) - set(frame.loc[frame["part"] == "train", "label"])
    if missing:
        raise InputError(f"label {min(missing)} has no row left to train on; label more posts of it")
    if not path.exists():
        with files.whole(path) as temporary:
            _frozen_rows(frame[is_test]).to_csv(temporary, index=False)
    return frame


def _leave_some(frame: pd.DataFrame, part: str) -> pd.DataFrame:
    """Give a group back to train for each label of which a part took all rows."""
    for label in set(frame["label"]) - set(frame.loc[frame["part"] == "train", "label"]):
        groups = frame.loc[(frame["label"] == label) & (frame["part"] == part), "group"]
        frame.loc[frame["group"].isin(groups.head(1)) & (frame["part"] == part), "part"] = "train"
    return frame


def _hold(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Mark the frozen rows as test and give them their frozen label."""
    frozen = pd.read_csv(path, dtype=str, keep_default_na=False)
    now = _frozen_rows(frame).reset_index()
    both = frozen.merge(now, how="left", on=["dataset", "id"], suffixes=("", "_now"))
    changed = both[both["text_sha256"] != both["text_sha256_now"]]
    if len(changed):
        raise InputError(f"{path}: the frozen test row {changed['id'].iloc[0]} is gone or has another "
                         "text; a changed test needs a file or a seed of its own")
    frame = frame.assign(part="train")
    rows = both["index"].astype(int)
    frame.loc[rows, "part"] = "test"
    frame.loc[rows, "label"] = both["label"].astype(int).to_numpy()
    return frame


def _frozen_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["dataset", "id", "label"]].assign(text_sha256=frame["text"].map(files.text_sha256))


def split_path(task: Task, dataset: str, seed: int, test: str = "") -> Path:
    """Where the frozen test rows of a data set stand; `test` names a given test data set."""
    name = f"{dataset}-test-{test}" if test else f"{dataset}-seed{seed}"
    return settings.data_path("splits", task.name, f"{name}.csv")


def not_frozen(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The rows of `frame` that are no test rows in the split file `path`; all where it does not exist."""
    if not path.exists():
        return frame.reset_index(drop=True)
    frozen = pd.read_csv(path, dtype=str, keep_default_na=False)
    keys = pd.MultiIndex.from_frame(frozen[["dataset", "id"]])
    return frame[~pd.MultiIndex.from_frame(frame[["dataset", "id"]]).isin(keys)].reset_index(drop=True)


def supplement(split: pd.DataFrame, invented: pd.DataFrame) -> pd.DataFrame:
    """The invented posts that may train beside the rows of a split, in the part ``supplement``.

    Posts related to a row that judges (test or validation) are left out, and there are at most as many,
    drawn at random, as rows that they stand beside.
    """
    judging = split.loc[split["part"].isin(["test", "validation"]), "text"]
    group = near_duplicates(pd.concat([judging, invented["text"]], ignore_index=True))
    rows = invented[~np.isin(group[len(judging):], group[:len(judging)])].assign(part="supplement")
    return rows.sample(min(len(rows), (split["part"] == "train").sum()), random_state=0).reset_index(drop=True)


def limit(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Keep about `rows` of the train part, stratified by label, for a quick try; 0 keeps all."""
    train = frame[frame["part"] == "train"]
    if not rows or rows >= len(train):
        return frame
    kept = train.groupby("label").sample(frac=rows / len(train), random_state=0)
    rare = train.drop(kept.index).groupby("label").head(1)
    return frame[(frame["part"] != "train") | frame.index.isin(kept.index.union(rare.index))]


def rows_of(split: pd.DataFrame, labels: pd.DataFrame, sha256: str) -> pd.DataFrame:
    """The texts of a saved split, if they are still those that were trained on.

    Parameters
    ----------
    split : dataset, id, label, part, group, as saved with a model
    labels : labels from the store, with ``text``
    sha256 : digest of the rows in the model's manifest

    Raises
    ------
    InputError
        If a row is gone or has changed since.
    """
    texts = labels.drop_duplicates(["dataset", "id"]).set_index(["dataset", "id"])
    keys = pd.MultiIndex.from_frame(split[["dataset", "id"]])
    extra = texts.reindex(keys)[["text", "author", "kind"]].reset_index(drop=True)
    rows = split.reset_index(drop=True).join(extra)
    if rows["text"].isna().any() or row_digest(rows) != sha256:
        raise InputError("the rows this model was trained and tested on are gone or have changed since; "
                         "run `make train` again")
    return rows


def row_digest(rows: pd.DataFrame) -> str:
    """Digest of what a split says: id, text, label and part of each row."""
    return files.frame_sha256(rows[["id", "text", "label", "part"]])


def same_files(datasets: list[str], paths: list[Path]) -> None:
    """Refuse labelled files that are not those a model was trained and tested on.

    Raises
    ------
    InputError
        If a file has changed since, or is another one.
    """
    for path in paths:
        if files.dataset_name(path) not in datasets:
            raise InputError(f"{path} is not the file that the model was trained and tested on "
                             f"({', '.join(datasets)}); restore it or run `make train` again")


def never_learned(run: Path, testing: pd.DataFrame) -> bool:
    """Whether the model in the folder `run` learned from none of these test rows."""
    split = pd.read_csv(run / "split.csv", dtype={"dataset": str, "id": str})
    learned = split[split["part"].isin(["train", "validation"])]
    beside = json.loads((run / "manifest.json").read_text(encoding="utf8"))["supplement"]
    return learned.merge(testing, on=["dataset", "id"]).empty and not testing["dataset"].isin(beside).any()


def would_cross(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """What a split that ignores groups would leak, by label, next to what this one leaks.

    Draws as many test rows at random, stratified by label, and counts the test rows with a
    relative outside. Returns columns ``rows``, ``test``, ``random`` and ``ours`` by label.
    """
    used = frame[frame["part"] != "unused"]
    is_test = used["part"] == "test"
    count = min(max(2, round(len(used) / is_test.sum())), used["label"].value_counts().max())
    folds = StratifiedKFold(count, shuffle=True, random_state=seed)
    drawn = pd.Series("train", index=used.index)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        drawn.iloc[next(folds.split(used, used["label"]))[1]] = "test"
    counts = {"rows": used["label"].map(lambda _: 1), "test": is_test.astype(int),
              "random": crossing(used, drawn).astype(int), "ours": crossing(used).astype(int)}
    return pd.DataFrame(counts).groupby(used["label"]).sum()


def clusters(rows: pd.DataFrame) -> np.ndarray:
    """What intervals draw again as one piece: the posts of an author where posts have kinds, else a group; (n,)."""
    by_author = (rows["kind"] != "") & (rows["author"] != "")
    return rows["author"].where(by_author, rows["group"].astype(str)).to_numpy()


def strata(frame: pd.DataFrame) -> pd.Series:
    """What parts hold equal shares of: labels, and the kinds of posts within them where posts have kinds."""
    return frame["label"].astype(str) + frame.get("kind", "")


def _fold(frame: pd.DataFrame, parts: int, seed: int) -> np.ndarray:
    """Positions of about one in `parts` of the rows, stratified by label and kind, groups whole."""
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class")
            return next(folds.split(frame, strata(frame), frame["group"]))[1]
    except ValueError as error:
        raise InputError(f"{len(frame)} rows are too few to split: {error}") from error


def crossing(frame: pd.DataFrame, part: pd.Series | None = None) -> np.ndarray:
    """Which test rows have a relative (same group) outside the test part; bool, shape (n,)."""
    part = frame["part"] if part is None else part
    outside = set(frame.loc[part.isin(["train", "validation"]), "group"])
    return (part.eq("test") & frame["group"].isin(outside)).to_numpy()
