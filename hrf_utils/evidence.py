"""Charts of evidence: how good the model is, how sure, and where it fails (chapter 4), and what the annexes measure.

Each has one message, draws 95% intervals unless it says otherwise, and carries its message as alternative text.
"""

import html
import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, display
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from hrf_utils.evaluation import positive_chance
from hrf_utils.figures import ACCENT, INK, QUIET, WARN, canvas, label_of, show
from hrf_utils.tasks import Task

BASELINES = {"majority": "most frequent label", "keyword_rule": "keyword rule", "tfidf_svm": "TF-IDF + linear SVM"}
"""How the baselines of `evaluation.baselines` are written."""


def confusion(matrix: list[list[int]], names: list[str], title: str) -> None:
    """Confusion matrix: counts in the cells, shaded by the share of each true label."""
    counts = np.array(matrix)
    with np.errstate(invalid="ignore"):
        share = np.nan_to_num(counts / counts.sum(axis=1, keepdims=True))
    size = 1.9 + 0.62 * len(names)
    figure, (axis,) = canvas(size + 1.4, size)
    sns.heatmap(share, annot=counts, fmt=",d", cmap="Blues", vmin=0, vmax=1, square=True, ax=axis,
                linewidths=1.5, linecolor="white", xticklabels=names, yticklabels=names,
                cbar_kws={"label": "share of the true label", "shrink": 0.8,
                          "format": PercentFormatter(1)})
    axis.set(title=title, xlabel="predicted", ylabel="true")
    axis.set_xticklabels(axis.get_xticklabels(), rotation=35, ha="right", rotation_mode="anchor")
    axis.tick_params(axis="y", rotation=0)
    right = np.trace(counts)
    show(figure, f"{title}: {right:,} of {counts.sum():,} rows on the diagonal. Recall by label: "
          + ", ".join(f"{name} {share[k, k]:.0%}" for k, name in enumerate(names)) + ".")


def _dots(axis: plt.Axes, y: float, cell: dict, color: str, text: str = "") -> None:
    """A value with its interval on a line of its own, and a text above it."""
    axis.plot([cell["low"], cell["high"]], [y, y], color=color, linewidth=2.2, alpha=0.55, solid_capstyle="round")
    axis.plot(cell["value"], y, "o", color=color, markersize=6.5)
    axis.annotate(text, (cell["value"], y), (0, 7), textcoords="offset points", ha="center", fontsize=8.5,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})


def _lines(axis: plt.Axes, names: Sequence[str]) -> None:
    """Name the lines of a chart of `_dots`, the first on top."""
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)


def _percent(axis: plt.Axes) -> None:
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(PercentFormatter(1, decimals=0))


def _few_ticks(axis: plt.Axes) -> None:
    """At most six round numbers along the x axis."""
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _band(axis: plt.Axes, x: Sequence, middle: np.ndarray, edges: np.ndarray, color: str, name: str,
          style: str = "-") -> None:
    """A line with a band between the two rows of `edges`, shape (2, moments), and its name behind it."""
    axis.fill_between(x, *edges, color=color, alpha=0.2, linewidth=0)
    axis.plot(x, middle, style, color=color, linewidth=2, markersize=3.5)
    axis.annotate(name, (x[-1], middle[-1]), (7, 0), textcoords="offset points", va="center", color=color,
                  fontweight="bold")


def _said(cell: dict, form: str) -> str:
    """A value and its interval in words."""
    return f"{cell['value']:{form}} ({cell['low']:{form}} to {cell['high']:{form}})"


