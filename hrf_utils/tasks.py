"""What is being asked: everything that makes a task stands in one file, ``data/tasks/<task>.yml``."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import yaml

from hrf_utils import settings
from hrf_utils.settings import ROOT, InputError
from hrf_utils.text import FORMS

FOLDER = ROOT / "data" / "tasks"


@dataclass(frozen=True)
class Label:
    """One answer to the task's question; its number is its place in the task file.

    ``since`` is the version of the codebook that last changed what the label means; ``told`` is what a title calls it,
    by default its name in small letters.
    """

    number: int
    name: str
    definition: str
    color: str
    positive: bool
    examples: tuple[str, ...] = ()
    since: int = 1
    told: str = ""


@dataclass(frozen=True)
class Task:
    """A text-classification question with its labels, codebook, search phrases and baseline rule.

    ``says`` tells what posts with a positive label do, and ``finding`` what they are once merged.
    ``normalise`` names the `text.FORMS` that the model, and what it is compared with, never see.
    ``unrelated`` names a task whose starter posts are about another subject; see `datasets.unrelated`.
    """

    name: str
    title: str
    question: str
    labels: tuple[Label, ...]
    ordinal: bool = False
    severe_under_call: dict | None = None
    encoder: str = "minilm"
    codebook_version: int = 1
    finding: str = "findings"
    says: str = "count as positive"
    edge_cases: tuple[dict, ...] = ()
    queries: tuple[str, ...] = ()
    patterns: dict[int, list[str]] | None = None
    author_questions: dict[str, str] | None = None
    normalise: tuple[str, ...] = ()
    unrelated: str = ""

    @property
    def names(self) -> list[str]:
        return [label.name for label in self.labels]

    @property
    def colors(self) -> list[str]:
        return [label.color for label in self.labels]

    @property
    def told(self) -> list[str]:
        """What a title calls each label."""
        return [label.told or label.name.lower() for label in self.labels]

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

    def no_label(self, value: object) -> str:
        """The sentence that refuses what is none of the task's labels."""
        return (f"{value!r} is no label of the task {self.name}; there are 0 to {len(self.labels) - 1}: "
                f"{', '.join(self.names)}")

    def keyword_rule(self, texts: pd.Series) -> pd.Series:
        """Label each text with the highest label one of whose patterns it matches, else the first."""
        answer = pd.Series(0, index=texts.index)
        for number, patterns in sorted((self.patterns or {}).items()):
            answer[_found("|".join(patterns), texts)] = number
        return answer

    def codebook(self) -> pd.DataFrame:
        """One row a label: number, name, what it means, examples, whether it counts as positive, since when."""
        return pd.DataFrame([{"label": x.number, "name": x.name, "definition": x.definition,
                              "examples": " · ".join(x.examples), "positive": x.positive, "since": x.since}
                             for x in self.labels]).set_index("label")

    def cases(self) -> pd.DataFrame:
        """One row an edge case: the case, its label (or a rule), and the version that last changed it."""
        return pd.DataFrame([{"since": 1} | case for case in self.edge_cases], columns=["case", "label", "since"])

    def in_doubt(self, labels: pd.DataFrame) -> pd.DataFrame:
        """Labels that an edit of the codebook puts in doubt, with ``because``, the entries that changed since.

        A label is in doubt where it was recorded under an older version than that of an entry, and its text matches
        the entry's ``match`` and it is another label than the entry's. Without a ``match`` it is in doubt where it is
        the entry's label or the keyword rule gives the post that one. Version 0, not known, is never older.

        Parameters
        ----------
        labels : has ``label``, ``text`` and ``codebook_version``
        """
        entries = [{"what": x.name, "label": x.number, "since": x.since} for x in self.labels]
        entries += [case | {"what": case["case"]} for case in self.edge_cases]
        changed = [entry for entry in entries if entry.get("since", 1) > 1]
        older = labels[labels["codebook_version"].between(1, self.codebook_version - 1)]
        ruled, because = self.keyword_rule(older["text"]), pd.Series("", index=older.index)
        for entry in changed:
            same = older["label"] == entry["label"]
            fits = _found(entry["match"], older["text"]) & ~same if "match" in entry else \
                same | (ruled == entry["label"])
            hit = (older["codebook_version"] < entry["since"]) & fits
            because[hit] = because[hit].where(because[hit] == "", because[hit] + "; ") + entry["what"]
        return older.assign(because=because)[because != ""]


def _found(pattern: str, texts: pd.Series) -> pd.Series:
    """In which texts a regular expression is found, in upper or lower case."""
    rule = re.compile(pattern, re.IGNORECASE)
    return texts.map(lambda text: bool(rule.search(text))).astype(bool)


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
    if unknown := sorted(set(task.normalise) - set(FORMS)):
        raise InputError(f"{path}: normalise has {unknown[0]!r}; there are {', '.join(FORMS)}")
    if task.unrelated and not task.starter.with_name(f"{task.unrelated}.csv").exists():
        raise InputError(f"{path}: unrelated is {task.unrelated!r}, a task without a starter corpus")
    _check_codebook(path, task)
    matches = [[case["match"]] for case in task.edge_cases if "match" in case]
    for pattern in (p for patterns in [*(task.patterns or {}).values(), *matches] for p in patterns):
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(f"{path}: the pattern {pattern!r} is no regular expression") from error
    return task


def _check_codebook(path: Path, task: Task) -> None:
    for case in task.edge_cases:
        if not {"case", "label"} <= set(case) <= {"case", "label", "since", "match"}:
            raise InputError(f"{path}: an edge case has case and label, perhaps since and match, and no other field")
        if isinstance(case["label"], int) and case["label"] not in range(len(task.labels)):
            raise InputError(f"{path}: the edge case {case['case']!r} has the label {case['label']}, which is none of "
                             f"0 to {len(task.labels) - 1}")
        if isinstance(case["label"], str) and "match" not in case:
            raise InputError(f"{path}: the edge case {case['case']!r} has a rule for a label; give a match, a regular "
                             "expression for the texts that it is about")
    for name, entry in [(x.name, vars(x)) for x in task.labels] + [(case["case"], case) for case in task.edge_cases]:
        since = entry.get("since", 1)
        if not isinstance(since, int) or not 1 <= since <= task.codebook_version:
            raise InputError(f"{path}: {name!r} has since: {since}, which is no version from 1 to the "
                             f"codebook_version, {task.codebook_version}; raise that with every edit")
        examples = entry.get("examples", ())
        if isinstance(examples, str) or not all(isinstance(example, str) for example in examples):
            raise InputError(f"{path}: the examples of {name!r} are not a list of texts")
