"""What ids a tokenizer folder gives to this package, to stock libraries and to transformers 5's own class."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import tokenizers

from ..errors import UserError
from .engines import SentencePieceEngine, without_surrogates
from .tokenizer import DebertaV3Tokenizer
from .tokenizer_files import JSON_FILE

PROBES = (
    "Hello world!",
    "I was born in 92000, and this is fals\u00e9.",
    "no\u00a0break, zero\u200bwidth, ideographic\u3000space",
    "\ufb01ne \u00bd \u2460 \uff21\uff11 \u2026",
    "e\u0301 \u1f04 \u03b1\u0313\u0301",
    "\U00013000 \u16a0 \U0001f469\u200d\U0001f467",
    " two  spaces,\ttabs and\nlines ",
    "[MASK] [SEP] <s>",
)
"""Where readers part ways: spaces, compatibility characters, combining marks, bytes, typed special tokens."""

CHUNK = 1_000
MAX_EXAMPLES = 5
TOLERATED_SHARE = 0.005
"""Share of lines on which ``tokenizer.json`` may differ from the model before a folder counts as faulty."""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What ``debertav3 tokenizer check`` prints."""

    verdict: str
    """``OK``, or what is wrong."""
    num_tokens: int
    special_ids: dict[str, int]
    has_model: bool
    has_tokenizer_json: bool
    lines: int
    stock_differs: int
    """Lines on which stock libraries, reading ``tokenizer.json``, get other ids than this package."""
    transformers5_differs: int
    """Lines on which transformers 5's ``DebertaV2Tokenizer``, reading the bare vocabulary, gets other ids."""
    examples: list[str] = field(default_factory=list)
    """Lines of the first kind."""


def check_folder(folder: str | Path, texts: Iterable[str] = PROBES) -> CheckReport:
    """Compare the ids that different readers of one local folder get.

    Args:
        folder: a tokenizer folder.
        texts: lines to compare on.

    Raises:
        UserError: if the folder cannot be opened, or there are no lines.
    """
    folder = Path(folder)
    ours = DebertaV3Tokenizer.from_pretrained(folder, compat="exact", local_files_only=True)
    theirs = DebertaV3Tokenizer.from_pretrained(folder, compat="hf5", local_files_only=True)
    stock, unreadable = _stock_reader(folder)
    num_lines = stock_differs = transformers5_differs = 0
    examples: list[str] = []
    lines = iter(texts)
    while chunk := list(islice(lines, CHUNK)):
        num_lines += len(chunk)
        want = ours.engine.encode_batch(chunk)
        transformers5_differs += sum(
            a != b for a, b in zip(want, theirs.engine.encode_batch(chunk), strict=True)
        )
        if stock is not None:
            clean = list(map(without_surrogates, chunk))
            got = [one.ids for one in stock.encode_batch_fast(clean, add_special_tokens=False)]
            differing = [text for text, a, b in zip(chunk, want, got, strict=True) if a != b]
            stock_differs += len(differing)
            examples += differing[: MAX_EXAMPLES - len(examples)]
    if not num_lines:
        raise UserError("no lines to check the tokenizer on: the input is empty. Give a file with text.")
    return CheckReport(
        verdict=unreadable or _verdict(stock is not None, stock_differs / num_lines),
        num_tokens=len(ours),
        special_ids=dict(ours.specials.ids),
        has_model=isinstance(ours.engine, SentencePieceEngine),
        has_tokenizer_json=stock is not None or unreadable is not None,
        lines=num_lines,
        stock_differs=stock_differs,
        transformers5_differs=transformers5_differs,
        examples=examples,
    )


def _stock_reader(folder: Path) -> tuple[tokenizers.Tokenizer | None, str | None]:
    """What stock libraries read, None where there is nothing; and why they cannot read what there is."""
    path = folder / JSON_FILE
    if not path.is_file():
        return None, None
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        reason = " ".join(str(error).split())
        return None, f"stock libraries cannot read {JSON_FILE} ({reason}); save the folder again"
    tokenizer.no_padding()  # as transformers does before every call, whatever was saved
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = (
        True  # typed special tokens are a choice of the caller's, not of the folder's
    )
    return tokenizer, None


def _verdict(has_tokenizer_json: bool, share: float) -> str:
    if not has_tokenizer_json:
        return (
            "no tokenizer.json: stock libraries build one of their own, with other ids; save the folder again"
        )
    if share > TOLERATED_SHARE:
        return f"tokenizer.json differs from spm.model on {share:.2%} of the lines; save the folder again"
    return "OK"
