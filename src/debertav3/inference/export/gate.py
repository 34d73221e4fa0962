"""int8 is written only if it decides as before on a person's own examples.

At least 99 % of the decisions must be those of the float graph, no metric of labelled rows may lose more
than 0.3 points, and no error may grow by more than 1 %. Where quantizing everything fails, the layers that it
hurts most are kept in float, more of them each time; where that does not help either, nothing is written.
"""

import logging
import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from ...checkpoint.folder import Checkpoint
from ...data.probabilities import Probabilities
from ...errors import UserError
from ...tasks.metrics import ERRORS, METRICS
from ..backends.choose import open_exported
from ..backends.exported import Exported, read_exported
from ..backends.protocol import Backend, Batch, Logits
from ..files.input import check_file, chunks_of
from ..files.row_answers import FILE_TASKS
from ..files.workers import answer_chunk
from ..predictor import Predictor
from .graph_writers import halve_weights
from .int8_examples import Calibration, task_of
from .quantization import quantize, weighted_products
from .sensitivity import rank_layers
from .verification import decisions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

MIN_EQUAL_DECISIONS = 0.99
MAX_LOST_POINTS = 0.3
"""Of a metric between 0 and 100."""
MAX_ERROR_GROWTH = 0.01
"""Of an error in the unit of the labels, as a share of the float graph's."""
CALIBRATION_BATCHES = 64
_BATCH_TOKENS = 1024
_RANKING_BATCHES = 4
_VALUE_MARGIN = 0.1
"""Heads with one number decide the same within so many standard deviations of it."""
_NOT_JUDGED = frozenset({"precision", "recall"})
"""Metrics that may be exchanged for each other: their F1 is judged."""


@dataclass(frozen=True)
class GateReport:
    """What the gate found; becomes part of ``checks.json``."""

    passed: bool
    verdict: str
    """One or two sentences for a person."""
    examples: int
    equal_decisions: float
    """Share, 0 to 1."""
    float_metrics: dict[str, float]
    int8_metrics: dict[str, float]
    kept_in_float: list[str]
    """Layers that are not quantized, worst first."""
    attempts: list[dict[str, object]] = field(default_factory=list)
    """Every try: how many layers were kept in float, and what came of it."""


@dataclass
class Recorder:
    """A backend that remembers what went through it; see `Backend`."""

    backend: Backend
    probabilities: Probabilities = field(default_factory=Probabilities)
    """By which prediction decides."""
    batches: list[Batch] = field(default_factory=list)
    outputs: list[Logits] = field(default_factory=list)
    batch_tokens: int = _BATCH_TOKENS

    def __post_init__(self) -> None:
        self.name, self.device, self.dtype = self.backend.name, self.backend.device, self.backend.dtype
        self.head, self.config = self.backend.head, self.backend.config

    def run(self, batch: Batch) -> Logits:
        """See `Backend.run`."""
        output = self.backend.run(batch)
        self.batches.append(batch)
        self.outputs.append(output)
        return output

    def decisions(self) -> np.ndarray:
        """All decisions, in the order of the batches."""
        return np.concatenate(
            [
                decisions(output, batch, head=self.head, config=self.config, probabilities=self.probabilities)
                for batch, output in zip(self.batches, self.outputs, strict=True)
            ]
        )


@dataclass(frozen=True)
class Measured:
    """A graph on the examples."""

    recorder: Recorder
    num_examples: int
    metrics: dict[str, float]
    """Of labelled rows: in points from 0 to 100, or an error in the unit of the labels."""


def pass_gate(
    folder: Path,
    folded: "PreTrainedModel",
    *,
    examples: Calibration,
    task: str | None,
    force: bool,
    needs_vnni: bool = False,
    is_fp16: bool = False,
) -> GateReport:
    """Quantize an exported folder in place, if int8 decides as before.

    Args:
        folder: an exported folder in fp32.
        folded: the model of its graph, or of its weights.
        examples: the rows.
        task: which task the rows are for; None goes by the head.
        force: write what does not pass.
        needs_vnni: see `quantize`.
        is_fp16: store what stays in float in 16 bits; what is measured is what is written.

    Raises:
        UserError: if there are too few examples, or int8 does not pass and ``force`` is off.
    """
    exported = read_exported(Checkpoint.open(folder))
    task = task or task_of(exported.manifest.head, exported.config)
    logger.info("int8: predicting %s with the float model", examples.path)
    before = measure(exported, task=task, examples=examples)
    examples.check_number(before.num_examples)
    names = weighted_products(exported.graph, folded, format_=exported.manifest.format)
    calibration = [exported.feed(batch) for batch in _spread(before.recorder.batches)]
    attempts: list[GateReport] = []
    ranked: list[str] = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for num_kept in _numbers_to_keep(len(names)):
            if num_kept and not ranked:
                logger.info("int8: measuring which of %d layers are most sensitive", len(names))
                ranked = rank_layers(folded, before.recorder.batches[:_RANKING_BATCHES], list(names))
            trial = _copy_without_graph(folder, Path(scratch) / str(num_kept))
            kept = ranked[:num_kept]
            logger.info("int8: quantizing %d of %d layers", len(names) - len(kept), len(names))
            graph = quantize(
                exported.graph,
                trial,
                format_=exported.manifest.format,
                batches=calibration,
                kept=[names[name] for name in kept],
                needs_vnni=needs_vnni,
            )
            if is_fp16:
                halve_weights(graph, format_=exported.manifest.format)
            after = measure(read_exported(Checkpoint.open(trial)), task=task, examples=examples)
            attempts.append(compare(before, after, kept=kept))
            logger.info("int8, %d layers in float: %s", num_kept, attempts[-1].verdict)
            if attempts[-1].passed:
                _take_graph(trial, folder)
                return replace(attempts[-1], attempts=_summary(attempts))
            if num_kept:
                shutil.rmtree(trial)
        if force:
            _take_graph(Path(scratch) / "0", folder)
            return replace(attempts[0], attempts=_summary(attempts))
    raise UserError(
        f"int8 was refused: {attempts[0].verdict} With the {len(attempts[-1].kept_in_float)} worst of "
        f"{len(names)} layers in float: {attempts[-1].verdict} "
        "Nothing was written; use fp32 or fp16, or --force."
    )


