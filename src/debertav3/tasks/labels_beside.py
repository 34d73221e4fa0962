"""Gold labels in a file of their own, a line for each row: ``train-labels.lst`` beside ``train.jsonl``.

So are PIQA (Bisk et al. 2020), SocialIQA (Sap et al. 2019) and aNLI (Bhagavatula et al. 2020) published.
"""

from pathlib import Path

from ..errors import UserError
from ..files.compression import bare_name
from .labels import LABEL_COLUMNS
from .source_file import Found, SourceFile

_COLUMN = "label"
_MARK = "-labels"


def labels_file(path: Path) -> Path:
    """Where the labels of a file's rows are, if they are beside it."""
    return path.parent / f"{Path(bare_name(path)).stem}{_MARK}.lst"


def with_labels_beside(found: Found, file: SourceFile) -> Found:
    """Rows that have no label, each with its line of the file beside theirs; other rows as they are.

    Raises:
        UserError: if there are more or fewer lines than rows.
    """
    beside = labels_file(file.path)
    try:
        labels = beside.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError):
        yield from found
        return
    count = 0
    for where, fields in found:
        if any(name in fields for name in LABEL_COLUMNS):
            yield where, fields
            continue
        if not count:
            file.notes.note(f"the labels are those of {beside.name}")
        if count < len(labels):
            fields = {**fields, _COLUMN: labels[count]}
        count += 1
        if count > len(labels):
            break
        yield where, fields
    if count and count != len(labels):
        more = "more" if count > len(labels) else "fewer"
        raise UserError(
            f"{file.path} has {more} rows than {beside} has lines ({len(labels)}). Both must belong "
            "together; move the labels away to read the rows without."
        )
