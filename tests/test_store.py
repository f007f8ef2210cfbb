"""The store, on SQLite and on PostgreSQL alike."""

import json
import random
import re
from datetime import date, datetime

import pandas as pd
import pytest
import sqlalchemy as sa

from hrf_utils import schema, x
from hrf_utils.settings import InputError
from hrf_utils.store import Store

HOSTILE = ["'; DROP TABLE posts; --", "<script>alert(1)</script>", "👮🏽‍♀️", "\u202eabc", "a%sb:c", "=1+1",
           "x" * 25_000, "{}", "\\", "line\nline"]


def some_posts(n=3, dataset="d"):
    return pd.DataFrame({"dataset": dataset, "id": [f"{2**60 + k}" for k in range(n)],
                         "text": [f"post {k}" for k in range(n)], "author": "a1",
                         "created_at": [datetime(2026, 3, k + 1) for k in range(n)]})


def some_labels(ids, label=2, labeler="ann", origin="import"):
    return pd.DataFrame({"task": "force", "dataset": "d", "id": ids, "labeler": labeler, "label": label,
                         "origin": origin, "codebook_version": 1})


def an_incident(**more):
    return pd.DataFrame([{"incident_id": "i1", "incident_date": date(2026, 3, 1), "tweet_id": "1",
                          "title": "Lethal in Tulsa, OK", "city": "Tulsa", "state": "OK", "country": "US",
                          "lat": 36.1, "long": -95.9, "label": 5, "confidence": 0.9, "status": "pending",
                          "posts": 1} | more])


@pytest.fixture
def store(db_url):
    return Store.open(db_url)


def test_writing_twice_changes_nothing(store):
    assert store.add_posts(some_posts()) == 3
    before = store.posts("d").drop(columns="seen_at")
    assert store.add_posts(some_posts()) == 0
    pd.testing.assert_frame_equal(store.posts("d").drop(columns="seen_at"), before)


def test_an_edited_post_is_updated_and_another_data_set_untouched(store):
    store.add_posts(some_posts())
    store.add_posts(some_posts(dataset="e"))
    store.add_posts(some_posts(1).assign(text="edited"))
    assert store.posts("d")["text"].tolist() == ["edited", "post 1", "post 2"]
    assert "edited" not in set(store.posts("e")["text"])


PIECES = [*"abc XYZ.,'\"\\%_$?:;()[]{}<>&|`~^*=+-@#/\t\n\r", "👮🏽", "👩‍👩‍👧", "\u200b", "\u200d", "\u202e",
          "\u2066", "\ufeff", "\x00", "\x1b", "\x7f", "\ud800", "\udfff", "\uffff", "é", "e\u0301", "ß", "مرحبا",
          "שלום", "日本", "ไทย", "𝒳", "🇺🇸", "';--", "%s", "${x}", "\\u0000", "NULL", "\x85", "\u2028"]


def test_ten_thousand_generated_texts_from_x_come_back_as_they_came(store):
    """Beyond the documented differences: no NUL, "?" for a lone surrogate, no blanks at the ends, the first 25,000."""
    rng = random.Random(0)
    texts = [f"{''.join(rng.choices(PIECES, k=rng.randrange(1, 60)))}#{k}" for k in range(9_990)]
    texts += ["x" * 30_000 + "é" * k for k in range(10)]
    ids = [str(2**53 + rng.randrange(2**62)) for _ in texts]
    page = {"data": [{"id": one, "text": text} for one, text in zip(ids, texts, strict=True)],
            "meta": {"result_count": len(texts)}}
    came = x.read_page(json.dumps(page).encode(), "x-force", "police").posts
    assert store.add_page({"dataset": "x-force", "query": "police", "started_at": datetime(2026, 1, 1)}, came) == 10_000
    sent = {post["id"]: post["text"] for post in json.loads(json.dumps(page))["data"]}  # JSON joins two halves
    expected = {one: re.sub("[\ud800-\udfff]", "?", text.replace("\x00", ""))[:25_000].strip()
                for one, text in sent.items()}
    assert store.posts("x-force").set_index("id")["text"].to_dict() == expected


def test_hostile_texts_come_back_as_they_went_in(store):
    frame = some_posts(len(HOSTILE)).assign(text=HOSTILE)
    store.add_posts(frame)
    assert store.posts("d")["text"].tolist() == HOSTILE


