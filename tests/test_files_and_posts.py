"""Reading posts: what is kept, what is refused, and how it is said."""

import json
import stat

import pandas as pd
import pytest

from hrf_utils import files, posts, settings
from hrf_utils.settings import InputError


def read(path):
    return posts.from_table(files.read_table(path), "set", path.name)


def test_ids_stay_text(table):
    path = table(id=["0012", "1266136557871869952"], text=["one post", "another post"])
    assert read(path).frame["id"].tolist() == ["0012", "1266136557871869952"]


def test_rows_without_id_get_their_number(table):
    assert read(table(tweets=["a b", "c d"])).frame["id"].tolist() == ["1", "2"]


def test_time_is_read_from_an_x_id(table):
    frame = read(table(id=["1212092628029698048", "77"], text=["one", "two"])).frame
    assert frame["created_at"][0] == pd.Timestamp("2019-12-31 19:26:16")
    assert pd.isna(frame["created_at"][1])


def test_authors_are_pseudonyms_that_depend_on_the_key(table, monkeypatch):
    path = table(text=["a", "b", "c"], author=["Ann", "ann", ""])
    first = read(path).frame["author"].tolist()
    assert first[0] == first[1] and first[2] == "" and "ann" not in first[0].lower()[1:]
    monkeypatch.setenv("PSEUDONYM_KEY", "other")
    assert read(path).frame["author"][0] != first[0]


def test_made_key_is_private_and_made_once(table, monkeypatch):
    monkeypatch.delenv("PSEUDONYM_KEY")
    path = table(text=["a", "b"], author=["x", "y"])
    first = read(path).frame["author"].tolist()
    key = settings.data_path("pseudonym.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert read(path).frame["author"].tolist() == first


def test_hostile_text_survives_and_stays_text(table):
    hostile = ["<script>alert(1)</script>", "=HYPERLINK(1)", "a\x00b", "\u202egnp.exe", "👮🏽‍♀️ 🚔", "x" * 30_000]
    frame = read(table(text=hostile)).frame
    assert frame["text"][0] == hostile[0] and frame["text"][1] == hostile[1]
    assert frame["text"][2] == "ab"
    assert len(frame["text"][5]) == 25_000


def test_twarc_pages_become_rows(tmp_path):
    page = {"data": [{"id": "9", "text": "hi", "author_id": "5", "conversation_id": "7"}],
            "includes": {"users": [{"id": "5", "location": "Tulsa, OK"}]}}
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(page) + "\n\n" + json.dumps({"id": "10", "text": "plain"}) + "\n")
    frame = read(path).frame
    assert frame["id"].tolist() == ["9", "10"]
    assert frame["author_location"].tolist() == ["Tulsa, OK", ""] and frame["conversation_id"][0] == "7"


def test_json_is_a_page_a_list_or_2020pb(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"data": [{"id": "9", "text": "hi"}], "meta": {"result_count": 1}}))
    assert read(path).frame["text"].tolist() == ["hi"]
    path.write_text(json.dumps([{"id": 1345678901234567891, "text": "hi"}]))
    assert read(path).frame["id"].tolist() == ["1345678901234567891"]
    incident = {"id": "ok-1", "name": "A shove", "description": "Seen by many", "city": "Tulsa", "state": "Oklahoma",
                "date": "2020-06-01", "links": [{"url": "u"}], "tags": ["shove"]}
    path.write_text(json.dumps({"data": [incident, incident | {"id": "ok-2", "description": None}]}))
    frame = read(path).frame
    assert frame["text"].tolist() == ["A shove. Seen by many", "A shove"] and frame["city"][0] == "Tulsa"
    assert frame["created_at"][0] == pd.Timestamp(2020, 6, 1)
    for bad in ('{"data": 5}', "[1]", "5", "{"):
        path.write_text(bad)
        with pytest.raises(InputError, match=r"x\.json cannot be read"):
            read(path)


def test_parquet_reads_as_csv_does(tmp_path, table):
    frame = pd.DataFrame({"id": [1266136557871869952, 2], "text": ["one", "two"]})
    frame.to_parquet(tmp_path / "p.parquet")
    assert read(tmp_path / "p.parquet").frame["id"].tolist() == ["1266136557871869952", "2"]


def test_empty_texts_and_repeated_ids_are_refused_by_row(table):
    got = read(table(id=["a", "b", "a"], text=["one", " ", "one"], extra=[1, 2, 3]))
    assert got.refused == [(2, "the text is empty"), (3, "the id stood in an earlier row")]
    assert got.ignored == ["extra"] and len(got.frame) == 1


@pytest.mark.parametrize(("content", "says"), [
    (b"", "is empty"),
    (b"id,text\n", "has no rows"),
    (b"id,words\n1,hello\n", "no column text or tweets"),
    (b"id,text\n1,caf\xe9\n", "not UTF-8"),
    (b"id,text\n1.2E+18,hello\n", "rounded by a spreadsheet"),
    (b"id,text\n1,hello\n1,goodbye\n", "row 2: the id 1 stands in an earlier row"),
    (b"id,text\n1,\n", "no row with a text"),
])
def test_bad_csv_is_one_sentence(tmp_path, content, says):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        read(path)
    assert "bad.csv" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "content", "says"), [
    ("bad.jsonl", '{"id": 1', "line 1 is not JSON"), ("bad.jsonl", "[1]", "not a JSON object"),
    ("bad.parquet", "no parquet", "cannot be read"), ("bad.xlsx", "x", "none of .csv")])
def test_other_bad_files_are_one_sentence(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        files.read_table(tmp_path / name)


def test_missing_file_is_named():
    with pytest.raises(InputError, match="there is no file nowhere.csv"):
        files.read_table("nowhere.csv")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.whole(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(InputError, match="cannot write .*kept.txt: No space left"), files.whole(path), \
            open("/dev/full", "w") as full:
        full.write("x")
        full.flush()
    assert path.read_text() == "old"


def test_json_has_no_nan(tmp_path):
    files.write_json(tmp_path / "x.json", {"a": float("nan"), "b": [1.5, float("inf")]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.5, None]}


def test_dataset_name_changes_with_the_content(table):
    one = files.dataset_name(table(text=["a"]))
    assert one != files.dataset_name(table(text=["b"])) and one.startswith("posts-")
    assert files.is_starter(files.dataset_name(files.STARTER / "force.csv"))
    assert not files.is_starter(files.dataset_name(table("starter-mine.csv", text=["a"])))


def test_ids_of_json_stay_whole_beside_a_line_without_one(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": 1345678901234567891, "text": "one"}\n{"text": "two"}\n')
    assert read(path).frame["id"].tolist() == ["1345678901234567891", "2"]


def test_rounded_ids_of_parquet_are_refused(tmp_path):
    pd.DataFrame({"id": [1345678901234567891.0, None], "text": ["a", "b"], "tags": [["x"], ["y", "z"]]}) \
        .to_parquet(tmp_path / "p.parquet")
    with pytest.raises(InputError, match="rounded numbers"):
        read(tmp_path / "p.parquet")
