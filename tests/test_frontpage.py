"""The first page in a real browser with the network cut: quiet, whole, filtered by clicks, readable by everybody."""

import itertools
import json
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from test_reports import HOSTILE

from hrf_utils import confidence, counts, evaluation, exports, files, frontpage, maps, places, tasks
from hrf_utils.intervals import resamples, show

PLACES = [("Tulsa", "OK", 36.15, -95.99), ("Boise", "ID", 43.62, -116.2), ("Portland", "OR", 45.52, -122.68),
          ("New York City", "NY", 40.71, -74.01), ("", "KS", 38.5, -98.4), ("", "", None, None)]
PAYLOADS = [f"{one} {number}" for number in range(20) for one in HOSTILE]


def some_incidents(task, n=240, where=PLACES):
    """Incidents at a few places, in five months of 2026, two of them in a state of their own."""
    generator = np.random.default_rng(0)
    spots = [where[k] for k in generator.integers(len(where), size=n)]
    spots[:2] = [("Macon", "GA", 32.84, -83.63)] * 2 if where is PLACES else spots[:2]
    days = pd.Timestamp("2026-03-01") + pd.to_timedelta(generator.integers(0, 150, n), unit="D")
    labels = generator.choice(task.positive, n)
    frame = pd.DataFrame(spots, columns=["city", "state", "lat", "long"])
    return frame.assign(
        incident_id=[f"i{k}" for k in range(n)], incident_date=days.date, date_precision="day",
        label=labels, confidence=0.8,
        status="pending", label_low=labels, label_high=labels, place_method="city, state",
        decided_by=generator.choice(["predicted", "labelled"], n), posts=1 + generator.integers(3, size=n),
        country="US", user_name="a0123456789abcdef", src="archive-12345678/1",
        title=[f"{places.spoken(city, state, '')}: {task.told[k]}"
               for k, (city, state, *_) in zip(labels, spots, strict=True)])


@cache
def judged(name):
    """Posts that a model decided, its test rows (right four times in five), and the metrics of these."""
    task, generator = tasks.load(name), np.random.default_rng(1)
    k = len(task.labels)
    truth = generator.integers(k, size=300)
    said = np.where(generator.random(300) < 0.8, truth, generator.integers(k, size=300))
    test = pd.DataFrame({"label": truth, "predicted": said, "group": range(300)})
    decided = pd.DataFrame({"id": np.arange(900).astype(str), "label": generator.integers(k, size=900),
                            "decided_by": "predicted", "created_at": pd.Timestamp("2026-03-01")})
    decided.loc[decided.index[-1], "created_at"] = pd.Timestamp("2026-07-28")
    chances = pd.DataFrame(np.eye(k)[said] * 0.7 + 0.3 / k).add_prefix("p").assign(label=said)
    weights = resamples(np.arange(300), 40)
    metrics = evaluation.evaluate(test, chances, task, weights)
    metrics["baselines"] = evaluation.compare(test, chances, {"majority": np.zeros(300, int)}, task, weights)
    metrics["false_alarms"] = confidence.false_alarms(truth, said, task, weights).to_dict("index")
    return decided, test, metrics


def write(folder, task, found, gaps=None, dataset="archive-12345678", posts=None):
    """What chapters 4 and 5 write, and the first page."""
    here = folder / task.name
    here.mkdir(parents=True, exist_ok=True)
    decided, test, metrics = judged(task.name)
    decided = decided if posts is None else posts
    correction = counts.correct(decided, test, test.head(0).assign(id="", audit=False).astype({"audit": bool}), task)
    files.write_json(here / "metrics.json", metrics | {"provenance": {"datasets": [dataset]}})
    stands = found[found["status"] != "rejected"]
    files.write_json(here / "counts.json", frontpage.counted(decided, stands, decided["created_at"], correction, task))
    gaps = pd.DataFrame(columns=["begins", "ends", "reason"]) if gaps is None else gaps
    files.write_json(here / "incidents.json", {"data": dataset, "abroad": 3, "posts": 300,
                                               **frontpage.told(found, decided, gaps)})
    exports.write(found, here)
    if stands["lat"].notna().any():
        (here / "map.html").write_text(maps.map_page(stands, task), encoding="utf8")
    frontpage.index(folder / "index.html")
    return folder / "index.html"


@pytest.fixture
def site(tmp_path, force):
    return write(tmp_path / "reports", force, some_incidents(force))


