"""How fast is attention on a GPU, in inference and in training, and does it compute the same? In ten minutes.

First parity: context and gradients of one layer by every way of computing attention, in bf16, against the
reference in fp32. Then, in bf16 and with random weights: whole batches at growing lengths, a padded batch as
long as MNLI's pairs, a step of fine-tuning and one of replaced token detection, beside stock transformers,
eager and compiled. Contenders of a row take turns; figures are medians, memory is the peak above what was
allocated. flashdeberta's kernels have no dropout of attention weights: where a step has dropout, "ours flash"
runs without that one, and says so. "All unpadded" runs everything on the real tokens alone, others attention.

What was measured is written after every row, so a run that is cut short leaves what it has.

Run: python benchmarks/gpu.py --out gpu.json --plot gpu.png     (pip install 'debertav3[gpu,bench]')
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from torch import Tensor

from debertav3 import DebertaV2ForSequenceClassification, DebertaV2Model
from debertav3.gpu.flash_attention import flash_attention
from debertav3.layers.attention_backends import eager_attention, sdpa_attention
from debertav3.layers.relative_position import RelativePositions, RelativeTables
from debertav3.pretrain.batches import MaskedBatch
from debertav3.pretrain.build_step import build_step
from debertav3.pretrain.networks import build_networks
from debertav3.pretrain.settings import recipe
from debertav3.sizes import config_for
from pretrain_speed import StockStep
from side_by_side import alternate, machine

V3 = RelativePositions(num_buckets=256, max_distance=512, span=256, long_inputs="clamp")
SECTIONS = ("parity", "lengths", "mnli", "finetune", "rtd")
LARGEST_SHARE = 0.05  # of the largest number: bf16 has 8 bits, and each sum has roundings of its own
Calls = dict[str, Callable[[], object]]


class Report:
    """What was measured, in a file after every row, and how much time is left."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.path, self.device = Path(arguments.out), torch.device(arguments.device)
        self.rounds, self.end = arguments.rounds, time.monotonic() + arguments.seconds
        self.facts: dict[str, Any] = {
            **machine(),
            "device": self._device_name(),
            "has_flash": arguments.flash,
        }
        self.rows: list[dict[str, Any]] = []
        self.parity: list[dict[str, Any]] = []
        self.left_out: list[str] = []

    def _device_name(self) -> str:
        return torch.cuda.get_device_name() if self.device.type == "cuda" else str(self.device)

    @property
    def module(self) -> Any:
        """Torch's module of the device."""
        return torch.get_device_module(self.device)

    def write(self) -> None:
        """All there is so far."""
        found = {**self.facts, "parity": self.parity, "rows": self.rows, "left_out": self.left_out}
        self.path.write_text(json.dumps(found, indent=1) + "\n")

    def measure(self, calls: Calls, *, section: str, size: str, batch: int, length: int, tokens: int) -> None:
        """Time contenders in turns; one that has too little memory, or fails, is left out with its reason."""
        name = f"{section} {size} {batch}x{length}"
        memory: dict[str, float] = {}
        for contender in list(calls):
            if time.monotonic() > self.end:
                self.left_out.append(f"{name}: no time left")
                self.write()
                return
            try:
                memory[contender] = self._peak_mib(calls[contender])
            except Exception as error:  # a contender that cannot run is a result
                self.left_out.append(f"{name} {contender}: {type(error).__name__}: {str(error)[:200]}")
                del calls[contender]
        seconds = alternate({key: self._finished(call) for key, call in calls.items()}, rounds=self.rounds)
        for contender, taken in seconds.items():
            median = statistics.median(taken)
            row = {
                "section": section, "size": size, "batch": batch, "length": length, "contender": contender,
                "ms": round(median * 1e3, 3), "tokens_per_second": round(tokens / median),
                "peak_mib": round(memory[contender], 1),
            }  # fmt: skip
            self.rows.append(row)
            print(" ".join(f"{value:>14}" for value in row.values()), flush=True)
        self.write()

    def _finished(self, call: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            call()
            self.module.synchronize()

        return run

    def _peak_mib(self, call: Callable[[], object]) -> float:
        self._finished(call)()  # compiles, and allocates what stays
        if self.device.type != "cuda":
            self._finished(call)()
            return 0.0
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self._finished(call)()
        return (torch.cuda.max_memory_allocated() - before) / 2**20


@contextmanager
def freed(report: Report) -> Iterator[None]:
    """Give the memory of a section's models back."""
    yield
    if report.device.type == "cuda":
        torch.cuda.empty_cache()


def measure_parity(report: Report, lengths: list[int]) -> None:
    """One layer's attention in bf16 beside the reference in fp32: the largest differences, as shares."""
    ways: dict[str, Callable[..., tuple[Tensor, Tensor | None]]] = {"sdpa": sdpa_attention}
    if report.facts["has_flash"]:
        ways["flash"] = flash_attention
    for length in lengths:
        rng = torch.Generator(report.device).manual_seed(0)
        shapes = [(2, 6, length, 64)] * 4 + [(6, 512, 64)] * 2
        given = [torch.randn(shape, generator=rng, device=report.device).bfloat16() for shape in shapes]
        real = torch.arange(length, device=report.device) < torch.tensor([[length], [length * 2 // 3]]).to(
            report.device
        )
        mask = real[:, None, :, None] & real[:, None, None, :]

        def run(attend: Callable[..., Any], low: bool, given: Any = given, mask: Any = mask) -> list[Tensor]:
            *inputs, weights, keys, queries = [x.float().requires_grad_() for x in given]
            table = RelativeTables(V3, 192**-0.5, keys, queries)
            heads = [x.bfloat16() if low else x for x in inputs]
            context, _ = attend(
                *heads, table, mask, scale=192**-0.5, dropout_prob=0.0, output_attentions=False
            )
            leaves = [*inputs, keys, queries]
            return [context.float(), *torch.autograd.grad((context.float() * weights).sum(), leaves)]

        want = run(eager_attention, False)
        for name, attend in ways.items():
            got = run(attend, name == "flash")
            shares = [
                float(((a - b).abs().max() / b.abs().max()).detach()) for a, b in zip(got, want, strict=True)
            ]
            names = ("context", "dq", "dk", "dv", "dkeys", "dqueries")
            row = {"length": length, "way": name, **dict(zip(names, shares, strict=True))}
            row["holds"] = all(share <= LARGEST_SHARE for share in shares)  # NaN does not
            report.parity.append(row)
            print(name, length, "holds" if row["holds"] else "IS WRONG", [f"{share:.1e}" for share in shares])
    report.write()


def encoders(report: Report, size: str, *, compiles: bool) -> dict[str, Any]:
    """Equal models in bf16: stock, and ours by each way of computing attention."""
    torch.manual_seed(0)
    stock: Any = transformers.DebertaV2Model(config_for(size))
    stock.to(report.device, torch.bfloat16).eval()
    found: dict[str, Any] = {"stock eager": stock}
    if compiles:
        found["stock compiled"] = torch.compile(stock)
    for name in ("sdpa", "flash") if report.facts["has_flash"] else ("sdpa",):
        ours: Any = DebertaV2Model(config_for(size))
        ours.load_state_dict(stock.state_dict())
        ours.to(report.device, torch.bfloat16).eval().set_attention_backend(name)
        found[f"ours {name}"] = ours
    return found


def answer(model: Any, ids: Tensor, mask: Tensor, **settings: bool) -> Callable[[], object]:
    """One batch in inference."""

    def run() -> object:
        with torch.inference_mode():
            return model(input_ids=ids, attention_mask=mask, **settings).last_hidden_state

    return run


def measure_lengths(report: Report, size: str, arguments: argparse.Namespace) -> None:
    """Full batches at growing lengths."""
    for length in arguments.lengths:
        with freed(report):
            batch = max(1, arguments.tokens // length)
            ids = torch.randint(4, 1000, (batch, length), device=report.device)
            models = encoders(report, size, compiles=length in arguments.compile_at)
            calls = {name: answer(model, ids, torch.ones_like(ids)) for name, model in models.items()}
            report.measure(
                calls, section="lengths", size=size, batch=batch, length=length, tokens=batch * length
            )


def mnli_batch(report: Report, batch: int) -> tuple[Tensor, Tensor]:
    """Ids and mask of pairs as long as MNLI's: about 40 tokens, a few up to 128."""
    rng = torch.Generator().manual_seed(1)
    lengths = torch.exp(torch.randn(batch, generator=rng) * 0.45 + 3.55).round().long().clamp(8, 128)
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    ids = torch.randint(4, 1000, mask.shape, generator=rng) * mask
    return ids.to(report.device), mask.to(report.device)


def measure_mnli(report: Report, size: str, arguments: argparse.Namespace) -> None:
    """A padded batch in inference; tokens count without padding."""
    with freed(report):
        ids, mask = mnli_batch(report, arguments.pairs)
        models = encoders(report, size, compiles=bool(arguments.compile_at))
        calls = {name: answer(model, ids, mask) for name, model in models.items()}
        if "ours flash" in models:
            calls["ours flash, all unpadded"] = answer(models["ours flash"], ids, mask, reads_padding=False)
        batch, length = ids.shape
        report.measure(calls, section="mnli", size=size, batch=batch, length=length, tokens=int(mask.sum()))


def measure_finetune(report: Report, size: str, arguments: argparse.Namespace) -> None:
    """A step of fine-tuning on such a batch: bf16 autocast, fp32 weights, fused AdamW."""
    with freed(report):
        ids, mask = mnli_batch(report, arguments.pairs)
        labels = torch.arange(len(ids), device=report.device) % 3
        calls: Calls = {}

        def add(name: str, model: Any, *, compiles: bool = False) -> None:
            model = model.to(report.device).train()
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
            forward = torch.compile(model) if compiles else model

            def step() -> None:
                with torch.autocast(report.device.type, torch.bfloat16):
                    loss = forward(input_ids=ids, attention_mask=mask, labels=labels).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()

            calls[name] = step

        stock = transformers.DebertaV2ForSequenceClassification
        add("stock eager", stock(config_for(size, num_labels=3)))
        if arguments.compile_at:
            add("stock compiled", stock(config_for(size, num_labels=3)), compiles=True)
        ours = DebertaV2ForSequenceClassification(config_for(size, num_labels=3))
        ours.set_attention_backend("sdpa")
        add("ours sdpa", ours)
        if report.facts["has_flash"]:
            config = config_for(size, num_labels=3, attention_probs_dropout_prob=0.0)
            ours = DebertaV2ForSequenceClassification(config)
            ours.set_attention_backend("flash")
            add("ours flash, all unpadded, no attention dropout", ours)
        batch, length = ids.shape
        report.measure(
            calls, section="finetune", size=size, batch=batch, length=length, tokens=int(mask.sum())
        )


def measure_rtd(report: Report, size: str, arguments: argparse.Namespace) -> None:
    """A step of replaced token detection on full windows."""
    length, batch, vocabulary = arguments.window, arguments.windows, 1000
    config = recipe("nano").with_overrides(
        [
            f"size={size}", f"max_length={length}", f"batch_size={batch}", f"micro_batch_size={batch}",
            "precision=bf16", "dropout=0.0",
        ]
    )  # fmt: skip
    rng = torch.Generator().manual_seed(2)
    positions = torch.randperm(batch * length, generator=rng)[: batch * length * 15 // 100].sort().values
    masked = MaskedBatch(
        input_ids=torch.randint(4, vocabulary, (batch, length), generator=rng),
        positions=positions,
        targets=torch.randint(4, vocabulary, positions.shape, generator=rng),
        uniforms=torch.rand(positions.shape, generator=rng),
        segment_ids=None,
        position_ids=None,
        cls_places=None,
    )
    with freed(report):
        accelerator = Accelerator(cpu=report.device.type == "cpu", mixed_precision="bf16")
        calls: Calls = {}
        for name in ("sdpa", "flash") if report.facts["has_flash"] else ("sdpa",):
            networks = build_networks(config, vocabulary, None)
            step = build_step(config, networks, accelerator)
            for model in (networks.generator, networks.discriminator):
                if model is not None:
                    model.set_attention_backend(name)
            calls[f"ours {name}"] = lambda step=step: step([masked], 1000)  # type: ignore[misc]
        stock = StockStep(config, vocabulary)
        for module in (stock.generator, stock.discriminator, stock.head):
            module.to(report.device)
        stock.delta.data = stock.delta.data.to(report.device)
        labels = torch.full_like(masked.input_ids, -100)
        labels.view(-1)[masked.positions] = masked.targets
        padded = [x.to(report.device) for x in (masked.input_ids, labels, torch.ones_like(labels))]
        calls["stock eager"] = lambda: stock(*padded)
        report.measure(calls, section="rtd", size=size, batch=batch, length=length, tokens=batch * length)


def plot(report: Report, path: Path) -> None:
    """Tokens a second by length, one panel a size."""
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row["section"] == "lengths"]
    sizes = sorted({row["size"] for row in rows})
    figure = Figure(figsize=(5.5 * max(1, len(sizes)), 4), layout="constrained")
    for number, size in enumerate(sizes):
        axes = figure.add_subplot(1, len(sizes), number + 1)
        for contender in sorted({row["contender"] for row in rows if row["size"] == size}):
            mine = [row for row in rows if (row["size"], row["contender"]) == (size, contender)]
            axes.plot(
                [row["length"] for row in mine],
                [row["tokens_per_second"] for row in mine],
                marker="o",
                label=contender,
            )
        axes.set(title=f"V3 {size}, bf16", xlabel="tokens of a text", ylabel="tokens a second", xscale="log")
        axes.set_ylim(bottom=0)
        axes.legend()
    figure.suptitle(str(report.facts["device"]))
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="JSON")
    parser.add_argument("--plot", help="PNG")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", nargs="+", default=["xsmall", "base"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[128, 256, 512, 1024, 2048, 4096])
    parser.add_argument(
        "--compile-at",
        nargs="*",
        type=int,
        default=[128, 512, 2048],
        help="lengths at which stock is compiled too",
    )
    parser.add_argument("--tokens", type=int, default=16384, help="of a full batch")
    parser.add_argument("--pairs", type=int, default=64, help="of a padded batch")
    parser.add_argument("--window", type=int, default=512, help="tokens of a window of pre-training")
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=540, help="rows that would begin later are left out")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument(
        "--no-flash", dest="flash", action="store_false", help="without flashdeberta's kernels"
    )
    arguments = parser.parse_args()
    report = Report(arguments)
    print(report.facts, flush=True)
    if "parity" in arguments.only:
        measure_parity(report, [length for length in arguments.lengths if length <= 1024])
    measures = {
        "lengths": measure_lengths, "mnli": measure_mnli, "finetune": measure_finetune, "rtd": measure_rtd
    }  # fmt: skip
    for name in ("mnli", "finetune", "rtd", "lengths"):  # the longest last: it may be cut short
        for size in arguments.sizes if name in arguments.only else ():
            measures[name](report, size, arguments)
    report.write()
    if arguments.plot:
        plot(report, Path(arguments.plot))
    wrong = [f"{row['way']} at {row['length']}" for row in report.parity if not row["holds"]]
    print(
        json.dumps(
            {"benchmark": "gpu", "wrong": wrong, "rows": len(report.rows), "left_out": report.left_out}
        )
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
