"""Collecting every few hours, and what follows from it, until somebody stops it."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pandas as pd
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler

from hrf_utils import compliance, settings, sources, tasks
from hrf_utils.settings import ROOT, InputError
from hrf_utils.store import Store, utc

_CHECK_AFTER = timedelta(hours=20)
"""X gives 24 hours to drop what was deleted, and the next run may be four of them away."""
_JITTER = 0.02  # of the time between runs, so that not all who run this ask in the same second


class Watch:
    """One run after another: check for deleted posts, then ``make pipeline``; `say` gets one line after each.

    Raises
    ------
    InputError
        If ``SOURCE`` is none that brings new posts.
    """

    def __init__(self, store: Store, say: Callable[[str], None] = print):
        source = settings.get("SOURCE")
        if source not in sources.LIVE:
            raise InputError(f"SOURCE={source} brings nothing new; watch {' or '.join(sources.LIVE)}")
        self.store, self.say, self.made, self.stopped = store, say, None, threading.Event()
        self.dataset = sources.open_source(source, tasks.load(settings.get("TASK"))).dataset

    def schedule(self, scheduler: BaseScheduler) -> None:
        """Have a scheduler run this every ``EVERY_HOURS``, beginning now, one run at a time."""
        seconds = max(1.0, settings.number("EVERY_HOURS") * 3600)
        self.job = scheduler.add_job(self.run, "interval", seconds=seconds, jitter=seconds * _JITTER, coalesce=True,
                                     max_instances=1, misfire_grace_time=None, next_run_time=datetime.now(UTC))

    def run(self) -> None:
        """One run; whatever goes wrong in it is said, and leaves the next one as it is."""
        began, problems = utc(), []
        try:
            problems.append(compliance.comply(self.store, _CHECK_AFTER).problem)
        except Exception as error:  # the schedule goes on, whatever it was
            problems.append(f"{type(error).__name__}: {error}")
        if not self.stopped.is_set():
            self.made = subprocess.Popen(["make", "--no-print-directory", "pipeline"], cwd=ROOT, text=True,
                                         stderr=subprocess.PIPE, start_new_session=True)
            said = self.made.communicate()[1].strip().splitlines() or ["make failed"]
            if self.made.returncode:
                problems.append(next((line for line in said if line.startswith("error")), said[-1]))
        if not self.stopped.is_set():
            self.say(self._status(began, "; ".join(filter(None, problems))))

    def stop(self) -> None:
        """End the run that is going on; what it has collected is kept."""
        self.stopped.set()
        if self.made and self.made.poll() is None:
            os.killpg(self.made.pid, signal.SIGINT)
            self.made.wait()

    def _status(self, began: datetime, problem: str) -> str:
        searches = pd.concat([self.store.queries(self.dataset), self.store.queries("x")])  # the latter: lookups
        mine = searches[(searches["started_at"] >= began) | (searches["ended_at"] >= began)]
        after = f"next {self.job.next_run_time.astimezone(UTC):%H:%M UTC}" if self.job.next_run_time else "no next run"
        return (f"{began:%Y-%m-%d %H:%M} UTC: read {mine['read'].sum():,} posts, {mine['new'].sum():,} new, for "
                f"${mine['spent'].sum():.2f}; {after}" + (f"; PROBLEM: {problem}" if problem else ""))


def main() -> None:
    """Watch until SIGINT or SIGTERM; what ``make watch`` runs."""
    store, scheduler = Store.open(), BlockingScheduler(timezone=UTC)
    with store.alone("watch"):
        watch = Watch(store, lambda line: print(line, flush=True))

        def end(*_: object) -> None:
            threading.Thread(target=lambda: (watch.stop(), scheduler.shutdown())).start()

        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, end)
        watch.schedule(scheduler)
        scheduler.start()
    print("stopped")


if __name__ == "__main__":
    settings.command(main)
