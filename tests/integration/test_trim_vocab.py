"""``trim-vocab``: on texts whose pieces were kept, ids map one to one and outputs are equal bit for bit."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sentencepiece
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import debertav3
from debertav3 import DebertaV3Tokenizer, cli
from debertav3.checkpoint import Checkpoint, open_model
from debertav3.tokenization.model_file import select_pieces
from debertav3.tokenization.vocabulary_trimming import TrimmedTokenizer, count_ids, trim_tokenizer
from tiny_models import ModelFolders

CORPUS = [
    "A man is asleep on a bench in the park, and nobody is awake.",
    "The street is wet because it rained all night; two dogs run on the beach.",
    "She said: the price of bread rose by 12.5 % in 1998 (see page 7).",
]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(*arguments: Any) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["debertav3", "trim-vocab", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


class Trimmed(NamedTuple):
    whole: DebertaV3Tokenizer
    small: TrimmedTokenizer


@pytest.fixture(scope="module", params=["nano", "v3"])
def trimmed(request: pytest.FixtureRequest) -> Trimmed:
    fixture = "nano" if request.param == "nano" else "v3_tokenizer_folder"
    whole = DebertaV3Tokenizer.from_pretrained(request.getfixturevalue(fixture))
    return Trimmed(whole, trim_tokenizer(whole, count_ids(whole, CORPUS).nonzero()[0].tolist()))


def test_the_corpus_gets_the_same_pieces(trimmed: Trimmed) -> None:
    whole, small = trimmed
    assert len(small.tokenizer) == len(small.old_ids) < len(whole)
    assert small.old_ids == sorted(set(small.old_ids))
    for text in CORPUS:
        ids = small.tokenizer.encode(text)
        assert [small.old_ids[number] for number in ids] == whole.encode(text)
        assert small.tokenizer.encode_with_offsets(text)[1] == whole.encode_with_offsets(text)[1]
        assert small.tokenizer.decode(ids) == whole.decode(whole.encode(text))
    for role, number in whole.specials.ids.items():
        assert small.old_ids[small.tokenizer.specials.ids[role]] == number


def test_an_added_token_that_is_a_piece_is_kept(nano: Path, tmp_path: Path) -> None:
    shutil.copytree(nano, tmp_path / "model")
    piece = "\u2581beach"
    number = DebertaV3Tokenizer.from_pretrained(nano).engine.pieces.index(piece)
    added = tmp_path / "model" / "added_tokens.json"
    added.write_text(json.dumps({**json.loads(added.read_text()), piece: number}))
    config = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    config["additional_special_tokens"] = [piece]
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(config))
    small = trim_tokenizer(DebertaV3Tokenizer.from_pretrained(tmp_path / "model"), [])
    assert small.old_ids[small.tokenizer.specials.added[piece]] == number
    assert small.tokenizer.engine.pieces[small.tokenizer.specials.added[piece]] == piece


words = st.sampled_from(sorted({word for text in CORPUS for word in text.split()}))
characters = st.text(st.characters(codec="utf-8"), max_size=8)
texts = st.lists(st.one_of(words, characters), max_size=12).map(" ".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts)
def test_ids_map_one_to_one_wherever_the_pieces_were_kept(trimmed: Trimmed, text: str) -> None:
    whole, small = trimmed
    wanted = whole.encode(text)
    got = [small.old_ids[number] for number in small.tokenizer.encode(text)]
    if set(wanted) <= set(small.old_ids):
        assert got == wanted
    else:  # spelled otherwise, and nothing is lost
        assert whole.decode(got) == whole.decode(wanted)


def test_the_model_file_says_its_size_and_is_refused_when_cut(nano: Path) -> None:
    model = (nano / "spm.model").read_bytes()
    before = sentencepiece.SentencePieceProcessor(model_proto=model)
    keep = set(range(300)) | {before.piece_to_id("▁the")}
    after = sentencepiece.SentencePieceProcessor(model_proto=select_pieces(model, keep))
    assert [after.id_to_piece(number) for number in range(after.get_piece_size())] == [
        before.id_to_piece(number) for number in sorted(keep)
    ]
    text = "\ufb01ne   \uff21\uff11 the"  # the normalizer stays
    assert after.normalize(text) == before.normalize(text)
    with pytest.raises(debertav3.UserError, match="is truncated"):
        select_pieces(model[:-1], keep)


def logits(folder: Path, head: str, texts: Sequence[str]) -> list[torch.Tensor]:
    tokenizer = DebertaV3Tokenizer.from_pretrained(folder)
    model = open_model(folder, head=getattr(debertav3, head)).model
    with torch.inference_mode():
        return [model(**tokenizer(text, return_tensors="pt")).logits for text in texts]


@pytest.mark.parametrize("head", ["DebertaV2ForSequenceClassification", "DebertaV2ForMaskedLM"])
def test_outputs_of_the_smaller_checkpoint_are_equal(
    command: Callable[..., Outcome],
    nano: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    head: str,
) -> None:
    source = ModelFolders(nano, tmp_path_factory)(head, initializer_range=0.3, pad_token_id=0)
    corpus, more = tmp_path / "a.txt", tmp_path / "b.jsonl"
    corpus.write_text("\n".join(CORPUS[:2]), encoding="utf-8")
    more.write_text(json.dumps({"text": CORPUS[2]}) + "\n", encoding="utf-8")
    out = tmp_path / "small"
    outcome = command("--model", source, "--corpus", corpus, more, "--out", out)
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["corpus_tokens_kept_share"] == 1
    assert report["embedding_parameters_after"] == report["pieces_after"] * 32
    assert (
        f"{report['pieces_after']:,} of {report['pieces_before']:,} pieces" in (out / "README.md").read_text()
    )
    config = json.loads((out / "config.json").read_text())
    assert config["vocab_size"] == report["pieces_after"]
    whole = DebertaV3Tokenizer.from_pretrained(source)
    old_ids = trim_tokenizer(whole, count_ids(whole, CORPUS).nonzero()[0].tolist()).old_ids
    for got, want in zip(logits(out, head, CORPUS), logits(source, head, CORPUS), strict=True):
        assert torch.equal(got, want[..., old_ids] if head == "DebertaV2ForMaskedLM" else want)


def test_wrong_input_is_one_clear_line(command: Callable[..., Outcome], nano: Path, tmp_path: Path) -> None:
    corpus, empty = tmp_path / "a.txt", tmp_path / "empty.txt"
    corpus.write_text(CORPUS[0], encoding="utf-8")
    empty.touch()
    out = tmp_path / "out"
    for arguments, message in (
        (["--model", tmp_path / "none", "--corpus", corpus, "--out", out], "none"),
        (["--model", nano, "--corpus", tmp_path / "none.txt", "--out", out], "no such file"),
        (["--model", nano, "--corpus", empty, "--out", out], "the corpus has no text"),
        (["--model", nano, "--corpus", corpus, "--out", nano], "is the input of --model"),
        (["--model", nano, "--corpus", corpus, "--out", corpus], "is a file"),
    ):
        outcome = command(*arguments)
        assert (outcome.code, outcome.out) == (2, ""), arguments
        assert message in outcome.err
        assert outcome.err.count("\n") == 1, outcome.err
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "empty.txt"]


def test_temperature_and_columns_go_along_and_those_of_an_older_model_do_not_stay(
    command: Callable[..., Outcome],
    nano: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    made = ModelFolders(nano, tmp_path_factory)("DebertaV2ForSequenceClassification", pad_token_id=0)
    tuned, plain, out = tmp_path / "tuned", tmp_path / "plain", tmp_path / "out"
    shutil.copytree(made, plain)
    shutil.copytree(made, tuned)
    (tuned / "probabilities.json").write_text('{"temperature": 3.0, "thresholds": {}}')
    (tuned / "run.json").write_text('{"config": {"task": "custom"}, "columns": {"text": "Body"}}')
    corpus = tmp_path / "a.txt"
    corpus.write_text("\n".join(CORPUS), encoding="utf-8")
    assert command("--model", tuned, "--data", corpus, "--out", out).code == 0
    checkpoint = Checkpoint.open(out)
    assert checkpoint.probabilities.temperature == 3
    assert (checkpoint.trained.task, checkpoint.trained.text) == ("custom", "Body")
    (out / "special_tokens_map.json").write_text('{"cls_token": "[SEP]"}')
    (out / "metrics.json").write_text("{}")
    own = ("patients.xml", "customers.bin", "word2vec.model", "vectors.safetensors", "rows.csv")
    for name in own:
        (out / name).write_text("the user's")
    assert command("--model", plain, "--data", corpus, "--out", out, "--overwrite").code == 0
    checkpoint = Checkpoint.open(out)
    assert (checkpoint.probabilities.temperature, checkpoint.trained.task) == (1, None)
    assert not (out / "special_tokens_map.json").exists() and not (out / "metrics.json").exists()
    assert all((out / name).read_text() == "the user's" for name in own)
