"""Reviewing in JupyterLab, one incident at a time; all that is decided or shown is settled here, the browser draws."""

import os
from pathlib import Path

import anywidget
import pandas as pd
import traitlets
from IPython.display import display

from hrf_utils import review, store_reviews
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.tasks import Task

_TEMPLATES = Path(__file__).parent / "template"
_FACTORS = ["severity", "verifiability", "uncertainty", "score", "link", "independent", "named_city", "day"]
_NEAR, _MOST = pd.Timedelta(days=14), 20


class ReviewWidget(anywidget.AnyWidget):
    """A desk at which incidents pass in the order of `ranked` (see `review.queue`), each with its posts."""

    _esm = _TEMPLATES / "reviewer.js"
    _css = _TEMPLATES / "widgets.css"
    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, store: Store, task: Task, dataset: str, ranked: pd.DataFrame, members: pd.DataFrame,
                 posts: pd.DataFrame):
        super().__init__()
        self._store, self._task, self._dataset, self._at = store, task, dataset, 0
        self._ranked = ranked.set_index("incident_id")
        self._posts = members.merge(posts[["id", "text", "created_at"]], on="id").set_index("incident_id")
        self.on_msg(lambda _, message, __: self.take(message))
        self._show(f"{len(ranked):,} incidents wait for a decision.")

    def take(self, message: dict) -> None:
        """Do what a key or a button asked for: ``next``, ``back``, or a step of `review.record`.

        `message` has ``do``, the ``id`` of the incident that was shown, and ``who``, ``value``, ``note``.
        """
        action, here = str(message.get("do")), self.shown.get("id", "")
        try:
            if message.get("id") != here:  # a key that was pressed twice must not decide what nobody has seen
                raise InputError("it was about the incident before this one")
            if action in {"next", "back"}:
                said = self._move(1 if action == "next" else -1)
            else:
                number = review.record(self._store, self._task.name, self._dataset, here, action,
                                       str(message.get("who") or ""), message.get("value"),
                                       str(message.get("note") or ""))
                said = f"Step {number} is kept: {action}."
                if action in review.STATUSES:
                    said += self._move(1)
            self._show(said)
        except InputError as error:
            self._show(f"Not kept: {error}.")
        except Exception as error:  # the store went away, say: the reviewer has to know, and may try again
            self.shown = self.shown | {"said": f"Not kept ({type(error).__name__}: {error})."}

    def _move(self, step: int) -> str:
        to = self._at + step
        if not 0 <= to < len(self._ranked):
            return " This is the end of the queue."
        self._at = to
        return ""

    def _show(self, said: str) -> None:
        if not len(self._ranked):
            self.shown = {"said": said}
            return
        found = self._store.incidents(self._task.name, self._dataset).set_index("incident_id")
        one = self._ranked.index[self._at]
        if one not in found.index:
            self.shown = {"id": one, "said": f"{said} This incident was built anew; run the cell again."}
            return
        row, log = found.loc[one], store_reviews.log(self._store, self._task.name, self._dataset)
        standing = log[~log["undone"] & (log["action"] != "undo")].tail(1).to_dict("records")
        near = found[((found["city"] == row["city"]) | (found["city"] == ""))
                     & ((pd.to_datetime(found["incident_date"]) - pd.Timestamp(row["incident_date"])).abs() <= _NEAR)]
        self.shown = {
            "id": one, "said": said, "place": f"{self._at + 1:,} of {len(self._ranked):,}",
            **{name: str(row[name] or "") for name in ("title", "city", "state", "status", "review")},
            "date": "" if pd.isna(row["incident_date"]) else str(row["incident_date"]), "rank": int(row["label"]),
            "ranks": [[number, self._task.names[number]] for number in self._task.positive],
            "labels": [[number, name] for number, name in enumerate(self._task.names)],
            "factors": [[name, float(round(self._ranked.at[one, name], 2))] for name in _FACTORS],
            "posts": [[post.id, post.text, str(post.created_at)[:16]] for post in self._posts.loc[[one]].itertuples()],
            "near": [[other, f"{title} ({posts})"] for other, title, posts in
                     near.drop(index=one)[["title", "posts"]].head(_MOST).itertuples()],
            "question": review.question(row.to_dict(), self._task),
            "undo": [f"{one['action']} by {one['who']}" for one in standing],
            "number": int(standing[0]["number"]) if standing else None}


def show(*arguments: object) -> None:
    """Display a `ReviewWidget` in an interactive session; in a record that make writes, nothing."""
    if "HRF_CHAPTER" not in os.environ:
        display(ReviewWidget(*arguments))
