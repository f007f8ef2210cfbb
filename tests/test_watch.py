"""The loop that collects every few hours, with a `make` that is quick, and under our control."""

import os
import signal
import subprocess
import sys
import time

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from conftest import ROOT
from x_server import some_posts

from hrf_utils import collecting, settings, watch, x_search
from hrf_utils.settings import InputError
from hrf_utils.store import Store

MAKE = """#!/bin/sh
echo "$@" >> "$HRF_HOME/made"
. "$HRF_HOME/do"
"""


@pytest.fixture
def make(home, tmp_path, monkeypatch):
    """Put a `make` of our own first on the path; what it does is given as lines of shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    home.mkdir()
    (folder / "make").write_text(MAKE)
    (folder / "make").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SOURCE", "x")
    return (home / "do").write_text


COLLECT = f"""{sys.executable} -c '
from hrf_utils import collecting, tasks, x_search
from hrf_utils.store import Store
collecting.collect(x_search.XSource(tasks.load("force"), 100, ("police", 1.0, "uniform")), Store.open())'
"""


def begun(**environment):
    return subprocess.Popen([sys.executable, "-m", "hrf_utils.watch"], cwd=ROOT, env=os.environ | environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def present(server):
    """The server of X, with 30 posts, in the real present."""
    server.clock.now = time.time()
    server.posts = some_posts(30, time.time())
    return server


def watched(store):
    lines = []
    one = watch.Watch(store, lines.append)
    one.schedule(BackgroundScheduler())  # which is not started
    return one, lines


def test_a_run_collects_and_says_so_in_one_line(present, make):
    make(COLLECT)
    one, lines = watched(Store.open())
    one.run()
    assert len(lines) == 1 and "read 30 posts, 30 new, for $0.1" in lines[0] and "PROBLEM" not in lines[0]
    make("echo 'Traceback' >&2; echo 'error: X refuses' >&2; echo 'make: *** 1' >&2; exit 2")
    one.run()
    assert lines[1].endswith("PROBLEM: error: X refuses") and "read 0 posts" in lines[1]


def test_posts_that_were_deleted_are_dropped_before_the_next_run(force, present, make, monkeypatch):
    store = Store.open()
    collecting.collect(x_search.XSource(force, 100, ("police", 1.0, "uniform")), store)
    present.posts = present.posts[5:]
    make("true")
    one, lines = watched(store)
    one.run()
    assert len(store.posts("x-force")) == 30  # checked when they came, less than twenty hours ago
    present.clock.now += 21 * 3600
    one.run()
    assert len(store.posts("x-force")) == 25 and "read 0 posts, 0 new, for $0.12" in lines[-1]
    monkeypatch.delenv("BEARER_TOKEN")
    present.clock.now += 21 * 3600
    one.run()
    assert "PROBLEM: SOURCE=x needs BEARER_TOKEN" in lines[-1]


def test_it_goes_on_after_errors_and_stops_cleanly(make, home):
    make('[ $(wc -l < "$HRF_HOME/made") -lt 3 ] && { echo "error: no" >&2; exit 1; }\n'
         'touch "$HRF_HOME/third"; sleep 60')
    going = begun(EVERY_HOURS="0.0003")
    lines = [going.stdout.readline() for _ in range(2)]
    assert all("PROBLEM: error: no" in line and "next " in line for line in lines)
    while not (home / "third").exists():
        time.sleep(0.05)
    second = begun()
    assert second.wait(30) == 1 and "another process does the same on this store (watch)" in second.stderr.read()
    started = time.monotonic()
    going.send_signal(signal.SIGTERM)
    assert going.wait(20) == 0 and going.stdout.read() == "stopped\n"
    assert "Traceback" not in going.stderr.read()
    assert time.monotonic() - started < 10
    assert (home / "made").read_text() == "--no-print-directory pipeline\n" * 3


def test_a_source_that_brings_nothing_new_is_refused(monkeypatch):
    for source in ("starter", "file"):
        monkeypatch.setenv("SOURCE", source)
        with pytest.raises(InputError, match=f"SOURCE={source} brings nothing new; watch x or bluesky"):
            watch.Watch(Store.open())
    monkeypatch.setenv("SOURCE", "x")
    monkeypatch.setenv("EVERY_HOURS", "often")
    with pytest.raises(InputError, match="EVERY_HOURS=often is no amount"):
        settings.number("EVERY_HOURS")
