"""Our models among programs that were written for the stock classes: configs, DDP, layers cut off, copies."""

import copy
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import transformers
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import debertav3.models as models
from helpers import VARIANTS, random_batch, tiny_config

HEADS = [name for name in models.__all__ if name.startswith("DebertaV2") and "PreTrained" not in name]
STOCK = [name for name in HEADS if hasattr(transformers, name)]


def build(name: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return getattr(models, name)(tiny_config(**changes)).eval()


def inputs(name: str, lengths: tuple[int, ...] = (9, 5)) -> dict[str, torch.Tensor]:
    batch = random_batch(lengths)
    return {key: x[:, None] for key, x in batch.items()} if "MultipleChoice" in name else batch


def labels(name: str) -> dict[str, torch.Tensor]:
    """Labels that the head's loss takes, for a batch of two texts of nine tokens."""
    each = torch.zeros(2, dtype=torch.int64)
    if "QuestionAnswering" in name:
        return {"start_positions": each + 1, "end_positions": each + 2}
    is_of_tokens = any(kind in name for kind in ("Token", "MaskedLM"))
    return {"labels": torch.zeros(2, 9, dtype=torch.int64) if is_of_tokens else each}


class TestConfigs:
    @pytest.mark.parametrize("attention", [None, "sdpa", "eager"])
    @pytest.mark.parametrize("name", STOCK)
    def test_a_config_that_built_ours_builds_a_stock_model(self, name: str, attention: str | None) -> None:
        config = tiny_config(attn_implementation=attention)
        ours = getattr(models, name)(config)
        assert type(getattr(transformers, name)(config)).__module__.startswith("transformers.")
        ours.set_attn_implementation("sdpa")
        getattr(transformers, name)(ours.config)

    def test_a_config_from_our_checkpoint_builds_a_stock_model(self, tmp_path: Path) -> None:
        build("DebertaV2Model").save_pretrained(tmp_path)
        opened = models.DebertaV2Model.from_pretrained(tmp_path)
        transformers.DebertaV2Model(opened.config)

    def test_the_written_out_attention_stays_chosen(self) -> None:
        config = tiny_config(attn_implementation="eager")
        model = models.DebertaV2ForMaskedLM(config)
        backends = {x.backend for x in model.modules() if hasattr(x, "backend")}
        assert backends == {"eager"} and config._attn_implementation == "eager"


class TestDistributedDataParallel:
    @pytest.fixture(autouse=True)
    def group(self, tmp_path: Path) -> Iterator[None]:
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
        yield
        dist.destroy_process_group()

    @pytest.mark.parametrize("opened", [False, True], ids=["built", "opened"])
    @pytest.mark.parametrize("name", HEADS)
    def test_every_head_trains(self, name: str, opened: bool, tmp_path: Path) -> None:
        model = build(name)
        if opened:
            model.save_pretrained(tmp_path / "saved")
            model = getattr(models, name).from_pretrained(tmp_path / "saved")
        parallel = nn.parallel.DistributedDataParallel(model.train())
        for _ in range(2):  # the second step waits for the gradients of the first
            if name == "DebertaV2Model":
                parallel(**inputs(name)).last_hidden_state.sum().backward()
            else:
                parallel(**inputs(name), **labels(name)).loss.backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["DebertaV2ForReplacedTokenDetection", "DebertaV2ForMaskedLM"])
def test_what_learns_has_a_gradient_and_what_is_never_read_is_frozen(name: str, variant: str) -> None:
    changes = VARIANTS[variant]
    if "MaskedLM" in name and changes.get("embedding_size") and not changes["position_biased_input"]:
        pytest.skip("the mask decoder refuses positions narrower than hidden states")
    model = build(name, **changes)
    batch = random_batch((9, 5), types=changes.get("type_vocab_size", 0))
    model(**batch, **labels(name)).loss.backward()
    assert all(p.requires_grad == (p.grad is not None) for p in model.parameters())


