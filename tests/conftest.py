"""Where the real data are: DEBERTAV3_DATA, or ../shared/data; tests that need them skip with a reason."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def data_folder() -> Path:
    folder = Path(os.environ.get("DEBERTAV3_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set DEBERTAV3_DATA to a folder with nli/ and corpus/")
    return folder


@pytest.fixture(scope="session")
def v3_tokenizer_folder(data_folder: Path) -> Path:
    return data_folder / "deberta-v3-tokenizer"


@pytest.fixture(scope="session")
def nano(repository: Path) -> Path:
    return repository / "models" / "nano"
