"""From posts to incidents."""

import numpy as np
import pandas as pd
import pytest

from hrf_utils import incidents


def posts(*rows):
    frame = pd.DataFrame(rows, columns=["text", "created_at", "label", "author_location"])
    frame["created_at"] = pd.to_datetime(frame["created_at"])
    return frame.assign(dataset="d", id=[str(k) for k in range(len(frame))], author="a", confidence=0.9,
                        decided_by="model", city="", state="", country="")


SHOTS = posts(
    ("Officer shot a man in Tulsa, OK by the river", "2026-03-01", 5, ""),
    ("he was killed by police in Tulsa, OK, his mother says", "2026-03-03", 5, ""),
    ("another shooting by officers in Tulsa, OK at the mall", "2026-03-20", 5, ""),
    ("they pepper sprayed us in Tulsa, OK", "2026-03-01", 4, ""),
    ("police shot someone near my house", "2026-03-01", 5, "Tulsa, OK"),
    ("RT @x: police shot someone near my house", "2026-04-01", 5, ""))


def test_posts_merge_by_text_or_by_place_time_and_label():
    numbers = incidents.merge(incidents.place_all(SHOTS))
    assert numbers.tolist() == [0, 0, 1, 2, 3, 3]


def test_incidents_do_not_chain_and_stock_phrases_do_not_join_cities():
    letters = np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz"), (10, 60))
    daily = posts(*((f"{''.join(letters[k])}: gas in Tulsa, OK", f"2026-03-{2 * k + 1:02d}", 4, "")
                    for k in range(10)))
    assert incidents.merge(incidents.place_all(daily)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    stock = "Police shot and killed a man early on Saturday morning, officials say, in "
    apart = posts((stock + "Tulsa, OK", "2026-03-01", 5, ""), (stock + "Boise, ID", "2026-03-01", 5, ""))
    assert incidents.merge(incidents.place_all(apart)).tolist() == [0, 1]


def test_an_incident_takes_the_highest_label_and_the_earliest_date(force):
    placed = incidents.place_all(SHOTS)
    table, members = incidents.build(placed, force, "run")
    row = table.set_index("title").loc["Lethal in Tulsa, OK"].sort_values("incident_date").iloc[0]
    assert str(row["incident_date"]) == "2026-03-01" and row["posts"] == 2
    assert row["lat"] == pytest.approx(36.15, abs=0.05)
    assert len(members) == 6 and members["incident_id"].nunique() == len(table) == 4
    assert (table["description"] == "").all()


def test_ids_do_not_depend_on_the_order_of_posts(force):
    placed = incidents.place_all(SHOTS)
    one = incidents.build(placed, force, "run")[0]
    two = incidents.build(placed.iloc[::-1].reset_index(drop=True), force, "run")[0]
    assert set(one["incident_id"]) == set(two["incident_id"])


def test_a_person_outranks_the_model_and_copies_of_labelled_texts_are_not_predicted():
    frame = SHOTS.drop(columns=["label", "confidence", "decided_by"])
    labels = pd.DataFrame({"dataset": ["d", "other"], "id": ["0", "9"], "label": [1, 3],
                           "text": [frame["text"][0], "They pepper sprayed us in TULSA, OK!"]})
    said = pd.DataFrame({"id": ["1", "2", "3", "4"], "label": 5, "confidence": 0.7})
    got = incidents.decide(frame, labels, said).set_index("id")
    assert got["label"].to_dict() == {"0": 1, "1": 5, "2": 5, "3": 3, "4": 5}
    assert got.loc["0", ["decided_by", "confidence"]].tolist() == ["person", 1.0]
    assert got.loc["3", "decided_by"] == "person" and got.loc["1", "decided_by"] == "model"


def test_weeks_without_incidents_are_zero_rows(force):
    table = incidents.weekly(pd.DataFrame({"incident_date": ["2026-03-02", "2026-03-20"], "label": [5, 2]}), force)
    assert len(table) == 3 and table.sum().sum() == 2 and table.iloc[1].sum() == 0


def test_no_positive_post_gives_empty_tables(force):
    table, members = incidents.build(incidents.place_all(SHOTS.iloc[:0]), force, "run")
    assert table.empty and members.empty and incidents.weekly(table, force).empty


def test_posts_that_a_person_joined_are_one_incident():
    links = pd.DataFrame({"a": ["0", "1"], "b": ["3", "gone"], "same": [True, True]})
    assert incidents.merge(incidents.place_all(SHOTS), links).tolist() == [0, 0, 1, 0, 2, 2]
