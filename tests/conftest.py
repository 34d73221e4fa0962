"""Where the real data are: DEBERTAV3_DATA, or ../shared/data; tests that need them skip with a reason."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is measured and remembered during the tests is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEBERTAV3_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def package_logger() -> Iterator[None]:
    """Commands run inside the test process set up the package's logger; each test gets it as it was."""
    logger = logging.getLogger("debertav3")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


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


@pytest.fixture(scope="session")
def nano_mask(nano: Path) -> int:
    """The id of ``[MASK]``, the one token that nano's ``spm.model`` does not have."""
    return int(json.loads((nano / "added_tokens.json").read_text())["[MASK]"])
