"""A new vocabulary with the settings of the released one, from any amount of text in bounded memory.

The settings are those stored in the ``spm.model`` of microsoft/deberta-v3-*: unigram, byte fallback, the
nmt_nfkc normalizer, character coverage 0.999997, pieces of at most 32 characters, the special pieces at ids 0
to 3.
"""

import io
import logging
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import sentencepiece

from ..errors import UserError
from ..files import replacing_folder, write_json
from .engines import SentencePieceEngine
from .recipe import exact_tokenizer
from .specials import ROLES, SpecialTokens
from .tokenizer_files import ADDED_FILE, CONFIG_FILE, JSON_FILE, MAP_FILE, MODEL_FILE, write_folder

logger = logging.getLogger(__name__)

MAX_LINE_BYTES = (
    4192  # longer lines would be dropped by the trainer: its max_sentence_length in the released model
)

REPORT_FILE = "vocabulary.json"
WRITTEN = (MODEL_FILE, JSON_FILE, CONFIG_FILE, ADDED_FILE, REPORT_FILE)
"""Everything that a training writes in its folder."""

NUM_FIXED_PIECES = 260  # 4 special pieces and 256 bytes

PRINTABLE_ASCII = "".join(map(chr, range(ord("!"), ord("~") + 1)))
"""They have a piece in every vocabulary, as in the released one, however rare they are in the text."""


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """What a vocabulary is trained with. The defaults are the released vocabulary's."""

    vocab_size: int = 128_000
    """Pieces in the model: 4 special, 256 bytes, the rest learned. ``[MASK]`` comes on top."""
    character_coverage: float = 0.999997
    """Share of all characters that get a piece of their own; the others are spelled in bytes. Printable
    ASCII always has pieces."""
    max_sample_lines: int = 2_000_000
    """Lines kept, drawn evenly from everything read: this bounds the memory (about 7 kB a line at worst)."""
    max_held_out_lines: int = 5_000
    """Lines of the sample, one in fifty at most, kept out of training to measure the report on."""
    seed: int = 0
    num_threads: int = 2
    """Threads of the trainer. The same number gives the same model."""

    def __post_init__(self) -> None:
        if self.vocab_size <= NUM_FIXED_PIECES:
            raise UserError(
                f"vocab_size={self.vocab_size} is too small: 4 special pieces and 256 bytes come "
                "before the first learned one. Give at least a few hundred, better thousands."
            )
        if not 0.98 <= self.character_coverage <= 1.0:  # sentencepiece's own limits
            raise UserError(f"--coverage must be from 0.98 to 1.0, got {self.character_coverage}.")
        if self.max_sample_lines < 1:
            raise UserError(f"--max-lines must be at least 1, got {self.max_sample_lines}.")


@dataclass(frozen=True, kw_only=True)
class VocabularyReport:
    """How well a new vocabulary fits text that it was not trained on."""

    vocab_size: int
    lines_read: int
    lines_trained_on: int
    lines_measured: int
    words_measured: int
    """Words are what stands between white space."""
    pieces_per_word: float
    characters_per_piece: float
    character_coverage: float
    """Share of the measured characters, white space aside, that pieces spell without bytes."""
    whole_word_share: float
    """Share of the measured words that are one piece."""


