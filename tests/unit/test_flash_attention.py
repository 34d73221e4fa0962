"""Attention in flashdeberta's kernels is the reference, forward and backward (make test-flash).

Without a GPU Triton's interpreter runs the kernels on the CPU, in fp32; where neither is there, tests skip.
"""

import contextlib
import importlib.util
import os
from typing import Any

import pytest
import torch
from torch import Tensor

from cpu_kernels import attention_inputs
from debertav3 import (
    DebertaV2ForReplacedTokenDetection,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
    DebertaV2Model,
)
from debertav3.errors import MissingExtraError, UserError
from debertav3.gpu import flash_attention as flash
from debertav3.gpu.unpadding import unpad
from debertav3.layers.attention_backends import eager_attention
from debertav3.layers.masks import AttentionMasks
from debertav3.layers.relative_position import RelativePositions, RelativeTables
from helpers import tiny_config

HAS_KERNELS = all(importlib.util.find_spec(name) is not None for name in ("triton", "flashdeberta"))
INTERPRETS = os.environ.get("TRITON_INTERPRET") == "1"
SMALL = RelativePositions(num_buckets=8, max_distance=32, span=8, long_inputs="clamp")
LIKE_TRANSFORMERS = RelativePositions(num_buckets=8, max_distance=32, span=8, long_inputs="transformers")
PLAIN = RelativePositions(num_buckets=0, max_distance=20, span=20, long_inputs="clamp")
SETTINGS: dict[str, Any] = {"scale": 0.25, "dropout_prob": 0.0, "output_attentions": False}


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    if not HAS_KERNELS:
        pytest.skip("needs triton and flashdeberta: pip install 'debertav3[gpu]', or make test-flash")
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
        return torch.device("cuda")
    if not INTERPRETS:
        pytest.skip("needs TRITON_INTERPRET=1 in the environment: make test-flash")
    monkeypatch.setattr(torch.cuda, "device", lambda index: contextlib.nullcontext())
    return torch.device("cpu")


def padding(lengths: list[int], first: int = 0) -> Tensor:
    place = torch.arange(max(lengths) + first)
    real = (place >= first) & (place < first + torch.tensor(lengths)[:, None])
    return real[:, None, :, None] & real[:, None, None, :]


