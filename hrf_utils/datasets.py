"""Labels in: files of labelled posts, the one label that counts, and the posts written for this project."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hrf_utils import files, posts, splits
from hrf_utils.settings import InputError
from hrf_utils.tasks import Task
from hrf_utils.text import clean

ANOTHER_SUBJECT = "another subject"
_LABEL_NAMES = ("label", "labels")
_PRECEDENCE = {"adjudication": 3, "review": 2, "session": 1, "audit": 1}


class Labelled(NamedTuple):
    """A labelled file: posts, labels (id, labeler, label), and notes on what was left out."""

    dataset: str
    posts: pd.DataFrame
    labels: pd.DataFrame
    notes: list[str]


def read_labelled(path: Path | str, task: Task) -> Labelled:
    """Read a labelled CSV, JSONL or parquet file, whole or not at all.

    A starter corpus hands over a quarter of its posts (by a hash of the id) without their label,
    so that there is something left to label and to predict.

    Raises
    ------
    InputError
        If a column is missing, a label is unknown to the task (the row is named), or all rows
        carry one label or one text.
    """
    table = files.read_table(path)
    dataset = files.dataset_name(path)
    label_name = posts.column(table, _LABEL_NAMES, str(path))
    read = posts.from_table(table, dataset, str(path), (label_name, "labeler", "codebook_version"))
    cells = table[label_name].iloc[read.frame["row"] - 1].reset_index(drop=True)
    numbers = cells.map(task.number)
    if numbers.isna().any():
        first = numbers.isna().idxmax()
        raise InputError(f"{path} row {read.frame['row'][first]}: {task.no_label(cells[first])}")
    if read.frame["text"].nunique() == 1:
        raise InputError(f"{path}: all rows have the same text")
    if numbers.nunique() == 1:
        raise InputError(f"{path}: all rows have the label {int(numbers[0])}; "
                         "nothing can be learned from one class")
    labeler = table["labeler"].iloc[read.frame["row"] - 1].to_numpy() if "labeler" in table else ""
    labels = pd.DataFrame({"id": read.frame["id"], "labeler": labeler, "label": numbers.astype(int),
                           "codebook_version": _versions(table, read.frame["row"], path, task)})
    labels["labeler"] = labels["labeler"].map(clean).replace("", "file")
    if Path(path).resolve() == task.starter:
        labels = labels[~withheld(labels["id"])]
    notes = [f"row {row}: {reason}" for row, reason in read.refused]
    if read.ignored:
        notes.append(f"columns ignored: {', '.join(read.ignored)}")
    return Labelled(dataset, read.frame, labels.reset_index(drop=True), notes)


def as_labels(labelled: Labelled, task: Task) -> pd.DataFrame:
    """Rows for the store's labels."""
    return labelled.labels.assign(task=task.name, dataset=labelled.dataset, origin="import")


def _versions(table: pd.DataFrame, rows: pd.Series, path: Path | str, task: Task) -> pd.Series:
    """The version of the codebook that each label was given under; 0 where the file does not say."""
    given = table["codebook_version"].iloc[rows - 1].replace("", "0") if "codebook_version" in table else \
        pd.Series("0", rows)
    given = given.str.removesuffix(".0")  # a column with gaps, as pandas writes it
    known = given.isin([str(number) for number in range(task.codebook_version + 1)])
    if not known.all():
        first = int((~known).to_numpy().argmax())
        raise InputError(f"{path} row {rows.iloc[first]}: {str(given.iloc[first])[:20]!r} is no codebook_version; the "
                         f"codebook of the task {task.name} stands at {task.codebook_version}")
    return given.astype(int).reset_index(drop=True)


def invented(task: Task, beside: pd.DataFrame) -> pd.DataFrame:
    """Labelled posts written for this project: the task's contrast sets, its starter corpus, and `unrelated` ones.

    A data set that already stands in `beside` is left out, and so is the quarter that the starter source
    hands over unlabelled. The columns are those of `beside`, as far as there are such.
    """
    paths = [path for path in (task.starter, task.contrast)
             if path.exists() and files.dataset_name(path) not in set(beside["dataset"])]
    read = [read_labelled(path, task) for path in paths]
    other = unrelated(task)
    rows = [*(one.posts.merge(one.labels, on="id") for one in read), other[other["part"] != "test"]]
    return pd.concat([beside.head(0), *(one[[name for name in beside if name in one]] for one in rows)],
                     ignore_index=True).astype({"label": int})


def unrelated(task: Task) -> pd.DataFrame:
    """Starter posts of the task that ``unrelated`` names: rows of the first label and the kind `ANOTHER_SUBJECT`.

    A quarter of their groups is of the part ``test``: it never trains, and shows how often such posts are flagged.
    Empty where no task is named.
    """
    if not task.unrelated:
        return pd.DataFrame(columns=["dataset", "id", "text", "author", "group", "label", "kind", "part"])
    path = task.starter.with_name(f"{task.unrelated}.csv")
    rows = posts.from_table(files.read_table(path), files.dataset_name(path), str(path), _LABEL_NAMES).frame
    rows["group"] = splits.related(rows)
    judging = withheld(rows.groupby("group")["id"].transform("first"))
    return rows.assign(label=0, kind=ANOTHER_SUBJECT, part=np.where(judging, "test", "supplement"))


def starter_posts(task: Task) -> pd.DataFrame:
    """The task's starter corpus with all of its labels: ``id``, ``text`` and ``label``; empty if there is none."""
    if not task.starter.exists():
        return pd.DataFrame({"id": [], "text": [], "label": []}).astype({"label": int})
    table = files.read_table(task.starter)
    return table.assign(label=table["label"].map(task.number).astype(int))[["id", "text", "label"]]


def withheld(ids: pd.Series) -> np.ndarray:
    """Which quarter of a starter corpus comes without its label: by a hash of the id."""
    return pd.util.hash_array(ids.to_numpy(dtype=object)) % 4 == 0


def one_label_each(labels: pd.DataFrame) -> pd.DataFrame:
    """One row a post from the store's labels.

    An adjudicated label outranks a reviewer's, that one of a labelling session or of the audit, and that an
    imported one. Of several adjudications the last counts; else, among equals, the most frequent label, and
    the higher one where two are as frequent.
    """
    post = ["dataset", "id"]
    rank = labels["origin"].map(_PRECEDENCE).fillna(0)
    top = labels[rank == rank.groupby([labels[name] for name in post]).transform("max")]
    final = top[top["origin"] == "adjudication"]
    if len(final):
        last = final.sort_values("labelled_at", kind="stable").drop_duplicates(post, keep="last")
        top = pd.concat([top.drop(final.index), last])
    votes = top.groupby(["dataset", "id", "label"])["labeler"].transform("size")
    chosen = top.assign(votes=votes).sort_values(["dataset", "id", "votes", "label"])
    return chosen.drop_duplicates(["dataset", "id"], keep="last").drop(columns="votes") \
        .reset_index(drop=True)