def test_missing_times_stay_missing(store):
    store.add_posts(some_posts(2).assign(created_at=[pd.NaT, datetime(2026, 1, 1)]))
    assert store.posts("d")["created_at"].isna().tolist() == [True, False]


def test_labels_are_one_a_labeler_and_need_a_post(store):
    store.add_posts(some_posts())
    ids = store.posts("d")["id"]
    store.add_labels(some_labels(ids))
    store.add_labels(some_labels(ids[:1], label=4))
    store.add_labels(some_labels(ids[:1], label=5, labeler="bob"))
    got = store.labels("force", ["d"])
    assert got["label"].tolist() == [4, 5, 2, 2] and got["text"][0] == "post 0"
    with pytest.raises(sa.exc.IntegrityError):
        store.add_labels(some_labels(["no such post"]))
    assert len(store.labels("force", ["d"])) == 4


def test_a_write_that_fails_midway_leaves_nothing(store):
    store.add_posts(some_posts())
    rows = pd.concat([some_labels(store.posts("d")["id"]), some_labels(["no such post"])])
    with pytest.raises(sa.exc.IntegrityError):
        store.add_labels(rows)
    assert store.labels("force", ["d"]).empty


def test_predictions_keep_all_probabilities(store):
    store.add_posts(some_posts(1))
    frame = pd.DataFrame({"id": store.posts("d")["id"], "label": 1, "confidence": 0.8, "p0": 0.2, "p1": 0.8})
    store.add_predictions("force", "d", "run1", frame)
    store.add_predictions("force", "d", "run2", frame)
    assert len(store.predictions("force", "d", "run1")) == 1
    assert store.predictions("force", "d", "run1")["probabilities"][0] == "[0.2, 0.8]"


def test_a_person_answers_before_a_model_and_the_last_model_before_others(store):
    store.add_posts(some_posts())
    ids = store.posts("d")["id"]
    for run, label in (("run1", 1), ("run2", 4)):
        said = pd.DataFrame({"id": ids[:2], "label": label, "confidence": 1, "p0": 1})
        store.add_predictions("force", "d", run, said)
        with store.engine.begin() as connection:
            connection.execute(sa.text("UPDATE predictions SET predicted_at = '2026-01-01 00:00:00.000000' "
                                       "WHERE model = 'run1'"))
    store.add_labels(some_labels(ids[:1], label=2))
    store.add_labels(some_labels(ids[:1], label=3, labeler="bob"))
    assert store.answers("force", "d").to_dict() == {ids[0]: 3, ids[1]: 4}


def test_digests_follow_the_content_only(store):
    store.add_posts(some_posts())
    ids, first = store.posts("d")["id"], store.posts_digest("d")
    store.add_posts(some_posts())
    assert store.posts_digest("d") == first
    store.add_posts(some_posts(1).assign(text="edited"))
    assert store.posts_digest("d") != first
    store.add_labels(some_labels(ids))
    imported = store.labels_digest("force", ["d"], human_only=True)
    store.add_labels(some_labels(ids[:1], labeler="eve", origin="session"))
    assert store.labels_digest("force", ["d"], human_only=True) != imported


def test_incidents_are_replaced_and_a_decision_survives(store):
    store.add_posts(some_posts(1).assign(id="1"))
    members = pd.DataFrame({"incident_id": ["i1"], "id": ["1"]})
    store.replace_incidents("force", "d", an_incident(), members)
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE incidents SET status = 'approved'"))
    store.replace_incidents("force", "d", an_incident(title="again"), members)
    assert store.incidents("force", "d")[["title", "status"]].values.tolist() == [["again", "approved"]]
    store.replace_incidents("force", "d", an_incident(incident_id="i2"), members.assign(incident_id="i2"))
    assert store.incidents("force", "d")["incident_id"].tolist() == ["i2"]


def test_force_ranks_has_the_columns_of_the_first_document(store):
    store.replace_incidents("force", "d", an_incident(), pd.DataFrame({"incident_id": [], "id": []}))
    store.replace_incidents("threat", "d", an_incident(), pd.DataFrame({"incident_id": [], "id": []}))
    view = store.force_ranks()
    assert list(view.columns) == ["incident_id", "incident_date", "tweet_id", "user_name", "description", "city",
                                  "state", "lat", "long", "title", "force_rank", "status", "confidence", "tags",
                                  "src"]
    assert view["force_rank"].tolist() == [5]
    store.replace_incidents("force", "e", an_incident(label=3), pd.DataFrame({"incident_id": [], "id": []}))
    assert store.force_ranks()["force_rank"].tolist() == [3]