def scores_by_label(metrics: dict, task: Task) -> None:
    """F1 of each label with its interval, and precision and recall as marks."""
    figure, (axis,) = canvas(7.6, 1.2 + 0.5 * len(task.labels))
    for label in task.labels:
        row = metrics["per_label"][str(label.number)]
        if row["support"]:
            _dots(axis, label.number, row["f1"], label.color)
            axis.plot(row["precision"]["value"], label.number - 0.27, marker="$P$", color=QUIET)
            axis.plot(row["recall"]["value"], label.number + 0.27, marker="$R$", color=QUIET)
    axis.set_yticks(range(len(task.labels)), [
        f"{label_of(task, x.number)}\nn = {metrics['per_label'][str(x.number)]['support']:,}"
        for x in task.labels])
    axis.invert_yaxis()
    axis.set(title="F1 by label, with 95% interval (P precision, R recall)", xlim=(-0.02, 1.02))
    show(figure, "F1 by label with 95% intervals: " + "; ".join(
        f"{x.name} {_said(row['f1'], '.2f')}" for x in task.labels
        if (row := metrics["per_label"][str(x.number)])["support"]) + ".")


def against_baselines(metrics: dict) -> None:
    """Accuracy and macro-F1 of the model and the baselines, with intervals."""
    figure, axes = canvas(7.6, 2.4, 2)
    rows = {"this model": metrics} | {BASELINES[k]: v for k, v in metrics["baselines"].items()}
    for axis, metric, title in zip(axes, ("accuracy", "macro_f1"), ("Accuracy", "Macro-F1"), strict=True):
        for y, (name, row) in enumerate(rows.items()):
            _dots(axis, y, row[metric], ACCENT if name == "this model" else QUIET, f"{row[metric]['value']:.2f}")
        axis.set_yticks(range(len(rows)), rows if axis is axes[0] else [""] * len(rows))
        axis.set(title=title, xlim=(0, 1.02), ylim=(len(rows) - 0.5, -0.6), xlabel="line: 95% interval")
    show(figure, "Model and baselines, accuracy and macro-F1 with 95% intervals: " + "; ".join(
        f"{name} {_said(row['accuracy'], '.2f')}, {_said(row['macro_f1'], '.2f')}" for name, row in rows.items()) + ".")


def roc_and_pr(rows: pd.DataFrame, predictions: pd.DataFrame, metrics: dict, task: Task) -> None:
    """ROC and precision-recall curves of the binary view."""
    true = np.isin(rows["label"], task.positive)
    if true.all() or not true.any():
        return
    score = positive_chance(predictions.filter(regex=r"^p\d+$").to_numpy(), task)
    figure, (left, right) = canvas(7.6, 3.6, 2)
    fall_out, recall, _ = roc_curve(true, score)
    left.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1)
    left.plot(fall_out, recall, color=ACCENT, linewidth=2)
    left.set(title="ROC", xlabel="false-positive rate", ylabel="recall")
    precision, recall, _ = precision_recall_curve(true, score)
    right.axhline(true.mean(), linestyle="--", color=QUIET, linewidth=1)
    right.plot(recall, precision, color=ACCENT, linewidth=2)
    right.set(title="Precision and recall", xlabel="recall", ylabel="precision")
    texts = []
    for axis, x, side, name, word in ((left, 0.95, "right", "roc_auc", "area"),
                                      (right, 0.05, "left", "average_precision", "average precision")):
        texts.append(f"{word} {_said(metrics['binary'][name], '.3f')}")
        axis.text(x, 0.12, texts[-1].replace(" (", "\n("), transform=axis.transAxes, ha=side)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    show(figure, f"ROC curve, {texts[0]}; precision-recall curve, {texts[1]}; dashed: chance.")


