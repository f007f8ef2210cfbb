"""Sources: what is collected once is there once, and the download is verified, resumed and explained."""

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import pandas as pd
import pytest

from hrf_utils import collecting, sources, tasks
from hrf_utils.settings import InputError
from hrf_utils.store import Store


def test_the_starter_source_hands_over_every_post_without_its_label(force):
    store = Store.open()
    source = sources.open_source("starter", force)
    counts = collecting.collect(source, store)
    posts = store.posts(source.dataset)
    assert counts["read"].sum() == len(posts) == len(pd.read_csv(force.starter))
    assert "label" not in posts and store.labels("force", [source.dataset]).empty
    assert posts["author"].str.fullmatch(r"a[0-9a-f]{16}").all()


def test_collecting_twice_adds_nothing_and_is_recorded(force, table):
    store = Store.open()
    source = sources.open_source("file", force, str(table(
        id=["1", "2", "3", "4"], text=["a b", "c d", "e f", ""], query=["police", "police", "taser", "taser"])))
    first, second = collecting.collect(source, store), collecting.collect(source, store)
    assert first["new"].to_dict() == {"police": 2, "taser": 1} and first["refused"].sum() == 1
    assert second["new"].sum() == 0 and second["repeated"].sum() == 3
    assert len(store.posts(source.dataset)) == 3 and len(store.queries(source.dataset)) >= 2


def test_a_source_of_ones_own_needs_three_names(force):
    class Feed:
        name, dataset = "feed", "feed-1"

        def pages(self, store):
            for k in range(3):
                posts = pd.DataFrame({"dataset": "feed-1", "id": [str(k)], "text": [f"post {k}"]})
                yield collecting.Page("police", posts, 0)

    store = Store.open()
    assert collecting.collect(Feed(), store)["new"].tolist() == [3] and len(store.posts("feed-1")) == 3


def test_pages_before_a_failure_are_kept(force):
    class Broken:
        name, dataset = "feed", "feed-1"

        def pages(self, store):
            yield collecting.Page("q", pd.DataFrame({"dataset": "feed-1", "id": ["1"], "text": ["kept"]}), 0)
            raise ConnectionError

    store = Store.open()
    with pytest.raises(ConnectionError):
        collecting.collect(Broken(), store)
    assert store.posts("feed-1")["text"].tolist() == ["kept"] and store.queries("feed-1")["read"].tolist() == [1]


@pytest.mark.parametrize(("source", "path", "says"), [
    ("mail", "", "unknown SOURCE 'mail'; there are starter, file, x and bluesky"),
    ("file", "", "SOURCE=file needs POSTS"),
    ("file", "no.csv", "there is no file no.csv")])
def test_bad_sources_are_one_sentence(force, source, path, says):
    with pytest.raises(InputError, match=says):
        sources.open_source(source, force, path)


def test_a_phrase_finds_posts_with_every_word():
    texts = pd.Series(["Police used tear gas", "gas prices", "TEAR GAS and police again", "policeman"], [5, 6, 7, 8])
    found = sources.found_by(texts, ("tear gas police", "police", "baton"))
    assert found.groupby("query")["row"].agg(list).to_dict() == {"tear gas police": [5, 7], "police": [5, 7, 8]}


# ---- the public set, from a local mirror


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder with small stand-ins for the two files, whose digests are taken for the published ones."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name in ("training.csv", "test.csv"):
        (folder / name).write_bytes(f"id,tweets,labels\n1,{name},0\n".encode() * 5000)
    monkeypatch.setattr(sources, "_PUBLIC", {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    monkeypatch.setenv("HRF_DATA_URL", folder.as_uri())
    return folder


class Ranged(http.server.SimpleHTTPRequestHandler):
    """Serves files and byte ranges, and notes what was asked."""

    asked = []

    def do_GET(self):
        self.asked.append(self.headers.get("Range"))
        if not self.headers.get("Range"):
            return super().do_GET()
        if int(self.headers["Range"][6:-1]) >= Path(self.translate_path(self.path)).stat().st_size:
            return self.send_error(416)
        content = Path(self.translate_path(self.path)).read_bytes()[int(self.headers["Range"][6:-1]):]
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(mirror, monkeypatch):
    Ranged.asked = []
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranged, directory=mirror))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    monkeypatch.setenv("HRF_DATA_URL", f"http://127.0.0.1:{served.server_port}/")
    yield served
    served.shutdown()


def test_download_is_verified_and_not_repeated(server, tmp_path):
    paths = sources.download(tmp_path / "raw")
    assert [path.read_bytes() for path in paths] == [(tmp_path / "mirror" / p.name).read_bytes() for p in paths]
    sources.download(tmp_path / "raw")
    assert len(server.RequestHandlerClass.func.asked) == 2


def test_download_resumes_where_it_stopped(server, mirror, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "training.part").write_bytes((mirror / "training.csv").read_bytes()[:1000])
    path = sources.download(raw)[0]
    assert path.read_bytes() == (mirror / "training.csv").read_bytes()
    assert server.RequestHandlerClass.func.asked[0] == "bytes=1000-"
    assert not list(raw.glob("*.part"))


@pytest.mark.parametrize("rest", [b"", b"something else that is longer"])
def test_a_part_that_is_complete_or_too_long_is_no_dead_end(server, mirror, tmp_path, rest):
    (tmp_path / "raw").mkdir()
    whole = (mirror / "training.csv").read_bytes()
    (tmp_path / "raw" / "training.part").write_bytes(whole + rest)
    assert sources.download(tmp_path / "raw")[0].read_bytes() == whole


def test_a_broken_connection_keeps_what_came(server, mirror, tmp_path, monkeypatch):
    whole = (mirror / "training.csv").read_bytes()
    real = Ranged.copyfile
    monkeypatch.setattr(Ranged, "copyfile", lambda self, source, out: out.write(source.read(2000)), raising=False)
    with pytest.raises(InputError, match="connection broke .* run `make data` again"):
        sources.download(tmp_path / "raw")
    assert (tmp_path / "raw" / "training.part").stat().st_size == 2000
    monkeypatch.setattr(Ranged, "copyfile", real)
    assert sources.download(tmp_path / "raw")[0].read_bytes() == whole


def test_a_mirror_may_be_a_folder(mirror, tmp_path):
    assert all(path.exists() for path in sources.download(tmp_path / "raw"))


def test_a_changed_file_is_refused_and_not_kept(mirror, tmp_path):
    (mirror / "test.csv").write_text("something else")
    with pytest.raises(InputError, match="test.csv from .* has sha256 .* nothing was kept"):
        sources.download(tmp_path / "raw")
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["training.csv"]


def test_without_network_it_explains_itself(monkeypatch, tmp_path):
    monkeypatch.setenv("HRF_DATA_URL", "http://127.0.0.1:9/")
    with pytest.raises(InputError, match="cannot download training.csv: .*needs a network, or a mirror"):
        sources.download(tmp_path / "raw")


def test_hrf_names_the_public_set_with_its_test(force, monkeypatch, home):
    with pytest.raises(InputError, match="run `make data`"):
        force.label_files("hrf", "")
    folder = home / "data" / "raw" / "hrf"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test.csv").write_text("x")
    assert force.label_files("hrf", "") == (folder / "training.csv", folder / "test.csv")
    assert force.label_files("mine.csv", "t.csv")[1].name == "t.csv"
    assert tasks.load("threat").label_files("", "")[0].name == "threat.csv"
