"""What the tests share: a home of their own, tiny encoders, and stores on real databases."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import sync_playwright
from x_server import NOW, Clock, XServer, some_posts

from hrf_utils import inference, settings, tasks, x
from hrf_utils.intervals import resamples

ROOT = Path(__file__).resolve().parent.parent
_INSIDE = ("file:", "data:", "blob:")

bfloat16 = pytest.mark.skipif(not inference.has_bfloat16(), reason="this processor does not multiply bfloat16")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Everything a test writes goes below a folder of its own."""
    for name in settings.VARIABLES:
        if name != "HRF_TEST_DATA":
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HRF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PSEUDONYM_KEY", "test")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def force():
    return tasks.load("force")


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(NOW)
    monkeypatch.setattr(x, "time", clock)
    return clock


@pytest.fixture
def server(clock, monkeypatch):
    server = XServer(some_posts(250, NOW), clock)
    monkeypatch.setenv("X_API_URL", server.url)
    monkeypatch.setenv("BEARER_TOKEN", "secret")
    monkeypatch.setenv("BUDGET_USD", "10")
    yield server
    server.close()


def soak(short: int, whole: int) -> int:
    """How long a long test runs: short in `make test`, whole in `make soak`."""
    return whole if os.environ.get("HRF_SOAK") else short


@pytest.fixture(scope="session")
def made(force):
    """300 test rows in 200 groups, with a model that is right three times in four."""
    rng = np.random.default_rng(1)
    labels = rng.choice(6, 300, p=[0.4, 0.2, 0.06, 0.04, 0.1, 0.2])
    predicted = np.where(rng.random(300) < 0.75, labels, rng.choice(6, 300))
    chances = rng.dirichlet(np.ones(6), 300) * 0.5
    chances[np.arange(300), predicted] += 0.5
    rows = pd.DataFrame({"id": np.arange(300).astype(str), "text": "t", "label": labels,
                         "group": rng.choice(200, 300)})
    predictions = pd.DataFrame(chances, columns=[f"p{k}" for k in range(6)]).assign(
        label=predicted, confidence=chances.max(axis=1))
    weights = resamples(rows["group"].to_numpy(), 200)
    return rows, predictions, weights


@pytest.fixture
def table(tmp_path):
    """Write a CSV of the given columns and give its path."""
    def write(name="posts.csv", **columns):
        path = tmp_path / name
        pd.DataFrame(columns).to_csv(path, index=False)
        return path
    return write


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; skipped where none is installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture
def visit(browser):
    """Open a page with the network cut; what it asks of other hosts and what it complains about is kept."""
    opened = []

    def go(path, width=1280, theme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, color_scheme=theme)
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (page.complaints.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda asked: asked.url.startswith(_INSIDE) or page.complaints.append(asked.url))
        page.goto(f"file://{path}")
        opened.append(context)
        return page

    yield go
    for context in opened:
        context.close()


def _tiny(folder: Path, kind: str) -> Path:
    import tokenizers
    import transformers
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz",
             *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), "police", "shot", "calm", "spray"]
    tokenizer = tokenizers.BertWordPieceTokenizer(dict(zip(words, range(len(words)), strict=True)))
    fast = transformers.BertTokenizerFast(tokenizer_object=tokenizer._tokenizer)
    fast.save_pretrained(folder)
    size = {"vocab_size": len(words), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 160}
    transformers.set_seed(0)
    if kind == "bert":
        model = transformers.BertModel(transformers.BertConfig(**size))
    else:
        model = transformers.ElectraModel(transformers.ElectraConfig(embedding_size=16, **size))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """Folder of a BERT small enough to train in a second."""
    return _tiny(tmp_path_factory.mktemp("tiny-bert"), "bert")


@pytest.fixture(scope="session")
def tiny_electra(tmp_path_factory):
    return _tiny(tmp_path_factory.mktemp("tiny-electra"), "electra")


def _as_postgres(command: list[str], **options) -> subprocess.CompletedProcess:
    """Run a command as the user postgres where the tests run as root, which the server refuses."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return subprocess.run(prefix + command, check=True, capture_output=True, text=True, **options)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """Address of a PostgreSQL server started for the tests; skipped where none is installed."""
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if not shutil.which("initdb") else \
        [Path(shutil.which("initdb")).parent]
    if not servers:
        pytest.skip("PostgreSQL is not installed")
    programs, folder = servers[-1], tmp_path_factory.mktemp("postgres")
    for path in (folder, *folder.parents):
        ours = path.name.startswith(("pytest", "popen"))
        if os.geteuid() == 0 and path.owner() == "root" and ours:
            path.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    _as_postgres([str(programs / "initdb"), "-D", str(data), "-U", "hrf", "--auth=trust"], cwd=folder)
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    _as_postgres([str(programs / "pg_ctl"), "-D", str(data), "-o", options, "-w", "-l", str(folder / "log"),
                  "start"], cwd=folder)
    yield f"postgresql://hrf@/postgres?host={folder}"
    _as_postgres([str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"], cwd=folder)


@pytest.fixture(params=["sqlite", "postgres"])
def db_url(request, tmp_path):
    """A fresh, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    import sqlalchemy as sa
    url = sa.make_url(request.getfixturevalue("postgres"))
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"t{os.urandom(6).hex()}"
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return url.set(database=name).render_as_string(hide_password=False)
