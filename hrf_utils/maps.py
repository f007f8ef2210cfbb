"""The clustered map of located incidents: one page, no request to any host."""

import html
import json
from importlib.resources import files as package_files
from pathlib import Path

import pandas as pd
from IPython.display import HTML, display

from hrf_utils import files
from hrf_utils.places import spoken, state_shapes
from hrf_utils.tasks import Task

_TEMPLATE = Path(__file__).parent / "template" / "map.html"


def map_page(incidents: pd.DataFrame, task: Task) -> str:
    """A page with a map of located US incidents, by kind and time, which asks no host for anything.

    Time is chosen by weeks or months that have incidents, and by years for what is older than the year before the last.
    A city is a dot, dots close together are a ring with their number; a state without a city is a wide, faint circle.
    The page says that the posts are invented where all are of the starter corpus.
    Leaflet and its cluster plugin are read from the packages that ship them.
    """
    placed = incidents.dropna(subset=["lat", "long"])
    where = [spoken(city, state, "US") for city, state in placed[["city", "state"]].to_numpy()]
    spots = pd.DataFrame({"lat": placed["lat"].round(2), "long": placed["long"].round(2), "name": where,
                          "exact": placed["city"] != ""})
    places = spots.drop_duplicates().values.tolist()
    numbers = spots.groupby(list(spots), sort=False).ngroup()
    dates = pd.to_datetime(placed["incident_date"]).dt.strftime("%Y-%m-%d").fillna("")
    for precision, letters in (("year", 4), ("month", 7)):  # no day that nobody knows
        dates = dates.mask(placed["date_precision"] == precision, dates.str[:letters])
    points = pd.DataFrame({"place": numbers, "label": placed["label"], "date": dates, "posts": placed["posts"],
                           "title": placed["title"]}).values.tolist()
    labels = [{"number": x.number, "name": x.name, "color": x.color} for x in task.labels if x.positive]
    starter = len(placed) and placed["src"].str.split("/").str[0].map(files.is_starter).all()
    claims = "Invented posts of the starter corpus" if starter else "Claims in posts"
    page = _TEMPLATE.read_text(encoding="utf8")
    for name, text in (("LEAFLET_CSS", _asset("leaflet", "leaflet.css")),
                       ("CLUSTER_CSS", _asset("leaflet_markercluster", "MarkerCluster.css")),
                       ("LEAFLET_JS", _asset("leaflet", "leaflet.js")),
                       ("CLUSTER_JS", _asset("leaflet_markercluster", "leaflet.markercluster.js")),
                       ("STATES", _inert(state_shapes())), ("PLACES", _inert(places)),
                       ("POINTS", _inert(points)), ("LABELS", _inert(labels)),
                       ("CLAIMS", _inert(claims)), ("PENDING", str((placed["status"] == "pending").sum()))):
        page = page.replace(f"/*{name}*/", text)
    return page


def show_map(page: str) -> None:
    """Display a map page in a frame of its own."""
    frame = ('<iframe class="map" title="Map of located incidents" sandbox="allow-scripts" '
             f'style="width:100%;height:560px;border:0" srcdoc="{html.escape(page)}"></iframe>')
    display(HTML(frame), metadata={"text/html": {"trusted": "map"}})


def _asset(package: str, name: str) -> str:
    return package_files(f"xstatic.pkg.{package}").joinpath("data", name).read_text(encoding="utf8")


def _inert(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("/*", "/\\u002a")
