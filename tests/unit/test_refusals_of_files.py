"""A file that may mean two things is refused in one line that says how to go on."""

from pathlib import Path
from typing import Any

import pytest

from debertav3.errors import UserError
from debertav3.finetuning.preparation import read_data, resolve
from more_shapes import REFUSED


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_points_the_way(tmp_path: Path, name: str) -> None:
    task, file, content, said, message = REFUSED[name]
    path = tmp_path / file
    path.write_text(content, encoding="utf-8")
    given: dict[str, Any] = {"train": [str(path)], **said}
    with pytest.raises(UserError, match=message) as raised:
        read_data(resolve(task, model="nano", given=given))
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
