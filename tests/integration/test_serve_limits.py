"""Each limit has its documented status, in the form of the dialect; keys, overload and the log."""

import asyncio
import io
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from debertav3 import Predictor, UserError
from debertav3.serve import Keys, Limits, create_app
from debertav3.serve.refusals import Refusal
from debertav3.serve.request_log import RequestLog
from serving import COST, opened, serving
from tiny_models import ModelFolders

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
PAIRS = [["A man is asleep on a bench.", "Nobody is awake."]]


@pytest.fixture(scope="module")
def predictor(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folders = ModelFolders(nano, tmp_path_factory)
    return opened(folders("DebertaV2ForSequenceClassification", id2label=NLI))


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[TestClient]:
    limits = Limits(body_bytes=20_000, inputs=10, characters=5_000)
    with serving({"m": predictor}, limits=limits) as client:
        yield client


def send(client: TestClient, body: Any, path: str = "/nli") -> httpx.Response:
    return client.post(path, content=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not valid JSON"),
        (b"", 400, "not valid JSON"),
        (b'{"pairs": [["\xff", "b"]]}', 400, "not UTF-8"),
        (b'{"pairs": ' + b"[" * 10_000, 400, "deep"),
        (b'{"pairs": ' + b"[" * 40 + b"]" * 40 + b"}", 400, "deeper than 32"),
        (b'{"pairs": [["a", NaN]]}', 400, "NaN"),
        (b'{"pairs": [["\\ud800", "b"]]}', 400, "half a character"),
        (b'{"model": "a", "model": "b"}', 400, "twice"),
        (b"[1]", 422, "array"),
        (b"null", 422, "null"),
        (b'{"pairs": [["%s", "b"]]}' % (b"a" * 5_001), 422, "at most 5000"),
        (b'{"pairs": %s}' % json.dumps(PAIRS * 11).encode(), 422, "at most 10 are allowed"),
        (b" " * 20_001, 413, "more than 20000 bytes"),
    ],
)
def test_bad_bodies_have_their_status(client: TestClient, body: bytes, status: int, says: str) -> None:
    answer = send(client, body)
    assert answer.status_code == status and says in answer.json()["error"], answer.text
    assert "\n" not in answer.json()["error"]


def test_chunked_bodies_are_counted_as_they_come(client: TestClient) -> None:
    answer = send(client, (b" " * 1000 for _ in range(30)))
    assert answer.status_code == 413 and answer.headers["connection"] == "close"


def test_white_space_around_texts_takes_no_room_in_the_queue(client: TestClient) -> None:
    plain = json.dumps({"pairs": PAIRS}).encode()
    answers = [send(client, body) for body in (plain, b" " * 19_000 + plain)]
    characters = [answer.headers["x-compute-characters"] for answer in answers]
    assert characters[0] == characters[1] == str(len("pairs") + sum(map(len, PAIRS[0])))


def test_labels_times_texts_count_as_inputs(client: TestClient) -> None:
    body = {"texts": ["a"] * 6, "labels": ["b", "c"]}
    answer = client.post("/zero-shot", json=body)
    assert answer.status_code == 422 and "got 12 inputs" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/rerank", {"query": "a", "texts": []}), ("/tokenize", {"inputs": []}), ("/decode", {"ids": []})],
)
def test_nothing_to_answer_is_tei_empty(client: TestClient, path: str, body: Any) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400 and answer.json()["error_type"] == "Empty"


