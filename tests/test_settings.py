"""Variables: precedence, .env, and misspelled names."""

import pytest

from hrf_utils import settings
from hrf_utils.settings import InputError


def test_environment_goes_before_dotenv_before_default(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    (tmp_path / ".env").write_text('SEED=4 # four\nSOURCE="file"\n\n# nothing\n')
    monkeypatch.setenv("SEED", "7")
    assert (settings.get("SEED"), settings.get("SOURCE"), settings.get("TASK")) == ("7", "file", "force")


def test_an_empty_value_on_the_command_line_overrides_dotenv(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    (tmp_path / ".env").write_text("LABELS=hrf\nPSEUDONYM_KEY=abc#def  # comment\n")
    monkeypatch.setenv("LABELS", "")
    monkeypatch.delenv("PSEUDONYM_KEY")
    assert (settings.get("LABELS"), settings.get("PSEUDONYM_KEY")) == ("", "abc#def")
    (tmp_path / ".env").write_text("PSEUDONYM_KEY=it's\n")
    with pytest.raises(InputError, match="line 1: No closing quotation; quote the value"):
        settings.dotenv()


def test_misspelled_names_are_refused_with_the_nearest(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="unknown variable LABLES.*did you mean LABELS"):
        settings.check_names(["LABLES"])
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    (tmp_path / ".env").write_text("SOURCE=file\nSORCE=x\n")
    with pytest.raises(InputError, match=r"\.env line 2.*did you mean SOURCE"):
        settings.get("SEED_")


def test_a_line_of_dotenv_that_assigns_nothing_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    (tmp_path / ".env").write_text("just words\n")
    with pytest.raises(InputError, match="line 1 is not of the form"):
        settings.dotenv()


def test_unknown_task_names_the_known_ones(monkeypatch):
    monkeypatch.setenv("TASK", "fource")
    with pytest.raises(InputError, match="unknown TASK fource; there are force, threat"):
        settings.for_make([])
