"""A body that does not fit: the answer names the client's own fields and says what is needed, in one line."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from debertav3.serve.dispatch import ROUTES, choose_operation, validated
from debertav3.serve.refusals import Refusal

RERANK = {"query": "a"}


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/predict", {"inputs": []}, "inputs: got an empty list; need at least 1 entry."),
        ("/predict", {"inputs": ["a", "b", "c"]}, "inputs: got a list of 3; need at most 2 entries."),
        ("/predict", {"inputs": [["a"], []]}, "inputs.1: got an empty list; need at least 1 entry."),
        ("/predict", {"inputs": {"a": 1}}, "inputs: got an object; need a text or a list."),
        (
            "/predict",
            {"inputs": " "},
            "inputs: got a blank text; need at least one character that is not white space.",
        ),
        (
            "/predict",
            {"inputs": "a", "truncation_direction": "up"},
            "truncation_direction: got a text; need 'left', 'right', 'Left' or 'Right'.",
        ),
        ("/v1/rerank", {**RERANK, "documents": [3]}, "documents.0: got 3; need a text or an object."),
        ("/v1/rerank", {**RERANK, "documents": [{"title": "x"}]}, "need documents.0.text."),
        ("/v1/rerank", {**RERANK, "documents": ["a"], "top_n": -1}, "top_n: got -1; need at least 0."),
        ("/v1/rerank", {**RERANK, "documents": ["a"], "top_n": 10**400}, None),
        ("/v1/rerank", {**RERANK, "documents": ["a"], "model": "m" * 300}, "model: got a text; need at most"),
        (
            "/v1/rerank",
            {**RERANK, "documents": ["a"], "truncate_prompt_tokens": 4},
            "truncate_prompt_tokens: got 4; need -1 or at least 8.",
        ),
        (
            "/classify",
            {"texts": [["a", "b", "c"]]},
            "texts.0: got a list of 3; need at most 2 entries.",
        ),
        ("/classify", {"input": 3}, "input: got 3; need a text or a list."),
        ("/vertex", {"instances": [{"a": 1}]}, "need instances.0.inputs or instances.0.query."),
        ("/zero-shot", {"texts": ["a"], "labels": ["b"], "template": "no"}, "need a text with {} once"),
        ("/fill-mask", {"texts": ["a"]}, "texts.0: got a text; need a text with [MASK]."),
        ("/hf/fill-mask", {"inputs": "a"}, "inputs: got a text; need a text with [MASK]."),
        (
            "/hf/zero-shot-classification",
            {"inputs": "a", "parameters": {}},
            "need parameters.candidate_labels",
        ),
        ("/models/{name:path}", {"inputs": {"question": "a"}}, "need inputs.text or inputs.context."),
        ("/decode", {"ids": [1, [2]]}, "ids.1: got a list of 1; need a whole number."),
        ("/nli", {"pairs": [["a", "b"]], "truncate": "yes"}, "truncate: got a text; need true or false."),
        ("/nli", {"pairs": [["a", "b"]], "color": 1}, "color: this route has no such field."),
    ],
)
def test_the_field_the_value_and_the_need(path: str, body: dict[str, Any], says: str | None) -> None:
    operation = choose_operation(ROUTES[path], body)
    if says is None:
        validated(operation, body)
        return
    with pytest.raises(Refusal) as refused:
        validated(operation, body)
    assert says in refused.value.message


WRONG = (None, True, 3, -1.5, "", " ", "x", [], [[]], [None], [[1, "a"]], {}, {"a": {}}, [{}])


def wrong_bodies(example: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every field of an example, and every entry of its lists, replaced by what may not fit."""
    yield {}
    for name, value in example.items():
        for wrong in WRONG:
            yield {**example, name: wrong}
            if isinstance(value, list):
                yield {**example, name: [value[0], wrong]}
            if isinstance(value, dict):
                yield from ({**example, name: {**value, key: wrong}} for key in value)


def test_no_message_has_the_names_of_the_library() -> None:
    refusals = 0
    for operation in {id(one): one for one in chain.from_iterable(ROUTES.values())}.values():
        for body in wrong_bodies(dict(operation.example)):
            try:
                validated(operation, body)
            except Refusal as refused:
                refusals += 1
                for word in ("constrained", "function-", "Input should", "should match", "Text", "valid"):
                    assert word not in refused.message, body
                assert refused.message.endswith(".") and "\n" not in refused.message
    assert refusals > 300