@pytest.mark.parametrize(
    ("path", "body", "keys"),
    [
        ("/predict", {"inputs": ["a", "b", "c"]}, {"error", "error_type"}),
        ("/rerank", {"query": "a", "texts": ["b"] * 11}, {"error", "error_type"}),
        ("/rerank", {"query": "a", "documents": ["b"] * 11}, {"message", "detail", "error"}),
        ("/v2/rerank", {"query": "a", "documents": 3}, {"message", "detail", "error"}),
        ("/classify", {"input": []}, {"error"}),
        ("/v1/score", {"text_1": "a"}, {"error"}),
        ("/v1/moderations", {"input": []}, {"error"}),
        ("/hf/zero-shot-classification", {"inputs": "a"}, {"error"}),
    ],
)
def test_errors_have_the_form_of_their_dialect(
    client: TestClient, path: str, body: Any, keys: set[str]
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 422 and answer.json().keys() == keys, answer.text
    inner = answer.json()["error"]
    if path.startswith("/hf") or "error_type" in keys:
        assert isinstance(inner, str)
    else:
        assert set(inner) == {"message", "type", "param", "code"} and inner["code"] == 422


def test_unknown_paths_and_methods(client: TestClient) -> None:
    assert client.post("/nothing", json={}).status_code == 404
    assert client.get("/nli").status_code == 405


def test_special_tokens_in_a_text_are_text(client: TestClient) -> None:
    (row,) = client.post("/tokenize", json={"inputs": "[SEP] [CLS]"}).json()
    assert [one["special"] for one in row[1:-1]] == [False] * len(row[1:-1])


# API keys


@pytest.fixture(scope="module")
def locked(predictor: Predictor) -> Iterator[TestClient]:
    with serving({"m": predictor}, keys=Keys(["secret", "other"])) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Bearer secret"}, {"authorization": "bearer other"}, {"x-api-key": "other"}],
)
def test_a_key_opens(locked: TestClient, headers: dict[str, str]) -> None:
    assert locked.post("/nli", json={"pairs": PAIRS}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}, {"authorization": "Basic secret"}],
)
def test_without_a_key_the_answer_is_an_empty_401(locked: TestClient, headers: dict[str, str]) -> None:
    answer = locked.post("/nli", json={"pairs": PAIRS}, headers=headers)
    assert (answer.status_code, answer.content) == (401, b"")
    assert locked.get("/health").status_code == 200  # probes need none


def test_keys_that_would_let_everybody_in_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for empty in ([""], ["secret", "  "], ""):
        with pytest.raises(UserError, match="empty"):
            Keys(empty)
    Keys("secret").check({b"x-api-key": b"secret"})  # one key, not a key a letter
    with pytest.raises(Refusal):
        Keys("secret").check({b"x-api-key": b"s"})
    path = tmp_path / "keys"
    path.write_text("\ufeffone\n  # two\n", encoding="utf-8")
    keys = Keys.read(path)
    keys.check({b"x-api-key": b"one"})  # though the editor wrote a mark before it
    with pytest.raises(Refusal):
        keys.check({b"x-api-key": b"# two"})
    monkeypatch.setenv("DEBERTAV3_API_KEYS", " , ")
    with pytest.raises(UserError, match="DEBERTAV3_API_KEYS is set and contains no key"):
        Keys.read()


def test_keys_come_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text("# of the team\none\n\n two \n")
    monkeypatch.setenv("DEBERTAV3_API_KEYS", "three, four")
    assert len(Keys.read(path)._digests) == 4
    assert len(Keys.read()._digests) == 2
    path.write_text("# none\n")
    with pytest.raises(UserError, match="contains no key"):
        Keys.read(path)
    with pytest.raises(UserError, match="cannot be read"):
        Keys.read(tmp_path / "missing")


# Overload, deadlines, hang-ups


class Held:
    """Holds a served model's worker until it is let go."""

    def __init__(self, app: FastAPI) -> None:
        self.gate = threading.Event()
        self.batches = 0
        (self.model,) = app.state.service.models.values()
        self.compute = self.model.run
        self.model.run = self

    def __call__(self, encodings: Sequence[Any]) -> Any:
        assert self.gate.wait(20)
        self.batches += 1
        return self.compute(encodings)


def asking(app: FastAPI, held: Held, test: Any) -> None:
    """Run a test with an asynchronous client of a started application."""

    async def main() -> None:
        await app.state.service.start()
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            try:
                await asyncio.wait_for(test(client), 30)
            finally:
                held.gate.set()
                await app.state.service.stop()

    asyncio.run(main())