def both(
    shape: tuple[int, int, int, int],
    positions: RelativePositions,
    terms: str,
    mask: Tensor | None,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Context and gradients, by the kernels and by the reference in float64."""
    q, k, v, tables = attention_inputs(*shape, terms=terms, positions=positions)
    leaves = [q, k, v]
    if tables is not None:
        leaves += [x for x in (tables.key_NRH, tables.query_NRH) if x is not None]
    weights = torch.randn(q.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    results = []
    for attend, low, place in (
        (flash.flash_attention, dtype, device),
        (eager_attention, torch.float64, torch.device("cpu")),
    ):
        given = [x.to(dtype).to(place, low).detach().requires_grad_() for x in leaves]
        rest = iter(given[3:])
        table = tables and RelativeTables(
            positions,
            0.25,
            None if tables.key_NRH is None else next(rest),
            None if tables.query_NRH is None else next(rest),
        )
        seen = None if mask is None else mask.to(place)
        context, _ = attend(*given[:3], table, seen, **SETTINGS)
        (context.double() * weights.to(place)).sum().backward()
        results.append([x.detach().double().cpu() for x in (context, *(leaf.grad for leaf in given))])
    return results[0], results[1]


def assert_close(
    got: list[Tensor], want: list[Tensor], device: torch.device, unit: float | None = None
) -> None:
    unit = unit or (2.0**-18 if device.type == "cpu" else 2.0**-5)  # some roundings of fp32, or of bf16
    for ours, theirs in zip(got, want, strict=True):
        assert (ours - theirs).abs().max() <= unit * theirs.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("terms", ["c2p+p2c", "c2p", "p2c", "content"])
def test_every_term_with_and_without_padding(device: torch.device, terms: str) -> None:
    for mask in (None, padding([21, 9, 1])):
        assert_close(*both((3, 2, 21, 16), SMALL, terms, mask, device), device)


def test_half_precision(device: torch.device) -> None:
    """Tables come in fp32 and are rounded to the dtype of the queries."""
    got, want = both((2, 2, 21, 16), SMALL, "c2p+p2c", padding([21, 9]), device, torch.float16)
    assert_close(got, want, device, unit=2.0**-7)


@pytest.mark.parametrize(
    "positions", [SMALL, LIKE_TRANSFORMERS, PLAIN], ids=["clamp", "transformers", "plain"]
)
def test_texts_longer_than_training_met(device: torch.device, positions: RelativePositions) -> None:
    assert flash.rows_of_slots(positions, 45) is not None
    assert_close(*both((1, 2, 45, 16), positions, "c2p+p2c", None, device), device)


@pytest.mark.parametrize("kind", ["left padding", "a text without tokens", "holes", "packed"])
def test_masks_of_other_forms(device: torch.device, kind: str) -> None:
    mask = padding([12, 7, 3], first=5 if kind == "left padding" else 0)
    if kind == "a text without tokens":
        mask[1] = False
    elif kind == "holes":
        mask[0, :, 4] = False
        mask[0, :, :, 4] = False
    elif kind == "packed":
        mask[0, :, :6, 6:] = False
        mask[0, :, 6:, :6] = False
    taken = flash.Unpadded.of(mask, 3, mask.shape[-1], torch.device("cpu"))
    assert (taken is None) == (kind in ("holes", "packed"))
    assert_close(*both((3, 2, mask.shape[-1], 16), SMALL, "c2p+p2c", mask, device), device)


def test_rows_that_the_model_projected_for_a_length(device: torch.device) -> None:
    """Tables hold the rows of a window; first_row says where it begins."""
    q, k, v, tables = attention_inputs(1, 2, 3, 16, terms="c2p+p2c", positions=SMALL)
    assert tables is not None and tables.key_NRH is not None and tables.query_NRH is not None
    first, end = SMALL.window(3)
    q, k, v, keys, queries = (
        x.float().to(device) for x in (q, k, v, tables.key_NRH[:, first:end], tables.query_NRH[:, first:end])
    )
    part = RelativeTables(SMALL, 0.25, keys, queries, first_row=first)
    got, _ = flash.flash_attention(q, k, v, part, None, **SETTINGS)
    want, _ = eager_attention(q, k, v, part, None, **SETTINGS)
    torch.testing.assert_close(got, want, atol=1e-5 if device.type == "cpu" else 1e-2, rtol=1e-5)


def test_a_model_computes_the_same(device: torch.device) -> None:
    torch.manual_seed(0)
    model = DebertaV2Model(tiny_config(hidden_size=64)).to(device).eval()
    ids = torch.randint(4, 99, (2, 40), device=device)
    mask = torch.ones_like(ids)
    mask[1, 11:] = 0
    states = {}
    for name in ("eager", "flash"):
        model.set_attention_backend(name)
        model.zero_grad()
        states[name] = model(ids, mask).last_hidden_state
        (states[name] * mask[..., None]).pow(3).sum().backward()
        states[f"{name} gradient"] = model.encoder.rel_embeddings.weight.grad.clone()
    tolerance = 1e-4 if device.type == "cpu" else 2e-2  # TF32
    for name in ("", " gradient"):
        want = states["eager" + name]
        assert (states["flash" + name] - want).abs().max() <= tolerance * want.abs().max()


SMALL_MODEL = {"hidden_size": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.mark.parametrize(
    ("head", "changes"),
    [
        (DebertaV2ForSequenceClassification, {}),
        (DebertaV2ForSequenceClassification, {"position_biased_input": True, "type_vocab_size": 2}),
        (DebertaV2ForTokenClassification, {}),
        (DebertaV2ForReplacedTokenDetection, {}),
    ],
)
@pytest.mark.parametrize("trains", [True, False])
def test_a_whole_model_without_padding(
    device: torch.device, head: Any, changes: dict[str, object], trains: bool
) -> None:
    torch.manual_seed(0)
    model = head(tiny_config(**{**SMALL_MODEL, **changes})).to(device).train(trains)
    ids = torch.randint(4, 99, (3, 13), device=device)
    mask = (torch.arange(13, device=device) < torch.tensor([[13], [4], [1]], device=device)).long()
    labels = torch.tensor([1, 0, 1], device=device)
    if head is not DebertaV2ForSequenceClassification:
        labels = (ids % 2).masked_fill(mask == 0, -100)
    found = {}
    for name in ("eager", "flash"):
        model.set_attention_backend(name)
        model.zero_grad()
        batch = unpad(model.deberta, model.deberta.encoder, AttentionMasks.read(mask), num_texts=len(mask))
        assert (batch is not None) == (name == "flash")
        output = model(ids, mask, labels=labels)
        output.loss.backward()
        seen = output.logits
        if seen.shape[:2] == ids.shape:
            seen = seen[mask > 0]
        gradients = {key: x.grad for key, x in model.named_parameters() if x.grad is not None}
        found[name] = {"logits": seen.detach(), **gradients}
    assert found["flash"].keys() == found["eager"].keys()
    tolerance = 1e-4 if device.type == "cpu" else 2e-2  # TF32
    for key, want in found["eager"].items():
        assert (found["flash"][key] - want).abs().max() <= tolerance * want.abs().max().clamp(min=1e-2), key


def test_one_mask_for_all_texts(device: torch.device) -> None:
    torch.manual_seed(0)
    model = DebertaV2ForSequenceClassification(tiny_config(**SMALL_MODEL)).to(device).eval()
    ids = torch.randint(4, 99, (3, 13), device=device)
    mask = (torch.arange(13, device=device) < 9).long()[None]
    found = []
    for name in ("eager", "flash"):
        model.set_attention_backend(name)
        found.append(model(ids, mask).logits.detach())
    assert torch.allclose(*found, atol=1e-4 if device.type == "cpu" else 2e-2)


def test_padding_is_left_in_where_somebody_reads_it_or_looks_inside(device: torch.device) -> None:
    model = DebertaV2Model(tiny_config(**SMALL_MODEL)).to(device)
    model.set_attention_backend("flash")
    ids = torch.randint(4, 99, (2, 9), device=device)
    mask = (torch.arange(9, device=device) < torch.tensor([[9], [4]], device=device)).long()
    padding = mask == 0
    assert model(ids, mask).last_hidden_state[padding].any()
    assert not model(ids, mask, reads_padding=False).last_hidden_state[padding].any()
    given = model(ids, mask, reads_padding=False, output_hidden_states=True)
    assert given.last_hidden_state[padding].any() and given.hidden_states[1].shape == (2, 9, 64)
    handle = model.encoder.layer[0].output.dense.register_forward_hook(lambda *_: None)
    assert model(ids, mask, reads_padding=False).last_hidden_state[padding].any()
    handle.remove()
    model.encoder.layer[1].attention.self.backend = "sdpa"
    assert model(ids, mask, reads_padding=False).last_hidden_state[padding].any()


def test_which_is_faster_is_measured_and_no_random_number_is_drawn(device: torch.device) -> None:
    flash.is_faster.cache_clear()
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    before = torch.get_rng_state()
    assert flash.is_faster(device, dtype, 32, 16, 2, 16, True) in (True, False)
    assert torch.equal(torch.get_rng_state(), before)
    flash.is_faster.cache_clear()


def test_what_it_cannot_do_is_an_error() -> None:
    x = torch.randn(1, 1, 4, 16)
    for changes in ({"dropout_prob": 0.1}, {"output_attentions": True}):
        with pytest.raises(UserError, match=r"'flash' runs on CUDA.*; use 'auto'$"):
            flash.flash_attention(x, x, x, None, None, **{**SETTINGS, **changes})


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    if HAS_KERNELS:
        pytest.skip("flashdeberta is installed")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    x = torch.randn(1, 1, 4, 16)
    with pytest.raises(MissingExtraError, match=r"pip install 'debertav3\[gpu\]'"):
        flash.flash_attention(x, x, x, None, None, **SETTINGS)


def test_auto_leaves_it_alone_on_a_cpu_in_fp32_and_with_dropout() -> None:
    x = torch.randn(1, 2, 4, 16)
    assert not flash.can_flash(x)
    assert not flash.can_flash(x.bfloat16())
    model = DebertaV2Model(tiny_config())
    assert "flash" in [backend.name for backend in model.encoder.layer[0].attention.self.backends]
