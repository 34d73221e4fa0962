"""``debertav3 trim-vocab``: a smaller checkpoint with only the tokens that a corpus uses."""

import json
from pathlib import Path
from typing import Annotated

from ..files import Output
from .answer_options import ModelName
from .commands import Option
from .input_checks import open_checkpoint
from .options import Overwrite
from .outputs import guard
from .terminal import wrote


def trim_vocab(
    model: ModelName,
    corpus: Annotated[
        list[Path],
        Option("--data", help="Text files: .txt or .jsonl, also .gz or .zst; several may follow."),
    ],
    out: Annotated[Path, Option(help="Folder for the smaller checkpoint and its tokenizer.")],
    columns: Annotated[
        list[str] | None,
        Option(
            "--text-column",
            help="Columns of .jsonl files that have text; several may follow.",
        ),
    ] = None,
    min_count: Annotated[int, Option(help="Keep tokens that occur at least this often.", min=1)] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Remove tokens that a corpus does not use.

    Removes their embeddings and prints how much that saves.

    Keeps single characters, bytes and special tokens. Texts whose tokens were all kept get the same outputs.

    Example: debertav3 trim-vocab --model models/nano --data texts.jsonl.gz --out small
    """
    guard(
        Output(option="--out", path=out, is_folder=True),
        inputs={"--model": model, "--data": corpus},
        overwrite=overwrite,
    )
    checkpoint = open_checkpoint(model)
    from dataclasses import asdict

    from tqdm import tqdm

    from ..errors import UserError
    from ..tokenization.text_files import DEFAULT_COLUMNS, read_texts
    from ..tokenization.vocabulary_trimming import count_ids

    tokenizer = checkpoint.tokenizer
    texts = (text for path in corpus for text in read_texts(path, columns=columns or DEFAULT_COLUMNS))
    counts = count_ids(tokenizer, tqdm(texts, desc="reading", unit=" texts", disable=None))
    if not counts.any():
        raise UserError(
            "the corpus has no text, so it does not show which tokens to keep. Give files with text."
        )

    from ..checkpoint.trimming import trim_checkpoint

    report = trim_checkpoint(checkpoint, out, counts, tokenizer, min_count=min_count)
    print(json.dumps(asdict(report), indent=2))
    wrote(out)
