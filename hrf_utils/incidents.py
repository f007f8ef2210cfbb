"""From posts with a label to incidents with a place and a date."""

import hashlib

import numpy as np
import pandas as pd
from tqdm import tqdm

from hrf_utils.places import Place, coordinates, locate
from hrf_utils.tasks import Task
from hrf_utils.text import canonical, components, near_duplicates

DAYS_APART = 3
"""Posts about one city so many days after the first of them are taken for the same incident."""


def decide(posts: pd.DataFrame, labels: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """One label for each post: a person's where there is one, else the model's.

    A post whose text (as `text.canonical` has it) is that of a labelled post takes its label, too,
    since a model that trained on the text has nothing new to say about it.

    Parameters
    ----------
    posts : posts with ``dataset``, ``id`` and ``text``
    labels : one row a labelled post, with ``dataset``, ``id``, ``text``, ``label``
    predictions : ``id``, ``label``, ``confidence`` for posts without a label

    Returns
    -------
    `posts` with ``label``, ``confidence`` (1 for a person's) and ``decided_by``.
    """
    by_id = labels.set_index(["dataset", "id"])["label"]
    by_text = labels.assign(key=labels["text"].map(canonical)).groupby("key")["label"].max()
    keys = pd.MultiIndex.from_frame(posts[["dataset", "id"]])
    human = pd.Series(by_id.reindex(keys).to_numpy(), index=posts.index)
    human = human.fillna(posts["text"].map(canonical).map(by_text))
    said = predictions.set_index("id")
    table = posts.assign(
        decided_by=np.where(human.notna(), "person", "model"),
        label=human.fillna(posts["id"].map(said["label"])),
        confidence=np.where(human.notna(), 1.0, posts["id"].map(said["confidence"])))
    return table.dropna(subset=["label"]).astype({"label": int, "confidence": float})


def place_all(posts: pd.DataFrame) -> pd.DataFrame:
    """Locate each post by its text, else by its author's location; adds the fields of `Place`."""
    pairs = zip(posts["text"], posts["author_location"], strict=True)
    found = [locate(text, place or None)
             for text, place in tqdm(pairs, total=len(posts), desc="locate", unit=" posts")]
    fields = pd.DataFrame(found, columns=[*Place._fields], index=posts.index)
    fields = fields.rename(columns={"method": "place_method", "confidence": "place_confidence"})
    return posts.drop(columns=["city", "state", "country"]).join(fields)


def merge(posts: pd.DataFrame, links: pd.DataFrame | None = None) -> np.ndarray:
    """Which posts tell of the same incident: incident number of each row, shape (n,).

    Near-duplicate texts are one incident unless they name different cities, and so are posts about
    the same city (as their text says) with the same label that come at most `DAYS_APART` days after
    the first of them. Posts that `links` (``a``, ``b``, ``same``) joins are one incident, too.
    """
    told = posts["city"].notna() & ~posts["place_method"].str.startswith("author")
    city = (posts["city"].fillna("") + "|" + posts["state"].fillna("")).where(told, "")
    table = pd.DataFrame({"city": city, "label": posts["label"], "at": posts["created_at"],
                          "copy": near_duplicates(posts["text"])}).reset_index(drop=True)
    first_copy = table.reset_index().groupby(["copy", "city"])["index"].transform("first")
    pairs = [np.column_stack([table.index, first_copy])]
    for _, rows in table[(table["city"] != "") & table["at"].notna()].groupby(["city", "label"]):
        start = None
        for row, at in rows["at"].sort_values(kind="stable").items():
            if start is None or at - table["at"][start] > pd.Timedelta(days=DAYS_APART):
                start = row
            pairs.append(np.array([[row, start]]))
    if links is not None:
        row_of = pd.Series(range(len(posts)), posts["id"])
        joined = links[links["same"].astype(bool) & links["a"].isin(row_of.index) & links["b"].isin(row_of.index)]
        pairs.append(np.column_stack([joined["a"].map(row_of), joined["b"].map(row_of)]))
    return components(len(posts), np.concatenate(pairs).astype(int))


def build(posts: pd.DataFrame, task: Task, model: str,
          links: pd.DataFrame | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Incidents and their posts, in the form the store keeps.

    Parameters
    ----------
    posts : located posts with a positive ``label``
    model : name of the run that decided where no person did

    Returns
    -------
    incidents : one row each: the highest label of its posts, the most confident post's place and
        id, the earliest date; the id is a digest of its earliest post's
    members : ``incident_id`` and ``id``
    """
    posts = posts.assign(number=merge(posts, links)).sort_values(["created_at", "id"])
    first = (posts["dataset"] + "/" + posts["id"]).groupby(posts["number"]).first()
    ids = first.map(lambda post: hashlib.sha256(f"{task.name} {post}".encode()).hexdigest()[:12])
    posts["incident_id"] = posts["number"].map(ids)
    counts = posts.groupby("incident_id").agg(posts=("id", "size"), incident_date=("created_at", "min"))
    known = posts.assign(known=posts["city"].notna() * 2 + posts["state"].notna())
    best = known.sort_values(["label", "known", "confidence"], kind="stable") \
        .drop_duplicates("incident_id", keep="last").set_index("incident_id").join(counts)
    best = best.reset_index()
    points = [coordinates(Place(*row)) or (None, None)
              for row in best[["city", "state", "country"]].replace({np.nan: None}).to_numpy()]
    where = best["city"].fillna("") + np.where(best["city"].notna() & best["state"].notna(), ", ", "") \
        + best["state"].fillna("")
    where = where.where(where != "", best["country"].fillna("a place unknown"))
    names = best["label"].map(dict(enumerate(task.names)))
    incidents = best[["incident_id", "label", "confidence", "decided_by", "posts", "place_method"]].assign(
        incident_date=pd.to_datetime(best["incident_date"]).dt.date, tweet_id=best["id"],
        user_name=best["author"], title=names + " in " + where, description="", status="pending",
        lat=[point[0] for point in points], long=[point[1] for point in points], model=model,
        tags=names, src=best["dataset"].astype(str) + "/" + best["id"],
        **{name: best[name].fillna("") for name in ("city", "state", "country")})
    return incidents, posts[["incident_id", "id"]]


def weekly(incidents: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Incidents a week (its Monday) by label; a week without any has a row of zeros."""
    weeks = pd.to_datetime(incidents["incident_date"]).dt.to_period("W").dt.start_time
    table = incidents.groupby([weeks, "label"]).size().unstack(fill_value=0)
    if len(table):
        table = table.reindex(pd.date_range(table.index.min(), table.index.max(), freq="7D"), fill_value=0)
    return table.reindex(columns=task.positive, fill_value=0).rename_axis("week")
