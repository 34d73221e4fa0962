"""Contract: twenty RTD steps of a toy give the recorded losses; who changes the maths writes a new record.

Run this file as a script to rewrite the record.
"""

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import DebertaV2Config

from debertav3.models import DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection
from debertav3.pretrain.batches import MaskedBatch
from debertav3.pretrain.gdes import share_embeddings
from debertav3.pretrain.mlm import MaskedLanguageModel
from debertav3.pretrain.optimization import PretrainOptimizerConfig, StepEngine
from debertav3.pretrain.rtd import ReplacedTokenDetector, TwoPhaseStep

RECORD = Path(__file__).with_name("rtd_20_steps.json")
SHAPE = {
    "vocab_size": 83, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 32, "position_buckets": 8, "relative_attention": True, "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
    "type_vocab_size": 0, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
}  # fmt: skip
B, L, M, STEPS = 4, 21, 12, 20


def batch(step: int) -> MaskedBatch:
    draw = torch.Generator().manual_seed(step)
    # Every token is near the one before it, so there is something to learn.
    steps = torch.randint(-2, 3, (B, L), generator=draw)
    ids = 5 + (torch.randint(0, 78, (B, 1), generator=draw) + steps.cumsum(1)) % 78
    positions = torch.randperm(B * L, generator=draw)[:M].sort().values
    targets = ids.view(-1)[positions].clone()
    ids.view(-1)[positions] = 4
    return MaskedBatch(ids, positions, targets, torch.rand(M, generator=draw), None, None, None)


def losses() -> dict[str, list[float]]:
    torch.manual_seed(1)
    generator = DebertaV2ForMaskedLM(DebertaV2Config(**SHAPE, num_hidden_layers=2))
    discriminator = DebertaV2ForReplacedTokenDetection(DebertaV2Config(**SHAPE, num_hidden_layers=3))
    share_embeddings(discriminator.deberta.embeddings, generator.deberta.embeddings, "gdes")
    accelerator, config = Accelerator(cpu=True), PretrainOptimizerConfig(learning_rate=3e-3, warmup_steps=5)

    def engine(model: torch.nn.Module, name: str) -> StepEngine:
        return StepEngine(model.train(), config, total_steps=STEPS, accelerator=accelerator, name=name)

    step = TwoPhaseStep(
        engine(MaskedLanguageModel(generator), "generator"),
        engine(ReplacedTokenDetector(discriminator), "discriminator"),
        rtd_weight=50.0,
    )
    found: dict[str, list[float]] = {"mlm_loss": [], "rtd_loss": []}
    for number in range(STEPS):
        torch.manual_seed(number)
        sums = step([batch(number)], number)
        found["mlm_loss"].append(float(sums["mlm_loss_sum"]) / M)
        found["rtd_loss"].append(float(sums["rtd_loss_sum"]) / (B * L))
    return found


def test_twenty_steps_give_the_recorded_losses() -> None:
    record = json.loads(RECORD.read_text())
    found = losses()
    # One other draw of the generator would change a loss by per cents, rounding over 20 steps by less.
    for name in ("mlm_loss", "rtd_loss"):
        assert found[name] == pytest.approx(record[name], rel=2e-4), name
    assert found["rtd_loss"][-1] < 0.8 * found["rtd_loss"][0]


if __name__ == "__main__":
    RECORD.write_text(json.dumps({"torch": torch.__version__, **losses()}, indent=1) + "\n")
