"""The make graph, the README, and whole runs of the pipeline on a task that is not in the project."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import packages_distributions
from pathlib import Path

import pandas as pd
import pytest
import yaml

import hrf_utils
from hrf_utils import pipeline, settings
from hrf_utils.classifier import Classifier
from hrf_utils.store import Store

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ["1_scrape", "2_label", "3_train", "4_performance", "5_incidents"]


def make(*arguments, cwd=ROOT, **environment):
    taken = {*settings.VARIABLES, "MAKEFLAGS", "MAKELEVEL", "HRF_LOCKED"}
    clean = {name: value for name, value in os.environ.items() if name not in taken}
    return subprocess.run(["make", *arguments], cwd=cwd, env=clean | environment, capture_output=True, text=True)


# ---- help and the README


def targets_in_makefile():
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.M)[1]
    work = re.search(r"^work := (.*)", (ROOT / "Makefile").read_text(), re.M)[1]
    return set(phony.replace("$(work)", work).split()) - {"FORCE", "help"}


def test_help_is_the_default_and_lists_exactly_what_there_is():
    shown = make().stdout
    listed = re.findall(r"^  (\S+) ", shown, re.M)
    assert {name for name in listed if name.islower()} == targets_in_makefile()
    assert [name for name in listed if name.isupper()] == list(settings.VARIABLES)


@pytest.mark.parametrize(("arguments", "says"), [
    (["pipeline", "TSAK=threat"], "unknown variable TSAK .*did you mean TASK"),
    (["pipeline", "TASK=fource"], "unknown TASK fource; there are force, threat"),
    (["nonsense"], "No rule to make target"),
])
def test_a_wrong_word_is_refused_by_name(arguments, says, tmp_path):
    done = make(*arguments, HRF_HOME=str(tmp_path / "h"))
    assert done.returncode != 0 and re.search(says, done.stderr)
    assert not (tmp_path / "h").exists()


def test_every_chapter_is_reached_from_the_pipeline(tmp_path):
    plan = make("-n", "pipeline", HRF_HOME=str(tmp_path), HRF_LOCKED="1").stdout
    assert [c for c in CHAPTERS if f"pipeline run {c} " in plan] == CHAPTERS
    assert sorted(p.stem for p in (ROOT / "notebooks").glob("[1-9]_*.ipynb")) == CHAPTERS
    steps = [plan.index(f"pipeline {step} ") for step in ("run 1_scrape", "run 3_train", "run 5_incidents", "index")]
    assert steps == sorted(steps)


def imports_of(source):
    """Modules of hrf_utils that a source imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "hrf_utils":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hrf_utils."):
            found.add(node.module.split(".")[1])
    return found


def test_the_package_names_all_its_modules():
    listed = re.findall(r"\w+", " ".join(line.partition(" : ")[2] or line for line in
                                         hrf_utils.__doc__.splitlines()[2:]))
    modules = {path.stem for path in (ROOT / "hrf_utils").glob("*.py")} - {"__init__"}
    assert sorted(set(listed) - {"A1", "A2", "A4"}) == sorted(modules)


@pytest.mark.parametrize("chapter", [*CHAPTERS, "A1_benchmark", "A2_what_helped", "A3_queries", "A4_active_learning"])
def test_every_module_a_chapter_imports_is_a_prerequisite(chapter):
    makefile = (ROOT / "Makefile").read_text()
    ground = re.search(r"^ground := (.*)", makefile, re.M)[1].split()
    listed = set(re.search(rf"^uses_{chapter} := \$\(ground\) (.*)", makefile, re.M)[1].split()) | set(ground)
    cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code"]
    needed, new = set(), set().union(*map(imports_of, code))
    while new:
        needed |= new
        new = set().union(*(imports_of((ROOT / "hrf_utils" / f"{m}.py").read_text()) for m in new)) - needed
    assert needed <= listed
    assert listed - set(ground) <= needed


def test_every_library_imported_is_pinned():
    text = (ROOT / "requirements.txt").read_text() + (ROOT / "requirements-ray.txt").read_text()
    pins = re.findall(r"^([\w-]+)(?:\[\w+\])?==", text, re.M)
    assert len(pins) == len([x for x in text.splitlines() if x and x[0] != "#"])
    of_module = packages_distributions()
    for path in (ROOT / "hrf_utils").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else \
                [name.name for name in node.names] if isinstance(node, ast.Import) else []
            for name in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"hrf_utils", ""}:
                found = {package.lower().replace("_", "-") for package in of_module.get(name, [name])}
                assert found & {pin.lower().replace("_", "-") for pin in pins}, f"{path.name} imports {name}"


