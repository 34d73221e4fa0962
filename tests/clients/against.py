"""Asks a running server with one unmodified client after another, and prints one line a client.

Run inside one of the environments of ``run.py``: ``python against.py URL URL-OF-A-RANKER a``.
"""

import asyncio
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

PREMISE, QUERY = "A man is playing a guitar on stage.", "Somebody plays music."
TEXTS = ["The shop is closed.", PREMISE, "Two dogs run over a field."]
BEST = 1
RANKER_URL = sys.argv[2] if len(sys.argv) > 2 else ""

CLIENTS: dict[str, list[tuple[str, Callable[[str], Any]]]] = {"a": [], "b": [], "c": []}


def client(environment: str, package: str) -> Callable[[Any], Any]:
    """Register a check of one package; several checks may name one package."""

    def register(check: Callable[[str], Any]) -> Callable[[str], Any]:
        CLIENTS[environment].append((package, check))
        return check

    return register


def in_order(results: Any, score: str = "relevance_score") -> None:
    """Assert that results come best first, by falling score from 0 to 1, and are all different texts."""
    read = [
        (one[score], one["index"]) if isinstance(one, dict) else (getattr(one, score), one.index)
        for one in results
    ]
    scores = [value for value, _ in read]
    assert scores == sorted(scores, reverse=True) and all(0 <= value <= 1 for value in scores), read
    assert read[0][1] == BEST and len({index for _, index in read}) == len(read), read


@client("a", "huggingface_hub")
def hub(url: str) -> None:
    from huggingface_hub import InferenceClient

    def at(task: str) -> InferenceClient:
        return InferenceClient(model=f"{url}/hf/{task}")

    labels = at("text-classification").text_classification(PREMISE)
    assert {one.label for one in labels} == {"entailment", "neutral", "contradiction"}
    zero = at("zero-shot-classification").zero_shot_classification(
        PREMISE, ["music", "sports"], multi_label=True
    )
    assert {one.label for one in zero} == {"music", "sports"} and zero[0].score >= zero[1].score
    at("token-classification").token_classification("Anna Bell went to Rome.", aggregation_strategy="simple")
    answer = at("question-answering").question_answering(question="Who sleeps?", context=PREMISE)
    assert answer.answer == PREMISE[answer.start : answer.end]
    filled = at("fill-mask").fill_mask("A man is asleep on a [MASK].", top_k=3)
    assert len(filled) == 3 and filled[0].score >= filled[1].score
    assert InferenceClient(model=url).text_classification(PREMISE) == labels


@client("a", "huggingface_hub")
def hub_async(url: str) -> None:
    from huggingface_hub import AsyncInferenceClient

    async def ask() -> Any:
        async with AsyncInferenceClient(model=f"{url}/models/nli") as client:
            return await client.text_classification(PREMISE)

    assert len(asyncio.run(ask())) == 3


@client("a", "cohere")
def cohere(url: str) -> None:
    from cohere import AsyncClientV2, Client, ClientV2

    found = ClientV2("k", base_url=url).rerank(model="nli", query=QUERY, documents=TEXTS, top_n=2)
    in_order(found.results)
    assert len(found.results) == 2
    first = Client("k", base_url=url).rerank(model="nli", query=QUERY, documents=TEXTS, return_documents=True)
    in_order(first.results)
    assert first.results[0].document.text == PREMISE
    ask = AsyncClientV2("k", base_url=url).rerank(model="nli", query=QUERY, documents=TEXTS)
    in_order(asyncio.run(ask).results)


@client("a", "litellm")
def litellm(url: str) -> None:
    import litellm

    bases = {
        "huggingface": "",
        "cohere": "",
        "jina_ai": "/v1/rerank",
        "infinity": "/infinity",
        "hosted_vllm": "",
    }
    for provider, path in bases.items():
        base = f"{url}{path}"
        found = litellm.rerank(
            model=f"{provider}/nli", query=QUERY, documents=TEXTS, api_base=base, api_key="k", top_n=3
        )
        in_order(found.results)


@client("a", "huggingface-api-haystack")
def haystack_tei(url: str) -> None:
    from haystack import Document
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    ranker = HuggingFaceTEIRanker(url=url, top_k=2)
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in TEXTS])["documents"]
    assert found[0].content == PREMISE and len(found) == 2


