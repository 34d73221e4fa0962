"""A new vocabulary has the released layout, is the same every time, says how it fits; bad input is named."""

import gzip
import json
import re
from pathlib import Path

import pytest
import sentencepiece
import transformers

from debertav3.errors import UserError
from debertav3.tokenization import DebertaV3Tokenizer
from debertav3.tokenization.text_files import read_texts
from debertav3.tokenization.unigram_training import (
    MAX_LINE_BYTES,
    VocabularyConfig,
    _measure,
    _sample_lines,
    _training_lines,
    train_vocabulary,
)

SENTENCE = (
    "the cat sat on a mat while seven dogs were running after another small grey mouse through tall grass"
)
WORDS = SENTENCE.split()
TEXTS = [" ".join(WORDS[(i * j) % len(WORDS)] for j in range(3, 12)) + "." for i in range(400)]
CONFIG = VocabularyConfig(vocab_size=370, max_held_out_lines=20, num_threads=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary(TEXTS, folder, CONFIG)
    return folder


def test_layout_is_that_of_the_released_vocabulary(trained: Path) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=str(trained / "spm.model"))
    assert model.id_to_piece([0, 1, 2, 3]) == ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    assert all(model.is_control(number) for number in (0, 1, 2)) and model.is_unknown(3)
    assert model.id_to_piece([4, 259]) == ["<0x00>", "<0xFF>"] and model.is_byte(4) and not model.is_byte(260)
    assert model.get_piece_size() == 370
    assert (
        model.normalize("\ufb01ne\u00a0\u00bd  x") == "\u2581fine\u25811\u20442\u2581x"
    )  # nmt_nfkc, spaces squeezed
    tokenizer = DebertaV3Tokenizer.from_pretrained(trained)
    assert tokenizer.mask_token_id == 370 and len(tokenizer) == 371
    assert tokenizer.decode(tokenizer.encode("the \u4e2d cat")) == "the \u4e2d cat"  # spelled in bytes


def test_every_printable_ascii_character_has_a_piece(trained: Path) -> None:
    """Stock readers of ``spm.model`` know no bytes, and ``<0x41>`` in a text is no byte."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(trained / "spm.model"))
    assert all(model.piece_to_id(chr(code)) >= 260 for code in range(33, 127))
    text = "a@b.com #x+y=3 <0x41> {a|b} ~`^\\"
    ours = DebertaV3Tokenizer.from_pretrained(trained)(text)["input_ids"]
    assert transformers.AutoTokenizer.from_pretrained(trained)(text)["input_ids"] == ours
    (trained / "spm.model").rename(trained / "aside")
    try:
        assert DebertaV3Tokenizer.from_pretrained(trained)(text)["input_ids"] == ours
    finally:
        (trained / "aside").rename(trained / "spm.model")


def test_the_same_input_gives_the_same_model(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text('{"cls_token": "[SEP]"}')  # of an older tokenizer
    train_vocabulary(TEXTS, tmp_path, CONFIG)
    assert DebertaV3Tokenizer.from_pretrained(tmp_path).cls_token_id == 1
    assert (tmp_path / "spm.model").read_bytes() == (trained / "spm.model").read_bytes()


def test_the_report_is_measured_on_lines_kept_out(trained: Path) -> None:
    facts = json.loads((trained / "vocabulary.json").read_text())
    measured = facts["measured"]
    assert facts["settings"]["vocab_size"] == measured["vocab_size"] == 370
    assert measured["lines_read"] == 400
    assert measured["lines_trained_on"] == 392 and measured["lines_measured"] == 8
    assert 1 <= measured["pieces_per_word"] < 6
    assert measured["character_coverage"] == 1.0


def test_the_report_counts_words_pieces_and_characters_spelled_in_bytes(trained: Path) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=str(trained / "spm.model"))
    report = _measure(model, ["the \u4e2d", "the the"], lines_read=0, lines_trained_on=0)
    pieces = 3 * len(model.encode("the")) + 4  # the word mark and three bytes
    assert report.words_measured == 4
    assert report.pieces_per_word == pieces / 4
    assert report.characters_per_piece == pytest.approx(10 / pieces, abs=1e-4)
    assert report.character_coverage == pytest.approx(1 - 1 / 10)


def test_the_sample_is_even_bounded_and_repeatable() -> None:
    lines = [str(number) for number in range(10_000)]
    sample, count = _sample_lines(iter(lines), size=500, seed=3)
    assert (len(sample), count) == (500, 10_000)
    assert len(set(sample)) == 500
    assert 4_500 < sum(map(int, sample)) / 500 < 5_500
    assert _sample_lines(iter(lines), size=500, seed=3)[0] == sample
    assert _sample_lines(iter(lines), size=500, seed=4)[0] != sample


def test_long_lines_are_split_at_words_and_nothing_is_lost() -> None:
    text = "word\u00e9 " * 3000 + "\n\n" + "x" * (MAX_LINE_BYTES + 1) + " end\nnul\0here \ud800"
    lines = list(_training_lines([text]))
    assert all(0 < len(line.encode()) <= MAX_LINE_BYTES for line in lines)
    assert sum(line.count("word\u00e9") for line in lines) == 3000
    assert lines[-2:] == ["end", "nul here ?"]


def test_no_text_and_too_many_pieces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no text"):
        train_vocabulary(["", "\n"], tmp_path / "none", CONFIG)
    with pytest.raises(UserError, match="cannot train 50000 pieces") as caught:
        train_vocabulary(TEXTS, tmp_path / "much", VocabularyConfig(vocab_size=50_000))
    assert "\n" not in str(caught.value)
    assert re.search(r"they give at most \d+\. Give more text or a smaller --vocab-size", str(caught.value))
    characters = "".join(map(chr, range(0x4E00, 0x4E00 + 500)))
    with pytest.raises(
        UserError, match=r"alone need \d{3}\. .* --vocab-size, or a smaller --coverage"
    ) as caught:
        train_vocabulary([characters], tmp_path / "few", VocabularyConfig(vocab_size=400))
    assert "character_coverage" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="vocab_size=200 is too small"):
        VocabularyConfig(vocab_size=200)
    with pytest.raises(UserError, match=r"--coverage must be from 0\.98 to 1\.0, got 0\.5"):
        VocabularyConfig(character_coverage=0.5)
    assert not (tmp_path / "none").exists() and not (tmp_path / "much").exists()


def test_texts_are_read_from_lines_and_columns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("one\r\n\ntwo\u2028still two".encode())
    assert list(read_texts(tmp_path / "a.txt")) == ["one\r", "", "two\u2028still two"]
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as stream:
        stream.write('{"text": "x", "other": "y"}\n\n{"other": "z"}\n')
    assert list(read_texts(tmp_path / "b.jsonl.gz", columns=("text", "other"))) == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.txt", None, "no such file"),
        ("a.csv", b"x", "need .txt or .jsonl"),
        ("a.txt", b"ok\n\xff\n", "line 2 is not UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n{"text": ', "line 2 is not JSON"),
        ("b.jsonl", b'{"premise": "x"}\n', "line 1 has the columns 'premise', need one of 'text'"),
        ("c.jsonl", b'{"text": 3}\n', "column 'text' is a int"),
        ("d.jsonl", b"[1]\n", "line 1 is a JSON list"),
        ("e.txt.gz", b"\x1f\x8b\x08\x00cut", "damaged gzip"),
    ],
    ids=["absent", "ending", "bytes", "json", "column", "type", "object", "gzip"],
)
def test_bad_files_are_named_with_their_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_texts(tmp_path / name))
