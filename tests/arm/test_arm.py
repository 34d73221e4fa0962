"""On Arm the kernel gives what the references give, and int8 the very bits of torch (make test-arm).

An emulated machine without torch computes; references and bounds are those of the other kernel tests.
"""

import json
from pathlib import Path
from typing import Any

import compute
import emulated
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpu_kernels import (
    UNIT,
    assert_product_error,
    attention_inputs,
    attention_reference,
    effect_of_rounding,
    in_fp32,
    random_model,
)
from debertav3 import DebertaV2ForTokenClassification
from debertav3.checkpoint.folder import Checkpoint
from debertav3.checkpoint.int8 import save_int8
from debertav3.cpu.int8 import Int8Linear
from debertav3.cpu.kernel import library
from debertav3.inference.backends.native import NativeBackend
from debertav3.layers.relative_position import RelativePositions
from helpers import VARIANTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(emulated.missing() is not None, reason=str(emulated.missing())),
]
PROCESSORS = {"neon": "cortex-a53", "dotprod": "neoverse-n1", "i8mm": "max"}
"""The kernel that each processor is to get."""
TERMS = ("c2p+p2c", "c2p", "p2c", "content")
CHECKED = ("c2p-own-plain-none", "input-positions+types+narrow+conv", "absolute-types-conv", "conv-groups")
INT8_SHAPES = [(384, 64, 33), (33, 70, 31), (20, 7, 2), (1100, 40, 5), (1, 1, 1), (64, 16, 300), (130, 33, 7)]


