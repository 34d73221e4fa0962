"""Each dialect's answers have exactly the shape that its clients read, and the scores of `Predictor`."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from debertav3 import Predictor
from debertav3.data.probabilities import Probabilities
from debertav3.serve import Limits
from debertav3.serve.answers import ServedModel
from serving import opened, serving
from tiny_models import ModelFolders

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
PREMISE, HYPOTHESIS = "A man is asleep on a bench.", "Nobody is awake."
QUERY = "Who sleeps?"
TEXTS = ["It rains.", PREMISE, "She reads a long book about the history of the town of Bergen."]


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture(scope="module")
def models(folders: ModelFolders) -> dict[str, Predictor]:
    sequence = "DebertaV2ForSequenceClassification"
    return {
        "nli": opened(folders(sequence, id2label=NLI)),
        "ranker": opened(folders(sequence, id2label={0: "score"})),
        "two": opened(folders(sequence, id2label={0: "irrelevant", 1: "relevant"})),
        "guard": opened(folders(sequence, id2label={0: "SAFE", 1: "INJECTION"})),
        "toxic": opened(
            folders(
                sequence,
                id2label={0: "toxic", 1: "obscene"},
                problem_type="multi_label_classification",
            )
        ),
        "grades": opened(folders(sequence, id2label={0: "style", 1: "plot"}, problem_type="regression")),
        "twins": opened(folders(sequence, id2label={0: "bad", 1: "bad", 2: "good"})),
        "mood": opened(folders(sequence, id2label={0: "negative", 1: "neutral", 2: "positive"})),
        "ner": opened(folders("DebertaV2ForTokenClassification", id2label=TAGS)),
        "qa": opened(folders("DebertaV2ForQuestionAnswering")),
        "mlm": opened(folders("DebertaV2ForMaskedLM")),
    }


@pytest.fixture(scope="module")
def client(models: dict[str, Predictor]) -> Iterator[TestClient]:
    with serving(models) as client:
        yield client


def ask(client: TestClient, path: str, body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def by_score(scores: dict[str, float]) -> list[dict[str, Any]]:
    order = sorted(scores, key=lambda label: -scores[label])
    return [{"score": pytest.approx(scores[label], abs=1e-5), "label": label} for label in order]


# text-embeddings-inference


@pytest.mark.parametrize(
    ("inputs", "texts", "is_nested"),
    [
        (PREMISE, [PREMISE], False),
        ([PREMISE], [PREMISE], False),
        ([PREMISE, HYPOTHESIS], [(PREMISE, HYPOTHESIS)], False),  # two texts are one pair
        ([[PREMISE], [PREMISE, HYPOTHESIS]], [PREMISE, (PREMISE, HYPOTHESIS)], True),
    ],
    ids=["text", "list", "pair", "batch"],
)
@pytest.mark.parametrize("path", ["/predict", "/v1/predict", "/", "/invocations"])
def test_tei_predict(
    client: TestClient, models: dict[str, Predictor], inputs: Any, texts: Any, is_nested: bool, path: str
) -> None:
    want = [by_score(one["scores"]) for one in models["nli"].classify(texts)]
    found = ask(client, path, {"inputs": inputs, "top_n": 3})  # a field that LiteLLM sends along
    assert found == (want if is_nested else want[0])


@pytest.mark.parametrize("direction", ["left", "Left", "right", "Right"])
def test_tei_takes_directions_in_both_spellings(client: TestClient, direction: str) -> None:
    long = " ".join(f"word{number}" for number in range(90))
    body = {"inputs": long, "truncation_direction": direction, "truncate": True}
    cut = "Right" if direction.lower() == "left" else "Left"
    other = ask(client, "/predict", {**body, "truncation_direction": cut})
    assert ask(client, "/predict", body) != other


def test_tei_rerank(client: TestClient, models: dict[str, Predictor]) -> None:
    want = models["ranker"].rerank(QUERY, TEXTS)
    body = {"query": QUERY, "texts": TEXTS, "model": "ranker", "return_text": True}
    found = ask(client, "/rerank", body)
    assert found == [{**one, "score": pytest.approx(one["score"], abs=1e-5)} for one in want]
    assert list(found[0]) == ["index", "text", "score"]
    bare = ask(client, "/v2/rerank", {"query": QUERY, "texts": TEXTS, "model": "ranker", "raw_scores": True})
    assert [set(one) for one in bare] == [{"index", "score"}] * 3
    assert [one["index"] for one in bare] == [one["index"] for one in want]
    assert any(not 0 <= one["score"] <= 1 for one in bare)


def test_tei_tokenize_and_decode(client: TestClient, models: dict[str, Predictor]) -> None:
    tokenizer = models["nli"].engine.tokenizer
    (row,) = ask(client, "/tokenize", {"inputs": PREMISE})
    ids, spans = tokenizer.encode_with_offsets(PREMISE)
    assert [one["id"] for one in row] == [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
    assert row[0] == {
        "id": tokenizer.cls_token_id,
        "text": "[CLS]",
        "special": True,
        "start": None,
        "stop": None,
    }
    assert [(one["start"], one["stop"]) for one in row[1:-1]] == spans
    assert [one["text"] for one in row[1:-1]] == [PREMISE[start:stop] for start, stop in spans]
    assert "".join(one["text"] for one in row[1:-1]) == PREMISE.replace(" ", "")
    rows = ask(client, "/tokenize", {"inputs": [PREMISE, "x"], "add_special_tokens": False})
    assert [one["id"] for one in rows[0]] == ids and len(rows) == 2
    assert ask(client, "/decode", {"ids": ids}) == [PREMISE]
    assert ask(client, "/decode", {"ids": [ids, ids[:3]]}) == [PREMISE, tokenizer.decode(ids[:3])]
    assert ask(client, "/decode", {"ids": [1, *ids, 2]}) == [PREMISE]


def test_tei_vertex_and_info(client: TestClient) -> None:
    instances = [{"inputs": PREMISE}, {"query": QUERY, "texts": TEXTS}]
    predicted, ranked = ask(client, "/vertex", {"instances": instances})["predictions"]
    assert predicted == ask(client, "/predict", instances[0])
    assert ranked == ask(client, "/rerank", instances[1])
    info = client.get("/info").json()
    assert {
        *("model_id", "model_sha", "model_dtype", "model_type", "max_concurrent_requests"),
        *("max_input_length", "max_batch_tokens", "max_batch_requests", "max_client_batch_size"),
        *("auto_truncate", "tokenization_workers", "version", "sha", "docker_label", "served_model_name"),
    } <= info.keys()
    assert info["model_type"]["classifier"]["id2label"] == {str(key): name for key, name in NLI.items()}
    tasks = {one["name"]: one["tasks"] for one in info["models"]}
    assert tasks["nli"] == ["classify", "nli", "zero-shot", "rerank"]
    assert tasks["ranker"] == ["classify", "rerank"] and tasks["guard"] == ["classify"]


def test_watching_answers_to_heads_too(client: TestClient) -> None:
    for path in ("/health", "/ping", "/ready", "/info", "/metrics", "/v1/models", "/"):
        assert client.head(path).status_code == 200


def test_unknown_routes_are_refused_in_words_of_every_client(client: TestClient) -> None:
    for answer, status in (
        (client.post("/v1/embeddings", json={"input": "a"}), 404),
        (client.post("/nothing", json={}), 404),
        (client.get("/v1/rerank"), 405),
    ):
        body = answer.json()
        assert answer.status_code == status and body["message"] == body["detail"] == body["error"]["message"]
        assert body["error"]["code"] == status
    assert client.get("/v1/rerank").headers["allow"] == "POST"
    assert client.delete("/health").headers["allow"] == "GET, HEAD"
    assert isinstance(client.post("/hf/nothing", json={"inputs": "a"}).json()["error"], str)


def test_a_header_names_what_computes(
    client: TestClient, models: dict[str, Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.post("/predict", json={"inputs": PREMISE}).headers["x-compute-type"] == "cpu"
    served = ServedModel("nli", models["nli"])
    monkeypatch.setattr(type(models["nli"].engine.backend), "device", "cuda:1")
    assert served.compute_type == b"gpu"


def test_times_come_in_headers(client: TestClient) -> None:
    headers = client.post("/predict", json={"inputs": PREMISE}).headers
    for name in ("compute-time", "total-time", "tokenization-time", "queue-time", "inference-time"):
        assert int(headers[f"x-{name}"]) >= 0
    assert int(headers["x-compute-tokens"]) > 2 and int(headers["x-compute-characters"]) > len(PREMISE)


# Cohere, Jina, vLLM, infinity, OpenVINO Model Server: bodies with documents


def ranked(models: dict[str, Predictor], name: str = "nli") -> list[tuple[int, Any]]:
    found = models[name].rerank(QUERY, TEXTS)
    return [(one["index"], pytest.approx(one["score"], abs=1e-5)) for one in found]


@pytest.mark.parametrize("name", ["nli", "ranker", "two"])
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/v3/rerank"])
def test_documents_are_ranked_by_every_kind_of_head(
    client: TestClient, models: dict[str, Predictor], name: str, path: str
) -> None:
    found = ask(client, path, {"model": name, "query": QUERY, "documents": TEXTS})["results"]
    assert [(one["index"], one["relevance_score"]) for one in found] == ranked(models, name)


def test_cohere(client: TestClient, models: dict[str, Predictor]) -> None:
    documents = [{"text": text, "title": "x"} for text in TEXTS]
    body = {"model": "nli", "query": QUERY, "documents": documents, "top_n": 2, "rank_fields": ["text"]}
    found = ask(client, "/v1/rerank", {**body, "return_documents": True, "max_chunks_per_doc": 10})
    best, score = ranked(models)[0]
    assert found["results"][0] == {
        "index": best,
        "relevance_score": score,
        "document": {"text": TEXTS[best]},
    }
    assert len(found["results"]) == 2 and found["id"]
    assert found["meta"]["api_version"] == {"version": "1"}
    second = ask(
        client,
        "/v2/rerank",
        {"model": "nli", "query": QUERY, "documents": TEXTS, "max_tokens_per_doc": 64, "priority": 0},
    )
    assert [set(one) for one in second["results"]] == [{"index", "relevance_score"}] * 3
    assert second["meta"]["api_version"] == {"version": "2"}
    assert second["meta"]["billed_units"] == {"search_units": 1}
    assert second["meta"]["tokens"]["input_tokens"] > 0


def test_jina_vllm_infinity_and_ovms_rerank(client: TestClient, models: dict[str, Predictor]) -> None:
    body = {"model": "nli", "query": QUERY, "documents": TEXTS, "top_n": 0}
    best, score = ranked(models)[0]
    found = ask(client, "/v1/rerank", body)
    assert found["results"][0] == {
        "index": best,
        "relevance_score": score,
        "document": {"text": TEXTS[best]},
    }
    assert len(found["results"]) == 3 and found["model"] == "nli" and found["usage"]["total_tokens"] > 0
    infinity = ask(client, "/rerank", {**body, "raw_scores": False, "return_documents": True})
    assert infinity["results"][0]["document"] == TEXTS[best]
    bare = ask(client, "/rerank", {**body, "return_documents": False})
    assert "document" not in bare["results"][0]
    ovms = ask(client, "/v3/rerank", body)
    assert set(ovms) == {"results"}


def test_several_numbers_are_no_shares(client: TestClient, models: dict[str, Predictor]) -> None:
    want = list(models["grades"].classify(PREMISE)["scores"].values())
    ids = models["grades"].engine.tokenizer(PREMISE)["input_ids"]
    for given in (PREMISE, [ids]):
        (found,) = ask(client, "/v1/classify", {"model": "grades", "input": given})["data"]
        assert found["probs"] == pytest.approx(want, abs=1e-6)
    assert sum(want) != pytest.approx(1)


def test_outputs_of_one_name_are_refused_for_texts_and_ids(client: TestClient) -> None:
    for given in (PREMISE, [[1, 300, 2]]):
        answer = client.post("/v1/classify", json={"model": "twins", "input": given})
        assert answer.status_code == 422 and "several of its 3 outputs 'bad'" in answer.text


@pytest.mark.parametrize("path", ["/", "/invocations"])
def test_one_path_takes_every_dialect(client: TestClient, path: str) -> None:
    for body, like, part in (
        ({"query": QUERY, "documents": TEXTS}, "/v1/rerank", "results"),
        ({"input": TEXTS}, "/v1/classify", "data"),
        ({"input": TEXTS, "raw_scores": False}, "/v1/classify", "data"),
        ({"input": TEXTS, "labels": ["sleep", "weather"]}, "/v1/classify", "data"),
    ):
        found, want = ask(client, path, body), ask(client, like, body)
        assert found.keys() == want.keys() and len(found[part]) == len(want[part]) == 3
        assert type(found[part][0]) is type(want[part][0]) and str(found[part])[:30] == str(want[part])[:30]


def test_vllm_classify_and_score(client: TestClient, models: dict[str, Predictor]) -> None:
    texts = [PREMISE, "It rains."]
    found = ask(client, "/classify", {"model": "nli", "input": texts, "encoding_format": "float"})
    wanted = models["nli"].classify(texts)
    assert found["object"] == "list" and found["id"].startswith("classify-") and found["model"] == "nli"
    assert set(found["usage"]) == {"prompt_tokens", "total_tokens", "completion_tokens"}
    assert found["data"] == [
        {
            "index": number,
            "label": one["label"],
            "probs": pytest.approx(list(one["scores"].values()), abs=1e-5),  # in the order of the head
            "num_classes": 3,
        }
        for number, one in enumerate(wanted)
    ]
    ids = ask(client, "/tokenize", {"inputs": PREMISE})[0]
    by_ids = ask(client, "/v1/classify", {"model": "nli", "input": [one["id"] for one in ids]})
    assert by_ids["data"][0]["probs"] == pytest.approx(found["data"][0]["probs"], abs=1e-6)
    logits = ask(client, "/classify", {"model": "nli", "input": PREMISE, "use_activation": False})
    assert sum(logits["data"][0]["probs"]) != pytest.approx(1, abs=0.01)

    scores = dict(ranked(models))
    for first, second in (
        ("text_1", "text_2"),
        ("queries", "documents"),
        ("queries", "items"),
        ("data_1", "data_2"),
    ):
        scored = ask(client, "/score", {"model": "nli", first: QUERY, second: TEXTS})
        assert scored["data"] == [
            {"index": number, "object": "score", "score": scores[number]} for number in range(3)
        ]
    each = ask(client, "/v1/score", {"model": "nli", "text_1": [QUERY] * 3, "text_2": TEXTS})
    assert [one["score"] for one in each["data"]] == [scores[number] for number in range(3)]
    single = ask(client, "/v1/score", {"model": "nli", "text_1": QUERY, "text_2": TEXTS[1]})
    assert [one["score"] for one in single["data"]] == [scores[1]]


def test_infinity_and_jina_classify(client: TestClient, models: dict[str, Predictor]) -> None:
    body = {"model": "nli", "input": [PREMISE, "It rains."]}
    found = ask(client, "/classify", {**body, "raw_scores": False})
    assert set(found) == {"object", "data", "model", "usage"} and found["object"] == "classify"
    assert found["data"] == [by_score(one["scores"]) for one in models["nli"].classify(body["input"])]

    labels = ["sleep", "weather"]
    jina = ask(
        client, "/v1/classify", {"model": "nli", "input": [PREMISE, {"text": "It rains."}], "labels": labels}
    )
    assert set(jina) == {"usage", "data"}
    for number, (one, want) in enumerate(
        zip(jina["data"], models["nli"].zero_shot(body["input"], labels), strict=True)
    ):
        assert (one["object"], one["index"], one["prediction"]) == (
            "classification",
            number,
            want["labels"][0],
        )
        assert one["score"] == one["predictions"][0]["score"]
        assert [entry["label"] for entry in one["predictions"]] == want["labels"]
        assert [entry["score"] for entry in one["predictions"]] == pytest.approx(want["scores"], abs=1e-5)


# OpenAI


def test_moderations(client: TestClient, models: dict[str, Predictor]) -> None:
    found = ask(client, "/v1/moderations", {"model": "guard", "input": ["Ignore this.", PREMISE]})
    assert found["id"].startswith("modr-") and found["model"] == "guard" and len(found["results"]) == 2
    for one, want in zip(found["results"], models["guard"].classify(["Ignore this.", PREMISE]), strict=True):
        score = want["scores"]["INJECTION"]
        assert one["category_scores"] == {"INJECTION": pytest.approx(score, abs=1e-5)}
        assert one["categories"] == {"INJECTION": score >= 0.5} and one["flagged"] == (score >= 0.5)
    several = ask(client, "/v1/moderations", {"model": "toxic", "input": PREMISE})["results"][0]
    assert set(several["categories"]) == {"toxic", "obscene"}
    parts = [{"type": "text", "text": "Ignore"}, {"type": "text", "text": "this."}]
    (whole,) = ask(client, "/moderations", {"model": "guard", "input": parts})["results"]
    (same,) = ask(client, "/moderations", {"model": "guard", "input": "Ignore\nthis."})["results"]
    assert whole == same
    entities = ask(client, "/v1/moderations", {"model": "ner", "input": PREMISE})["results"][0]
    assert set(entities["category_scores"]) == {"PER", "LOC"}
    for model in ("nli", "mood"):
        assert client.post("/v1/moderations", json={"model": model, "input": "x"}).status_code == 424


# Hugging Face's task API


def test_hub_text_classification(client: TestClient, models: dict[str, Predictor]) -> None:
    want = by_score(models["nli"].classify(PREMISE)["scores"])
    for path in ("/hf/text-classification", "/models/nli", "/"):
        assert ask(client, path, {"inputs": PREMISE, "parameters": {}}) == [want]
    top = ask(client, "/hf/text-classification", {"inputs": [PREMISE, "x"], "parameters": {"top_k": 1}})
    assert [len(one) for one in top] == [1, 1] and top[0] == want[:1]
    pair = {"inputs": {"text": PREMISE, "text_pair": HYPOTHESIS}}
    assert ask(client, "/hf/text-classification", pair) == [
        by_score(models["nli"].classify((PREMISE, HYPOTHESIS))["scores"])
    ]


def test_hub_takes_several_pairs_at_once(client: TestClient, models: dict[str, Predictor]) -> None:
    inputs = [{"text": PREMISE, "text_pair": HYPOTHESIS}, {"text": PREMISE}]
    want = models["nli"].classify([(PREMISE, HYPOTHESIS), PREMISE])
    for path in ("/hf/text-classification", "/models/nli", "/"):
        assert ask(client, path, {"inputs": inputs}) == [by_score(one["scores"]) for one in want]
    refused = client.post("/models/ner", json={"inputs": inputs})
    assert (
        refused.status_code == 422 and refused.json()["error"] == "inputs must be a text or a list of texts."
    )


def test_hub_functions_apply_to_the_logits(client: TestClient, models: dict[str, Predictor]) -> None:
    def scores(function: str) -> dict[str, float]:
        body = {"inputs": PREMISE, "parameters": {"function_to_apply": function}}
        (row,) = ask(client, "/hf/text-classification", {**body, "model": "nli"})
        return {one["label"]: one["score"] for one in row}

    logits = scores("none")
    for label, score in scores("sigmoid").items():
        assert score == pytest.approx(1 / (1 + math.exp(-logits[label])), abs=1e-5)
    own = models["nli"].classify(PREMISE)["scores"]
    assert scores("softmax") == pytest.approx(own, abs=1e-5)  # without a temperature these are the same


@pytest.mark.parametrize("labels", [{0: "irrelevant", 1: "relevant"}, {0: "score"}])
def test_raw_scores_are_the_heads_own_numbers(
    folders: ModelFolders, tmp_path: Path, labels: dict[int, str]
) -> None:
    """A fitted temperature changes probabilities and never logits."""
    shutil.copytree(folders("DebertaV2ForSequenceClassification", id2label=labels), tmp_path / "warm")
    Probabilities(temperature=2.0).write(tmp_path / "warm")
    warm, plain = opened(tmp_path / "warm"), opened(tmp_path / "warm", calibrated=False)
    ids = warm.engine.tokenizer([PREMISE]).input_ids
    hub = {"inputs": PREMISE, "parameters": {"function_to_apply": "none"}}
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/predict", {"inputs": PREMISE, "raw_scores": True}),
        ("/classify", {"input": PREMISE, "use_activation": False}),
        ("/classify", {"input": ids, "use_activation": False}),
        ("/infinity/classify", {"input": [PREMISE], "raw_scores": True}),
        ("/hf/text-classification", hub),
        ("/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": True}),
        ("/infinity/rerank", {"query": QUERY, "documents": TEXTS, "raw_scores": True}),
        ("/score", {"text_1": QUERY, "text_2": TEXTS, "use_activation": False}),
    ]
    with serving({"m": warm}) as ours, serving({"m": plain}) as theirs:
        for path, body in bodies:
            found, wanted = (_numbers(ask(one, path, body)) for one in (ours, theirs))
            assert found == pytest.approx(wanted, abs=1e-5), path
        for name in ("softmax", "sigmoid"):
            hub["parameters"] = {"function_to_apply": name}
            found, wanted = (_numbers(ask(one, "/hf/text-classification", hub)) for one in (ours, theirs))
            assert (len(labels) == 1 and name == "softmax") or found != pytest.approx(wanted, abs=1e-3)


def _numbers(answer: Any) -> list[float]:
    """Every score in an answer, in order."""
    if isinstance(answer, float):
        return [answer]
    kept = {"usage", "meta", "created", "id"}
    values = answer if isinstance(answer, list) else []
    if isinstance(answer, dict):
        values = [value for name, value in answer.items() if name not in kept]
    return [number for value in values for number in _numbers(value)]


def test_max_tokens_per_doc_cuts_the_documents_and_not_the_query(models: dict[str, Predictor]) -> None:
    """What a request asks to cut is no truncation: also a server that refuses long inputs answers it."""
    query, document = "who sleeps on this bench " * 6, "a man sleeps on a bench and dreams " * 40
    for name in ("ranker", "nli"):
        tokenizer = models[name].engine.tokenizer
        short = tokenizer.decode(tokenizer.encode(document)[:10])
        with serving({"m": models[name]}, limits=Limits(truncate=False)) as strict:
            body = {"query": query, "documents": [document]}
            (one,) = ask(strict, "/v1/rerank", {**body, "max_tokens_per_doc": 10})["results"]
            (want,) = models[name].rerank(query, [short])
            assert one["relevance_score"] == pytest.approx(want["score"], abs=1e-5)
            for limit in (-1, 16, 64):
                assert ask(strict, "/v1/rerank", {**body, "truncate_prompt_tokens": limit})["results"]
                assert ask(strict, "/classify", {"input": document, "truncate_prompt_tokens": limit})
            for more in ({}, {"truncate_prompt_tokens": 100}, {"max_tokens_per_doc": 100}):
                refused = strict.post("/v1/rerank", json={**body, **more})
                assert refused.status_code == 422 and "more than 64 tokens" in refused.text


def test_a_whole_number_may_be_written_with_a_point(client: TestClient) -> None:
    body = {"query": PREMISE, "documents": [PREMISE, HYPOTHESIS]}
    assert len(ask(client, "/v1/rerank", {**body, "top_n": 1.0})["results"]) == 1
    assert client.post("/v1/rerank", json={**body, "top_n": 1.5}).status_code == 422
    assert client.post("/v1/rerank", json={**body, "top_n": "1"}).status_code == 422


def test_the_document_says_what_each_task_needs(client: TestClient) -> None:
    refused = client.post("/hf/zero-shot-classification", json={"inputs": PREMISE})
    assert refused.status_code == 422 and refused.json()["error"] == "need parameters."
    document = client.get("/openapi.json").json()

    def body(path: str) -> dict[str, Any]:
        return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert "parameters" in body("/hf/zero-shot-classification")["required"]
    assert body("/infinity/rerank")["properties"]["documents"]["minItems"] == 1
    assert "text/html" in document["paths"]["/"]["get"]["responses"]["200"]["content"]


def test_hub_zero_shot(client: TestClient, models: dict[str, Predictor]) -> None:
    labels = ["sleep", "weather", "books"]
    for multi_label in (False, True):
        want = models["nli"].zero_shot(PREMISE, labels, multi_label=multi_label, template="About {}.")
        parameters = {
            "candidate_labels": labels,
            "multi_label": multi_label,
            "hypothesis_template": "About {}.",
        }
        wanted = [
            {"label": label, "score": pytest.approx(score, abs=1e-5)}
            for label, score in zip(want["labels"], want["scores"], strict=True)
        ]
        for path in ("/hf/zero-shot-classification", "/zero-shot", "/", "/models/nli"):
            assert ask(client, path, {"inputs": PREMISE, "parameters": parameters}) == wanted


def test_hub_token_classification(client: TestClient, models: dict[str, Predictor]) -> None:
    for strategy in ("simple", "first", "average", "max"):
        body = {"inputs": PREMISE, "parameters": {"aggregation_strategy": strategy}}
        found = ask(client, "/hf/token-classification", {**body, "model": "ner"})
        want = models["ner"].ner(PREMISE, aggregation=strategy)
        assert [(one["entity_group"], one["start"], one["end"], one["word"]) for one in found] == [
            (one["entity_group"], one["start"], one["end"], one["word"]) for one in want
        ]
        assert ask(client, "/models/ner", body) == found
    tokens = ask(client, "/models/ner", {"inputs": PREMISE, "parameters": {"aggregation_strategy": "none"}})
    assert set(tokens[0]) == {"entity", "score", "index", "word", "start", "end"}
    assert all(one["entity"] != "O" for one in tokens)
    every = {"aggregation_strategy": "none", "ignore_labels": []}
    assert len(ask(client, "/models/ner", {"inputs": PREMISE, "parameters": every})) >= len(tokens)


def test_hub_question_answering(client: TestClient, models: dict[str, Predictor]) -> None:
    inputs = {"question": QUERY, "context": PREMISE}
    want = models["qa"].qa(QUERY, PREMISE, n_best=3, null_threshold=None, max_answer_tokens=15)
    best = ask(client, "/hf/question-answering", {"inputs": inputs})
    assert set(best) == {"answer", "score", "start", "end"}
    assert best["answer"] == want["answer"] == PREMISE[best["start"] : best["end"]]
    several = ask(client, "/", {"inputs": inputs, "parameters": {"top_k": 3}})
    assert [one["answer"] for one in several] == [one["answer"] for one in want["candidates"]]
    possible = {"top_k": 50, "handle_impossible_answer": True}
    with_null = ask(client, "/models/qa", {"inputs": inputs, "parameters": possible})
    (nothing,) = (one for one in with_null if not one["answer"])
    assert nothing == {
        "answer": "",
        "start": 0,
        "end": 0,
        "score": pytest.approx(want["no_answer_score"], abs=1e-5),
    }


@pytest.mark.parametrize(
    ("route", "inputs", "parameters"),
    [
        ("question-answering", {"question": QUERY, "context": PREMISE}, {"top_k": 10**9}),
        ("question-answering", {"question": QUERY, "context": PREMISE}, {"max_answer_len": 10**9}),
        ("fill-mask", "A [MASK] is asleep.", {"top_k": 120_000}),
    ],
)
def test_one_request_cannot_ask_for_millions(
    client: TestClient, route: str, inputs: object, parameters: dict[str, int]
) -> None:
    answer = client.post(f"/hf/{route}", json={"inputs": inputs, "parameters": parameters})
    assert answer.status_code == 422
    assert next(iter(parameters)) in answer.json()["error"]


def test_hub_fill_mask(client: TestClient, models: dict[str, Predictor]) -> None:
    text = "A [MASK] is asleep."
    want = models["mlm"].fill_mask(text, top_k=3)[0]
    found = ask(client, "/hf/fill-mask", {"inputs": text, "parameters": {"top_k": 3}})
    assert [(one["token"], one["token_str"], one["sequence"]) for one in found] == [
        (one["token"], one["token_str"], one["sequence"]) for one in want
    ]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in want], abs=1e-5)
    two = ask(client, "/models/mlm", {"inputs": "A [MASK] is [MASK]."})
    assert [len(one) for one in two] == [5, 5]
    chosen = ask(client, "/models/mlm", {"inputs": text, "parameters": {"targets": ["man"]}})
    assert [one["token_str"] for one in chosen] == ["man"]


def test_models_are_listed(client: TestClient, models: dict[str, Predictor]) -> None:
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == list(models)
