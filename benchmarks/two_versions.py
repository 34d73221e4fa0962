"""How fast is this package beside another version of it? Random weights, one thread.

Answers are those of the V3 xsmall shape. Steps of training are whole ones, optimizer included: fine-tuning of
V3 xsmall on the longest of real pairs (``8x128``: batch and most tokens), replaced token detection of a nano
on real windows (``8x128``: windows and tokens). They take the step from ``train_speed.py`` and
``pretrain_speed.py`` beside each version's ``src``.

Each version runs in a process of its own, in alternating rounds, and CPU time is what counts: wall time says
little on a machine that others use too. A round gives the fastest of a few calls; the ratio is the median
of the rounds' ratios. ``start`` is what ``debertav3 --help`` and ``debertav3 nli`` import, by
``python -X importtime``: the sum of all modules.

Run: python benchmarks/two_versions.py --before OTHER/src --kinds packed plain --rounds 9
     DEBERTAV3_KERNEL=none python benchmarks/two_versions.py --before OTHER/src
     python benchmarks/two_versions.py --before OTHER/src --kinds finetune rtd --shapes 8x128 --rounds 5 \
         --data ../shared/data/nli/mnli_matched_dev.jsonl.gz --shards SHARDS
     python benchmarks/two_versions.py --before OTHER/src --kinds start
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

SHAPES = ("1x32", "1x128", "8x128")
CALLS = {"1x32": 8, "1x128": 4}
STEPS = 3
"""Steps of training in a round; the fastest counts."""
ANSWERS, TRAININGS, START = ("packed", "packed int8", "plain"), ("finetune", "rtd"), "start"
KINDS = (*ANSWERS, *TRAININGS, START)
HERE = Path(__file__).resolve().parents[1] / "src"


def train(arguments: argparse.Namespace) -> None:
    """One version: reads shapes from stdin, trains a few steps, writes the fastest's seconds to stdout."""
    import torch

    import debertav3

    torch.set_num_threads(1)
    sys.path[0] = str(Path(debertav3.__file__).parents[2] / "benchmarks")  # the version's own
    make = finetuning if arguments.answer == "finetune" else detection
    steps: dict[str, Callable[[], float]] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        shape = line.strip()
        if shape not in steps:
            torch.manual_seed(0)
            rows, length = map(int, shape.split("x"))
            steps[shape] = make(rows, length, arguments)
            steps[shape]()
        print(steps[shape](), flush=True)


def finetuning(batch: int, length: int, arguments: argparse.Namespace) -> Callable[[], float]:
    """Steps of the Trainer on the longest pairs of the data, each time the same."""
    import train_speed

    settings: dict[str, object] = {
        "task": "nli",
        "model": "xsmall",
        "batch_size": batch,
        "max_length": length,
    }
    settings |= {"epochs": 1.0, "precision": "fp32", "length_grouping": False}
    # older versions: the class itself
    make: Callable[..., Any] = getattr(train_speed.FinetuneConfig, "of", train_speed.FinetuneConfig)
    config = make(**settings)
    asked = argparse.Namespace(
        data=str(arguments.data), tokenizer=str(arguments.tokenizer), steps=10**6, rounds=1
    )
    dataset, tokenizer = train_speed.batches_of(asked, config)
    longest = sorted(dataset.features, key=lambda one: (-len(one["input_ids"]), list(one["input_ids"])))
    part = train_speed.EncodedDataset(
        longest[: (STEPS + 1) * batch], origins=range((STEPS + 1) * batch), examples=dataset.examples
    )
    model, collator = train_speed.model_of("ours"), train_speed.PaddingCollator(tokenizer)
    return lambda: min(train_speed.train("ours", model, part, collator, config, clock=time.process_time)[1:])


def detection(windows: int, length: int, arguments: argparse.Namespace) -> Callable[[], float]:
    """Steps of two phases on the same windows."""
    import pretrain_speed

    asked = argparse.Namespace(
        data=str(arguments.shards),
        size="nano",
        length=length,
        windows=windows,
        precision="fp32",
        dropout=0.1,
        only="ours",
    )
    step = pretrain_speed.contenders(asked)[0]["ours"]

    def fastest() -> float:
        seconds = []
        for _ in range(STEPS):
            start = time.process_time()
            step()
            seconds.append(time.process_time() - start)
        return min(seconds)

    return fastest


