"""A user's own torch.jit.trace, torch.export and torch.onnx.export give graphs that serve every length."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

import debertav3.models as models
from helpers import random_batch, tiny_config

LENGTHS: tuple[tuple[int, ...], ...] = ((1,), (8, 5), (20, 13, 1), (300, 7), (600,))
"""Below, at and far beyond the 11 tokens of the example."""
HEADS = [
    "DebertaV2ForSequenceClassification",
    "DebertaV2ForTokenClassification",
    "DebertaV2ForQuestionAnswering",
    "DebertaV2ForReplacedTokenDetection",
    "DebertaV2ForMaskedLM",
]


class Tensors(nn.Module):
    """What people wrap around a model, so that tensors go in and out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]


def wrapped(name: str) -> Tensors:
    torch.manual_seed(0)
    config = tiny_config(max_position_embeddings=640, position_buckets=64)
    return Tensors(getattr(models, name)(config)).eval()


def example(lengths: tuple[int, ...] = (11, 6)) -> tuple[Tensor, Tensor]:
    batch = random_batch(lengths)
    return batch["input_ids"], batch["attention_mask"]


def assert_serves_every_length(run: Callable[..., Tensor], name: str) -> None:
    model = wrapped(name)  # one that no trace has touched
    for lengths in LENGTHS:
        inputs = example(lengths)
        real = inputs[1].bool()
        with torch.no_grad():
            got, want = run(*inputs), model(*inputs)
        assert got.shape == want.shape
        is_of_tokens = want.shape[:2] == real.shape and "Sequence" not in name
        if is_of_tokens:
            got, want = got[real], want[real]
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_jit_trace_in_its_default_mode(name: str, with_gradients: bool) -> None:
    with torch.set_grad_enabled(with_gradients):
        traced = torch.jit.trace(wrapped(name), example())
    assert_serves_every_length(traced, name)


@pytest.mark.parametrize("name", HEADS)
def test_export_with_named_dimensions_from_length_1(name: str) -> None:
    shape = {0: Dim("b", max=64), 1: Dim("s", max=640)}
    program = export(wrapped(name), example(), dynamic_shapes=(shape, shape))
    assert_serves_every_length(program.module(), name)


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("exporter", ["script", "dynamo"])
@pytest.mark.parametrize("name", ["DebertaV2ForSequenceClassification", "DebertaV2ForTokenClassification"])
def test_onnx_export(name: str, exporter: str, with_gradients: bool, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = str(tmp_path / "model.onnx")
    dynamic: dict[str, Any] = {0: "b", 1: "s"}
    how: dict[str, Any] = (
        {"dynamo": True, "dynamic_shapes": (dynamic, dynamic), "verbose": False}
        if exporter == "dynamo"
        else {
            "dynamo": False,
            "opset_version": 17,
            "dynamic_axes": {"input_ids": dynamic, "attention_mask": dynamic},
        }
    )
    with torch.set_grad_enabled(with_gradients):
        torch.onnx.export(
            wrapped(name),
            example(),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            **how,
        )
    session = runtime.InferenceSession(path)

    def run(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        inputs = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        return torch.from_numpy(session.run(["logits"], inputs)[0])

    assert_serves_every_length(run, name)
