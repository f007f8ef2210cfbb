"""Do others tell of it, too? Our incidents against a public list: recall, and an estimate of what both miss."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from hrf_utils import files
from hrf_utils.gazetteer import CODES, gazetteer, key
from hrf_utils.intervals import interval, show, wilson
from hrf_utils.places import locate
from hrf_utils.settings import InputError
from hrf_utils.text import clean

DAYS = 2
"""Days that two dates of one incident may lie apart: a post comes the night after, and dates are local to nobody."""
LEAST_BOTH = 7
"""Incidents in both lists from which Chapman's estimator has next to no bias (Robson and Regier, 1964)."""

ASSUMPTIONS = {
    "closed": "Both lists are about the same incidents: those of these days in these places. Where one list never "
              "looks (a list of protests beside posts about all police), the estimate is too high.",
    "independent": "Being in one list makes it no likelier to be in the other. Loud incidents are in both and quiet "
                   "ones in none, which makes the estimate too low.",
    "alike": "All incidents of a list are as easy to find. They are not, and that makes the estimate too low.",
    "matched": "Pairs are told rightly, once those that chance gives are taken out. A pair that is missed, or an "
               "incident of ours that did not happen or was counted twice, makes the estimate too high."}


def read(path: Path | str) -> pd.DataFrame:
    """A list of known incidents, from any table with ``date`` (or ``created_at``), ``city`` and ``state``.

    ``links`` may hold addresses of posts about it. 2020PB's JSON is read as it comes.

    Returns
    -------
    DataFrame with ``id``, ``date``, ``city`` and ``state`` as `places` writes them ("" where unknown), and ``posts``
    (ids of the posts linked).

    Raises
    ------
    InputError
        If a column is missing, or no row has a date and a US state.
    """
    table = files.read_table(path)
    table = table.rename(columns={} if "date" in table else {"created_at": "date"})
    missing = [name for name in ("date", "city", "state") if name not in table]
    if missing:
        raise InputError(f"{path} has no column {missing[0]}; a list of known incidents has date, city and state")
    states = table["state"].map(_state)
    spots = [locate(f"{clean(city)}, {state}") if city and state else None
             for city, state in zip(table["city"], states, strict=True)]
    dates = pd.to_datetime(table["date"], errors="coerce", utc=True, format="mixed")
    known = pd.DataFrame({
        "id": table["id"] if "id" in table else table.index.astype(str),
        "date": dates.dt.tz_localize(None).dt.floor("D"),
        "city": [spot.city if spot and spot.city else "" for spot in spots], "state": states,
        "posts": (table["links"] if "links" in table else pd.Series("", index=table.index)).map(
            lambda links: frozenset(re.findall(r"/status(?:es)?/(\d{15,19})", links)))})
    known = known[known["date"].notna() & (known["state"] != "")].reset_index(drop=True)
    if known.empty:
        raise InputError(f"{path} has no row with a date and a US state")
    return known


def _state(name: str) -> str:
    name = clean(name)
    entry = gazetteer().entries.get(key(name))
    return name.upper() if name.upper() in CODES else (entry.state if entry else None) or ""


