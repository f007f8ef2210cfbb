"""Reviewing incidents: steps and their log, what survives a rebuild, the queue, and labels that come of it."""

import json
import multiprocessing
import os
import random
import signal
from contextlib import suppress
from datetime import date

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import soak

from hrf_utils import review, schema, store_reviews, tasks
from hrf_utils.review_widget import ReviewWidget
from hrf_utils.settings import InputError
from hrf_utils.store import Store

TEXTS = ["Cops tased a man in Tulsa https://t.co/x", "officers shot him, Tulsa pic.twitter.com/Ab1",
         "Tulsa: what the witnesses saw www.nytimes.com/2026/a", "gas downtown, everyone coughing",
         "gas downtown, everyone coughing!", "my eyes burn, thanks officer", "three shots behind the mall",
         "he is dead they shot him twice", "nytimes.com.evil.example says so"]
POSTS = pd.DataFrame({"dataset": "d", "id": [f"p{k}" for k in range(9)], "text": TEXTS,
                      "author": ["a1", "a2", "a3", "a1", "a4", "a5", "a6", "a6", ""],
                      "created_at": pd.Timestamp("2026-03-01")})
WHERE = {"i1": ("Tulsa", "OK", 36.1, -95.9), "i2": ("", "", None, None), "i3": ("", "", None, None)}


def built(**homes):
    """Incidents as they are built from posts: `homes` gives the numbers of the posts of each."""
    rows = [{"incident_id": one, "incident_date": date(2026, 3, 1), "tweet_id": f"p{posts[0]}", "user_name": "a1",
             "title": f"{'Tulsa, Oklahoma' if WHERE[one][0] else 'Place unknown'}: lethal force", "description": "",
             "city": WHERE[one][0], "state": WHERE[one][1], "country": "US" if WHERE[one][0] else "",
             "lat": WHERE[one][2], "long": WHERE[one][3], "place_method": "city, state", "label": 5,
             "confidence": 0.6, "decided_by": "predicted", "status": "pending", "tags": "Lethal",
             "src": f"d/p{posts[0]}", "posts": len(posts), "model": "m"} for one, posts in homes.items()]
    members = pd.DataFrame([(one, f"p{k}") for one, posts in homes.items() for k in posts],
                           columns=["incident_id", "id"])
    return pd.DataFrame(rows), members


THREE = {"i1": [0, 1, 2], "i2": [3, 4, 5], "i3": [6, 7]}


class Desk:
    """One data set at which people review."""

    def __init__(self, url):
        self.store = Store.open(url)

    def build(self, **homes):
        review.keep(self.store, "force", "d", *built(**homes))

    def do(self, incident, action, who="ann", value=None, note=""):
        return review.record(self.store, "force", "d", incident, action, who, value, note)

    def log(self):
        return store_reviews.log(self.store, "force", "d")

    def of(self, incident, *names):
        row = self.store.incidents("force", "d").set_index("incident_id").loc[incident]
        return row[names[0]] if len(names) == 1 else row[list(names)].tolist()


@pytest.fixture
def desk(db_url):
    desk = Desk(db_url)
    desk.store.add_posts(POSTS)
    desk.build(**THREE)
    return desk


# ---- steps


def test_a_step_is_a_row_of_the_log_and_changes_the_incident_at_once(desk):
    assert desk.do("i1", "approve", note="seen the film") == 1 and desk.do("i2", "reject", "bob", {"label": 1}) == 2
    assert desk.of("i1", "status", "review") == ["approved", "approved by ann"]
    assert desk.of("i2", "status", "review") == ["rejected", "rejected by bob"]
    assert desk.of("i3", "status", "review") == ["pending", ""]
    first = desk.log().iloc[0]
    assert (first["incident_id"], first["posts"], first["who"], first["note"]) == (
        "i1", ["p0", "p1", "p2"], "ann", "seen the film")
    assert desk.store.force_ranks().set_index("incident_id")["status"].to_dict() == {
        "i1": "approved", "i2": "rejected", "i3": "pending"}


