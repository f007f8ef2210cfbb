"""The API: report site, predictions, incidents and their review, collecting, and the threat indicator.

`serving` stands around it: keys, limits, and the queue of texts. Errors are ``{"detail": "one sentence"}``.
"""

import asyncio
import json
import logging
import os
import re
import sys
import threading
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler
from fastapi import APIRouter, FastAPI, Query, Request, Response, Security
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from hrf_utils import confidence, exports, lookups, pipeline, review, serving, settings, store_serving, tasks
from hrf_utils.serving import Guard, Predicted, Predictor, Refusal
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.text import clean
from hrf_utils.watch import Watch

THREAT = "threat"
NOTICE = "A label says what a text says; it is not evidence about a person."
_STORE_GONE = "the store does not answer now"
_KINDS = {".html": "text/html; charset=utf-8", ".png": "image/png", ".csv": "text/csv; charset=utf-8",
          ".geojson": "application/geo+json", ".json": "application/json"}
_TAKE_OVER = 10.0  # seconds after which a process looks again whether another still collects

routes = APIRouter()


class Problem(BaseModel):
    """What is wrong, in one sentence."""

    detail: str


class Texts(BaseModel):
    """Texts to classify; without a task the server's own."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={
        "examples": [{"task": "force", "texts": ["Officers fired pepper balls at us."]}]})
    task: str | None = Field(None, max_length=40)
    texts: list[str] = Field(min_length=1, max_length=256)


class Prevalence(BaseModel):
    """Share of the flagged texts that would be false, were so few of all texts positive; a 95% interval."""

    positives: str
    false_share: float | None
    low: float | None
    high: float | None


class Answer(BaseModel):
    """One text: the likeliest label, all that stay possible, and whether the model would rather not say."""

    label: int
    name: str
    confidence: float
    probabilities: dict[str, float]
    label_set: list[str] = Field(description="holds the true label for 9 in 10 texts like those of the validation")
    abstains: bool = Field(description="whether the confidence is below that at which 9 in 10 answers were right")
    cut: bool = Field(description="whether the text was longer than the model reads")


class Answers(BaseModel):
    task: str
    model: str
    results: list[Answer]
    prevalence: list[Prevalence]
    notice: str = NOTICE


class ThreatLevel(BaseModel):
    """The score of one post's text; where a person labelled the post, the person's label and no score."""

    tweet_id: str
    score: float | None
    label: int
    name: str
    decided_by: Literal["predicted", "labelled"]
    label_set: list[str]
    abstains: bool
    cut: bool
    model: str
    prevalence: list[Prevalence]
    notice: str = NOTICE
    text: str | None = Field(None, description="only with SHOW_TEXT=1")


class Incident(BaseModel):
    incident_id: str
    incident_date: date | None
    tweet_id: str
    user_name: str
    description: str
    city: str
    state: str
    lat: float | None
    long: float | None
    title: str
    force_rank: int
    status: str
    confidence: float
    tags: str
    src: str


class Step(BaseModel):
    """A step of a review; `value` is for reject (``label``), edit (``title``, ``city``, ``state``, ``date``, ``rank``),
    merge (``with``: ids of incidents), split (``posts``: ids) and undo (``number``)."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={
        "examples": [{"action": "edit", "who": "ann", "value": {"rank": 4}, "note": "spray, as the film shows"}]})
    action: Literal["approve", "reject", "edit", "merge", "split", "note", "undo"]
    who: str = Field(min_length=1, max_length=100)
    value: dict[str, Any] | None = None
    note: str = Field("", max_length=5_000)


class Reviewed(BaseModel):
    """The number of the step in the log, and the incident after it."""

    number: int
    incident: Incident


class Incidents(BaseModel):
    total: int
    limit: int
    offset: int
    incidents: list[Incident]


class Health(BaseModel):
    ready: bool
    model: str | None
    last_collection: datetime | None


class Started(BaseModel):
    started: str


# ---- routes


@routes.get("/", response_class=Response, responses={200: {"content": {"text/html": {}}}})
@routes.get("/index.html", include_in_schema=False)
def report_site() -> Response:
    """The report site; its pages are `/{task}/{page}`."""
    return _report("index.html")