def frame_of(page):
    page.locator("iframe.map").scroll_into_view_if_needed()  # a browser does not lay out what is out of sight
    frame = next(frame for frame in page.frames if frame.url.endswith("map.html"))
    frame.wait_for_selector(".leaflet-marker-icon")
    return frame


@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_is_whole_quiet_and_fits(site, visit, width):
    page = visit(site, width)
    frame = frame_of(page)
    headings = page.locator("h3").all_inner_texts()
    assert headings == ["Where", "When", "What kind", "States compared", "The latest with a place", "What changed",
                        "How far to trust it", "What is missing", "What to do next", "The chapters"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert frame.locator("path.leaflet-interactive, path").count() > 40
    for mark in (frame.locator(".cluster").nth(1), frame.locator(".vague")):
        mark.wait_for()  # the map is laid out after its page has come
    assert page.complaints == []


def test_each_date_of_the_timeline_has_a_sixth_of_its_width():
    for n in range(1, 80):
        rows = [{"period": "2026-03-01", "unit": "W", "collected": True, "5": 1}] * n
        dated = [at for at, column in enumerate(frontpage._bars({"timeline": rows})["columns"]) if column["dated"]]
        assert dated[0] == 0 and all(after - at >= n / 6 for at, after in itertools.pairwise([*dated, n]))


def test_the_dates_of_the_timeline_stand_apart_on_a_phone(site, visit):
    page = visit(site, 360)
    boxes = [mark.bounding_box() for mark in page.locator(".column > span").all()]
    ends = [box["x"] + box["width"] for box in boxes]
    assert len(boxes) > 3 and ends[-1] <= page.locator("figure.time").bounding_box()["x"] + 328
    assert all(box["x"] - end > 4 for box, end in zip(boxes[1:], ends, strict=False))


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (400, "light"), (1280, "dark")])
def test_axe_finds_nothing_serious(site, visit, width, theme):
    for path in (site, site.parent / "force" / "map.html"):
        found = Axe().run(visit(path, width, theme)).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []


def test_the_map_is_filtered_by_clicks_and_keys(site, visit, force):
    found = some_incidents(force).dropna(subset=["lat"])
    frame = frame_of(visit(site))
    shown = frame.locator("#shown")
    assert shown.inner_text() == f"{len(found)} of {len(found)} incidents shown"
    frame.get_by_label("Lethal").click()
    kept = found[found["label"] != 5]
    assert shown.inner_text().startswith(f"{len(kept)} of")
    on_map = [int(text) for text in frame.locator(".cluster span, .vague").all_inner_texts()]
    assert sum(on_map) + frame.locator(".dot").count() == len(kept)
    frame.locator("#from").select_option("2026-05")
    late = kept[pd.to_datetime(kept["incident_date"]) >= "2026-05-01"]
    assert shown.inner_text().startswith(f"{len(late)} of")
    frame.get_by_label("Open hand").focus()
    frame.page.keyboard.press("Space")
    assert shown.inner_text().startswith(f"{(late['label'] > 2).sum()} of")


@pytest.mark.parametrize(("days", "listed"), [
    (["1968-01-01", "1974-01-17", "2024-12-31", "2025-06-02", "2026-03-01", "2026-07-01", "2026-07-28"],
     ["1968", "1974", "2024", "June 2025", "March 2026", "July 2026"]),
    (["1968-01-01", "1974-01-17", "2026-03-01", "2026-03-02", "2026-03-08", "2026-03-31"],
     ["1968", "1974", "week of 23 February 2026", "March 2026", "week of 2 March 2026"])])
def test_what_is_old_is_chosen_by_year_and_no_day_is_shown_that_nobody_knows(tmp_path, visit, force, days, listed):
    found = some_incidents(force, len(days), PLACES[:1]).assign(
        incident_date=pd.to_datetime(days).date, date_precision=["year", *["day"] * (len(days) - 2), "month"])
    (tmp_path / "map.html").write_text(maps.map_page(found, force), encoding="utf8")
    page = visit(tmp_path / "map.html")
    for box in ("#from", "#to"):
        assert page.locator(f"{box} option").all_inner_texts() == listed
    titles = page.evaluate("points.map(p => dot(p).options.title.split('Oklahoma, ')[1])")
    month = pd.Timestamp(days[-1]).strftime("%B %Y")
    assert titles[:2] == ["1968", "17 January 1974"] and titles[-1] == month and page.complaints == []
    page.locator("#from").select_option(listed[2])
    assert page.locator("#shown").inner_text() == f"{len(days) - 2} of {len(days)} incidents shown"
    page.locator("#to").select_option(listed[2])
    assert page.locator("#shown").inner_text() == f"1 of {len(days)} incidents shown"