def test_an_edit_shows_in_the_view_with_what_follows_from_it_and_undo_brings_back_what_was_built(desk):
    before = desk.store.force_ranks()
    desk.do("i2", "edit", value={"city": "Boise", "state": "ID", "date": "2026-02-27", "rank": 4})
    desk.do("i2", "edit", "bob", value={"rank": 3})
    row = desk.store.force_ranks().set_index("incident_id").loc["i2"]
    assert row[["title", "city", "state", "force_rank", "tags", "confidence"]].tolist() == [
        "Boise, Idaho: blunt force, 27 February 2026", "Boise", "ID", 3, "Blunt force", 1.0]
    assert str(row["incident_date"]) == "2026-02-27" and row["lat"] == pytest.approx(43.6, abs=0.1)
    desk.do("", "undo")
    assert desk.of("i2", "title", "label") == ["Boise, Idaho: chemical or electric force, 27 February 2026", 4]
    desk.do("", "undo")
    pd.testing.assert_frame_equal(desk.store.force_ranks(), before)


def test_undo_takes_back_the_last_step_of_anyone_and_names_it(desk):
    for incident, action, who in (("i1", "approve", "ann"), ("i1", "reject", "bob"), ("i2", "approve", "cy")):
        desk.do(incident, action, who)
    with pytest.raises(InputError, match="the last step is number 3 by now, approve by cy"):
        desk.do("", "undo", value={"number": 2})
    for statuses in (["rejected", "pending"], ["approved", "pending"], ["pending", "pending"]):
        desk.do("", "undo", "dee")
        assert [desk.of(one, "status") for one in ("i1", "i2")] == statuses
    with pytest.raises(InputError, match="no step left to undo"):
        desk.do("", "undo")
    undone = desk.log()[desk.log()["action"] == "undo"]["value"].tolist()
    assert undone[0] == {"number": 3, "action": "approve", "who": "cy"} and len(desk.log()) == 6


REFUSED = [
    ("i9", "approve", None, "there is no incident 'i9' in d"),
    ("i1", "delete", None, "'delete' is no step of a review; there are approve, reject"),
    ("i1", "approve", {"label": 3}, "the value of approve is an object with nothing in it"),
    ("i1", "approve", ["x"], "the value of approve"), ("i1", "reject", {"label": 6}, "6 is no label .* 0 to 5"),
    ("i1", "reject", {"label": "3"}, "'3' is no label"), ("i1", "reject", {"label": True}, "True is no label"),
    ("i1", "edit", {"lat": 3}, "edit is an object with"), ("i1", "edit", {"title": ""}, "1 to 200 letters"),
    ("i1", "edit", {"title": "x" * 201}, "1 to 200"), ("i1", "edit", {"title": ["x"]}, "1 to 200"),
    ("i1", "edit", {"city": "Gotham"}, "no city 'Gotham' is known in OK"),
    ("i1", "edit", {"state": "ZZ"}, "'ZZ' is no state"), ("i1", "edit", {"city": 3}, "city and state are texts"),
    ("i1", "edit", {"city": "Springfield", "state": ""}, "no city 'Springfield' is known in the US without"),
    ("i1", "edit", {"date": "March"}, "'March' is no date"), ("i1", "edit", {"date": "2126-01-01"}, "in the future"),
    ("i1", "edit", {"date": ["2026-01-01"]}, "is no date"), ("i1", "edit", {"rank": 1}, "1 is none of the ranks"),
    ("i1", "edit", {"rank": 5.0}, "5.0 is none"), ("i1", "edit", {"rank": 5}, "changes nothing"),
    ("i1", "edit", {}, "changes nothing"), ("i1", "merge", {"with": ["i1"]}, "merge needs a list"),
    ("i1", "merge", {"with": [{}]}, "merge needs"), ("i1", "merge", None, "merge needs"),
    ("i1", "merge", {"with": ["i9"]}, "ids of other incidents"),
    ("i1", "split", {"posts": ["p3"]}, "split needs a list"),
    ("i1", "split", {"posts": ["p0", "p1", "p2"]}, "at least one post"), ("i1", "note", None, "a note needs words"),
    ("", "undo", {"number": 1}, "no step left")]


