"""The labelling widget in a real JupyterLab, in a browser, by keys and without a pointer."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import soak
from playwright.sync_api import TimeoutError
from test_session import HOSTILE

from hrf_utils.store import Store

ROOT = Path(__file__).resolve().parent.parent
CELLS = """from hrf_utils import tasks, widget
from hrf_utils.store import Store
store = Store.open()
queue = store.posts("d")[["id"]].assign(why="uncertain")
widget.show(store, tasks.load("force"), "d", queue, second_share=0.0)""", \
    'widget.show(store, tasks.load("threat"), "d", queue, second_share=0.0)'


@pytest.fixture
def lab(tmp_path, home):
    """Address of a JupyterLab on a folder with one notebook, whose kernel uses the test's home."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "label.ipynb")
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
               "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    own = {name: str(tmp_path / name) for name in folders} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root",
               "--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path}"]
    log = tmp_path / "lab.log"
    with open(log, "w") as out:
        server = subprocess.Popen(command, env=os.environ | own, stdout=out, stderr=out, start_new_session=True)
    try:
        address = None
        for _ in range(600):
            running = list((tmp_path / "JUPYTER_RUNTIME_DIR").glob("jpserver-*.json"))
            if running and (text := running[0].read_text()):
                address = json.loads(text)["url"]
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1200, "height": 950})
    page.set_default_timeout(90_000)
    yield page
    page.close()


def run_first_cell(page, lab):
    page.goto(f"{lab}lab/tree/label.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell .cm-content")
    page.wait_for_selector("#jp-main-statusbar >> text=| Idle")
    for patience in (15_000, 30_000, 60_000):  # a kernel that is about to start drops what it is asked to run
        page.click(".jp-Notebook .jp-CodeCell .cm-content")
        page.keyboard.press("Shift+Enter")
        with suppress(TimeoutError):
            return page.wait_for_selector(".jp-Notebook .hrf-labeler >> visible=true", timeout=patience)
    raise AssertionError(page.inner_text(".jp-Notebook"))


def shown(page):
    return page.inner_text(".hrf-labeler .text")


def press(page, *keys):
    """Press keys as a person would: the next one when the widget has answered."""
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_selector(".hrf-labeler[aria-busy]", state="detached")


def test_labelling_by_keys_in_jupyterlab(page, lab, home, tmp_path):
    long = soak(12, 50)
    posts = pd.read_csv(ROOT / "data" / "starter" / "force.csv", dtype=str)[["id", "text"]].head(long + 4)
    posts["text"] = [*posts["text"].head(long).tolist()[:2], *HOSTILE[:4], *posts["text"].tolist()[6:]]
    store = Store.open()
    store.add_posts(posts.assign(dataset="d", id=[f"{k:03}" for k in range(len(posts))]))
    texts = store.posts("d")["text"].tolist()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    run_first_cell(page, lab)
    assert page.locator(".hrf-labeler .labels").count() == 0  # no post before the warning is confirmed
    page.keyboard.press("Tab")  # from the cell that follows; the name is reached by the keyboard below
    page.focus(".hrf-labeler input")
    page.keyboard.type("Ann 5")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hrf-labeler .text")
    assert shown(page) == texts[0] and store.labels("force", ["d"]).empty

    given = [k % 6 for k in range(long)]
    for k, number in enumerate(given):
        assert shown(page)[:5_000] == texts[k][:5_000]
        press(page, str(number))
        row = store.labels("force", ["d"]).set_index("id").loc[f"{k:03}"]
        assert (row["label"], row["labeler"], row["origin"]) == (number, "Ann 5", "session")
    assert page.title() != "owned" and page.locator(".hrf-labeler .text script").count() == 0
    assert f"{long} labelled · {len(posts) - long} to go" in page.inner_text(".hrf-labeler .pace")
    assert page.locator(".jp-Notebook .jp-Cell").count() == 2  # JupyterLab took none of the keys

    press(page, "u", "u", "?")
    assert shown(page) == texts[long - 2] and len(store.labels("force", ["d"])) == long - 2
    page.keyboard.press("n")
    page.keyboard.type("5 dogs, s?")
    press(page, "Escape", "2")
    row = store.labels("force", ["d"]).set_index("id").loc[f"{long - 2:03}"]
    assert row[["label", "unsure", "note"]].tolist() == [2, 1, "5 dogs, s?"]
    press(page, "s")
    assert shown(page) == texts[long]

    press(page, "Tab", "Tab", "Tab", "Tab")
    number = int(page.evaluate("document.activeElement.dataset.number"))
    assert page.inner_text(".hrf-labeler .hint b").startswith(f"{number} ")
    press(page, "Enter")
    assert store.labels("force", ["d"]).set_index("id").loc[f"{long:03}", "label"] == number
    page.hover(".hrf-labeler .labels button >> nth=4")
    assert "electric weapons" in page.inner_text(".hrf-labeler .hint")

    for theme in ("true", "false"):
        page.evaluate(f"document.body.setAttribute('data-jp-theme-light', '{theme}')")
        found = Axe().run(page, context=".hrf-labeler").response["violations"]
        assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")], found

    here, count = shown(page), len(store.labels("force", ["d"]))
    page.click(".jp-ToolbarButton [data-command='docmanager:save'], [title^='Save and create']")
    page.wait_for_selector(".jp-mod-current .jp-mod-dirty", state="detached")
    assert here[:40] not in (tmp_path / "label.ipynb").read_text()  # a notebook keeps no text of a post
    page.reload()
    page.wait_for_selector(".hrf-labeler .text")
    assert shown(page) == here
    page.focus(".hrf-labeler")
    press(page, "3")
    assert len(store.labels("force", ["d"])) == count + 1 and not errors

    page.click(".jp-CodeCell:nth-of-type(2) .cm-content")
    page.keyboard.press("Shift+Enter")
    page.fill(".hrf-labeler input", "Ann 5")
    page.keyboard.press("Enter")
    page.wait_for_selector(".jp-CodeCell:nth-of-type(2) .hrf-labeler .labels")
    page.wait_for_function("document.activeElement.closest('.hrf-labeler')")
    press(page, "2", "1")
    assert store.labels("threat", ["d"])["label"].tolist() == [1]
