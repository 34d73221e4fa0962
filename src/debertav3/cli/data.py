"""``debertav3 data``: prepare corpora for pre-training, and check labelled data."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from ..files import Output
from .commands import Group, Option
from .options import DATA, MODEL, RUN
from .outputs import guard
from .terminal import log_to_stderr, wrote

logger = logging.getLogger(__name__)

CLEANING = "Cleaning"


def prepare_command(
    inputs: Annotated[
        list[str],
        Option(
            "--data",
            help="Files, folders or datasets:NAME[:CONFIG][:SPLIT]; several may follow.",
            heading=DATA,
        ),
    ],
    tokenizer: Annotated[str, Option(help="Tokenizer: a folder or Hub name.", heading=MODEL)],
    out: Annotated[Path, Option(help="Folder for the shards; an unfinished one is continued.", heading=RUN)],
    text_column: Annotated[
        str, Option(help="Column of the text in JSONL, Parquet and data sets.", heading=DATA)
    ] = "text",
    txt_documents: Annotated[
        Literal["block", "line"],
        Option(help="In .txt, a document is a block between blank lines, or a line.", heading=DATA),
    ] = "block",
    clean: Annotated[
        Literal["none", "light", "gopher"],
        Option(
            help="light: normalize whitespace and drop garbage; gopher: also Gopher's filters for English.",
            heading=CLEANING,
        ),
    ] = "none",
    dedup: Annotated[
        Literal["none", "exact", "minhash"],
        Option(help="Drop duplicate documents; minhash: near duplicates too.", heading=CLEANING),
    ] = "none",
    heldout_share: Annotated[
        float, Option(help="Share of the documents to hold out for validation.", heading=DATA)
    ] = 0.005,
    unit_mib: Annotated[int, Option(help="Maximum MiB of a file per job.", heading=RUN)] = 64,
    workers: Annotated[int, Option(help="Number of parallel jobs.", heading=RUN)] = 1,
    executor: Annotated[
        Literal["local", "slurm", "ray"], Option(help="Where the jobs run.", heading=RUN)
    ] = "local",
    slurm_partition: Annotated[
        str, Option(help="slurm: partition.", show_default="the cluster's", heading=RUN)
    ] = "",
    slurm_time: Annotated[
        str, Option(help="slurm: time limit of a job, in hours:minutes:seconds.", heading=RUN)
    ] = "08:00:00",
) -> None:
    """Turn raw text into shards for `pretrain`.

    Reads .txt and .jsonl (also .gz and .zst), .parquet and data sets by name.

    Example: debertav3 data prepare --data corpus/ extra.jsonl.zst --tokenizer models/nano --out shards
        --dedup exact --workers 2

    Prints the statistics as JSON. Lines and files that cannot be read are listed in OUT/problems.jsonl, with
    file and line number. If interrupted, rerun the command to finish what is left.
    """
    from ..data.prepare import WRITTEN, ExecutorConfig, PrepareConfig, prepare

    log_to_stderr()
    config = PrepareConfig(
        inputs=tuple(inputs),
        tokenizer=tokenizer,
        text_column=text_column,
        txt_documents=txt_documents,
        clean=clean,
        dedup=dedup,
        heldout_share=heldout_share,
        unit_mib=unit_mib,
    )
    place = ExecutorConfig(
        kind=executor, workers=workers, slurm_partition=slurm_partition, slurm_time=slurm_time
    )
    guard(
        Output(option="--out", path=out, is_folder=True, writes=WRITTEN, may_exist=True),
        inputs={"--data": inputs, "--tokenizer": tokenizer},
    )
    index = prepare(config, out, place)
    if index is None:
        logger.info("submitted to %s; %s is written when all jobs are done", executor, out / "index.json")
        return
    for problem in first_problems(out):
        logger.warning("%s", problem)
    print(json.dumps({"fingerprint": index["fingerprint"], **index["statistics"]}))
    wrote(out)


def first_problems(out: Path, most: int = 10) -> list[str]:
    """The first lines of ``problems.jsonl``, for people."""
    with open(out / "problems.jsonl", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    lines = [f"not read: {row['place']}: {row['reason']}" for row in rows[:most]]
    if len(rows) > most:
        lines.append(f"... and {len(rows) - most} more in {out / 'problems.jsonl'}")
    return lines


def _load(name: str) -> Callable[..., None]:
    if name == "prepare":
        return prepare_command
    from .data_check import check_command

    return check_command


data = Group(
    "data",
    help="Prepare and check data.",
    summaries={
        "prepare": "Turn raw text into shards for `pretrain`.",
        "check": "Check labelled data before training.",
    },
    load=_load,
)
