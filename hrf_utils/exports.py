"""Incidents as files for others: ids only, coordinates of cities, no author, and nothing that runs in a spreadsheet."""

import json
import re
from pathlib import Path

import pandas as pd

from hrf_utils import files, settings

_FORMULA = re.compile(r"[\s\"'`\u200b-\u200f\u2060\ufeff]*[=+\-@\t\r＝＋－＠]")


def columns() -> pd.DataFrame:
    """The data dictionary of incidents, ``data/review/incident_columns.csv``: ``column``, ``type``, ``meaning``.

    What is not in it is never exported.
    """
    return pd.read_csv(settings.ROOT / "data" / "review" / "incident_columns.csv", dtype=str, keep_default_na=False)


def inert(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula, whatever blanks or quotes stand before it."""
    return "'" + cell if isinstance(cell, str) and _FORMULA.match(cell) else cell


def table(incidents: pd.DataFrame, posts: pd.DataFrame | None = None) -> pd.DataFrame:
    """The columns of the dictionary; with ``SHOW_TEXT=1`` the text of each incident's most telling post as well."""
    shown = [name for name in columns()["column"] if name in incidents and name != "description"]
    if posts is None or not settings.flag("SHOW_TEXT"):
        return incidents[shown]
    texts = posts.drop_duplicates("id").set_index("id")["text"]
    return incidents[shown].assign(description=incidents["tweet_id"].map(texts).fillna(""))


def geojson(rows: pd.DataFrame) -> dict:
    """A feature collection (RFC 7946): a point for each incident with a place, no geometry for the others."""
    cells = json.loads(rows.to_json(orient="records", date_format="iso"))
    dates = pd.to_datetime(rows["incident_date"]).dt.strftime("%Y-%m-%d")
    features = []
    for row, day in zip(cells, dates.astype(object).where(dates.notna(), None), strict=True):
        point = [row.pop("long"), row.pop("lat")]
        geometry = None if None in point else {"type": "Point", "coordinates": point}
        features.append({"type": "Feature", "id": row["incident_id"], "geometry": geometry,
                         "properties": row | {"incident_date": day}})
    return {"type": "FeatureCollection", "features": features}


def write(incidents: pd.DataFrame, folder: Path, posts: pd.DataFrame | None = None) -> list[str]:
    """Write ``incidents.csv``, ``.geojson`` and ``.parquet``, and beside them ``incidents_columns.csv``.

    Returns
    -------
    The names of the files.
    """
    rows, known = table(incidents, posts), columns()
    meanings = known[known["column"].isin(rows.columns)]
    writers = {"incidents.csv": lambda path: rows.map(inert).to_csv(path, index=False),
               "incidents.geojson": lambda path: path.write_text(json.dumps(geojson(rows), ensure_ascii=False), "utf8"),
               "incidents.parquet": lambda path: rows.to_parquet(path, index=False),
               "incidents_columns.csv": lambda path: meanings.map(inert).to_csv(path, index=False)}
    for name, writer in writers.items():
        with files.whole(folder / name) as temporary:
            writer(temporary)
    return list(writers)