class Cases:
    """What is computed there, and what it should give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "cases").mkdir()
        (folder / "models").mkdir()
        self.bounds: dict[str, tuple[Tensor, Tensor]] = {}  # attention: what is wanted, and how near
        self.int8: dict[str, Tensor] = {}  # to the last bit
        self.floats: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # input, weight, bias
        self.rows: dict[str, tuple[Tensor, Tensor]] = {}
        self.training: list[str] = []
        self.logits: dict[str, tuple[np.ndarray, float]] = {}

    def write(self, name: str, **arrays: Any) -> str:
        given = {key: np.asarray(value) for key, value in arrays.items() if value is not None}
        np.savez(self.folder / "cases" / f"{name}.npz", **given)
        return name

    def add_attention(
        self,
        shape: tuple[int, int, int, int],
        *,
        terms: str = "c2p+p2c",
        buckets: tuple[int, int] = (256, 512),
        mask: str = "",
    ) -> None:
        number = len(self.bounds)
        rng = torch.Generator().manual_seed(number)
        B, _, L, _ = shape
        positions = RelativePositions(
            num_buckets=buckets[0],
            max_distance=buckets[1],
            span=buckets[0] or buckets[1],
            long_inputs="clamp",
        )
        q, k, v, tables = attention_inputs(*shape, terms=terms, positions=positions, seed=number)
        seen, masks = None, {}
        if mask == "keys":
            seen = torch.rand((B, 1, 1, L), generator=rng) > 0.4
            seen[0, ..., L * 2 // 3 :] = False
            masks["key_mask"] = seen[:, 0, 0]
        elif mask == "pairs":
            seen = torch.rand((B, 1, L, L), generator=rng) > 0.4
            seen[-1, :, L // 2] = False  # a query that sees nothing
            masks["pair_mask"] = seen[:, 0]
        rounded = in_fp32(tables)
        name = self.write(
            f"attention-{number}",
            **{key: x.float().transpose(1, 2) for key, x in (("q", q), ("k", k), ("v", v))},
            key_NRH=None if rounded is None else rounded.key_NRH,
            query_NRH=None if rounded is None else rounded.query_NRH,
            positions=(positions.num_buckets, positions.max_distance, positions.span),
            **masks,
        )
        self.bounds[name] = attention_reference(q, k, v, tables, seen)

    def add_int8(self, width: int, out: int, rows: int, *, has_bias: bool) -> None:
        layer = Int8Linear.from_linear(nn.Linear(width, out, bias=has_bias))
        x = torch.randn(rows, width) * torch.logspace(-35, 30, rows)[:, None]
        x[rows // 2] = 0
        x[rows // 3, width // 2] = torch.nan
        name = self.write(
            f"linear-int8-{len(self.int8)}",
            x=x,
            weight=layer.weight,
            scale=layer.weight_scale,
            bias=layer.bias,
        )
        self.int8[name] = layer(x)

    def add_linear(self, width: int, out: int, rows: int) -> None:
        layer, x = nn.Linear(width, out), torch.randn(rows, width)
        name = self.write(f"linear-{len(self.floats)}", x=x, weight=layer.weight, bias=layer.bias)
        self.floats[name] = x, layer.weight, layer.bias

    def add_rows(self, width: int) -> None:
        x, weight, bias = torch.randn(9, width) * 4, torch.randn(width), torch.randn(width)
        name = self.write(f"norm-{width}", x=x, weight=weight, bias=bias)
        want = F.layer_norm(x.double(), (width,), weight.double(), bias.double(), 1e-7)
        self.rows[name] = want, (8 + width**0.5) * UNIT * (want.abs() + 4 * weight.abs())
        name = self.write(f"gelu-{width}", x=x)
        # the distribution's tail is small beside x: its error counts as a share of x
        self.rows[name] = F.gelu(x.double()), 8 * UNIT * x.double().abs() + 1e-8

    def add_training(self, tokens: int, *, is_bf16: bool) -> None:
        padded = -(-tokens // 16) * 16
        shapes = {"content": padded, "dused": padded, "c2p": 32, "p2c": 32}
        given = {name: torch.randn(2, padded, width) * 3 for name, width in shapes.items()}
        mask = torch.rand(2, tokens, tokens) > 0.3
        mask[0, tokens // 2] = False  # a row that may see nothing
        name = f"training-{tokens}-{'bf16' if is_bf16 else 'fp32'}"
        self.training.append(self.write(name, tokens=tokens, is_bf16=is_bf16, mask=mask, **given))

    def add_model(self, name: str, *, is_int8: bool = False, **changes: Any) -> None:
        folder = self.folder / "models" / name
        model = random_model(DebertaV2ForTokenClassification, **changes)
        model.save_pretrained(folder)
        rng = np.random.default_rng(7)
        limit = 32 if model.config.position_biased_input else 150
        for number, lengths in enumerate(([limit, 3, 17], [5, 5], [1])):
            mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
            batch = {
                "input_ids": rng.integers(1, 99, mask.shape) * mask,
                "attention_mask": mask,
                "token_type_ids": rng.integers(0, max(model.config.type_vocab_size, 1), mask.shape) * mask,
            }
            tensors = {key: torch.from_numpy(array) for key, array in batch.items()}
            (allowed,) = effect_of_rounding(model, [tensors])
            np.savez(folder / f"batch-{number}.npz", **batch)
            with torch.inference_mode():
                model.double().set_attention_backend("eager")
                self.logits[f"{name}/batch-{number}"] = model(**tensors).logits.numpy(), 2 * float(allowed)
                model.float().set_attention_backend("auto")
        if is_int8:
            weights = folder / "model.safetensors"
            save_int8(
                weights, folder / "model_int8.safetensors", kept=["deberta.encoder.layer.1.output.dense"]
            )
            weights.unlink()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    torch.manual_seed(3)
    made = Cases(tmp_path_factory.mktemp("arm"))
    with torch.no_grad():
        for length in (1, 2, 7, 64, 129, 257):
            for terms in TERMS:
                made.add_attention((2, 2, length, 32), terms=terms)
        made.add_attention((1, 1, 700, 64))
        for buckets in ((0, 40), (8, 32), (8, 8), (4, 5), (6, 300)):
            made.add_attention((1, 2, 70, 16), buckets=buckets)
        for mask in ("keys", "pairs"):
            for length in (5, 75, 140):
                made.add_attention((3, 2, length, 24), buckets=(8, 32), mask=mask)
        rng = np.random.default_rng(1)
        for _ in range(30):
            shape = tuple(int(rng.integers(1, most)) for most in (3, 4, 150, 128))
            mask = str(rng.choice(["", "keys", "pairs"]))
            made.add_attention(shape, terms=str(rng.choice(TERMS)), buckets=(8, 32), mask=mask)
        for number, shape in enumerate(INT8_SHAPES):
            made.add_int8(*shape, has_bias=number % 2 == 0)
            made.add_linear(*shape)
        for width in (1, 7, 8, 48, 385):
            made.add_rows(width)
        for tokens in (1, 7, 16, 37):
            for is_bf16 in (False, True):
                made.add_training(tokens, is_bf16=is_bf16)
    for variant in CHECKED:
        made.add_model(variant, **VARIANTS[variant])
    made.add_model("v3")
    made.add_model("wide-heads", hidden_size=256, num_attention_heads=2, intermediate_size=200)
    made.add_model("int8", is_int8=True)
    return made


@pytest.fixture(scope="module")
def build_log() -> str:
    return emulated.install()


@pytest.fixture(scope="module", params=PROCESSORS)
def computed(request: pytest.FixtureRequest, cases: Cases, build_log: str) -> str:
    """The name of a kernel that has computed all cases."""
    name = request.param
    script = emulated.REPOSITORY / "tests" / "arm" / "compute.py"
    done = emulated.run([script, cases.folder, name], cpu=PROCESSORS[name], threads=2)
    assert done.returncode == 0, done.stderr[-4000:]
    return name


def test_it_is_built_as_on_installation(build_log: str) -> None:
    names = [Path(line).stem for line in build_log.splitlines()]
    assert names == [f"debertav3_{name}" for name in PROCESSORS]


def test_attention(computed: str, cases: Cases) -> None:
    found = np.load(cases.folder / f"{computed}.npz")
    assert len(cases.bounds) > 60
    for name, (want, allowed) in cases.bounds.items():
        got = torch.from_numpy(found[name]).transpose(1, 2).double()
        assert ((got - want).abs() <= allowed).all(), name


def test_int8_to_the_last_bit(computed: str, cases: Cases) -> None:
    found = np.load(cases.folder / f"{computed}.npz")
    assert len(cases.int8) == len(INT8_SHAPES)
    for name, want in cases.int8.items():
        got = torch.from_numpy(found[name])
        torch.testing.assert_close(got, want, equal_nan=True, rtol=0, atol=0, msg=name)


def test_linear_layers_norms_and_gelu(computed: str, cases: Cases) -> None:
    found = np.load(cases.folder / f"{computed}.npz")
    for name, (x, weight, bias) in cases.floats.items():
        assert_product_error(torch.from_numpy(found[name]), x, weight, bias)
    for name, (want, allowed) in cases.rows.items():
        assert ((torch.from_numpy(found[name]).double() - want).abs() <= allowed).all(), name


def test_attention_in_training(computed: str, cases: Cases) -> None:
    """As this machine's kernel, which its own tests compare with the reference; dropout drops the same."""
    ours = library.kernel()
    if ours is None:
        pytest.skip("this machine has no kernel to compare with")
    found = np.load(cases.folder / f"{computed}.npz")
    for name in cases.training:
        want = compute.training(ours, dict(np.load(cases.folder / "cases" / f"{name}.npz")))
        assert np.array_equal(found[name] == 0, want == 0), name
        unit = 2.0**-8 if name.endswith("bf16") else 2.0**-20  # of bf16; some roundings of fp32
        np.testing.assert_allclose(found[name], want, rtol=2 * unit, atol=2 * unit, err_msg=name)


