"""The HTTP service: paths, and what is asked of the cluster for each. Bodies are bodies.py's, admission guarding.py's.

Everything is read only. While no head leads, what was known last is shown with its age; 503 where nothing is known.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from linckia.base.limits import JOB_START_MAX_S, STATE_ROWS_MAX
from linckia.base.version import __version__
from linckia.core.jobs.details import JobDetails
from linckia.dashboard import bodies
from linckia.dashboard.access import cookie_name, is_token, mark_of
from linckia.dashboard.guarding import ROUTE, App, Guard, refusal
from linckia.dashboard.metrics import Requests, exposition
from linckia.dashboard.questions import (
    LISTED,
    OVERVIEW,
    SUBMISSIONS,
    Parameters,
    Question,
    Submissions,
    listing,
    state_question,
)
from linckia.dashboard.settings import Settings
from linckia.dashboard.snapshots import NothingKnownError, Snapshots
from linckia.host import environment
from linckia.model.listing import Part, decode_part

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
FORM_MAX_BYTES: Final = 4096
HEALTH_MAX_AGE_S: Final = 2.0
RENDERERS: Final = 2
STATIC: Final = {
    "": ("index.html", "text/html; charset=utf-8"),
    "login": ("login.html", "text/html; charset=utf-8"),
    "static/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "static/tables.js": ("tables.js", "text/javascript; charset=utf-8"),
    "static/style.css": ("style.css", "text/css; charset=utf-8"),
}
Handler = Callable[[Request], Awaitable[Response]]
_decode_submissions = msgspec.msgpack.Decoder(Submissions).decode


class Dashboard:
    """``ask`` answers one question, and blocks (asking.py). ``broken()``: a mistake of ours has ended what asks for
    all, and this process is of no use any more.
    """

    def __init__(
        self, settings: Settings, port: int, ask: Callable[[Question], bytes], broken: Callable[[], None]
    ) -> None:
        self._settings, self._port, self._ask, self._broken = settings, port, ask, broken
        self._requests = Requests()
        self._snapshots: Snapshots | None = None
        self._renderers = anyio.CapacityLimiter(RENDERERS)

    def app(self) -> App:
        """The ASGI application."""
        shown = self._paths() | {f"/{path}": _file(*kind) for path, kind in STATIC.items()}
        routes = [Route(path, _answered(path, handler)) for path, handler in shown.items()]
        path = "/api/authenticate"
        routes.append(Route(path, _answered(path, self.authenticate), methods=["POST"]))
        return Guard(Starlette(routes=routes, lifespan=self.life), self._settings, self._port, self._requests)

    def _paths(self) -> dict[str, Handler]:
        found: dict[str, Handler] = {
            "/healthz": _healthz,
            "/api/authentication_mode": _authentication_mode,
            "/api/gcs_healthz": self.gcs_healthz,
            "/api/version": self.version,
            "/api/cluster_status": self.cluster_status,
            "/nodes": self.nodes,
            "/metrics": self.metrics,
            "/api/jobs/": self.jobs,
            "/api/jobs/{job_id}": self.job,
            "/api/jobs/{job_id}/logs": self.job_logs,
        }
        found |= {f"/api/v0/{what}": self._lister(what) for what in LISTED}
        return found | {f"/api/v0/{what}/summarize": self._summarizer(what) for what in bodies.SUMMARIES}

    @asynccontextmanager
    async def life(self, _app: Starlette | None = None) -> AsyncIterator[None]:
        """Questions that are on their way belong to no request: others wait for the same answer."""
        try:
            async with asyncio.TaskGroup() as group:
                self._snapshots = Snapshots(self._ask, time.monotonic, group)
                yield
        except BaseExceptionGroup as errors:
            traceback.print_exception(errors)
            self._broken()
            raise

    async def _told(self, question: Question) -> tuple[bytes, float]:
        """The answer as it came, and its age."""
        assert self._snapshots is not None
        snapshot = await self._snapshots.get(question)
        return snapshot.body, self._snapshots.age_s(snapshot)

    async def _rendered(self, make: Callable[[], Any]) -> Response:
        """On a thread: ten thousand rows take a tenth of a second, and others wait for this loop."""
        content = await anyio.to_thread.run_sync(lambda: msgspec.json.encode(make()), limiter=self._renderers)
        return Response(content, media_type="application/json")

    # --- the cluster --------------------------------------------------------------------------------------------------

    async def _overview(self) -> tuple[dict[str, Any], float]:
        body, age_s = await self._told(OVERVIEW)
        return msgspec.msgpack.decode(body), age_s

    async def version(self, _request: Request) -> Response:
        """R 8.26."""
        told = {"version": bodies.API_VERSION, "ray_version": __version__, "ray_commit": ""}
        return await self._rendered(lambda: {**told, "session_name": self._settings.session_name})

    async def cluster_status(self, request: Request) -> Response:
        """R 8.40: ``format=1`` is text."""
        told, age_s = await self._overview()
        as_text = request.query_params.get("format", "0")
        if as_text not in ("0", "1"):
            raise ValueError(f"format={as_text!r}: expected 0 (JSON) or 1 (text)")
        body = bodies.cluster_body(told, age_s)
        shown = bodies.cluster_text(body) if as_text == "1" else body
        return await self._rendered(lambda: bodies.envelope({"clusterStatus": shown}))

    async def nodes(self, request: Request) -> Response:
        """R 8.39."""
        told, age_s = await self._overview()
        view = request.query_params.get("view", "summary")
        return await self._rendered(lambda: bodies.nodes_body(told, age_s, view))

    async def gcs_healthz(self, _request: Request) -> Response:
        """R 8.41: 200 while a head leads and answers."""
        _, age_s = await self._told(OVERVIEW)
        if age_s > HEALTH_MAX_AGE_S:
            return PlainTextResponse(f"no head has answered for {age_s:.1f} s", 503)
        return PlainTextResponse("success")

    async def metrics(self, _request: Request) -> Response:
        """For Prometheus."""
        try:
            told, age_s = await self._overview()
        except NothingKnownError:
            return Response(exposition(None, 0.0, self._requests), media_type=METRICS_TYPE)
        return Response(exposition(told, age_s, self._requests), media_type=METRICS_TYPE)

    # --- the state API ------------------------------------------------------------------------------------------------

    async def _part(self, question: Question) -> tuple[Part, float]:
        body, age_s = await self._told(question)
        return await anyio.to_thread.run_sync(decode_part, body, limiter=self._renderers), age_s

    def _lister(self, what: str) -> Handler:
        async def show(request: Request) -> Response:
            asked = listing(what, _parameters(request))
            part, age_s = await self._part(asked.question)
            return await self._rendered(lambda: bodies.list_body(asked, part, age_s))

        return show

    def _summarizer(self, what: str) -> Handler:
        limit = STATE_ROWS_MAX if what == "objects" else 0  # the others are counted where they are

        async def show(_request: Request) -> Response:
            part, age_s = await self._part(state_question(what, limit))
            return await self._rendered(lambda: bodies.summary_body(what, part, age_s))

        return show

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def _jobs(self) -> list[JobDetails]:
        body, _ = await self._told(SUBMISSIONS)
        start_max_s = float(environment.option("JOB_START_TIMEOUT_SECONDS") or JOB_START_MAX_S)
        return bodies.jobs_of(_decode_submissions(body), environment.wall_time_s(), start_max_s)

    async def _job(self, request: Request) -> JobDetails | None:
        wanted = request.path_params["job_id"]
        return next((job for job in await self._jobs() if wanted in (job.submission_id, job.job_id)), None)

    async def jobs(self, _request: Request) -> Response:
        """R 8.28: all."""
        found = await self._jobs()
        return await self._rendered(lambda: [bodies.job_body(job) for job in found])

    async def job(self, request: Request) -> Response:
        """R 8.28: one, by its submission id or job id."""
        found = await self._job(request)
        return _no_job(request) if found is None else await self._rendered(lambda: bodies.job_body(found))

    async def job_logs(self, request: Request) -> Response:
        """R 8.30: the last of its output; empty for programs that were not submitted."""
        found = await self._job(request)
        if found is None:
            return _no_job(request)
        text = b""
        if found.submission_id is not None:
            text, _ = await self._told(Question("log", found.submission_id))
        return await self._rendered(lambda: {"logs": text.decode(errors="replace")})

    # --- the cookie ---------------------------------------------------------------------------------------------------

    async def authenticate(self, request: Request) -> Response:
        """R 8.44: the token, as a form's field or as Bearer, for a cookie."""
        given = await _given_token(request)
        is_form = not request.headers.get("authorization")
        if not is_token(self._settings.token, given):
            return RedirectResponse("/login?wrong", 303) if is_form else refusal(401, "this is not the cluster's token")
        response: Response = RedirectResponse("/", 303) if is_form else PlainTextResponse("")
        name, mark = cookie_name(self._port), mark_of(self._settings.token)
        response.set_cookie(name, mark, httponly=True, samesite="strict", path="/")
        return response