def trade_off(rows: pd.DataFrame, chance: np.ndarray, points: dict[str, float], task: Task) -> None:
    """Positive posts missed against other posts falsely flagged, a line a kind; the marks are operating points."""
    true = np.isin(rows["label"], task.positive)
    kinds, texts = sorted(set(rows.loc[~true, "kind"]) - {""}), []
    figure, (axis,) = canvas(7.6, 3.8)
    for kind, color in zip(kinds, sns.color_palette([WARN, ACCENT, QUIET, INK], len(kinds)), strict=True):
        part = true | (rows["kind"] == kind).to_numpy()
        fall_out, recall, _ = roc_curve(true[part], chance[part], drop_intermediate=False)
        axis.plot(fall_out, 1 - recall, color=color, linewidth=2, label=kind)
        scores = chance[part & ~true]
        marks = [((scores >= least).mean(), (chance[true] < least).mean()) for least in points.values()]
        axis.plot(*zip(*marks, strict=True), "o", color=color, markersize=5)
        texts.append(f"{kind}: " + ", ".join(f"{name} flags {alarm:.1%} and misses {missed:.0%}"
                                             for name, (alarm, missed) in zip(points, marks, strict=True)))
    axis.set_xscale("symlog", linthresh=0.01)
    axis.set(title="Missed against falsely flagged", xlabel="share of a kind's posts that are falsely flagged",
             ylabel="share of positive posts missed", xlim=(0, 1), ylim=(0, 1))
    axis.set_xticks([0, 0.01, 0.03, 0.1, 0.3, 1])
    _percent(axis)
    axis.legend(title="kind", frameon=False)
    show(figure, "Positive posts missed against posts of each kind falsely flagged. " + "; ".join(texts) + ".")


def calibration(table: pd.DataFrame, metrics: dict) -> None:
    """How often the model is right at each confidence, with intervals; from `confidence.reliability`."""
    low = min(table["confidence"].min(), table["low"].min()) - 0.05
    figure, (axis,) = canvas(4.6, 3.9)
    axis.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1)
    axis.vlines(table["confidence"], table["low"], table["high"], color=ACCENT, linewidth=1.6, alpha=0.6)
    axis.plot(table["confidence"], table["value"], "o", color=ACCENT, markersize=5.5)
    axis.set(title="Is a confident answer a right one?", xlabel="confidence", ylabel="share right",
             xlim=(low, 1.02), ylim=(low, 1.04))
    axis.text(0.97, 0.06, f"calibration error {metrics['calibration']['ece']:.3f}",
              transform=axis.transAxes, ha="right")
    show(figure, "Share of right answers by confidence, ten bins with 95% intervals; expected "
                  f"calibration error {metrics['calibration']['ece']:.3f}.")


def optimism(scores: dict[str, dict]) -> None:
    """Cross-validated scores of the linear model under a random and a leak-proof split."""
    names = {"random": "rows dealt at random", "grouped": "related rows kept together"}
    figure, axes = canvas(7.6, 1.9, 2)
    first = ("roc_auc", "Area under the ROC curve") if "roc_auc" in scores["gap"] else ("accuracy", "Accuracy")
    for axis, (metric, title) in zip(axes, (first, ("macro_f1", "Macro-F1")), strict=True):
        for y, (way, color) in enumerate((("random", WARN), ("grouped", ACCENT))):
            _dots(axis, y, scores[way][metric], color, f"{scores[way][metric]['value']:.3f}")
        axis.set_yticks([0, 1], names.values() if axis is axes[0] else ["", ""])
        axis.set(title=title, ylim=(1.5, -0.7))
        axis.margins(x=0.25)
        _few_ticks(axis)
    texts = [f"{title} {scores['random'][metric]['value']:.3f} with rows dealt at random, "
             f"{scores['grouped'][metric]['value']:.3f} with related rows kept together; difference "
             f"{_said(scores['gap'][metric], '.3f')}" for metric, title in (first, ("macro_f1", "Macro-F1"))]
    show(figure, f"The linear model under two splits: {'. '.join(texts)}.")


