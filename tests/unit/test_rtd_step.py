"""Contract: the RTD step trains what the paper says and agrees with a plainly written float64 computation."""

import copy

import pytest
import torch
from torch.nn import functional as F
from transformers import DebertaV2Config

from debertav3.errors import UserError
from debertav3.models import DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection
from debertav3.pretrain.batches import MaskedBatch
from debertav3.pretrain.gdes import SHARINGS, share_embeddings
from debertav3.pretrain.mlm import MaskedLanguageModel
from debertav3.pretrain.networks import merged_discriminator
from debertav3.pretrain.optimization import PretrainOptimizerConfig, StepEngine
from debertav3.pretrain.rtd import (
    JointNetworks,
    JointStep,
    ReplacedTokenDetector,
    TwoPhaseStep,
    corrupt,
    detection_loss,
)
from debertav3.pretrain.settings import recipe
from debertav3.pretrain.vocabulary_loss import draw, predict_masked

TINY = {
    "vocab_size": 61, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40,
    "max_position_embeddings": 32, "position_buckets": 8, "relative_attention": True, "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
    "type_vocab_size": 0, "initializer_range": 0.3, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
LENGTH = 14


def networks(sharing: str) -> tuple[DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection]:
    torch.manual_seed(0)
    generator = DebertaV2ForMaskedLM(DebertaV2Config(**TINY, num_hidden_layers=2))
    discriminator = DebertaV2ForReplacedTokenDetection(DebertaV2Config(**TINY, num_hidden_layers=3))
    share_embeddings(discriminator.deberta.embeddings, generator.deberta.embeddings, sharing)
    return generator, discriminator


def random_batch(seed: int = 1, *, samples: int = 3, masked: int = 9) -> MaskedBatch:
    draw = torch.Generator().manual_seed(seed)
    original = torch.randint(5, TINY["vocab_size"], (samples, LENGTH), generator=draw)
    positions = torch.randperm(samples * LENGTH, generator=draw)[:masked].sort().values
    targets = original.view(-1)[positions].clone()
    original.view(-1)[positions] = 4
    uniforms = torch.rand(masked, generator=draw)
    return MaskedBatch(original, positions, targets, uniforms, None, None, None)


def table(model: torch.nn.Module) -> torch.nn.Parameter:
    return model.deberta.embeddings.word_embeddings.weight


def two_phase(sharing: str, accelerator, **optimizer: float) -> TwoPhaseStep:  # type: ignore[no-untyped-def]
    generator, discriminator = networks(sharing)
    config = PretrainOptimizerConfig(learning_rate=1e-2, warmup_steps=0, **optimizer)

    def engine(model: torch.nn.Module, name: str) -> StepEngine:
        return StepEngine(model, config, total_steps=100, accelerator=accelerator, name=name)

    return TwoPhaseStep(
        engine(MaskedLanguageModel(generator), "generator"),
        engine(ReplacedTokenDetector(discriminator), "discriminator"),
        rtd_weight=50.0,
    )


@pytest.fixture
def accelerator():  # type: ignore[no-untyped-def]
    from accelerate import Accelerator

    return Accelerator(cpu=True)


@pytest.mark.parametrize(("sharing", "expected"), [("gdes", False), ("nes", False), ("es", True)])
def test_detection_loss_reaches_the_generator_table_only_under_es(sharing: str, expected: bool) -> None:
    generator, discriminator = networks(sharing)
    batch = random_batch()
    corrupted = corrupt(batch, torch.full_like(batch.targets, 7))
    detection_loss(ReplacedTokenDetector(discriminator)(corrupted), corrupted).backward()
    assert (table(generator).grad is not None) is expected


def test_gdes_delta_starts_at_zero_and_is_trained_by_detection() -> None:
    _, discriminator = networks("gdes")
    delta = discriminator.deberta.embeddings.word_embeddings._weight
    assert not delta.any()
    batch = random_batch()
    corrupted = corrupt(batch, torch.full_like(batch.targets, 7))
    detection_loss(ReplacedTokenDetector(discriminator)(corrupted), corrupted).backward()
    assert delta.grad is not None and delta.grad[7].any()


@pytest.mark.parametrize(("sharing", "expected"), [("gdes", True), ("nes", False), ("es", True)])
def test_generator_step_moves_the_discriminator_table(sharing: str, expected: bool) -> None:
    generator, discriminator = networks(sharing)
    ids = torch.arange(5, 20)[None]
    before = discriminator.deberta.embeddings.word_embeddings(ids).detach().clone()
    with torch.no_grad():
        table(generator).add_(1.0)
    after = discriminator.deberta.embeddings.word_embeddings(ids)
    assert (not torch.equal(before, after)) is expected


@pytest.mark.parametrize("sharing", SHARINGS)
def test_merged_export_equals_the_live_discriminator(sharing: str) -> None:
    _, discriminator = networks(sharing)
    embedding = discriminator.deberta.embeddings.word_embeddings
    if sharing == "gdes":
        with torch.no_grad():
            embedding._weight.normal_()
    merged = merged_discriminator(discriminator, {}).eval()
    ids = random_batch().input_ids
    with torch.inference_mode():
        live = discriminator.eval()(ids).logits
        assert torch.equal(live, merged(ids).logits)


def test_labelled_replaced_only_where_the_drawn_token_differs() -> None:
    batch = random_batch()
    drawn = batch.targets.clone()
    drawn[::2] = 8
    corrupted = corrupt(batch, drawn)
    where = torch.zeros(batch.input_ids.numel(), dtype=torch.bool)
    where[batch.positions] = drawn != batch.targets
    assert torch.equal(corrupted.replaced.view(-1), where)
    assert torch.equal(corrupted.input_ids.view(-1)[batch.positions], drawn)
    untouched = torch.ones_like(where)
    untouched[batch.positions] = False
    assert torch.equal(corrupted.input_ids.view(-1)[untouched], batch.input_ids.view(-1)[untouched])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_follow_the_distribution(temperature: float) -> None:
    torch.manual_seed(0)
    number, words = 200_000, torch.randn(12, 6) * 1.3
    state = torch.randn(1, 6)
    uniforms = (torch.arange(number) + 0.5) / number
    targets = torch.zeros(number, dtype=torch.int64)
    drawn = predict_masked(
        state.expand(number, -1), words, torch.zeros(12), targets, uniforms, temperature
    ).drawn
    share = torch.bincount(drawn, minlength=12).double() / number
    wanted = torch.softmax((state @ words.T)[0].double() / temperature, -1)
    torch.testing.assert_close(share, wanted, atol=2e-5, rtol=0)


def test_draws_never_leave_the_vocabulary_nor_take_the_impossible() -> None:
    probability = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).expand(3, -1)
    assert draw(probability, torch.tensor([0.0, 0.5, 1 - 2**-24])).tolist() == [0, 2, 2]