def test_what_cannot_be_done_is_refused_and_leaves_no_trace(desk):
    before = desk.store.incidents("force", "d")
    for incident, action, value, says in REFUSED:
        with pytest.raises(InputError, match=says):
            desk.do(incident, action, value=value)
    assert desk.log().empty
    pd.testing.assert_frame_equal(desk.store.incidents("force", "d"), before)


def test_a_step_needs_a_name_and_is_not_taken_twice(desk):
    for name in ("", " \x00", "x" * 101):
        with pytest.raises(InputError, match="needs the name of who decides"):
            desk.do("i1", "approve", name)
    desk.do("i1", "approve")
    with pytest.raises(InputError, match="ann has approved this incident already"):
        desk.do("i1", "approve")
    desk.do("i1", "approve", "bob")
    assert len(desk.log()) == 2


def test_hostile_notes_and_names_are_kept_as_text(desk):
    texts = ["<script>alert(1)</script>", "=cmd()", "\u202eabc", "👮🏽‍♀️", "a\x00b", "\ud800x",
             "'; DROP TABLE reviews; --", "x" * 10_000_000]
    for text in texts:
        desk.do("i1", "note", text[:40] + "n", note=text)
    assert desk.log()["note"].tolist() == [text.replace("\x00", "").replace("\ud800", "?")[:25_000] for text in texts]


# ---- two people


def test_two_people_must_say_the_same(desk, monkeypatch):
    monkeypatch.setenv("TWO_PERSON", "1")
    desk.do("i1", "approve")
    assert desk.of("i1", "status", "review") == ["pending", "approved by ann; a second person is missing"]
    desk.do("i1", "reject", "bob")
    assert desk.of("i1", "status", "review") == ["pending", "approved by ann; rejected by bob; they disagree"]
    desk.do("i1", "approve", "bob")
    assert desk.of("i1", "status", "review") == ["approved", "approved by ann and bob"]
    desk.do("", "undo")
    assert desk.of("i1", "status") == "pending"
    desk.do("i2", "approve", "ann")
    monkeypatch.delenv("TWO_PERSON")
    desk.build(**THREE)
    assert desk.of("i2", "status") == "approved" and desk.of("i1", "status") == "rejected"


# ---- rebuilding


def test_decisions_follow_their_posts_through_every_rebuild(desk):
    desk.do("i1", "approve")
    desk.do("i2", "reject", "bob")
    desk.do("i2", "edit", "bob", {"title": "Gas"})
    desk.build(i3=[1, 2, 8], i1=[0, 6, 7], i2=[3, 4, 5])
    assert desk.of("i3", "status", "review") == ["approved", "approved by ann; 1 posts came since"]
    assert desk.of("i1", "status") == "pending" and desk.of("i2", "status", "title") == ["rejected", "Gas"]
    desk.build(i1=[0, 1, 2, 3, 4, 5], i3=[6, 7])
    assert desk.of("i1", "status", "title") == ["pending", "Gas"]
    assert desk.of("i1", "review") == "approved by ann; rejected by bob; edited by bob; they disagree"
    desk.do("i1", "approve", "cy")
    assert desk.of("i1", "status") == "approved"
    desk.build(**THREE)
    assert [desk.of(one, "status") for one in THREE] == ["approved", "rejected", "pending"]


def test_of_two_halves_the_one_that_kept_the_id_keeps_the_decision(desk):
    desk.build(i1=[0, 1], i2=[3, 4])
    desk.do("i2", "approve")
    desk.build(i1=[3], i2=[4])
    assert [desk.of(one, "status") for one in ("i1", "i2")] == ["pending", "approved"]


