"""The HTTP interface: what it answers, and what it refuses in which words."""

import asyncio
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bert4rec_jax.errors import UserError
from bert4rec_jax.serving import server
from bert4rec_jax.serving.app import create_app
from bert4rec_jax.serving.asgi import BoundedBody
from bert4rec_jax.serving.batcher import Batcher
from bert4rec_jax.serving.schema import Limits
from bert4rec_jax.serving.titles import Titles
from tests.serving.models import ITEMS, recommender, without_attention

LIMITS = Limits(k=5, history=12, histories=3, filter=4, body_bytes=2000, waiting=3)
NASTY = "<img src=x onerror=alert(1)>"
TITLES = {"i1": "First Film", "i2": NASTY}


@pytest.fixture(scope="module")
def client():
    model = recommender()
    with TestClient(create_app(model, Titles(model.vocab, TITLES), LIMITS)) as client:
        yield client


def items_of(result):
    return [row["item"] for row in result["items"]]


def test_one_history_and_many(client):
    histories = [["i1", "i7"], ["i3"], ["i1", "i7"]]
    response = client.post("/recommend", json={"histories": histories, "k": 4})
    assert response.status_code == 200
    results = response.json()["results"]
    wanted = recommender().recommend(histories, k=4)
    assert [items_of(result) for result in results] == [
        [scored.item for scored in row] for row in wanted
    ]
    assert results[0]["items"][0]["score"] == pytest.approx(wanted[0][0].score, rel=1e-5)
    alone = client.post("/recommend", json={"histories": [["i1", "i7"]], "k": 4}).json()
    # An integer to JSON Schema.
    assert client.post("/recommend", json={"histories": [["i1", "i7"]], "k": 4.0}).json() == alone
    assert items_of(alone["results"][0]) == items_of(results[0]) == items_of(results[2])
    assert results[0]["checkpoint"] == 0
    assert not results[0]["popular"]


def test_items_are_left_out_let_in_and_repeated_where_asked(client):
    def found(**asked):
        (result,) = client.post("/recommend", json={"histories": [["i1"]], **asked}).json()[
            "results"
        ]
        return items_of(result)

    best = found(k=3)
    assert not set(best[:2]) & set(found(k=5, exclude=best[:2]))
    assert set(found(allow=["i4", "i9", "i1", "zz"])) == {"i4", "i9"}
    assert set(found(allow=["i4", "i1"], with_seen=True)) == {"i4", "i1"}
    assert found(allow=["zz"]) == []
    assert len(found()) == 5  # ten, were it not for the limit


def test_who_is_unknown_gets_the_popular(client):
    request = {"histories": [["zz", "i1"], ["zz"], []], "k": 2}
    known, unknown, nobody = client.post("/recommend", json=request).json()["results"]
    assert (known["unknown"], known["popular"]) == (["zz"], False)
    assert (unknown["unknown"], unknown["popular"]) == (["zz"], True)
    assert items_of(unknown) == items_of(nobody) == ["i1", "i2"]
    assert unknown["items"][0] == {"item": "i1", "title": "First Film", "score": 100.0}


def test_attention_stands_beside_the_history_as_it_was_sent(client):
    """The model sees seven items: of nine known ones not the first two."""
    history = ["i1", "zz", *[f"i{i}" for i in range(2, 9)], "zz", "i9"]
    request = {"histories": [history, []], "explain": True}
    result, nobody = client.post("/recommend", json=request).json()["results"]
    shares = result["attention"]
    assert [share is None for share in shares] == [True] * 3 + [False] * 6 + [True, False]
    assert 0 < sum(share for share in shares if share is not None) < 1
    assert nobody["attention"] is None
    assert (
        client.post("/recommend", json={"histories": [["i1"]]}).json()["results"][0]["attention"]
        is None
    )


