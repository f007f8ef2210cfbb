"""What make calls: a chapter's arguments, its execution, the stamps, the pages, and the lock.

A chapter declares its arguments in its cell tagged ``parameters``; a variable of the same name is
handed over, and so are those of ``PARAMS``. Only the standard library is needed to work out the
arguments and to hold the lock.
"""

import argparse
import ast
import fcntl
import hashlib
import inspect
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from modulefinder import ModuleFinder
from pathlib import Path

from hrf_utils import settings
from hrf_utils.settings import ROOT, InputError

NOTEBOOKS = ROOT / "notebooks"
_VARIABLES = ("task", "source", "posts", "labels", "test", "encoder", "seed", "policy")


def declared(chapter: str) -> dict[str, object]:
    """Names and default values of a notebook's ``parameters`` cell."""
    for cell in _read(NOTEBOOKS / f"{chapter}.ipynb")["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            body = ast.parse("".join(cell["source"])).body
            return {line.targets[0].id: ast.literal_eval(line.value) for line in body}
    return {}


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf8"))


def _write(path: Path, notebook: dict) -> None:
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


def _chapters() -> list[str]:
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def given() -> dict[str, str]:
    """The ``-p name value`` pairs of ``PARAMS``.

    Raises
    ------
    InputError
        If they are no such pairs, or no chapter knows a name.
    """
    try:
        words = shlex.split(settings.get("PARAMS"))
    except ValueError as error:
        raise InputError(f"PARAMS cannot be read: {error}") from error
    pairs = [words[start:start + 3] for start in range(0, len(words), 3)]
    known = {name for chapter in _chapters() for name in declared(chapter)} - set(_VARIABLES)
    for pair in pairs:
        if len(pair) != 3 or pair[0] not in {"-p", "-r"}:
            raise InputError(f'PARAMS must read like "-p name value -p name value", not {" ".join(pair)!r}')
        if pair[1] in _VARIABLES:
            raise InputError(f"{pair[1]} is a variable of its own: write {pair[1].upper()}={pair[2]}")
        if pair[1] not in known:
            raise InputError(f"no chapter has a parameter {pair[1]}; there are {', '.join(sorted(known))}")
    return {name: value for _, name, value in pairs}


def arguments(chapter: str) -> dict[str, object]:
    """What a chapter is run with: its defaults, overridden by the variables and ``PARAMS``.

    Raises
    ------
    InputError
        If a value is not of the kind that the default is.
    """
    values = declared(chapter)
    asked = {name: settings.get(name.upper()) for name in _VARIABLES} | given()
    for name in values.keys() & asked.keys():
        values[name] = _as(type(values[name]), asked[name], name)
    return values


def _as(kind: type, text: str, name: str) -> object:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError) as error:
        raise InputError(f"{name}={text!r} is no {kind.__name__}") from error


