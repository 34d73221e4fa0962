"""``debertav3 pretrain``: replaced token detection or masked words, from shards or straight from text."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

from ..errors import MissingExtraError, UserError
from ..files import Output
from ..pretrain.phases import Plan
from ..pretrain.settings import Objective, PretrainConfig, Sharing
from ..processes import is_first_process
from .commands import Option
from .input_checks import open_checkpoint
from .options import DATA, MODEL, RUN, SETTINGS, TRAINING, help_settings
from .outputs import guard
from .terminal import log_to_stderr, wrote


def pretrain(
    out: Annotated[Path, Option(help="Folder for the run.", heading=RUN)],
    data: Annotated[
        list[str] | None,
        Option(
            help="The folder that `data prepare` wrote, or text files, which are prepared into OUT/shards.",
            heading=DATA,
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        Option(help="Tokenizer for text files.", show_default="that of --from", heading=DATA),
    ] = None,
    size: Annotated[
        str | None,
        Option(
            help="nano, xsmall, small, base, large or mdeberta-base.",
            show_default="base",
            heading=MODEL,
        ),
    ] = None,
    start: Annotated[
        Path | None,
        Option(
            "--from",
            help="Checkpoint or run to continue from, with or without a generator.",
            heading=MODEL,
        ),
    ] = None,
    resume_stable: Annotated[
        bool,
        Option(
            "--resume-stable",
            help="--from is a run with schedule=wsd: continue its stable part, with its optimizer and steps.",
            heading=MODEL,
        ),
    ] = False,
    objective: Annotated[
        Objective | None,
        Option(help="Replaced token detection or masked words.", show_default="rtd", heading=TRAINING),
    ] = None,
    sharing: Annotated[
        Sharing | None,
        Option(
            help="How generator and discriminator share embeddings; es needs --set mode=joint.",
            show_default="gdes",
            heading=TRAINING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        Option(help="Optimizer steps.", show_default="by size", heading=TRAINING),
    ] = None,
    learning_rate: Annotated[
        float | None,
        Option(help="Peak learning rate.", show_default="by size", heading=TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None,
        Option(
            help="Windows (of --max-length tokens) per optimizer step.",
            show_default="by size",
            heading=TRAINING,
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        Option(help="Tokens in a window.", show_default="by size", heading=TRAINING),
    ] = None,
    probe_data: Annotated[
        list[str] | None,
        Option(
            help="Labelled rows, or pairs of a good and a bad sentence, to measure the encoder on during "
            "training.",
            heading=TRAINING,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        Option(help="YAML file of settings, or the run.json of a run.", heading=SETTINGS),
    ] = None,
    override: Annotated[
        list[str] | None,
        Option("--set", help="Any setting, such as weight_decay=0.1.", heading=SETTINGS),
    ] = None,
    help_settings: Annotated[bool, help_settings(lambda: PretrainConfig, heading=SETTINGS)] = False,
    resume: Annotated[
        bool,
        Option("--resume", help="Resume from the newest complete checkpoint.", heading=RUN),
    ] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the settings and exit.", heading=RUN)] = False,
) -> None:
    """Pre-train an encoder on raw text.

    Example: debertav3 pretrain --data shards --out run --size nano

    Writes OUT/encoder (for any DeBERTa-v2 class), OUT/discriminator, OUT/generator and OUT/report.html. With
    torchrun, each process takes a share of every batch. SIGTERM and Ctrl-C save a checkpoint and exit with
    code 0.
    """
    from ..pretrain.settings import recipe
    from ..runs.assignments import read_settings

    log_to_stderr()
    file = read_settings(config) if config else {}
    given = {
        "objective": objective,
        "sharing": sharing,
        "max_steps": steps,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "max_length": max_length,
        "probe_data": probe_data or None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    settings = recipe(size or str(file.get("size", "base"))).with_read(
        PretrainConfig.read_values(
            {name: value for name, value in file.items() if name != "size"}, source="--config"
        )
        | PretrainConfig.read_overrides(override or [])
        | PretrainConfig.read_values(given, source="command line")
    )
    if dry_run:
        print(json.dumps(settings.resolved(), indent=1))
        return
    from ..pretrain.provenance import WRITTEN, check_folder

    phases = [folder for phase in settings.phases for folder in phase.data]
    guard(
        Output(option="--out", path=out, is_folder=True, writes=WRITTEN, may_exist=True),
        inputs={
            "--data": data,
            "--tokenizer": tokenizer,
            "--from": start,
            "--config": config,
            "phases": phases,
            "--probe-data": list(settings.probes.data),
        },
    )
    if is_first_process():
        check_folder(out, resume=resume)
    start = _start(settings, start, resume_stable=resume_stable)
    if settings.probes.data and is_first_process():
        from ..pretrain.probe_data import read_probes

        read_probes(settings.probes.data, rows=settings.probes.rows)  # wrong files are reported at once
    shards, prepare = _shards(settings.plan, data or [], tokenizer or _tokenizer_of(start), out)
    try:
        from ..pretrain.run import pretrain as run_pretraining
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature="pre-training", package=str(error.name), extra="pretrain") from error
    finished = run_pretraining(
        settings,
        shards,
        out,
        resume=resume,
        start=start,
        resume_stable=resume_stable,
        prepare=prepare,
    )
    print(json.dumps({"finished": finished, "out": str(out), "encoder": str(out / "encoder")}))
    wrote(out)


def _start(settings: PretrainConfig, start: Path | None, *, resume_stable: bool) -> Path | None:
    """The checkpoint or run that a run begins with, looked at."""
    if resume_stable:
        from ..pretrain.stable_part import find_stable_part

        if start is None:
            raise UserError("--resume-stable needs --from RUN, the folder of the run to continue")
        find_stable_part(start, settings)
        return start
    if start is None or (start / "encoder" / "config.json").is_file():  # the folder of a run
        return start
    return open_checkpoint(start, with_generator=True).path


def _tokenizer_of(start: Path | None) -> str | None:
    """Where the tokenizer of a checkpoint or a run is."""
    if start is None:
        return None
    return str(start / "encoder" if (start / "encoder").is_dir() else start)


def _shards(
    plan: Plan, data: list[str], tokenizer: str | None, out: Path
) -> tuple[Path, Callable[[], object] | None]:
    """The folder of shards whose tokenizer and held-out text the run has, and for text files what writes it.

    Raises:
        UserError: if there is no data, or text without a tokenizer.
    """
    from ..pretrain.corpora import check_folders, main_folder

    folder = main_folder(plan, Path(data[0]) if data else None)
    data = data or [str(folder)]
    is_prepared = any((folder / name).exists() for name in ("index.json", "tokenizer"))
    if len(data) == 1 and (is_prepared or (folder.is_dir() and tokenizer is None)):
        from ..data.shards import SPLITS, TokenShards

        for split in SPLITS:  # wrong folders are reported before torch loads; content is verified later
            TokenShards(folder, split, verify=False)
        check_folders(plan, folder)
        return folder, None
    if tokenizer is None:
        if not folder.exists() and not data[0].startswith("datasets:"):
            raise UserError(f"--data {folder} does not exist.")
        raise UserError(
            "--data with text files needs --tokenizer: the folder of a tokenizer (debertav3 tokenizer train "
            "makes one)"
        )
    from ..data.documents import plan_units
    from ..data.prepare import ExecutorConfig, PrepareConfig, prepare

    config = PrepareConfig(inputs=tuple(data), tokenizer=tokenizer, heldout_share=0.02)
    plan_units(config.inputs, unit_bytes=config.unit_mib << 20)  # missing files are reported at once
    return out / "shards", partial(prepare, config, out / "shards", ExecutorConfig())
