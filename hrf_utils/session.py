"""A labelling session: which post comes next, and what a labeler does with it; no widget, no clock of its own.

All that a session knows stands in the store: each step is a transaction before the next post comes, and a session
that is opened again goes on where the last one of that labeler ended.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from hrf_utils import store_labels
from hrf_utils.settings import InputError
from hrf_utils.store import Store, utc
from hrf_utils.tasks import Task
from hrf_utils.text import clean

BREAK_AFTER, BREAK = timedelta(minutes=45), timedelta(minutes=5)
_IDLE = timedelta(minutes=2)
"""A longer time between two steps is time spent elsewhere; nobody reads a post that long."""
_TODAY = timedelta(hours=12)
_SKIPS = 2  # a post that was skipped so often is left to others
_RESERVED = {"file", "model"}  # the labeler of files that name none; who decided an incident


class Post(NamedTuple):
    """The post to label, with what the labeler has already remarked on it."""

    id: str
    text: str
    unsure: bool
    note: str


class Pace(NamedTuple):
    """How it goes: posts labelled in all, to go, labels an active hour of today (None at first), active minutes."""

    labelled: int
    to_go: int
    an_hour: float | None
    minutes: float


class Session:
    """The posts of a queue, one at a time, for one labeler.

    Parameters
    ----------
    queue : ``id`` and ``why``, in the order to label; posts with a label are passed over. A label of a post that is
        queued as ``audit`` gets that origin, so that these posts stay a random sample
    labeler : the name that stands beside the labels
    second_share : share of posts shown that somebody else has labelled, without a sign of it: a second opinion on a
        random sample of what others said
    now : the time, UTC without zone

    Raises
    ------
    InputError
        If the labeler's name or the share cannot be used.
    """

    def __init__(self, store: Store, task: Task, dataset: str, queue: pd.DataFrame, labeler: str,
                 second_share: float = 0.1, now: Callable[[], datetime] = utc):
        self.labeler = " ".join(clean(labeler)[:60].split())
        if not self.labeler or self.labeler.lower() in _RESERVED:
            raise InputError("give the name, or a made-up one, under which your labels are to stand" if not self.labeler
                             else f"{self.labeler!r} means something else here; take another name")
        if not 0 <= second_share < 1:
            raise InputError(f"second_share={second_share} is no share; it must be at least 0 and less than 1")
        self.store, self.task, self.dataset, self._now = store, task, dataset, now
        self._audit = set(queue.loc[queue["why"] == "audit", "id"]) if "why" in queue else set()
        said = store_labels.labelled(store, task.name, dataset)
        mine = set(said.loc[said["labeler"] == self.labeler, "id"])
        queued = [one for one in dict.fromkeys(queue["id"].astype(str)) if one not in set(said["id"])]
        others = sorted({*said["id"]} - mine, key=self._chance)
        self._second, self._order = set(), []
        for one in queued:
            while others and self._chance(f"place {len(mine) + len(self._order)}") < second_share:
                self._second.add(others[0])
                self._order.append(others.pop(0))
            self._order.append(one)
        self._here = store_labels.texts(store, dataset, self._order)
        self._opened, self._reminded, self._wanted = now(), None, None
        self.post = self._next()

    def label(self, number: int) -> tuple[int, float] | None:
        """Label the post in hand; the model's label and its confidence, which nobody sees before, if it has any.

        Raises
        ------
        InputError
            If there is no such label, no post is left, or the post is gone; nothing is written then.
        """
        if number not in range(len(self.task.labels)):
            raise InputError(self.task.no_label(number))
        post = self._in_hand()
        said = store_labels.labelled(self.store, self.task.name, self.dataset, [post.id])
        audit = post.id in self._audit or "audit" in set(said["origin"])
        self._step("label", {"label": number, "origin": "audit" if audit else "session",
                             "codebook_version": self.task.codebook_version})
        return store_labels.opinion(self.store, self.task.name, self.dataset, post.id)

    def skip(self) -> None:
        """Put the post in hand behind all others; one that was skipped twice is left to other labelers."""
        self._step("skip")

    def remark(self, unsure: bool | None = None, note: str | None = None) -> None:
        """Say of the post in hand that its label will be unsure, or note something; kept until it is labelled."""
        post = self._in_hand()
        self.post = post._replace(unsure=post.unsure if unsure is None else unsure,
                                  note=post.note if note is None else clean(note)[:2_000])
        self._wanted = post.id
        self._step("remark")

    def undo(self) -> dict | None:
        """Take back the last label or skip, whichever session of this labeler it was in, and show that post again.

        What stood before stands again, be it a label or none.

        Returns
        -------
        The step that was taken back (``action``, ``label``, ``id``), None if there is none.
        """
        step = store_labels.undo(self.store, self.task.name, self.dataset, self.labeler, self._now())
        if step:
            self._here |= store_labels.texts(self.store, self.dataset, [step["id"]])
            self._wanted = step["id"]
            self._audit |= {step["id"]} if step["origin"] == "audit" else set()
            self.post = self._next()
        return step

    def pace(self) -> Pace:
        """How many, how fast, and how long without a break, of active time only."""
        now, labels = self._now(), self._steps["action"] == "label"
        today = self._steps["at"] > now - _TODAY
        times, spent, run = sorted([*self._steps.loc[today, "at"], self._opened, now]), timedelta(0), timedelta(0)
        for before, after in pairwise(times):
            run = timedelta(0) if after - before >= BREAK else run + min(after - before, _IDLE)
            spent += after - before if after - before <= _IDLE else timedelta(0)
        said, hours = int((labels & today).sum()), spent / timedelta(hours=1)
        return Pace(int(labels.sum()), len(self._left), said / hours if said >= 5 and hours else None,
                    run / timedelta(minutes=1))

    def break_due(self) -> bool:
        """Whether it is time for a break: 45 active minutes without one, and as many since the last reminder."""
        if self._reminded and self._now() - self._reminded < BREAK_AFTER:
            return False
        return timedelta(minutes=self.pace().minutes) >= BREAK_AFTER

    def reminded(self) -> None:
        """The labeler has seen the reminder and goes on."""
        self._reminded = self._now()

    def _chance(self, of: str) -> float:
        digest = hashlib.sha256(f"{self.labeler}\n{self.task.name}\n{self.dataset}\n{of}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64

    def _in_hand(self) -> Post:
        if self.post is None:
            raise InputError("no post is left in this queue; make a new one")
        return self.post

    def _step(self, action: str, label: dict | None = None) -> None:
        post = self._in_hand()
        step = {"task": self.task.name, "dataset": self.dataset, "id": post.id, "labeler": self.labeler,
                "action": action, "unsure": int(post.unsure), "note": post.note, "at": self._now()}
        try:
            store_labels.write(self.store, step, label)
        except InputError:
            self._here = store_labels.texts(self.store, self.dataset, self._order)
            self.post = self._next()
            raise
        self._wanted = self._wanted if action == "remark" else None
        self.post = self._next()

    def _next(self) -> Post | None:
        """The post to show, by what the store holds now: other sessions may have labelled since."""
        self._steps = store_labels.steps(self.store, self.task.name, self.dataset, self.labeler)
        said = store_labels.labelled(self.store, self.task.name, self.dataset, self._order)
        mine = set(said.loc[said["labeler"] == self.labeler, "id"])
        done = (set(said["id"]) - self._second) | mine
        skips = self._steps.loc[self._steps["action"] == "skip", "id"].value_counts()
        left = [one for one in self._order if one not in done and one in self._here and skips.get(one, 0) < _SKIPS]
        left.sort(key=lambda one: skips.get(one, 0))
        if self._wanted in self._here:
            left = [self._wanted, *(one for one in left if one != self._wanted)]
        self._left = left
        if not left:
            return None
        about = self._steps[self._steps["id"] == left[0]]
        last = about.iloc[-1] if len(about) else None
        return Post(left[0], self._here[left[0]], bool(last is not None and last["unsure"]),
                    last["note"] if last is not None else "")