def run(chapter: str, out: Path) -> None:
    """Execute a chapter; the record is moved to `out` only if every cell succeeded.

    Raises
    ------
    InputError
        With the chapter's own message, or because its kernel died. After any other exception the
        unfinished record stays beside `out`, under a name with a dot in front, to look into.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    values = arguments(chapter)
    os.environ["HRF_CHAPTER"] = chapter
    temporary = out.with_name(f".{out.name}")
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        papermill.execute_notebook(
            NOTEBOOKS / f"{chapter}.ipynb", temporary, values, cwd=ROOT, kernel_name="python3",
            progress_bar={"desc": chapter, "ncols": 80},
            extra_arguments=["--log-level=40"])
    except papermill.PapermillExecutionError as error:
        if error.ename == "InputError":
            temporary.unlink(missing_ok=True)
            raise InputError(error.evalue) from error
        raise
    except DeadKernelError as error:
        raise InputError(f"the kernel of {chapter} died, most often for want of memory; nothing of "
                         "this chapter was kept") from error
    from hrf_utils.training import commit  # late, since torch needs memory that the chapter wants
    notebook = _read(temporary)
    notebook["metadata"]["hrf"] = {
        "run at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "took": f"{time.monotonic() - started:.0f} s", "commit": commit() or "not in git",
        "parameters": ", ".join(f"{name}={Path(value).name if str(value).startswith('/') else value}"
                                for name, value in values.items() if value != "")}
    _write(temporary, notebook)
    stamp(settings.data_path("stamps", settings.get("TASK"), "posts").parent)
    temporary.replace(out)


def stamp(folder: Path) -> None:
    """Write the digests that chapters depend on, each only if it changed.

    ``CHAPTER.arguments``: what the chapter is run with; ``posts``: of the data set collected from;
    ``labels``: all that the run learns from or is judged by; ``decisions``: those that people set
    here rather than imported; ``reviews``: the log of reviews; ``model``: the current run's name.
    """
    from hrf_utils import files, store_reviews, tasks
    from hrf_utils.store import Store

    shown = {"show_text": settings.flag("SHOW_TEXT")}
    stamps = {f"{chapter}.arguments": json.dumps(arguments(chapter) | shown) for chapter in _chapters()}
    task = tasks.load(settings.get("TASK"))
    current = settings.data_path("models", task.name, "current")
    stamps["model"] = current.read_text(encoding="utf8") if current.exists() else ""
    collected, names = _datasets(task)
    store = Store.open()
    stamps["posts"] = store.posts_digest(collected)
    stamps["labels"] = store.labels_digest(task.name, names)
    stamps["decisions"] = store.labels_digest(task.name, names, human_only=True)
    stamps["reviews"] = f"{store_reviews.digest(store, task.name, collected)} {settings.flag('TWO_PERSON')}"
    for name, digest in stamps.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf8") != digest:
            with files.whole(path) as temporary:
                temporary.write_text(digest, encoding="utf8")


def _datasets(task: object) -> tuple[str, list[str]]:
    """The data set collected from, and all whose labels count in this run."""
    from hrf_utils import files, sources

    collected = sources.open_source(settings.get("SOURCE"), task, settings.get("POSTS")).dataset
    paths = task.label_files(settings.get("LABELS"), settings.get("TEST"))
    return collected, sorted({collected, *(files.dataset_name(path) for path in paths if path)})


def inputs_sha256(chapter: str) -> str:
    """Digest of all that a chapter's committed outputs come from: its cells, the chapters' code, tasks, starter."""
    digest = hashlib.sha256(json.dumps(_sources(NOTEBOOKS / f"{chapter}.ipynb")).encode("utf8"))
    data = ("tasks/*.yml", "starter/*.csv", "geo/*", "behaviour/*", "review/*")
    for path in [*_chapter_code(), *(path for some in data for path in sorted((ROOT / "data").glob(some)))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources(path: Path, *kinds: str) -> list[str]:
    """Text of a notebook's cells, of all or of some kinds."""
    return ["".join(cell["source"]) for cell in _read(path)["cells"] if not kinds or cell["cell_type"] in kinds]


def _chapter_code() -> list[Path]:
    """The modules that the chapters import, directly or not; those of annexes or the API alone are not."""
    finder = ModuleFinder([str(ROOT)])
    for path in sorted(NOTEBOOKS.glob("[1-9]_*.ipynb")):
        finder.scan_code(compile("\n".join(_sources(path, "code")), path.name, "exec"), finder.add_module("__main__"))
    return sorted(Path(module.__file__) for module in finder.modules.values() if module.__file__)


def refresh(chapters: list[str]) -> None:
    """Give the notebooks the outputs of a full starter run, made in a folder of its own."""
    with tempfile.TemporaryDirectory() as home:
        defaults = [f"{name}=" for name in settings.VARIABLES if name != "HRF_HOME"]
        subprocess.run(["make", "pipeline", f"HRF_HOME={home}", *defaults], cwd=ROOT, check=True)
        for chapter in chapters:
            keep(Path(home) / "reports" / "force" / f"{chapter}.ipynb")


def keep(record: Path) -> None:
    """Give the notebook of a record, an executed chapter or annex, the record's outputs."""
    path = NOTEBOOKS / record.name
    notebook = _read(path)
    notebook["cells"] = [_tidy(cell) for cell in _read(record)["cells"]
                         if "injected-parameters" not in cell["metadata"].get("tags", [])]
    notebook["metadata"]["hrf"] = {"inputs": inputs_sha256(path.stem)}
    _write(path, notebook)


def _tidy(cell: dict) -> dict:
    """A cell as it is committed: its tags and outputs, without timings and progress bars."""
    tags = cell["metadata"].get("tags", [])
    cell["metadata"] = {"tags": tags} if tags else {}
    if cell["cell_type"] == "code":
        cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    return cell


def replay() -> None:
    """Read the pages from X again that could not be read when they came."""
    from hrf_utils import sources, tasks, x_search
    from hrf_utils.store import Store

    store, source = Store.open(), sources.open_source("x", tasks.load(settings.get("TASK")))
    with store.alone("collect"):
        read, new = x_search.replay(store, source.dataset)
    print(f"{read} pages could be read, with {new:,} new posts; {len(store.quarantine(source.dataset))} pages wait")


def comply() -> None:
    """Drop the posts that are gone from X, and those that are too old."""
    from hrf_utils import compliance
    from hrf_utils.store import Store

    done = compliance.comply(Store.open())
    print(f"{done.public:,} posts are public on X; {len(done.dropped):,} were dropped.")
    for reason, count in done.dropped["reason"].value_counts().items():
        print(f"  {count:,}: {reason}")
    if len(done.dropped):
        print("Reports were removed with them; make writes them again.")
        if settings.get("BACKEND_DB_URL"):
            publish()
    if done.problem:
        left = f"{done.problem}; {done.waiting:,} posts still wait to be checked"
        if not settings.flag("DRY_RUN"):
            raise InputError(left)
        print(left)


