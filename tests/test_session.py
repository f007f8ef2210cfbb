"""Labelling sessions: what a labeler meets, that nothing is lost, on SQLite and PostgreSQL alike."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import soak
from labelling import busy, some_posts

from hrf_utils import schema, store_labels, widget
from hrf_utils.session import Session
from hrf_utils.settings import InputError
from hrf_utils.store import Store

HOSTILE = ["<script>document.title = 'owned'</script>", "\u202egnp.exe مرحبا", "x" * 25_000, "👮🏽‍♀️ 🚔", "=1+1"]


class Time:
    """A clock that the test moves."""

    def __init__(self):
        self.now = datetime(2026, 3, 1, 12)

    def __call__(self):
        return self.now

    def pass_(self, **duration):
        self.now += timedelta(**duration)


@pytest.fixture
def store(db_url):
    store = Store.open(db_url)
    store.add_posts(some_posts(20))
    return store


@pytest.fixture
def at():
    return Time()


@pytest.fixture
def begin(request, force, at):
    def begin(labeler="ann", n=20, share=0.0, why="uncertain", on=None):
        queue = some_posts(n)[["id"]].assign(why=why)
        return Session(on or request.getfixturevalue("store"), force, "d", queue, labeler, share, at)
    return begin


def labels_of(store, labeler=None):
    rows = store.labels("force", ["d"])
    return rows if labeler is None else rows[rows["labeler"] == labeler]


def test_each_key_is_in_the_store_before_the_next_post_shows(store, begin, at, force):
    session = begin()
    for number in (2, 0, 5):
        shown, _ = session.post, at.pass_(seconds=10)
        session.label(number)
        row = labels_of(store).set_index("id").loc[shown.id]
        assert (row["label"], row["labeler"], row["origin"]) == (number, "ann", "session")
        assert row["codebook_version"] == force.codebook_version and row["labelled_at"] == at.now
        assert session.post.id != shown.id
    assert [session.post.text, session.pace().labelled, session.pace().to_go] == ["post 3", 3, 17]
    again = begin()
    assert again.post == session.post and again.pace().labelled == 3


def test_a_post_queued_for_the_audit_gives_that_origin_to_all_its_labels(store, begin):
    begin(n=1, why="audit").label(1)
    second = begin("ben", n=1, share=0.9)
    assert second.post is None
    assert begin("ben", n=2, share=0.99).post.text == "post 0"
    begin("ben", n=2, share=0.99).label(2)
    assert labels_of(store)["origin"].tolist() == ["audit", "audit"]
    again = begin("ben", n=20)
    again.undo()
    again.label(3)
    assert labels_of(store, "ben")["origin"].tolist() == ["audit"]


def test_a_post_that_another_labeler_takes_meanwhile_is_passed_over(store, begin):
    ann, ben = begin(n=4), begin("ben", n=4)
    ben.label(1)
    ben.label(1)
    ann.label(2)
    assert ann.post.text == "post 2" and ann.pace().to_go == 2


def test_undo_restores_what_stood_there_and_goes_back_step_by_step(store, begin):
    one = store.posts("d")["id"].iloc[0]
    first, other = begin(n=2), begin(n=2)
    first.remark(unsure=True, note="why?")
    first.label(2)
    before = labels_of(store)
    other.label(4)
    assert labels_of(store)["label"].tolist() == [4]
    step = first.undo()
    assert (step["action"], step["label"], step["id"], first.post.id) == ("label", 4, one, one)
    pd.testing.assert_frame_equal(labels_of(store), before)
    assert first.undo()["label"] == 2 and labels_of(store).empty
    assert (first.post.unsure, first.post.note) == (True, "why?")
    assert first.undo() is None
    first.label(1)
    assert labels_of(store)[["label", "unsure", "note"]].values.tolist() == [[1, 1, "why?"]]
    with store.engine.connect() as connection:
        actions = connection.scalars(sa.select(schema.label_steps.c.action).order_by(schema.label_steps.c.number))
        assert list(actions) == ["remark", "label", "label", "undo", "undo", "label"]


def test_undo_leaves_a_label_alone_that_something_else_changed(store, begin):
    session = begin()
    session.label(2)
    store.add_labels(labels_of(store)[["task", "dataset", "id", "labeler", "codebook_version"]]
                     .assign(label=5, origin="review"))
    with pytest.raises(InputError, match="was changed since"):
        session.undo()
    assert labels_of(store)["label"].tolist() == [5]


def test_skipped_posts_come_again_at_the_end_once_and_after_a_restart(store, begin):
    session = begin(n=3)
    session.skip()
    assert session.post.text == "post 1"
    session = begin(n=3)
    session.label(0)
    session.label(0)
    assert session.post.text == "post 0"
    assert session.undo()["label"] == 0
    session.label(1)
    session.skip()
    assert session.post is None and session.pace().to_go == 0
    with pytest.raises(InputError, match="no post is left"):
        session.label(1)
    assert session.undo()["action"] == "skip" and session.post.text == "post 0"
    assert begin("ben", n=3).post.text == "post 0"


def test_remarks_are_kept_at_once_and_go_with_the_label(store, begin):
    begin().remark(unsure=True)
    session = begin()
    assert session.post.unsure
    session.remark(note=HOSTILE[0] + "\x00")
    session = begin()
    session.label(3)
    assert labels_of(store)[["unsure", "note"]].values.tolist() == [[1, HOSTILE[0]]]
    assert not session.post.unsure and session.post.note == ""


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.1, 0.06, 0.15), (0.4, 0.33, 0.47)])
def test_a_share_of_posts_is_labelled_by_two_without_a_sign(force, share, low, high, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}")
    store.add_posts(some_posts(1400))
    said = some_posts(1400)[["dataset", "id"]].tail(400).assign(
        task="force", labeler="file", label=1, origin="import", codebook_version=1)
    store.add_labels(said)
    session = Session(store, force, "d", some_posts(600)[["id"]].assign(why="rare"), "ann", share)
    second = [one in set(said["id"]) for one in session._order]
    assert low <= sum(second) / len(second) <= high
    assert session.pace().to_go == len(second)
    assert session.post._fields == ("id", "text", "unsure", "note")
    if share == 0.4:
        position = second.index(True)
        for _ in range(position + 1):
            session.label(2)
        shown = session._order[position]
        assert sorted(labels_of(store).set_index("id").loc[shown, "labeler"]) == ["ann", "file"]
        again = Session(store, force, "d", some_posts(600)[["id"]].assign(why="rare"), "ann", share)
        assert again.post.id == session.post.id and shown not in again._order


def test_the_model_is_heard_only_after_the_choice(store, begin):
    ids = store.posts("d")["id"]
    said = pd.DataFrame({"id": ids, "label": 4, "confidence": 0.61, "p0": 0.4})
    store.add_predictions("force", "d", "run-1", said.head(1))
    session = begin()
    assert session.label(2) == (4, 0.61)
    assert session.label(2) is None


def test_pace_counts_active_time_and_a_break_is_due_after_45_active_minutes(begin, at, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'pace.db'}")
    store.add_posts(some_posts(20))
    session = begin(on=store)
    assert session.pace().an_hour is None
    for _ in range(6):
        at.pass_(seconds=60)
        session.label(0)
    assert session.pace().an_hour == pytest.approx(60)
    at.pass_(minutes=30)
    assert session.pace().an_hour == pytest.approx(60) and session.pace().minutes == 0
    for _ in range(3):
        session.remark(note="thinking")
        for _ in range(8):
            assert not session.break_due()
            at.pass_(minutes=1, seconds=55)
            session.remark(unsure=True)
    assert session.break_due()
    session.reminded()
    assert not session.break_due()
    for _ in range(24):
        at.pass_(minutes=1, seconds=55)
        session.remark(unsure=True)
    assert session.break_due()
    at.pass_(minutes=6)
    session.label(1)
    assert not session.break_due()


@pytest.mark.parametrize(("labeler", "share", "says"), [
    ("", 0.1, "give the name"), (" \x00", 0.1, "give the name"), ("File", 0.1, "means something else"),
    ("ann", 1.0, "no share"), ("ann", -0.1, "no share")])
def test_names_and_shares_that_cannot_be_used_are_refused(force, labeler, share, says):
    with pytest.raises(InputError, match=says):
        Session(None, force, "d", some_posts(2)[["id"]], labeler, share)


def test_an_unknown_label_or_a_post_that_is_gone_changes_nothing(store, begin):
    session = begin(n=2)
    for wrong in (6, -1, "2", None):
        with pytest.raises(InputError, match="no label of the task force"):
            session.label(wrong)
    store.forget(store.posts("d").head(1)[["dataset", "id"]].assign(reason="deleted"))
    with pytest.raises(InputError, match="not in the data set d any more"):
        session.label(2)
    assert labels_of(store).empty and session.post.text == "post 1"
    session.label(2)
    assert len(labels_of(store)) == 1 and session.post is None


def consistent(store):
    """The labels are those that the steps tell of, told again from the first one."""
    with store.engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(
            sa.select(schema.label_steps).order_by(schema.label_steps.c.number)).mappings()]
    by_number, told = {row["number"]: row for row in rows}, {}
    for row in rows:
        key = (row["id"], row["labeler"])
        if row["action"] == "label":
            assert (json.loads(row["before"])["label"] if row["before"] else None) == told.get(key)
            told[key] = row["label"]
        elif row["action"] == "undo" and (step := by_number[row["undoes"]])["action"] == "label":
            told[key] = json.loads(step["before"])["label"] if step["before"] else None
    stored = {(row.id, row.labeler): row.label for row in labels_of(store).itertuples()}
    return stored == {key: label for key, label in told.items() if label is not None}


def test_two_sessions_of_one_labeler_at_once_keep_the_steps_and_the_labels_together(store, begin, db_url):
    failed = []

    def work(seed):
        try:
            session = begin(on=Store.open(db_url))
            for _, _ in zip(range(12), busy(session, random.Random(seed)), strict=False):
                pass
        except Exception as error:  # a thread's own would go unseen
            failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and consistent(store) and len(labels_of(store)) > 0


@pytest.mark.soak
def test_killed_while_saving_no_label_is_lost_or_doubled(store, db_url):
    rng, last, here = random.Random(5), 0, Path(__file__)
    server = subprocess.Popen([sys.executable, str(here.with_name("labelling.py")), db_url], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=os.environ | {"PYTHONPATH": str(here.parent.parent)})
    for kill in range(soak(8, 200)):
        print(kill, file=server.stdin, flush=True)
        child, said = int(server.stdout.readline()), [server.stdout.readline().strip()]
        time.sleep(rng.random() * 0.1)
        os.kill(child, signal.SIGKILL)
        said += iter(lambda: server.stdout.readline().strip(), "ended")
        assert consistent(store)
        steps = store_labels.steps(store, "force", "d", "ann")
        with store.engine.connect() as connection:
            every = connection.execute(sa.select(schema.label_steps.c.id, schema.label_steps.c.label).where(
                schema.label_steps.c.action == "label").order_by(schema.label_steps.c.number)).all()
        written = [f"{post} {label}" for post, label in every][last:]
        assert written[:len(said)] == said and len(written) - len(said) <= 1
        assert not labels_of(store).duplicated(["id", "labeler"]).any() and steps["number"].is_unique
        last = len(every)
    server.communicate()


# ---- the widget's Python half


def test_the_widget_answers_every_message_and_shows_no_more_than_it_may(store, force):
    store.add_posts(some_posts(3).assign(text=[HOSTILE[2], HOSTILE[1], HOSTILE[0]]))
    said = pd.DataFrame({"id": store.posts("d")["id"], "label": 4, "confidence": 0.61, "p0": 0.4})
    store.add_predictions("force", "d", "run-1", said)
    box = widget.Labeler(store, force, "d", some_posts(3)[["id"]].assign(why="uncertain"))

    def send(**message):
        box._receive(box, message, [])
        return box.state

    assert box.state["post"] is None and send(do="begin", name=" ")["problem"].startswith("give the name")
    state = send(do="begin", name="ann")
    assert (len(state["post"]["text"]), state["post"]["length"]) == (5_000, 25_000)
    assert "model" not in json.dumps(state) and "0.61" not in json.dumps(state)
    stale = send(do="label", label=1, id="another")
    assert "nothing was saved" in stale["said"] and labels_of(store).empty
    here = state["post"]["id"]
    assert send(do="remark", id=here, unsure=True)["post"]["unsure"]
    says = "Saved: 2 Open hand; the model says 4 Chemical and electric (61%)."
    assert send(do="label", label=2, id=here)["said"] == says
    assert send(do="undo")["post"]["id"] == here
    assert send(do="label", label=9, id=here)["problem"].startswith("9 is no label")
    assert send(do="skip", id=here)["post"]["id"] != here
    answers = box.state["answer"]
    store.engine.dispose()
    box._session.store = None
    assert "this was not saved" in send(do="undo")["problem"] and box.state["answer"] == answers + 1
    assert "post" not in repr(box) and "ann" not in repr(box)


def test_a_chapter_that_make_runs_shows_the_state_of_the_labels(store, force, begin, monkeypatch, capsys):
    session = begin()
    session.remark(unsure=True, note="n")
    session.label(2)
    shown = []
    monkeypatch.setattr(widget.reports, "display", lambda html: shown.append(html.data))
    monkeypatch.setenv("HRF_CHAPTER", "2_label")
    widget.show(store, force, "d", some_posts(3))
    assert "ann" in shown[0] and "session" in shown[0] and "post 0" not in shown[0]
