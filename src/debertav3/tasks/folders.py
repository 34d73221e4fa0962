"""Folders that are one source of rows, and how each is read."""

from pathlib import Path

from ..files.compression import bare_name
from .annotations.brat import is_brat
from .choice_documents import is_race_folder
from .formats import BRAT, CLASS_FOLDERS, DATASETS, ENDINGS, RACE, Format

_FORMATS = (
    (BRAT, is_brat),
    (RACE, is_race_folder),
    (DATASETS, lambda path: all((path / name).is_file() for name in ("dataset_info.json", "state.json"))),
    (CLASS_FOLDERS, lambda path: _has_classes(path)),
)


def folder_format(path: Path) -> Format | None:
    """How a folder is read as one source; None if it is not."""
    if not path.is_dir():
        return None
    return next((found for found, fits in _FORMATS if fits(path)), None)


def _has_classes(path: Path) -> bool:
    """Whether a folder has a folder of texts for each of two classes or more, and no file of rows."""
    entries = sorted(path.iterdir())
    folders = [one for one in entries if one.is_dir() and any(one.glob("*.txt"))]
    return len(folders) > 1 and not any(Path(bare_name(one)).suffix in ENDINGS for one in entries)


def parts_of(path: Path, *, role: str) -> list[str]:
    """The folders of rows for a role within one that has them for several, such as ``train`` and ``test``."""
    names = ("train",) if role == "train" else ("dev", "validation", "valid", "test")
    return [str(path / name) for name in names if folder_format(path / name) is not None][:1]
