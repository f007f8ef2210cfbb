"""Labels out and in again: CSV and Label Studio, checked whole, nobody's label lost."""

import json
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest
from labelling import some_posts
from test_session import HOSTILE, labels_of

from hrf_utils import exchange, pipeline, store_labels
from hrf_utils.session import Session
from hrf_utils.settings import InputError
from hrf_utils.store import Store

WHAT = ["id", "labeler", "label", "origin", "unsure", "note", "codebook_version", "labelled_at"]
NONE = pd.DataFrame({"dataset": [], "id": [], "why": []}, dtype=str)


@pytest.fixture
def store(db_url):
    store = Store.open(db_url)
    store.add_posts(some_posts(6).assign(text=[*HOSTILE, "plain"]))
    return store


@pytest.fixture
def labelled(store, force):
    """Two labelers, one of them with remarks, on the first posts of six."""
    queue = some_posts(6)[["id"]].assign(why=["audit", *["rare"] * 5])
    for labeler, number in (("=ann", 2), ("ben", 4)):
        session = Session(store, force, "d", queue, labeler, 0.0)
        session.remark(unsure=labeler == "ben", note="=1+1" if labeler == "ben" else "'quoted'")
        session.label(number)
    return store


@pytest.fixture
def elsewhere(tmp_path):
    other = Store.open(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    other.add_posts(some_posts(6))
    return other


@pytest.mark.parametrize("name", ["labels.csv", "labels.json"])
def test_what_goes_out_comes_in_as_it_was(labelled, elsewhere, force, tmp_path, name, monkeypatch):
    monkeypatch.setenv("SHOW_TEXT", "1")
    waiting = some_posts(6)[["dataset", "id"]].tail(3).assign(why="audit")
    assert exchange.write(labelled, force, ["d"], waiting, tmp_path / name) == (2, 3 if "json" in name else 0)
    assert exchange.read(elsewhere, force, "d", [tmp_path / name]) == (2, 2)
    pd.testing.assert_frame_equal(labels_of(elsewhere)[WHAT], labels_of(labelled)[WHAT])
    assert exchange.read(elsewhere, force, "d", [tmp_path / name]) == (2, 0)
    assert exchange.read(labelled, force, "d", [tmp_path / name]) == (2, 0)


def test_a_csv_runs_no_formula_and_no_file_carries_the_text_of_real_posts(labelled, force, tmp_path, monkeypatch):
    exchange.write(labelled, force, ["d"], NONE, tmp_path / "out.csv")
    cells = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert not cells.map(lambda cell: cell.startswith(("=", "+", "-", "@"))).any(axis=None)
    assert set(cells["text"]) == {""} and cells["id"].tolist() == labels_of(labelled)["id"].tolist()
    exchange.write(labelled, force, ["d"], NONE, tmp_path / "out.json")
    assert "script" not in (tmp_path / "out.json").read_text()
    monkeypatch.setenv("SHOW_TEXT", "1")
    exchange.write(labelled, force, ["d"], NONE, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())[0]["data"]["text"] == HOSTILE[0]
    choices = ElementTree.parse(tmp_path / "out.xml").findall(".//Choices[@name='label']/Choice")
    assert [choice.get("value") for choice in choices] == force.names
    with pytest.raises(InputError, match="neither .csv nor .json"):
        exchange.write(labelled, force, ["d"], NONE, tmp_path / "out.xlsx")


def from_label_studio(rows):
    """What Label Studio exports: its own ids and users, a cancelled annotation, a post without any."""
    def annotation(choice, **more):
        value = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [choice]}}
        return {"id": 7, "completed_by": {"id": 1, "email": "cat@example.org"}, "result": [value], "lead_time": 4.2,
                "was_cancelled": False, "ground_truth": False, "created_at": "2026-03-02T10:00:00.5Z"} | more
    return [{"id": 100 + k, "data": {"id": post, "text": "t", "why": why}, "predictions": [],
             "annotations": [annotation(choice), annotation("Lethal", was_cancelled=True)] if choice else []}
            for k, (post, choice, why) in enumerate(rows)]


def test_an_export_of_label_studio_is_read(store, force, tmp_path):
    ids, path = some_posts(6)["id"], tmp_path / "theirs.json"
    path.write_text(json.dumps(from_label_studio([
        (ids[0], "Open hand", "rare"), (ids[1], "Lethal", "audit"), (ids[2], "", "rare")])))
    assert exchange.read(store, force, "d", [path]) == (2, 2)
    rows = labels_of(store)
    assert rows[["label", "labeler", "origin"]].values.tolist() == [
        [2, "cat@example.org", "import"], [5, "cat@example.org", "audit"]]
    assert rows["labelled_at"][0] == pd.Timestamp("2026-03-02 10:00:00.5")


def test_files_that_disagree_both_keep_their_rows_and_so_does_a_session(store, force, table):
    ids = some_posts(6)["id"].tolist()
    session = Session(store, force, "d", some_posts(6)[["id"]], "ann", 0.0)
    session.label(1)
    one, two = table("one.csv", id=ids[:2], label=["2", "Lethal"]), table("two.csv", id=ids[:2], label=[3, ""])
    ann = table("ann.csv", id=ids[:2], label=[5, 5], labeler=["ann", "ann"])
    assert exchange.read(store, force, "d", [one, two, ann]) == (5, 5)
    rows = labels_of(store)
    assert sorted(zip(rows["labeler"], rows["label"], strict=True)) == [
        ("ann", 1), ("ann", 5), ("ann (ann)", 5), ("one", 2), ("one", 5), ("two", 3)]
    assert exchange.read(store, force, "d", [table("one.csv", id=ids[:1], label=[4])]) == (1, 1)
    assert session.undo()["label"] == 1 and len(labels_of(store)) == 5
    steps = store_labels.steps(store, "force", "d", "one")
    assert steps.empty


