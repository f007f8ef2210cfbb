"""What people look at: charts with one message each, and the clustered map.

Every figure carries its message as alternative text, computed from what it shows. Labels keep the
order and the colours of their task file everywhere.
"""

import html
import io
import json
from importlib.resources import files as package_files
from pathlib import Path

import matplotlib.dates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, Image, display
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from hrf_utils.evaluation import positive_chance
from hrf_utils.places import state_shapes
from hrf_utils.tasks import Task

INK, QUIET, ACCENT = "#1f2a37", "#8a94a3", "#2f6db5"
_TEMPLATE = Path(__file__).parent / "template" / "map.html"

_STYLE = {"axes.edgecolor": "#c9d1da", "axes.labelcolor": INK, "text.color": INK,
          "xtick.color": INK, "ytick.color": INK, "axes.titlelocation": "left",
          "axes.titleweight": "bold", "axes.titlesize": 11, "axes.titlepad": 12, "font.size": 9.5,
          "grid.color": "#e6eaef", "figure.facecolor": "white", "savefig.facecolor": "white"}


def _canvas(width: float, height: float, columns: int = 1) -> tuple[Figure, list]:
    sns.set_theme(style="whitegrid", rc=_STYLE)
    figure, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False,
                                layout="constrained")
    for axis in axes[0]:
        sns.despine(ax=axis, left=True, bottom=True)
    return figure, list(axes[0])


