"""How fast is this package beside another version of it? V3 xsmall shape, random weights, one thread.

Each version runs in a process of its own, in alternating rounds, and CPU time is what counts: wall time says
little on a machine that others use too. A round gives the fastest of a few calls; the ratio is the median
of the rounds' ratios.

Run: python benchmarks/two_versions.py --before OTHER/src --kinds packed plain --rounds 9
     DEBERTAV3_KERNEL=none python benchmarks/two_versions.py --before OTHER/src
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SHAPES = ("1x32", "1x128", "8x128")
CALLS = {"1x32": 8, "1x128": 4}
KINDS = ("packed", "packed int8", "plain")
HERE = Path(__file__).resolve().parents[1] / "src"


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
        from debertav3.cpu.int8 import Int8Linear

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

    def __init__(self, source: Path, kind: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--answer", kind],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        if self._read() != "ready":
            raise SystemExit(f"{source} does not run {kind}")

    def seconds(self, shape: str) -> float:
        """The fastest of a few calls."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{shape}\n")
        self.process.stdin.flush()
        return float(self._read())

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
    parser.add_argument("--answer", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        answer(arguments.answer)
        return
    if arguments.before is None:
        parser.error("--before is needed: the src folder of another version")
    for kind in arguments.kinds:
        versions = {"before": Version(arguments.before, kind), "after": Version(HERE, kind)}
        for shape in arguments.shapes:
            found: dict[str, list[float]] = {name: [] for name in versions}
            for number in range(arguments.rounds):
                for name in sorted(versions, reverse=bool(number % 2)):
                    found[name].append(versions[name].seconds(shape))
            pairs = zip(found["after"], found["before"], strict=True)
            ratio = statistics.median(after / before for after, before in pairs)
            before, after = (1e3 * statistics.median(found[name]) for name in ("before", "after"))
            print(
                f"{kind:12} {shape:>6}  before {before:7.1f} ms  after {after:7.1f} ms  ratio {ratio:.3f}",
                flush=True,
            )
        for version in versions.values():
            version.close()


if __name__ == "__main__":
    main()
