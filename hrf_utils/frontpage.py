"""The first page: what a stakeholder reads in two minutes. Every number is read from a file that a chapter wrote."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

from hrf_utils import corroboration, counts, files, reports, tasks
from hrf_utils.intervals import order, show, tell_apart
from hrf_utils.places import is_home
from hrf_utils.tasks import Task

_RULES = {"majority": "the most frequent label", "keyword_rule": "the keyword rule",
          "tfidf_svm": "a linear model of word counts"}
_TOLD = ["label", "incident_date", "city", "state", "posts", "status"]
"""Columns of an incident whose change is news."""


def counted(decided: pd.DataFrame, incidents: pd.DataFrame, times: pd.Series, correction: counts.Correction,
            task: Task) -> dict:
    """``counts.json``: counts by label, month and state beside the corrected ones, and what may be said of their order.

    Parameters
    ----------
    decided : one row a post, with ``id``, ``label``, ``decided_by``
    incidents : those that stand, with ``label``, ``decided_by``, ``incident_date``, ``date_precision``, ``state``,
        ``lat`` (without it nobody tells where it was)
    times : when the posts collected were written
    """
    labels = counts.by_label(decided, incidents, correction, task)
    dated = incidents[incidents["incident_date"].notna() & ~incidents["date_precision"].isin(counts.ROUGH["M"])]
    month = pd.to_datetime(dated["incident_date"]).dt.strftime("%Y-%m").rename("month")
    months = counts.by_cell(dated, month, correction)
    apart = tell_apart(months[months.index != "other"].sort_values("value", ascending=False))
    apart.index = pd.to_datetime(apart.index).strftime("%B %Y")
    placed = incidents.dropna(subset=["lat"])
    states = counts.by_cell(placed, placed["state"], correction)
    rates = counts.rates(states)
    rated = rates.rename(columns={"value": "rate", "low": "rate_low", "high": "rate_high"}).drop(columns="incidents")
    names = counts.census()["name"]
    line = counts.timeline(incidents, times, task)
    return {"method": correction.method, "n": correction.n, "assumes": correction.assumes,
            "strained": correction.strained,
            "labels": labels.drop(index="all").reset_index().to_dict("records"), "all": labels.loc["all"].to_dict(),
            "months": months.sort_index().reset_index().to_dict("records"),
            "months_told": order(apart, "months") if len(apart) > 1 else "",
            "states": states.join([names, rated]).sort_values("rate", ascending=False).reset_index().to_dict("records"),
            "states_told": order(rates.rename(index=names), "states"),
            "timeline": line.reset_index().to_dict("records"),
            "outside": len(incidents) - int(line[[*task.positive, "other"]].to_numpy().sum())}


def told(found: pd.DataFrame, posts: pd.DataFrame, gaps: pd.DataFrame) -> dict:
    """What ``incidents.json`` says of the incidents that stand, of the posts collected, and of what is missing."""
    stands, times = found[found["status"] != "rejected"], posts["created_at"].dropna()
    unsettled, homes = stands["label_low"] < stands["label_high"], stands["place_method"].map(is_home).astype(bool)
    placed = stands.assign(settled=~unsettled).dropna(subset=["lat", "incident_date"])
    last = placed.sort_values("incident_date").tail(10 if len(placed) >= counts.LEAST_CELL else 0)
    latest = last[["title", "label", "settled", "posts", "status"]]
    missing = gaps.groupby("reason").agg(count=("begins", "size"), begins=("begins", "min"), ends=("ends", "max"))
    return {"incidents": len(stands), "located": int(stands["lat"].notna().sum()), "collected": len(posts),
            "unplaced": int((stands["lat"].isna() & ~homes).sum()), "homes": int(homes.sum()),
            "undated": int(stands["incident_date"].isna().sum()), "unsettled": int(unsettled.sum()),
            "labelled": int((stands["decided_by"] == "labelled").sum()),
            "pending": int((stands["status"] == "pending").sum()), "rejected": len(found) - len(stands),
            "first": _iso(times.min()), "last": _iso(times.max()), "latest": latest.iloc[::-1].to_dict("records"),
            "gaps": missing.map(lambda x: x if isinstance(x, int) else _iso(x)).reset_index().to_dict("records")}


def _iso(time: object) -> str:
    return "" if pd.isna(time) else str(pd.Timestamp(time).date())


def index(page_path: Path) -> None:
    """Write the first page: a section for each task that was run, and what changed since the page before."""
    folder, parts, datasets, toc = page_path.parent, [], [], []
    environment = Environment(loader=FileSystemLoader(reports.TEMPLATES), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True)
    environment.filters |= {
        "n": lambda x: f"{x:,.0f}", "p": lambda x: f"{x:.0%}", "share": _share,
        "corroborated": corroboration.sentence,
        "day": _day, "short": lambda text: _day(text, "%b")[:-5],
        "month": lambda text: text if text == "other" else f"{pd.Timestamp(text):%B %Y}"}
    for name in sorted(p.stem for p in tasks.FOLDER.glob("*.yml")):
        if (folder / name / "metrics.json").exists():
            facts = _facts(folder / name, name)
            datasets += [*facts["metrics"]["provenance"]["datasets"], facts["summary"].get("data", "")]
            part = environment.get_template("report.html.j2").render(facts)
            toc += [{"id": anchor, "name": title} for anchor, title in re.findall(r'<h[23] id="(.+?)">(.+?)</h', part)]
            parts.append(part)
    title = f"{reports.SITE}, and how far to trust it"
    reports.write_page(page_path, " ".join(datasets), title=title, site=reports.SITE, toc=toc,
                       body=f"<h1>{title}</h1>" + "".join(parts), chapters=[], root="",
                       facts={"written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")})


def _facts(folder: Path, name: str) -> dict:
    """What the template shows of one task; what a chapter has not written yet is empty."""
    task = tasks.load(name)
    metrics, summary, counted, known = (_read(folder / f"{stem}.json") for stem in
                                       ("metrics", "incidents", "counts", "corroboration"))
    best = max(metrics["baselines"], key=lambda b: metrics["baselines"][b]["macro_f1"]["value"])
    gain = metrics["baselines"][best]["difference"]["macro_f1"]
    verdict = ("better than" if gain["low"] > 0 else "worse than" if gain["high"] < 0 else "not clearly different from")
    table = np.array(metrics["confusion"])
    flags = {"right": table[task.positive][:, task.positive].sum(), "all": table[:, task.positive].sum(),
             "true": table[task.positive].sum()}
    chapters = [(stem, title, reports.ABOUT[stem]) for stem, title in (reports.CHAPTERS | reports.ANNEX).items()
                if (folder / f"{stem}.html").exists()]
    kinds = [row[key] for row in counted.get("labels", []) for key in ("incidents", "incidents_high") if row.get(key)]
    rates = [row["rate_high"] for row in counted.get("states", []) if row["rate"] is not None]
    return {"tops": {"kinds": max(kinds, default=1), "rates": max(rates, default=1)}, "task": task, "name": name,
            "metrics": metrics, "summary": summary, "counts": counted, "known": known, "flags": flags,
            "rare": list(metrics["false_alarms"].items())[:3], "verdict": verdict, "rule": _RULES[best],
            "chapters": chapters, "bars": _bars(counted),
            "changes": changes(folder) if summary else None, "has_map": (folder / "map.html").exists()}


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else {}


def _day(text: str, month: str = "%B") -> str:
    return f"{(at := pd.Timestamp(text)).day} {at:{month}} {at.year}" if text else "no date"


def _share(cell: dict) -> str:
    return "an unknown share" if cell["value"] is None else show(cell, percent=True)


def _bars(counted: dict) -> dict:
    """Columns of the timeline: their parts as shares of the highest, and which of them carry a date below."""
    rows = counted.get("timeline", [])
    if not rows:
        return {}
    keys = [key for key in rows[0] if key not in {"period", "unit", "collected"}]
    totals = [sum(row[key] for key in keys) for row in rows]
    top = max(*totals, 1)
    each = max(1, -(-len(rows) // 6))
    columns = [{"period": row["period"], "collected": row["collected"], "total": total,
                "dated": number % each == 0 and number + each <= len(rows),
                "parts": [(key, row[key], 100 * row[key] / top) for key in keys if row[key]]}
               for number, (row, total) in enumerate(zip(rows, totals, strict=True))]
    word = {"D": "day", "W": "week", "M": "month"}[rows[0]["unit"]]
    most = max(columns, key=lambda column: column["total"])
    return {"columns": columns, "top": top, "word": word, "most": most, "total": sum(totals),
            "empty": sum(not column["collected"] for column in columns)}


def changes(folder: Path) -> dict:
    """Incidents that are new, changed or withdrawn since the last report that differed from this one.

    ``report.json`` holds the incidents of both. Writing the page again with the same incidents changes nothing.
    """
    path, now = folder / "report.json", _incidents(folder / "incidents.csv")
    stored = _read(path)
    if stored.get("now", {}).get("incidents") != now:
        at = datetime.now(UTC).strftime("%Y-%m-%d")
        stored = {"now": {"written": at, "incidents": now}, "before": stored.get("now")}
        files.write_json(path, stored)
    if not stored["before"]:
        return {}
    then = stored["before"]["incidents"]
    both = now.keys() & then.keys()
    return {"since": stored["before"]["written"], "new": len(now.keys() - both), "withdrawn": len(then.keys() - both),
            "changed": sum(now[key] != then[key] for key in both), "same": sum(now[key] == then[key] for key in both)}


def _incidents(path: Path) -> dict[str, list[str]]:
    """What is told of each incident that stands; rejected ones are withdrawn."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table = table[table["status"] != "rejected"]
    return dict(zip(table["incident_id"], table[_TOLD].to_numpy().tolist(), strict=True))
