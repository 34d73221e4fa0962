"""What a step of fine-tuning costs with SiFT, in processor seconds beside a step without it.

Both train in alternating rounds of one process and one thread, on the same real pairs, from equal weights.

Run: python benchmarks/sift_cost.py --data ../shared/data/nli/sick_train.jsonl.gz --model models/nano
"""

import argparse
import statistics
import time

import torch
import transformers

from debertav3.checkpoint import open_model
from debertav3.finetuning.batches import PaddingCollator
from debertav3.finetuning.config import FinetuneConfig
from debertav3.models import DebertaV2ForSequenceClassification
from side_by_side import print_json, ratio
from train_speed import batches_of, parts_of, train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True, help="a classifier with the labels of NLI")
    parser.add_argument("--steps", type=int, default=15, help="of each in each round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--precision", default="bf16")
    arguments = parser.parse_args()
    arguments.tokenizer = arguments.model
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    configs = {
        name: FinetuneConfig.of(
            task="nli",
            model=arguments.model,
            batch_size=32,
            epochs=1.0,
            max_length=arguments.max_length,
            precision=arguments.precision,
            length_grouping=False,
            sift=name == "with",
        )
        for name in ("without", "with")
    }
    dataset, tokenizer = batches_of(arguments, configs["without"])
    collator = PaddingCollator(tokenizer)
    models = {
        name: open_model(arguments.model, head=DebertaV2ForSequenceClassification, dtype=torch.float32).model
        for name in configs
    }
    seconds: dict[str, list[float]] = {name: [] for name in configs}
    for number, part in enumerate(parts_of(dataset, arguments.steps * 32)):
        for name in list(configs)[:: 1 if number % 2 else -1]:
            steps = train("ours", models[name], part, collator, configs[name], clock=time.process_time)
            seconds[name].append(statistics.mean(steps[1:]))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    times = ratio(seconds["with"], seconds["without"])
    print(f"processor seconds a step: {medians}; SiFT takes {times:.2f} times as much")
    print_json("sift_cost", precision=arguments.precision, seconds=seconds, times=times)


if __name__ == "__main__":
    main()