def test_a_later_schema_version_is_refused(db_url):
    Store.open(db_url)
    with Store.open(db_url).engine.begin() as connection:
        connection.execute(schema.meta.update().where(schema.meta.c.name == "schema_version").values(value="99"))
    with pytest.raises(InputError, match="schema version 99, this code needs 4"):
        Store.open(db_url)


def test_sqlite_waits_and_checks_keys(tmp_path):
    engine = Store.open(f"sqlite:///{tmp_path / 's.db'}").engine
    with engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA foreign_keys")).scalar() == 1


@pytest.mark.parametrize(("url", "says"), [
    ("postgresql://u:secret@127.0.0.1:1/x", "does not answer"), ("nonsense", "not a database address"),
    ("oracle9://x", "not a database address"), ("sqlite:////nowhere/at/all.db", "does not answer")])
def test_a_store_that_does_not_answer_is_one_sentence_without_the_password(url, says):
    with pytest.raises(InputError, match=says) as error:
        Store.open(url)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


# ---- pages of a search


def a_search(**more):
    return {"dataset": "d", "query": "police", "started_at": datetime(2026, 3, 1, 12), "source": "x"} | more


def test_a_page_and_its_search_are_written_together_and_counts_add_up(store):
    assert store.add_page(a_search(status="running", next_token="t1"), some_posts(2), refused=1, spent=0.5) == 2
    assert store.add_page(a_search(status="complete", next_token=""), some_posts(3), spent=0.25) == 1
    row = store.queries("d").iloc[0]
    assert row[["read", "new", "repeated", "refused"]].tolist() == [5, 3, 2, 1]
    assert (row["status"], row["next_token"], row["spent"]) == ("complete", "", 0.75)
    assert store.spent("x", datetime(2026, 3, 1)) == 0.75 and store.spent("x", datetime(2026, 3, 2)) == 0
    with pytest.raises(sa.exc.SQLAlchemyError):
        store.add_page(a_search(spent_on="x") | {"query": None}, some_posts(9))
    assert len(store.posts("d")) == 3


def test_gaps_and_unreadable_pages_are_kept(store):
    gap = (datetime(2026, 3, 1), datetime(2026, 3, 2), "outage")
    store.add_page(a_search(), some_posts(0), gap=gap, unreadable=(b"\x00\xff", "no JSON"))
    assert store.gaps("d")[["begins", "ends", "reason"]].iloc[0].tolist() == list(gap)
    store.add_page(a_search(), some_posts(0), unreadable=(b"second", "no JSON"))
    assert [bytes(body) for body in store.quarantine("d")["body"]] == [b"\x00\xff", b"second"]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1, 0]])
def test_versions_of_an_edited_post_come_in_any_order(store, order):
    versions = [some_posts(1).assign(version=str(2**60 + k) if k else "", text=f"version {k}") for k in range(3)]
    for k in order:
        store.add_page(a_search(), versions[k])
    assert store.posts("d")["text"].tolist() == ["version 2"]
    assert store.versions("d")["text"].tolist() == ["version 0", "version 1", "version 2"]


def test_only_one_is_alone_and_a_lock_ends_with_its_holder(store, db_url):
    with store.alone("collect"):
        with pytest.raises(InputError, match=r"another process does the same on this store \(collect\)"), \
                Store.open(db_url).alone("collect"):
            pass
        with Store.open(db_url).alone("something else"):
            pass
    with Store.open(db_url).alone("collect"):
        pass


def test_a_store_of_the_first_version_gains_what_is_new_and_loses_nothing(store, db_url):
    store.add_posts(some_posts())
    with store.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE posts DROP COLUMN place"))
        for name in ("spent", "propensity", "status"):
            connection.execute(sa.text(f"ALTER TABLE queries DROP COLUMN {name}"))
        connection.execute(sa.text("DROP TABLE gaps"))
        connection.execute(sa.text("UPDATE meta SET value = '1' WHERE name = 'schema_version'"))
    again = Store.open(db_url)
    assert again.posts("d")["text"].tolist() == ["post 0", "post 1", "post 2"]
    assert again.posts("d")["place"].tolist() == ["", "", ""]
    assert again.add_page(a_search(status="running"), some_posts(4)) == 1 and again.gaps("d").empty
