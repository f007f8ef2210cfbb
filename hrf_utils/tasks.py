"""What is being asked: everything that makes a task stands in one file, ``data/tasks/<task>.yml``."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import yaml

from hrf_utils import settings
from hrf_utils.settings import ROOT, InputError

FOLDER = ROOT / "data" / "tasks"


@dataclass(frozen=True)
class Label:
    """One answer to the task's question; its number is its place in the task file."""

    number: int
    name: str
    definition: str
    color: str
    positive: bool


@dataclass(frozen=True)
class Task:
    """A text-classification question with its labels, codebook, search phrases and baseline rule."""

    name: str
    title: str
    question: str
    labels: tuple[Label, ...]
    ordinal: bool = False
    severe_under_call: dict | None = None
    encoder: str = "minilm"
    codebook_version: int = 1
    finding: str = "findings"
    edge_cases: tuple[dict, ...] = ()
    queries: tuple[str, ...] = ()
    patterns: dict[int, list[str]] | None = None
    author_questions: dict[str, str] | None = None

    @property
    def names(self) -> list[str]:
        return [label.name for label in self.labels]

    @property
    def colors(self) -> list[str]:
        return [label.color for label in self.labels]

    @property
    def positive(self) -> list[int]:
        """Numbers of the labels that count as a hit in the binary view."""
        return [label.number for label in self.labels if label.positive]

    @property
    def starter(self) -> Path:
        """The corpus written for this task; it may not exist."""
        return ROOT / "data" / "starter" / f"{self.name}.csv"

    @property
    def contrast(self) -> Path:
        """Families of invented posts alike in words and different in label, which only train; may not exist."""
        return self.starter.with_name(f"{self.name}_contrast.csv")

    def label_files(self, labels: str, test: str) -> tuple[Path, Path | None]:
        """Paths that ``LABELS`` and ``TEST`` name.

        Empty labels mean the task's starter corpus; ``hrf`` means the public set with its published
        test split.

        Raises
        ------
        InputError
            If the public set was not downloaded, or there is no starter corpus.
        """
        if labels == "hrf":
            folder = settings.data_path("raw", "hrf", "training.csv").parent
            if not (folder / "test.csv").exists():
                raise InputError("the public set is not here yet; run `make data`")
            return folder / "training.csv", Path(test) if test else folder / "test.csv"
        if not labels and not self.starter.exists():
            raise InputError(f"the task {self.name} has no starter corpus; give LABELS=…")
        return Path(labels) if labels else self.starter, Path(test) if test else None

    @cached_property
    def _numbers(self) -> dict[str, int]:
        numbers = {str(label.number): label.number for label in self.labels}
        return numbers | {label.name.lower(): label.number for label in self.labels}

    def number(self, value: str) -> int | None:
        """Label number of a cell that holds a number or a label's name; None if it is neither."""
        return self._numbers.get(re.sub(r"\.0+$", "", value.strip()).lower())

    def keyword_rule(self, texts: pd.Series) -> pd.Series:
        """Label each text with the highest label one of whose patterns it matches, else the first."""
        answer = pd.Series(0, index=texts.index)
        for number, patterns in sorted((self.patterns or {}).items()):
            rule = re.compile("|".join(patterns), re.IGNORECASE)
            answer[texts.map(lambda text, rule=rule: bool(rule.search(text)))] = number
        return answer

    def codebook(self) -> pd.DataFrame:
        """One row a label: number, name, what it means and whether it counts as positive."""
        return pd.DataFrame([{"label": x.number, "name": x.name, "definition": x.definition,
                              "positive": x.positive} for x in self.labels]).set_index("label")


def load(name: str) -> Task:
    """Load and check a task file.

    Raises
    ------
    InputError
        If there is no such file or one of its fields is missing, unknown or of the wrong kind.
    """
    path = FOLDER / f"{name}.yml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yml")))
        raise InputError(f"unknown task {name!r}; {FOLDER} has {known}")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf8"))
        labels = tuple(Label(number, **row) for number, row in enumerate(fields.pop("labels")))
        task = Task(name, labels=labels, **fields)
    except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: {str(error).replace('Task.__init__() ', '')}") from error
    if len(labels) < 2 or not 0 < len(task.positive) < len(labels):
        raise InputError(f"{path}: a task needs two or more labels, some positive and some not")
    if any(set(case) != {"case", "label"} for case in task.edge_cases):
        raise InputError(f"{path}: an edge case has a case and a label, and no other field")
    for pattern in (p for patterns in (task.patterns or {}).values() for p in patterns):
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(f"{path}: the pattern {pattern!r} is no regular expression") from error
    return task
