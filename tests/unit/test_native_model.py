"""The native backend equals torch in every configuration and head, with each form of its arithmetic."""

import gc
import logging
import os
import pickle
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import debertav3
from cpu_kernels import effect_of_rounding, random_model
from debertav3 import UserError
from debertav3.checkpoint.folder import Checkpoint
from debertav3.checkpoint.int8 import save_int8
from debertav3.checkpoint.opening import expected_shapes
from debertav3.checkpoint.shapes import expected_tensors
from debertav3.cpu.int8 import Int8Linear
from debertav3.cpu.kernel import library
from debertav3.cpu.kernel.library import LayerArguments
from debertav3.cpu.native import linear as plain_linear
from debertav3.cpu.native.maths import ACTIVATION, erf
from debertav3.cpu.native.tensors import Int8Array
from debertav3.heads import BY_NAME, ENCODER, HEADS
from debertav3.inference.backends.choose import BackendConfig, open_backend
from debertav3.inference.backends.native import NativeBackend
from debertav3.inference.backends.protocol import Batch, Logits
from debertav3.layers.activations import ACTIVATION as TORCH_ACTIVATION
from debertav3.layers.config import EncoderConfig
from debertav3.models import class_of
from debertav3.models.base import read_encoder_config
from helpers import VARIANTS, tiny_config

PREDICTING = [head.name for head in HEADS if head.name != ENCODER]


@pytest.fixture(params=["kernel", "numpy"], autouse=True)
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """On the kernel that this processor gets, and in numpy alone."""
    if request.param == "numpy":
        monkeypatch.setenv(library.VARIABLE, "none")
    library.kernel.cache_clear()
    if request.param == "kernel" and library.kernel() is None:
        pytest.skip("there is no kernel for this processor, or none is wanted")
    yield request.param
    library.kernel.cache_clear()


def batch_of(lengths: list[int], *, vocab_size: int = 99, types: int = 0, masks: int = 0) -> Batch:
    rng = np.random.default_rng(7)
    shape = (len(lengths), max(lengths))
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)
    batch = {
        "input_ids": rng.integers(1, vocab_size, shape) * mask,
        "attention_mask": mask,
        "token_type_ids": rng.integers(0, max(types, 1), shape) * mask,
    }
    if masks:
        batch["masked_positions"] = rng.integers(0, min(lengths), (len(lengths), masks))
    return batch


def saved(model: Any, folder: Path) -> Checkpoint:
    model.save_pretrained(folder)
    return Checkpoint.open(folder)


def native(checkpoint: Checkpoint, task: str | None = None) -> NativeBackend:
    return NativeBackend.open(checkpoint, task=task, device="cpu", dtype="fp32")


def exact(model: Any, head: str, batch: Batch) -> Logits:
    """What a model computes, in float64 by the eager reference."""
    model.double().set_attention_backend("eager")
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    if BY_NAME[head].class_name == "DebertaV2ForMultipleChoice":
        tensors = {name: tensor[:, None] for name, tensor in tensors.items()}
    with torch.inference_mode():
        output = model(**tensors)
    return {name: output[name].numpy() for name in BY_NAME[head].outputs}


def assert_close(got: Logits, want: Logits, *, allowed: float) -> None:
    assert got.keys() == want.keys()
    for name, array in got.items():
        assert array.dtype == np.float32 and array.shape == want[name].shape
        assert np.abs(array - want[name]).max() <= allowed


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_configuration(variant: str, tmp_path: Path) -> None:
    changes = VARIANTS[variant]
    model = random_model(debertav3.DebertaV2ForTokenClassification, **changes)
    backend = native(saved(model, tmp_path))
    limit = 32 if model.config.position_biased_input else 45  # the relative table serves any length
    for lengths in ([limit, 3, 17], [5, 5], [1]):
        batch = batch_of(lengths, types=model.config.type_vocab_size)
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        (allowed,) = effect_of_rounding(model, [tensors])
        got = backend.run(batch)
        assert_close(got, exact(model, "token-classification", batch), allowed=2 * float(allowed))
        model.float().set_attention_backend("auto")