def test_apply_may_be_applied_to_its_own_result(desk):
    desk.do("i2", "edit", value={"city": "Boise", "state": "ID", "rank": 3})
    desk.do("i2", "approve")
    once = review.apply(*built(**THREE), desk.log())
    twice = review.apply(once, built(**THREE)[1], desk.log())
    pd.testing.assert_frame_equal(once, twice)
    assert json.loads(once["built"][1])["title"] == "Place unknown: lethal force"


def test_a_decision_made_while_incidents_are_built_is_not_lost(desk):
    frames = built(**THREE)
    replace = desk.store.replace_incidents

    def meanwhile(*arguments):
        desk.do("i1", "approve")
        replace(*arguments)
    desk.store.replace_incidents = meanwhile
    found = review.keep(desk.store, "force", "d", *frames)
    assert found.set_index("incident_id").loc["i1", "status"] == "approved"


def joined(links):
    return {(a, b): same for a, b, same in links.itertuples(index=False)}


def test_merge_and_split_become_links_of_posts_that_later_steps_overrule(desk):
    desk.do("i1", "merge", value={"with": ["i3"]})
    assert joined(review.links(desk.log())) == {("p0", other): True for other in ("p1", "p2", "p6", "p7")}
    for one in ("i1", "i3"):
        assert desk.of(one, "review") == "a merge or split takes effect with the next build"
    assert desk.of("i2", "review") == ""
    desk.build(i1=[0, 1, 2, 6, 7], i2=[3, 4, 5])
    assert desk.of("i1", "review") == ""
    desk.do("i1", "split", "bob", {"posts": ["p0", "p7"]})
    links = joined(review.links(desk.log()))
    assert {pair for pair, same in links.items() if same} == {("p0", "p7"), ("p1", "p2"), ("p1", "p6")}
    assert {pair for pair, same in links.items() if not same} == {
        ("p0", "p1"), ("p0", "p2"), ("p0", "p6"), ("p1", "p7"), ("p2", "p7"), ("p6", "p7")}
    assert desk.of("i1", "review") == "a merge or split takes effect with the next build"
    desk.build(i1=[1, 2, 6], i2=[3, 4, 5], i3=[0, 7])
    desk.do("i1", "merge", value={"with": ["i3"]})
    assert all(joined(review.links(desk.log())).values())
    desk.do("", "undo")
    desk.do("", "undo")
    assert joined(review.links(desk.log())) == {("p0", other): True for other in ("p1", "p2", "p6", "p7")}


# ---- what is forgotten


def test_ids_of_forgotten_posts_leave_the_log_and_its_rows_stay(desk):
    desk.do("i1", "split", value={"posts": ["p1"]}, note="p1 is another story, see (p2).")
    desk.do("i1", "approve")
    gone = POSTS[POSTS["id"].isin(["p1", "p2"])][["dataset", "id"]].assign(reason="deleted")
    desk.store.forget(gone, also=store_reviews.forgetting(gone))
    log = desk.log()
    assert log["posts"].tolist() == [["p0"], ["p0"]] and log["value"][0] == {"posts": []}
    assert log["note"][0] == "… is another story, see …"
    with desk.store.engine.connect() as connection:
        assert not {"p1", "p2"} & set(json.dumps([list(map(str, row)) for row in connection.execute(
            sa.select(schema.reviews))]).replace("\\", "").split('"'))
    desk.build(i1=[0], i2=[3, 4, 5])
    assert desk.of("i1", "status") == "approved" and review.links(log).empty


# ---- the queue


