"""From executed notebooks to pages that anybody can read, without a request to any host."""

import html
import os
import re
from importlib.metadata import version
from pathlib import Path

import nbformat
import nh3
import pandas as pd
from IPython.display import HTML, display
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter

from hrf_utils import files, posts, settings, tasks
from hrf_utils.store import Store, utc

TEMPLATES = Path(__file__).parent / "template"
SITE = "What public posts say"
_FACTS = "application/vnd.hrf.facts+json"
_SHOWN = 160  # letters of a text in a table

CHAPTERS = {"1_scrape": "Scrape", "2_label": "Label", "3_train": "Train",
            "4_performance": "Performance", "5_incidents": "Incidents"}
ANNEX = {"A1_benchmark": "Benchmark", "A2_what_helped": "What helped", "A3_queries": "Queries",
         "A4_active_learning": "Active learning"}

ABOUT = {
    "1_scrape": "What came in, from where, when, and how much of it repeats.",
    "2_label": "The codebook, what has been labelled, and what to label next.",
    "3_train": "How the rows were split without leaks, and how the model learned.",
    "4_performance": "How good the model is, with intervals and baselines, and where it fails.",
    "5_incidents": "What the posts tell of: incidents with place, date and kind of force.",
    "A1_benchmark": "Annex: how fast it classifies, learns, groups and locates, beside other ways.",
    "A2_what_helped": "Annex: which changes to the recipe help, cross-validated.",
    "A3_queries": "Annex: which search phrases pay, and what a policy that learns would find.",
    "A4_active_learning": "Annex: how many labels the queue saves, and how many suspected labels are wrong.",
}


def may_show(dataset: str) -> bool:
    """Whether the text of a data set may stand in an output.

    Starter posts always; real posts in an interactive session, and in a record that make writes only
    with ``SHOW_TEXT=1``.
    """
    return (files.is_starter(dataset) or settings.flag("SHOW_TEXT")
            or "HRF_CHAPTER" not in os.environ)


def hide_texts(frame: pd.DataFrame, *datasets: str) -> pd.DataFrame:
    """The frame with its ``text`` shortened, or left out unless all its data sets may be shown."""
    if not all(map(may_show, datasets)):
        return frame.drop(columns="text")
    short = frame["text"].str.slice(0, _SHOWN)
    return frame.assign(text=short.where(frame["text"].str.len() <= _SHOWN, short + "…"))


def table(frame: pd.DataFrame, decimals: int = 3) -> None:
    """Display a frame as a table: texts whole, thousands apart, an index only where it has a name."""
    shown = frame.reset_index() if any(frame.index.names) else frame
    numbers = {name: "{:,}".format for name in shown if pd.api.types.is_integer_dtype(shown[name])}
    yes_no = {name: {True: "yes", False: "no"}.get for name in shown if shown[name].dtype == bool}
    with pd.option_context("display.max_colwidth", None):
        display(HTML(shown.to_html(index=False, border=0, justify="left", na_rep="–",
                                   formatters=numbers | yes_no,
                                   float_format=f"{{:.{decimals}f}}".format)))


def record(**facts: object) -> None:
    """Keep facts about a run (data sets, digests, model) in the notebook; pages show them below."""
    facts = {name: str(value) for name, value in facts.items()}
    lines = "\n".join(f"{name}: {value}" for name, value in facts.items())
    display({_FACTS: facts, "text/plain": lines}, raw=True)


def _facts(notebook: nbformat.NotebookNode) -> dict[str, str]:
    found: dict[str, str] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found |= output.get("data", {}).get(_FACTS, {})
    return found


def _sanitize(text: str) -> str:
    return nh3.clean(text, tags=nh3.ALLOWED_TAGS, filter_style_properties={"background-color"},
                     attributes={"*": {"class"}, "span": {"style"}, "th": {"scope", "colspan"}})