def _show(figure: Figure, alt: str) -> None:
    """Display a figure as PNG with alternative text, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    plt.close(figure)
    width, height = (figure.get_size_inches() * 100).astype(int)
    display(Image(buffer.getvalue(), format="png", width=int(width), height=int(height), alt=alt,
                  metadata={"alt": alt}))


def _label(task: Task, number: int) -> str:
    return f"{number}  {task.names[number]}"


def posts_over_time(times: pd.Series, title: str) -> None:
    """Bars of posts a day, a week or a month, whichever gives a readable number of bars."""
    known = times.dropna()
    if known.empty:
        return
    days = (known.max() - known.min()).days
    unit, word = ("D", "day") if days <= 60 else ("W", "week") if days <= 400 else ("M", "month")
    counts = known.dt.to_period(unit).value_counts().sort_index()
    counts = counts.reindex(pd.period_range(counts.index.min(), counts.index.max(), freq=unit),
                            fill_value=0)
    figure, (axis,) = _canvas(7.6, 2.8)
    axis.bar(counts.index.to_timestamp(), counts, color=ACCENT, align="edge",
             width={"D": 0.85, "W": 6, "M": 25}[unit])
    axis.set(title=title, ylabel=f"posts a {word}")
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _dates(axis, counts.index.to_timestamp())
    _show(figure, f"{title}: {counts.sum():,} posts, most in the {word} of {counts.idxmax()} "
                  f"({counts.max():,}).")


def _dates(axis: plt.Axes, times: pd.DatetimeIndex) -> None:
    """Few, short date ticks, with the years below them."""
    locator = matplotlib.dates.AutoDateLocator(maxticks=8)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(matplotlib.dates.ConciseDateFormatter(locator, show_offset=False))
    years = sorted({times.min().year, times.max().year})
    axis.set_xlabel(" to ".join(map(str, years)))
    axis.grid(axis="x", visible=False)


def label_counts(table: pd.DataFrame, task: Task, title: str) -> None:
    """Bars of posts by label, from a table with ``posts`` by label number."""
    figure, (axis,) = _canvas(7.6, 0.6 + 0.42 * len(table))
    names = [_label(task, number) for number in table.index]
    axis.barh(names, table["posts"], color=[task.colors[number] for number in table.index])
    for row, count in enumerate(table["posts"]):
        axis.annotate(f"{count:,}", (count, row), (4, 0), textcoords="offset points", va="center")
    axis.invert_yaxis()
    axis.set(title=title, xlabel="posts")
    axis.margins(x=0.09)
    axis.grid(axis="y", visible=False)
    _show(figure, f"{title}: " + ", ".join(
        f"{name} {count:,}" for name, count in zip(task.names, table["posts"], strict=True)) + ".")


def learning_curve(history: pd.DataFrame) -> None:
    """Loss on train and validation, and macro-F1 on validation, by epoch; the kept epoch marked."""
    figure, (left, right) = _canvas(7.6, 2.9, 2)
    best = history.loc[history["macro_f1"].idxmax()]
    for name, color in (("train_loss", QUIET), ("validation_loss", ACCENT)):
        left.plot(history["epoch"], history[name], "o-", color=color, markersize=4)
        left.annotate(name.replace("_loss", ""), (history["epoch"].iloc[-1], history[name].iloc[-1]),
                      (5, 0), textcoords="offset points", color=color, va="center")
    left.set(title="Loss", xlabel="epoch", ylabel="weighted cross-entropy")
    left.set_xlim(right=history["epoch"].max() * 1.22 + 0.2)
    right.plot(history["epoch"], history["macro_f1"], "o-", color=ACCENT, markersize=4)
    right.plot(best["epoch"], best["macro_f1"], "o", color="#c8384f", markersize=9, fillstyle="none")
    right.annotate("kept", (best["epoch"], best["macro_f1"]), (0, 9), textcoords="offset points",
                   ha="center", color="#c8384f")
    right.set(title="Macro-F1 on validation", xlabel="epoch")
    right.margins(y=0.25)
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _show(figure, f"Learning curves over {len(history)} epochs; the epoch kept is "
                  f"{best['epoch']:.0f} with macro-F1 {best['macro_f1']:.3f} on validation.")


def confusion(matrix: list[list[int]], names: list[str], title: str) -> None:
    """Confusion matrix: counts in the cells, shaded by the share of each true label."""
    counts = np.array(matrix)
    with np.errstate(invalid="ignore"):
        share = np.nan_to_num(counts / counts.sum(axis=1, keepdims=True))
    size = 1.9 + 0.62 * len(names)
    figure, (axis,) = _canvas(size + 1.4, size)
    sns.heatmap(share, annot=counts, fmt=",d", cmap="Blues", vmin=0, vmax=1, square=True, ax=axis,
                linewidths=1.5, linecolor="white", xticklabels=names, yticklabels=names,
                cbar_kws={"label": "share of the true label", "shrink": 0.8,
                          "format": PercentFormatter(1)})
    axis.set(title=title, xlabel="predicted", ylabel="true")
    axis.set_xticklabels(axis.get_xticklabels(), rotation=35, ha="right", rotation_mode="anchor")
    axis.tick_params(axis="y", rotation=0)
    right = np.trace(counts)
    _show(figure, f"{title}: {right:,} of {counts.sum():,} rows on the diagonal. Recall by label: "
          + ", ".join(f"{name} {share[k, k]:.0%}" for k, name in enumerate(names)) + ".")


def _dots(axis: plt.Axes, y: float, cell: dict, color: str, marker: str = "o") -> None:
    axis.plot([cell["low"], cell["high"]], [y, y], color=color, linewidth=2.2, alpha=0.55,
              solid_capstyle="round")
    axis.plot(cell["value"], y, marker, color=color, markersize=6.5)


def scores_by_label(metrics: dict, task: Task) -> None:
    """F1 of each label with its interval, and precision and recall as marks."""
    figure, (axis,) = _canvas(7.6, 1.2 + 0.5 * len(task.labels))
    for label in task.labels:
        row = metrics["per_label"][str(label.number)]
        if row["support"]:
            _dots(axis, label.number, row["f1"], label.color)
            axis.plot(row["precision"]["value"], label.number - 0.27, marker="$P$", color=QUIET)
            axis.plot(row["recall"]["value"], label.number + 0.27, marker="$R$", color=QUIET)
    axis.set_yticks(range(len(task.labels)), [
        f"{_label(task, x.number)}\nn = {metrics['per_label'][str(x.number)]['support']:,}"
        for x in task.labels])
    axis.invert_yaxis()
    axis.set(title="F1 by label, with 95% interval (P precision, R recall)", xlim=(-0.02, 1.02))
    _show(figure, "F1 by label with 95% intervals: " + "; ".join(
        f"{x.name} {row['f1']['value']:.2f} ({row['f1']['low']:.2f} to {row['f1']['high']:.2f})"
        for x in task.labels if (row := metrics["per_label"][str(x.number)])["support"]) + ".")


def against_baselines(metrics: dict) -> None:
    """Accuracy and macro-F1 of the model and the baselines, with intervals."""
    names = {"majority": "most frequent label", "keyword_rule": "keyword rule",
             "tfidf_svm": "TF-IDF + linear SVM"}
    figure, axes = _canvas(7.6, 2.4, 2)
    rows = {"this model": metrics} | {names[k]: v for k, v in metrics["baselines"].items()}
    for axis, metric, title in zip(axes, ("accuracy", "macro_f1"), ("Accuracy", "Macro-F1"), strict=True):
        for y, (name, row) in enumerate(rows.items()):
            _dots(axis, y, row[metric], ACCENT if name == "this model" else QUIET)
            axis.annotate(f"{row[metric]['value']:.2f}", (row[metric]["value"], y), (0, 7),
                          textcoords="offset points", ha="center", fontsize=8.5)
        axis.set_yticks(range(len(rows)), rows if axis is axes[0] else [""] * len(rows))
        axis.set(title=title, xlim=(0, 1.02), ylim=(len(rows) - 0.5, -0.6))
    _show(figure, "Model and baselines, macro-F1 with 95% intervals: " + "; ".join(
        f"{name} {row['macro_f1']['value']:.2f} ({row['macro_f1']['low']:.2f} to "
        f"{row['macro_f1']['high']:.2f})" for name, row in rows.items()) + ".")


def roc_and_pr(rows: pd.DataFrame, predictions: pd.DataFrame, metrics: dict, task: Task) -> None:
    """ROC and precision-recall curves of the binary view."""
    true = np.isin(rows["label"], task.positive)
    if true.all() or not true.any():
        return
    score = positive_chance(predictions.filter(regex=r"^p\d+$").to_numpy(), task)
    figure, (left, right) = _canvas(7.6, 3.6, 2)
    fall_out, recall, _ = roc_curve(true, score)
    left.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1)
    left.plot(fall_out, recall, color=ACCENT, linewidth=2)
    left.set(title="ROC", xlabel="false-positive rate", ylabel="recall")
    precision, recall, _ = precision_recall_curve(true, score)
    right.axhline(true.mean(), linestyle="--", color=QUIET, linewidth=1)
    right.plot(recall, precision, color=ACCENT, linewidth=2)
    right.set(title="Precision and recall", xlabel="recall", ylabel="precision")
    texts = []
    for axis, name, word, y in ((left, "roc_auc", "area", 0.12),
                                (right, "average_precision", "average precision", 0.12)):
        cell = metrics["binary"][name]
        text = f"{word} {cell['value']:.3f}\n({cell['low']:.3f} to {cell['high']:.3f})"
        axis.text(0.95 if axis is left else 0.05, y, text, transform=axis.transAxes,
                  ha="right" if axis is left else "left")
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        texts.append(text.replace("\n", " "))
    _show(figure, f"ROC curve, {texts[0]}; precision-recall curve, {texts[1]}; dashed: chance.")


def calibration(table: pd.DataFrame, metrics: dict) -> None:
    """How often the model is right at each confidence, with intervals; from `evaluation.reliability`."""
    low = min(table["confidence"].min(), table["low"].min()) - 0.05
    figure, (axis,) = _canvas(4.6, 3.9)
    axis.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1)
    axis.vlines(table["confidence"], table["low"], table["high"], color=ACCENT, linewidth=1.6, alpha=0.6)
    axis.plot(table["confidence"], table["value"], "o", color=ACCENT, markersize=5.5)
    axis.set(title="Is a confident answer a right one?", xlabel="confidence", ylabel="share right",
             xlim=(low, 1.02), ylim=(low, 1.04))
    axis.text(0.97, 0.06, f"calibration error {metrics['calibration']['ece']:.3f}",
              transform=axis.transAxes, ha="right")
    _show(figure, "Share of right answers by confidence, ten bins with 95% intervals; expected "
                  f"calibration error {metrics['calibration']['ece']:.3f}.")


def weekly(table: pd.DataFrame, task: Task) -> None:
    """Stacked bars of incidents a week by label."""
    if table.empty:
        return
    figure, (axis,) = _canvas(7.6, 3.1)
    floor = np.zeros(len(table))
    for number in table.columns:
        axis.bar(table.index, table[number], 6, floor, color=task.colors[number], align="edge",
                 label=task.names[number])
        floor += table[number].to_numpy()
    axis.set(title="Incidents a week, as told by the posts collected", ylabel="incidents")
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _dates(axis, table.index)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(table.columns), frameon=False)
    totals = ", ".join(f"{task.names[k]} {table[k].sum():,}" for k in table.columns)
    _show(figure, f"Incidents a week over {len(table)} weeks; in all: {totals}.")


def by_state(incidents: pd.DataFrame, task: Task, n: int = 12) -> None:
    """Stacked bars of incidents by state and label, the `n` states with most."""
    table = incidents[incidents["state"] != ""].groupby(["state", "label"]).size().unstack(fill_value=0)
    if table.empty:
        return
    table = table.loc[table.sum(axis=1).sort_values(ascending=False).index[:n]]
    figure, (axis,) = _canvas(7.6, 0.9 + 0.28 * len(table))
    floor = np.zeros(len(table))
    for number in table.columns:
        axis.barh(table.index, table[number], 0.75, floor, color=task.colors[number],
                  label=task.names[number])
        floor += table[number].to_numpy()
    axis.invert_yaxis()
    axis.set(title=f"Incidents by state, the {len(table)} with most", xlabel="incidents")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.grid(axis="y", visible=False)
    axis.legend(loc="lower right", frameon=True, edgecolor="none")
    _show(figure, "Incidents by state: " + ", ".join(
        f"{state} {total}" for state, total in table.sum(axis=1).items()) + ".")


def map_page(incidents: pd.DataFrame, task: Task) -> str:
    """A page with a clustered map of located US incidents, which asks no host for anything.

    Leaflet and its cluster plugin are read from the packages that ship them.
    """
    placed = incidents.dropna(subset=["lat", "long"])
    points = [{"lat": row.lat, "long": row.long, "label": row.label, "title": row.title,
               "date": "no date" if pd.isna(row.incident_date) else str(row.incident_date)[:10],
               "posts": row.posts, "exact": bool(row.city)}
              for row in placed.itertuples()]
    labels = [{"number": x.number, "name": x.name, "color": x.color} for x in task.labels if x.positive]
    page = _TEMPLATE.read_text(encoding="utf8")
    for name, text in (("LEAFLET_CSS", _asset("leaflet", "leaflet.css")),
                       ("CLUSTER_CSS", _asset("leaflet_markercluster", "MarkerCluster.css")),
                       ("LEAFLET_JS", _asset("leaflet", "leaflet.js")),
                       ("CLUSTER_JS", _asset("leaflet_markercluster", "leaflet.markercluster.js")),
                       ("STATES", _inert(state_shapes())), ("POINTS", _inert(points)),
                       ("LABELS", _inert(labels))):
        page = page.replace(f"/*{name}*/", text)
    return page


def show_map(page: str) -> None:
    """Display a map page in a frame of its own."""
    frame = ('<iframe class="map" title="Map of located incidents" sandbox="allow-scripts" '
             f'style="width:100%;height:480px;border:0" srcdoc="{html.escape(page)}"></iframe>')
    display(HTML(frame), metadata={"text/html": {"trusted": "map"}})


def _asset(package: str, name: str) -> str:
    return package_files(f"xstatic.pkg.{package}").joinpath("data", name).read_text(encoding="utf8")


def _inert(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028")
