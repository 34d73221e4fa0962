"""One pre-training run: data, networks, step and loop put together; what it leaves in its folder.

``DIR`` gets ``run.json`` (configuration, versions, fingerprint of the data), ``metrics.jsonl``,
``checkpoints/``, ``report.html`` and, at the end, ``encoder/``, ``discriminator/`` and ``generator/``, and
the same of averaged weights in ``ema/`` and ``mean/``.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs

from ..data.samples import PretrainingData
from ..data.shards import INDEX_NAME, TokenShards
from ..errors import DivergedError, UserError
from ..models.precision import check_precision, multiplies_bf16
from ..processes import is_first_process, num_processes
from ..tokenization import DebertaV3Tokenizer
from ..tokenization.tokenizer_files import JSON_FILE, MODEL_FILE
from .averaging import WeightAverages
from .batches import MaskedBatch, load_steps, open_stretches
from .build_step import build_step
from .corpora import Corpora, open_heldout
from .diagnostics import derived, embedding_cosines
from .flops import detection_flops, masked_lm_flops, measured_rate
from .loop import Loop, TrainStep
from .metrics_log import MetricsLog
from .networks import Networks, build_networks, export
from .probes import probe_when_due
from .provenance import check_folder, note_run, place_of, run_contents
from .report import write_report
from .rtd import add
from .settings import PretrainConfig
from .stable_part import check_contents, checkpoints_of, find_stable_part
from .verdict import RunVerdict, broken_weights, word_frequency_loss

log = logging.getLogger(__name__)

_OF_AVERAGES = ("mlm_loss", "rtd_loss", "rtd_f1")
"""Figures on held-out text that averaged weights get, too."""
_FOREIGN = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def pretrain(
    config: PretrainConfig,
    data: Path,
    out: Path,
    *,
    resume: bool,
    start: Path | None = None,
    resume_stable: bool = False,
    prepare: Callable[[], object] | None = None,
) -> bool:
    """Run or resume one pre-training.

    Args:
        config: of the run.
        data: folder that ``debertav3 data prepare`` wrote; its tokenizer and held-out text are the run's.
        out: the run's folder.
        resume: continue from the newest complete checkpoint, if there is one.
        start: checkpoint folder whose weights to start from; None for fresh ones. A path, not an opened
            checkpoint: it may be a run with three networks in folders of their own, every process opens them
            for itself, and what is noted of it (name, content) is of the folder as a whole.
        resume_stable: ``start`` is the folder of a ``wsd`` run whose stable part is continued, with its
            optimizer and steps.
        prepare: writes ``data`` if it is not whole yet. The first process calls it; the others wait.

    Returns:
        True if the run came to its end, False if SIGTERM ended it early.

    Raises:
        UserError: if ``out`` holds another run, or one that cannot be resumed.
        DivergedError: if the run ended without usable weights: then no encoder is exported.
    """
    _check_batch(config, num_processes())
    if is_first_process():
        check_folder(out, resume=resume)
        if prepare is not None:
            prepare()
    elif prepare is not None:  # may take longer than exchanges may; if it fails, torchrun ends this process
        while not (data / INDEX_NAME).exists():
            time.sleep(1)
    timeout = timedelta(seconds=config.compute.exchange_timeout_seconds)
    accelerator = Accelerator(
        mixed_precision=choose_precision(config.compute.precision, _device_type()),
        cpu=not torch.accelerator.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timeout)],
    )
    if accelerator.distributed_type in _FOREIGN:
        raise UserError(
            f"launch pre-training with torchrun, without accelerate's {accelerator.distributed_type.value}: "
            "weights are sharded by --set shard_weights=true"
        )
    part = find_stable_part(start, config) if start is not None and resume_stable else None
    weights = start if part is None else part.weights()
    plan = config.plan
    corpora = Corpora(plan, data, verify=accelerator.is_local_main_process)
    tokenizer = DebertaV3Tokenizer.from_pretrained(data / "tokenizer")
    store = checkpoints_of(out, keep=config.loop.save_total_limit)
    networks = build_networks(config, len(tokenizer), weights)
    _check_vocabulary(networks, tokenizer, weights)
    if accelerator.is_main_process:
        if config.optimizer.warmup_steps >= config.loop.max_steps:
            log.warning(
                "warmup_steps=%d would cover the whole run of %d steps: shortened to %d",
                config.optimizer.warmup_steps,
                config.loop.max_steps,
                config.warmup,
            )
        log.info("processes: %d; mixed precision: %s", accelerator.num_processes, accelerator.mixed_precision)
    step = build_step(config, networks, accelerator)
    averages = WeightAverages(step.engines, config.averaging, num_steps=config.loop.max_steps)
    stretches = open_stretches(
        corpora, config, tokenizer, rank=accelerator.process_index, world_size=accelerator.num_processes
    )
    heldout_shards = TokenShards(data, "heldout", verify=accelerator.is_local_main_process)
    heldout = open_heldout(config, heldout_shards, tokenizer)
    started_from = start if part is None else None
    contents = run_contents(corpora.main, heldout_shards, started_from, tokenizer=data / "tokenizer")
    if phases := corpora.contents():
        contents["phases"] = phases
    if part is not None:
        check_contents(part, contents)
        contents["start"] = part.content()
    probe = probe_when_due(config, networks, tokenizer, accelerator)

    def load(first_step: int) -> Iterator[list[MaskedBatch]]:
        return load_steps(
            stretches, plan.mask_prob, first_step=first_step, num_workers=config.data.loader_workers
        )

    def validate(done: int) -> dict[str, float]:
        if heldout is None:
            return _cosines(networks)
        figures = evaluate(step, heldout, config, accelerator)
        for kind in averages.kinds(done):
            with averages.in_place(kind):
                averaged = evaluate(step, heldout, config, accelerator)
            figures |= {f"{kind}_{name}": averaged[name] for name in _OF_AVERAGES if name in averaged}
        return {**figures, **_cosines(networks)}

    def begin(done: int) -> None:
        if accelerator.is_main_process:
            store.clean()
            note_run(
                config,
                corpora.main,
                networks,
                out,
                start,
                contents=contents,
                num_tokens=corpora.num_tokens,
                word_frequency_loss=word_frequency_loss(corpora.main, heldout_shards),
            )
        metrics.forget_after(done)

    peak = _peak_rate(accelerator)

    def seconds_at_peak(step: int) -> float:
        flops = _flops_per_token(networks, length=plan.phase(step).max_length, mask_prob=plan.mask_prob(step))
        return flops / peak

    is_main = accelerator.is_main_process
    with MetricsLog(out, plan, seconds_at_peak=seconds_at_peak, is_main=is_main) as metrics:
        loop = Loop(
            step,
            load,
            config=config.loop,
            seed=config.seed,
            plan=plan,
            averages=averages,
            store=store,
            stable_steps=config.stable_steps,
            accelerator=accelerator,
            facts={
                "config": config.identity(),
                "fingerprint": corpora.main.fingerprint,
                "start": place_of(start),
                "contents": contents,
            },
            write=metrics.write,
            validate=validate,
            probe=probe,
            begin=None if part is None else part.checkpoint,
            started=begin,
        )
        failure: DivergedError | None = None
        finished = False
        try:
            finished = loop.run(resume=resume)
        except DivergedError as error:
            failure = error
    broken = broken_weights((networks.generator, networks.discriminator))
    if is_main:
        verdict = write_report(out, broken=broken, failure=failure)
        log.log(logging.INFO if verdict.kind == "trained" else logging.WARNING, "%s", verdict)
        if verdict.kind == "diverged" and (finished or broken or failure):
            failure = DivergedError(_refusal(verdict, out))
    if loop.any_process(failure is not None):
        raise failure or DivergedError("the run diverged, as the first process reported")
    if is_main or config.compute.shard_weights:
        export(networks, out, tokenizer, writes=is_main)
        for kind in averages.kinds(loop.done):
            with averages.in_place(kind):
                export(networks, out / kind, tokenizer, writes=is_main)
    _leave(step, accelerator)
    return finished


def _leave(step: TrainStep, accelerator: Accelerator) -> None:
    """End the exchange between processes.

    The wrapped networks go first. A process group that goes waits for its threads; if a wrapped network is
    the last to hold it, it waits with Python's lock, which those threads may need: the process never ends.
    """
    for engine in step.engines.values():
        engine.model = accelerator.unwrap_model(engine.model)
    accelerator.free_memory()
    gc.collect()  # a wrapped network refers to itself
    accelerator.end_training()


def _refusal(verdict: RunVerdict, out: Path) -> str:
    """What the command says of a run that diverged."""
    older = " What is in encoder/ is from before." if (out / "encoder").exists() else ""
    return (
        f"{verdict} No encoder was exported; the curves are in {out / 'report.html'}.{older} Lower "
        "learning_rate (--set), or use --set precision=fp32, and begin in another --out"
    )


def choose_precision(wanted: str, device_type: str) -> str:
    """Accelerate's word for a precision; ``"auto"`` is bf16 where the device multiplies in it.

    Where it does not, CUDA takes fp16, which its tensor cores have had for longer, and the rest fp32.

    Raises:
        UserError: if the device does not train in it.
    """
    check_precision(wanted, device_type)
    if wanted != "auto":
        return "no" if wanted == "fp32" else wanted
    if multiplies_bf16(device_type):
        return "bf16"
    return "fp16" if device_type == "cuda" else "no"


def _device_type() -> str:
    device = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if device is None else device.type


@torch.no_grad()
def evaluate(
    step: TrainStep, heldout: PretrainingData, config: PretrainConfig, accelerator: Accelerator
) -> dict[str, float]:
    """Losses and scores on held-out windows: always the same windows, masks and draws.

    Every process calls the networks equally often and exchanges the same figures, as spread weights and the
    exchange need: where one has no window left, it computes window 0 once more and counts nothing of it.
    """
    models = [engine.model for engine in step.engines.values()]
    for model in models:
        model.eval()
    number = min(config.data.validation_windows, len(heldout))
    mine = range(accelerator.process_index, number, accelerator.num_processes)
    most = len(range(0, number, accelerator.num_processes))
    sums: dict[str, torch.Tensor] = {}
    for first in range(0, most, config.data.micro_batch_size):
        indices = mine[first : first + config.data.micro_batch_size]
        batch = MaskedBatch.from_numpy(heldout.batch(indices or [0]))
        figures = step.evaluate(batch.to(accelerator.device))
        add(sums, {k: v.double() if indices else torch.zeros_like(v).double() for k, v in figures.items()})
    for model in models:
        model.train()
    return derived({name: float(accelerator.reduce(value, "sum")) for name, value in sums.items()})


def _cosines(networks: Networks) -> dict[str, float]:
    discriminator = networks.discriminator
    return embedding_cosines(
        networks.generator.deberta.embeddings, discriminator.deberta.embeddings if discriminator else None
    )


def _flops_per_token(networks: Networks, *, length: int, mask_prob: float) -> float:
    generator = masked_lm_flops(networks.generator.config.to_dict(), length=length, mask_prob=mask_prob)
    if networks.discriminator is None:
        return generator
    return generator + detection_flops(networks.discriminator.config.to_dict(), length=length)


def _peak_rate(accelerator: Accelerator) -> float:
    """Operations per second of all processes together, if every one had the rate of this one."""
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = dtypes.get(str(accelerator.mixed_precision), torch.float32)
    return measured_rate(accelerator.device, dtype) * accelerator.num_processes


def _check_batch(config: PretrainConfig, num_processes: int) -> None:
    for phase in config.plan.phases:
        if phase.batch_size % num_processes:
            raise UserError(
                f"batch_size ({phase.batch_size}) must be a multiple of the {num_processes} processes"
            )


def _check_vocabulary(networks: Networks, tokenizer: DebertaV3Tokenizer, start: Path | None) -> None:
    """Refuse data whose ids are not the checkpoint's: more of them, or the same numbers for other pieces."""
    rows, wanted = networks.generator.config.vocab_size, len(tokenizer)
    if wanted > rows:
        raise UserError(
            f"the data has {wanted} token ids and {start} only {rows}: prepare the data with the "
            "checkpoint's own tokenizer"
        )
    own = None if start is None else _tokenizer_of(start)
    if own is None:
        return
    known = own.get_vocab()
    strange = [piece for piece, number in tokenizer.get_vocab().items() if known.get(piece) != number]
    if strange:
        raise UserError(
            f"the data was prepared with another tokenizer than that of {start}: {len(strange)} of {wanted} "
            f"pieces are not the same ({strange[0]!r}). Prepare it with --tokenizer {start}"
        )


def _tokenizer_of(start: Path) -> DebertaV3Tokenizer | None:
    """The tokenizer of a checkpoint, an earlier run or a Hub name; None for a folder without one."""
    for folder in (start, start / "encoder"):
        if any((folder / name).is_file() for name in (MODEL_FILE, JSON_FILE)):
            return DebertaV3Tokenizer.from_pretrained(folder)
    return None if start.is_dir() else DebertaV3Tokenizer.from_pretrained(str(start))
