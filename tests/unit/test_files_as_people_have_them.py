"""Files in the shapes that practitioners hold are read right, under other encodings and line ends too."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from debertav3.finetuning.preparation import Data, read_data, resolve
from shapes import SHAPES, Shape


def read(shape: Shape, path: Path) -> Data:
    return read_data(resolve(shape.task, model="nano", given={"train": [str(path)], **shape.said}))


def found(data: Data) -> list[tuple[tuple[str, ...], Any]]:
    return [(example.texts, example.label) for example in data.train]


def content(shape: Shape) -> bytes:
    return shape.content.encode() if isinstance(shape.content, str) else shape.content


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_read_right(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    path = tmp_path / shape.name
    path.write_bytes(content(shape))
    assert found(read(shape, path)) == shape.rows


@pytest.mark.parametrize("name", SHAPES)
def test_line_ends_marks_and_compression_change_nothing(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    plain = content(shape)
    variants = {"windows": plain.replace(b"\n", b"\r\n"), "gzip": gzip.compress(plain)}
    if isinstance(shape.content, str):
        variants["mark"] = b"\xef\xbb\xbf" + plain
        if "encoding=" not in shape.content:
            variants["utf-16"] = shape.content.encode("utf-16")
    for kind, changed in variants.items():
        if kind == "utf-16" and shape.name.endswith(".xml"):
            continue  # without a declaration of UTF-16, XML is UTF-8
        path = tmp_path / kind / (f"{shape.name}.gz" if kind == "gzip" else shape.name)
        path.parent.mkdir()
        path.write_bytes(changed)
        assert found(read(shape, path)) == shape.rows, kind