def measure(exported: Exported, *, task: str, examples: Calibration) -> Measured:
    """Answer the examples with a graph and score the labelled ones."""
    probabilities = exported.checkpoint.probabilities  # decisions fall where prediction's will
    recorder = Recorder(open_exported(exported), probabilities)
    predictor = Predictor(
        tokenizer=exported.checkpoint.tokenizer,
        backend=recorder,
        batch_tokens=_BATCH_TOKENS,
        show_progress=False,
        checkpoint=exported.checkpoint,
        probabilities=probabilities,
    )
    answered = FILE_TASKS[task](predictor, examples.options(task))
    found = check_file(answered, examples.path, is_logged=False)
    with tqdm(total=found.num_rows, desc="answer", unit="row", leave=False, disable=None) as bar:
        for chunk in chunks_of(answered, found):
            for example, answer in zip(chunk, answer_chunk(answered, chunk), strict=True):
                if example.gold is not None:
                    answered.scorer.add(example.gold, answer.scored)
            bar.update(len(chunk))
    scores = answered.scorer.result() if found.num_labelled else {}
    return Measured(recorder, found.num_rows, judged_metrics(scores, scale=answered.scorer.scale))


def judged_metrics(scores: Mapping[str, object], *, scale: float = 1.0) -> dict[str, float]:
    """Return what the gate judges of a scorer's result: shares in points, errors as they are.

    Args:
        scores: what a scorer returned; tables and counts are left out.
        scale: what a perfect share is there, `Scorer.scale`.

    Raises:
        ValueError: for a number that the gate does not know: it would pass unseen.
    """
    judged: dict[str, float] = {}
    for name, value in scores.items():
        if name in _NOT_JUDGED or name.endswith("_total") or not isinstance(value, int | float):
            continue
        if name not in METRICS:
            raise ValueError(
                f"the int8 gate does not know the metric {name!r}: say in tasks/metrics.py what it is"
            )
        judged[name] = value if name in ERRORS else 100 / scale * value
    return judged


def _is_kept(name: str, before: float, after: float) -> bool:
    """Whether a metric is as good as before, within what is allowed, or undefined as before."""
    if math.isnan(before) or math.isnan(after):
        return math.isnan(before) and math.isnan(after)
    if name in ERRORS:
        return after <= before * (1 + MAX_ERROR_GROWTH)
    return before - after <= MAX_LOST_POINTS


def compare(before: Measured, after: Measured, *, kept: list[str]) -> GateReport:
    """Judge int8 against float on the same examples."""
    first, second = before.recorder.decisions(), after.recorder.decisions()
    if first.dtype.kind == "f":
        same = np.abs(first - second) <= _VALUE_MARGIN * first.std()
    else:
        same = first == second
    equal = float(same.mean())
    passed = equal >= MIN_EQUAL_DECISIONS and all(
        _is_kept(name, value, after.metrics[name]) for name, value in before.metrics.items()
    )
    changes = ", ".join(
        f"{name} {value:.3g} -> {after.metrics[name]:.3g}"
        if name in ERRORS
        else f"{name} {value:.1f} -> {after.metrics[name]:.1f}"
        for name, value in before.metrics.items()
    )
    verdict = f"{100 * equal:.2f} % of {same.size} decisions are equal{', ' + changes if changes else ''}."
    return GateReport(passed, verdict, before.num_examples, equal, before.metrics, after.metrics, kept)


def _numbers_to_keep(num_layers: int) -> Iterable[int]:
    """0, 1, 2, 4, ... up to half of the layers."""
    yield 0
    number = 1
    while number <= num_layers // 2:
        yield number
        number *= 2


def _spread(batches: list[Batch]) -> list[Batch]:
    """At most `CALIBRATION_BATCHES`, from all over the examples."""
    step = max(1, -(-len(batches) // CALIBRATION_BATCHES))
    return batches[::step]


def _summary(attempts: list[GateReport]) -> list[dict[str, object]]:
    return [
        {"kept_in_float": len(one.kept_in_float), "passed": one.passed, "verdict": one.verdict}
        for one in attempts
    ]


def _copy_without_graph(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        if path.is_file() and not _is_graph(path):
            shutil.copy2(path, target / path.name)
    return target


def _take_graph(source: Path, target: Path) -> None:
    for path in [path for path in target.iterdir() if _is_graph(path)]:
        path.unlink()
    for path in [path for path in source.iterdir() if _is_graph(path)]:
        shutil.move(path, target / path.name)


def _is_graph(path: Path) -> bool:
    return path.suffix in (".onnx", ".data", ".xml", ".bin", ".safetensors")
