"""Where things are, and what the user asked for.

Every variable can stand on the make command line, in the environment or in ``.env``, in this order
of precedence. Nothing but the standard library is imported here, so that ``make help`` and the
check of misspelled names work before anything is installed.
"""

import difflib
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, where and what to do."""


class Variable(NamedTuple):
    default: str
    meaning: str


VARIABLES = {
    "TASK": Variable("force", "the question: the name of a file in data/tasks/"),
    "SOURCE": Variable("starter", "where posts come from: starter | file | x | bluesky"),
    "POSTS": Variable("", "posts for SOURCE=file: CSV, JSONL, JSON, parquet or twarc JSONL"),
    "LABELS": Variable("", "labelled CSV to train on; hrf = the public set; empty = starter corpus"),
    "TEST": Variable("", "labelled CSV to use as the frozen test split; empty = made from LABELS"),
    "LABELS_IN": Variable("", "files of labels for `make exchange` to take in: CSV, or JSON of Label Studio"),
    "LABELS_OUT": Variable("", "file for `make exchange` to write labels to: .csv, or .json for Label Studio"),
    "ENCODER": Variable("", "minilm | a hub id | a local folder; empty = the task's own"),
    "ENGINE": Variable("local", "what `make classify` scores with: local | ray"),
    "CASCADE": Variable("", "1 = `make classify` lets the linear model alone answer where it is sure"),
    "SEED": Variable("0", "seed of the split and of training"),
    "PARAMS": Variable("", 'other notebook parameters: PARAMS="-p epochs 3 -p batch_size 16"'),
    "HRF_HOME": Variable("", "folder for everything a run writes; empty = this checkout"),
    "DB_URL": Variable("", "SQLAlchemy address of the store; empty = SQLite below HRF_HOME"),
    "RAY_ADDRESS": Variable("", "cluster for ENGINE=ray; empty = this machine"),
    "HRF_DATA_URL": Variable("", "mirror of the public data sets (http://, https:// or file://)"),
    "HRF_TEST_DATA": Variable("", "folder of real data for tests; skipped where unset"),
    "BEARER_TOKEN": Variable("", "secret of an app on X; or the four keys of a user:"),
    "CONSUMER_KEY": Variable("", "key of the app (API_KEY is another name for it)"),
    "CONSUMER_SECRET": Variable("", "its secret (API_SECRET_KEY is another name for it)"),
    "ACCESS_KEY": Variable("", "key of the user"),
    "ACCESS_SECRET": Variable("", "its secret"),
    "API_KEY": Variable("", "another name for CONSUMER_KEY"),
    "API_SECRET_KEY": Variable("", "another name for CONSUMER_SECRET"),
    "X_API_URL": Variable("", "another address for X: a proxy, a local server"),
    "JETSTREAM_URL": Variable("wss://jetstream2.us-east.bsky.network/subscribe", "the stream for SOURCE=bluesky"),
    "BUDGET_USD": Variable("1", "US dollars that one run may spend on X"),
    "BUDGET_USD_MONTH": Variable("20", "US dollars that all runs of a calendar month may spend on X"),
    "POLICY": Variable("uniform", "how a phrase is chosen for a search of X: uniform | bandit"),
    "DRY_RUN": Variable("", "1 = only say what a collection from X would cost"),
    "EVERY_HOURS": Variable("4", "time from one collection of `make watch` to the next"),
    "RETENTION_DAYS": Variable("", "drop collected posts after so many days (`make comply`); empty = keep them"),
    "TWO_PERSON": Variable("", "1 = an incident is approved or rejected only when two people said the same"),
    "BACKEND_DB_URL": Variable("", "database that `make publish` copies approved incidents to"),
    "SERVE_AT": Variable("127.0.0.1:8000", "where `make serve` listens; beyond this machine it needs SERVER_KEY"),
    "SERVER_KEY": Variable("", "secret that users of the API send as X-API-Key; empty = nobody is asked"),
    "WORKERS": Variable("1", "processes that serve"),
    "RATE_LIMIT": Variable("600", "requests a minute that one address may make; 0 = no limit"),
    "CORS_ORIGINS": Variable("", "sites whose pages may use the API: https://a.org,https://b.org"),
    "SCHEDULE": Variable("", "1 = `make serve` also collects every EVERY_HOURS, as `make watch` does"),
    "THREAT_ENABLED": Variable("", "1 = the API may score texts for the task threat"),
    "PSEUDONYM_KEY": Variable("", "secret that turns authors into pseudonyms; made once if unset"),
    "SHOW_TEXT": Variable("", "1 = pages and the API may show the text of real posts"),
}


def dotenv() -> dict[str, str]:
    """Read ``NAME=value`` lines of ``.env``; a value may be quoted, ``#`` after a space is a comment.

    Raises
    ------
    InputError
        If a line is not an assignment or names an unknown variable.
    """
    path, values = ROOT / ".env", {}
    if not path.exists():
        return values
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        line = re.split(r"(?:^|\s)#", line)[0].strip()
        if not line:
            continue
        try:
            name, equals, value = " ".join(shlex.split(line)).partition("=")
        except ValueError as error:
            raise InputError(f"{path.name} line {number}: {error}; quote the value") from error
        if not equals:
            raise InputError(f"{path.name} line {number} is not of the form NAME=value")
        check_names([name], f"{path.name} line {number}")
        values[name] = value
    return values


def check_names(names: list[str], where: str = "the command line") -> None:
    """Raise `InputError` for a name that is no variable of this project, with the nearest one."""
    for name in names:
        if name not in VARIABLES:
            near = difflib.get_close_matches(name.upper(), VARIABLES, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else "`make help` lists them all."
            raise InputError(f"unknown variable {name} ({where}); {hint}")


def get(name: str) -> str:
    """Value of a variable: environment, then ``.env``, then its default; an empty one is the default."""
    value = os.environ[name] if name in os.environ else dotenv().get(name)
    return value or VARIABLES[name].default


def number(name: str) -> float:
    """Value of a variable that is an amount, zero or more.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        value = float(get(name) or 0)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{name}={get(name)} is no amount; write a number like 2.50")
    return value


