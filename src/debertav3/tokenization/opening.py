"""From the files of a folder to an engine and its special tokens."""

import json
from collections.abc import Mapping
from typing import Any

import tokenizers

from ..errors import UserError
from .engines import Engine, SentencePieceEngine, TokenizersEngine
from .folder import JSON_FILE, MODEL_FILE, Compat, TokenizerFiles
from .recipe import Pieces, transformers5_tokenizer, without_specials
from .specials import SpecialTokens


def open_engine(files: TokenizerFiles, *, compat: Compat, num_threads: int) -> tuple[Engine, SpecialTokens]:
    """Open ``spm.model`` if the folder has one, else ``tokenizer.json`` as it stands.

    Raises:
        UserError: if a file cannot be read, or is not of DeBERTa's kind.
    """
    if files.model is not None:
        model = _open_model(files, num_threads)
        specials = _specials(files, model.pieces)
        if compat == "exact":
            return model, specials
        vocabulary = model.scored_pieces()
    else:
        content = _unigram_content(files)
        vocabulary = [(piece, score) for piece, score in content["model"]["vocab"]]
        specials = _specials(files, [piece for piece, _ in vocabulary])
        if compat == "exact":
            return TokenizersEngine(_open_json(content, vocabulary, specials, files.place)), specials
    return TokenizersEngine(transformers5_tokenizer(vocabulary, specials)), specials


def _open_model(files: TokenizerFiles, num_threads: int) -> SentencePieceEngine:
    try:
        return SentencePieceEngine(files.model or b"", num_threads=num_threads)
    except RuntimeError as error:
        raise UserError(
            f"{files.place}/{MODEL_FILE} is no sentencepiece model ({len(files.model or b'')} bytes: "
            "cut off, or a Git LFS pointer?). Fetch the file again."
        ) from error


def _unigram_content(files: TokenizerFiles) -> Mapping[str, Any]:
    content = files.tokenizer_json or {}
    kind = content.get("model", {}).get("type", "nameless")
    if kind != "Unigram":
        raise UserError(
            f"{files.place}/{JSON_FILE} holds a {kind} model, need Unigram, DeBERTa's kind. "
            "For other tokenizers use transformers.AutoTokenizer."
        )
    return content


def _open_json(
    content: Mapping[str, Any], vocabulary: Pieces, specials: SpecialTokens, place: str
) -> tokenizers.Tokenizer:
    model = {**content["model"], "vocab": without_specials(vocabulary, specials)}
    try:
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps({**content, "model": model}))
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{place}/{JSON_FILE} cannot be read ({error}). Fetch the file again.") from error
    _check_template(tokenizer, specials, place)
    return tokenizer


def _specials(files: TokenizerFiles, pieces: list[str]) -> SpecialTokens:
    return SpecialTokens.resolve(pieces=pieces, names=files.names, added=files.added, place=files.place)


def _check_template(tokenizer: tokenizers.Tokenizer, specials: SpecialTokens, place: str) -> None:
    """Refuse a file that puts other special tokens around texts than DeBERTa's."""
    cls_id, sep_id = specials.ids["cls_token"], specials.ids["sep_token"]
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    got, need = tokenizer.encode("a", "a").ids, [cls_id, *plain, sep_id, *plain, sep_id]
    if got != need:
        raise UserError(
            f"{place}/{JSON_FILE} encodes a pair as {got}, need [CLS] a [SEP] b [SEP] = {need}. "
            "For other templates use transformers.AutoTokenizer."
        )
