"""Labels out of the store and in again: CSV for spreadsheets, the JSON of Label Studio for labelling elsewhere.

A file is read whole and checked whole before anything is written; what it says goes in beside what others say, so
that labelers who disagree both keep their labels.
"""

import json
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pandas as pd

from hrf_utils import files, posts, settings, store_labels
from hrf_utils.settings import InputError
from hrf_utils.store import Store, utc
from hrf_utils.tasks import Task
from hrf_utils.text import clean

COLUMNS = ["dataset", "id", "label", "labeler", "origin", "unsure", "note", "codebook_version", "labelled_at", "text"]
_ORIGINS = ("import", "session", "audit", "review", "adjudication")
_FORMULA = tuple("=+-@\t\r")


def write(store: Store, task: Task, datasets: list[str], queue: pd.DataFrame, path: Path | str) -> tuple[int, int]:
    """Write the labels of some data sets, as the suffix says; how many labels, and how many posts without one.

    ``.csv`` has one row a label (`COLUMNS`). ``.json`` is what Label Studio imports: one task a post, the posts of
    the queue (``dataset``, ``id``, ``why``) included, to be labelled there; its labelling interface goes beside
    it, as ``.xml``. The text of real posts is left out unless ``SHOW_TEXT=1``.

    Raises
    ------
    InputError
        If the suffix is another one or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".json"):
        raise InputError(f"{path} is neither .csv nor .json (Label Studio)")
    labels = store.labels(task.name, datasets)
    waiting = queue[~pd.MultiIndex.from_frame(queue[["dataset", "id"]]).isin(
        pd.MultiIndex.from_frame(labels[["dataset", "id"]]))]
    here = [waiting.merge(store.posts(one)[["dataset", "id", "text"]], on=["dataset", "id"]) for one in datasets]
    rows = pd.concat([labels, *here], ignore_index=True) if path.suffix.lower() == ".json" else labels
    shown = rows["dataset"].map(lambda name: settings.flag("SHOW_TEXT") or files.is_starter(name))
    rows["text"] = rows["text"].where(shown.astype(bool), "")
    if path.suffix.lower() == ".csv":
        safe = rows[COLUMNS].map(lambda cell: f"'{cell}" if str(cell).startswith(_FORMULA) else cell)
        with files.whole(path) as temporary:
            safe.to_csv(temporary, index=False)
    else:
        by_post = rows.groupby(["dataset", "id"], sort=False)
        files.write_json(path, [_as_task(post, task) for _, post in by_post])
        with files.whole(path.with_suffix(".xml")) as temporary:
            temporary.write_text(_interface(task), encoding="utf8")
    given = int(rows["labeler"].notna().sum())
    return given, len(rows) - given


def read(store: Store, task: Task, dataset: str, paths: list[Path | str]) -> tuple[int, int]:
    """Take in the labels of files, all or none; how many labels they hold, and how many of these were news.

    A CSV has ``id`` and ``label``; ``dataset`` (else the one given), ``labeler`` (else the file's name), and the
    other `COLUMNS` are kept where they are there; an empty label means not labelled yet. A JSON is an export of
    Label Studio. A label of a post that was queued as ``audit`` gets that origin. Where a labeler said something
    else here, in a session, both stand: the file's goes in under the labeler's name and the file's.

    Raises
    ------
    InputError
        If a row cannot be used: the file, the row and the reason.
    """
    names = [Path(path).stem for path in paths]
    if len(set(names)) < len(names):
        raise InputError("two of the files have the same name, and would pass for one labeler; rename one")
    rows = pd.concat([_rows(Path(path), dataset) for path in paths], ignore_index=True)
    found = {name: store_labels.texts(store, name, group["id"].tolist()) for name, group in rows.groupby("dataset")}
    checked = pd.DataFrame([_checked(row, task, found) for row in rows.to_dict("records")])
    if checked.empty:
        raise InputError(f"no label stands in {', '.join(map(str, paths))}")
    key = ["dataset", "id", "labeler"]
    said = checked.drop_duplicates([*key, "label"])
    if (twice := said[said.duplicated(key)]).shape[0]:
        row = twice.iloc[0]
        raise InputError(f"{row['where']}: {row['labeler']} gives the post {row['id']} another label than in an "
                         "earlier row; give each labeler a name, or keep one of the rows")
    mine = store.labels(task.name, list(found)).set_index(key)
    mine = mine[~mine["origin"].isin(["import"])]["label"]
    stand = mine.reindex(pd.MultiIndex.from_frame(said[key])).to_numpy()
    differs = ~pd.isna(stand) & (stand != said["label"])
    said = said.assign(labeler=said["labeler"].where(~differs, said["labeler"] + " (" + said["stem"] + ")"))
    return len(said), store_labels.write_all(store, said.assign(task=task.name), utc())


def _checked(row: dict, task: Task, found: dict[str, dict]) -> dict:
    """One row for the store, or an `InputError` that says where and why not."""
    where, post = row["where"], row["id"]
    posts.check_id(post, where)
    if post not in found[row["dataset"]]:
        hint = "; it looks like one that a spreadsheet rounded" if post.isdigit() and post.endswith("0000") else ""
        raise InputError(f"{where}: the data set {row['dataset']} has no post {post!r}{hint}")
    label = task.number(row["label"])
    if label is None:
        raise InputError(f"{where}: {task.no_label(row['label'])}")
    version = row["codebook_version"] or str(task.codebook_version)
    at = pd.to_datetime(row["labelled_at"] or utc(), errors="coerce", utc=True)
    if row["origin"] not in _ORIGINS or row["unsure"] not in ("", "0", "1") or pd.isna(at) or not version.isdigit() \
            or int(version) > task.codebook_version:
        raise InputError(f"{where}: one of origin ({', '.join(_ORIGINS)}), unsure (0 or 1), codebook_version (up to "
                         f"{task.codebook_version}) and labelled_at (a time) is something else")
    return row | {"label": label, "unsure": int(row["unsure"] or 0), "note": clean(row["note"])[:2_000],
                  "labeler": " ".join(clean(row["labeler"])[:60].split()) or row["stem"],
                  "codebook_version": int(version), "labelled_at": at.tz_localize(None).to_pydatetime()}


def _rows(path: Path, dataset: str) -> pd.DataFrame:
    """Cells of a file that have a label, as text, with ``where`` they stand."""
    table = _tasks(path) if path.suffix.lower() == ".json" else files.read_table(path)
    for name in ("id", "label"):
        posts.column(table, (name,), str(path))
    defaults = dict.fromkeys(COLUMNS, "") | {"dataset": dataset, "origin": "import"}
    rows = pd.DataFrame({name: table[name].map(_plain) if name in table else "" for name in COLUMNS}, index=table.index)
    numbers = table["row"] if "row" in table else range(1, len(table) + 1)
    rows = rows.assign(where=[f"{path} row {number}" for number in numbers], stem=path.stem)
    rows = rows.assign(**{name: rows[name].replace("", default) for name, default in defaults.items() if default})
    return rows[rows["label"] != ""]


def _plain(cell: str) -> str:
    """A cell as it was before `write` kept spreadsheets from running it."""
    cell = cell.strip(" ")
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


def _as_task(rows: pd.DataFrame, task: Task) -> dict:
    """A post as a task of Label Studio, with an annotation for each label."""
    first = rows.iloc[0]
    data = {name: first[name] for name in ("dataset", "id", "text")} | {"why": first.get("why", "")}
    annotations = []
    for row in rows[rows["labeler"].notna()].to_dict("records"):
        result = [{"from_name": "label", "to_name": "text", "type": "choices",
                   "value": {"choices": [task.names[int(row["label"])]]}}]
        result += [{"from_name": "unsure", "to_name": "text", "type": "choices", "value": {"choices": ["unsure"]}}] \
            * int(row["unsure"])
        result += [{"from_name": "note", "to_name": "text", "type": "textarea", "value": {"text": [row["note"]]}}] \
            * bool(row["note"])
        annotations.append({"result": result, "labeler": row["labeler"], "origin": row["origin"],
                            "codebook_version": int(row["codebook_version"]),
                            "created_at": f"{row['labelled_at'].isoformat()}Z"})
    return {"data": data, "annotations": annotations}


def _interface(task: Task) -> str:
    choices = "".join(f"<Choice value={quoteattr(x.name)} hint={quoteattr(x.definition)}/>" for x in task.labels)
    return (f'<View><Header value={quoteattr(task.question)}/><Text name="text" value="$text"/>'
            f'<Choices name="label" toName="text" choice="single" required="true">{choices}</Choices>'
            '<Choices name="unsure" toName="text" choice="multiple"><Choice value="unsure"/></Choices>'
            '<TextArea name="note" toName="text"/></View>\n')


def _tasks(path: Path) -> pd.DataFrame:
    """Annotations of a Label Studio export, one row each; cancelled ones and posts without one are left out."""
    try:
        tasks = json.loads(files.existing(path).read_text(encoding="utf8"))
        return pd.DataFrame([_annotation(one["data"], annotation, number) for number, one in enumerate(tasks, 1)
                             for annotation in one["annotations"] if not annotation.get("was_cancelled")],
                            columns=[*COLUMNS, "row"]).astype(object).fillna("").astype(dict.fromkeys(COLUMNS, str))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no JSON export of Label Studio, a list of tasks with data and annotations "
                         f"({type(error).__name__}: {str(error).splitlines()[0]})") from error


def _annotation(data: dict, annotation: dict, number: int) -> dict:
    values = {one["from_name"]: one["value"] for one in annotation["result"]}
    by = annotation.get("completed_by")
    by = by.get("email", "") if isinstance(by, dict) else f"annotator {by}" if by else ""
    return {"row": number, "dataset": data.get("dataset", ""), "id": data["id"],
            "labeler": annotation.get("labeler") or by,
            "label": " and ".join(values.get("label", {}).get("choices", [])),
            "unsure": int("unsure" in values), "note": " ".join(values.get("note", {}).get("text", [])),
            "origin": annotation.get("origin") or ("audit" if data.get("why") == "audit" else ""),
            "codebook_version": annotation.get("codebook_version", ""), "labelled_at": annotation.get("created_at", "")}