@pytest.mark.parametrize(
    ("head", "changes"),
    [
        *((head, {}) for head in PREDICTING),
        *(("sequence-classification", {"pooler_hidden_act": name}) for name in sorted(ACTIVATION)),
        ("sequence-classification", {"conv_kernel_size": 3, "num_labels": 1}),
        ("sequence-classification", {"num_hidden_layers": 1, "hidden_act": "relu"}),
        ("multiple-choice", {"type_vocab_size": 2}),
        ("token-classification", {"num_labels": 7, "hidden_size": 36, "intermediate_size": 37}),
        ("masked-lm", {"position_biased_input": True, "embedding_size": 20}),
        ("masked-lm", {"num_hidden_layers": 1, "share_att_key": False}),
        ("replaced-token-detection", {"hidden_act": "gelu_new"}),
    ],
)
def test_every_head(head: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model = random_model(class_of(head), **{"num_labels": 2, **changes})
    backend = native(saved(model, tmp_path), task=BY_NAME[head].tasks[0])
    assert (backend.head, backend.dtype) == (head, "fp32")
    batch = batch_of(
        [23, 9, 14, 1, 17, 2, 11, 20],
        types=model.config.type_vocab_size,
        masks=1 if head == "masked-lm" else 0,
    )
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    if head == "multiple-choice":
        tensors = {name: tensor[:, None] for name, tensor in tensors.items()}
    (allowed,) = effect_of_rounding(model, [tensors])
    if head == "question-answering":  # the bound is that of the first output
        allowed = 2 * allowed
    assert_close(backend.run(batch), exact(model, head, batch), allowed=2 * float(allowed))


def test_the_first_masked_lm_head_of_transformers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(1)
    model = debertav3.DebertaV2ForMaskedLM(tiny_config(), has_legacy_head=True).eval()
    backend = native(saved(model, tmp_path), task="fill-mask")
    assert "transformers' original one" in caplog.text
    batch = batch_of([12, 7], masks=3)
    assert_close(backend.run(batch), exact(model, "masked-lm", batch), allowed=1e-5)


@pytest.mark.parametrize("fault", ["missing", "another shape"])
def test_positions_that_the_input_needs_are_never_made_up(fault: str, tmp_path: Path) -> None:
    checkpoint = saved(
        random_model(debertav3.DebertaV2ForSequenceClassification, position_biased_input=True), tmp_path
    )
    table = "deberta.embeddings.position_embeddings.weight"
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[table] = tensors[table][:30].clone()
    if fault == "missing":
        del tensors[table]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"{'the weights have no ' if fault == 'missing' else ''}{table}"):
        native(Checkpoint.open(checkpoint.path), task="classify")


@pytest.mark.parametrize(("wrong", "available"), [(1, 1), (-1, 1), (3, 3)])
def test_token_types_that_are_not_there_are_one_line(wrong: int, available: int, tmp_path: Path) -> None:
    model = random_model(debertav3.DebertaV2ForSequenceClassification, type_vocab_size=available)
    backend, batch = native(saved(model, tmp_path)), batch_of([5, 3])
    batch["token_type_ids"][0, 2] = wrong
    message = f"token_type_ids has {wrong}; the model has {available} token types"
    with pytest.raises(UserError, match=message):
        backend.run(batch)
    with pytest.raises(UserError, match=message):
        model(**{name: torch.from_numpy(array) for name, array in batch.items()})


