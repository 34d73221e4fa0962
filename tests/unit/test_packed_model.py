"""A model packed for inference equals the plain one, notices who looks inside, and refuses to be changed."""

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cpu_kernels import batch_for, effect_of_rounding, random_model
from debertav3 import DebertaV2ForSequenceClassification, DebertaV2Model
from debertav3.cpu import attention
from debertav3.cpu.encoder import PackedEncoder
from debertav3.cpu.int8 import Int8Linear
from debertav3.cpu.kernel import library
from debertav3.cpu.pack import pack_for_inference
from debertav3.errors import UserError


@pytest.fixture(params=["kernel", "none"])
def _with_and_without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With the kernel that this processor gets, and with torch alone."""
    if request.param == "none":
        monkeypatch.setenv(library.VARIABLE, "none")
    elif library.kernel() is None:
        pytest.skip("there is no kernel for this processor, or none is wanted")
    library.kernel.cache_clear()
    yield
    library.kernel.cache_clear()


pytestmark = pytest.mark.usefixtures("_with_and_without")


def packed_and_plain(model_class: type = DebertaV2Model, **changes: Any) -> tuple[Any, Any]:
    plain = random_model(model_class, **changes)
    packed = copy.deepcopy(plain)
    assert pack_for_inference(packed)
    return packed, plain


def answer(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**batch)[0][batch["attention_mask"].bool()]


def assert_equal_answers(packed: Any, plain: Any, batch: dict[str, Tensor]) -> None:
    (allowed,) = effect_of_rounding(plain, [batch])
    assert (answer(packed, batch) - answer(plain, batch)).abs().max() <= 2 * allowed


@pytest.mark.parametrize("length", [1, 5, 31, 33, 70])  # the tables have 32 positions
def test_it_equals_the_plain_one_at_all_lengths(length: int) -> None:
    packed, plain = packed_and_plain()
    assert type(packed.encoder) is PackedEncoder
    assert_equal_answers(packed, plain, batch_for(plain, [length, 1]))


def test_a_hook_inside_is_called_and_obeyed() -> None:
    packed, plain = packed_and_plain()
    batch = batch_for(plain, [9, 4])
    answer(packed, batch)
    for path in ("layer.0.attention.self.query_proj", "layer.1.output", "layer.1.attention.output.LayerNorm"):
        for model in (packed, plain):
            model.encoder.get_submodule(path).register_forward_hook(lambda module, inputs, out: 1.5 * out)
        assert_equal_answers(packed, plain, batch)


def test_a_patched_forward_is_obeyed() -> None:
    packed, plain = packed_and_plain()
    batch = batch_for(plain, [9, 4])
    answer(packed, batch)
    for model in (packed, plain):
        module = model.encoder.layer[0].intermediate
        module.forward = lambda x, old=module.forward: 1.5 * old(x)
    torch.testing.assert_close(answer(packed, batch), answer(plain, batch), atol=1e-4, rtol=1e-4)


def test_global_hooks_see_the_modules() -> None:
    packed, plain = packed_and_plain()
    seen = set()
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.add(id(module)))
    try:
        answer(packed, batch_for(plain, [4]))
    finally:
        handle.remove()
    assert id(packed.encoder.layer[0].attention.self.query_proj) in seen


def test_global_hooks_see_each_projection_in_mixed_precision_training() -> None:
    plain = packed_and_plain()[1].train()
    seen = set()
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.add(id(module)))
    try:
        with torch.autocast("cpu", torch.bfloat16):
            plain(**batch_for(plain, [4]))
    finally:
        handle.remove()
    assert id(plain.encoder.layer[0].attention.self.value_proj) in seen


def test_norms_written_in_place_are_read() -> None:
    packed, plain = packed_and_plain()
    batch = batch_for(plain, [9, 4])
    answer(packed, batch)
    for model in (packed, plain):
        model.encoder.layer[1].output.LayerNorm.weight.data.mul_(3)
    assert_equal_answers(packed, plain, batch)


def test_dropout_that_is_switched_on_is_obeyed() -> None:
    packed, plain = packed_and_plain(attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.5)
    batch = batch_for(plain, [9, 4])
    quiet = answer(packed, batch)
    packed.encoder.layer[0].attention.self.dropout.train()
    assert not torch.equal(answer(packed, batch), quiet)
    packed.encoder.layer[0].attention.self.dropout.eval()
    assert torch.equal(answer(packed, batch), quiet)
    packed.encoder.layer[0].attention.self.pos_dropout.train()  # of the relative table
    assert not torch.equal(answer(packed, batch), quiet)


def test_other_attention_backends_and_weights() -> None:
    packed, plain = packed_and_plain()
    batch = batch_for(plain, [9, 4])
    for name in ("eager", "strided", "sdpa", "auto"):
        packed.set_attention_backend(name)
        assert_equal_answers(packed, plain, batch)
    with torch.no_grad():
        got, want = (model(**batch, output_attentions=True).attentions for model in (packed, plain))
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "train": lambda model: model.train(),
    "double": lambda model: model.double(),
    "half": lambda model: model.to(torch.bfloat16),
    "meta": lambda model: model.to("meta"),
    "save": lambda model: model.state_dict(),
    "load": lambda model: model.load_state_dict(random_model(DebertaV2Model).state_dict()),
    "load part": lambda model: model.encoder.load_state_dict({}, strict=False),
    "table": lambda model: setattr(model.encoder, "rel_embeddings", nn.Embedding(2, 2)),
    "layers": lambda model: setattr(model.encoder, "layer", nn.ModuleList()),
    "linear": lambda model: setattr(model.encoder.layer[0].output, "dense", nn.Linear(1, 1)),
    "weight": lambda model: setattr(
        model.encoder.layer[0].attention.self.key_proj, "weight", nn.Parameter(torch.ones(1))
    ),
    "child": lambda model: model.encoder.set_submodule("layer.0.intermediate", nn.Identity()),
    "add": lambda model: model.encoder.layer[0].add_module("adapter", nn.Identity()),
    "delete": lambda model: delattr(model.encoder.layer[0], "output"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_refused_in_one_line(change: str) -> None:
    packed, _ = packed_and_plain()
    with pytest.raises(UserError, match=r"packed for inference and cannot be .*; open the checkpoint again"):
        CHANGES[change](packed)


@pytest.mark.parametrize("of", ["head", "body"])
@pytest.mark.parametrize("change", ["train", "half", "double", "meta", "load"])
def test_a_refused_change_changes_nothing(change: str, of: str) -> None:
    packed, plain = packed_and_plain(DebertaV2ForSequenceClassification)
    changed, same = (packed, plain) if of == "head" else (packed.deberta, plain.deberta)
    changes: dict[str, Callable[[], object]] = {
        "train": lambda: changed.train(),
        "half": lambda: changed.half(),
        "double": lambda: changed.to(torch.float64),
        "meta": lambda: changed.to("meta"),
        "load": lambda: changed.load_state_dict({name: x + 1 for name, x in same.state_dict().items()}),
    }
    before = [(weight, weight.clone()) for weight in packed.parameters()]
    with pytest.raises(UserError, match="packed for inference and cannot be"):
        changes[change]()
    for (kept, values), weight in zip(before, packed.parameters(), strict=True):
        assert weight is kept and torch.equal(weight, values) and weight.dtype == torch.float32
    assert not any(module.training for module in packed.modules())


def test_a_copy_guards_itself() -> None:
    packed, _ = packed_and_plain()
    for copied in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        with pytest.raises(UserError, match="cannot be trained"):
            copied.train()
        assert not copied.training and not packed.training


def test_saving_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    packed, plain = packed_and_plain()
    plain.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    packed.config.id2label = {0: "other"}
    with pytest.raises(
        UserError, match="packed for inference and cannot be saved; open the checkpoint again"
    ):
        packed.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["blockwise", "flash"])
def test_a_backend_that_packed_layers_lack_becomes_auto(name: str) -> None:
    plain = random_model(DebertaV2Model)
    packed = copy.deepcopy(plain)
    packed.set_attention_backend(name)
    assert pack_for_inference(packed)
    batch = batch_for(plain, [9, 4])
    assert_equal_answers(packed, plain, batch)
    with torch.no_grad():
        weights = packed(**batch, output_attentions=True).attentions
    assert len(weights) == 2
    with pytest.raises(UserError, match=f"attention backend '{name}' does not exist"):
        packed.set_attention_backend(name)
    assert_equal_answers(packed, plain, batch)


@pytest.mark.parametrize("limit", ["LONGEST", "LARGEST_WIDTH"])
def test_auto_does_without_the_kernel_beyond_its_limits(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, plain = packed_and_plain()
    batch = batch_for(plain, [9, 4])
    want = answer(plain, batch)
    monkeypatch.setattr(attention, limit, 8)  # tokens, or numbers of a head: less than there are
    for model in (packed, plain):
        torch.testing.assert_close(answer(model, batch), want, atol=1e-4, rtol=1e-4)


def test_what_changes_nothing_is_allowed() -> None:
    packed, plain = packed_and_plain()
    batch = batch_for(plain, [9, 4])
    before = answer(packed, batch)
    packed.eval().float().to("cpu").requires_grad_(False)
    assert torch.equal(answer(packed, batch), before)
    del packed.encoder.layer[-1]
    plain.encoder.layer = plain.encoder.layer[:-1]
    assert_equal_answers(packed, plain, batch)


def test_a_replaced_layer_is_an_error() -> None:
    packed, plain = packed_and_plain()
    packed.encoder.layer[0] = plain.encoder.layer[0]
    with pytest.raises(UserError, match="one of its layers was replaced"):
        answer(packed, batch_for(plain, [4]))


def test_traces_and_exports_are_refused() -> None:
    packed, plain = packed_and_plain()
    batch = batch_for(plain, [4])
    with pytest.raises(UserError, match="cannot be traced, compiled or exported"), torch.no_grad():
        torch.jit.trace(packed, (batch["input_ids"],), strict=False)
    with pytest.raises(UserError, match="cannot be traced, compiled or exported"):
        torch.export.export(packed, (batch["input_ids"],))


@pytest.mark.parametrize("is_int8", [False, True])
def test_copies_and_pickles_answer_alike(is_int8: bool) -> None:
    plain = random_model(DebertaV2ForSequenceClassification)
    if is_int8:
        for name, linear in list(plain.deberta.encoder.named_modules()):
            if type(linear) is nn.Linear:
                plain.deberta.encoder.set_submodule(name, Int8Linear.from_linear(linear))
    assert pack_for_inference(plain)
    batch = batch_for(plain, [9, 4])
    with torch.no_grad():
        want = plain(**batch).logits
        assert torch.equal(copy.deepcopy(plain)(**batch).logits, want)
        assert torch.equal(pickle.loads(pickle.dumps(plain))(**batch).logits, want)


def test_a_pickle_for_another_kernel_is_refused() -> None:
    compiled = library.kernel()
    if compiled is None:
        pytest.skip("oneDNN's layout is made again")
    packed, _ = packed_and_plain()
    content = pickle.dumps(packed)
    library.kernel.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(library.VARIABLE, "none")
        with pytest.raises(UserError, match=f"packed for {compiled.name}.*open the checkpoint again"):
            pickle.loads(content)


@pytest.mark.parametrize("how", ["hook", "patch", "adapter", "bf16"])
def test_what_may_change_is_left_as_it_is(how: str) -> None:
    model = random_model(DebertaV2Model)
    dense = model.encoder.layer[0].output.dense
    if how == "hook":
        dense.register_forward_hook(lambda *_: None)
    elif how == "patch":
        dense.forward = dense.forward
    elif how == "adapter":
        model.encoder.layer[0].output.dense = nn.Sequential(dense)
    else:
        model.bfloat16()
    assert not pack_for_inference(model)
    assert type(model.encoder) is not PackedEncoder
    answer(model, batch_for(model, [4]))


def test_an_encoder_alone_has_no_place() -> None:
    with pytest.raises(UserError, match="pass the model that contains it"):
        pack_for_inference(random_model(DebertaV2Model).encoder)
