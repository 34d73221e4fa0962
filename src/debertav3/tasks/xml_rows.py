"""Rows in XML: the pairs of the RTE challenges, and any list of similar elements that contain text."""

from xml.etree import ElementTree

from ..errors import UserError
from ..files.compression import reading
from ..json_types import JsonObject
from .source_file import Found, SourceFile


def read_xml(file: SourceFile) -> Found:
    """Each child of the root is a row: its attributes and the texts of its own children.

    A tag that occurs several times gives a list.

    ``<pair id="1" entailment="YES"><t>...</t><h>...</h></pair>`` has the columns id, entailment, t and h.

    Raises:
        UserError: if the file is not XML, or has a document type, which can expand to a huge text.
    """
    _refuse_doctype(file)
    number, depth = 0, 0
    try:
        with reading(file.path) as stream:
            for event, element in ElementTree.iterparse(stream, events=("start", "end")):
                depth += 1 if event == "start" else -1
                if event != "end" or depth != 1:
                    continue
                number += 1
                if number == 1:
                    file.details.append(f"each <{element.tag}> is a row")
                fields: JsonObject = dict(element.attrib)
                parts: dict[str, list[str]] = {}
                for part in element:
                    parts.setdefault(part.tag, []).append(" ".join("".join(part.itertext()).split()))
                fields |= {tag: texts[0] if len(texts) == 1 else texts for tag, texts in parts.items()}
                if not len(element) and (element.text or "").strip():
                    fields[element.tag] = str(element.text).strip()
                yield f"{element.tag} {fields.get('id', number)}", fields
                element.clear()
    except ElementTree.ParseError as error:
        raise UserError(f"{file.path} is not valid XML ({error}). Fix it, or write a table.") from None


def _refuse_doctype(file: SourceFile) -> None:
    head = file.head().upper()
    if b"<!ENTITY" in head or (b"<!DOCTYPE" in head and b"[" in head.partition(b"<!DOCTYPE")[2][:200]):
        raise UserError(
            f"{file.path} defines its own entities, which can expand to a huge text. Remove them."
        )