@pytest.mark.parametrize("kept", [1, 2000, 1 << 28])
@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_blockwise_loss_equals_cross_entropy(rows: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("debertav3.pretrain.vocabulary_loss.MIN_ROWS", rows)
    monkeypatch.setattr("debertav3.pretrain.vocabulary_loss.CPU_NUMBERS", 1)
    monkeypatch.setattr("debertav3.pretrain.vocabulary_loss.CPU_KEPT_BYTES", kept)
    torch.manual_seed(0)
    given = [torch.randn(n, dtype=torch.float64, requires_grad=True) for n in ((10, 6), (31, 6), (31,))]
    targets = torch.randint(31, (10,))
    states, words, bias = given
    logits = states @ words.T + bias
    wanted = F.cross_entropy(logits, targets, reduction="sum")
    result = predict_masked(states, words, bias, targets, torch.rand(10), 1.0)
    torch.testing.assert_close(result.loss, wanted, atol=1e-12, rtol=1e-12)
    assert result.correct == (logits.argmax(-1) == targets).sum()
    expected = torch.autograd.grad(wanted, given)
    for ours, theirs in zip(torch.autograd.grad(3 * result.loss, given), expected, strict=True):
        torch.testing.assert_close(ours, 3 * theirs, atol=1e-12, rtol=1e-12)


def reference_step(sharing: str, batch: MaskedBatch) -> dict[str, torch.Tensor]:
    """One step in float64 with dense logits and a hand-written AdamW; shares no code with the step."""
    generator, discriminator = networks(sharing)
    generator.double(), discriminator.double()
    labels = torch.full_like(batch.input_ids, -100)
    labels.view(-1)[batch.positions] = batch.targets
    logits = generator(batch.input_ids, labels=labels).logits
    loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1), ignore_index=-100)
    probabilities = torch.softmax(logits.view(-1, logits.shape[-1])[batch.positions], -1)
    drawn = (probabilities.cumsum(-1) <= batch.uniforms.double()[:, None]).sum(-1)
    loss.backward()
    generator_norm = adamw_once(generator)
    corrupted = batch.input_ids.clone()
    corrupted.view(-1)[batch.positions] = drawn
    replaced = torch.zeros_like(corrupted, dtype=torch.float64)
    replaced.view(-1)[batch.positions] = (drawn != batch.targets).double()
    rtd = F.binary_cross_entropy_with_logits(discriminator(corrupted).logits, replaced)
    (50.0 * rtd).backward()
    discriminator_norm = adamw_once(discriminator)
    return {
        "mlm": loss.detach(), "rtd": rtd.detach(), "generator_norm": generator_norm,
        "discriminator_norm": discriminator_norm, "E_G": table(generator).detach(),
        "classifier": discriminator.mask_predictions.classifier.weight.detach(),
    }  # fmt: skip


