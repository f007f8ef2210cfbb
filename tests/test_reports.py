"""Pages: hostile text stays text, nothing is asked of any host, facts and figures survive."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hrf_utils import maps, reports

HOSTILE = ["<script>document.title='owned'</script>", "<img src=x onerror=\"document.title='owned'\">",
           "</pre><script>document.title='owned'</script>", "<iframe src=https://example.org></iframe>",
           "<svg onload=document.title='owned'>", "{{ 7*7 }}", "javascript:document.title='owned'",
           "<a href=\"javascript:document.title='owned'\">x</a>", "<style>body{display:none}</style>", "\u202egnp.exe"]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page of a notebook that shows hostile text in every kind of output."""
    monkeypatch.setenv("HRF_CHAPTER", "1_scrape")
    frame = pd.DataFrame({"text": HOSTILE})
    raw = "".join(f"<p>{text}</p>" for text in HOSTILE)
    cells = [new_markdown_cell("# 1 · Scrape: a title\n\nNext: [2 · Label](2_label.ipynb)."),
             new_markdown_cell("## A part"),
             new_code_cell("secret_code = 1", outputs=[
                 new_output("stream", name="stdout", text="\n".join(HOSTILE)),
                 new_output("stream", name="stderr", text="a progress bar"),
                 new_output("display_data", {"text/html": frame.to_html()}),
                 new_output("display_data", {"text/html": raw}),
                 new_output("display_data", {"image/png": "iVBORw0KGgo="},
                            metadata={"image/png": {"alt": 'A "chart" <b>', "width": 300}}),
                 new_output("display_data", {reports._FACTS: {"data": "starter-force-1", "model": HOSTILE[0]},
                                             "text/plain": "facts"})]),
             new_markdown_cell("## What we found"),
             new_code_cell("", outputs=[new_output("stream", name="stdout", text=f"In the end:\n{HOSTILE[0]}\n")]),
             new_markdown_cell("**What this cannot show.** Much.")]
    notebook = new_notebook(cells=cells, metadata={"hrf": {"parameters": f"posts={HOSTILE[1]}"}})
    nbformat.write(notebook, tmp_path / "1_scrape.ipynb")
    reports.render(tmp_path / "1_scrape.ipynb", tmp_path / "1_scrape.html")
    return tmp_path / "1_scrape.html"


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text that a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_hostile_text_is_inert_and_readable(page):
    elements = Elements(page.read_text())
    assert not {"script", "iframe", "svg", "object", "base", "form"} & {tag for tag, _ in elements.found}
    assert [tag for tag, _ in elements.found].count("style") == 1
    for _, attributes in elements.found:
        assert not [name for name in attributes if name.startswith("on")]
        assert not str(attributes.get("href", "")).lower().startswith("javascript")
    for one in HOSTILE:
        assert elements.text.count(one) >= 2


def test_what_was_found_stands_on_top_as_well(page):
    text = page.read_text()
    box = text[text.index('class="found"'):text.index("<h2")]
    assert text.index("</h1>") < text.index('class="found"') and box.count("</p><p>") == 1
    assert "In the end:" in box and HOSTILE[0] in Elements(f"<{box}").text and text.count("In the end:") == 2


def test_the_page_has_what_a_reader_needs(page):
    text = page.read_text()
    assert "secret_code" not in text and "a progress bar" not in text
    assert 'A "chart" <b>' in [attributes.get("alt") for _, attributes in Elements(text).found]
    assert '<a href="#A-part">A part</a>' in text and 'href="2_label.html"' in text
    assert "invented posts" in text and "<dt>data</dt><dd>starter-force-1</dd>" in text


def test_links_lead_to_pages_that_are_there_and_the_header_names_the_task(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "_overdue", lambda names: 3)
    annex = new_markdown_cell("# A title\n\nSee [A4](A4_active_learning.ipynb), [A3](A3_queries.ipynb).")
    notebook = new_notebook(cells=[annex], metadata={"papermill": {"parameters": {"task": "threat"}}})
    nbformat.write(notebook, tmp_path / "2_label.ipynb")
    (tmp_path / "A3_queries.html").touch()
    reports.render(tmp_path / "2_label.ipynb", tmp_path / "2_label.html")
    text = (tmp_path / "2_label.html").read_text()
    assert 'See A4, <a href="A3_queries.html">A3</a>.' in text and ">Terror threat indicator</a></strong>" in text
    assert "<code>make comply</code>" in text and "`" not in text


