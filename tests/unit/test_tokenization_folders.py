"""A tokenizer folder is read by what it holds and saved without loss; what cannot be read is named."""

import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer

from debertav3.errors import UserError
from debertav3.tokenization import DebertaV3Tokenizer
from debertav3.tokenization.model_file import read_normalizer


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


@pytest.fixture
def json_only(nano: Path, tmp_path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(nano / name, tmp_path)
    return tmp_path


def test_a_save_keeps_the_model_to_the_byte(nano: Path, tokenizer, tmp_path: Path) -> None:
    paths = tokenizer.save_pretrained(tmp_path)
    assert {Path(path).name for path in paths} == {path.name for path in tmp_path.iterdir()}
    for name in ("spm.model", "tokenizer.json", "tokenizer_config.json", "added_tokens.json"):
        assert (tmp_path / name).read_bytes() == (nano / name).read_bytes()


def test_without_a_model_the_json_serves(json_only: Path, tokenizer, tmp_path: Path) -> None:
    without = DebertaV3Tokenizer.from_pretrained(json_only)
    texts = ["A man eats.", "caf\u00e9 \u00bd \ufb01ne", "a\u00a0b\u200bc", "\U00013000", "<0x41>"]
    assert without.encode_batch(texts) == tokenizer.encode_batch(texts)
    for text in texts:
        ids, spans = without.encode_with_offsets(text)
        assert ids == tokenizer.encode(text)
        assert all(0 <= start <= end <= len(text) for start, end in spans)
    without.save_pretrained(tmp_path / "again")
    assert DebertaV3Tokenizer.from_pretrained(tmp_path / "again").encode_batch(texts) == without.encode_batch(
        texts
    )


def test_a_model_of_an_older_tokenizer_does_not_stay(json_only: Path, nano: Path, tmp_path: Path) -> None:
    raw = json.loads((json_only / "tokenizer.json").read_text())
    pieces = raw["model"]["vocab"]
    pieces[500], pieces[501] = pieces[501], pieces[500]
    (json_only / "tokenizer.json").write_text(json.dumps(raw))
    saved = DebertaV3Tokenizer.from_pretrained(json_only)
    out = tmp_path / "out"
    shutil.copytree(nano, out)
    assert "spm.model" not in {Path(path).name for path in saved.save_pretrained(out)}
    assert not (out / "spm.model").exists()
    assert DebertaV3Tokenizer.from_pretrained(out).convert_ids_to_tokens([500, 501]) == [
        pieces[500][0],
        pieces[501][0],
    ]


def test_hf5_mode_survives_a_save(nano: Path, tokenizer, tmp_path: Path) -> None:
    old = DebertaV3Tokenizer.from_pretrained(nano, compat="hf5")
    assert old.encode("a\u00a0b") != tokenizer.encode("a\u00a0b")
    old.save_pretrained(tmp_path)
    assert DebertaV3Tokenizer.from_pretrained(tmp_path).encode("a\u00a0b") == old.encode("a\u00a0b")
    exact = DebertaV3Tokenizer.from_pretrained(tmp_path, compat="exact")
    assert exact.encode("a\u00a0b") == tokenizer.encode("a\u00a0b")


@pytest.mark.parametrize("length", [0, 40, 1000, -1])
def test_a_cut_off_model_is_refused(nano: Path, tmp_path: Path, length: int) -> None:
    (tmp_path / "spm.model").write_bytes((nano / "spm.model").read_bytes()[:length])
    with pytest.raises(UserError, match="not a sentencepiece model"):
        DebertaV3Tokenizer.from_pretrained(tmp_path)


def test_what_cannot_be_read_is_refused_in_one_line(nano: Path, tmp_path: Path) -> None:
    cases = {
        "empty": ({}, "no tokenizer in"),
        "other kind": ({"tokenizer.json": {"model": {"type": "WordPiece"}}}, "WordPiece"),
        "broken": ({"tokenizer.json": {"model": {"type": "Unigram", "vocab": []}}}, "no id for"),
        "no json": ({"tokenizer.json": "{"}, "is not valid JSON"),
    }
    for name, (files, message) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(UserError, match=message) as caught:
            DebertaV3Tokenizer.from_pretrained(folder)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such folder"):
        DebertaV3Tokenizer.from_pretrained(tmp_path / "absent")
    with pytest.raises(UserError, match="compat='hf4'"):
        DebertaV3Tokenizer.from_pretrained(nano, compat="hf4")


def test_another_template_is_refused(json_only: Path) -> None:
    content = json.loads((json_only / "tokenizer.json").read_text())
    content["post_processor"] = None
    (json_only / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="encodes a pair as"):
        DebertaV3Tokenizer.from_pretrained(json_only)


@pytest.mark.parametrize("class_name", ["DebertaV2Tokenizer", "DebertaV2TokenizerFast", None])
def test_the_class_adds_the_template_that_the_file_lacks(json_only: Path, class_name: str | None) -> None:
    for name, changes in (
        ("tokenizer.json", {"post_processor": None}),
        ("tokenizer_config.json", {"tokenizer_class": class_name}),
        ("config.json", {"model_type": "deberta-v2"}),
    ):
        path = json_only / name
        content = (json.loads(path.read_text()) if path.exists() else {}) | changes
        if content.get("tokenizer_class", "") is None:
            del content["tokenizer_class"]
        path.write_text(json.dumps(content))
    ours, stock = DebertaV3Tokenizer.from_pretrained(json_only), AutoTokenizer.from_pretrained(json_only)
    for texts in (("A man eats.",), ("A man eats.", "Nobody is there.")):
        assert ours(*texts)["input_ids"] == stock(*texts)["input_ids"]


def test_a_name_that_is_nowhere_is_refused_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no local folder is named"):
        DebertaV3Tokenizer.from_pretrained("no-such-owner/no-such-model", local_files_only=True)


def test_the_limit_falls_back_on_the_models(nano: Path, tmp_path: Path) -> None:
    shutil.copy(nano / "spm.model", tmp_path)
    assert DebertaV3Tokenizer.from_pretrained(tmp_path)("w " * 600, truncation=True)["input_ids"][601] == 2
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 48}')
    assert DebertaV3Tokenizer.from_pretrained(tmp_path).model_max_length == 48


def test_the_normalizer_is_read_off_the_model(nano: Path) -> None:
    model = (nano / "spm.model").read_bytes()
    spec = read_normalizer(model)
    assert spec.precompiled_charsmap in model and len(spec.precompiled_charsmap) > 100_000
    assert spec.removes_extra_whitespaces
    with pytest.raises(UserError, match="is truncated"):
        read_normalizer(model[:-1])


def test_a_model_without_bytes(tmp_path: Path) -> None:
    """Unknown characters are [UNK], with their own span; the saved tokenizer.json agrees."""
    special = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    names = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    lines = iter(["the cat sat on a mat and the dog ran"] * 50)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_prefix=str(tmp_path / "spm"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **special,
        **names,
    )
    tokenizer = DebertaV3Tokenizer.from_pretrained(tmp_path)
    text = "the \u2603\u2603 cat\u4e2d"
    ids, spans = tokenizer.encode_with_offsets(text)
    unknown = [text[start:end] for number, (start, end) in zip(ids, spans, strict=True) if number == 3]
    assert unknown == ["\u2603\u2603", "\u4e2d"]
    assert tokenizer.to_transformers()(text)["input_ids"] == tokenizer(text)["input_ids"]