class TestLayersCutOff:
    @pytest.mark.parametrize("name", HEADS)
    def test_a_model_without_its_last_layers_equals_a_smaller_one(self, name: str) -> None:
        cut, small = build(name, num_hidden_layers=3), build(name, num_hidden_layers=2)
        small.load_state_dict(cut.state_dict(), strict=False)
        encoder = (cut if name == "DebertaV2Model" else cut.deberta).encoder
        with torch.no_grad():
            cut(**inputs(name))  # so that anything remembered would be of three layers
            encoder.layer = encoder.layer[:2]
            got, want = cut(**inputs(name)), small(**inputs(name))
            all_got = cut(**inputs(name), output_hidden_states=True)
        for ours, other in zip(got.to_tuple(), want.to_tuple(), strict=True):
            torch.testing.assert_close(ours, other, atol=0, rtol=0)
        torch.testing.assert_close(all_got[0], want[0], atol=1e-6, rtol=1e-6)


class TestCopies:
    @pytest.mark.parametrize("name", HEADS)
    @pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
    def test_a_copy_answers_the_same_and_is_its_own(self, name: str, how: str) -> None:
        model = build(name)
        with torch.no_grad():
            want = model(**inputs(name))[0]
            if how == "deepcopy":
                other = copy.deepcopy(model)
            elif how == "pickle":
                other = pickle.loads(pickle.dumps(model))
            else:
                buffer = io.BytesIO()
                torch.save(model, buffer)
                buffer.seek(0)
                other = torch.load(buffer, weights_only=False)  # our own bytes: a whole model is a pickle
            torch.testing.assert_close(other(**inputs(name))[0], want, atol=0, rtol=0)
            for parameter in other.parameters():
                parameter.zero_()
            torch.testing.assert_close(model(**inputs(name))[0], want, atol=0, rtol=0)
        assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in model.parameters()]


def seen_by(model: nn.Module, path: str, ids: torch.Tensor) -> torch.Tensor:
    """What a forward hook of a part sees in an answer, kept by reference to the end of it."""
    seen: list[Any] = []
    hook = model.get_submodule(path).register_forward_hook(lambda part, given, made: seen.append(made))
    with torch.no_grad():
        model(ids)
    hook.remove()
    made: torch.Tensor = seen[-1][0] if isinstance(seen[-1], tuple) else seen[-1]
    return getattr(made, "last_hidden_state", made)


class TestWhatNobodyReadsIsNotComputed:
    """A classifier reads one token of the last layer: the others are left out where nobody can tell."""

    def test_answers_are_equal(self) -> None:
        model, batch = build("DebertaV2ForSequenceClassification"), random_batch((9, 5))
        with torch.no_grad():
            short, whole = model(**batch), model(**batch, output_hidden_states=True)
        torch.testing.assert_close(short.logits, whole.logits, rtol=1e-5, atol=1e-6)

    def test_the_encoder_gives_one_token(self) -> None:
        model = build("DebertaV2ForSequenceClassification")
        ids = random_batch((9, 5))["input_ids"]
        with torch.no_grad():
            short = model.deberta(ids, first_token_suffices=True).last_hidden_state
            whole = model.deberta(ids).last_hidden_state
        assert short.shape[1] == 1
        torch.testing.assert_close(short, whole[:, :1], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        "path",
        ["deberta", "deberta.encoder", "deberta.encoder.layer.1", "deberta.encoder.layer.1.output.LayerNorm"],
    )
    def test_hooks_see_all_tokens(self, path: str) -> None:
        model = build("DebertaV2ForSequenceClassification")
        assert seen_by(model, path, random_batch((9, 5))["input_ids"]).shape[1] == 9

    def test_training_draws_dropout_as_ever(self) -> None:
        model = build("DebertaV2ForSequenceClassification").train()
        batch = random_batch((9, 5))
        torch.manual_seed(1)
        whole = model(**batch, output_hidden_states=True).logits
        torch.manual_seed(1)
        assert torch.equal(model(**batch).logits, whole)