def of_ours(incidents: pd.DataFrame, members: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Our incidents that are not abroad, in the form of `read`; one that tells no place takes that of the known
    incident that links a post of it, or is left out."""
    posts = members.groupby("incident_id")["id"].agg(frozenset)
    frame = incidents[incidents["country"].isin(["US", ""])]
    frame = frame.assign(**frame[["city", "state"]].where(frame["lat"].notna(), ""))
    ours = pd.DataFrame({
        "id": frame["incident_id"], "date": pd.to_datetime(frame["incident_date"]), "city": frame["city"],
        "state": frame["state"], "posts": frame["incident_id"].map(posts)}).reset_index(drop=True)
    spots = known.explode("posts").dropna(subset=["posts"]).drop_duplicates("posts").set_index("posts")
    for row in ours.index[ours["state"] == ""]:
        linked = spots.index.intersection(list(ours.at[row, "posts"]))
        if len(linked):
            ours.loc[row, ["city", "state"]] = spots.loc[linked[0], ["city", "state"]].tolist()
    return ours[ours["state"] != ""].reset_index(drop=True)


def overlap(known: pd.DataFrame, ours: pd.DataFrame, days: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both lists cut to the days on which posts were collected, from the list's first day to its last."""
    covered = pd.to_datetime(days.dropna()).dt.floor("D").unique()
    covered = covered[(covered >= known["date"].min()) & (covered <= known["date"].max())]
    return tuple(frame[frame["date"].isin(covered)].reset_index(drop=True) for frame in (known, ours))


def match(known: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Pairs of incidents that are taken for the same, one to one: ``known``, ``ours`` (row numbers), ``by``.

    Two may be the same if a post links them (``link``), or if they are at most `DAYS` apart and in one city (``city``),
    or in one state where a city is unknown (``state``). Of all ways to pair them up the surest is taken.
    """
    pairs = []
    for state, theirs in known.groupby("state"):
        mine = ours[ours["state"] == state]
        if mine.empty:
            continue
        apart = np.abs(theirs["date"].to_numpy()[:, None] - mine["date"].to_numpy()) / np.timedelta64(1, "D")
        a, b = theirs["city"].to_numpy()[:, None], mine["city"].to_numpy()[None, :]
        linked = np.array([[bool(x & y) for y in mine["posts"]] for x in theirs["posts"]])
        near, same, vague = apart <= DAYS, (a == b) & (a != ""), (a == "") | (b == "")
        worth = np.select([linked, near & same, near & vague], [300.0, 200.0 - apart, 100.0 - apart], 0.0)
        rows, columns = linear_sum_assignment(worth, maximize=True)
        for row, column in zip(rows, columns, strict=True):
            if worth[row, column] > 0:
                by = "link" if linked[row, column] else "city" if same[row, column] else "state"
                pairs.append((theirs.index[row], mine.index[column], by))
    return pd.DataFrame(pairs, columns=["known", "ours", "by"])


def chapman(first: int, second: int, both: int) -> dict[str, float]:
    """How many there are in all, from two lists and what is in both, with a 95% interval.

    Chapman (1951); the interval is log-normal in the number that both miss (Chao, 1987), so that it never falls below
    what was seen. Where one list holds all of the other, it reaches as far as that share may be lower (Wilson).
    """
    seen = first + second - both
    total = (first + 1) * (second + 1) / (both + 1) - 1
    variance = (first + 1) * (second + 1) * (first - both) * (second - both) / ((both + 1) ** 2 * (both + 2))
    unseen = total - seen
    if unseen <= 0:
        return {"value": total, "low": seen, "high": seen / wilson(both, min(first, second))["low"]}
    spread = np.exp(1.96 * np.sqrt(np.log1p(variance / unseen**2)))
    return {"value": total, "low": seen + unseen / spread, "high": seen + unseen * spread}


def by_chance(known: pd.DataFrame, ours: pd.DataFrame, pairs: pd.DataFrame, draws: int = 50) -> pd.DataFrame:
    """Pairs by place and date when the dates of our incidents without a link are shuffled; a row a draw, by state."""
    linked, states, generator = pairs[pairs["by"] == "link"], known["state"].unique(), np.random.default_rng(0)
    known, ours = known.drop(linked["known"]), ours.drop(linked["ours"])
    shuffled = (ours.assign(date=generator.permutation(ours["date"].to_numpy())) for _ in range(draws))
    found = [known.loc[match(known, one)["known"], "state"].value_counts() for one in shuffled]
    return pd.DataFrame(found, columns=states).fillna(0).reset_index(drop=True)


def beyond_chance(known: int, ours: int, linked: np.ndarray, near: np.ndarray, false: np.ndarray) -> np.ndarray:
    """How many incidents are truly in both lists, of which `linked` share a post, which is no chance.

    `near` pair by place and date alone, `false` do so among shuffled dates. Where t truly pair, chance is left with
    the rest of both lists: near = t + false (1 - t / m) (1 - t / n), m and n being what of the lists has no link. That
    is the correction of Abbott ("A method of computing the effectiveness of an insecticide", 1925) for either list.
    """
    m, n, false = np.maximum(known - linked, 1), np.maximum(ours - linked, 1), np.minimum(false, near)
    square, slope = false / (m * n), np.maximum(1 - false / m - false / n, 1e-9)
    over = near - false
    return linked + np.minimum(2 * over / (slope + np.sqrt(slope**2 + 4 * square * over)), near)


def _sizes(known: pd.DataFrame, ours: pd.DataFrame, pairs: pd.DataFrame, chance: np.ndarray) -> dict:
    """Sizes of two lists, how many are in ``both`` beyond chance, the ``recall`` that makes, and an estimate of ``all``
    if they are enough: its interval allows for what chance may have given, too."""
    n, linked, generator = len(known), int((pairs["by"] == "link").sum()), np.random.default_rng(0)
    near = len(pairs) - linked
    low, high = np.quantile(chance, [0.025, 0.975])
    both = beyond_chance(n, len(ours), linked, near, np.array([chance.mean(), low, high]))
    drawn = generator.multinomial(n, np.array([linked, near, n - linked - near]) / max(n, 1), 1000)
    again = beyond_chance(n, len(ours), drawn[:, 0], drawn[:, 1], generator.choice(chance, 1000))
    value, most, fewest = (chapman(n, len(ours), round(number)) for number in both)
    return {"known": n, "ours": len(ours), "both": both[0], "recall": interval(np.r_[both[0], again] / max(n, 1)),
            "all": value | {"low": most["low"], "high": fewest["high"]} if both[0] >= LEAST_BOTH else None}


def compare(known: pd.DataFrame, ours: pd.DataFrame, days: pd.Series) -> dict:
    """Recall of known incidents and an estimate of all, overall and for each state with enough in both lists; pairs
    that chance alone gives do not count."""
    known, ours = overlap(known, ours, days)
    pairs = match(known, ours)
    chance, where = by_chance(known, ours, pairs), known.loc[pairs["known"], "state"].to_numpy()
    states = {state: _sizes(known[known["state"] == state], ours[ours["state"] == state], pairs[where == state],
                            chance[state].to_numpy()) for state in sorted(set(where))}
    whole = chance.sum(axis=1).to_numpy()
    return _sizes(known, ours, pairs, whole) | {
        "by": pairs["by"].value_counts().to_dict(), "by_chance": whole.mean(),
        "states": {state: row for state, row in states.items() if row["all"]}}


def sentence(compared: dict) -> str:
    """What `compare` found, in words."""
    if not compared["known"]:
        return "No incident of the list falls on a day on which posts were collected."
    linked, whole = compared["by"].get("link", 0), compared["all"]
    near = sum(compared["by"].values()) - linked
    text = (f"Of {compared['known']:,} incidents of the list on the days that posts were collected, {linked:,} share a "
            f"post with ours, which cannot be chance. {near:,} more agree in place and date only; chance alone would "
            f"give about {compared['by_chance']:.0f}. Corrected for chance, "
            f"{show(compared['recall'], percent=True)} of the list are among ours.")
    return text if not whole else text + (
        f" Had the two found incidents independently of each other, there would be about {whole['value']:,.0f} in all "
        f"({whole['low']:,.0f} to {whole['high']:,.0f}); posts that were collected from that list, or incidents loud "
        "enough for both, make this too low.")


def by_state(compared: dict) -> pd.DataFrame:
    """The states that `compare` has an estimate for: in the list, among ours, in both, and in all."""
    rows = {state: row | row["all"] for state, row in compared["states"].items()}
    columns = {"known": "listed", "ours": "ours", "both": "both", "value": "in all", "low": "low", "high": "high"}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*columns, "all"])
    return table[[*columns]].rename_axis("state").rename(columns=columns)
