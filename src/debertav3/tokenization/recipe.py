"""Hugging Face's ``tokenizers`` out of a sentencepiece model: the exact recipe and that of transformers 5.

transformers 5 rebuilds DeBERTa's tokenizer from the bare vocabulary: NFC in place of the model's own
normaliser and no byte fallback, so that ``a<no-break space>b`` or ``ﬁne`` get other ids than the encoder was
pre-trained with. The exact recipe keeps both; ``docs/tokenizer.md`` has the measured differences.
"""

from collections.abc import Sequence

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from ..errors import UserError
from .engines import SentencePieceEngine
from .model_file import read_normalizer
from .specials import SpecialTokens

Pieces = Sequence[tuple[str, float]]
"""Every piece with its score, by id."""

UNREACHABLE = -10_000.0
"""A score that no path through a text takes: below that of any other spelling of the same characters.

sentencepiece never finds control and byte pieces in text; the ``tokenizers`` library looks for every piece,
so a typed ``[SEP]`` or ``<0x41>`` would become one token.
"""


def exact_tokenizer(engine: SentencePieceEngine, specials: SpecialTokens) -> tokenizers.Tokenizer:
    """The model with its own normaliser and byte fallback: what ``tokenizer.json`` is written from.

    Two steps mend the library's ``Precompiled``, which works by grapheme where sentencepiece works by longest
    match: NFC goes first, as ``Precompiled`` drops the second of two combining marks (tokenizers issue 2116),
    and only plain spaces are stripped, as ``Strip`` also takes U+0085.
    """
    normalizer = read_normalizer(engine.model)
    steps: list[normalizers.Normalizer] = []
    if normalizer.precompiled_charsmap:
        steps += [normalizers.NFC(), normalizers.Precompiled(normalizer.precompiled_charsmap)]
    if normalizer.removes_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    byte_ids = set(filter(engine.processor.is_byte, range(len(engine.pieces))))
    vocabulary = [
        (piece, UNREACHABLE if number in byte_ids else score)
        for number, (piece, score) in enumerate(engine.scored_pieces())
    ]
    return _assemble(vocabulary, specials, steps, byte_fallback=bool(byte_ids))


def without_specials(vocabulary: Pieces, specials: SpecialTokens) -> list[tuple[str, float]]:
    """The pieces, the special tokens among them out of reach of plain text."""
    names = set(specials.names.values())
    return [(piece, UNREACHABLE if piece in names else score) for piece, score in vocabulary]


def transformers5_tokenizer(vocabulary: Pieces, specials: SpecialTokens) -> tokenizers.Tokenizer:
    """Pieces and scores as ``DebertaV2Tokenizer`` of transformers 5 uses them, whatever the model says."""
    steps = [
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ]
    return _assemble(vocabulary, specials, steps, byte_fallback=False)


def _assemble(
    vocabulary: Pieces,
    specials: SpecialTokens,
    normalizer_steps: Sequence[normalizers.Normalizer],
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
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    cls_token, sep_token = specials.names["cls_token"], specials.names["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls_token}:0 $A:0 {sep_token}:0",
        pair=f"{cls_token}:0 $A:0 {sep_token}:0 $B:1 {sep_token}:1",
        special_tokens=[(cls_token, specials.ids["cls_token"]), (sep_token, specials.ids["sep_token"])],
    )
    special_names = set(specials.names.values())
    for token, number in sorted(specials.all_ids.items(), key=lambda item: item[1]):
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=token in special_names)])
        if tokenizer.token_to_id(token) != number:
            raise UserError(
                f"{token!r} has the id {number}, but {tokenizer.token_to_id(token)} comes next in the "
                "vocabulary, and tokenizer.json cannot leave ids out. Number added tokens without gaps."
            )
    return tokenizer
