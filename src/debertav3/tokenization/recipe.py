"""Hugging Face's ``tokenizers`` out of a sentencepiece model: the exact recipe and that of transformers 5.

transformers 5 rebuilds DeBERTa's tokenizer from the bare vocabulary: NFC in place of the model's own
normalizer and no byte fallback, so that ``a<no-break space>b`` or ``ﬁne`` get other ids than the encoder was
pre-trained with. The exact recipe keeps both; ``docs/tokenizer.md`` has the measured differences.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from ..errors import UserError
from .engines import SentencePieceEngine
from .model_file import read_normalizer
from .specials import SpecialTokens
from .tokenizer_settings import PLAIN_TEXT, TextSettings

Pieces = Sequence[tuple[str, float]]
"""Every piece with its score, by id."""

UNREACHABLE = -10_000.0
"""A score that no path through a text takes: below that of any other spelling of the same characters.

sentencepiece never finds control and byte pieces in text; the ``tokenizers`` library looks for every piece,
so a typed ``[SEP]`` or ``<0x41>`` would become one token.
"""


def exact_tokenizer(
    engine: SentencePieceEngine, specials: SpecialTokens, text: TextSettings = PLAIN_TEXT
) -> tokenizers.Tokenizer:
    """The model with its own normalizer and byte fallback: what ``tokenizer.json`` is written from.

    Two steps correct the library's ``Precompiled``, which works by grapheme where sentencepiece takes the
    longest match: NFC goes first, as ``Precompiled`` drops the second of two combining marks (tokenizers
    issue 2116), and only plain spaces are stripped, as ``Strip`` also takes U+0085.
    """
    normalizer = read_normalizer(engine.model)
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if text.lowercase else []
    if normalizer.precompiled_charsmap:
        steps += [normalizers.NFC(), normalizers.Precompiled(normalizer.precompiled_charsmap)]
    if normalizer.removes_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    byte_ids = set(filter(engine.processor.is_byte, range(len(engine.pieces))))
    vocabulary = [
        (piece, UNREACHABLE if number in byte_ids else score)
        for number, (piece, score) in enumerate(engine.scored_pieces())
    ]
    return _assemble(vocabulary, specials, steps, text, byte_fallback=bool(byte_ids))


def without_specials(vocabulary: Pieces, specials: SpecialTokens) -> list[tuple[str, float]]:
    """The pieces, the special tokens among them out of reach of plain text."""
    names = set(specials.names.values())
    return [(piece, UNREACHABLE if piece in names else score) for piece, score in vocabulary]


def transformers5_tokenizer(
    vocabulary: Pieces, specials: SpecialTokens, text: TextSettings = PLAIN_TEXT
) -> tokenizers.Tokenizer:
    """Pieces and scores as ``DebertaV2Tokenizer`` of transformers 5 uses them, whatever the model says."""
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if text.lowercase else []
    steps += [
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ]
    return _assemble(vocabulary, specials, steps, text, byte_fallback=False)


def _assemble(
    vocabulary: Pieces,
    specials: SpecialTokens,
    normalizer_steps: Sequence[normalizers.Normalizer],
    text: TextSettings,
    *,
    byte_fallback: bool,
) -> tokenizers.Tokenizer:
    unigram = models.Unigram(
        without_specials(vocabulary, specials),
        unk_id=specials.ids["unk_token"],
        byte_fallback=byte_fallback,
    )
    tokenizer = tokenizers.Tokenizer(unigram)
    tokenizer.normalizer = normalizers.Sequence(list(normalizer_steps))
    scheme = "always" if text.prefix_every_stretch else "first"
    marks = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Punctuation(behavior="isolated"), marks])
        if text.splits_punctuation
        else marks
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme=scheme)]
    )
    cls_token, sep_token = specials.names["cls_token"], specials.names["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls_token}:0 $A:0 {sep_token}:0",
        pair=f"{cls_token}:0 $A:0 {sep_token}:0 $B:1 {sep_token}:1",
        special_tokens=[(cls_token, specials.ids["cls_token"]), (sep_token, specials.ids["sep_token"])],
    )
    tokenizer.add_tokens(
        [AddedToken(token, **asdict(how)) for token, how in specials.numbered(len(vocabulary))]
    )
    check_numbers(tokenizer, specials)
    return tokenizer


def check_numbers(tokenizer: tokenizers.Tokenizer, specials: SpecialTokens) -> None:
    """Check that the library numbers every token as the folder does.

    Raises:
        UserError: if not.
    """
    for token, number in specials.all_ids.items():
        if tokenizer.token_to_id(token) != number:
            raise UserError(
                f"{token!r} has the id {number} in one file of the tokenizer and "
                f"{tokenizer.token_to_id(token)} in another: they are of two tokenizers. "
                "Copy all of them from one checkpoint."
            )


def for_text(tokenizer: tokenizers.Tokenizer, specials: SpecialTokens) -> tokenizers.Tokenizer:
    """A copy that can find added tokens and spell typed special ones: only the five roles are special in it.

    The library skips special tokens all together, and some added tokens are special to it.
    """
    return with_special(tokenizer, set(specials.names.values()))


def with_special(tokenizer: tokenizers.Tokenizer, special: Collection[str]) -> tokenizers.Tokenizer:
    """A copy whose added tokens are special if named, and that neither pads nor truncates."""
    content = json.loads(tokenizer.to_str())
    tokens = [{**token, "special": token["content"] in special} for token in content["added_tokens"]]
    return tokenizers.Tokenizer.from_str(
        json.dumps({**content, "added_tokens": tokens, "padding": None, "truncation": None})
    )
