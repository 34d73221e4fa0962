"""The C++ kernel computes what torch computes, for every shape, mask and model; without it torch runs."""

import copy
import ctypes
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cpu_kernels import (
    assert_product_error,
    attention_inputs,
    attention_reference,
    batch_for,
    effect_of_rounding,
    in_fp32,
    open_kernel,
    random_model,
)
from debertav3 import DebertaV2ForMaskedLM, DebertaV2ForSequenceClassification, DebertaV2Model
from debertav3.cpu import attention as fused
from debertav3.cpu import linear as packed
from debertav3.cpu.kernel import library
from debertav3.cpu.kernel.build import INSTRUCTIONS, build, library_file
from debertav3.cpu.pack import pack_for_inference
from debertav3.errors import UserError
from debertav3.layers.attention_backends import choose
from debertav3.layers.relative_position import RelativePositions, RelativeTables

pytestmark = pytest.mark.usefixtures("_keep_threads")
CLOSE = {"atol": 2e-6, "rtol": 1e-5}  # a few roundings of fp32; every number here is about 1
SMALL = RelativePositions(num_buckets=8, max_distance=32, span=8, long_inputs="clamp")
V3 = RelativePositions(num_buckets=256, max_distance=512, span=256, long_inputs="clamp")


def assert_equals_reference(
    q: Tensor, k: Tensor, v: Tensor, tables: RelativeTables | None, mask: Tensor | None = None
) -> None:
    want, allowed = attention_reference(q, k, v, tables, mask)
    got, _ = fused.fused_attention(
        q.float(), k.float(), v.float(), in_fp32(tables), mask,
        scale=q.shape[-1] ** -0.5, dropout_prob=0.0, output_attentions=False,
    )  # fmt: skip
    assert ((got.double() - want).abs() <= allowed).all()


@pytest.mark.parametrize("terms", ["c2p+p2c", "c2p", "p2c", "content"])
@pytest.mark.parametrize("length", [1, 2, 7, 64, 129, 130, 257, 512, 700])
def test_attention_equals_the_reference(compiled: library.Kernel, length: int, terms: str) -> None:
    assert_equals_reference(*attention_inputs(2, 2, length, 32, terms=terms, positions=V3))


@pytest.mark.parametrize("long_inputs", ["clamp", "transformers"])
def test_attention_of_a_long_text(compiled: library.Kernel, long_inputs: Any) -> None:
    positions = RelativePositions(num_buckets=256, max_distance=512, span=256, long_inputs=long_inputs)
    assert_equals_reference(*attention_inputs(1, 1, 2048, 64, terms="c2p+p2c", positions=positions))


@pytest.mark.parametrize(
    ("num_buckets", "max_distance"), [(0, 40), (8, 32), (8, 8), (4, 5), (256, 512), (6, 300)], ids=str
)
@pytest.mark.parametrize("length", [5, 33, 70])
def test_attention_for_every_form_of_buckets(
    compiled: library.Kernel, num_buckets: int, max_distance: int, length: int
) -> None:
    positions = RelativePositions(
        num_buckets=num_buckets,
        max_distance=max_distance,
        span=num_buckets or max_distance,
        long_inputs="clamp",
    )
    assert_equals_reference(*attention_inputs(1, 2, length, 16, terms="c2p+p2c", positions=positions))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["keys", "pairs", "pairs of a head", "nothing seen"])
def test_attention_under_masks(compiled: library.Kernel, kind: str, threads: int) -> None:
    torch.set_num_threads(threads)
    q, k, v, tables = attention_inputs(3, 2, 75, 24, terms="c2p+p2c", positions=SMALL)
    rng = torch.Generator().manual_seed(1)
    shape = {"keys": (3, 1, 1, 75), "pairs of a head": (3, 2, 75, 75)}.get(kind, (3, 1, 75, 75))
    mask = torch.rand(shape, generator=rng) > 0.4
    mask[0, ..., 40:] = False
    mask[1] = kind != "nothing seen"
    if kind != "keys":
        mask[2, :, 7] = False  # one query that sees nothing
    assert_equals_reference(q, k, v, tables, mask)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 4),
    length=st.integers(1, 150),
    width=st.integers(1, 70),
    terms=st.sampled_from(["c2p+p2c", "c2p", "p2c", "content"]),
    has_mask=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_attention_of_any_shape(
    batch: int, heads: int, length: int, width: int, terms: str, has_mask: bool, seed: int
) -> None:
    if library.kernel() is None:
        pytest.skip("there is no kernel for this processor")
    q, k, v, tables = attention_inputs(batch, heads, length, width, terms=terms, positions=SMALL, seed=seed)
    mask = None
    if has_mask:
        mask = torch.rand(batch, 1, length, length, generator=torch.Generator().manual_seed(seed)) > 0.5
    with torch.inference_mode():
        assert_equals_reference(q, k, v, tables, mask)