def test_the_queue_shows_why_an_incident_stands_where_it_stands(desk):
    frame, members = built(**THREE)
    frame.loc[1, ["label", "confidence"]] = [4, 0.2]
    frame.loc[2, ["confidence", "decided_by"]] = [1.0, "labelled"]
    got = review.queue(frame, members, POSTS, 5).set_index("incident_id")
    assert got.index.tolist() == ["i1", "i2", "i3"]
    assert got.loc["i1", ["link", "independent", "named_city", "day"]].tolist() == [1, pytest.approx(2 / 3), 1, 1]
    assert got.loc["i2", ["link", "independent", "named_city", "day"]].tolist() == [0, 0.5, 0, 1]
    assert got.loc["i3", ["link", "independent"]].tolist() == [0, 0] and got.loc["i3", "score"] == 0
    factors = got[["severity", "verifiability", "uncertainty"]]
    assert got.loc["i2", "severity"] == 0.8 and got.loc["i2", "uncertainty"] == pytest.approx(0.8)
    assert ((factors >= 0) & (factors <= 1)).all(axis=None)
    assert got["score"].tolist() == pytest.approx(factors.prod(axis=1).tolist())
    week = review.queue(frame.assign(date_precision="week"), members, POSTS).set_index("incident_id")
    assert week.loc["i1", "day"] == 0
    assert review.queue(frame.assign(status=["approved", "pending", "rejected"]), members, POSTS)[
        "incident_id"].tolist() == ["i2"]
    assert review.queue(frame.iloc[:0], members.iloc[:0], POSTS.iloc[:0]).empty


@pytest.mark.parametrize(("text", "linked"), [
    ("see https://www.latimes.com/story", 1), ("CNN.com/video", 1), ("https://edition.cnn.com", 1),
    ("https://youtu.be/x", 1),
    ("cnn.com.evil.ru", 0), ("notcnn.com", 0), ("mail me@cnn.com", 0), ("https://t.co/abc", 0), ("cnn says", 0),
    ("http" + "a." * 12_000 + "cnn.co", 0)])
def test_what_counts_as_a_link(text, linked):
    frame, members = built(i1=[0])
    assert review.queue(frame, members, POSTS.head(1).assign(text=text))["link"].item() == linked


def test_a_question_is_drafted_only_for_what_is_missing(force):
    row = {"city": "", "incident_date": None}
    both = review.question(row, force)
    assert "city" in both and "day" in both and "@" not in both
    assert "day" not in review.question(row | {"incident_date": date(2026, 3, 1)}, force)
    assert "city" not in review.question(row | {"city": "Tulsa"}, force)
    assert review.question({"city": "Tulsa", "incident_date": date(2026, 3, 1)}, force) == ""
    weekly = {"city": "Tulsa", "incident_date": date(2026, 3, 1), "date_precision": "week"}
    assert "day" in review.question(weekly, force)
    assert review.question(row, tasks.load("threat")) == ""


def test_progress_says_how_many_and_by_whom(desk, monkeypatch):
    desk.do("i1", "approve")
    desk.do("i2", "reject", "bob")
    table = review.progress(desk.store.incidents("force", "d"), built(**THREE)[1], desk.log())
    assert table["incidents"].to_dict() == {"approved": 1, "rejected": 1, "pending": 1}
    assert table["by"].to_dict() == {"approved": "ann 1", "rejected": "bob 1", "pending": ""}


# ---- labels


def given(desk, posts=None, members=None):
    posts = POSTS.assign(label=5) if posts is None else posts
    task = tasks.load("force")
    members = built(**THREE)[1] if members is None else members
    return review.labels(desk.store.incidents("force", "d"), members, posts, desk.log(), task)