@torch.no_grad()
def adamw_once(model: torch.nn.Module) -> torch.Tensor:
    trained = [p for p in model.parameters() if p.grad is not None]
    norm = torch.stack([p.grad.square().sum() for p in trained]).sum().sqrt()
    for p in trained:
        gradient = p.grad * min(1.0, 1.0 / (float(norm) + 1e-6))
        decay = 0.01 if p.dim() >= 2 else 0.0
        p.mul_(1 - 1e-2 * decay).sub_(1e-2 * gradient / (gradient.abs() + 1e-6))
        p.grad = None
    return norm


@pytest.mark.parametrize("sharing", ["gdes", "nes"])
@pytest.mark.parametrize("parts", [1, 3], ids=["whole", "micro-batches"])
def test_two_phase_step_agrees_with_plain_float64(sharing: str, parts: int, accelerator) -> None:  # type: ignore[no-untyped-def]
    batch = random_batch()
    wanted = reference_step(sharing, batch)
    step = two_phase(sharing, accelerator)
    for engine in step.engines.values():
        engine.model.double()
    pieces = [batch] if parts == 1 else split(batch)
    sums = step(pieces, 0)
    torch.testing.assert_close(
        sums["mlm_loss_sum"].double() / batch.num_masked, wanted["mlm"], rtol=1e-10, atol=0
    )
    torch.testing.assert_close(
        sums["rtd_loss_sum"].double() / batch.num_real, wanted["rtd"], rtol=1e-10, atol=0
    )
    for name in ("generator", "discriminator"):
        norm = sums[f"{name}_gradient_norm"].double()
        torch.testing.assert_close(norm, wanted[f"{name}_norm"], rtol=1e-10, atol=0)
    generator, discriminator = (step.engines[name].model.model for name in ("generator", "discriminator"))
    # AdamW keeps its epsilon inside a rounding of its own: Adam's first step is nearly a sign.
    torch.testing.assert_close(table(generator).double(), wanted["E_G"], rtol=0, atol=1e-9)
    classifier = discriminator.mask_predictions.classifier.weight
    torch.testing.assert_close(classifier.double(), wanted["classifier"], rtol=0, atol=1e-9)


def split(batch: MaskedBatch) -> list[MaskedBatch]:
    """One sample per micro-batch."""
    pieces = []
    for row in range(len(batch.input_ids)):
        mine = (batch.positions // LENGTH) == row
        pieces.append(
            MaskedBatch(
                batch.input_ids[row : row + 1],
                batch.positions[mine] - row * LENGTH,
                batch.targets[mine],
                batch.uniforms[mine],
                None,
                None,
                None,
            )
        )
    return pieces


def test_joint_and_two_phase_differ_only_in_the_table_the_discriminator_reads(accelerator) -> None:  # type: ignore[no-untyped-def]
    generator, discriminator = networks("es")
    joint = JointNetworks(MaskedLanguageModel(generator), ReplacedTokenDetector(discriminator))
    config = PretrainOptimizerConfig(learning_rate=1e-2, warmup_steps=0)
    engine = StepEngine(joint, config, total_steps=100, accelerator=accelerator, name="joint")
    before = table(generator).detach().clone()
    sums = JointStep(engine, rtd_weight=50.0)([random_batch()], 0)
    assert {"mlm_loss_sum", "rtd_loss_sum", "joint_gradient_norm"} <= sums.keys()
    assert not torch.equal(before, table(generator))


def test_es_needs_the_joint_step() -> None:
    with pytest.raises(UserError, match="mode=joint"):
        recipe("nano").with_overrides(["sharing=es"])
    assert recipe("nano").with_overrides(["sharing=es", "mode=joint"]).rtd.mode == "joint"


def test_gradients_that_are_not_finite_are_left_out_and_counted(accelerator) -> None:  # type: ignore[no-untyped-def]
    step = two_phase("gdes", accelerator)
    generator = step.engines["generator"].model.model
    step([random_batch()], 0)
    with torch.no_grad():
        generator.lm_predictions.lm_head.bias[3] = float("nan")
    before = copy.deepcopy(generator.state_dict())
    sums = step([random_batch()], 1)
    assert bool(sums["generator_skipped"])
    for name, tensor in generator.state_dict().items():
        torch.testing.assert_close(tensor, before[name], equal_nan=True, rtol=0, atol=0)


def test_masked_places_only_equal_the_dense_computation() -> None:
    generator, _ = networks("gdes")
    batch = random_batch()
    labels = torch.full_like(batch.input_ids, -100)
    labels.view(-1)[batch.positions] = batch.targets
    dense = generator(batch.input_ids, labels=labels).loss
    sparse = MaskedLanguageModel(generator)(batch).loss / batch.num_masked
    torch.testing.assert_close(sparse, dense, atol=1e-6, rtol=1e-6)