def test_masked_lm_without_positions_has_no_decoder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = saved(random_model(debertav3.DebertaV2ForMaskedLM), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["deberta.embeddings.position_embeddings.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    how = BackendConfig(backend="torch", device="cpu")
    theirs = open_backend(checkpoint, task="fill-mask", how=how)
    ours = native(Checkpoint.open(tmp_path), task="fill-mask")
    assert caplog.text.count("predicting without the enhanced mask decoder") == 2
    batch = batch_of([12, 7], masks=3)
    np.testing.assert_allclose(ours.run(batch)["logits"], theirs.run(batch)["logits"], atol=1e-3)


def test_shapes_are_those_of_the_models(arithmetic: str) -> None:
    if arithmetic == "numpy":
        return  # nothing is computed
    for variant in VARIANTS.values():
        config = tiny_config(num_labels=2, **variant)
        for head in PREDICTING:
            found = expected_tensors(read_encoder_config(config), head=head, num_labels=2)
            assert found == expected_shapes(class_of(head), config)


def test_a_batch_may_be_empty(nano: Path) -> None:
    backend = NativeBackend.open(Checkpoint.open(nano), task=None, device="cpu", dtype="fp32")
    empty = np.zeros((0, 4), np.int64)
    assert backend.run({"input_ids": empty, "attention_mask": empty})["logits"].shape == (0, 3)


def test_shapes_of_the_older_head_and_what_cannot_be_built() -> None:
    config = tiny_config()
    sizes = read_encoder_config(config)
    found = expected_tensors(sizes, head="masked-lm", num_labels=2, has_legacy_head=True)
    assert found == expected_shapes(class_of("masked-lm"), config, has_legacy_head=True)
    with pytest.raises(UserError, match="give num_labels=2"):
        expected_tensors(sizes, head="question-answering", num_labels=3)
    narrow = EncoderConfig.from_dict({**config.to_dict(), "pooler_hidden_size": 24})
    with pytest.raises(UserError, match="it must be hidden_size"):
        expected_tensors(narrow, head="sequence-classification", num_labels=3)


def test_nano_answers_as_torch_does(nano: Path) -> None:
    checkpoint = Checkpoint.open(nano)
    ours = native(checkpoint)
    theirs = open_backend(checkpoint, task="nli", how=BackendConfig(backend="torch", device="cpu"))
    for lengths in ([7], [64, 30, 2, 64], [128] * 8, [600, 12]):
        batch = batch_of(lengths, vocab_size=checkpoint.config["vocab_size"])
        np.testing.assert_allclose(ours.run(batch)["logits"], theirs.run(batch)["logits"], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_stored_otherwise_are_widened(dtype: torch.dtype, tmp_path: Path) -> None:
    model = random_model(debertav3.DebertaV2ForSequenceClassification).to(dtype)
    checkpoint = saved(model, tmp_path)
    batch = batch_of([20, 9])
    want = exact(model, "sequence-classification", batch)
    np.testing.assert_allclose(native(checkpoint).run(batch)["logits"], want["logits"], atol=1e-4)


def int8_folder(tmp_path: Path, **changes: Any) -> Checkpoint:
    source = tmp_path / "source"
    checkpoint = saved(random_model(debertav3.DebertaV2ForSequenceClassification, **changes), source)
    target = tmp_path / "int8"
    target.mkdir()
    (target / "config.json").write_text((checkpoint.path / "config.json").read_text())
    kept = ["deberta.encoder.layer.1.output.dense"]
    save_int8(source / "model.safetensors", target / "model_int8.safetensors", kept=kept)
    return Checkpoint.open(target)


@pytest.mark.parametrize("share", [True, False])
def test_int8_layers_equal_torchs_bit_by_bit(share: bool, tmp_path: Path, arithmetic: str) -> None:
    """From the same embeddings on; the relative table is that of the file, without LayerNorm."""
    checkpoint = int8_folder(tmp_path, share_att_key=share, norm_rel_ebd="none")
    ours = native(checkpoint)
    assert ours.dtype == "int8"
    theirs: Any = open_backend(checkpoint, task=None, how=BackendConfig(backend="torch", device="cpu"))
    batch = batch_of([23, 9, 14])
    mask = torch.from_numpy(batch["attention_mask"])
    with torch.inference_mode():
        body = theirs.model.deberta
        embedded = body.embeddings(torch.from_numpy(batch["input_ids"]), mask=mask.bool())
        masks = debertav3.layers.masks.AttentionMasks.read(mask)
        want = body.encoder(embedded, masks).last_hidden_state.numpy()
    got = ours.model.states(embedded.numpy(), batch["attention_mask"] > 0)
    if arithmetic == "kernel":
        assert np.array_equal(got, want)
    else:  # attention in another order of sums: a few integers are the next ones
        assert np.abs(got - want).mean() <= 1e-2 * np.abs(want).mean()
        assert np.abs(ours.run(batch)["logits"] - theirs.run(batch)["logits"]).max() <= 0.05


def test_one_int8_matmul_is_the_same_to_the_last_bit() -> None:
    torch.manual_seed(2)
    layer = Int8Linear.from_linear(torch.nn.Linear(1500, 37))
    x = torch.randn(5, 3, 1500)
    x[0, 0] = 0
    ours = plain_linear.Linear(
        Int8Array(layer.weight.numpy(), layer.weight_scale.numpy()), layer.bias.numpy()
    )
    with torch.no_grad():
        assert np.array_equal(ours(x.numpy()), layer(x).numpy())


def test_tables_outlive_the_call_that_reads_them(
    tmp_path: Path, arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if arithmetic == "numpy":
        pytest.skip("numpy holds what it reads")
    backend = native(saved(random_model(debertav3.DebertaV2ForSequenceClassification), tmp_path))
    backend.run(batch_of([5]))  # makes the first tables
    layer = backend.model.encoder.layers[0]
    (_, tables), compiled, seen = layer._served, layer._kernel, []
    read = weakref.ref(tables.keys)
    del tables

    class Threaded:
        """The kernel; during its call another thread makes tables for longer texts."""

        more_rows, crew = compiled.more_rows, compiled.crew

        def layer(self, arguments: LayerArguments) -> None:
            layer._served = (1 << 20, None)
            gc.collect()
            seen.append(read() is not None)
            compiled.layer(arguments)

    monkeypatch.setattr(layer, "_kernel", Threaded())
    backend.run(batch_of([5]))
    assert seen == [True]


def test_activations_are_torchs() -> None:
    x = torch.linspace(-12, 12, 4001)
    assert ACTIVATION.keys() == TORCH_ACTIVATION.keys()
    for name, function in ACTIVATION.items():
        want = TORCH_ACTIVATION[name](x.double()).numpy()
        np.testing.assert_allclose(function(x.numpy()), want, atol=2e-6, err_msg=name)
    np.testing.assert_allclose(erf(x.numpy()), torch.erf(x.double()).numpy(), atol=5e-7)


def test_pickles_open_the_checkpoint_again(nano: Path) -> None:
    backend = native(Checkpoint.open(nano))
    batch = batch_of([12, 7])
    copied = pickle.loads(pickle.dumps(backend))
    assert np.array_equal(copied.run(batch)["logits"], backend.run(batch)["logits"])


def test_what_it_does_not_take_is_said_in_one_line(nano: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(nano)
    for how, message in (
        ({"dtype": "bf16"}, "computes in fp32 and int8; got dtype 'bf16'"),
        ({"device": "cuda"}, "runs on the CPU; got device 'cuda'"),
        ({"task": "ner"}, "needs a token-classification head"),
    ):
        with pytest.raises(UserError, match=message):
            NativeBackend.open(checkpoint, **{"task": None, "device": "auto", "dtype": "fp32", **how})
    model = random_model(debertav3.DebertaV2ForSequenceClassification)
    folder = saved(model, tmp_path).path
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"it reads safetensors.* Use --backend torch"):
        native(Checkpoint.open(folder))


def test_damaged_checkpoints_are_refused_as_torch_refuses_them(tmp_path: Path) -> None:
    checkpoint = saved(random_model(debertav3.DebertaV2ForSequenceClassification), tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    for changed in (
        {name: tensor for name, tensor in whole.items() if "layer.1.output.dense.bias" not in name},
        {name: tensor for name, tensor in whole.items() if not name.startswith("pooler.")},
        whole | {"deberta.encoder.layer.0.output.dense.weight": torch.zeros(4, 4)},
        whole | {"classifier.weight": torch.zeros(2, 48, dtype=torch.int32)},
        whole | {"classifier.proj.weight": torch.zeros(2, 48)},
    ):
        save_file(changed, tmp_path / "model.safetensors", metadata={"format": "pt"})
        messages = []
        for backend in ("native", "torch"):
            with pytest.raises(UserError) as raised:
                open_backend(Checkpoint.open(checkpoint.path), task=None, how=BackendConfig(backend=backend))
            messages.append(str(raised.value))
        assert messages[0] == messages[1]


def test_numpy_says_that_it_computes(nano: Path, caplog: pytest.LogCaptureFixture, arithmetic: str) -> None:
    with caplog.at_level(logging.INFO):
        native(Checkpoint.open(nano))
    assert ("without the CPU kernel, numpy computes" in caplog.text) == (arithmetic == "numpy")


WITHOUT_TORCH = """
import sys, threading, os
import numpy as np
from debertav3 import Predictor
predictor = Predictor.from_pretrained(sys.argv[1], backend="native")
pairs = [("A man is asleep on a bench." * n, "Nobody is awake.") for n in range(1, 9)]
want = predictor.nli(pairs)
found = []
threads = [threading.Thread(target=lambda: found.append(predictor.nli(pairs))) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert found == [want] * 4
if hasattr(os, "fork"):  # a child has none of its parent's threads
    child = os.fork()
    if child == 0:
        os._exit(0 if predictor.nli(pairs) == want else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
heavy = {"torch", "transformers", "scipy", "sklearn", "pandas", "onnxruntime", "openvino"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
print(want[0])
"""


@pytest.mark.parametrize("threads", ["1", "3"])
def test_it_answers_without_torch_on_threads_of_its_own(
    nano: Path, threads: str, arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if arithmetic == "numpy" and threads != "1":
        return  # those are numpy's own
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    command = [sys.executable, "-c", WITHOUT_TORCH, str(nano)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{'entailment'")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
def test_a_packed_model_leaves_its_file(nano: Path, arithmetic: str) -> None:
    """What was packed is not in memory twice; of the word embeddings only rows that are met are read."""
    backend = native(Checkpoint.open(nano))
    backend.run(batch_of([9, 4]))
    weights = nano / "model.safetensors"
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    resident = 0
    for line in lines:
        if line.endswith(str(weights)):
            resident += int(next(one for one in lines if one.startswith("Rss:")).split()[1]) * 1024
    assert 0 < resident < weights.stat().st_size / 4


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be written there")
@pytest.mark.parametrize("change", ["numbers", "length"])
def test_a_file_that_is_overwritten_in_use_is_not_read_on(nano: Path, tmp_path: Path, change: str) -> None:
    folder = Path(shutil.copytree(nano, tmp_path / "model"))
    weights = folder / "model.safetensors"
    backend = native(Checkpoint.open(folder))
    backend.run(batch_of([9, 4]))
    renamed = Path(shutil.copy(weights, tmp_path / "new"))
    renamed.replace(weights)  # a new file of the same name: the old one is still mapped
    backend.run(batch_of([9, 4]))
    backend = native(Checkpoint.open(folder))
    with weights.open("r+b") as stream:
        if change == "numbers":
            stream.seek(-4, os.SEEK_END)
            stream.write(b"\x00\x00\x00\x00")
        else:
            stream.truncate(1000)
    os.utime(weights, (1, 1))  # clocks of file systems are coarse
    with pytest.raises(UserError, match="was overwritten while it is in use"):
        backend.run(batch_of([9, 4]))