def test_decisions_become_labels_of_the_posts_that_were_seen(desk):
    desk.do("i1", "edit", value={"rank": 4})
    desk.do("i1", "approve")
    desk.do("i2", "reject", "bob", {"label": 1})
    desk.do("i3", "reject", "bob")
    posts = POSTS.assign(label=[5, 5, 0, 5, 5, 5, 5, 5, 5])
    got = given(desk, posts).set_index("id")
    assert got["label"].to_dict() == {"p0": 4, "p1": 4, "p3": 1, "p4": 1, "p5": 1}
    assert got["labeler"].to_dict() == {"p0": "review: ann", "p1": "review: ann"} | dict.fromkeys(
        ["p3", "p4", "p5"], "review: bob")
    homes = {"i1": [0, 1, 2, 8], "i3": [6, 7]}
    desk.build(**homes)
    later = given(desk, posts, built(**homes)[1]).set_index("id")
    assert later["label"].to_dict() == got["label"].to_dict(), "a post that came later, or an incident that went"
    desk.do("", "undo")
    desk.do("", "undo")
    assert set(given(desk, posts, built(**homes)[1])["id"]) == {"p0", "p1"}


def test_the_labels_in_the_store_are_those_of_the_decisions_that_stand(desk):
    def stored():
        return desk.store.labels("force", ["d"]).set_index(["id", "labeler"])
    desk.store.add_labels(POSTS.head(1).assign(task="force", labeler="ann", label=2, origin="session",
                                               codebook_version=1))
    desk.do("i1", "approve")
    desk.do("i3", "approve", "bob")
    store_reviews.replace_labels(desk.store, "force", "d", given(desk))
    first = stored()
    assert len(first) == 6 and first.loc[("p0", "ann"), ["label", "weight"]].tolist() == [2, 1]
    desk.do("", "undo")
    store_reviews.replace_labels(desk.store, "force", "d", given(desk))
    assert set(stored().index) == {("p0", "ann"), *((f"p{k}", "review: ann") for k in range(3))}
    digest = desk.store.labels_digest("force", ["d"])
    store_reviews.replace_labels(desk.store, "force", "d", given(desk))
    assert desk.store.labels_digest("force", ["d"]) == digest
    desk.do("", "undo")
    store_reviews.replace_labels(desk.store, "force", "d", given(desk))
    assert list(stored().index) == [("p0", "ann")]


def test_weights_make_up_for_what_people_choose_to_review(force):
    """A stratum that is half reviewed weighs twice one that is wholly reviewed; the estimate loses its bias."""
    rng = np.random.default_rng(0)
    n = 600
    frame, _ = built(i1=[0])
    frame = pd.concat([frame] * n, ignore_index=True).assign(
        incident_id=[f"i{k}" for k in range(n)], confidence=np.linspace(0, 1, n), label=rng.integers(2, 6, n))
    members = pd.DataFrame({"incident_id": frame["incident_id"], "id": [f"q{k}" for k in range(n)]})
    posts = pd.DataFrame({"id": members["id"], "text": [f"{k} {'abcdefghij'[k % 10] * 9}" for k in range(n)],
                          "author": "", "label": 5})
    seen = rng.random(n) < np.where(frame["label"] == 5, 0.9, 0.15)
    steps = [{"number": k, "incident_id": f"i{k}", "posts": [f"q{k}"], "action": "approve", "who": "ann", "note": "",
              "value": {"was": {"label": int(frame["label"][k]), "confidence": float(frame["confidence"][k])}},
              "at": pd.Timestamp("2026-03-02"), "undone": False} for k in np.flatnonzero(seen)]
    log = pd.DataFrame(steps)
    decided = review.apply(frame, members, log)
    learned = decided.assign(confidence=decided["confidence"].where(decided["status"] == "pending", 1.0))
    got = review.labels(learned, members, posts, log, force)
    assert len(got) == seen.sum() and got["weight"].max() <= 10 and got["weight"].mean() == pytest.approx(1, abs=0.01)
    true, plain = (frame["label"] == 5).mean(), (got["label"] == 5).mean()
    weighted = np.average(got["label"] == 5, weights=got["weight"])
    assert abs(weighted - true) < 0.02 < 0.2 < abs(plain - true)


# ---- killed, and at once