def test_clusters_open_by_keyboard_down_to_the_incident(site, visit):
    page = visit(site.parent / "force" / "map.html")
    before = page.locator(".leaflet-marker-icon").count()
    page.locator(".leaflet-marker-icon:has(.cluster)").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("n => document.querySelectorAll('.leaflet-marker-icon').length != n", arg=before)
    page.locator(".leaflet-marker-icon:has(.vague)").first.focus()
    page.keyboard.press("Enter")
    assert "Somewhere in Kansas" in page.locator(".leaflet-popup-content").inner_text()


def test_hostile_words_stay_words_wherever_they_stand(tmp_path, visit, force):
    found = some_incidents(force, 200, PLACES[:4]).assign(title=PAYLOADS, city=PAYLOADS)
    found.loc[:9, "incident_date"] = pd.Timestamp("2026-12-01").date()
    gaps = pd.DataFrame({"begins": pd.Timestamp("2026-03-01"), "ends": pd.Timestamp("2026-03-02"), "reason": PAYLOADS})
    page = visit(write(tmp_path / "reports", force, found, gaps, dataset=PAYLOADS[1]))
    frame = frame_of(page)
    assert page.title() == "What public posts say, and how far to trust it" and frame.title() == "Incidents"
    text = " ".join(page.locator("main").text_content().split())
    assert [one for one in PAYLOADS if " ".join(one.split()) not in text] == []
    titles = frame.evaluate("points.map(p => popup(p[4], [places[p[0]][2]]).textContent)")
    assert all(one in title and title.count(one) == 2 for one, title in zip(PAYLOADS, titles, strict=True))
    frame.locator(".leaflet-marker-icon").first.click()
    tags = page.evaluate("[...document.querySelectorAll('main *')].map(x => x.tagName.toLowerCase())")
    assert not {"script", "svg", "img", "style", "base", "form"} & set(tags) and tags.count("iframe") == 1
    assert page.complaints == []


def test_nothing_small_or_personal_is_told(site):
    text = site.read_text() + (site.parent / "force" / "counts.json").read_text()
    assert "Georgia" not in text and "Oregon" in text and "other" in text
    everything = text + (site.parent / "force" / "map.html").read_text()
    assert "a0123456789abcdef" not in everything
    states = json.loads((site.parent / "force" / "counts.json").read_text())["states"]
    assert min(row["incidents"] for row in states if row["state"] != "other") >= counts.LEAST_CELL


def test_the_page_says_what_changed_since_the_one_before(tmp_path, force):
    found, folder = some_incidents(force), tmp_path / "reports"
    assert "This is the first report" in write(folder, force, found).read_text()
    assert "This is the first report" in write(folder, force, found).read_text()
    later = found.iloc[3:].reset_index(drop=True)
    later.loc[0, "status"], later.loc[1, "label"] = "approved", 2 if later["label"][1] != 2 else 3
    later.loc[2, "status"] = "rejected"
    later = pd.concat([later, found.head(5).assign(incident_id=[f"new{k}" for k in range(5)])], ignore_index=True)
    for _ in range(2):
        page = " ".join(write(folder, force, later).read_text().split())
        assert "<strong>5 new</strong>, <strong>2 changed</strong>" in page
        assert "<strong>4 withdrawn</strong>; 234 as they were" in page and "1 were rejected and are left out" in page


def test_a_task_without_places_has_a_page_too(tmp_path, visit):
    threat = tasks.load("threat")
    nowhere = some_incidents(threat, 60, [("", "", None, None)])
    page = visit(write(tmp_path / "reports", threat, nowhere))
    headings = page.locator("h3").all_inner_texts()
    assert "When" in headings and not {"Where", "States compared", "The latest with a place"} & set(headings)
    assert page.locator("iframe").count() == 0 and page.complaints == []
    assert "distinct statements of support" in page.locator("main").inner_text()


def words(page):
    return " ".join(re.sub("<[^>]+>", "", page.read_text().partition("<main>")[2]).split())