def test_rooms_import_only_downward():
    floors = [["api"], ["pipeline", "study", "active", "watch", "widget", "lookups", "benchmark"],
              ["serving", "scoring"], ["engines"],
              ["variants", "compliance", "frontpage"], ["training", "evidence", "reports"],
              ["sources"], ["x_search", "bluesky", "review_widget"],
              ["datasets"],
              ["x", "collecting", "policies", "labeling", "agreement", "splits", "classifier", "evaluation",
               "incidents", "behaviour", "cards", "review", "exports", "counts", "corroboration", "archives", "growth"],
              ["network", "inference", "confidence", "drift", "explain", "figures", "maps", "merging", "decisions",
               "store_reviews", "store_publish", "session", "exchange"],
              ["store_labels", "store_serving", "store_archive", "lean"],
              ["store", "tasks"], ["schema", "posts", "places"], ["mentions"], ["gazetteer"],
              ["files", "text", "intervals", "dates"], ["settings"]]
    floor = {name: number for number, names in enumerate(floors) for name in names}
    for path in (ROOT / "hrf_utils").glob("[a-z]*.py"):
        for other in imports_of(path.read_text()):
            assert floor[path.stem] < floor[other], f"{path.stem} imports {other}"


def test_what_the_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / path).exists(), path
    for word in re.findall(r"`((?:data|hrf_utils|notebooks|reports)/[\w./-]*)`", text):
        if "<" not in word and not word.startswith(("data/models", "data/hrf.db", "data/raw", "reports/")):
            assert (ROOT / word).exists(), word
    assert set(re.findall(r"make (\w+)", re.sub(r"[^`]*(`[^`]*`|$)", r"\1 ", text))) <= targets_in_makefile() | {"help"}
    assert set(re.findall(r"\b([A-Z][A-Z_]+)=", text)) <= {*settings.VARIABLES, "PIP_EXTRA_INDEX_URL"}


@pytest.mark.parametrize(("notebook", "says"), [
    ("4_performance", r"Accuracy (\S+ \(.*?\)), macro-F1 (\S+ \(.*?\)) on ([\d,]+) posts"),
    ("A2_what_helped", r"accuracy: (\S+ \(.*?\)); above the linear SVM by (\S+ \(.*?\)); n = ([\d,]+)"),
    ("A2_what_helped", r"macro-F1: (\S+ \(.*?\)); above the linear SVM by (\S+ \(.*?\)); n = ([\d,]+)"),
    ("A4_active_learning", r"reaches that with (\d+) labels \((.*?)\)")])
def test_the_numbers_of_the_readme_are_those_of_the_notebooks(notebook, says):
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    said = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))
    readme = re.sub(r"\s+", " ", (ROOT / "README.md").read_text())
    for number in re.search(says, said).groups():
        assert number in readme, number


# ---- parameters


def test_params_are_checked_by_name_and_kind(monkeypatch):
    monkeypatch.setenv("PARAMS", "-p epochs 3 -p batch_size 16")
    assert pipeline.arguments("3_train")["epochs"] == 3.0
    assert pipeline.arguments("3_train")["batch_size"] == 16
    assert "epochs" not in pipeline.arguments("1_scrape")
    for bad, says in (("-p epoch 3", "no chapter has a parameter epoch; there are"),
                      ("-p batch_size many", "batch_size='many' is no int"), ("epochs 3", "PARAMS must read"),
                      ("-p seed 3", "seed is a variable of its own: write SEED=3")):
        monkeypatch.setenv("PARAMS", bad)
        with pytest.raises(settings.InputError, match=says):
            pipeline.arguments("3_train")


def test_numbers_that_look_like_numbers_stay_text(monkeypatch):
    monkeypatch.setenv("POSTS", "007")
    assert pipeline.arguments("1_scrape")["posts"] == "007"


# ---- whole runs, in a copy of the checkout with a third task


THIRD = {"title": "Weather", "question": "Does this post speak of rain?", "finding": "reports of rain",
         "labels": [{"name": "Dry", "definition": "No rain.", "color": "#e3b023", "positive": False},
                    {"name": "Rain", "definition": "Rain.", "color": "#2f6db5", "positive": True}],
         "queries": ["rain"], "patterns": {1: ["rain|wet|drops"]}}