def decide_for_ever(url, pipe):
    store = Store.open(url)
    for turn in range(30_000):
        incident, action = list(THREE)[turn % 3], ("approve", "reject")[turn // 3 % 2]
        with suppress(InputError):  # the last one before a kill said the same
            pipe.send((review.record(store, "force", "d", incident, action, "ann"), incident, action))


def test_a_kill_between_or_within_steps_loses_none_and_halves_none(desk, db_url):
    rng, context, told = random.Random(0), multiprocessing.get_context("fork"), []
    desk.store.engine.dispose()
    for _ in range(soak(3, 100)):
        here, there = context.Pipe()
        child = context.Process(target=decide_for_ever, args=(db_url, there))
        child.start()
        there.close()
        for _ in range(rng.randrange(1, 8)):
            if here.poll(30):
                told.append(here.recv())
        here.poll(rng.random() * 0.05)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        while here.poll():
            try:
                told.append(here.recv())
            except (EOFError, OSError):
                break
    log = desk.log()
    assert log["number"].tolist() == list(range(1, len(log) + 1))
    kept = log.set_index("number")[["incident_id", "action"]]
    assert told and all(kept.loc[number].tolist() == [incident, action] for number, incident, action in told)
    assert len(log) <= len(told) + soak(3, 100)
    again = review.apply(*built(**THREE), log).set_index("incident_id")["status"]
    assert all(desk.of(one, "status") == again[one] for one in THREE)


def vote(url, who, barrier):
    store = Store.open(url)
    barrier.wait()
    for incident in THREE:
        review.record(store, "force", "d", incident, "approve", who)


def test_people_who_decide_at_once_do_not_overwrite_each_other(desk, db_url, monkeypatch):
    monkeypatch.setenv("TWO_PERSON", "1")
    desk.store.engine.dispose()
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    people = [context.Process(target=vote, args=(db_url, who, barrier)) for who in ("ann", "bob", "cy")]
    for one in people:
        one.start()
    for one in people:
        one.join()
    assert sorted(desk.log()["number"]) == list(range(1, 10)) and all(one.exitcode == 0 for one in people)
    assert all(desk.of(one, "review") == "approved by ann and bob and cy" for one in THREE)


# ---- the desk in the notebook


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
def test_the_widget_shows_decides_moves_on_and_says_what_is_wrong(desk, force):
    frame, members = built(**THREE)
    widget = ReviewWidget(desk.store, force, "d", review.queue(frame, members, POSTS), members, POSTS)

    def take(action, who="ann", **more):
        widget.take({"do": action, "who": who, "id": widget.shown["id"]} | more)
        return widget.shown
    first = widget.shown
    assert first["place"] == "1 of 3" and len(first["posts"]) == 3 and first["id"] == "i1"
    assert take("approve", who="")["said"].startswith("Not kept: a decision needs the name")
    assert widget.shown["id"] == "i1"
    after = take("approve", note="clear", value=None)
    assert after["id"] != "i1" and after["undo"] == ["approve by ann"] and len(desk.log()) == 1
    assert take("approve", id="i1")["said"] == "Not kept: it was about the incident before this one."
    take("undo", value={"number": widget.shown["number"]})
    assert (take("back")["status"], widget.shown["id"]) == ("pending", "i1")
    assert "is no step of a review" in take("nonsense")["said"]
    json.dumps(widget.shown)
    desk.build(i2=[3, 4, 5])
    assert "run the cell again" in take("approve")["said"]


def test_a_reviewer_learns_that_the_store_is_gone(desk, force, monkeypatch):
    frame, members = built(**THREE)
    widget = ReviewWidget(desk.store, force, "d", review.queue(frame, members, POSTS), members, POSTS)

    def gone(*_):
        raise OSError("no such host")
    monkeypatch.setattr(review, "record", gone)
    before = widget.shown
    widget.take({"do": "approve", "who": "ann", "id": before["id"]})
    assert widget.shown == before | {"said": "Not kept (OSError: no such host)."}