def test_nan_stays_nan(compiled: library.Kernel) -> None:
    q, k, v, tables = (x.float() if isinstance(x, Tensor) else x for x in
                       attention_inputs(1, 1, 40, 16, terms="content", positions=SMALL))  # fmt: skip
    k[0, 0, 3, 0] = torch.nan
    got, _ = fused.fused_attention(
        q, k, v, tables, None, scale=1.0, dropout_prob=0.0, output_attentions=False
    )
    assert got.isnan().all()


@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize("rows", [1, 31, 33, 300])
@pytest.mark.parametrize(("width", "out"), [(384, 64), (33, 70), (20, 7), (1100, 40)], ids=str)
def test_linear_equals_torch(
    compiled: library.Kernel, monkeypatch: pytest.MonkeyPatch, precision: str, rows: int, width: int, out: int
) -> None:
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: precision)
    torch.manual_seed(rows)
    linear = nn.Linear(width, out)
    x = torch.randn(2, rows, width)
    got = packed.KernelLinear(linear)(x)
    # with all three bf16 numbers as accurate as fp32; with two, 16 bits of each factor
    per_product = 0.0 if precision == "highest" else 2.0**-16
    assert_product_error(got, x, linear.weight, linear.bias, per_product=per_product)


def test_linear_refuses_what_it_cannot_do(compiled: library.Kernel) -> None:
    linear = packed.KernelLinear(nn.Linear(8, 8))
    with pytest.raises(UserError, match="width 8"):
        linear(torch.randn(2, 7))
    with pytest.raises(UserError, match="fp32"):
        linear(torch.randn(2, 8, dtype=torch.float64))
    with torch.inference_mode(False), pytest.raises(UserError, match="packed for inference"):
        linear(torch.randn(2, 8, requires_grad=True))


@pytest.mark.parametrize(
    ("changes", "threads"),
    [
        ({}, 1),
        ({}, 2),
        ({"pos_att_type": ["c2p"], "share_att_key": False}, 1),
        ({"pos_att_type": []}, 1),
        ({"conv_kernel_size": 3}, 1),
        ({"position_biased_input": True, "type_vocab_size": 2}, 1),
        ({"hidden_size": 72, "intermediate_size": 200, "num_attention_heads": 2}, 1),
        ({"hidden_act": "relu"}, 1),
    ],
    ids=["v3", "two threads", "c2p", "content", "v2", "absolute", "odd sizes", "another activation"],
)
def test_packed_models_equal_plain_ones(
    compiled: library.Kernel, changes: dict[str, Any], threads: int
) -> None:
    torch.set_num_threads(threads)
    model = random_model(DebertaV2Model, **changes)
    exact = copy.deepcopy(model).double()
    # 128 tokens a thread and more go another way than fewer; absolute positions end at 32
    many = [32] * 9 if model.config.position_biased_input else [140, 150]
    batches = [batch_for(model, lengths) for lengths in ([1], [30, 11, 1], many)]
    allowed = effect_of_rounding(model, batches)
    assert pack_for_inference(model)
    runs_whole = model.encoder.layer[0].can_run_whole(torch.zeros(1, 2, 48))
    assert runs_whole == (model.config.hidden_act == "gelu")
    for batch, most in zip(batches, allowed, strict=True):
        for inputs in (batch, {**batch, "output_hidden_states": True}):
            want, got = exact(**inputs), model(**inputs)
            assert (got.last_hidden_state - want.last_hidden_state).abs().max() <= most
        torch.testing.assert_close(got.hidden_states[0].double(), want.hidden_states[0], **CLOSE)


def test_packed_sequences_and_asked_for_attentions(compiled: library.Kernel) -> None:
    model = random_model(DebertaV2Model)
    plain = copy.deepcopy(model)
    plain.set_attention_backend("eager")
    pack_for_inference(model)
    ids = torch.randint(4, 99, (1, 20))
    part = torch.tensor([[0] * 8 + [1] * 12])
    pairs = part[:, :, None] == part[:, None, :]
    inputs = {"input_ids": ids, "attention_mask": pairs}
    torch.testing.assert_close(model(**inputs)[0], plain(**inputs)[0], atol=1e-5, rtol=1e-5)
    got, want = (one(ids, output_attentions=True) for one in (model, plain))
    torch.testing.assert_close(got.last_hidden_state, want.last_hidden_state, atol=1e-5, rtol=1e-5)
    assert len(got.attentions) == len(want.attentions)


@pytest.mark.parametrize("model_class", [DebertaV2ForSequenceClassification, DebertaV2ForMaskedLM])
def test_packed_heads_equal_plain_ones(compiled: library.Kernel, model_class: type) -> None:
    model = random_model(model_class)
    plain = copy.deepcopy(model)
    plain.set_attention_backend("eager")
    pack_for_inference(model)
    batch = batch_for(model, [25, 7])
    real = batch["attention_mask"].bool()
    got, want = model(**batch).logits, plain(**batch).logits
    if got.dim() == 3:  # what stands at padding is nobody's business
        got, want = got[real], want[real]
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-5)


