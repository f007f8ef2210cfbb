"""The labelling session in a notebook: one post at a time, by keys, by pointer or with a screen reader."""

import os
from pathlib import Path

import anywidget
import pandas as pd
import traitlets
from IPython.display import display

from hrf_utils import reports
from hrf_utils.session import Session
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.tasks import Task

_TEMPLATES = Path(__file__).parent / "template"
_SHOWN = 5_000
"""Characters of a post that are drawn; a longer one says so."""


class Labeler(anywidget.AnyWidget):
    """A `Session` to look at; the arguments are the session's, whose labeler is asked for at the start."""

    _esm = _TEMPLATES / "labeler.js"
    _css = _TEMPLATES / "widgets.css"
    task = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, store: Store, task: Task, dataset: str, queue: pd.DataFrame, labeler: str = "",
                 second_share: float = 0.1):
        cases = [{"case": case["case"], "label": case["label"]} for case in task.edge_cases]
        labels = [{"name": x.name, "color": x.color, "definition": x.definition, "examples": list(x.examples)}
                  for x in task.labels]
        super().__init__(task={"question": task.question, "labels": labels, "cases": cases})
        self._open = lambda name: Session(store, task, dataset, queue, name, second_share)
        self._task, self._session, self._answers = task, None, 0
        self._show(name=labeler)
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        return "The labelling widget; run this cell in JupyterLab to see it."

    def _receive(self, _: object, message: dict, __: list) -> None:
        """Do what the labeler asked for; what went wrong is shown, and nothing else of it was done."""
        try:
            self._show(said=self._do(message))
        except InputError as error:
            self._show(problem=str(error), name=message.get("name", ""))
        except Exception as error:  # the store went away, say: the labeler has to know, and may try again
            self._show(problem=f"this was not saved ({type(error).__name__}: {error})", name=message.get("name", ""))

    def _do(self, message: dict) -> str:
        """The sentence to say after one message of the page."""
        session, action = self._session, message.get("do")
        if action == "begin":
            self._session = self._open(message.get("name", ""))
        elif action == "undo":
            return _undone(session.undo(), self._task)
        elif action == "go on":
            session.reminded()
        elif session.post is None or message.get("id") != session.post.id:
            return "That was meant for an earlier post, and nothing was saved."
        elif action == "label":
            return _saved(message["label"], session.label(message["label"]), self._task)
        elif action == "skip":
            session.skip()
            return "Skipped; it comes again at the end, once."
        elif action == "remark":
            session.remark(message.get("unsure"), message.get("note"))
        return ""

    def _show(self, said: str = "", problem: str = "", name: str = "") -> None:
        self._answers += 1
        state = {"answer": self._answers, "said": said, "problem": problem, "name": name, "post": None, "pace": None}
        if session := self._session:
            state |= {"name": session.labeler, "pace": session.pace()._asdict(), "break": session.break_due()}
            if post := session.post:
                state["post"] = post._asdict() | {"text": post.text[:_SHOWN], "length": len(post.text)}
        self.state = state


def _saved(number: int, opinion: tuple[int, float] | None, task: Task) -> str:
    says = f"Saved: {number} {task.names[number]}."
    if opinion is None:
        return says
    other, sure = opinion
    agrees = "so does the model" if other == number else f"the model says {other} {task.names[other]}"
    return f"{says[:-1]}; {agrees} ({sure:.0%})."


def _undone(step: dict | None, task: Task) -> str:
    if step is None:
        return "There is nothing to undo."
    was = "skipped" if step["action"] == "skip" else f"{step['label']} {task.names[step['label']]}"
    return f"Undone: it was {was}. Here is the post again."


def show(store: Store, task: Task, dataset: str, queue: pd.DataFrame, labeler: str = "",
         second_share: float = 0.1) -> None:
    """Show the widget in JupyterLab; in a chapter that make runs, who has labelled how much."""
    if "HRF_CHAPTER" not in os.environ:
        display(Labeler(store, task, dataset, queue, labeler, second_share))
        return
    by_labeler = store.labels(task.name, [dataset]).groupby(["labeler", "origin"])
    reports.table(by_labeler.agg(posts=("id", "size"), unsure=("unsure", "sum"),
                                 with_a_note=("note", lambda notes: int((notes != "").sum()))))