def test_nothing_is_asked_of_any_host(page):
    text = page.read_text()
    assert "default-src 'none'" in text and "@import" not in text and "url(" not in text
    for tag, attributes in Elements(text).found:
        assert tag != "link" and str(attributes.get("src", "data:")).startswith("data:")


def test_real_text_is_hidden_under_make_and_shown_on_request(monkeypatch):
    frame = pd.DataFrame({"id": ["1"], "text": ["x" * 500]})
    assert "text" in reports.hide_texts(frame, "archive-12345678")
    monkeypatch.setenv("HRF_CHAPTER", "2_label")
    assert "text" not in reports.hide_texts(frame, "archive-12345678")
    assert len(reports.hide_texts(frame, "starter-force-12345678")["text"][0]) == 161
    monkeypatch.setenv("SHOW_TEXT", "1")
    assert "text" in reports.hide_texts(frame, "archive-12345678")


@pytest.fixture
def on_map():
    return pd.DataFrame({
        "lat": [36.15, 36.16, 45.5, None], "long": [-95.99, -95.98, -122.6, None], "label": [5, 3, 4, 2],
        "title": [*HOSTILE[:3], "no place"], "incident_date": "2026-03-01", "date_precision": "day",
        "posts": [1, 2, 3, 1], "status": ["pending", "pending", "approved", "pending"], "src": "d/1",
        "city": ["Tulsa", "Tulsa", "", ""], "state": ["OK", "OK", "OR", ""]})


@pytest.fixture
def map_page(on_map, force, tmp_path):
    path = tmp_path / "map.html"
    path.write_text(maps.map_page(on_map, force), encoding="utf8")
    return path


def test_the_map_says_when_its_posts_are_invented(on_map, force):
    assert '"Claims in posts"' in maps.map_page(on_map, force)
    invented = maps.map_page(on_map.assign(src="starter-force-1/1"), force)
    assert '"Invented posts of the starter corpus"' in invented and '"Claims in posts"' not in invented


def chromium(path, *arguments):
    """What headless Chromium makes of a page with every host out of reach: its DOM and its console."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.skip("Chromium is not installed")
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=4000", "--enable-logging=stderr",
               f"--user-data-dir={path.parent / 'profile'}", *arguments, "--dump-dom", f"file://{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console


def test_the_map_clusters_in_a_browser_without_network(map_page):
    dom, console = chromium(map_page, "--window-size=900,600")
    assert not console
    assert "Claims in posts; 2 of 3 not reviewed" in dom
    assert 'aria-label="2 incidents"' in dom and dom.count("leaflet-interactive") >= 1
    assert "<title>Incidents</title>" in dom and "owned" not in re.sub(r"<script.*?</script>", "", dom, flags=re.S)


def test_a_chapter_page_is_quiet_in_a_browser(page):
    dom, console = chromium(page)
    assert not console and "<title>1 · Scrape: a title</title>" in dom


def test_colours_of_labels_are_told_apart_by_colour_blind_readers(force):
    """Lightness differs between neighbours, so that the order shows without hue."""
    def lightness(color):
        channels = [int(color[k:k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 116 * (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]) ** (1 / 3) - 16
    ranks = [lightness(color) for color in force.colors[2:]]
    assert all(lighter - darker > 9 for lighter, darker in zip(ranks, ranks[1:], strict=False))


def test_prose_of_a_part_that_showed_nothing_is_left_out(tmp_path):
    def prose(text):
        return new_markdown_cell(text, metadata={"tags": ["with-next"]})

    said = [new_output("stream", name="stdout", text="a number")]
    cells = [new_markdown_cell("# A title"), prose("## Silent part"), new_code_cell("if kinds: 1"),
             prose("And more of it."),
             new_code_cell("2"), prose("## Speaking part"), new_code_cell("3"), new_code_cell("4", outputs=said),
             new_markdown_cell("## Always here"), new_code_cell("5")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "4_performance.ipynb")
    reports.render(tmp_path / "4_performance.ipynb", tmp_path / "4_performance.html")
    page = (tmp_path / "4_performance.html").read_text()
    assert "Silent part" not in page and "And more of it" not in page
    assert "Speaking part" in page and "Always here" in page