@routes.get("/health", responses={503: {"model": Health}})
def health(request: Request, response: Response) -> Health:
    """Whether texts can be classified, by which model, and when posts came last; 503 while they cannot."""
    predictor = _predictor(request.app, settings.get("TASK"))
    ready = predictor.ready
    if not ready:
        predictor.ask([])
        response.status_code = 503
    return Health(ready=ready, model=predictor.model.name if ready else None,
                  last_collection=store_serving.last_collected(request.app.state.store))


@routes.post("/predict")
async def predict(request: Request, asked: Texts) -> Answers:
    """Classify texts."""
    name = asked.task or settings.get("TASK")
    _allowed(name)
    said = await _ask(request, name, asked.texts)
    return Answers(task=name, model=said.model.name, results=_answers(said), prevalence=_prevalence(said))


@routes.get("/incidents", responses={200: {"content": {"text/csv": {}, "application/geo+json": {}}}})
def incidents(request: Request, rank: Annotated[list[Annotated[int, Field(ge=0, le=99)]], Query(max_length=20)] = (),
              state: Annotated[list[Annotated[str, Field(pattern="^[A-Z]{2}$")]], Query(max_length=60)] = (),
              status: Annotated[list[Literal["pending", "approved", "rejected"]], Query(max_length=3)] = (),
              since: date | None = None, until: date | None = None,
              limit: Annotated[int, Query(ge=1, le=1000)] = 100,
              offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
              format: Literal["json", "csv", "geojson"] | None = None) -> Incidents:
    """Incidents that were built last, latest first, as JSON, CSV or GeoJSON by `format` or else by `Accept`."""
    task = settings.get("TASK")
    _allowed(task)
    rows, total = store_serving.incidents(
        request.app.state.store, task, ranks=rank, states=state, statuses=status, since=since, until=until,
        limit=limit, offset=offset, texts=settings.flag("SHOW_TEXT"))
    accept = request.headers.get("accept", "")
    wanted = [part.split(";")[0].strip() for part in accept.split(",")]
    kinds = {_KINDS[f".{kind}"].split(";")[0]: kind for kind in ("json", "csv", "geojson")}
    kind = format or next((kinds[one] for one in wanted if one in kinds), "json")
    if kind == "json":
        return Incidents(total=total, limit=limit, offset=offset, incidents=rows.to_dict("records"))
    written = rows.map(exports.inert).to_csv(index=False) if kind == "csv" else json.dumps(exports.geojson(rows))
    return Response(written, media_type=_KINDS[f".{kind}"], headers={"X-Total-Count": str(total)})


@routes.post("/incidents/{incident_id}/review")
def review_incident(request: Request, incident_id: Annotated[str, InPath(pattern="^[0-9a-f]{12}$")],
                    step: Step) -> Reviewed:
    """Approve, reject, edit, merge, split or annotate an incident, or take the last step back."""
    task, store = settings.get("TASK"), request.app.state.store
    _allowed(task)
    dataset = store_serving.dataset(store, task)
    if not store_serving.incidents(store, task, ids=[incident_id])[1]:
        raise Refusal(404, "there is no incident with this id; it may have been built anew")
    if step.action == "undo" and type((step.value or {}).get("number")) is not int:
        raise Refusal(422, "undo needs the number of the step that it takes back, which has to be the last")
    try:
        number = review.record(store, task, dataset, incident_id, **step.model_dump())
    except InputError as error:
        if isinstance(error.__cause__, sa.exc.SQLAlchemyError):
            raise Refusal(503, _STORE_GONE, 5) from error
        said = str(error).replace(f"{clean(step.who)} has ", "the reviewer has ")
        raise Refusal(422, re.sub(r"'[^']*'|\"[^\"]*\"", "…", said)) from error
    except RecursionError as error:
        raise Refusal(422, "value: this is nested too deeply") from error
    after = store_serving.incidents(store, task, ids=[incident_id], texts=settings.flag("SHOW_TEXT"))[0]
    return Reviewed(number=number, incident=after.to_dict("records")[0])


@routes.post("/collect", status_code=202, responses={409: {"model": Problem}})
def collect() -> Started:
    """Start a collection now, with all that follows from it, in a process of its own."""
    if pipeline.begin() is None:
        raise Refusal(409, "a collection or another make is at work; ask again when it has ended")
    return Started(started="make pipeline")


