"""What an incident is: posts with a label and a place, dated and merged, become one row with a title."""

import hashlib
import json

import numpy as np
import pandas as pd
from tqdm import tqdm

from hrf_utils import merging
from hrf_utils.dates import PRECISIONS, event_date
from hrf_utils.places import Place, coordinates, is_home, locate, spoken
from hrf_utils.tasks import Task
from hrf_utils.text import canonical

REPRESENTATIVES = 3
"""Posts named for an incident: as many as a reader would open."""
LEVEL = 0.90
"""How sure the range of an incident's label is."""
FAINT = 0.05
"""A lower chance that a text tells of a rank is no support for it; many such chances would add up to one."""


def decide(posts: pd.DataFrame, labels: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """One label for each post: the one it carries, else the model's.

    A post whose text (as `text.canonical` has it) is that of a labelled post takes its label, too,
    since a model that trained on the text has nothing new to say about it.

    Parameters
    ----------
    posts : posts with ``dataset``, ``id`` and ``text``
    labels : one row a labelled post, with ``dataset``, ``id``, ``text``, ``label``
    predictions : ``id``, ``label``, ``confidence`` and p0 … p(K-1) for posts without a label

    Returns
    -------
    `posts` with ``label``, ``confidence`` (1 for a label), ``decided_by`` (``labelled`` or ``predicted``), and the
    chances p0 … p(K-1) of what is predicted.
    """
    by_id = labels.set_index(["dataset", "id"])["label"]
    by_text = labels.assign(key=labels["text"].map(canonical)).groupby("key")["label"].max()
    keys = pd.MultiIndex.from_frame(posts[["dataset", "id"]])
    human = pd.Series(by_id.reindex(keys).to_numpy(), index=posts.index)
    human = human.fillna(posts["text"].map(canonical).map(by_text))
    said = predictions.set_index("id")
    table = posts.assign(
        decided_by=np.where(human.notna(), "labelled", "predicted"),
        label=human.fillna(posts["id"].map(said["label"])),
        confidence=np.where(human.notna(), 1.0, posts["id"].map(said["confidence"])))
    chances = said.filter(regex=r"^p\d+$").reindex(table["id"]).set_axis(table.index).where(human.isna())
    return table.join(chances).dropna(subset=["label"]).astype({"label": int, "confidence": float})


def place_all(posts: pd.DataFrame) -> pd.DataFrame:
    """Locate each post by its text, else by its author's location; adds the fields of `Place`."""
    pairs = zip(posts["text"], posts["author_location"], strict=True)
    found = [locate(text, place or None)
             for text, place in tqdm(pairs, total=len(posts), desc="locate", unit=" posts")]
    fields = pd.DataFrame(found, columns=[*Place._fields], index=posts.index)
    fields = fields.rename(columns={"method": "place_method", "confidence": "place_confidence"})
    return posts.drop(columns=["city", "state", "country"]).join(fields)


def date_all(posts: pd.DataFrame) -> pd.DataFrame:
    """Date each post's event by its words: adds ``event_date`` and ``date_precision``, empty where they say nothing.

    Precision is ``day``, ``week`` (the date is its Monday), ``month`` or ``year`` (its first day). When the post was
    written stays apart, in ``created_at``.
    """
    found = [None if pd.isna(at) else event_date(text, at)
             for text, at in zip(posts["text"], posts["created_at"], strict=True)]
    parts = {"event_date": [one and one.date for one in found],
             "date_precision": [one.precision if one else "" for one in found]}
    return posts.assign(**{name: pd.Series(part, posts.index, dtype=object) for name, part in parts.items()})


def build(posts: pd.DataFrame, task: Task, model: str,
          links: pd.DataFrame | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Incidents and their posts, in the form the store keeps.

    Parameters
    ----------
    posts : located and dated posts with a positive ``label``
    model : name of the run that predicted
    links : pairs of posts that a person put together or parted, as `merging.link` takes them

    Returns
    -------
    incidents : one row each; the id is a digest of its earliest post's. ``label`` with ``label_low`` and
        ``label_high`` is what `ranks` finds; the date is the one that its posts name most exactly, then most often,
        else that of its earliest post (``date_precision`` is ``post`` then); the place is the one that is told most
        exactly, then most often, and stays empty where there is none but an author's home;
        ``representatives`` are the ids of its most central posts, as JSON.
    members : ``incident_id`` and ``id``

    Raises
    ------
    InputError
        If links contradict each other.
    """
    posts = posts.join(merging.link(posts, links)).sort_values(["created_at", "id"])
    first = (posts["dataset"] + "/" + posts["id"]).groupby(posts["number"]).first()
    ids = first.map(lambda post: hashlib.sha256(f"{task.name} {post}".encode()).hexdigest()[:12])
    posts["incident_id"] = posts["number"].map(ids)
    predicted = posts["decided_by"] == "predicted"
    texts = posts.assign(predicted=predicted).sort_values("predicted", kind="stable") \
        .drop_duplicates(["incident_id", "copy"]).sort_values(["created_at", "id"])
    found = ranks(texts, task).join([_dates(texts), _places(texts), _central(texts)])
    found = found.join(posts.groupby("incident_id").agg(posts=("id", "size"), first_post=("created_at", "min")))
    highest = posts["label"].mask(predicted).groupby(posts["incident_id"]).max().reindex(found.index)
    found["first_post"] = pd.to_datetime(found["first_post"]).dt.date
    unnamed = found["date_precision"].isna()
    found["incident_date"] = found["incident_date"].where(~unnamed, found["first_post"])
    found["date_precision"] = found["date_precision"].where(~unnamed, np.where(found["first_post"].isna(), "", "post"))
    places = found[["city", "state", "country"]].to_numpy()
    points = [coordinates(Place(*(part or None for part in row))) or (None, None) for row in places]
    when = [_when(day, precision) for day, precision in found[["incident_date", "date_precision"]].to_numpy()]
    titles = [f"{spoken(*place)}: {task.told[label]}{day}"
              for place, label, day in zip(places, found["label"], when, strict=True)]
    incidents = found.reset_index().assign(
        decided_by=np.where(highest >= found["label"], "labelled", "predicted"), title=titles,
        tags=found["label"].map(dict(enumerate(task.names))).to_numpy(),
        description="", status="pending", model=model, lat=[point[0] for point in points],
        long=[point[1] for point in points])
    return incidents, posts[["incident_id", "id"]]


def ranks(texts: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The highest rank that is well supported in each incident, and how sure that is.

    A text truly tells of some rank; the model's calibrated chances say of which, and a label settles it. The
    highest rank of an incident is then a random variable: at least one of its texts tells of rank k or higher with
    chance 1 - product(1 - chance of each). ``label`` is its median (the highest rank that is at least as likely told
    as not), ``label_low`` and ``label_high`` bound it at `LEVEL`, and ``confidence`` is the chance that at least one
    text tells of ``label`` or higher. This takes the model's errors on different texts to be independent of each
    other, which they are not quite: texts on one incident share their words, so the truth is less sure than it says.
    Copies count once. It is about what is told, not about what happened.

    Parameters
    ----------
    texts : one row a text, with ``incident_id``, ``label``, ``confidence``, and p0 … p(K-1) unless it is labelled;
        where there are no chances, the rest of the confidence goes to label 0
    """
    count = len(task.labels)
    chances = texts.reindex(columns=[f"p{k}" for k in range(count)]).to_numpy(float, copy=True)
    bare = np.isnan(chances).any(axis=1)
    chances[bare] = 0
    chances[np.flatnonzero(bare), texts["label"][bare]] = texts["confidence"][bare]
    chances[bare, 0] += 1 - texts["confidence"][bare]
    reaches = chances[:, ::-1].cumsum(axis=1)[:, ::-1]
    reaches = np.where(reaches < FAINT, 0, np.clip(reaches, 0, 1 - 1e-9))
    missed = pd.DataFrame(np.log1p(-reaches), index=texts.index).groupby(texts["incident_id"]).sum()
    told = 1 - np.exp(missed.to_numpy())
    tail = (1 - LEVEL) / 2
    median, low, high = ((told >= level).sum(axis=1) - 1 for level in (0.5, 1 - tail, tail))
    given = texts.groupby("incident_id")["label"].min().to_numpy()  # an incident has a positive label
    label = np.where(np.isin(median, task.positive), median, given).astype(int)
    return pd.DataFrame({"label": label, "label_low": np.minimum(low, label), "label_high": np.maximum(high, label),
                         "confidence": told[np.arange(len(told)), label]}, index=missed.index)


def _dates(texts: pd.DataFrame) -> pd.DataFrame:
    """The event date of each incident that its texts name most exactly, then most often, then the earliest."""
    said = texts[texts["date_precision"] != ""]
    said = said.assign(rough=said["date_precision"].map(PRECISIONS.index))
    votes = said.groupby(["incident_id", "rough", "event_date", "date_precision"]).size().rename("votes").reset_index()
    best = votes.sort_values(["rough", "votes", "event_date"], ascending=[True, False, True]) \
        .drop_duplicates("incident_id").set_index("incident_id")
    return best[["event_date", "date_precision"]].rename(columns={"event_date": "incident_date"})


def _places(texts: pd.DataFrame) -> pd.DataFrame:
    """The place of each incident that is told most exactly, then most often; a home leaves its method, and no place."""
    names = ["city", "state", "country"]
    table = texts.assign(**{name: texts[name].fillna("") for name in names},
                         told=~texts["place_method"].map(is_home).astype(bool))
    table["exact"] = (table[names] != "").sum(axis=1)
    votes = table.groupby(["incident_id", *names, "told", "exact"], sort=False) \
        .agg(votes=("id", "size"), place_method=("place_method", "first")).reset_index()
    votes["told"] &= votes["exact"] > 0
    best = votes.sort_values(["told", "exact", "votes"], ascending=False, kind="stable").drop_duplicates("incident_id")
    best.loc[best["place_method"].map(is_home).astype(bool), names] = ""
    return best.set_index("incident_id")[[*names, "place_method"]]


def _central(texts: pd.DataFrame) -> pd.DataFrame:
    """The ids of each incident's most central texts, and what the store says of the first of them."""
    best = texts.sort_values("central", ascending=False, kind="stable")
    named = best.groupby("incident_id")["id"].agg(lambda ids: json.dumps(ids.head(REPRESENTATIVES).tolist()))
    shown = best.drop_duplicates("incident_id").set_index("incident_id")
    return pd.DataFrame({"representatives": named, "tweet_id": shown["id"], "user_name": shown["author"],
                         "src": shown["dataset"].astype(str) + "/" + shown["id"]})


def _when(day: object, precision: str) -> str:
    """A date as a title ends with it, no more exact than it is known."""
    if pd.isna(day):
        return ""
    whole = f"{day.day} {day:%B %Y}"
    return ", " + {"week": f"week of {whole}", "month": f"{day:%B %Y}", "year": f"{day:%Y}",
                   "post": f"posted {whole}"}.get(precision, whole)
