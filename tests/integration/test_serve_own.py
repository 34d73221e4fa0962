"""Our own routes: strict, in the order of the inputs, with what was cut, and equal to `Predictor` offline."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from debertav3 import Predictor
from debertav3.serve import create_app
from serving import COST, opened, serving
from tiny_models import ModelFolders, assert_same

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
PAIRS = [
    ["A man is asleep on a bench.", "Nobody is awake."],
    ["Rain.", "The street is wet because it has been raining since the early morning."],
    ["She reads.", "She sleeps."],
]
TEXTS = [first for first, _ in PAIRS]
LONG = " ".join(f"word{number}" for number in range(90))


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture(scope="module")
def models(folders: ModelFolders) -> dict[str, Predictor]:
    sequence = "DebertaV2ForSequenceClassification"
    return {
        "nli": opened(folders(sequence, id2label=NLI)),
        "unnamed": opened(folders(sequence, id2label={n: f"LABEL_{n}" for n in range(3)})),
        "ner": opened(folders("DebertaV2ForTokenClassification", id2label={0: "O", 1: "B-PER", 2: "I-PER"})),
        "qa": opened(folders("DebertaV2ForQuestionAnswering")),
        "mlm": opened(folders("DebertaV2ForMaskedLM")),
        "rtd": opened(folders("DebertaV2ForReplacedTokenDetection")),
        "choice": opened(folders("DebertaV2ForMultipleChoice")),
    }


@pytest.fixture(scope="module")
def client(models: dict[str, Predictor]) -> Iterator[TestClient]:
    with serving(models) as client:
        yield client


def results(client: TestClient, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == {"model", "tokens", "milliseconds", "results"} and found["tokens"] > 0
    return found["results"]


def near(value: Any) -> Any:
    """Numbers within 1e-5, whatever they are in."""
    if isinstance(value, dict):
        return {key: near(item) for key, item in value.items()}
    if isinstance(value, list):
        return [near(item) for item in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


def test_nli(client: TestClient, models: dict[str, Predictor]) -> None:
    want = models["nli"].nli([(a, b) for a, b in PAIRS])
    found = results(client, "/nli", pairs=PAIRS)
    assert [one["scores"] for one in found] == near(want)
    for one in found:
        assert one["label"] == max(one["scores"], key=one["scores"].get) and one["truncated"] is False
        assert list(one["scores"]) == ["entailment", "neutral", "contradiction"]


def test_classify(client: TestClient, models: dict[str, Predictor]) -> None:
    texts: list[Any] = [TEXTS[0], PAIRS[1]]
    want = models["nli"].classify([TEXTS[0], (PAIRS[1][0], PAIRS[1][1])])
    assert results(client, "/classify", texts=texts) == near([{**one, "truncated": False} for one in want])


def test_zero_shot(client: TestClient, models: dict[str, Predictor]) -> None:
    labels = ["sleep", "weather"]
    want = models["nli"].zero_shot(TEXTS, labels, multi_label=True, template="{}?")
    found = results(client, "/zero-shot", texts=TEXTS, labels=labels, multi_label=True, template="{}?")
    assert found == near(
        [{"labels": one["labels"], "scores": one["scores"], "truncated": False} for one in want]
    )


def test_rerank(client: TestClient, models: dict[str, Predictor]) -> None:
    passages = [*TEXTS, LONG]
    want = models["nli"].rerank("Who sleeps?", passages)
    assert results(client, "/rerank", query="Who sleeps?", passages=passages) == near(
        [{"index": one["index"], "score": one["score"], "truncated": one["index"] == 3} for one in want]
    )


def test_inside_texts(client: TestClient, models: dict[str, Predictor]) -> None:
    texts = [*TEXTS, LONG]  # read in windows
    assert results(client, "/ner", texts=texts, aggregation="average") == near(
        [{"entities": one} for one in models["ner"].ner(texts, aggregation="average")]
    )
    assert results(client, "/rtd", texts=texts) == near([{"words": one} for one in models["rtd"].rtd(texts)])
    masked = ["A [MASK] is asleep.", "[MASK] [MASK]"]
    assert results(client, "/fill-mask", texts=masked, top_k=2) == near(
        [{"masks": one} for one in models["mlm"].fill_mask(masked, top_k=2)]
    )


def test_qa_and_choose(client: TestClient, models: dict[str, Predictor]) -> None:
    questions = [{"question": "Who?", "context": TEXTS[0]}, {"question": "What?", "context": LONG}]
    want = models["qa"].qa(["Who?", "What?"], [TEXTS[0], LONG], n_best=2, null_threshold=None)
    assert results(client, "/qa", questions=questions, n_best=2, null_threshold=None) == near(want)
    asked = [{"context": TEXTS[0], "choices": ["Yes.", "No.", LONG]}, {"context": "a", "choices": ["b"]}]
    chosen = models["choice"].choose([TEXTS[0], "a"], [["Yes.", "No.", LONG], ["b"]])
    assert results(client, "/choose", questions=asked) == near(
        [{**one, "truncated": cut} for one, cut in zip(chosen, (True, False), strict=True)]
    )


def test_what_was_cut_is_said_and_can_be_refused(client: TestClient) -> None:
    pairs = [PAIRS[0], [LONG, "x"]]
    assert [one["truncated"] for one in results(client, "/nli", pairs=pairs)] == [False, True]
    refused = client.post("/nli", json={"pairs": pairs, "truncate": False})
    assert refused.status_code == 422 and "more than 64 tokens" in refused.json()["error"]
    question = {"question": LONG, "context": "a b"}
    refused = client.post("/qa", json={"questions": [question]})
    assert refused.status_code == 422 and "a question has more than 30 tokens" in refused.json()["error"]
    with_labels = results(client, "/zero-shot", texts=["a", LONG], labels=["b", "c"])
    assert [one["truncated"] for one in with_labels] == [False, True]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/nli", {"pairs": [["a", "b"]], "extra": 1}, "extra: this route has no such field."),
        ("/nli", {"pairs": [["a"]]}, "pairs.0: got a list of 1; need at least 2 entries."),
        ("/nli", {}, "need pairs."),
        ("/classify", {"texts": [" "]}, "texts.0"),
        ("/classify", {"texts": "not a list"}, "texts: got a text; need a list."),
        ("/zero-shot", {"texts": ["a"], "labels": ["b"], "multi_label": "yes"}, "multi_label"),
        ("/zero-shot", {"texts": ["a"], "labels": ["b"], "template": "no place"}, "template"),
        ("/ner", {"texts": ["a"], "aggregation": "none"}, "aggregation"),
        ("/fill-mask", {"texts": ["no mask"]}, "texts.0"),
        ("/qa", {"questions": [{"question": "a", "context": "b", "id": 3}]}, "questions.0.id"),
    ],
)
def test_bodies_that_do_not_fit_are_refused(
    client: TestClient, path: str, body: dict[str, Any], expected: str
) -> None:
    refused = client.post(path, json=body)
    assert refused.status_code == 422
    assert refused.json()["error_type"] == "Validation" and expected in refused.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "model", "head"),
    [
        ("/nli", {"pairs": PAIRS}, "ner", "sequence-classification"),
        ("/ner", {"texts": TEXTS}, "nli", "token-classification"),
        ("/qa", {"questions": [{"question": "a", "context": "b"}]}, "nli", "question-answering"),
        ("/choose", {"questions": [{"context": "a", "choices": ["b"]}]}, "nli", "multiple-choice"),
        ("/fill-mask", {"texts": ["[MASK]"]}, "rtd", "masked-lm"),
        ("/rtd", {"texts": ["a"]}, "mlm", "replaced-token-detection"),
        ("/nli", {"pairs": PAIRS}, "unnamed", "need entailment, neutral, contradiction"),
        ("/rerank", {"query": "a", "passages": ["b"]}, "unnamed", "does not name its labels"),
    ],
)
def test_another_head_says_which_one_is_needed(
    client: TestClient, path: str, body: dict[str, Any], model: str, head: str
) -> None:
    refused = client.post(path, json={**body, "model": model})
    assert refused.status_code == 424
    message = refused.json()["error"]
    assert head in message and f"model '{model}'" in message and "/tmp" not in message


def test_models_are_chosen_by_name_and_else_by_what_they_can(client: TestClient) -> None:
    assert client.post("/ner", json={"texts": ["a"]}).json()["model"] == "ner"
    assert client.post("/fill-mask", json={"texts": ["[MASK]"]}).json()["model"] == "mlm"
    unknown = client.post("/nli", json={"pairs": PAIRS, "model": "gpt"})
    assert unknown.status_code == 404 and "nli, unnamed, ner" in unknown.json()["error"]


def test_with_one_model_any_name_will_do(models: dict[str, Predictor]) -> None:
    with serving({"only": models["nli"]}) as client:
        assert client.post("/nli", json={"pairs": PAIRS, "model": "gpt"}).json()["model"] == "only"


def test_answers_do_not_depend_on_what_shares_their_batch(models: dict[str, Predictor]) -> None:
    """Many requests at once, whose batches have every mixture of lengths."""
    texts = [" ".join(["word"] * (1 + number % 40)) + f" {number}" for number in range(120)]
    want = [one["scores"] for one in models["nli"].classify(texts)]
    app = create_app({"nli": models["nli"]}, costs={"nli": COST})

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await asyncio.gather(
                *(client.post("/classify", json={"texts": [text]}) for text in texts[:60]),
                client.post("/classify", json={"texts": texts[60:]}),
            )

    answers = [one["scores"] for answer in asyncio.run(ask()) for one in answer.json()["results"]]
    assert answers == near(want)


def test_it_mounts_in_another_application(models: dict[str, Predictor]) -> None:
    outer = FastAPI()
    inner = create_app(models["nli"], costs={Path(models["nli"].engine.place).name: COST})
    outer.mount("/nlp", inner)
    with TestClient(outer) as client:
        assert client.get("/nlp/ready").status_code == 200
        assert client.post("/nlp/nli", json={"pairs": PAIRS}).json()["results"][0]["label"] in NLI.values()


def test_an_application_outlives_its_event_loop(models: dict[str, Predictor]) -> None:
    """A client for tests makes an event loop a request, or starts and stops the application for each test."""
    app = create_app({"nli": models["nli"]}, costs={"nli": COST})
    outer = FastAPI()
    outer.mount("/nlp", app)
    client = TestClient(outer)
    for text in ("a", LONG * 60):  # short, and tokenized on the other thread
        for _ in range(2):
            assert client.post("/nlp/nli", json={"pairs": [[text, "b"]]}).status_code == 200
        assert client.get("/nlp/ready").status_code == 200
    for _ in range(2):
        with TestClient(app) as started:
            assert started.post("/nli", json={"pairs": PAIRS}).status_code == 200


def test_one_application_serves_one_event_loop_at_a_time(models: dict[str, Predictor]) -> None:
    app = create_app({"nli": models["nli"]}, costs={"nli": COST})
    with TestClient(app):
        other = TestClient(app, raise_server_exceptions=False)
        assert other.post("/nli", json={"pairs": PAIRS}).status_code == 500


def test_middleware_sees_every_request(models: dict[str, Predictor]) -> None:
    app = create_app({"nli": models["nli"]}, costs={"nli": COST})

    @app.middleware("http")
    async def marked(request: Any, call_next: Any) -> Any:
        answer = await call_next(request)
        answer.headers["x-marked"] = "yes"
        return answer

    with TestClient(app) as client:
        for path in ("/nli", "/v1/nli"):
            answer = client.post(path, json={"pairs": PAIRS})
            assert answer.status_code == 200 and answer.headers["x-marked"] == "yes"


def test_the_openapi_document_describes_every_route(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/nli", "/v1/rerank", "/hf/fill-mask", "/models/{name}", "/health", "/metrics"):
        assert path in document["paths"]
    body = document["paths"]["/rerank"]["post"]["requestBody"]["content"]["application/json"]
    for name, example in body["examples"].items():
        answer = client.post("/rerank", json={**example["value"], "model": "nli"})
        assert answer.status_code in (200, 422), name  # 422: our strict route names its models itself
    assert {"200", "401", "413", "422", "424", "429", "503"} <= document["paths"]["/nli"]["post"][
        "responses"
    ].keys()


def test_numbers_are_those_of_the_offline_predictor_with_calibration(
    folders: ModelFolders, tmp_path: Path
) -> None:
    import shutil

    from debertav3.data.probabilities import Probabilities

    folder = tmp_path / "calibrated"
    shutil.copytree(folders("DebertaV2ForSequenceClassification", id2label=NLI), folder)
    Probabilities(temperature=2.0).write(folder)
    predictor = opened(folder)
    with serving({"m": predictor}) as client:
        found = results(client, "/nli", pairs=PAIRS)
    assert_same([one["scores"] for one in found], predictor.nli([(a, b) for a, b in PAIRS]))