def risk_coverage(table: pd.DataFrame, abstain: float) -> None:
    """Share of wrong answers as more posts are answered; from `confidence.risk_coverage`."""
    figure, (axis,) = canvas(7.6, 3.0)
    axis.fill_between(table["coverage"], table["low"], table["high"], color=ACCENT, alpha=0.18, linewidth=0)
    axis.plot(table["coverage"], table["value"], color=ACCENT, linewidth=2)
    believed = table.loc[table["confidence"] >= abstain, "coverage"].max()
    text = "the model is not sure enough of any"
    if pd.notna(believed):
        row = table[table["coverage"] == believed].iloc[0]
        axis.plot(believed, row["value"], "o", color=WARN, markersize=8)
        text = f"abstaining below {abstain:.2f}: {believed:.0%} answered, {row['value']:.0%} of them wrong"
        free = np.clip(believed, 0.35, 0.6)  # where the band, high at both ends, leaves room above it
        axis.annotate(text.replace(": ", ":\n"), (believed, row["value"]), (free, 0.96), color=WARN, ha="center",
                      va="top", textcoords=axis.get_xaxis_transform(),
                      arrowprops={"arrowstyle": "-", "color": WARN, "shrinkB": 5})
    axis.set(title="Share wrong, by share of posts answered", ylabel="share wrong",
             xlabel="share of posts answered, the surest first", ylim=(0, None), xlim=(0, 1.01))
    _percent(axis)
    last = table.iloc[-1]
    show(figure, f"Share of wrong answers by share of posts answered, with 95% band: {last['value']:.0%} wrong when "
                 f"all are answered; {text}.")


def behaviour(table: pd.DataFrame) -> None:
    """Share of failed cases by capability, the worst on top; from `behaviour.by_capability`."""
    _shares(table, "failed", "cases", "Cases failed, by capability")


def yields(table: pd.DataFrame) -> None:
    """Share of relevant posts among those that each phrase found, the best on top; from `policies.yields`."""
    _shares(table[table["posts"] > 0].sort_values("value", ascending=False), "hits", "posts",
            "Share of relevant posts, by phrase")


def _shares(table: pd.DataFrame, part: str, whole: str, title: str) -> None:
    figure, (axis,) = canvas(7.6, 0.9 + 0.29 * len(table))
    counts = [f"{row[part]:,.0f} of {row[whole]:,.0f}" for _, row in table.iterrows()]
    for y, (_, row) in enumerate(table.iterrows()):
        _dots(axis, y, row, ACCENT)
        axis.annotate(counts[y], (1.0, y), (6, 0), textcoords="offset points", va="center",
                      xycoords=("axes fraction", "data"), fontsize=8.5, color=QUIET)
    _lines(axis, table.index)
    axis.set(title=title, xlim=(-0.02, 1.02), xlabel="share; line: 95% interval")
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    show(figure, f"{title}, with 95% intervals: "
                 + "; ".join(f"{name} {count}" for name, count in zip(table.index, counts, strict=True)) + ".")


def race(shares: dict[str, np.ndarray], posts: np.ndarray) -> None:
    """What policies have found, as a share of what always taking the best phrase would have found.

    Parameters
    ----------
    shares : for each policy, one row a simulation and one column a moment, shape (seeds, moments)
    posts : posts read at each moment
    """
    figure, (axis,) = canvas(7.6, 3.2)
    texts = []
    for (name, runs), color in zip(shares.items(), (QUIET, ACCENT), strict=True):
        low, middle, high = np.quantile(runs, [0.025, 0.5, 0.975], axis=0)
        _band(axis, posts, middle, [low, high], color, name)
        texts.append(f"{name} {middle[-1]:.0%} ({low[-1]:.0%} to {high[-1]:.0%})")
    axis.axhline(1, color=QUIET, linewidth=1, linestyle="--")
    axis.set(title="Found, against always taking the best phrase", xlabel="posts read",
             ylabel="share of what the best finds", ylim=(0, 1.08), xlim=(0, posts[-1] * 1.12))
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    show(figure, f"After {posts[-1]:,} posts, median and middle 95% of {len(runs)} simulations: {'; '.join(texts)}.")