@pytest.mark.parametrize(("columns", "says"), [
    ({"id": ["1.2E+18"], "label": [1]}, r"bad.csv row 1: the id 1.2E\+18 was rounded by a spreadsheet"),
    ({"id": [None, "1,2E+18"], "label": ["", 1]}, r"bad.csv row 2: the id 1,2E\+18 was rounded"),
    ({"id": ["1152921504606840000"], "label": [1]}, "row 1: the data set d has no post .* a spreadsheet rounded"),
    ({"id": ["7"], "label": [1]}, "row 1: the data set d has no post '7'$"),
    ({"id": ["0", "1"], "label": [1, 6]}, "row 2: '6' is no label of the task force; there are 0 to 5: No police"),
    ({"id": ["0"], "label": ["1.5"]}, "row 1: '1.5' is no label"),
    ({"id": ["0"], "label": [1], "dataset": ["e"]}, "row 1: the data set e has no post"),
    ({"id": ["0", "0"], "label": [1, 2]}, "row 2: bad gives the post .* another label than in an earlier row"),
    ({"id": ["0"], "label": [1], "origin": ["magic"]}, "row 1: one of origin"),
    ({"id": ["0"], "label": [1], "unsure": ["maybe"]}, "row 1: one of origin .* unsure"),
    ({"id": ["0"], "label": [1], "codebook_version": ["99"]}, "row 1: one of origin"),
    ({"id": ["0"], "label": [1], "labelled_at": ["soon"]}, "row 1: one of origin .* labelled_at"),
    ({"id": ["0"], "label": [""]}, "no label stands in"), ({"id": ["0"]}, "has no column label"),
    ({"label": ["0"]}, "has no column id")])
def test_a_bad_row_is_named_and_nothing_of_any_file_is_written(store, force, table, columns, says):
    ids = some_posts(6)["id"]
    good = table("good.csv", id=ids, label=1)
    columns = columns | {"id": [ids[int(one)] if one in ("0", "1") else one for one in columns["id"]]} \
        if "id" in columns else columns
    paths = [table("bad.csv", **columns), *([good] if "no label stands" not in says else [])]
    with pytest.raises(InputError, match=says) as error:
        exchange.read(store, force, "d", paths)
    assert labels_of(store).empty and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '[{"id": 1, "text": "t", "label": "Lethal"}]', "null",
                                  '[{"data": {}, "annotations": [{"result": []}]}]',
                                  '[{"data": {"id": "1"}, "annotations": [{"result": [{}]}]}]'])
def test_json_that_is_none_of_label_studio_is_one_sentence(store, force, tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InputError, match=r"no JSON export of Label Studio|no label stands") as error:
        exchange.read(store, force, "d", [tmp_path / "bad.json"])
    assert "\n" not in str(error.value)


def test_two_choices_and_one_name_for_two_files_are_refused(store, force, tmp_path, table):
    ids, path = some_posts(6)["id"], tmp_path / "two.json"
    tasks = from_label_studio([(ids[0], "Open hand", ""), (ids[1], "Lethal", "")])
    tasks[1]["annotations"][0]["result"][0]["value"]["choices"] = ["Lethal", "Open hand"]
    path.write_text(json.dumps(tasks))
    with pytest.raises(InputError, match="two.json row 2: 'Lethal and Open hand' is no label"):
        exchange.read(store, force, "d", [path])
    (tmp_path / "more").mkdir()
    same = [table(name, id=ids, label=1) for name in ("one.csv", "more/one.csv")]
    with pytest.raises(InputError, match="two of the files have the same name"):
        exchange.read(store, force, "d", same)


def test_make_exchange_takes_in_and_writes_out(home, tmp_path, table, monkeypatch, capsys):
    table("posts.csv", id=["a", "b", "c"], text=["one post", "two posts", "three posts"])
    monkeypatch.setenv("SOURCE", "file")
    monkeypatch.setenv("POSTS", str(tmp_path / "posts.csv"))
    with pytest.raises(InputError, match="LABELS_IN"):
        pipeline.exchange()
    from hrf_utils.sources import FileSource
    posts = next(iter(FileSource(tmp_path / "posts.csv").pages(None))).posts
    Store.open().add_posts(posts)
    queue = home / "data" / "labels" / "queue-force.csv"
    queue.parent.mkdir(parents=True)
    queue.write_text("id,why\nb,rare\nc,audit\n")
    stamp = home / "data" / "stamps" / "force" / "decisions"
    stamp.parent.mkdir(parents=True)
    stamp.write_text("x")
    monkeypatch.setenv("LABELS_IN", str(table("ann.csv", id=["a", "b"], label=[1, 2])))
    monkeypatch.setenv("LABELS_OUT", str(tmp_path / "out.json"))
    pipeline.exchange()
    said = capsys.readouterr().out
    assert "2 labels came in; 2 of them are new" in said and "2 labels, 1 posts of the queue" in said
    assert not stamp.exists()
    assert [len(one["annotations"]) for one in json.loads((tmp_path / "out.json").read_text())] == [1, 1, 0]