def publish() -> None:
    """Copy approved incidents of the task force into the database that ``BACKEND_DB_URL`` names."""
    from hrf_utils import store_publish
    from hrf_utils.store import Store

    done = store_publish.publish(Store.open(), settings.get("BACKEND_DB_URL"))
    print(f"{done.published:,} approved incidents are published ({done.new:,} of them new), {done.withdrawn:,} were "
          f"withdrawn. They come from {done.dataset or 'no data set, as there are none yet'}.")


def exchange() -> None:
    """Take in the labels of the files in ``LABELS_IN``, then write those of this run to ``LABELS_OUT``."""
    import pandas as pd

    from hrf_utils import exchange, tasks
    from hrf_utils.store import Store

    came, out = shlex.split(settings.get("LABELS_IN")), settings.get("LABELS_OUT")
    if not came and not out:
        raise InputError("name files to take in, LABELS_IN=…, or a file to write, LABELS_OUT=…")
    store, task = Store.open(), tasks.load(settings.get("TASK"))
    collected, names = _datasets(task)
    if came:
        held, news = exchange.read(store, task, collected, came)
        print(f"{held:,} labels came in; {news:,} of them are new here, or other than before.")
        settings.data_path("stamps", task.name, "decisions").unlink(missing_ok=True)  # chapter 2 is to show them
    if out:
        path = settings.data_path("labels", f"queue-{task.name}.csv")
        queue = pd.read_csv(path, dtype=str) if path.exists() else pd.DataFrame({"id": []}, dtype=str)
        given, waiting = exchange.write(store, task, names, queue.assign(dataset=collected), out)
        print(f"{out}: {given:,} labels, {waiting:,} posts of the queue to be labelled.")


def classify() -> None:
    """Score the archive in ``POSTS``."""
    from hrf_utils import scoring

    if not settings.get("POSTS"):
        raise InputError("make classify needs an archive: POSTS=posts.csv")
    folder = scoring.classify(settings.get("POSTS"), settings.get("TASK"), settings.get("ENGINE"),
                              settings.flag("CASCADE"))
    found = scoring.summary(folder)
    print(f"{found['posts']:,} posts scored ({found['distinct']:,} different texts), {found['rejected']:,} rows "
          f"rejected, {found['posts_per_second']:,.0f} posts/s; see {folder}")


def hold(path: Path, command: list[str]) -> int:
    """Run a command while holding the lock in `path`; a second caller waits and says so.

    The lock is the operating system's. The command and its children share it, so that it ends when
    the last of them does, however that ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"another make (process {file.read() or '?'}) works below {path.parent}; waiting for it",
                  file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        os.set_inheritable(file.fileno(), True)
        return subprocess.run(command, check=False, close_fds=False).returncode


def begin() -> subprocess.Popen | None:
    """Start ``make pipeline`` in a process of its own that outlives this one; None while another make works.

    The lock is the one of `hold`, and ends with what was started. What that says goes to ``data/make.log``.
    """
    with open(settings.data_path(".lock"), "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        with open(settings.data_path("make.log"), "w") as said:
            going = subprocess.Popen(
                ["make", "--no-print-directory", "pipeline"], cwd=ROOT, env=os.environ | {"HRF_LOCKED": "1"},
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, pass_fds=[file.fileno()])
        file.truncate(0)
        file.write(str(going.pid))
    return going


def page(notebook: Path, out: Path) -> None:
    """Write the page of an executed notebook."""
    from hrf_utils import reports

    reports.render(notebook, out)


def index(out: Path) -> None:
    """Write the first page of the report site."""
    from hrf_utils import frontpage

    frontpage.index(out)


def main() -> int:
    """Command line: functions of this module with their parameters; see the Makefile for how each is used."""
    kinds = {str: {}, Path: {"type": Path}, list[str]: {"nargs": argparse.REMAINDER}}
    parser = argparse.ArgumentParser(prog="python -m hrf_utils.pipeline")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for work in (run, stamp, page, index, refresh, keep, hold, classify, exchange, replay, comply, publish):
        command = commands.add_parser(work.__name__)
        command.set_defaults(work=work)
        for name, parameter in inspect.signature(work).parameters.items():
            command.add_argument(name, **kinds[parameter.annotation])
    asked = vars(parser.parse_args())
    work = asked.pop("work")
    try:
        return work(**asked) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = error.filename or asked.get("out", work.__name__)
        print(f"error: {where}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was finished is kept, and the next make goes on from there", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
