"""The notebooks: their style, that their outputs are up to date, and that they run, for both tasks."""

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import papermill
import pytest

from hrf_utils import pipeline

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("[1-9]_*.ipynb"))
EVERY = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK = {"epochs": 1.0, "max_train_rows": 96, "draws": 60, "drift_posts": 120, "max_rows": 120, "max_epochs": 1.0,
         "folds": 2, "screened": 1, "changes": "softened targets, averaged weights",
         "seeds": 3, "reading": 200, "step": 20, "most": 220, "against": 220, "planted": 2,
         "rows": 16, "repeats": 1, "archive": 60, "train_rows": 40, "train_epochs": 1.0, "largest": 400}


def cells_of(path, kind=None):
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    return [cell for cell in cells if kind in {None, cell["cell_type"]}]


def source(cell):
    return "".join(cell["source"])


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_house_style(path):
    code = [source(cell) for cell in cells_of(path, "code")]
    lines = [len([line for line in text.splitlines() if line.strip()]) for text in code]
    assert statistics.median(lines) <= 6 and max(lines) <= 25
    assert not [text for text in code if re.search(r"^\s*(def|class) |SELECT |INSERT |UPDATE ", text, re.M)]
    prose = sum(len(source(cell).split()) for cell in cells_of(path, "markdown"))
    assert prose >= 10 * len(code)
    first, last = source(cells_of(path)[0]), source(cells_of(path)[-1])
    assert first.startswith("# ") and "**Question.**" in first and "**Reads**" in first and "**Writes**" in first
    assert "What this cannot show" in last and "**Written:**" in last


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_parameters_are_literals_with_a_comment(path):
    tagged = [source(cell) for cell in cells_of(path, "code") if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert all("  # " in line for line in tagged[0].splitlines())
    known = papermill.inspect_notebook(str(path))
    assert set(known) == set(pipeline.declared(path.stem))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_committed_outputs_are_those_of_this_code(path):
    noted = json.loads(path.read_text(encoding="utf8"))["metadata"].get("hrf", {}).get("inputs")
    assert noted == pipeline.inputs_sha256(path.stem), "run `make notebooks` and commit what it writes"
    assert all(cell["execution_count"] for cell in cells_of(path, "code"))


def test_outputs_come_from_the_code_that_chapters_import():
    names = {path.stem for path in pipeline._chapter_code()}
    assert {"training", "store_reviews", "mentions"} <= names and not names & {"api", "study", "benchmark"}


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_every_figure_has_alternative_text(path):
    outputs = [output for cell in cells_of(path, "code") for output in cell["outputs"]]
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert all(len(output["metadata"]["image/png"]["alt"]) > 30 for output in images)
    assert images


def prepare(path, task, folder):
    """A parameterised copy; strict cells are compared only for the task whose outputs are committed."""
    copy = folder / path.name
    values = {name: value for name, value in (QUICK | {"task": task}).items() if name in pipeline.declared(path.stem)}
    papermill.execute_notebook(str(path), str(copy), values, prepare_only=True)
    if task != "force":
        notebook = json.loads(copy.read_text(encoding="utf8"))
        for cell in notebook["cells"]:
            cell["metadata"].get("tags", []).clear()
        copy.write_text(json.dumps(notebook), encoding="utf8")
    return copy


@pytest.mark.parametrize("task", ["force", "threat"])
def test_the_story_runs(task, home, tmp_path):
    once = [path for path in EVERY if task == "force" or path.stem != "A1_benchmark"]  # it does not depend on the task
    copies = [prepare(path, task, tmp_path) for path in once]
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-cell-timeout=300", "-q", "-p",
               "no:cacheprovider", "--rootdir", str(tmp_path), "-c", os.devnull, *map(str, copies)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"HRF_HOME": str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    metrics = json.loads((home / "reports" / task / "metrics.json").read_text())
    assert metrics["task"] == task and metrics["n"] > 50
    assert metrics["split"]["near_duplicates_across"] == 0
    assert (metrics["ordinal"] is None) == (task == "threat")
    assert (metrics["kinds"] is None) == (task == "force")
    if task == "threat":
        assert set(metrics["kinds"]["flagged"]) == {"about", "pro", "random", "another subject"}
        assert set(metrics["kinds"]["flagged_at_recall_0.8"]) == {"about", "random", "another subject"}
        assert metrics["kinds"]["flagged"]["another subject"]["n"] > 500
        assert len(metrics["kinds"]["operating_points"]) == 7 and "1 in 100,000" in metrics["false_alarms"]
        assert metrics["kinds"]["one_form"]["as they came"]["changed"] == 0 < metrics["kinds"]["one_form"][
            "in one form"]["changed"]
        assert 0 < metrics["kinds"]["of_like_length"]["n"] <= metrics["n"]
        card = (next((home / "data" / "models" / task).glob("[0-9]*")) / "README.md").read_text()
        assert re.search(r"- about \(.* authors\): share flagged .* found", card)
        assert "leaves out links, retweets" in card
