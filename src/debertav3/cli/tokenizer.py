"""``debertav3 tokenizer``: encode files, train a vocabulary, check a folder."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from click.exceptions import Exit

from ..files import Output
from .commands import Group, Option
from .options import Overwrite
from .outputs import guard
from .terminal import wrote

CHUNK_LINES = 4_096
CHUNK_CHARACTERS = 2_000_000  # bounds the memory where lines are long

COLUMN_HELP = "Text column of .jsonl rows."


def encode(
    model: Annotated[str, Option(help="Folder with spm.model or tokenizer.json, or Hub name.")],
    input: Annotated[Path, Option("--data", help="A .txt or .jsonl file, also .gz or .zst.")],
    output: Annotated[
        Path, Option("--out", help="File for the ids: one JSON list per line, without special tokens.")
    ],
    column: Annotated[str, Option("--text-column", help=COLUMN_HELP)] = "text",
    compat: Annotated[
        Literal["exact", "hf5"] | None, Option(help="hf5: the ids that transformers 5 gives.")
    ] = None,
    parse_special_tokens: Annotated[
        bool, Option(help="Recognize special tokens such as [MASK] in the text.")
    ] = False,
    threads: Annotated[int, Option(help="Threads of the tokenizer.", min=1, max=1024)] = 2,
    overwrite: Overwrite = False,
) -> None:
    """Turn every line of a file into token ids.

    Example: debertav3 tokenizer encode --model models/nano --data lines.txt --out ids.jsonl
    """
    guard(
        Output(option="--out", path=output),
        inputs={"--data": input, "--model": model},
        overwrite=overwrite,
    )
    from tqdm import tqdm

    from ..files import replacing
    from ..tokenization import DebertaV3Tokenizer
    from ..tokenization.text_files import read_texts

    tokenizer = DebertaV3Tokenizer.from_pretrained(
        model, compat=compat, parse_special_tokens=parse_special_tokens, num_threads=threads
    )
    texts = tqdm(read_texts(input, columns=(column,)), desc="encoding", unit=" lines", disable=None)
    with replacing(output) as stream:
        for chunk in _chunks(texts):
            stream.writelines(f"{ids}\n".encode("ascii") for ids in tokenizer.encode_batch(chunk))
    wrote(output)


def train(
    inputs: Annotated[
        list[Path],
        Option("--data", help="Text files: .txt or .jsonl, also .gz or .zst; several may follow."),
    ],
    out: Annotated[Path, Option(help="Folder for spm.model, tokenizer.json and vocabulary.json.")],
    vocab_size: Annotated[int, Option(help="Number of tokens in spm.model; [MASK] is added.")] = 128_000,
    columns: Annotated[
        list[str] | None, Option("--text-column", help=f"{COLUMN_HELP} Several may follow.")
    ] = None,
    max_lines: Annotated[
        int, Option(help="Train on a random sample of this many lines, which bounds the memory.")
    ] = 2_000_000,
    coverage: Annotated[
        float, Option(help="Share of all characters that get a token of their own.")
    ] = 0.999997,
    threads: Annotated[
        int, Option(help="Threads of the trainer; the result depends on their number.", min=1, max=1024)
    ] = 2,
    seed: Annotated[int, Option(help="Random seed of the sample.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Train a vocabulary on texts.

    Uses the settings of the released vocabulary, and prints how well the new one fits.

    Example: debertav3 tokenizer train --data corpus.jsonl.gz --vocab-size 12000 --out my-vocabulary
    """
    from dataclasses import asdict

    from tqdm import tqdm

    from ..tokenization.text_files import DEFAULT_COLUMNS, read_texts
    from ..tokenization.unigram_training import WRITTEN, VocabularyConfig, train_vocabulary

    guard(
        Output(option="--out", path=out, is_folder=True, writes=WRITTEN),
        inputs={"--data": inputs},
        overwrite=overwrite,
    )
    config = VocabularyConfig(
        vocab_size=vocab_size,
        character_coverage=coverage,
        max_sample_lines=max_lines,
        seed=seed,
        num_threads=threads,
    )
    texts = (text for path in inputs for text in read_texts(path, columns=columns or DEFAULT_COLUMNS))
    report = train_vocabulary(tqdm(texts, desc="reading", unit=" texts", disable=None), out, config)
    print(json.dumps(asdict(report), indent=2))
    wrote(out)


def check(
    model: Annotated[Path, Option(help="Local tokenizer folder.")],
    input: Annotated[
        Path | None, Option("--data", help="Lines to compare on.", show_default="a few hard ones")
    ] = None,
    column: Annotated[str, Option("--text-column", help=COLUMN_HELP)] = "text",
) -> None:
    """Check that other libraries get the same ids.

    Compares the ids that this package, stock libraries and transformers 5's own class give with one folder.

    Exit code 1: stock libraries get other ids.

    Example: debertav3 tokenizer check --model models/nano
    """
    from dataclasses import asdict

    from ..tokenization.check import PROBES, check_folder
    from ..tokenization.text_files import read_texts

    report = check_folder(model, PROBES if input is None else read_texts(input, columns=(column,)))
    print(json.dumps(asdict(report), indent=2))
    if report.verdict != "OK":
        raise Exit(1)


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Group texts so that no group is large in number or in characters."""
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) == CHUNK_LINES or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


_COMMANDS: dict[str, Callable[..., None]] = {"encode": encode, "train": train, "check": check}

tokenizer = Group(
    "tokenizer",
    help="Encode files, train a vocabulary, check a folder.",
    summaries={
        "encode": "Turn every line of a file into token ids.",
        "train": "Train a vocabulary on texts.",
        "check": "Check that other libraries get the same ids.",
    },
    load=_COMMANDS.__getitem__,
)
