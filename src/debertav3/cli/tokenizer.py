"""``debertav3 tokenizer``: encode files, train a vocabulary, check a folder."""

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        name="tokenizer", help="Encode files, train a vocabulary, check a folder.", no_args_is_help=True
    )
    group.command("train")(train)
    app.add_typer(group)


def train(
    inputs: Annotated[
        list[Path], typer.Option("--input", help="A .txt or .jsonl file, also .gz. Repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for spm.model, tokenizer.json and vocabulary.json.")],
    vocab_size: Annotated[int, typer.Option(help="Pieces in the model; [MASK] comes on top.")] = 128_000,
    columns: Annotated[
        list[str], typer.Option("--column", help="Text column of .jsonl rows. Repeatable.")
    ] = ["text"],
    max_lines: Annotated[
        int, typer.Option(help="Lines drawn evenly from all; bounds the memory.")
    ] = 2_000_000,
    coverage: Annotated[
        float, typer.Option(help="Share of all characters with a piece of their own.")
    ] = 0.999997,
    threads: Annotated[int, typer.Option(help="Threads of the trainer.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
) -> None:
    """Train a vocabulary with the settings of the released one and print how well it fits.

    Example: debertav3 tokenizer train --input corpus.jsonl.gz --vocab-size 12000 --out my-vocabulary
    """
    from dataclasses import asdict

    from tqdm import tqdm

    from ..tokenization.text_files import read_texts
    from ..tokenization.training import VocabularyConfig, train_vocabulary

    config = VocabularyConfig(
        vocab_size=vocab_size,
        character_coverage=coverage,
        max_sample_lines=max_lines,
        seed=seed,
        num_threads=threads,
    )
    texts = (text for path in inputs for text in read_texts(path, columns=columns))
    report = train_vocabulary(tqdm(texts, desc="reading", unit=" texts", disable=None), out, config)
    print(json.dumps(asdict(report), indent=2))
