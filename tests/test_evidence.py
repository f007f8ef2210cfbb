"""Figures say what they show: names, ticks, legends, and what was left out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from hrf_utils import drift, evidence, figures


@pytest.fixture
def shown(monkeypatch):
    """What was drawn: a list of (figure, alternative text)."""
    kept = []
    monkeypatch.setattr(evidence, "show", lambda figure, alt: kept.append((figure, alt)))
    yield kept
    plt.close("all")


def cells(**rows):
    return pd.DataFrame.from_dict(rows, orient="index", columns=["n", "value", "low", "high"])


def test_slices_name_what_they_leave_out_and_what_is_blue(shown, capsys):
    sizes = pd.Series({"long": 40, "short": 60, "with a link": 4})
    evidence.slices(cells(long=(40, 0.1, -0.1, 0.3), short=(60, 0.0, -0.1, 0.1)), sizes)
    assert "with a link (n = 4)." in capsys.readouterr().out
    evidence.slices(cells(long=(40, 0.1, 0.05, 0.3)), sizes.head(1))
    assert not capsys.readouterr().out
    assert ["blue" in figure.axes[0].get_xlabel() for figure, _ in shown] == [False, True]
    evidence.slices(cells(), sizes.tail(1))
    assert len(shown) == 2 and "with a link" in capsys.readouterr().out


def months(task, first="2026-01-15"):
    posts = pd.DataFrame({"created_at": np.repeat(pd.date_range(first, periods=4, freq="31D"), 40)})
    predictions = pd.DataFrame({"label": np.arange(160) % 6, "confidence": 0.8})
    return drift.periods(posts, predictions, np.arange(160), task, draws=20)


def test_drift_draws_a_chart_a_label_with_its_name(shown, force):
    table = months(force)
    evidence.drift(table, force)
    charts = [axis for axis in shown[0][0].axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in charts] == [*force.names, "Accuracy, estimated"]
    assert len({axis.get_ylim() for axis in charts[:-1]}) == 1
    assert charts[0].get_xticklabels()[0].get_text() == "15 Jan\n2026"


def test_drift_by_month_has_names_of_months(shown, force):
    evidence.drift(months(force).assign(period=lambda x: x["period"].dt.to_period("M").dt.start_time), force)
    ticks = [tick.get_text() for tick in shown[0][0].axes[0].get_xticklabels()]
    assert ticks == ["Jan\n2026", "Apr"]


def test_ticks_are_round_numbers(shown):
    table = pd.DataFrame({"method": "x", "measure": ["accuracy", "macro-F1"], "by": 0.01, "by_low": -0.0005,
                          "by_high": 0.021})
    evidence.variants(table, "default")
    ticks = np.diff(shown[0][0].axes[0].get_xticks())
    assert ticks == pytest.approx(np.full(len(ticks), 0.01)) or ticks == pytest.approx(np.full(len(ticks), 0.005))


def test_the_abstaining_point_has_its_text_beside_it(shown):
    table = pd.DataFrame({"coverage": [0.4, 0.7, 1.0], "confidence": [0.9, 0.7, 0.3], "value": [0.05, 0.09, 0.2],
                          "low": [0.0, 0.07, 0.17], "high": [0.06, 0.11, 0.22]})
    evidence.risk_coverage(table, 0.7)
    text = shown[0][0].axes[0].texts[0]
    assert text.xy == (0.7, 0.09) and text.get_text() == "abstaining below 0.70:\n70% answered, 9% of them wrong"


def test_the_band_of_a_few_replays_is_their_range(shown):
    runs = pd.DataFrame({200: [0.1, 0.2, 0.6], 3000: [0.5, 0.6, 0.7]})
    evidence.learning({"at random": runs, "by the queue": runs[[200]]}, 0.6, "random")
    axis = shown[0][0].axes[0]
    band = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0.1, 0.7) and "range" in shown[0][1]
    assert axis.collections[-1].get_segments()[0][:, 0].tolist() == [0, 3000]
    assert axis.texts[-1].xy == (3000, 0.5)


def test_a_canvas_has_rows():
    figure, axes = figures.canvas(4, 4, 2, 3)
    plt.close(figure)
    assert len(axes) == 6