def write_page(path: Path, datasets: str, **values: object) -> None:
    """Write a page from its parts (``title``, ``site``, ``body``, ``toc``, ``chapters``, ``facts``, ``root``), with a
    banner where its data sets want one."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=False)
    page = environment.get_template("page.html.j2").render(banners=_banners(datasets), **values)
    with files.whole(path) as temporary:
        temporary.write_text(page, encoding="utf8")


def _banners(datasets: str) -> list[str]:
    """Banners as HTML."""
    names = datasets.split()
    starters, lines = sum(map(files.is_starter, names)), []
    if starters:
        part = "This report was" if starters == len(names) else "Part of this report was"
        lines.append(f"{part} made from the starter corpus: invented posts, written for this project. "
                     "It shows how the pipeline works and says nothing about real events.")
    if overdue := _overdue(names):
        lines.append(f"{overdue:,} posts from X behind this report were not checked within the last 24 hours: some "
                     "may have been deleted since. <code>make comply</code> drops these.")
    return lines


def _overdue(datasets: list[str]) -> int:
    """Posts with an id of X's that were not seen there within 24 hours."""
    known = Store.open().checked()
    theirs = known["dataset"].isin(set(datasets) - {"", *filter(files.is_starter, datasets)})
    fresh = pd.to_datetime(known["checked_at"]) > utc() - pd.Timedelta(hours=24)
    return int((theirs & posts.made_by_x(known["id"]) & ~fresh).sum())


def render(notebook_path: Path, page_path: Path) -> None:
    """Write the page of an executed notebook: what it found on top, code hidden, texts inert, figures with alt text."""
    notebook = nbformat.read(notebook_path, as_version=4)
    facts = _facts(notebook)
    notebook.cells = _with_something_to_show(notebook.cells)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if _FACTS not in o.get("data", {})]
    exporter = HTMLExporter(template_name="chapter", extra_template_basedirs=[str(TEMPLATES)],
                            filters={"sanitize": _sanitize}, exclude_input=True, exclude_input_prompt=True,
                            exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(notebook)
    elsewhere = page_path.parent.resolve() != notebook_path.parent.resolve()
    beside = f"{os.path.relpath(notebook_path.parent, page_path.parent)}/" if elsewhere else ""
    written = [*CHAPTERS, *(name for name in ANNEX if notebook_path.with_name(f"{name}.html").exists())]
    body = re.sub(rf'href="({"|".join(written)})\.ipynb"', rf'href="{beside}\1.html"', body)
    body = re.sub(r'<a href="[^"/]+\.ipynb">(.*?)</a>', r"\1", body)
    toc = [{"id": anchor, "name": _plain(name)}
           for anchor, name in re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body, re.S)]
    title = _plain(re.search(r"<h1[^>]*>(.*?)</h1>", body, re.S)[1])
    body = body.replace("</h1>", f"</h1>{_found(notebook.cells)}", 1)
    chapters = [{"href": f"{stem}.html", "name": name, "current": stem == notebook_path.stem}
                for stem, name in CHAPTERS.items()
                if notebook_path.stem in CHAPTERS or (page_path.parent / f"{stem}.html").exists()]
    made_with = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "scikit-learn"))
    task = notebook.metadata.get("papermill", {}).get("parameters", {}).get("task")
    site = tasks.load(task).title if task else SITE
    facts |= notebook.metadata.get("hrf", {}) | {"made with": made_with}
    write_page(page_path, facts.get("data", ""), title=title, site=site, body=body, toc=toc, chapters=chapters,
               facts=facts, root="" if elsewhere else "../")


def _with_something_to_show(cells: list) -> list:
    """The cells without prose tagged ``with-next`` that tells of code which, in this run, showed nothing."""
    kept, shown = [], False
    for cell in reversed(cells):
        if cell.cell_type == "code":
            shown = shown or bool(cell.get("outputs"))
        elif not shown and "with-next" in cell.metadata.get("tags", []):
            continue
        else:
            shown = False
        kept.append(cell)
    return kept[::-1]


def _found(cells: list) -> str:
    """What the cells behind the heading "What we found" print, as a box for readers in a hurry; ``""`` if nothing."""
    heads = [number for number, cell in enumerate(cells) if cell.source.startswith("## What we found")]
    printed = "".join(output.text for cell in cells[heads[0]:] for output in cell.get("outputs", [])
                      if output.output_type == "stream" and output.name == "stdout") if heads else ""
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in printed.splitlines() if line.strip())
    return f'<div class="found" role="note" aria-label="What we found">{lines}</div>' if lines else ""


def _plain(markup: str) -> str:
    return html.unescape(re.sub(r"<a class=\"anchor-link\".*?</a>|<[^>]+>", "", markup)).strip()