def until_waiting(app: FastAPI, count: int) -> Any:
    async def wait() -> None:
        while app.state.service.batcher.num_waiting < count:
            await asyncio.sleep(0.005)

    return asyncio.wait_for(wait(), 10)


def metric(app: FastAPI, name: str) -> float:
    lines = app.state.service.metrics.text().decode().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{name} ") or line.startswith(f"{name}{{"))
    return float(found.split()[-1])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/nli", {"pairs": [["word " * 50, "b"]] * 4}),
        ("/rerank", {"query": "a", "documents": ["word " * 50] * 4}),
        ("/classify", {"input": ["word " * 50] * 4}),
    ],
)
def test_overload_is_429_with_seconds_to_wait(predictor: Predictor, path: str, body: Any) -> None:
    app = create_app({"m": predictor}, costs={"m": COST}, limits=Limits(queue_seconds=0.0001))
    held = Held(app)

    async def test(client: httpx.AsyncClient) -> None:
        asked = [asyncio.ensure_future(client.post(path, json=body)) for _ in range(8)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)  # nothing is computed yet
        refused = done.pop().result()
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert "the queue is full" in refused.text
        held.gate.set()
        statuses = [one.status_code for one in await asyncio.gather(*asked)]
        assert set(statuses) == {200, 429}
        assert metric(app, "te_request_failure") == statuses.count(429)
        assert metric(app, "te_queue_size") == 0

    asking(app, held, test)


def test_a_deadline_ends_the_request_and_frees_its_work(predictor: Predictor) -> None:
    app = create_app({"m": predictor}, costs={"m": COST}, limits=Limits(seconds=0.3))
    held = Held(app)

    async def test(client: httpx.AsyncClient) -> None:
        late = await client.post("/nli", json={"pairs": PAIRS * 60})
        assert late.status_code == 504 and "no answer within 0.3 s" in late.json()["error"]
        assert app.state.service.batcher.num_waiting == 0

    asking(app, held, test)


def test_what_cannot_be_answered_in_time_is_refused_at_once(predictor: Predictor) -> None:
    app = create_app({"m": predictor}, costs={"m": COST}, limits=Limits(seconds=0.3))
    held = Held(app)

    async def test(client: httpx.AsyncClient) -> None:
        body = {"pairs": [["word " * 60, "b"]] * 100}  # of 64 tokens each, at 10,000 a second
        refused = await client.post("/nli", json=body)
        assert refused.status_code == 422
        assert "the request has 6400 tokens, about 1 s of work; it may take" in refused.json()["error"]
        held.gate.set()
        assert (await client.post("/nli", json={"pairs": PAIRS})).status_code == 200

    asking(app, held, test)


def test_what_is_accepted_is_answered_while_it_stops_and_the_rest_refused(predictor: Predictor) -> None:
    app = create_app({"m": predictor}, costs={"m": COST})
    held = Held(app)

    async def test(client: httpx.AsyncClient) -> None:
        accepted = asyncio.ensure_future(client.post("/nli", json={"pairs": PAIRS * 60}))
        await until_waiting(app, 1)
        app.state.service.is_stopping = True
        refused = await client.post("/nli", json={"pairs": PAIRS})
        assert refused.status_code == 503 and refused.json()["error_type"] == "Unhealthy"
        assert (await client.get("/ready")).status_code == 503
        held.gate.set()
        assert (await accepted).status_code == 200

    asking(app, held, test)