def test_whole_models(computed: str, cases: Cases) -> None:
    for key, (want, allowed) in cases.logits.items():
        model, _, batch = key.partition("/")
        if model == "int8":
            continue
        got = np.load(cases.folder / f"{computed}-{model}.npz")[batch]
        assert np.abs(got - want).max() <= allowed, key


def test_an_int8_model(computed: str, cases: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near numpy's form: attention in another order of sums makes a few integers the next ones."""
    monkeypatch.setenv(library.VARIABLE, "none")
    library.kernel.cache_clear()
    try:
        folder = cases.folder / "models" / "int8"
        plain = NativeBackend.open(Checkpoint.open(folder), task=None, device="cpu", dtype="fp32")
        assert plain.dtype == "int8"
        for file in sorted(folder.glob("batch-*.npz")):
            got = np.load(cases.folder / f"{computed}-int8.npz")[file.stem]
            want = plain.run(dict(np.load(file)))["logits"]
            real = np.load(file)["attention_mask"] > 0
            assert np.abs(got - want)[real].max() <= 0.05
    finally:
        library.kernel.cache_clear()


def test_the_variable_names_a_kernel_and_one_that_cannot_run_is_an_error(build_log: str) -> None:
    show = ["-c", "from debertav3.cpu.kernel.library import kernel; print(kernel().name)"]
    for name in PROCESSORS:
        assert emulated.run(show, cpu="max", kernel=name).stdout == f"{name}\n"
    refused = emulated.run(show, cpu=PROCESSORS["neon"], kernel="dotprod")
    assert refused.stderr.rstrip().endswith("this machine does not run dotprod. Unset it, or choose another")
    refused = emulated.run(show, cpu="max", kernel="avx2")
    assert "DEBERTAV3_KERNEL is 'avx2'; need one of: neon, dotprod, i8mm, none" in refused.stderr


def test_the_command_line_answers(build_log: str, nano: Path) -> None:
    command = ["-m", "debertav3", "nli", "--model", nano, "A man plays the guitar.", "Nobody plays music."]
    done = emulated.run(command, cpu=PROCESSORS["dotprod"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["contradiction"] > 80