def flag(name: str) -> bool:
    """Whether a yes/no variable is on."""
    return get(name).lower() in {"1", "true", "yes", "on"}


def home() -> Path:
    """Folder below which a run writes: ``data/`` and ``reports/``."""
    return Path(get("HRF_HOME") or ROOT).expanduser()


def data_path(*parts: str) -> Path:
    """Path below the run's own ``data/`` folder; its parent folder is made."""
    path = home().joinpath("data", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def report_path(*parts: str) -> Path:
    """Path below the run's own ``reports/`` folder; its parent folder is made."""
    path = home().joinpath("reports", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def describe() -> str:
    """The variables with their defaults and meanings, as `make help` shows them."""
    rows = [f"  {name:<14} {v.meaning}" + (f" [{v.default}]" if v.default else "")
            for name, v in VARIABLES.items()]
    return "\n".join(rows)


def for_make(names: list[str]) -> str:
    """Check the command line, ``.env`` and the task; answer ``ok TASK HOME POSTS LABELS TEST SOURCE``.

    Make cannot hold a space within a name, so an empty value is written as ``-``.
    """
    check_names(names)
    tasks = sorted(p.stem for p in (ROOT / "data" / "tasks").glob("*.yml"))
    if get("TASK") not in tasks:
        raise InputError(f"unknown TASK {get('TASK')}; there are {', '.join(tasks)}")
    answer = ["ok", get("TASK"), get("HRF_HOME").rstrip("/") or "."]
    answer += [get(name) or "-" for name in ("POSTS", "LABELS", "TEST", "SOURCE")]
    for value in answer:
        if " " in value:
            raise InputError(f"make cannot work with a space in a path: {value!r}")
    return " ".join(answer)


def command(work: Callable[[], None]) -> None:
    """Do what a module does on the command line; an `InputError` ends it with one line and exit status 1."""
    try:
        work()
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    try:
        print(describe() if sys.argv[1] == "help" else for_make(sys.argv[2:]))
    except InputError as error:
        print(error)