def learning(scores: dict[str, pd.DataFrame], goal: float, of_goal: str) -> None:
    """Macro-F1 by labels, mean and range of replays; from `active.curves`, the way with the colour last."""
    figure, (axis,) = canvas(7.6, 3.4)
    texts, end = [], max(table.columns.max() for table in scores.values())
    for (way, table), color in zip(scores.items(), (QUIET, ACCENT), strict=True):
        mean = table.mean().to_numpy()
        _band(axis, table.columns, mean, [table.min(), table.max()], color, way, "o-")
        texts.append(f"{way} {mean[-1]:.3f} with {table.columns[-1]:,} labels")
    axis.hlines(goal, 0, end, color=QUIET, linewidth=1, linestyle="--")
    lowest = min(table.loc[:, end / 2:].min().min() for table in scores.values())
    axis.annotate(f"dashed: {of_goal}", (end, lowest), (0, -5), textcoords="offset points", color=QUIET, fontsize=8.5,
                  ha="right", va="top")
    axis.set(title="Macro-F1 on posts set aside, by labels given", xlabel="labels", xlim=(0, end * 1.15))
    show(figure, f"Mean macro-F1 of {len(table)} replays, with their range: {'; '.join(texts)}.")


def slices(table: pd.DataFrame, sizes: pd.Series, title: str = "Accuracy against all other posts") -> None:
    """Difference in accuracy between a part of the test and the rest, and which parts were left out.

    Parameters
    ----------
    table : from `evaluation.slices`
    sizes : posts in each slice, shown or not
    """
    if len(table):
        figure, (axis,) = canvas(7.6, 0.9 + 0.32 * len(table))
        axis.axvline(0, color=QUIET, linewidth=1, linestyle="--")
        apart = (table["high"] < 0) | (table["low"] > 0)
        for y, (name, row) in enumerate(table.iterrows()):
            _dots(axis, y, row, ACCENT if apart[name] else QUIET)
        _lines(axis, [f"{name}  (n = {row['n']:,.0f})" for name, row in table.iterrows()])
        axis.set(title=textwrap.fill(title, 44),
                 xlabel="difference (blue: the interval leaves out 0)" if apart.any() else "difference")
        show(figure, f"{title}, difference, worst first: " + "; ".join(
            f"{name} {_said(row, '+.2f')}" for name, row in table.iterrows()) + ".")
    if few := [f"{name} (n = {n:,})" for name, n in sizes.drop(table.index).items()]:
        print(f"Not shown, for too few posts inside or outside: {'; '.join(few)}.")


def words(explained: list[pd.DataFrame], heads: list[str]) -> None:
    """Posts with each word shaded by what it did for the answer: red for it, blue against it.

    `explained` comes from `explain.occlusion`; `heads` say of each post what was answered.
    """
    blocks = []
    for head, table in zip(heads, explained, strict=True):
        strongest = max(0.05, table["weight"].abs().max()) if len(table) else 1
        spans = " ".join(
            f'<span style="background-color:rgba({"200,56,79" if row.weight > 0 else "47,109,181"},'
            f'{abs(row.weight) / strongest * 0.7:.2f})">{html.escape(row.word)}</span>'
            for row in table.itertuples())
        blocks.append(f'<p class="words"><b>{html.escape(head)}</b><br>{spans}</p>')
    display(HTML("".join(blocks)))


def variants(table: pd.DataFrame, default: str) -> None:
    """Differences of each variant to the default in accuracy and macro-F1; from `study.compare`."""
    names = [name for name in table["method"].unique() if name != default]
    if not names:
        return
    figure, axes = canvas(7.6, 1.0 + 0.3 * len(names), 2)
    texts = []
    for axis, measure in zip(axes, ("accuracy", "macro-F1"), strict=True):
        rows = table[table["measure"] == measure].set_index("method")
        axis.axvline(0, color=QUIET, linewidth=1, linestyle="--")
        for y, name in enumerate(names):
            cell = dict(zip(("value", "low", "high"), rows.loc[name, ["by", "by_low", "by_high"]], strict=True))
            _dots(axis, y, cell, ACCENT if cell["low"] > 0 or cell["high"] < 0 else QUIET)
            texts.append(f"{name}, {measure} {_said(cell, '+.3f')}")
        axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
        axis.set(title=f"Change in {measure}", ylim=(len(names) - 0.5, -0.5),
                 xlabel="line: 95% interval, blue where it leaves out 0")
        _few_ticks(axis)
        axis.grid(axis="y", visible=False)
    show(figure, "Change against the default recipe, with 95% intervals: " + "; ".join(texts) + ".")