def test_what_is_retired_while_serving_is_recommended_no_more():
    model, engines = recommender(), []

    async def keep(engine, telemetry):
        engines.append(engine)

    app = create_app(model, Titles(model.vocab, {}), LIMITS, background=keep)
    with TestClient(app) as client:
        asked = {"histories": [["i1"]], "k": 5}
        before = items_of(client.post("/recommend", json=asked).json()["results"][0])
        retired = np.isin(model.vocab.items, before[:1])
        engines[0].swap(recommender(retired=retired))
        after = items_of(client.post("/recommend", json=asked).json()["results"][0])
    assert after[:4] == before[1:]


def test_a_score_that_is_no_number_is_a_503(client, monkeypatch):
    async def ask(batcher, questions):
        raise FloatingPointError("checkpoint 0: scores are NaN")

    monkeypatch.setattr(Batcher, "ask", ask)
    response = client.post("/recommend", json={"histories": [["i1"]]})
    assert response.status_code == 503
    assert response.json() == {"detail": "checkpoint 0: scores are NaN"}


def test_explaining_a_model_without_attention_is_refused():
    model = without_attention()
    with TestClient(create_app(model, Titles(model.vocab, {}), LIMITS)) as client:
        response = client.post("/recommend", json={"histories": [["i1"]], "explain": True})
        assert response.status_code == 422
        assert "no attention" in response.json()["detail"]
        assert not client.get("/healthz").json()["explains"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("{}", 422, "histories: Field required"),
        ('{"histories": [["i1"], "i2"]}', 422, "histories.1: Input should be a valid list"),
        ('{"histories": [[1]]}', 422, "histories.0.0: Input should be a valid string"),
        ('{"histories": []}', 422, "histories: List should have at least 1 item"),
        ('{"histories": [[], [], [], []]}', 422, "histories: List should have at most 3"),
        (json.dumps({"histories": [["i1"] * 13]}), 422, "histories.0: List"),
        ('{"histories": [[]], "k": 0}', 422, "k: Input should be greater than or equal to 1"),
        ('{"histories": [[]], "k": 6}', 422, "k: Input should be less than or equal to 5"),
        ('{"histories": [[]], "k": 2.5}', 422, "k: Input should be a valid integer"),
        ('{"histories": [[]], "k": "3"}', 422, "k: Input should be a valid integer"),
        ('{"histories": [[]], "k": %s}' % ("9" * 400), 422, "k: "),
        ('{"histories": [[]], "k": NaN}', 422, "k: "),
        ('{"histories": [[]], "exclude": ["1", "2", "3", "4", "5"]}', 422, "exclude: List"),
        ('{"histories": [[]], "explain": 1}', 422, "explain: Input should be a valid boolean"),
        ('{"histories": [[]], "hístory": []}', 422, "hístory: Extra inputs"),
        ('{"histories": [["\\ud800"]]}', 422, "histories.0: Value error, an item id is not valid"),
        ('{"histories": [[]], "\\ud800": 1}', 422, "valid string"),
        ("[]", 422, "valid dictionary"),
        ("null", 422, ""),
        ("", 422, ""),
        ('{"histories": ', 400, "not JSON: "),
        (b"\xff\xfe", 400, ""),
        ("[" * 1500, 400, ""),
        ('{"histories": [["%s"]]}' % ("x" * 2000), 413, "longer than 2000 bytes"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_clear_4xx(client, body, status, words):
    response = client.post("/recommend", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    detail = response.json()["detail"]
    assert words in detail
    assert 0 < len(detail) <= 300
    assert "\n" not in detail


def test_other_mistakes(client):
    assert client.post("/recommend", data={"histories": "x"}).status_code == 415
    assert client.get("/recommend").status_code == 405
    assert client.get("/nothing").status_code == 404
    assert client.get("/static/%00").status_code == 404
    assert client.get("/static/..%2Fapp.py").status_code == 404
    assert client.get("/items", params={"limit": 0}).status_code == 422
    assert client.get("/items", params={"q": "x" * 201}).status_code == 422


@hypothesis.given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
        | st.sampled_from(ITEMS),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["histories", "k", "exclude", "allow", "explain"]) | st.text(),
            inner,
            max_size=4,
        ),
        max_leaves=10,
    )
)  # fmt: skip
@hypothesis.settings(max_examples=50)
def test_whatever_json_comes_it_is_answered_or_refused(client, body):
    response = client.post(
        "/recommend", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert response.status_code in (200, 400, 413, 422)
    response.json()


def test_too_many_at_once_are_told_to_come_back(client, monkeypatch):
    batcher = "bert4rec_jax.serving.batcher.Batcher"
    monkeypatch.setattr(f"{batcher}.waiting", property(lambda self: 3))
    response = client.post("/recommend", json={"histories": [["i1"]]})
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert "bert4rec_rejected_total 1.0" in client.get("/metrics").text


def test_items_are_found_by_title(client):
    assert client.get("/items", params={"q": "first"}).json() == {
        "items": [{"item": "i1", "title": "First Film"}]
    }
    assert client.get("/items", params={"q": "I30"}).json() == {
        "items": [{"item": "i30", "title": None}]
    }
    assert len(client.get("/items", params={"limit": 7}).json()["items"]) == 7


def test_the_page_and_its_parts_come_from_here_alone(client):
    page = client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert client.head("/").status_code == 200
    assert "http" not in page.text
    for path in ("static/app.js", "static/style.css", "static/icon.svg"):
        assert path in page.text
        assert client.get(f"/{path}").status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert client.get("/nothing").headers["Content-Security-Policy"] == policy


def test_the_description_has_the_limits_and_every_answer(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/recommend", "/items", "/healthz", "/metrics"}
    recommend = described["paths"]["/recommend"]["post"]
    assert set(recommend["responses"]) == {"200", "400", "408", "413", "415", "422", "503"}
    request = described["components"]["schemas"]["RecommendRequest"]["properties"]
    assert request["k"]["maximum"] == 5
    assert request["histories"]["maxItems"] == 3
    assert request["histories"]["items"]["maxItems"] == 12


def test_metrics_count_by_route_and_never_by_what_clients_make_up(client):
    for path in ("/made-up/1", "/made-up/2", "/healthz"):
        client.get(path)
    client.request("BREW", "/healthz")
    text = client.get("/metrics").text
    assert 'bert4rec_requests_total{method="GET",route="/healthz",status="200"}' in text
    assert 'bert4rec_requests_total{method="other",route="/healthz",status="405"}' in text
    assert "made-up" not in text
    assert "BREW" not in text
    assert "bert4rec_checkpoint_step 0.0" in text


def test_a_body_that_never_ends_or_never_comes():
    """Without a Content-Length: only counting helps."""

    async def status_of(receive):
        async def app(scope, receive, send):
            raise AssertionError("the app must not be asked")

        sent = []

        async def send(message):
            sent.append(message)

        bounded = BoundedBody(app, most_bytes=100, seconds=0.05)
        scope = {"type": "http", "method": "POST", "headers": []}
        await bounded(scope, receive, send)
        return [message["status"] for message in sent if "status" in message]

    async def endless():
        return {"type": "http.request", "body": b"x" * 30, "more_body": True}

    async def silent():
        await asyncio.sleep(60)

    async def gone():
        return {"type": "http.disconnect"}

    assert asyncio.run(status_of(endless)) == [413]
    assert asyncio.run(status_of(silent)) == [408]
    assert asyncio.run(status_of(gone)) == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"k": 0}, "--max_k 0 must be above 0"), ({"histories": 9, "waiting": 8}, "--max_waiting 8")],
)
def test_limits_that_cannot_be(limits, words):
    with pytest.raises(UserError, match=words):
        Limits(**limits)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", None), ("999.0.0.1", 0)])
def test_an_address_that_cannot_be_is_one_line(tmp_path, host, port):
    with server._listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1] if port is None else port
        with pytest.raises(UserError, match="choose another --host or --port"):
            server.serve(tmp_path, host=host, port=port, titles="", limits=LIMITS, reload_seconds=0)
