"""spaCy: training pairs of version 2, its JSON with paragraphs, and ``DocBin`` files of version 3.

``Doc.to_json`` has entities by characters, as `character_spans` reads them.
"""

from collections.abc import Iterator, Mapping, Sequence

from ...errors import MissingExtraError, UserError
from ...json_types import JsonMapping, JsonObject
from ..notes import Notes
from ..source_file import Found, SourceFile
from .format import RowFormat
from .marks import ENTITIES, TEXT, Fields, Mark


def pair_as_row(value: object) -> JsonObject | None:
    """``["text", {"entities": [...]}]`` as an object; None if a value is not such a pair."""
    if isinstance(value, list) and len(value) == 2:
        text, annotations = value
        if isinstance(text, str) and isinstance(annotations, Mapping) and TEXT not in annotations:
            return {TEXT: text, **annotations}
    return None


def pairs_in(content: object) -> list[object] | None:
    """The pairs of ``{"classes": [...], "annotations": [...]}``, as spaCy's web annotators save them."""
    if isinstance(content, Mapping) and "classes" in content:
        pairs = content.get("annotations")
        if isinstance(pairs, list):
            return [one for one in pairs if one is not None]
    return None


def _fits_paragraphs(fields: Fields) -> bool:
    paragraphs = fields.get("paragraphs")
    return isinstance(paragraphs, list) and all(
        isinstance(one, Mapping) and "sentences" in one for one in paragraphs
    )


def _read_paragraphs(fields: Fields, place: str, notes: Notes) -> Iterator[JsonObject]:
    """A row for each sentence: its words and their BILUO tags; without tags nobody has annotated it."""
    for paragraph in fields["paragraphs"]:
        for sentence in paragraph["sentences"]:
            tokens: Sequence[JsonMapping] = sentence.get("tokens") or []
            words = [str(token.get("orth", "")) for token in tokens]
            tags = [token.get("ner") for token in tokens]
            given = [None if tag in (None, "", "-") else str(tag) for tag in tags]
            if not words:
                continue
            if any(tag is None for tag in given):
                notes.add("sentences have words without a tag and are left out of training", place)
                yield {"tokens": words, "ner_tags": None}
            else:
                yield {"tokens": words, "ner_tags": given}


def read_docbin(file: SourceFile) -> Found:
    """The documents of a ``.spacy`` file: text with entities, or with ``cats`` as its label.

    Raises:
        UserError: if it is none.
        MissingExtraError: without spaCy.
    """
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError as error:
        raise MissingExtraError(feature=".spacy files", package="spacy", extra="spacy") from error
    try:
        store = DocBin().from_disk(file.path)
        documents = store.get_docs(spacy.blank("xx").vocab)
        for number, document in enumerate(documents, start=1):
            row: JsonObject = {TEXT: document.text}
            if document.cats:
                row["label"] = dict(document.cats)
            if document.has_annotation("ENT_IOB"):
                marks = [Mark(one.start_char, one.end_char, one.label_) for one in document.ents]
                row[ENTITIES] = [list(mark) for mark in marks]
            elif not document.cats:
                row[ENTITIES] = None
            yield f"document {number}", row
    except FileNotFoundError:
        raise UserError(f"{file.path} does not exist. Give the path of an existing file.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file.path} cannot be read as a spaCy DocBin: {type(error).__name__} {error}."
        ) from None


SPACY_JSON = RowFormat(
    name="spacy-json",
    title="spaCy's JSON of version 2",
    fits=_fits_paragraphs,
    read=_read_paragraphs,
    is_one_to_one=False,
)
