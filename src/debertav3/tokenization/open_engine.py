"""From the files of a folder to an engine and its special tokens."""

import json
from collections.abc import Mapping
from dataclasses import asdict

import tokenizers

from ..errors import UserError
from ..json_types import JsonMapping
from .engines import SentencePieceEngine, TokenizerEngine, TokenizersEngine
from .recipe import (
    Pieces,
    check_numbers,
    exact_tokenizer,
    for_text,
    transformers5_tokenizer,
    with_special,
    without_specials,
)
from .specials import SpecialTokens
from .tokenizer_files import JSON_FILE, MODEL_FILE, TokenizerFiles
from .tokenizer_settings import Compat, TextSettings


def open_engine(
    files: TokenizerFiles, *, compat: Compat, num_threads: int
) -> tuple[TokenizerEngine, SpecialTokens]:
    """Open ``spm.model`` if the folder has one, else ``tokenizer.json`` as it stands.

    A model whose folder asks for more than the model does (added tokens that are found after normalization,
    lower case, words split at punctuation) runs in Hugging Face's library, which does these things.

    Raises:
        UserError: if a file cannot be read, or is not of DeBERTa's kind.
    """
    text = files.settings.text
    if files.model is not None:
        model = _open_model(files, num_threads)
        _check_vocabularies(files, model.pieces)
        specials = _specials(files, model.pieces)
        if compat == "exact":
            if text.are_plain and specials.are_plain:
                return model, specials
            return TokenizersEngine(for_text(exact_tokenizer(model, specials, text), specials)), specials
        vocabulary = model.scored_pieces()
    else:
        content = _unigram_content(files)
        vocabulary = _vocabulary(files)
        specials = _specials(files, [piece for piece, _ in vocabulary])
        if compat == "exact":
            _check_text_settings(content, files)
            return TokenizersEngine(_open_json(files, vocabulary, specials)), specials
    return TokenizersEngine(for_text(transformers5_tokenizer(vocabulary, specials, text), specials)), specials


def engine_with(engine: TokenizerEngine, specials: SpecialTokens, text: TextSettings) -> TokenizerEngine:
    """An engine that finds other added tokens too, and otherwise does what ``engine`` does.

    Raises:
        UserError: if the library numbers the tokens otherwise.
    """
    if isinstance(engine, SentencePieceEngine):
        if specials.are_plain:
            return engine
        return TokenizersEngine(for_text(exact_tokenizer(engine, specials, text), specials))
    assert isinstance(engine, TokenizersEngine), type(engine)
    extended = with_special(engine.tokenizer, set(specials.names.values()))
    extended.add_tokens(
        [tokenizers.AddedToken(token, **asdict(how)) for token, how in specials.numbered(len(engine.pieces))]
    )
    check_numbers(extended, specials)
    return TokenizersEngine(for_text(extended, specials))


def _open_model(files: TokenizerFiles, num_threads: int) -> SentencePieceEngine:
    try:
        return SentencePieceEngine(files.model or b"", num_threads=num_threads)
    except RuntimeError as error:
        raise UserError(
            f"{files.place}/{MODEL_FILE} is not a sentencepiece model ({len(files.model or b'')} bytes: "
            "truncated, or a Git LFS pointer?). Download the file again."
        ) from error


def _check_vocabularies(files: TokenizerFiles, pieces: list[str]) -> None:
    """Refuse a ``tokenizer.json`` beside the model that holds another vocabulary."""
    if files.tokenizer_json is None:
        return
    theirs = [piece for piece, _ in _vocabulary(files)]
    if theirs != pieces:
        differing = next(
            (number for number, (a, b) in enumerate(zip(theirs, pieces, strict=False)) if a != b),
            min(len(theirs), len(pieces)),
        )
        raise UserError(
            f"{files.place}: {MODEL_FILE} and {JSON_FILE} hold different vocabularies, {len(pieces):,} and "
            f"{len(theirs):,} pieces that differ from id {differing} on: one of them belongs "
            "to another model. Remove the wrong one."
        )