@routes.get("/threat_level/{tweet_id}")
async def threat_level(request: Request, tweet_id: Annotated[str, InPath(pattern="^[1-9][0-9]{0,18}$")]) -> ThreatLevel:
    """How far the text of a post supports the movement; it says nothing about its author."""
    _allowed(THREAT)
    found = await run_in_threadpool(lookups.post, request.app.state.store, THREAT, tweet_id)
    said = await _ask(request, THREAT, [found.text])
    if not (prevalence := _prevalence(said)):
        raise Refusal(503, "this model has not been judged yet; run `make performance TASK=threat`", 60)
    answer, task = _answers(said)[0], tasks.load(THREAT)
    shown = answer.model_dump(include={"label", "name", "label_set", "abstains", "cut"})
    score = sum(answer.probabilities[task.names[number]] for number in task.positive)
    if found.label is not None:
        name = task.names[found.label]
        shown |= {"label": found.label, "name": name, "label_set": [name], "abstains": False}
    return ThreatLevel(tweet_id=tweet_id, score=score if found.label is None else None, model=said.model.name,
                       decided_by="predicted" if found.label is None else "labelled", prevalence=prevalence, **shown,
                       text=found.text if settings.flag("SHOW_TEXT") else None)


@routes.get("/{task}/{page}", response_class=Response,
            responses={200: {"content": {kind.split(";")[0]: {} for kind in _KINDS.values()}}})
def report_page(task: str, page: str) -> Response:
    """A page of the report site, or a file that belongs to it."""
    return _report(task, page)


# ---- what they need


def _report(*parts: str) -> Response:
    root = (settings.home() / "reports").resolve()
    if all(re.fullmatch(r"[A-Za-z0-9_][\w.-]{0,99}", part, re.ASCII) for part in parts):
        path = root.joinpath(*parts).resolve()
        if path.suffix in _KINDS and path.is_relative_to(root) and path.is_file():
            return Response(path.read_bytes(), media_type=_KINDS[path.suffix])
    raise Refusal(404, "there is no such page; `make pipeline` writes the report site")


def _allowed(task: str) -> None:
    if task not in {path.stem for path in tasks.FOLDER.glob("*.yml")}:
        raise Refusal(422, "there is no such task")
    if task == THREAT and not settings.flag("THREAT_ENABLED"):
        raise Refusal(403, "the threat indicator is off until THREAT_ENABLED=1")


def _predictor(made: FastAPI, task: str) -> Predictor:
    predictors = made.state.predictors
    if task not in predictors:
        predictors[task] = Predictor(task)
    return predictors[task]


async def _ask(request: Request, task: str, texts: list[str]) -> Predicted:
    try:
        return await asyncio.wrap_future(_predictor(request.app, task).ask(texts))
    except InputError as error:
        serving.log.error("%s", error)
        raise Refusal(503, f"there is no usable model for the task {task}; run `make train`", 60) from error


def _answers(said: Predicted) -> list[Answer]:
    names, limits = said.model.manifest["labels"], said.model.manifest["thresholds"]
    chances = said.rows[[f"p{k}" for k in range(len(names))]].to_numpy()
    sets = confidence.label_sets(chances, limits["set"])
    rows = zip(said.rows["label"].tolist(), said.rows["confidence"].tolist(), said.rows["cut"].tolist(),
               chances.tolist(), sets.tolist(), strict=True)
    return [Answer(label=label, name=names[label], confidence=sure, probabilities=dict(zip(names, some, strict=True)),
                   label_set=[name for name, held in zip(names, kept, strict=True) if held],
                   abstains=sure < limits["abstain"], cut=cut) for label, sure, cut, some, kept in rows]


def _prevalence(said: Predicted) -> list[Prevalence]:
    path = said.model.folder / "metrics.json"
    return _false_alarms(path, path.stat().st_mtime_ns) if path.exists() else []


@lru_cache(maxsize=8)
def _false_alarms(path: Path, changed: int) -> list[Prevalence]:
    """What a file of figures tells of false alarms, read once for each time that it `changed`."""
    told = json.loads(path.read_text(encoding="utf8"))["false_alarms"]
    return [Prevalence(positives=name, false_share=cell["value"], low=cell["low"], high=cell["high"])
            for name, cell in told.items()]


# ---- the application