class TestWhatComesBetweenTorchAndItsOperations:
    """torch.func and dispatch modes: no number may be read then, and nothing of theirs may be kept."""

    NAME = "DebertaV2ForSequenceClassification"

    def test_gradients_of_each_example_at_once(self) -> None:
        model, batch, labels = build(self.NAME, num_labels=3), random_batch((9, 5)), torch.tensor([0, 2])

        def loss(weights: Any, ids: torch.Tensor, mask: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            given = {"input_ids": ids[None], "attention_mask": mask[None], "labels": label[None]}
            made: Any = torch.func.functional_call(model, weights, (), given)
            return made.loss  # type: ignore[no-any-return]

        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0), randomness="error")
        got = each(dict(model.named_parameters()), *batch.values(), labels)
        for row in range(2):
            model.zero_grad()
            model(
                **{key: x[row : row + 1] for key, x in batch.items()}, labels=labels[row : row + 1]
            ).loss.backward()
            for name, parameter in model.named_parameters():
                torch.testing.assert_close(got[name][row], parameter.grad, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("with_gradients", [False, True])
    def test_stacked_models(self, with_gradients: bool) -> None:
        members = [getattr(models, self.NAME)(tiny_config()).eval() for _ in range(2)]
        batch = random_batch((9, 5))
        with torch.set_grad_enabled(with_gradients):
            got = torch.func.vmap(
                lambda *state: torch.func.functional_call(members[0], state, (), batch).logits
            )(*torch.func.stack_module_state(members))
            for member, logits in zip(members, got, strict=True):
                torch.testing.assert_close(logits, member(**batch).logits, atol=1e-5, rtol=1e-5)

    def test_forward_mode(self) -> None:
        model, mask = build(self.NAME).double(), random_batch((9, 5))["attention_mask"]
        states, direction = torch.randn(2, 2, 9, 48, dtype=torch.float64).unbind()
        with torch.no_grad():
            _, got = torch.func.jvp(
                lambda x: model(inputs_embeds=x, attention_mask=mask).logits, (states,), (direction,)
            )
            ends = [
                model(inputs_embeds=states + s * direction, attention_mask=mask).logits for s in (1e-6, -1e-6)
            ]
        torch.testing.assert_close(got, (ends[0] - ends[1]) / 2e-6, atol=1e-6, rtol=1e-6)

    @pytest.mark.parametrize("backend", ["auto", "sdpa", "strided"])
    def test_fake_tensors_leave_nothing_behind(self, backend: str) -> None:
        model, batch = build(self.NAME), random_batch((13, 5))
        model.set_attention_backend(backend)
        with torch.no_grad():
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                fake = model(**{key: mode.from_tensor(x) for key, x in batch.items()})
            assert fake.logits.shape == (2, 2)
            assert type(model(**batch).logits) is torch.Tensor

    def test_operations_are_counted(self) -> None:
        """All but torch's own fused attention on a CPU, which its counter leaves out."""
        model, batch = build("DebertaV2Model"), random_batch((30, 27))
        counts = []
        for backend in ("auto", "strided"):
            model.set_attention_backend(backend)
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                model(**batch)
            counts.append(counter.get_total_flops())
        assert 0.8 < counts[0] / counts[1] <= 1.0

    @pytest.mark.parametrize("backend", ["auto", "sdpa"])
    def test_defaults_for_new_tensors_change_nothing(self, backend: str) -> None:
        model, batch = build(self.NAME), random_batch((11, 5))
        model.set_attention_backend(backend)
        with torch.no_grad():
            want = model(**batch).logits
            longer = random_batch((29, 5))  # takes more memory than there is yet
            torch.set_default_dtype(torch.float64)
            try:
                with torch.device("meta"):
                    model(**longer)
                    got = model(**batch).logits
            finally:
                torch.set_default_dtype(torch.float32)
        torch.testing.assert_close(got, want, atol=0, rtol=0)