def train_vocabulary(
    texts: Iterable[str], folder: str | Path, config: VocabularyConfig | None = None
) -> VocabularyReport:
    """Train a vocabulary and write a tokenizer folder, with ``vocabulary.json`` to say how well it fits.

    Args:
        texts: documents or lines; each is split at line ends, and lines over 4,192 bytes at white space.
        folder: appears whole or not at all; in an existing one the files of `WRITTEN` are replaced.
        config: settings; None takes the released vocabulary's.

    Raises:
        UserError: if there is no text, or too little for so many pieces.
    """
    config = config or VocabularyConfig()
    sample, lines_read = _sample_lines(_training_lines(texts), size=config.max_sample_lines, seed=config.seed)
    if not sample:
        raise UserError("no text to train a vocabulary on: all inputs are empty. Give files with text.")
    num_held_out = min(config.max_held_out_lines, len(sample) // 50)
    held_out, trained_on = sample[:num_held_out], sample[num_held_out:]
    logger.info("training %d pieces on %d of %d lines", config.vocab_size, len(trained_on), lines_read)
    engine = SentencePieceEngine(_train(trained_on, config))
    report = _measure(
        engine.processor, held_out or trained_on, lines_read=lines_read, lines_trained_on=len(trained_on)
    )
    specials = SpecialTokens.resolve(pieces=engine.pieces, names=ROLES, added={})
    with replacing_folder(folder, obsolete=(MAP_FILE,)) as partial:
        write_folder(
            partial,
            model=engine.model,
            tokenizer_json=exact_tokenizer(engine, specials).to_str(),
            specials=specials,
            model_max_length=512,
        )
        write_json(partial / REPORT_FILE, {"settings": asdict(config), "measured": asdict(report)})
    return report


def _train(lines: list[str], config: VocabularyConfig) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            required_chars=PRINTABLE_ASCII,
            byte_fallback=True,
            normalization_rule_name="nmt_nfkc",
            max_sentencepiece_length=32,
            seed_sentencepiece_size=20_000_000,
            max_sentence_length=MAX_LINE_BYTES,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            pad_piece="[PAD]",
            bos_piece="[CLS]",
            eos_piece="[SEP]",
            unk_piece="[UNK]",
            num_threads=config.num_threads,
            minloglevel=1,
        )
    except RuntimeError as error:  # the trainer's only exception
        raise UserError(
            f"cannot train {config.vocab_size} pieces on {len(lines)} lines: {_what_to_do(str(error))}"
        ) from error
    return model.getvalue()


def _what_to_do(reason: str) -> str:
    """The trainer's reason in the words of our options; one that we do not know as it stands."""
    if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason):
        return (
            f"single characters alone need {needed[1]}. Give a larger --vocab-size, or a smaller --coverage "
            "(the share of all characters that get a piece of their own, from 0.98)."
        )
    if most := re.search(r"set it to a value <= (\d+)", reason):
        return f"they give at most {most[1]}. Give more text or a smaller --vocab-size."
    return reason.strip().splitlines()[-1].rpartition("] ")[2]  # after the trainer's own source line


def _sample_lines(lines: Iterable[str], *, size: int, seed: int) -> tuple[list[str], int]:
    """Draw ``size`` lines evenly (reservoir sampling), in random order; also return how many there were."""
    generator = random.Random(seed)
    sample: list[str] = []
    count = 0
    for count, line in enumerate(lines, start=1):
        if len(sample) < size:
            sample.append(line)
        elif (place := generator.randrange(count)) < size:
            sample[place] = line
    generator.shuffle(sample)
    return sample, count


def _training_lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.split("\n"):
            # NUL is the trainer's own mark; a lone surrogate has no UTF-8 form.
            line = line.replace("\0", " ").encode("utf-8", "replace").decode("utf-8").strip()
            if len(line.encode("utf-8")) <= MAX_LINE_BYTES:
                if line:
                    yield line
            else:
                yield from _chunks_at_spaces(line)


def _chunks_at_spaces(line: str) -> Iterator[str]:
    """Split a long line into runs of whole words; a single word over the limit is left out."""
    words: list[str] = []
    size = 0
    for word in line.split():
        width = len(word.encode("utf-8")) + 1
        if width > MAX_LINE_BYTES:
            continue
        if size + width > MAX_LINE_BYTES:
            yield " ".join(words)
            words, size = [], 0
        words.append(word)
        size += width
    if words:
        yield " ".join(words)


def _measure(
    processor: sentencepiece.SentencePieceProcessor,
    lines: list[str],
    *,
    lines_read: int,
    lines_trained_on: int,
) -> VocabularyReport:
    words = pieces = characters = bytes_characters = whole_words = 0
    for line in lines:
        for word in line.split():
            encoded = processor.encode(word, out_type=str)
            words += 1
            pieces += len(encoded)
            characters += len(word)
            whole_words += len(encoded) == 1
            # Of the bytes of one character only the first is not a continuation byte (10xxxxxx).
            bytes_characters += sum(
                processor.is_byte(processor.piece_to_id(piece)) and int(piece[1:-1], 16) & 0xC0 != 0x80
                for piece in encoded
            )
    return VocabularyReport(
        vocab_size=processor.get_piece_size(),
        lines_read=lines_read,
        lines_trained_on=lines_trained_on,
        lines_measured=len(lines),
        words_measured=words,
        pieces_per_word=round(pieces / words, 4),
        characters_per_piece=round(characters / pieces, 4),
        character_coverage=round(1 - bytes_characters / characters, 6),
        whole_word_share=round(whole_words / words, 4),
    )
