"""How fast is a step of replaced token detection beside the same step on stock models? In how much memory?

Stock: transformers' DeBERTa-v2 classes, one row of the batch for each text and padding, logits over the
vocabulary at all places, `torch.multinomial`, the table of the discriminator summed from generator and delta.
(Stock has no enhanced mask decoder, which costs ours one more pass through the last layer of the generator.)
Ours: `debertav3.pretrain`, the same texts packed. Same sizes, same optimizer (fused AdamW), same precision;
tokens per second count real tokens only. Steps alternate in one process; peak memory is that of a process for
each. Utilization is the share of the rate of matrix products that the same process measures.

Run: python benchmarks/pretrain_speed.py --data SHARDS --size nano --length 128 --windows 32 --threads 2
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from debertav3.data.samples import PretrainingData, open_windows, special_ids, vocabulary_of
from debertav3.data.shards import TokenShards
from debertav3.layers.heads import ReplacedTokenHead
from debertav3.pretrain.batches import MaskedBatch
from debertav3.pretrain.build_step import build_step
from debertav3.pretrain.flops import detection_flops, masked_lm_flops, measured_rate
from debertav3.pretrain.networks import build_networks
from debertav3.pretrain.settings import PretrainConfig, recipe
from debertav3.sizes import config_for
from debertav3.tokenization import DebertaV3Tokenizer
from side_by_side import alternate, print_json, ratio


class StockStep:
    """The two-phase step as one writes it with transformers' classes."""

    def __init__(self, config: PretrainConfig, vocab_size: int) -> None:
        shape = {
            "vocab_size": vocab_size,
            "hidden_dropout_prob": config.dropout,
            "attention_probs_dropout_prob": config.dropout,
        }
        full = config_for(config.size, **shape)
        half = config_for(config.size, **shape, num_hidden_layers=full.num_hidden_layers // 2, legacy=False)
        self.generator = transformers.DebertaV2ForMaskedLM(half).train()
        self.discriminator = transformers.DebertaV2Model(full).train()
        ours = build_networks(config, vocab_size, None).discriminator
        assert ours is not None, "a detection run has a discriminator"
        self.head = ReplacedTokenHead(ours.deberta.encoder_config)
        self.discriminator.embeddings.word_embeddings = nn.Identity()
        self.delta = nn.Parameter(torch.zeros(vocab_size, full.hidden_size))
        own = [*self.discriminator.parameters(), *self.head.parameters(), self.delta]
        self.optimizers = [
            torch.optim.AdamW(
                parameters,
                lr=config.optimizer.learning_rate,
                betas=(0.9, 0.98),
                eps=1e-6,
                weight_decay=0.01,
                fused=True,
            )
            for parameters in (list(self.generator.parameters()), own)
        ]
        self.own = own
        self.weight = config.rtd.weight
        self.precision = config.compute.precision

    def __call__(self, ids: Tensor, labels: Tensor, real: Tensor) -> None:
        """One step on padded rows; ``labels`` has -100 where nothing is masked."""
        table = self.generator.deberta.embeddings.word_embeddings.weight
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            output = self.generator(input_ids=ids, attention_mask=real, labels=labels)
        output.loss.backward()
        self._update(0, self.generator.parameters())
        chosen = labels != -100
        with torch.no_grad():
            drawn = torch.multinomial(torch.softmax(output.logits[chosen].float(), -1), 1).squeeze(-1)
        original = torch.where(chosen, labels, ids)
        corrupted = original.clone()
        corrupted[chosen] = drawn
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            embedded = F.embedding(corrupted, table.detach() + self.delta)
            states = self.discriminator(inputs_embeds=embedded, attention_mask=real).last_hidden_state
            logits = self.head(states).float()
        losses = F.binary_cross_entropy_with_logits(logits, (corrupted != original).float(), reduction="none")
        (self.weight * (losses * real).sum() / real.sum()).backward()
        self._update(1, self.own)

    def _update(self, number: int, parameters: Iterable[Tensor]) -> None:
        nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizers[number].step()
        self.optimizers[number].zero_grad()


def texts_of(batch: MaskedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """The segments of packed windows as padded rows: ids, labels and mask."""
    labels = torch.full_like(batch.input_ids, -100)
    labels.view(-1)[batch.positions] = batch.targets
    segments = batch.segment_ids
    assert segments is not None, "windows of documents have segments"
    rows = [
        (batch.input_ids[i][segments[i] == s], labels[i][segments[i] == s])
        for i in range(len(segments))
        for s in range(int(segments[i].max()) + 1)
    ]
    pad = nn.utils.rnn.pad_sequence
    ids, targets = (
        pad([row[k] for row in rows], batch_first=True, padding_value=v) for k, v in ((0, 0), (1, -100))
    )
    return ids, targets, (ids != 0).long()


def contenders(
    arguments: argparse.Namespace,
) -> tuple[dict[str, Callable[[], object]], PretrainConfig, float, dict[str, float]]:
    """Both steps on the same windows; also the real tokens of a step and the share of padding in stock."""
    config = recipe(arguments.size).with_overrides(
        [
            f"max_length={arguments.length}",
            f"batch_size={arguments.windows}",
            f"micro_batch_size={arguments.windows}",
            "packing=documents",
            "masking=unbiased",
            f"precision={arguments.precision}",
            f"dropout={arguments.dropout}",
        ],
    )
    tokenizer = DebertaV3Tokenizer.from_pretrained(Path(arguments.data) / "tokenizer")
    windows = open_windows(
        TokenShards(arguments.data),
        packing="documents",
        length=config.data.max_length,
        special=special_ids(tokenizer),
    )
    data = PretrainingData(windows, vocabulary_of(tokenizer), config.masking_config(), seed=0)
    batch = MaskedBatch.from_numpy(data.batch(range(arguments.windows)))
    networks = build_networks(config, len(tokenizer), None)
    accelerator = Accelerator(
        cpu=True, mixed_precision="bf16" if config.compute.precision == "bf16" else "no"
    )
    calls: dict[str, Callable[[], object]] = {}
    padded = texts_of(batch)
    if arguments.only in ("both", "ours"):
        step = build_step(config, networks, accelerator)
        calls["ours"] = lambda: step([batch], 1000)
    if arguments.only in ("both", "stock"):
        stock = StockStep(config, networks.generator.config.vocab_size)
        calls["stock"] = lambda: stock(*padded)
    assert networks.discriminator is not None, "a detection run has a discriminator"
    flops = masked_lm_flops(
        networks.generator.config.to_dict(), length=config.data.max_length, mask_prob=config.masking.mask_prob
    ) + detection_flops(networks.discriminator.config.to_dict(), length=config.data.max_length)
    facts = {"real_tokens": float(batch.num_real), "padding_of_stock": 1 - batch.num_real / padded[0].numel()}
    return calls, config, flops, facts


def peak_mib(arguments: argparse.Namespace, only: str) -> float:
    """Peak memory of a process that takes three steps one way."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", only]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(json.loads(output.splitlines()[-1])["peak_mib"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", default="nano")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cpu-seconds",
        action="store_true",
        help="count seconds of the processor, not of the clock: on a machine with other work, for one thread",
    )
    parser.add_argument("--only", default="both", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cpu_seconds and arguments.threads != 1:
        parser.error("--cpu-seconds counts one thread: add --threads 1")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.only == "both":
        memory = {name: peak_mib(arguments, name) for name in ("ours", "stock")}
    calls, config, flops, facts = contenders(arguments)
    if arguments.only != "both":
        for _ in range(3):
            calls[arguments.only]()
        print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    clock = time.process_time if arguments.cpu_seconds else time.perf_counter
    seconds = alternate(calls, rounds=arguments.rounds, warmup=1, clock=clock)
    dtype = torch.bfloat16 if config.compute.precision == "bf16" else torch.float32
    rate = measured_rate(torch.device("cpu"), dtype)
    tokens = facts["real_tokens"]
    per_second = {name: tokens / float(np.median(times)) for name, times in seconds.items()}
    print_json(
        "pretrain_speed",
        size=config.size,
        length=config.data.max_length,
        windows=arguments.windows,
        precision=config.compute.precision,
        dropout=config.dropout,
        clock="processor" if arguments.cpu_seconds else "wall",
        tokens_per_second={name: round(value) for name, value in per_second.items()},
        times_as_fast=round(ratio(seconds["stock"], seconds["ours"]), 2),
        utilization_of_ours=round(per_second["ours"] * flops / rate, 3),
        products_gflops=round(rate / 1e9),
        peak_mib={name: round(value) for name, value in memory.items()},
        **{name: round(value, 3) for name, value in facts.items()},
    )


if __name__ == "__main__":
    main()