def test_auto_takes_the_kernel_in_inference_only() -> None:
    if library.kernel() is None:
        pytest.skip("there is no kernel for this processor")
    x = torch.randn(1, 2, 3, 4)
    assert not fused.can_fuse(x, dropout_prob=0.0)  # gradients are on
    with torch.inference_mode():
        assert fused.can_fuse(x, dropout_prob=0.0)
        assert not fused.can_fuse(x, dropout_prob=0.1)
        assert not fused.can_fuse(x.double(), dropout_prob=0.0)
        with torch.autocast("cpu"):
            assert not fused.can_fuse(x, dropout_prob=0.0)
        assert choose(fused.BACKENDS, "auto", x).name == "fused"
        assert choose(fused.BACKENDS, "auto", x, needs_weights=True).name == "strided"
    assert choose(fused.BACKENDS, "auto", x).name == "sdpa"


def test_named_and_impossible_is_an_error() -> None:
    model = random_model(DebertaV2Model)
    model.set_attention_backend("fused")
    with pytest.raises(UserError, match="inference only"):
        model(torch.tensor([[5, 6, 7]]))


def test_a_missing_library_means_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = random_model(DebertaV2Model)
    batch = batch_for(model, [12, 5])
    with torch.inference_mode():
        want = model(**batch).last_hidden_state
    library.kernel.cache_clear()
    monkeypatch.delenv(library.VARIABLE, raising=False)
    monkeypatch.setattr(library, "library_file", lambda name: tmp_path / f"{name}.so")
    try:
        with caplog.at_level(logging.INFO), torch.inference_mode():
            assert library.kernel() is None
            plain = model(**batch).last_hidden_state
            assert pack_for_inference(model)
            got = model(**batch).last_hidden_state
    finally:
        library.kernel.cache_clear()
    assert type(model.encoder.layer[0].output.dense) is packed.PackedLinear
    assert [record.message for record in caplog.records if "CPU kernel" in record.message] != []
    for other in (plain, got):
        torch.testing.assert_close(other, want, atol=1e-5, rtol=1e-5)


@pytest.fixture
def _chooses_again() -> Iterator[None]:
    library.kernel.cache_clear()
    yield
    library.kernel.cache_clear()


@pytest.mark.usefixtures("_chooses_again")
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_environment_names_the_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_kernel(name)
    monkeypatch.setenv("DEBERTAV3_KERNEL", name)
    found = library.kernel()
    assert found is not None and found.name == name


@pytest.mark.usefixtures("_chooses_again")
def test_no_kernel_at_all_runs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBERTAV3_KERNEL", "none")
    assert library.kernel() is None
    model = random_model(DebertaV2Model)
    batch = batch_for(model, [12, 5])
    exact = copy.deepcopy(model).double()
    (allowed,) = effect_of_rounding(model, [batch])
    with torch.inference_mode():
        want = exact(**batch)[0]
        assert (model(**batch)[0] - want).abs().max() <= allowed
        assert pack_for_inference(model)
        assert (model(**batch)[0] - want).abs().max() <= allowed


@pytest.mark.usefixtures("_chooses_again")
def test_a_kernel_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBERTAV3_KERNEL", "sse")
    with pytest.raises(UserError, match=r"is 'sse'; need one of: avx512, .*avx2, .*none"):
        library.kernel()


@pytest.mark.usefixtures("_chooses_again")
def test_a_named_kernel_that_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEBERTAV3_KERNEL", "amx")
    monkeypatch.setattr(library, "library_file", lambda name: tmp_path / f"{name}.so")
    with pytest.raises(UserError, match=r"^DEBERTAV3_KERNEL is 'amx', which cannot run: .*[^\n]+$"):
        library.kernel()


def test_a_library_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    open_kernel("avx2")
    path = library_file("avx2")
    monkeypatch.setattr(library, "sources_digest", lambda: 1)
    with pytest.raises(OSError, match="was compiled from other sources: install the package again"):
        library.Kernel(path)


def test_a_struct_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    open_kernel("avx2")

    class NormArguments(ctypes.Structure):
        _fields_ = (*library.NormArguments._fields_, ("more", ctypes.c_int64))

    mirrors = [NormArguments if one is library.NormArguments else one for one in library._STRUCTS]
    monkeypatch.setattr(library, "_STRUCTS", mirrors)
    with pytest.raises(OSError, match=r"NormArguments has 16 bytes there and 24 in library\.py"):
        library.Kernel(library_file("avx2"))


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "debertav3_avx2.so"
    broken.write_bytes(b"not a library")
    with pytest.raises(OSError):
        library.Kernel(broken)


def test_no_compiler_means_no_library_and_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level(logging.WARNING):
        assert build() == []
    assert len(caplog.records) == 1
    assert "not built" in caplog.text