def app() -> FastAPI:
    """The application, its store open; what gunicorn and uvicorn call.

    Raises
    ------
    InputError
        If the store does not answer, or ``SCHEDULE=1`` without a source that brings new posts.
    """
    store = Store.open()
    watch = Watch(store, serving.log.info) if settings.flag("SCHEDULE") else None
    origins = [one.strip() for one in settings.get("CORS_ORIGINS").split(",") if one.strip()]
    made = FastAPI(title="Human Rights First: posts and incidents", version="1", lifespan=_lifespan, docs_url=None,
                   redoc_url=None, redirect_slashes=False,
                   responses={code: {"model": Problem} for code in (400, 401, 403, 404, 405, 413, 422, 429, 500, 503)},
                   dependencies=[Security(APIKeyHeader(name="X-API-Key", auto_error=False))])  # for the document
    made.state.store, made.state.watch, made.state.predictors = store, watch, {}
    made.include_router(routes)
    made.add_exception_handler(RequestValidationError, _invalid)
    made.add_exception_handler(HTTPException, _plain)
    made.add_exception_handler(sa.exc.SQLAlchemyError, _no_store)
    made.add_middleware(Guard, key=settings.get("SERVER_KEY"), per_minute=settings.number("RATE_LIMIT"),
                        origins=origins)
    if origins:
        made.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"],
                            allow_headers=["X-API-Key", "Content-Type"],
                            expose_headers=["X-Total-Count", "Retry-After"])
    if not serving.log.handlers:
        serving.log.addHandler(logging.StreamHandler())
        serving.log.handlers[0].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        serving.log.setLevel(logging.INFO)
    return made


@asynccontextmanager
async def _lifespan(made: FastAPI):
    ended = threading.Event()
    thread = threading.Thread(target=_scheduled, args=(made.state.store, made.state.watch, ended), daemon=True)
    if made.state.watch:
        thread.start()
    _predictor(made, settings.get("TASK")).ask([])
    yield
    ended.set()
    if made.state.watch:
        await run_in_threadpool(thread.join, 10)


def _scheduled(store: Store, watch: Watch, ended: threading.Event) -> None:
    """The loop of ``make watch``, in one process only; the others wait to take over when that one ends."""
    while not ended.is_set():
        try:
            with store.alone("watch"):
                scheduler = BackgroundScheduler(timezone=UTC)
                watch.schedule(scheduler)
                scheduler.start()
                ended.wait()
                watch.stop()
                scheduler.shutdown()
        except InputError:
            ended.wait(_TAKE_OVER)


def _invalid(_: Request, error: RequestValidationError) -> Response:
    """What is wrong with a request, without what it said."""
    first = error.errors()[0]
    known = {"texts", "task", "rank", "state", "status", "since", "until", "limit", "offset", "format", "tweet_id",
             "incident_id", "action", "who", "note", "value"}
    where = " ".join(str(part) for part in first["loc"] if part in known)
    said = {"json_invalid": "the body is no JSON", "string_pattern_mismatch": "this does not have the right form",
            "extra_forbidden": "the body has a field that is not known"}.get(first["type"], first["msg"])
    return Refusal(422, f"{where}: {said}" if where else said).answer()


def _plain(_: Request, error: HTTPException) -> Response:
    answer = Refusal(error.status_code, str(error.detail)).answer()
    answer.headers.update(error.headers or {})
    return answer


def _no_store(_: Request, error: sa.exc.SQLAlchemyError) -> Response:
    serving.log.error("the store: %s", type(error).__name__)
    return Refusal(503, _STORE_GONE, 5).answer()


def main() -> None:
    """Serve at ``SERVE_AT`` until SIGINT or SIGTERM; what ``make serve`` runs."""
    host, port = serving.address()
    workers, made = int(settings.number("WORKERS")), app()
    if workers > 1:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        os.execv(sys.executable, [
            sys.executable, "-m", "gunicorn", "hrf_utils.api:app()", "--worker-class", "uvicorn_worker.UvicornWorker",
            "--workers", str(workers), "--bind", where, "--timeout", "60", "--keep-alive", str(serving.IDLE),
            "--log-level", "warning"])
    uvicorn.run(made, host=host, port=port, access_log=False, log_level="warning", ws="none",
                timeout_graceful_shutdown=10, timeout_keep_alive=serving.IDLE)


if __name__ == "__main__":
    settings.command(main)