def test_a_model_that_fails_is_424_and_the_server_lives_on(predictor: Predictor) -> None:
    app = create_app({"m": predictor}, costs={"m": COST})
    held = Held(app)
    held.gate.set()
    compute, held.compute = held.compute, lambda encodings: (_ for _ in ()).throw(UserError("no memory"))

    async def test(client: httpx.AsyncClient) -> None:
        failed = await client.post("/nli", json={"pairs": PAIRS})
        assert failed.status_code == 424 and failed.json() == {"error": "no memory", "error_type": "Backend"}
        held.compute = lambda encodings: 1 / 0
        broken = await client.post("/nli", json={"pairs": PAIRS})
        assert broken.status_code == 500 and "ZeroDivision" not in broken.text
        held.compute = compute
        assert (await client.post("/nli", json={"pairs": PAIRS})).status_code == 200

    asking(app, held, test)


# Watching


def test_metrics_count_right(predictor: Predictor) -> None:
    with serving({"m": predictor}) as client:
        for body in ({"inputs": "a"}, {"inputs": [["a"], ["b", "c"], ["d"]]}, {"inputs": ["a", "b", "c"]}):
            client.post("/predict", json=body)
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert lines['te_request_count{method="single"}'] == "2.0"  # one of them is refused
    assert lines['te_request_success{method="single"}'] == "1.0"
    assert lines['te_request_success{method="batch"}'] == "1.0"
    assert lines['te_request_failure{err="invalid"}'] == "1.0"
    assert lines["te_predict_count"] == lines["te_predict_success"] == "4.0"
    assert lines["te_request_duration_count"] == "2.0" and lines["te_predict_duration_count"] == "4.0"
    assert lines["te_request_input_length_count"] == "4.0" and lines["te_queue_size"] == "0.0"
    for name in ("te_request_queue_duration_count", "te_request_tokenization_duration_count"):
        assert lines[name] == "2.0"
    assert float(lines["te_batch_next_size_sum"]) == 4 and float(lines["te_batch_next_tokens_sum"]) > 0
    assert not any("_total" in name or "_created" in name for name in lines)


@pytest.mark.parametrize("with_texts", [False, True])
def test_the_log_has_one_line_a_request_and_texts_only_on_request(
    predictor: Predictor, with_texts: bool
) -> None:
    stream = io.StringIO()
    pairs = [["secret words\nin two lines", "b"]]
    with serving({"m": predictor}, log=RequestLog(stream, with_texts=with_texts)) as client:
        given = client.post("/nli", json={"pairs": pairs}, headers={"x-request-id": "abc-1"})
        client.post("/models/some name", json={"inputs": 3}, headers={"x-request-id": "bad id!"})
    assert given.headers["x-request-id"] == "abc-1"
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["id"], first["route"], first["status"], first["texts"]) == ("abc-1", "/nli", 200, 1)
    assert first["tokens"] > 3 and first["queue_ms"] >= 0 and first["compute_ms"] > 0
    assert (second["route"], second["status"]) == ("/models/{name:path}", 422) and len(second["id"]) == 32
    assert ("secret" in stream.getvalue()) == with_texts


def test_cors_takes_the_headers_of_sdks_and_origins_only(predictor: Predictor) -> None:
    asked = {
        "origin": "https://page.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-stainless-lang",
    }
    with serving({"m": predictor}, origins=["HTTPS://page.example"]) as client:
        assert client.options("/nli", headers=asked).status_code == 200
    for origin in ("https://page.example/", "page.example", "https://page.example/app", ""):
        with pytest.raises(UserError, match="is not the origin of a web page"):
            create_app({"m": predictor}, costs={"m": COST}, origins=[origin])
    for origin in ("*", "null", "http://localhost:3000", "http://[::1]:3000", "chrome-extension://abc"):
        create_app({"m": predictor}, costs={"m": COST}, origins=[origin])


def test_cors_is_closed_unless_an_origin_is_named(predictor: Predictor) -> None:
    asked = {"origin": "https://page.example", "access-control-request-method": "POST"}
    with serving({"m": predictor}) as client:
        assert "access-control-allow-origin" not in client.options("/nli", headers=asked).headers
    with serving({"m": predictor}, origins=["https://page.example"]) as client:
        found = client.options("/nli", headers=asked).headers["access-control-allow-origin"]
        assert found == "https://page.example"
