"""What people look at: charts with one message each.

Every figure carries its message as alternative text, computed from what it shows. Labels keep the
order and the colours of their task file everywhere.
"""

import io

import matplotlib.dates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Image, display
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hrf_utils.tasks import Task

INK, QUIET, ACCENT, WARN = "#1f2a37", "#8a94a3", "#2f6db5", "#c8384f"

_STYLE = {"axes.edgecolor": "#c9d1da", "axes.labelcolor": INK, "text.color": INK,
          "xtick.color": INK, "ytick.color": INK, "axes.titlelocation": "left",
          "axes.titleweight": "bold", "axes.titlesize": 11, "axes.titlepad": 12, "font.size": 9.5,
          "grid.color": "#e6eaef", "figure.facecolor": "white", "savefig.facecolor": "white"}


def canvas(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list]:
    """A figure in the house style, in inches, and its axes, row by row."""
    sns.set_theme(style="whitegrid", rc=_STYLE)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
    for axis in axes.flat:
        sns.despine(ax=axis, left=True, bottom=True)
    return figure, list(axes.flat)


def show(figure: Figure, alt: str) -> None:
    """Display a figure as PNG with alternative text, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    plt.close(figure)
    width, height = (figure.get_size_inches() * 100).astype(int)
    display(Image(buffer.getvalue(), format="png", width=int(width), height=int(height), alt=alt,
                  metadata={"alt": alt}))


def label_of(task: Task, number: int) -> str:
    """A label as figures write it: number and name."""
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
    figure, (axis,) = canvas(7.6, 2.8)
    axis.bar(counts.index.to_timestamp(), counts, color=ACCENT, align="edge",
             width={"D": 0.85, "W": 6, "M": 25}[unit])
    axis.set(title=title, ylabel=f"posts a {word}")
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    dates(axis, counts.index.to_timestamp())
    show(figure, f"{title}: {counts.sum():,} posts, most in the {word} of {counts.idxmax()} "
                  f"({counts.max():,}).")


def dates(axis: plt.Axes, times: pd.DatetimeIndex) -> None:
    """Few, short date ticks, with the years below them."""
    locator = matplotlib.dates.AutoDateLocator(maxticks=8)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(matplotlib.dates.ConciseDateFormatter(locator, show_offset=False))
    years = sorted({times.min().year, times.max().year})
    axis.set_xlabel(" to ".join(map(str, years)))
    axis.grid(axis="x", visible=False)


def label_counts(table: pd.DataFrame, task: Task, title: str) -> None:
    """Bars of posts by label, from a table with ``posts`` by label number."""
    figure, (axis,) = canvas(7.6, 0.6 + 0.42 * len(table))
    names = [label_of(task, number) for number in table.index]
    axis.barh(names, table["posts"], color=[task.colors[number] for number in table.index])
    for row, count in enumerate(table["posts"]):
        axis.annotate(f"{count:,}", (count, row), (4, 0), textcoords="offset points", va="center")
    axis.invert_yaxis()
    axis.set(title=title, xlabel="posts")
    axis.margins(x=0.09)
    axis.grid(axis="y", visible=False)
    show(figure, f"{title}: " + ", ".join(
        f"{name} {count:,}" for name, count in zip(task.names, table["posts"], strict=True)) + ".")


def learning_curve(history: pd.DataFrame) -> None:
    """Loss of the reader on train and validation, and its macro-F1 on validation, by epoch."""
    figure, (left, right) = canvas(7.6, 2.9, 2)
    last = history.iloc[-1]
    for name, color in (("train_loss", QUIET), ("validation_loss", ACCENT)):
        left.plot(history["epoch"], history[name], "o-", color=color, markersize=4)
        left.annotate(name.replace("_loss", ""), (last["epoch"], last[name]), (5, 0), textcoords="offset points",
                      color=color, va="center")
    left.set(title="Loss", xlabel="epoch", ylabel="weighted cross-entropy")
    left.set_xlim(right=history["epoch"].max() * 1.22 + 0.2)
    right.plot(history["epoch"], history["macro_f1"], "o-", color=ACCENT, markersize=4)
    right.annotate(f"{last['macro_f1']:.2f}", (last["epoch"], last["macro_f1"]), (0, 8),
                   textcoords="offset points", ha="center", color=ACCENT)
    right.set(title="Macro-F1 of the reader on validation", xlabel="epoch")
    right.margins(y=0.25)
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    show(figure, f"Learning curves of the reader over {len(history)} epochs; after the last one its macro-F1 on "
                 f"validation is {last['macro_f1']:.3f}.")


def timeline(table: pd.DataFrame, task: Task) -> None:
    """Stacked bars of incidents a day, week or month by label; from `frontpage.counted`."""
    if table.empty:
        return
    word, width = {"D": ("day", 0.85), "W": ("week", 6), "M": ("month", 25)}[table["unit"].iloc[0]]
    times, few = pd.DatetimeIndex(table["period"]), f"kinds with fewer than five in the {word}"
    parts = {number: (task.names[number], task.colors[number]) for number in task.positive} | {"other": (few, QUIET)}
    figure, (axis,) = canvas(7.6, 3.3)
    floor, key = np.zeros(len(table)), []
    for part, (name, color) in parts.items():
        key.append(axis.bar(times, table[part], width, floor, color=color, align="edge", label=name))
        floor += table[part].to_numpy()
    empty = [axis.axvspan(time, time + pd.Timedelta(days=width), facecolor="none", edgecolor="#c9d1da", hatch="///",
                          linewidth=0, label="nothing collected") for time in times[~table["collected"]]]
    axis.set(title=f"{task.finding.capitalize()} by {word}, as told by the posts collected", ylabel="incidents")
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    dates(axis, times)
    axis.legend(handles=key + empty[:1], loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=3, frameon=False)
    totals = ", ".join(f"{name} {table[part].sum():,}" for part, (name, _) in parts.items())
    show(figure, f"{task.finding.capitalize()} by {word} over {len(table)} {word}s, of which "
                 f"{(~table['collected']).sum()} have no posts; in all: {totals}.")


def corrected(table: pd.DataFrame, task: Task) -> None:
    """Incidents of each positive label: as counted (bars), and as corrected with an interval (points), if they are."""
    table = table.dropna(subset=["incidents"])
    names = [label_of(task, number) for number in table.index]
    figure, (axis,) = canvas(7.6, 0.9 + 0.42 * len(table))
    axis.barh(names, table["incidents"], color=[task.colors[number] for number in table.index], alpha=0.75)
    value, low, high = (table[f"incidents_{name}"] for name in ("value", "low", "high"))
    known = bool(value.notna().all())
    if known:
        axis.errorbar(value, names, xerr=[(value - low).clip(0), (high - value).clip(0)], fmt="o", color=INK, capsize=3)
    axis.invert_yaxis()
    axis.set(title="Incidents as counted" + " (bars), and corrected for the model's errors" * known, xlabel="incidents")
    axis.grid(axis="y", visible=False)
    show(figure, "Incidents by label, counted" + " and corrected" * known + ": " + ", ".join(
        f"{task.names[row.Index]} {row.incidents:,.0f}" +
        f", corrected {row.incidents_value:,.0f} ({row.incidents_low:,.0f} to {row.incidents_high:,.0f})" * known
        for row in table.itertuples()) + ".")


def rates(states: pd.DataFrame, how: str, times: pd.Series) -> None:
    """Incidents per million people with intervals, of the 15 states with the highest.

    Parameters
    ----------
    states : from `frontpage.counted`
    how : how they count
    times : when the posts collected were written, which is the time that rates are for
    """
    known = states.dropna(subset=["rate"]) if len(states) else states
    table = known.head(15)
    if table.empty:
        return
    first, last = times.min(), times.max()
    span = f", {first:%-d %B %Y} to {last:%-d %B %Y}" if pd.notna(first) else ""
    figure, (axis,) = canvas(7.6, 0.9 + 0.26 * len(table))
    axis.hlines(table["name"], table["rate_low"], table["rate_high"], color=ACCENT)
    axis.plot(table["rate"], table["name"], "o", color=ACCENT, markersize=5)
    axis.invert_yaxis()
    axis.set(title=f"Incidents per million people, {how}: the {len(table)} highest of {len(known)} states",
             xlabel=f"per million people{span}; line: 95% interval")
    axis.set_xlim(left=0)
    axis.grid(axis="y", visible=False)
    show(figure, f"Incidents per million people{span}, {how}, with 95% intervals: " + ", ".join(
        f"{row.name} {row.rate:.1f} ({row.rate_low:.1f} to {row.rate_high:.1f})"
        for row in table.itertuples(index=False)) + ".")
