"""Masked language modelling as one writes it with transformers' DeBERTa-v2, on the windows of `pretrain`.

No enhanced mask decoder, logits at all positions, AdamW with a linear schedule. The same samples, masks and
held-out windows as `debertav3 pretrain --objective mlm --size nano`.

Run: python benchmarks/stock_mlm.py --data SHARDS --steps 800 --out runs/stock
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch
import transformers
from torch import Tensor

from debertav3.data.samples import PretrainingData, open_windows, special_ids, vocabulary_of
from debertav3.data.shards import TokenShards
from debertav3.pretrain.batches import MaskedBatch
from debertav3.pretrain.networks import vocabulary_rows
from debertav3.pretrain.settings import recipe
from debertav3.sizes import config_for
from debertav3.tokenization import DebertaV3Tokenizer

WINDOWS, LENGTH, HELD_OUT = 32, 128, 256
RATE, WARMUP_SHARE = 1e-3, 1 / 12


def open_data(shards: Path, split: str, tokenizer: DebertaV3Tokenizer) -> PretrainingData:
    """Masked samples of a split, as the recipe of nano has them."""
    config = recipe("nano").with_overrides(["objective=mlm", f"max_length={LENGTH}"])
    windows = open_windows(
        TokenShards(str(shards), split),
        packing=config.data.packing,
        length=LENGTH,
        special=special_ids(tokenizer),
    )
    masking, vocabulary = config.masking_config(), vocabulary_of(tokenizer)
    return PretrainingData(windows, vocabulary, masking, seed=0, shuffled=split == "train")


def labels_of(batch: MaskedBatch) -> Tensor:
    """``(B, L)``: the masked tokens, -100 elsewhere."""
    labels = torch.full_like(batch.input_ids, -100)
    labels.view(-1)[batch.positions] = batch.targets
    return labels


def held_out_loss(model: torch.nn.Module, data: PretrainingData) -> float:
    """Mean loss of masked tokens on the held-out windows."""
    total, count = 0.0, 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for first in range(0, HELD_OUT, WINDOWS):
            batch = MaskedBatch.from_numpy(data.batch(range(first, first + WINDOWS)))
            loss = model(input_ids=batch.input_ids, labels=labels_of(batch)).loss
            total, count = total + float(loss) * len(batch.targets), count + len(batch.targets)
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of `debertav3 data prepare`")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = DebertaV3Tokenizer.from_pretrained(arguments.data / "tokenizer")
    train, held_out = (open_data(arguments.data, split, tokenizer) for split in ("train", "heldout"))
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = config_for("nano", vocab_size=vocabulary_rows("nano", len(tokenizer)), **dropout)
    model = transformers.DebertaV2ForMaskedLM(config).train()
    plain = [one for one in model.parameters() if one.ndim < 2]
    groups = [
        {"params": [one for one in model.parameters() if one.ndim >= 2], "weight_decay": 0.01},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-6, fused=True)
    warmup = max(round(arguments.steps * WARMUP_SHARE), 1)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, warmup, arguments.steps)
    every, seconds, curve = max(arguments.steps // 8, 1), [], []
    for step in range(arguments.steps):
        start = time.perf_counter()
        batch = MaskedBatch.from_numpy(train.batch(range(step * WINDOWS, (step + 1) * WINDOWS)))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=batch.input_ids, labels=labels_of(batch)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
        if (step + 1) % every == 0 or step + 1 == arguments.steps:
            curve.append({"step": step + 1, "heldout_mlm_loss": held_out_loss(model, held_out)})
            print(json.dumps(curve[-1]), flush=True)
    encoder = arguments.out / "encoder"
    for name, value in {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}.items():
        setattr(model.config, name, value)
    model.deberta.save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    report = {"seconds_per_step": median(seconds), "curve": curve}
    (arguments.out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