@client("a", "cohere-haystack")
def haystack_cohere(url: str) -> None:
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker

    ranker = CohereRanker(model="nli", api_base_url=url, api_key=Secret.from_token("k"))
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in TEXTS])["documents"]
    assert found[0].content == PREMISE


@client("a", "vllm-haystack")
def haystack_vllm(url: str) -> None:
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.vllm import VLLMRanker

    ranker = VLLMRanker(model="nli", api_base_url=f"{url}/v1", api_key=Secret.from_token("k"))
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in TEXTS])["documents"]
    assert found[0].content == PREMISE


@client("a", "jina-haystack")
def haystack_jina(url: str) -> None:
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.jina import JinaRanker

    ranker = JinaRanker(model="nli", base_url=f"{url}/v1/rerank", api_key=Secret.from_token("k"))
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in TEXTS])["documents"]
    assert found[0].content == PREMISE


def _llama_index(postprocessor: Any) -> None:
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in TEXTS]
    found = postprocessor.postprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))
    assert found[0].node.text == PREMISE and found[0].score > found[1].score


@client("a", "llama-index-postprocessor-tei-rerank")
def llama_index_tei(url: str) -> None:
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    _llama_index(TextEmbeddingInference(base_url=url, top_n=3))


@client("a", "llama-index-postprocessor-jinaai-rerank")
def llama_index_jina(url: str) -> None:
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    _llama_index(JinaRerank(base_url=f"{url}/v1", api_key="k", model="nli", top_n=3))


@client("a", "tei-client")
def tei_client(url: str) -> None:
    from tei_client import HttpClient

    client = HttpClient(url)
    assert client.info() and client.classify(PREMISE)
    assert client.tokenize(PREMISE) and client.decode([1, 5, 2])
    ranker = HttpClient(RANKER_URL)  # this client asks /info first, and ranks with nothing but a ranker
    assert ranker.rerank(QUERY, TEXTS)


@client("a", "rerankers")
def rerankers(url: str) -> None:
    from rerankers.models.api_rankers import APIRanker

    for provider in ("cohere", "jina"):
        ranker = APIRanker("nli", "k", api_provider=provider, url=f"{url}/v1/rerank")
        found = ranker.rank(query=QUERY, docs=TEXTS)
        assert found.top_k(1)[0].text == PREMISE


@client("a", "openai")
def openai(url: str) -> None:
    from openai import OpenAI

    found = OpenAI(base_url=f"{url}/v1", api_key="k").moderations.create(
        input=[PREMISE, QUERY], model="guard"
    )
    assert len(found.results) == 2 and isinstance(found.results[0].flagged, bool)


@client("b", "infinity-client")
def infinity(url: str) -> None:
    from infinity_client import Client
    from infinity_client.api.default import classify
    from infinity_client.models import ClassifyInput

    body = ClassifyInput(model="nli", input_=[PREMISE], raw_scores=False)
    found = classify.sync(client=Client(base_url=url), body=body)
    assert len(found.data[0]) == 3


@client("b", "langchain-community")
def langchain_infinity(url: str) -> None:
    from infinity_client import Client
    from langchain_community.document_compressors import InfinityRerank
    from langchain_core.documents import Document

    ranker = InfinityRerank(client=Client(base_url=url), model="nli", top_n=2)
    found = ranker.compress_documents([Document(text) for text in TEXTS], QUERY)
    assert found[0].page_content == PREMISE


@client("c", "langchain-cohere")
def langchain_cohere(url: str) -> None:
    from langchain_cohere import CohereRerank

    found = CohereRerank(base_url=url, model="nli", cohere_api_key="k").rerank(TEXTS, QUERY)
    assert found[0]["index"] == BEST


@client("c", "llama-index-postprocessor-cohere-rerank")
def llama_index_cohere(url: str) -> None:
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    _llama_index(CohereRerank(base_url=url, model="nli", api_key="k", top_n=3))


def main() -> int:
    """Run the checks of one environment; the number that failed."""
    url, _, environment = sys.argv[1:]
    failed = 0
    for package, check in CLIENTS[environment]:
        try:
            check(url)
        except Exception:
            failed += 1
            print(
                f"FAILED {package} {version(package)} ({check.__name__})\n{traceback.format_exc()}",
                flush=True,
            )
        else:
            print(f"works  {package} {version(package)} ({check.__name__})", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 100))