def _answered(path: str, handler: Handler) -> Handler:
    """What cannot be answered says so in the shape of all answers."""

    async def answer(request: Request) -> Response:
        request.scope[ROUTE] = path
        try:
            return await handler(request)
        except NothingKnownError as error:
            return refusal(503, f"nothing is known of the cluster yet: {error}")
        except ValueError as error:
            return refusal(400, str(error))

    return answer


async def _given_token(request: Request) -> str:
    authorization = request.headers.get("authorization", "")
    if authorization:
        kind, _, given = authorization.partition(" ")
        return given.strip() if kind.lower() == "bearer" else ""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_MAX_BYTES:
            return ""
    fields = parse_qs(body.decode("ascii", "replace"), max_num_fields=4)
    return fields.get("token", [""])[0].strip()


async def _healthz(_request: Request) -> Response:
    """The process itself, whatever the cluster does."""
    return PlainTextResponse("success")


async def _authentication_mode(_request: Request) -> Response:
    return Response(b'{"authentication_mode":"token"}', media_type="application/json")


def _no_job(request: Request) -> Response:
    return PlainTextResponse(f"there is no job {request.path_params['job_id']!r}", 404)


def _parameters(request: Request) -> Parameters:
    given = request.query_params
    several = (given.getlist(f"filter_{name}") for name in ("keys", "predicates", "values"))
    return Parameters(given, *several)


def _file(name: str, media_type: str) -> Handler:
    """One of our own files, read once."""
    content = files("linckia.dashboard").joinpath("static", name).read_bytes()

    async def show(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return show
