"""Hugging Face ``tokenizer.json`` out of a sentencepiece model: the exact recipe, and the one of transformers 5.

transformers 5 rebuilds DeBERTa's tokenizer from the bare vocabulary: NFC in place of the model's own normaliser and no
byte fallback, so that ``a<no-break space>b`` or ``ﬁne`` get other ids than the encoder was pre-trained with. The exact
recipe keeps both; ``docs/tokenizer.md`` has the measured differences.
"""

import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from .specials import SpecialTokens


def exact_tokenizer(model: bytes, specials: SpecialTokens) -> tokenizers.Tokenizer:
    """The model as a ``tokenizers.Tokenizer`` with the model's own normaliser and byte fallback."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    steps: list[normalizers.Normalizer] = []
    if proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    if proto.normalizer_spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    return _assemble(
        proto, specials, normalizers.Sequence(steps), byte_fallback=proto.trainer_spec.byte_fallback
    )


def transformers5_tokenizer(model: bytes, specials: SpecialTokens) -> tokenizers.Tokenizer:
    """The model as transformers 5 (5.0 to 5.23 at least) tokenizes with it, for checkpoints fine-tuned that way."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    steps = [
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ]
    return _assemble(proto, specials, normalizers.Sequence(steps), byte_fallback=False)


def _assemble(
    proto: sentencepiece_model_pb2.ModelProto,
    specials: SpecialTokens,
    normalizer: normalizers.Normalizer,
    *,
    byte_fallback: bool,
) -> tokenizers.Tokenizer:
    vocabulary = [(piece.piece, piece.score) for piece in proto.pieces]
    unigram = models.Unigram(vocabulary, unk_id=specials.ids["unk_token"], byte_fallback=byte_fallback)
    tokenizer = tokenizers.Tokenizer(unigram)
    tokenizer.normalizer = normalizer
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
    for token, _ in sorted(specials.all_ids.items(), key=lambda item: item[1]):
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=token in special_names)])
    return tokenizer
