"""Behavioural tests: small, readable cases that each ask for one capability.

Method: Ribeiro et al., "Beyond accuracy: behavioral testing of NLP models with CheckList", 2020. The
cases of a task stand in ``data/behaviour/<task>.csv``.
"""

import re
from collections.abc import Callable

import pandas as pd
import yaml

from hrf_utils import files
from hrf_utils.intervals import wilson
from hrf_utils.settings import ROOT, InputError
from hrf_utils.tasks import Task

FOLDER = ROOT / "data" / "behaviour"
_COLUMNS = ["id", "capability", "text", "expected", "why"]
INVARIANCE = "invariance"
"""Capabilities of this name, or that start with it, ask for the same answer as another case gets."""


def cases(task: Task) -> pd.DataFrame:
    """The task's cases, checked; empty where it has none.

    ``expected`` is a label (int), or -1 where the answer must be that of the case ``of``.

    Raises
    ------
    InputError
        If a column is missing, an id or text stands twice, or an expectation is neither a label of the
        task nor ``=id`` of an earlier case.
    """
    path = FOLDER / f"{task.name}.csv"
    if not path.exists():
        return pd.DataFrame(columns=[*_COLUMNS, "of"]).astype({"expected": int})
    table = files.read_table(path)
    if missing := [name for name in _COLUMNS if name not in table]:
        raise InputError(f"{path} has no column {missing[0]}")
    for name in ("id", "text"):
        if table[name].duplicated().any():
            raise InputError(f"{path}: the {name} {table.loc[table[name].duplicated(), name].iloc[0]!r} stands twice")
    relative = table["expected"].str.startswith("=")
    table["of"] = table["expected"].str[1:].where(relative, "")
    numbers = table["expected"].map(task.number).where(~relative, -1)
    place = pd.Series(range(len(table)), index=table["id"])
    later = table["of"].map(place).fillna(len(table)).to_numpy() >= place.to_numpy()
    bad = numbers.isna() | (relative & later)
    if bad.any():
        row = table[bad].iloc[0]
        raise InputError(f"{path}: case {row['id']} expects {row['expected']!r}, which is neither a label of the "
                         "task nor an earlier case")
    return table.assign(expected=numbers.astype(int), capability=table["capability"].str.replace("_", " "))


def run(cases: pd.DataFrame, predict: Callable[[pd.Series], pd.DataFrame]) -> pd.DataFrame:
    """Answer every case with `predict` (texts to a frame with ``label`` and ``confidence``).

    Adds ``predicted``, ``confidence``, ``wanted`` (the label that passes) and ``failed``.
    """
    answers = predict(cases["text"])
    of_id = pd.Series(answers["label"].to_numpy(), index=cases["id"])
    wanted = cases["expected"].where(cases["of"] == "", cases["of"].map(of_id)).astype(int)
    return cases.assign(predicted=answers["label"].to_numpy(), confidence=answers["confidence"].to_numpy(),
                        wanted=wanted, failed=(answers["label"].to_numpy() != wanted.to_numpy()))


def by_capability(answered: pd.DataFrame) -> pd.DataFrame:
    """Share of failed cases by capability, the worst first: ``cases``, ``failed``, ``value``, ``low``, ``high``.

    Of the invariance capabilities the variants alone count: does a changed name change the answer?
    """
    counted = answered[~answered["capability"].str.startswith(INVARIANCE) | (answered["of"] != "")]
    table = counted.groupby("capability")["failed"].agg(["size", "sum"])
    return pd.DataFrame([{"capability": name, "cases": int(n), "failed": int(k)} | wilson(k, n)
                         for name, n, k in table.itertuples()]).sort_values("value", ascending=False) \
        .set_index("capability")


def summary(answered: pd.DataFrame) -> dict[str, dict]:
    """Failures over all cases, and over the invariance variants alone: ``cases`` and the interval."""
    variants = answered[answered["of"] != ""]
    return {name: {"cases": len(part)} | wilson(part["failed"].sum(), len(part))
            for name, part in (("all", answered), ("invariance", variants))}


def slices(texts: pd.Series, task: Task | None = None) -> pd.DataFrame:
    """Which texts belong to which slice of ``data/behaviour/``: bool, one column a slice.

    Slices of all tasks stand in ``slices.yml``, those of one task in ``slices-<task>.yml``.
    """
    paths = [FOLDER / "slices.yml", *([FOLDER / f"slices-{task.name}.yml"] if task else [])]
    patterns = {name: pattern for path in paths if path.exists()
                for name, pattern in yaml.safe_load(path.read_text(encoding="utf8")).items()}
    rules = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in patterns.items()}
    return pd.DataFrame({name: texts.map(lambda text, rule=rule: bool(rule.search(text)))
                         for name, rule in rules.items()}, index=texts.index)
