"""How fast is fine-tuning beside stock transformers in its stock Trainer, and how much memory does it take?

V3 xsmall shape with equal random weights, real NLI pairs, equal batches, equal optimizer, fp32. Both train in
alternating rounds of one process; peak memory is that of one process for each.

Run: python benchmarks/train_speed.py --data ../shared/data/nli/mnli_matched_dev.jsonl.gz \
    --tokenizer ../shared/data/deberta-v3-tokenizer --threads 2
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers import Trainer, TrainerCallback

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.cpu.training_dropout import train_on_cpu
from debertav3.finetuning.batches import EncodedDataset, LengthBucketSampler, PaddingCollator
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.objectives import objective_of
from debertav3.finetuning.resuming import checkpoints_of
from debertav3.finetuning.trainer import FinetuneTrainer, training_arguments
from debertav3.sizes import config_for
from debertav3.tasks.glue import NLI
from debertav3.tasks.labels import NLI_LABELS
from side_by_side import print_json, ratio

CONTENDERS = ("stock", "ours")


class StepTimer(TrainerCallback):
    """Seconds of each optimizer step, by a clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.start = self.clock()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop it."""
        self.seconds.append(self.clock() - self.start)


def batches_of(arguments: argparse.Namespace, config: FinetuneConfig) -> tuple[EncodedDataset, Any]:
    """Real pairs in the order in which our sampler deals them, so that both see the same batches."""
    tokenizer = DebertaV3Tokenizer.from_pretrained(arguments.tokenizer)
    examples = NLI.read(arguments.data)
    dataset = objective_of(NLI).encode(examples, tokenizer, labels=NLI_LABELS, config=config)
    sampler = LengthBucketSampler(dataset.lengths, batch_size=config.loop.batch_size, seed=config.seed)
    order = list(sampler)[: arguments.steps * arguments.rounds * config.loop.batch_size]
    return EncodedDataset([dataset[index] for index in order], origins=order, examples=examples), tokenizer


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    stock = transformers.DebertaV2ForSequenceClassification(config_for("xsmall", num_labels=3))
    if name == "stock":
        return stock
    ours = DebertaV2ForSequenceClassification(config_for("xsmall", num_labels=3))
    ours.load_state_dict(stock.state_dict())
    train_on_cpu(ours)  # as every fine-tuning on a CPU does
    return ours


class InOrder(FinetuneTrainer):
    """Takes the examples in their order, as the stock contender does."""

    def _get_train_sampler(self, dataset: object = None) -> Any:
        return torch.utils.data.SequentialSampler(cast(EncodedDataset, self.train_dataset))


def train(
    name: str,
    model: Any,
    part: EncodedDataset,
    collator: PaddingCollator,
    config: FinetuneConfig,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Train on a part of the data, in the order given; return seconds per step."""
    with tempfile.TemporaryDirectory() as folder:
        args = training_arguments(
            config, model=model, folder=Path(folder), has_dev=False, best_metric="accuracy"
        )
        args.save_strategy, args.train_sampling_strategy = "no", "sequential"
        timer = StepTimer(clock)
        if name == "stock":
            trainer = Trainer(
                model=model, args=args, data_collator=collator, train_dataset=part, callbacks=[timer]
            )
            trainer.remove_callback(transformers.PrinterCallback)
        else:
            objective = objective_of(NLI)
            trainer = InOrder(
                model,
                config=config,
                args=args,
                store=checkpoints_of(Path(folder)),
                collator=collator,
                loss=objective.loss([], labels=NLI_LABELS, config=config),
                divergence=objective.divergence,
                train_dataset=part,
                dev_dataset=None,
                compute_metrics=None,
            )
            trainer.add_callback(timer)
        trainer.train()
    return timer.seconds


def parts_of(dataset: EncodedDataset, size: int) -> list[EncodedDataset]:
    starts = range(0, len(dataset), size)
    return [
        EncodedDataset(dataset.features[start : start + size], origins=range(size), examples=dataset.examples)
        for start in starts
    ]


def peak_mib(arguments: argparse.Namespace, name: str) -> float:
    """Peak resident memory of a process that trains one contender only."""
    command = [sys.executable, *sys.argv, "--only", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mib"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8, help="of each contender in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--measure", choices=("speed", "memory", "both"), default="both")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    config = FinetuneConfig.of(
        task="nli",
        model="xsmall",
        batch_size=arguments.batch,
        epochs=1.0,
        precision=arguments.precision,
        length_grouping=False,
    )
    dataset, tokenizer = batches_of(arguments, config)
    collator = PaddingCollator(tokenizer)
    parts = parts_of(dataset, arguments.steps * config.loop.batch_size)
    if arguments.only:
        train(arguments.only, model_of(arguments.only), parts[0], collator, config)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"peak_mib": peak}))
        return

    figures: dict[str, Any] = {}
    if arguments.measure != "speed":  # first of all: a child's figure begins at what its parent holds
        peaks = {name: peak_mib(arguments, name) for name in CONTENDERS}
        figures |= {"peak_mib": peaks, "memory_share": peaks["ours"] / peaks["stock"]}
        print(f"peak MiB: {peaks}; ours takes {figures['memory_share']:.2f} of the memory")
    if arguments.measure != "memory":
        seconds = seconds_per_step(parts, collator, config)
        rates = {name: config.loop.batch_size / statistics.median(seconds[name]) for name in CONTENDERS}
        figures |= {"examples_per_second": rates, "times": ratio(seconds["stock"], seconds["ours"])}
        print(f"examples per second: {rates}; ours is {figures['times']:.2f} times as fast")
    print_json("train_speed", batch=config.loop.batch_size, precision=config.loop.precision, **figures)


def seconds_per_step(
    parts: list[EncodedDataset], collator: PaddingCollator, config: FinetuneConfig
) -> dict[str, list[float]]:
    """Mean seconds of a step in each round, by contender.

    The first step of a round is left out: it makes the optimizer's state, which a run does once.
    """
    models = {name: model_of(name) for name in CONTENDERS}
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number, part in enumerate(parts):
        for name in CONTENDERS if number % 2 else reversed(CONTENDERS):
            steps = train(name, models[name], part, collator, config)
            seconds[name].append(statistics.mean(steps[1:]))
    return seconds


if __name__ == "__main__":
    main()