def import_milliseconds(source: Path, words: list[str]) -> float:
    """What a command imports: the sum of each module's own time."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "debertav3", *words],
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split("|")[0] for line in done.stderr.splitlines() if line.startswith("import time:")]
    return sum(int(line.rpartition(":")[2]) for line in lines[1:]) / 1e3


def answer(kind: str) -> None:
    """One version: reads shapes from stdin, writes seconds to stdout."""
    import torch

    from debertav3 import DebertaV2ForSequenceClassification
    from debertav3.sizes import config_for

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = config_for("xsmall", vocab_size=2000, num_labels=3)
    model = DebertaV2ForSequenceClassification(config).eval()
    if kind == "packed int8":
        try:
            from debertav3.cpu.int8 import Int8Linear
        except ImportError:  # older versions
            from debertav3.layers.int8_linear import Int8Linear  # type: ignore[no-redef]

        for name, linear in list(model.deberta.encoder.named_modules()):
            if type(linear) is torch.nn.Linear:
                model.deberta.encoder.set_submodule(name, Int8Linear.from_linear(linear))
    if kind != "plain":
        try:
            from debertav3.cpu.pack import pack_for_inference
        except ImportError:  # older versions
            from debertav3.layers.encoder import pack_for_inference  # type: ignore[attr-defined,no-redef]
        pack_for_inference(model)
    print("ready", flush=True)
    for line in sys.stdin:
        ids = torch.randint(4, 2000, tuple(map(int, line.split("x"))))
        seconds = []
        with torch.inference_mode():
            model(ids)
            for _ in range(CALLS.get(line.strip(), 1)):
                start = time.process_time()
                model(ids)
                seconds.append(time.process_time() - start)
        print(min(seconds), flush=True)


class Version:
    """A process that runs one version."""

    def __init__(self, source: Path, kind: str, arguments: argparse.Namespace) -> None:
        files = {"--data": arguments.data, "--tokenizer": arguments.tokenizer, "--shards": arguments.shards}
        given = [word for option, path in files.items() if path for word in (option, str(path))]
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--answer", kind, *given],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        if self._read() != "ready":
            raise SystemExit(f"{source} does not run {kind}")

    def milliseconds(self, shape: str) -> float:
        """The fastest of a few calls."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{shape}\n")
        self.process.stdin.flush()
        return 1e3 * float(self._read())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="the other version's src folder, its kernel built")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["packed", "plain"])
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data", type=Path, help="kind finetune: labelled pairs")
    parser.add_argument("--tokenizer", type=Path, default=HERE.parent / "models" / "nano")
    parser.add_argument("--shards", type=Path, help="kind rtd: a folder that data prepare wrote")
    parser.add_argument(
        "--nli", type=Path, help="kind start: the model of nli", default=HERE.parent / "models" / "nano"
    )
    parser.add_argument("--answer", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer in TRAININGS:
        train(arguments)
        return
    if arguments.answer:
        answer(arguments.answer)
        return
    if arguments.before is None:
        parser.error("--before is needed: the src folder of another version")
    for kind, needed in (("finetune", arguments.data), ("rtd", arguments.shards)):
        if kind in arguments.kinds and needed is None:
            parser.error(f"--kinds {kind} needs {'--data' if kind == 'finetune' else '--shards'}")
    for kind in arguments.kinds:
        if kind == START:
            sources = {"before": arguments.before, "after": HERE}
            for words in (
                ["--help"],
                ["nli", "--model", str(arguments.nli), "A man sleeps.", "He is awake."],
            ):
                compare(
                    kind,
                    words[0],
                    {name: partial(import_milliseconds, sources[name], words) for name in sources},
                    arguments.rounds,
                )
            continue
        versions = {
            "before": Version(arguments.before, kind, arguments),
            "after": Version(HERE, kind, arguments),
        }
        for shape in arguments.shapes:
            compare(
                kind,
                shape,
                {name: partial(version.milliseconds, shape) for name, version in versions.items()},
                arguments.rounds,
            )
        for version in versions.values():
            version.close()


def compare(kind: str, what: str, versions: dict[str, Callable[[], float]], rounds: int) -> None:
    """Ask both in alternating order, and print their medians and the median of the rounds' ratios."""
    found: dict[str, list[float]] = {name: [] for name in versions}
    for ask in versions.values():
        ask()  # compiles, and fills the caches
    for number in range(rounds):
        for name in sorted(versions, reverse=bool(number % 2)):
            found[name].append(versions[name]())
    pairs = zip(found["after"], found["before"], strict=True)
    ratio = statistics.median(after / before for after, before in pairs)
    before, after = (statistics.median(found[name]) for name in ("before", "after"))
    print(
        f"{kind:12} {what:>6}  before {before:7.1f} ms  after {after:7.1f} ms  ratio {ratio:.3f}", flush=True
    )


if __name__ == "__main__":
    main()
