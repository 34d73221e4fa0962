"""Contract: what the log says is what it names: scores, cosines, operations, learning rates."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from debertav3.data.masking_config import STRATEGIES
from debertav3.data.samples import Batch
from debertav3.errors import UserError
from debertav3.models import DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection
from debertav3.pretrain.batches import MaskedBatch
from debertav3.pretrain.diagnostics import average_cosine, derived
from debertav3.pretrain.flops import detection_flops, masked_lm_flops, measured_rate
from debertav3.pretrain.mlm import MaskedLanguageModel
from debertav3.pretrain.optimization import PretrainOptimizerConfig, build_optimizer, learning_rate
from debertav3.pretrain.rtd import ReplacedTokenDetector, corrupt, detection_counts, detection_loss
from debertav3.pretrain.run import evaluate
from debertav3.pretrain.settings import PretrainConfig, recipe
from debertav3.sizes import SIZES, config_for, raw_config


def test_average_cosine_is_the_mean_over_pairs() -> None:
    torch.manual_seed(0)
    table = torch.randn(40, 7) + 0.5
    table[3] = 0
    rows = torch.nn.functional.normalize(table[table.norm(dim=-1) > 0].double(), dim=-1)
    cosine = rows @ rows.T
    wanted = float((cosine.sum() - cosine.trace()) / (39 * 38))
    assert average_cosine(table) == pytest.approx(wanted, abs=1e-7)
    assert average_cosine(torch.ones(5, 3)) == pytest.approx(1.0)
    assert average_cosine(torch.zeros(5, 3)) == 0.0


def test_scores_equal_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(0)
    said, truth = torch.rand(500) < 0.3, torch.rand(500) < 0.2
    sums = {
        "real": 500.0, "replaced": float(truth.sum()), "said_replaced": float(said.sum()),
        "found": float((said & truth).sum()), "rtd_loss_sum": 100.0,
    }  # fmt: skip
    figures = derived(sums)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, said, average="binary")
    assert figures["rtd_precision"] == pytest.approx(precision)
    assert figures["rtd_recall"] == pytest.approx(recall)
    assert figures["rtd_f1"] == pytest.approx(f1)
    assert figures["rtd_accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    assert figures["rtd_accuracy_all_original"] == pytest.approx(1 - truth.float().mean().item())
    assert figures["rtd_loss"] == pytest.approx(0.2)


class NumberedWindows:
    """Windows whose only token is their own number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def batch(self, indices: Any) -> Batch:
        ids, places = np.array(indices), np.arange(len(indices))
        return Batch(ids[0], ids[:, None], None, places, ids, np.zeros(len(indices)))


class CountingStep:
    """A step whose loss is the number of the window."""

    def __init__(self) -> None:
        self.engines: dict[str, Any] = {}
        self.calls = 0

    def evaluate(self, batch: MaskedBatch) -> dict[str, torch.Tensor]:
        self.calls += 1
        loss = batch.input_ids.sum().float()
        return {"masked": torch.tensor(batch.num_masked), "mlm_loss_sum": loss, "generator_correct": loss}


@pytest.mark.parametrize("windows", [1, 2, 3, 7])
def test_validation_takes_every_window_once_and_processes_stay_in_step(windows: int) -> None:
    """Processes that call or exchange unequally often wait for each other forever."""
    config = recipe("nano").changed(micro_batch_size=2, validation_windows=7)
    for processes in (1, 2, 4):
        exchanged: list[list[float]] = []
        calls = set()
        for rank in range(processes):
            step, given = CountingStep(), []

            def reduce(value: torch.Tensor, how: str, given: list[float] = given) -> torch.Tensor:
                given.append(float(value))
                return value

            accelerator: Any = SimpleNamespace(
                process_index=rank, num_processes=processes, device=torch.device("cpu"), reduce=reduce
            )
            evaluate(step, NumberedWindows(windows), config, accelerator)  # type: ignore[arg-type]
            exchanged.append(given)
            calls.add(step.calls)
        assert len(calls) == 1
        masked, loss, _ = np.sum(exchanged, axis=0)
        assert (masked, loss) == (windows, sum(range(windows)))