def test_false_flags_are_told_kind_by_kind(tmp_path):
    page = write(tmp_path, tasks.load("threat"), some_incidents(tasks.load("threat")))
    assert "It flags, though" not in words(page)
    path = tmp_path / "threat" / "metrics.json"
    flagged = {kind: {"value": value, "low": 0.0, "high": 0.2} for kind, value in (
        ("about", 0.11), ("another subject", 0.01), ("pro", 0.8))}
    at_80 = {kind: cell for kind, cell in flagged.items() if kind != "pro"}
    kinds = {"kinds": {"flagged": flagged, "flagged_at_recall_0.8": at_80}}
    files.write_json(path, json.loads(path.read_text()) | kinds)
    frontpage.index(page)
    assert ("It flags, though they do not support the movement: 11% (0% to 20%) of the posts of the kind “about”; "
            "1% (0% to 20%) of the posts of the kind “another subject” (invented ones") in words(page)
    assert "“pro”" not in words(page)


@pytest.mark.parametrize("name", ["force", "threat"])
def test_numbers_are_told_in_the_words_of_the_task_and_add_up(tmp_path, name):
    task = tasks.load(name)
    found = some_incidents(task)
    found.loc[:6, "label_low"], found.loc[7, "status"] = 0, "rejected"
    text, (decided, test, metrics) = words(write(tmp_path, task, found)), judged(name)
    assert f"{decided['label'].isin(task.positive).sum()} of 900 posts" in text and "28 July 2026 " + task.says in text
    assert f"Leaving out 3 from other countries, they tell of 240 {task.finding}" in text
    assert "1 of these were rejected" in text
    true, said = test["label"].isin(task.positive), test["predicted"].isin(task.positive)
    assert f"{(true & said).sum()} of {said.sum()} truly {task.says}: {(true & said).sum() / said.sum():.0%} (" in text
    assert f"It misses {(true & ~said).sum()} of {true.sum()} that do" in text and "macro-F1" not in text
    false = metrics["false_alarms"]["1 in 100"]
    told = f"The fewer posts {task.says}, the more of what it flags is false: {show(false, percent=True)} at 1 in 100, "
    assert told in text and "at 1 in 10,000." in text and "100.0%" not in text
    labelled = (found.loc[found["status"] != "rejected", "decided_by"] == "labelled").sum()
    assert f"behind {labelled} of 239 incidents; for the other {239 - labelled} the model decided" in text
    assert f"Here {decided['label'].isin(task.positive).mean():.0%} of the posts were found to do so." in text
    assert "The kind of 7 of 239 incidents is unclear" in text and f"{task.finding.capitalize()} by " in text
    assert "police" not in text.lower() or name == "force"


def test_what_fails_is_not_corrected(tmp_path, force):
    posts = pd.DataFrame({"label": [0, 1, 2, 3, 4] * 400 + [5] * 20, "decided_by": "predicted"})
    posts = posts.assign(id=posts.index.astype(str), created_at=judged("force")[0]["created_at"].max())
    text = words(write(tmp_path, force, some_incidents(force), posts=posts))
    assert "corrected" not in text.replace("No corrected count", "") and "≈" not in text and "raw: as counted" in text
    assert text.count("No corrected count: these posts are unlike the test; label 100 posts of the random audit.") == 3
    stored = json.loads((tmp_path / "force" / "counts.json").read_text())
    assert stored["all"]["incidents_value"] is None and stored["states"][0]["value"] == stored["states"][0]["incidents"]


def test_where_authors_live_is_not_where_it_happened(tmp_path, force):
    found = some_incidents(force)
    found.loc[found["city"] == "Boise", ["lat", "long", "place_method"]] = None, None, "author: city"
    homes, page = (found["city"] == "Boise").sum(), write(tmp_path, force, found)
    assert f"{homes} incidents have no place but an author's home" in words(page)
    assert f"{(found['city'].eq('') & found['state'].eq('')).sum()} incidents are on no map" in words(page)
    assert "Idaho" not in (tmp_path / "force" / "counts.json").read_text()
    assert "Boise" not in (tmp_path / "force" / "map.html").read_text()
    assert "Boise" in (tmp_path / "force" / "incidents.csv").read_text()


def test_no_incident_at_all_is_no_error(tmp_path, force, visit):
    page = visit(write(tmp_path / "reports", force, some_incidents(force).head(0)))
    assert "0 incidents of police force" in page.locator("main").inner_text() and page.complaints == []


def test_many_incidents_keep_the_page_small(force):
    many = pd.concat([some_incidents(force)] * 100, ignore_index=True)
    assert len(maps.map_page(many, force).encode()) < 8e6