def weather(rows):
    """Short invented posts about the weather, half of them wet."""
    wet = ["rain all over", "wet shoes after", "drops on the roof of", "soaked in the middle of"]
    dry = ["sun above", "dust on the road to", "clear sky over", "not one cloud near"]
    towns = ["Tulsa, OK", "Boise, ID", "Macon, GA", "Erie, PA", "Reno, NV", "Fargo, ND", "Waco, TX", "Utica, NY"]
    tails = [letter * length for length in range(7, 7 + rows // 20 + 1) for letter in "abcdefghijklmnopqrst"]
    return pd.DataFrame([{
        "id": str(k), "label": k % 2, "created_at": f"2026-05-{1 + k % 28:02d}T10:00:00Z",
        "text": f"{(wet if k % 2 else dry)[k // 2 % 4]} {towns[k % 8]} {tails[k]}"} for k in range(rows)])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the files of this checkout, sharing its environment, with a third task file."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("Makefile", "requirements.txt", "pyproject.toml", "notebooks", "hrf_utils"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    for name in ("tasks", "starter", "geo", "behaviour", "review"):
        shutil.copytree(ROOT / "data" / name, folder / "data" / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "data" / "tasks" / "weather.yml").write_text(yaml.safe_dump(THIRD))
    weather(200).to_csv(folder / "labelled.csv", index=False)
    weather(260).tail(60).drop(columns="label").to_csv(folder / "fresh.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(checkout, tiny_bert):
    """Run make in the copy, on the third task, with a tiny encoder."""
    def go(*arguments, **more):
        return make(*arguments, "TASK=weather", "LABELS=labelled.csv", "SOURCE=file", "POSTS=fresh.csv",
                    f"ENCODER={tiny_bert}", "PARAMS=-p draws 50 -p learning_rate 0.003", cwd=checkout,
                    PYTHONPATH=str(checkout), PSEUDONYM_KEY="x", **more)
    return go


def state_of(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def finished(checkout, run):
    done = run("pipeline")
    assert done.returncode == 0, done.stderr[-3000:]
    return checkout / "reports"


def test_a_third_task_runs_without_touching_code(finished):
    metrics = json.loads((finished / "weather" / "metrics.json").read_text())
    assert 30 <= metrics["n"] <= 50 and metrics["split"]["near_duplicates_across"] == 0
    assert "Does this post speak of rain?" in (finished / "index.html").read_text()
    assert {p.name for p in (finished / "weather").iterdir()} >= {
        *(f"{c}.{kind}" for c in CHAPTERS for kind in ("ipynb", "html")), "predictions.csv", "incidents.csv",
        "incidents.json"}


def test_metrics_follow_from_predictions_and_confusion(finished):
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
    metrics = json.loads((finished / "weather" / "metrics.json").read_text())
    rows = pd.read_csv(finished / "weather" / "predictions.csv", dtype={"id": str})
    assert list(rows.columns) == ["id", "label", "predicted", "confidence", "p0", "p1"]
    assert metrics["accuracy"]["value"] == pytest.approx(accuracy_score(rows["label"], rows["predicted"]))
    assert metrics["macro_f1"]["value"] == pytest.approx(f1_score(rows["label"], rows["predicted"], average="macro"))
    assert metrics["confusion"] == confusion_matrix(rows["label"], rows["predicted"]).tolist()
    assert rows["confidence"].tolist() == pytest.approx(rows[["p0", "p1"]].max(axis=1).tolist())
    assert metrics["accuracy"]["low"] <= metrics["accuracy"]["value"] <= metrics["accuracy"]["high"]
    for key in ("task", "n", "split", "weighted_f1", "binary", "per_label", "ordinal", "calibration", "clean",
                "baselines", "provenance"):
        assert key in metrics
    assert set(metrics["baselines"]) == {"majority", "keyword_rule", "tfidf_svm"}
    assert set(metrics["provenance"]) >= {"commit", "data_sha256", "model_sha256", "parameters"}


def test_a_record_of_real_posts_holds_no_text(finished, checkout):
    texts = pd.read_csv(checkout / "fresh.csv")["text"]
    for path in sorted((finished / "weather").iterdir()):
        page = path.read_bytes()
        assert not [text for text in texts if text.encode("utf8") in page], path.name
        assert path.suffix != ".html" or str(checkout).encode() not in page, path.name


def test_a_second_make_does_nothing(finished, checkout, run):
    before = state_of(finished), state_of(checkout / "data" / "models")
    done = run("-j2", "pipeline")
    assert done.returncode == 0 and done.stdout == "" and done.stderr == ""
    assert (state_of(finished), state_of(checkout / "data" / "models")) == before


def test_an_argument_touches_only_the_chapters_that_take_it(tmp_path, monkeypatch):
    folder = tmp_path / "stamps"
    pipeline.stamp(folder)
    before = state_of(folder)
    pipeline.stamp(folder)
    assert state_of(folder) == before
    monkeypatch.setenv("SEED", "1")
    monkeypatch.setenv("PARAMS", "-p draws 7")
    pipeline.stamp(folder)
    changed = {path.name for path, time in state_of(folder).items() if time != before[path]}
    assert changed == {"3_train.arguments", "4_performance.arguments", "A2_what_helped.arguments"}
    monkeypatch.setenv("SHOW_TEXT", "1")
    pipeline.stamp(folder)
    changed = {path.name for path, time in state_of(folder).items() if time != before[path]}
    assert changed == {f"{path.stem}.arguments" for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_the_public_set_is_fetched_before_anything_looks_for_it(tmp_path):
    plan = make("-n", "pipeline", "LABELS=hrf", HRF_HOME=str(tmp_path), HRF_LOCKED="1").stdout
    assert 0 <= plan.index("hrf_utils.sources") < plan.index("pipeline stamp") < plan.index("run 1_scrape")


def test_a_human_label_reruns_label_and_train_but_not_scrape(finished, checkout, run):
    store = Store.open(f"sqlite:///{checkout / 'data' / 'hrf.db'}")
    dataset = [p.name for p in (checkout / "data" / "splits" / "weather").iterdir()][0].split("-seed")[0]
    label = store.labels("weather", [dataset]).head(1)[["task", "dataset", "id", "label", "codebook_version"]]
    before = state_of(finished)
    scrape = finished / "weather" / "1_scrape.ipynb"
    store.add_labels(label.assign(labeler="ann", origin="session"))
    done = run("train")
    assert done.returncode == 0, done.stderr[-2000:]
    after = state_of(finished)
    assert after[scrape] == before[scrape]
    assert all(after[finished / "weather" / f"{c}.ipynb"] > before[finished / "weather" / f"{c}.ipynb"]
               for c in ("2_label", "3_train"))


def test_a_second_make_waits_for_the_first(checkout, run):
    lock = checkout / "data" / ".lock"
    holder = subprocess.Popen(["python3", "-m", "hrf_utils.pipeline", "hold", str(lock), "sleep", "4"], cwd=ROOT)
    time.sleep(1)
    started = time.monotonic()
    done = run("scrape")
    assert "another make (process" in done.stderr and time.monotonic() - started > 1.5
    assert holder.wait() == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_chapter_leaves_no_half_target(checkout, run, finished, how):
    record = finished / "weather" / "1_scrape.ipynb"
    whole = record.read_bytes()
    (checkout / "notebooks" / "1_scrape.ipynb").touch()
    going = subprocess.Popen(
        [str(checkout / ".venv/bin/python"), "-m", "hrf_utils.pipeline", "run", "1_scrape", str(record)], cwd=checkout,
        env=os.environ | {"TASK": "weather", "SOURCE": "file", "POSTS": "fresh.csv", "LABELS": "labelled.csv",
                          "HRF_HOME": ".", "PYTHONPATH": str(checkout)},
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a shell's background job ignores it
    while not (finished / "weather" / ".1_scrape.ipynb").exists():
        time.sleep(0.05)
    time.sleep(1.5)
    os.killpg(going.pid, how)
    assert going.wait(60) != 0
    assert record.read_bytes() == whole
    (finished / "weather" / ".1_scrape.ipynb").unlink(missing_ok=True)
    done = run("scrape")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(("arguments", "says"), [
    (["SOURCE=file", "POSTS=no.csv"], "there is no file no.csv"), (["SOURCE=file"], "SOURCE=file needs POSTS"),
    (["SOURCE=mail"], "unknown SOURCE 'mail'"), (["PARAMS=-p epoch 1"], "no chapter has a parameter epoch"),
    (["SEED=x"], "seed='x' is no int"), (["DB_URL=postgresql://u@127.0.0.1:1/x"], "does not answer")])
def test_bad_input_of_make_is_one_sentence_and_changes_nothing(tmp_path, arguments, says):
    home = tmp_path / "h"
    done = make("scrape", *arguments, f"HRF_HOME={home}")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode != 0 and len(errors) == 1 and says in errors[0]
    assert "Traceback" not in done.stderr
    assert not (home / "reports").exists() or not list((home / "reports").rglob("*.ipynb"))


def test_clean_keeps_the_store_labels_models_and_raw_data(finished, checkout, run):
    (checkout / "data" / "raw").mkdir(exist_ok=True)
    (checkout / "data" / "raw" / "kept").write_text("x")
    kept = ("hrf.db", "raw", "models", "labels", "splits", "tasks", "starter")
    assert run("clean").returncode == 0
    assert not (finished / "weather").exists() and not (finished / "index.html").exists()
    assert all((checkout / "data" / name).exists() for name in kept)
    current = checkout / "data" / "models" / "weather" / "current"
    assert Classifier.load(current.parent / current.read_text().strip()).manifest["task"] == "weather"