def masked_batch(length: int, samples: int, masked: int, vocab_size: int) -> MaskedBatch:
    ids = torch.randint(5, vocab_size, (samples, length))
    positions = (torch.arange(samples)[:, None] * length + torch.arange(1, masked + 1) * 6).flatten()
    return MaskedBatch(ids, positions, ids.view(-1)[positions], torch.rand(len(positions)), None, None, None)


def test_operations_are_those_that_torch_counts() -> None:
    length, samples, masked = 96, 8, 14
    batch = masked_batch(length, samples, masked, 2000)
    shape = {"vocab_size": 2000, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    generator = DebertaV2ForMaskedLM(config_for("nano", **shape, num_hidden_layers=3))
    detector = DebertaV2ForReplacedTokenDetection(config_for("nano", **shape, num_hidden_layers=2))
    for model in (generator, detector):
        model.set_attention_backend("blockwise")
    with FlopCounterMode(display=False) as counted:
        MaskedLanguageModel(generator)(batch).loss.backward()
    wanted = masked_lm_flops(generator.config.to_dict(), length=length, mask_prob=masked / length)
    assert counted.get_total_flops() / (length * samples) == pytest.approx(wanted, rel=0.12)
    corrupted = corrupt(batch, batch.targets)
    with FlopCounterMode(display=False) as counted:
        detection_loss(ReplacedTokenDetector(detector)(corrupted), corrupted).backward()
    wanted = detection_flops(detector.config.to_dict(), length=length)
    # Torch also counts the projection of the relative table, which is per batch and not per token.
    assert counted.get_total_flops() / (length * samples) == pytest.approx(wanted, rel=0.3)


def test_the_rate_of_the_machine_is_a_positive_number() -> None:
    assert 1e8 < measured_rate(torch.device("cpu"), torch.float32) < 1e15


def test_padding_counts_nowhere() -> None:
    batch = masked_batch(8, 2, 1, 50)
    segments = torch.tensor([[0] * 8, [0] * 4 + [-1] * 4])
    padded = MaskedBatch(
        batch.input_ids, batch.positions[:1], batch.targets[:1], batch.uniforms[:1], segments, None, None
    )
    corrupted = corrupt(padded, padded.targets)
    logits = torch.full((2, 8), 3.0)
    loss = detection_loss(logits, corrupted)
    counts = detection_counts(logits, corrupted, loss)
    assert int(counts["real"]) == 12 and int(counts["said_replaced"]) == 12
    assert float(loss) == pytest.approx(12 * float(torch.nn.functional.softplus(torch.tensor(3.0))))


def test_learning_rate_rises_and_falls_in_lines() -> None:
    config = PretrainOptimizerConfig(learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate(config, step, 12) for step in range(13)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0 and rates[8] == 0.5 and rates[12] == 0.0
    assert learning_rate(PretrainOptimizerConfig(learning_rate=1.0, warmup_steps=0), 0, 10) == 1.0


def test_biases_and_norms_do_not_decay_and_delta_does() -> None:
    from debertav3.pretrain.networks import build_networks

    networks = build_networks(recipe("nano").with_overrides(["generator_layers=1"]), 12001, None)
    assert networks.discriminator is not None
    optimizer = build_optimizer(networks.discriminator, PretrainOptimizerConfig())
    groups = {group["weight_decay"]: {id(p) for p in group["params"]} for group in optimizer.param_groups}
    for name, parameter in networks.discriminator.named_parameters():
        is_vector = name.endswith("bias") or "LayerNorm" in name
        if "position_embeddings" in name:
            assert not any(id(parameter) in group for group in groups.values())  # V3 reads no positions there
        else:
            assert id(parameter) in groups[0.0 if is_vector else 0.01], name


@pytest.mark.parametrize("size", [name for name in SIZES if not name.startswith("v2")])
def test_recipes_exist_for_every_size_and_follow_the_paper(size: str) -> None:
    config = recipe(size)
    assert config.resolved()["masking"] in STRATEGIES
    if size != "nano":
        assert (config.data.batch_size, config.loop.max_steps, config.data.max_length) == (8192, 500_000, 512)
        assert config.optimizer.warmup_steps == 10_000
        assert config.optimizer.learning_rate == (3e-4 if size == "large" else 6e-4)
        assert (config.optimizer.adam_beta1, config.optimizer.adam_beta2) == (0.9, 0.98)
        assert (config.optimizer.adam_epsilon, config.optimizer.weight_decay) == (1e-6, 0.01)
        assert (config.rtd.weight, config.rtd.sharing, config.rtd.mode) == (50.0, "gdes", "two-phase")


def test_overrides_are_typed_and_name_the_nearest_key() -> None:
    config = recipe("base").with_overrides(
        ["learning_rate=5e-4", "max_steps=10", "precision=fp32", "compile=true", "generator_layers=null"],
    )
    assert (config.optimizer.learning_rate, config.loop.max_steps, config.compute.precision) == (
        5e-4,
        10,
        "fp32",
    )
    assert config.compute.compile is True and config.rtd.generator_layers is None
    with pytest.raises(UserError, match="Did you mean 'mask_prob'"):
        config.with_overrides(["maskprob=0.2"])
    for wrong in ("max_steps=many", "compile=3", "steps", "sharing=all", "dropout=1.5", "learning_rate=fast"):
        with pytest.raises(UserError):
            config.with_overrides([wrong])
    with pytest.raises(UserError, match="unknown model size"):
        recipe("huge")


def test_mlm_masks_as_the_official_code_does_for_mlm() -> None:
    assert not PretrainConfig(objective="mlm").masking_config().always_mask
    assert PretrainConfig().masking_config().always_mask


def test_masking_is_the_official_one_of_the_objective_where_none_is_named() -> None:
    for objective, wanted in (("rtd", "windowed"), ("mlm", "ngram")):
        config = recipe("base").with_overrides([f"objective={objective}"])
        assert config.masking_config().strategy == config.identity()["masking"] == wanted
        assert recipe("nano").with_overrides([f"objective={objective}"]).resolved()["masking"] == "unbiased"
        named = config.with_overrides(["masking=whole-word"])
        assert named.masking_config().strategy == "whole-word"


@pytest.mark.parametrize(
    "setting",
    ["max_steps=0", "micro_batch_size=0", "generator_layers=0", "save_every_steps=0", "save_total_limit=0",
     "max_skipped_steps=0", "exchange_timeout_seconds=0", "warmup_steps=-5", "loader_workers=-1",
     "validation_windows=-3", "rtd_weight=-1", "rtd_weight=0", "weight_decay=-0.1", "max_grad_norm=-1",
     "learning_rate=.inf", "learning_rate=.nan", "discriminator_learning_rate=0", "adam_epsilon=0",
     "adam_beta1=1.5", "adam_beta2=1", "temperature=0", "mask_prob=0", "masking=all", f"seed={2**64}",
     "size=huge", "packing=[a"],
)  # fmt: skip
def test_impossible_settings_are_refused_before_anything_begins(setting: str) -> None:
    with pytest.raises(UserError):
        recipe("nano").with_overrides([setting])


def test_generator_has_half_the_depth_and_the_same_width() -> None:
    from debertav3.pretrain.networks import build_networks

    networks = build_networks(recipe("nano"), 12001, None)
    assert networks.generator.config.num_hidden_layers == raw_config("nano")["num_hidden_layers"] // 2
    assert networks.generator.config.hidden_size == raw_config("nano")["hidden_size"]
