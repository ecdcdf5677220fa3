"""The HTTP interface: routes, and what becomes of what they are asked."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any

import fastapi
import numpy as np
import prometheus_client
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from bert4rec_jax import __version__
from bert4rec_jax.recommender import Recommender
from bert4rec_jax.serving import schema
from bert4rec_jax.serving.asgi import BoundedBody, Observed
from bert4rec_jax.serving.batcher import Batcher, Overloaded
from bert4rec_jax.serving.engine import Answer, Engine, Question
from bert4rec_jax.serving.telemetry import Telemetry
from bert4rec_jax.serving.titles import Titles
from bert4rec_jax.vocab import PAD

STATIC = pathlib.Path(__file__).parent / "static"


def create_app(
    recommender: Recommender,
    titles: Titles,
    limits: schema.Limits,
    *,
    background: Callable[[Engine, Telemetry], Coroutine[Any, Any, None]] | None = None,
) -> fastapi.FastAPI:
    """The application; everything that a request needs is compiled when it is returned.

    Args:
        recommender: the model. titles: of its catalogue.
        background: a coroutine that runs as long as the application.
    """
    vocab = recommender.vocab
    engine = Engine(recommender, k=min(limits.k, len(vocab)))
    batcher = Batcher(
        engine.answer,
        how_many=engine.worth_taking,
        most_waiting=limits.waiting,
        on_batch=lambda size: telemetry.batches.observe(size),
    )
    telemetry = Telemetry(waiting=lambda: batcher.waiting, step=lambda: engine.step)
    RecommendRequest = schema.request_model(limits, vocab.items)

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        coroutines = [batcher.run()]
        if background is not None:
            coroutines.append(background(engine, telemetry))
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
        yield  # the server comes back here when the last request is answered
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = fastapi.FastAPI(
        title="bert4rec_jax",
        version=__version__,
        description="Recommendations of a trained model for histories of item ids.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(BoundedBody, most_bytes=limits.body_bytes, seconds=limits.body_seconds)
    app.add_middleware(Observed, telemetry=telemetry)  # added last: it is the outermost

    errors = {
        status: {"model": schema.Error, "description": description}
        for status, description in {
            400: "The body is not JSON.",
            408: "The body came too slowly.",
            413: "The body is too long.",
            415: "The body is not said to be JSON.",
            422: "The request is not as described; the detail says where.",
            503: "Too much is waiting, or the model cannot answer: try again later.",
        }.items()
    }

    @app.exception_handler(RequestValidationError)
    async def invalid(request: fastapi.Request, error: RequestValidationError) -> Response:
        status, detail = _first_mistake(error, request.headers.get("Content-Type", ""))
        return JSONResponse({"detail": detail}, status)

    @app.exception_handler(Overloaded)
    async def overloaded(request: fastapi.Request, error: Overloaded) -> Response:
        telemetry.rejected.inc()
        detail = f"{limits.waiting} histories may wait, and do: try again in a second"
        return JSONResponse({"detail": detail}, 503, headers={"Retry-After": "1"})

    @app.exception_handler(FloatingPointError)
    async def not_a_number(request: fastapi.Request, error: FloatingPointError) -> Response:
        return JSONResponse({"detail": str(error)}, 503)

    @app.post("/recommend", responses=errors, response_model=schema.RecommendResponse)
    async def recommend(request: RecommendRequest) -> Any:
        """The best items for one or many histories."""
        if request.explain and not engine.explains:
            raise fastapi.HTTPException(422, "explain: this model has no attention")
        barred = None
        serving = engine.serving  # whose retired items may be others than at the start
        if request.exclude or request.allow is not None or serving.retired.any():
            barred = serving.barred(request.allow, request.exclude)
        encoded = [vocab.encode(history) for history in request.histories]
        questions = [Question(ids[ids != PAD], barred, request.with_seen) for ids in encoded]
        answers = await batcher.ask(questions)
        return {
            "results": [
                _as_result(answer, history, ids, request.k, request.explain)
                for answer, history, ids in zip(answers, request.histories, encoded, strict=True)
            ]
        }

    def _as_result(
        answer: Answer, history: list[str], ids: np.ndarray, k: int, explain: bool
    ) -> dict[str, Any]:
        found = answer.items[:k]
        found = found[found != PAD]
        return {
            "items": [
                _as_item(item - 1) | {"score": score}
                for item, score in zip(found.tolist(), answer.scores.tolist(), strict=False)
            ],
            "popular": answer.popular,
            "unknown": [raw for raw, item in zip(history, ids, strict=True) if item == PAD],
            "attention": attention_of_history(answer, ids) if explain else None,
            "checkpoint": answer.step,
        }

    def _as_item(index: int) -> dict[str, Any]:
        return {"item": vocab.items[index], "title": titles.of(index)}

    @app.get("/items", responses={422: errors[422]}, response_model=schema.ItemsResponse)
    def items(
        q: Annotated[
            str,
            fastapi.Query(
                max_length=limits.query,
                description="Words of the title, or an id; empty: the most frequent items.",
            ),
        ] = "",
        limit: Annotated[int, fastapi.Query(ge=1, le=limits.search)] = min(20, limits.search),
    ) -> Any:
        """Search the catalogue by title or id."""
        return {"items": [_as_item(index) for index in titles.search(q, limit=limit)]}

    @app.get("/healthz")
    async def healthz() -> schema.Health:
        """Answers when the server is ready."""
        return schema.Health(
            status="ok", items=len(vocab), checkpoint=engine.step, explains=engine.explains
        )

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """The server's figures, for Prometheus."""
        return Response(
            prometheus_client.generate_latest(telemetry.registry),
            media_type=prometheus_client.CONTENT_TYPE_LATEST,
        )

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def attention_of_history(answer: Answer, ids: np.ndarray) -> list[float | None] | None:
    """For each item of a history as it was sent, its attention; None where the model saw none.

    Args:
        ids: int32 [any], the history with PAD for what is not known.
    """
    if answer.attention is None:
        return None
    seen = np.flatnonzero(ids != PAD)[-len(answer.attention) :]
    shares: list[float | None] = [None] * len(ids)
    for place, share in zip(seen.tolist(), answer.attention.tolist(), strict=True):
        shares[place] = share
    return shares


def _first_mistake(error: RequestValidationError, content_type: str) -> tuple[int, str]:
    """A status, and one line without the input itself, which may be long, or no text at all."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return 400, f"not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
    if first["loc"] == ("body",) and not content_type.startswith("application/json"):
        return 415, "send JSON, with the header Content-Type: application/json"
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    line = f"{where}: {first['msg']}" if where else str(first["msg"])
    return 422, line[:300].encode("utf-8", "replace").decode()
