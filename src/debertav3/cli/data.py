"""``debertav3 data``: prepare corpora for pre-training, and check labelled data."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from ..files import Output
from .commands import Group, Option
from .outputs import guard
from .terminal import log_to_stderr, wrote

logger = logging.getLogger(__name__)


def prepare_command(
    inputs: Annotated[
        list[str],
        Option(
            "--data",
            help="Files, folders or datasets:NAME[:CONFIG][:SPLIT]; several, or given several times.",
        ),
    ],
    tokenizer: Annotated[str, Option(help="Folder or Hub name of the tokenizer.")],
    out: Annotated[Path, Option(help="Folder for the shards; an unfinished one is continued.")],
    text_column: Annotated[str, Option(help="Key of the text in JSONL, Parquet and data sets.")] = "text",
    txt_documents: Annotated[
        str, Option(help="In .txt, a document is a 'block' between blank lines or each 'line'.")
    ] = "block",
    clean: Annotated[
        str,
        Option(help="'none', 'light' (spacing, rubbish) or 'gopher' (and Gopher's English filters)."),
    ] = "none",
    dedup: Annotated[str, Option(help="'none', 'exact' or 'minhash' (near duplicates).")] = "none",
    heldout_share: Annotated[float, Option(help="Share of documents, by hash, kept for validation.")] = 0.005,
    unit_mib: Annotated[int, Option(help="Largest share of a file for one task, in MiB.")] = 64,
    workers: Annotated[int, Option(help="Tasks at a time.")] = 1,
    executor: Annotated[str, Option(help="Where tasks run: local, slurm or ray.")] = "local",
    slurm_partition: Annotated[str, Option(help="Partition, for slurm.")] = "",
    slurm_time: Annotated[str, Option(help="Time limit of a task, for slurm.")] = "08:00:00",
) -> None:
    """Turn raw text into shards for `pretrain`.

    Reads .txt and .jsonl (also .gz and .zst), .parquet and data sets by name.

    Example: debertav3 data prepare --data corpus/ extra.jsonl.zst --tokenizer models/nano --out shards
        --dedup exact --workers 2

    Prints the statistics as JSON. Lines and files that cannot be read are listed with their place in
    OUT/problems.jsonl. Run again with the same arguments, it does only what is unfinished.
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
        logger.info("handed to %s; %s appears when all is done", executor, out / "index.json")
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
        "check": "Look at labelled data before training.",
    },
    load=_load,
)