def _unigram_content(files: TokenizerFiles) -> JsonMapping:
    content = files.tokenizer_json or {}
    model = content.get("model")
    kind = model.get("type", "nameless") if isinstance(model, Mapping) else "nameless"
    if kind != "Unigram":
        raise UserError(
            f"{files.place}/{JSON_FILE} holds a {kind} model, need Unigram, as DeBERTa has. "
            "For other tokenizers use transformers.AutoTokenizer."
        )
    return content


def _vocabulary(files: TokenizerFiles) -> list[tuple[str, float]]:
    try:
        return [(str(piece), float(score)) for piece, score in _unigram_content(files)["model"]["vocab"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{files.place}/{JSON_FILE} has no readable vocabulary. Download the file again."
        ) from error


def _check_text_settings(content: Mapping[str, object], files: TokenizerFiles) -> None:
    """Refuse a ``tokenizer.json`` that does not do what ``tokenizer_config.json`` asks for."""
    text, said = files.settings.text, json.dumps([content.get("normalizer"), content.get("pre_tokenizer")])
    of_deberta = _names_deberta(files)
    for name, is_asked, is_done in (
        ("do_lower_case is true", text.lowercase, '"Lowercase"' in said),
        ("split_by_punct is true", text.splits_punctuation, '"Punctuation"' in said),
        (
            "add_prefix_space is false",
            of_deberta and not text.prefix_every_stretch,
            '"prepend_scheme": "always"' not in said,
        ),
    ):
        if is_asked and not is_done:
            raise UserError(
                f"{files.place}: {name} in tokenizer_config.json, and {JSON_FILE} does not do it: they are "
                "of two tokenizers. Correct the field, or copy both from one checkpoint."
            )


def _names_deberta(files: TokenizerFiles) -> bool:
    return (files.settings.class_name or "").startswith("DebertaV2")


def _open_json(files: TokenizerFiles, vocabulary: Pieces, specials: SpecialTokens) -> tokenizers.Tokenizer:
    """The tokenizer of a ``tokenizer.json``, without the padding and truncation that it was saved with."""
    content, roles = _unigram_content(files), set(specials.names.values())
    complete = {
        **content,
        "model": {**content["model"], "vocab": without_specials(vocabulary, specials)},
        "padding": None,
        "truncation": None,
        "added_tokens": [
            # id is read and ignored: the library numbers tokens in their order
            {"id": 0, "content": token, **asdict(how), "special": token in roles}
            for token, how in specials.numbered(len(vocabulary))
        ],
    }
    try:
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(complete))
    except Exception as error:  # the library raises nothing narrower
        message = f"{files.place}/{JSON_FILE} cannot be read ({error}). Download the file again."
        raise UserError(message) from error
    check_numbers(tokenizer, specials)
    if content.get("post_processor") is None and (files.settings.class_name is None or _names_deberta(files)):
        tokenizer.post_processor = _template(
            specials
        )  # the class adds it, as files of transformers 5.3 expect
    _check_template(tokenizer, specials, files)
    return tokenizer


def _template(specials: SpecialTokens) -> tokenizers.processors.TemplateProcessing:
    """DeBERTa's special tokens around one text or two."""
    cls, sep = specials.names["cls_token"], specials.names["sep_token"]
    return tokenizers.processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, specials.ids["cls_token"]), (sep, specials.ids["sep_token"])],
    )


def _specials(files: TokenizerFiles, pieces: list[str]) -> SpecialTokens:
    try:
        return SpecialTokens.resolve(
            pieces=pieces,
            names=files.settings.names,
            added=files.added,
            matching=files.matching,
            unnumbered=files.settings.unnumbered,
        )
    except UserError as error:
        raise UserError(f"{files.place}: {error}") from error


def _check_template(tokenizer: tokenizers.Tokenizer, specials: SpecialTokens, files: TokenizerFiles) -> None:
    """Refuse a file that puts other special tokens around texts than DeBERTa's."""
    cls_id, sep_id = specials.ids["cls_token"], specials.ids["sep_token"]
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    got, need = tokenizer.encode("a", "a").ids, [cls_id, *plain, sep_id, *plain, sep_id]
    if got != need:
        raise UserError(
            f"{files.place}/{JSON_FILE} encodes a pair as {got}, need [CLS] a [SEP] b [SEP] = {need}. "
            "For other templates use transformers.AutoTokenizer."
        )