def drift(table: pd.DataFrame, task: Task) -> None:
    """Share of each predicted label and estimated accuracy by period, a chart each; from `drift.periods`.

    The labels share one scale. A gap in collection is a gap in the line.
    """
    if table.empty:
        return
    periods = table[["period", "segment"]].drop_duplicates().sort_values("period", ignore_index=True)
    periods["at"] = periods.index + periods["segment"]
    table = table.merge(periods, on=["period", "segment"])
    ticks = periods.iloc[[0, -1]].drop_duplicates()
    names = ticks["period"].dt.strftime("%b" if periods["period"].dt.is_month_start.all() else "%d %b")
    years = ("\n" + ticks["period"].dt.strftime("%Y")).where(ticks["period"].dt.year.diff() != 0, "")
    charts = {str(label.number): (label.name, label.color) for label in task.labels}
    charts["accuracy"] = ("Accuracy, estimated", ACCENT)
    top = 1.05 * table.loc[table["measure"] != "accuracy", "high"].max()
    columns = min(4, len(charts))
    figure, axes = canvas(7.6, 2.1 * -(-len(charts) // columns), columns, -(-len(charts) // columns))
    for axis, (measure, (name, color)) in zip(axes, charts.items(), strict=False):
        _segments(axis, table[table["measure"] == measure], color)
        axis.set_title(name, color=color, fontsize=9.5)
        axis.set(ylim=(0, 1.02 if measure == "accuracy" else top), xlim=(-0.6, periods["at"].max() + 0.6))
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_xticks(ticks["at"], names + years)
        axis.grid(axis="x", visible=False)
    for axis in axes[len(charts):]:
        axis.set_visible(False)
    figure.supylabel("share of posts\nline: 95% interval", fontsize=9.5)
    ranges = table.groupby("measure")["value"].agg(["min", "max"])
    show(figure, f"Share of posts over {periods['period'].nunique()} periods, lowest to highest: " + "; ".join(
        f"{name} {ranges.at[measure, 'min']:.0%} to {ranges.at[measure, 'max']:.0%}"
        for measure, (name, _) in charts.items() if measure in ranges.index) + ".")


def _segments(axis: plt.Axes, rows: pd.DataFrame, color: str) -> None:
    for _, part in rows.groupby("segment"):
        axis.plot(part["at"], part["value"], "o-", color=color, markersize=4, linewidth=1.5, alpha=0.9)
        axis.vlines(part["at"], part["low"], part["high"], color=color, linewidth=1.2, alpha=0.9)


def ratios(table: pd.DataFrame, title: str) -> None:
    """How many times as fast each way is, with the lowest and highest of its rounds; from `benchmark`."""
    figure, (axis,) = canvas(7.6, 0.9 + 0.32 * len(table))
    axis.axvline(1, color=QUIET, linewidth=1, linestyle="--")
    for y, (name, row) in enumerate(table.iterrows()):
        _dots(axis, y, row.rename({"ratio": "value"}), ACCENT if name.startswith("ours") else QUIET,
              f"{row['ratio']:.1f}")
    _lines(axis, table.index)
    axis.set(title=title, xlim=(0, None), xlabel="times as many posts a second; line: lowest to highest round")
    show(figure, f"{title}: " + "; ".join(f"{name} {row['ratio']:.1f} times" for name, row in table.iterrows()) + ".")
