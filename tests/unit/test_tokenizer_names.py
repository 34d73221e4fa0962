"""``DebertaV3Tokenizer`` has the names that scripts call, with stock answers, or says what to use instead."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from transformers import Trainer, TrainingArguments
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from debertav3 import DebertaV3Tokenizer, UserError
from debertav3.models import DebertaV2ForSequenceClassification
from helpers import tiny_config

TEXT = "The quick brown fox, which nobody had ever seen, jumps over Kate's lazy dog in Paris."
CONTEXT = " ".join([TEXT] * 3)
QUESTION = "Who jumps over whom?"


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


@pytest.fixture(scope="module")
def stock(tokenizer: DebertaV3Tokenizer) -> Any:
    return tokenizer.to_transformers()


SAME = [
    "cls_token",
    "sep_token",
    "pad_token",
    "unk_token",
    "mask_token",
    "bos_token",
    "eos_token",
    "cls_token_id",
    "sep_token_id",
    "pad_token_id",
    "unk_token_id",
    "mask_token_id",
    "bos_token_id",
    "eos_token_id",
    "pad_token_type_id",
    "all_special_tokens",
    "all_special_ids",
    "vocab_size",
    "model_max_length",
    "padding_side",
    "truncation_side",
    "max_len_single_sentence",
    "max_len_sentences_pair",
    "is_fast",
    "clean_up_tokenization_spaces",
]


@pytest.mark.parametrize("name", SAME)
def test_properties_are_those_of_stock(tokenizer: DebertaV3Tokenizer, stock: Any, name: str) -> None:
    ours, theirs = getattr(tokenizer, name), getattr(stock, name)
    assert (sorted(ours) if isinstance(ours, list) else ours) == (
        sorted(theirs) if isinstance(theirs, list) else theirs
    )


def test_look_ups_are_those_of_stock(tokenizer: DebertaV3Tokenizer, stock: Any) -> None:
    assert len(tokenizer) == len(stock)
    assert tokenizer.get_vocab() == tokenizer.vocab == stock.get_vocab()
    assert (
        set(tokenizer.get_added_vocab())
        == set(tokenizer.added_tokens_encoder)
        == set(stock.get_added_vocab())
    )
    assert tokenizer.special_tokens_map == stock.special_tokens_map
    for pair in (False, True):
        assert tokenizer.num_special_tokens_to_add(pair) == stock.num_special_tokens_to_add(pair)
    a, b = tokenizer.encode(TEXT), tokenizer.encode(QUESTION)
    assert tokenizer.build_inputs_with_special_tokens(a, b) == stock(TEXT, QUESTION)["input_ids"]
    assert tokenizer.build_inputs_with_special_tokens(a) == stock(TEXT)["input_ids"]
    types = tokenizer.create_token_type_ids_from_sequences(a, b)
    assert types == stock(TEXT, QUESTION)["token_type_ids"]


def test_texts_to_pieces_and_back(tokenizer: DebertaV3Tokenizer, stock: Any) -> None:
    assert tokenizer.tokenize(TEXT) == stock.tokenize(TEXT)
    assert tokenizer.tokenize(TEXT, QUESTION, True) == stock.tokenize(TEXT, QUESTION, True)
    assert tokenizer.encode(TEXT, QUESTION, add_special_tokens=True) == stock.encode(TEXT, QUESTION)
    assert tokenizer.encode(TEXT, add_special_tokens=False) == stock.encode(TEXT, add_special_tokens=False)
    cut = tokenizer.encode(TEXT, add_special_tokens=True, truncation=True, max_length=7)
    assert cut == stock.encode(TEXT, truncation=True, max_length=7)
    rows = tokenizer([TEXT, QUESTION], padding=True, return_tensors="np")["input_ids"]
    for ids in (rows, rows.tolist(), list(rows)):
        assert tokenizer.batch_decode(ids, skip_special_tokens=True) == [TEXT, QUESTION]
        assert tokenizer.decode(ids, True) == [TEXT, QUESTION]
    assert tokenizer.decode(rows[0], skip_special_tokens=True, clean_up_tokenization_spaces=False) == TEXT
    assert tokenizer.decode(np.int64(5)) == tokenizer.decode(5) == tokenizer.decode([5])
    skipped = tokenizer.convert_ids_to_tokens(rows[1], skip_special_tokens=True)
    assert skipped == tokenizer.tokenize(QUESTION)
    with pytest.raises(UserError, match="to_transformers"):
        tokenizer.decode(rows[0], clean_up_tokenization_spaces=True)


def test_arguments_that_scripts_pass(tokenizer: DebertaV3Tokenizer, stock: Any) -> None:
    texts = [TEXT, QUESTION]
    for settings in (
        {"return_length": True, "verbose": False, "padding": True},
        {"padding": "max_length", "max_length": 40, "padding_side": "left", "truncation": True},
        {"return_token_type_ids": None, "return_attention_mask": None},
        {"return_token_type_ids": False, "return_attention_mask": False},
    ):
        ours, theirs = tokenizer(texts, **settings), stock(texts, **settings)
        assert dict(ours) == dict(theirs)
    assert tokenizer.batch_encode_plus(texts) == tokenizer(texts)
    assert tokenizer.encode_plus(TEXT, QUESTION) == tokenizer(TEXT, QUESTION)
    rows = [tokenizer(text) for text in texts]
    ours = tokenizer.pad(rows, padding_side="left", return_attention_mask=True, verbose=False)
    assert dict(ours) == dict(stock.pad([stock(text) for text in texts], padding_side="left"))


@pytest.mark.parametrize("kind", ["numpy", "pandas", "datasets", "tuple"])
def test_any_sequence_is_a_batch(tokenizer: DebertaV3Tokenizer, kind: str) -> None:
    texts = [TEXT, QUESTION]
    if kind == "pandas":
        given = pytest.importorskip("pandas").Series(texts, index=[3, 4])
    elif kind == "datasets":
        given = pytest.importorskip("datasets").Dataset.from_dict({"x": texts})["x"]
    else:
        given = np.array(texts) if kind == "numpy" else tuple(texts)
    assert tokenizer(given) == tokenizer(texts)
    assert tokenizer(given, given) == tokenizer(texts, texts)


SETTINGS = [
    {"max_length": 24, "stride": 5, "truncation": True},
    {"max_length": 24, "stride": 0, "truncation": True},
    {"max_length": 25, "stride": 21, "truncation": "only_first", "padding": True},
    {"max_length": 500, "stride": 5, "truncation": True},
    {"max_length": 24, "stride": 5, "truncation": True, "add_special_tokens": False},
    {"truncation": False},
]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_windows_of_long_texts(nano: Path, stock: Any, settings: dict[str, Any], side: Any) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    theirs = copy.deepcopy(stock)
    tokenizer.truncation_side = theirs.truncation_side = side
    flags = {"return_overflowing_tokens": True, "return_offsets_mapping": True, "return_length": True}
    for texts in ([CONTEXT, QUESTION, TEXT], CONTEXT, [QUESTION]):
        got, want = tokenizer(texts, **settings, **flags), theirs(texts, **settings, **flags)
        given = [texts] if isinstance(texts, str) else texts
        for name, value in want.items():
            if name == "offset_mapping":  # ours leave out the space before a word
                own = [given[number] for number in got["overflow_to_sample_mapping"]]
                assert characters(got[name], own) == characters(value, own)
            else:
                assert got[name] == value
        assert got.keys() == want.keys()
        for row in range(len(got["input_ids"])):
            assert got.word_ids(row) == want.word_ids(row)
            assert got.sequence_ids(row) == want.sequence_ids(row)


def characters(spans: list[Any], texts: list[str]) -> list[list[str]]:
    return [[text[start:end].strip() for start, end in row] for row, text in zip(spans, texts, strict=True)]


@pytest.mark.parametrize("strategy", ["only_first", "only_second"])
def test_windows_of_pairs(tokenizer: DebertaV3Tokenizer, stock: Any, strategy: Any) -> None:
    firsts, seconds = [QUESTION, CONTEXT, TEXT], [CONTEXT, QUESTION, QUESTION]
    if strategy == "only_first":
        firsts, seconds = [CONTEXT, TEXT], [QUESTION, QUESTION]
    else:
        firsts, seconds = [QUESTION, QUESTION], [CONTEXT, TEXT]
    settings: dict[str, Any] = {
        "max_length": 32, "stride": 6, "truncation": strategy, "padding": "max_length",
        "return_overflowing_tokens": True, "return_offsets_mapping": True,
    }  # fmt: skip
    got, want = tokenizer(firsts, seconds, **settings), stock(firsts, seconds, **settings)
    for name in ("input_ids", "token_type_ids", "attention_mask", "overflow_to_sample_mapping"):
        assert got[name] == want[name]
    for row in range(len(got["input_ids"])):
        assert got.sequence_ids(row) == want.sequence_ids(row)
        assert got.word_ids(row) == want.word_ids(row)
    with pytest.raises(UserError, match="only_second"):
        tokenizer(firsts, seconds, **{**settings, "truncation": True})


def test_a_stride_without_room_is_refused(tokenizer: DebertaV3Tokenizer) -> None:
    with pytest.raises(UserError, match="smaller stride"):
        tokenizer(CONTEXT, max_length=20, stride=18, truncation=True, return_overflowing_tokens=True)


@pytest.mark.parametrize("with_offsets", [False, True])
@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_characters_words_and_tokens(
    tokenizer: DebertaV3Tokenizer, stock: Any, with_offsets: bool, padding_side: Any
) -> None:
    settings: dict[str, Any] = {
        "padding": True, "padding_side": padding_side, "truncation": True, "max_length": 60,
        "return_offsets_mapping": with_offsets,
    }  # fmt: skip
    firsts, seconds = [QUESTION, TEXT], [CONTEXT, QUESTION]
    got, want = tokenizer(firsts, seconds, **settings), stock(firsts, seconds, **settings)
    for row in (0, 1):
        assert got.tokens(row) == want.tokens(row)
        for token in range(len(got["input_ids"][row])):
            for name in ("token_to_sequence", "token_to_word"):
                assert getattr(got, name)(row, token) == getattr(want, name)(row, token)
        for sequence, text in enumerate((firsts[row], seconds[row])):
            for character, letter in enumerate(text):
                ours = got.char_to_token(row, character, sequence)
                if not letter.isspace():  # the library counts the space before a word to it
                    assert ours == want.char_to_token(row, character, sequence)
                    assert got.char_to_word(row, character, sequence) == want.char_to_word(
                        row, character, sequence
                    )
            for word in {got.token_to_word(row, token) for token in range(60)} - {None}:
                assert got.word_to_tokens(row, word, sequence) == want.word_to_tokens(row, word, sequence)
                chars = got.word_to_chars(row, word, sequence)
                if chars is not None:
                    assert (
                        text[slice(*chars)] == text[slice(*want.word_to_chars(row, word, sequence))].strip()
                    )
    single = tokenizer(TEXT)
    token = single.char_to_token(TEXT.index("Kate"))
    assert token is not None and single.tokens()[token].strip("▁").startswith("K")
    assert TEXT[slice(*single.token_to_chars(token))].startswith("K")  # type: ignore[misc]


def test_a_copied_encoding_says_what_it_lost(tokenizer: DebertaV3Tokenizer) -> None:
    encoding = pickle.loads(pickle.dumps(tokenizer(TEXT)))
    assert encoding.word_ids() == tokenizer(TEXT).word_ids()
    with pytest.raises(UserError, match="return_offsets_mapping=True"):
        encoding.char_to_token(3)
    with pytest.raises(UserError, match="convert_ids_to_tokens"):
        encoding.tokens()
    kept = copy.deepcopy(tokenizer(TEXT, return_offsets_mapping=True))
    assert kept.char_to_token(3) == tokenizer(TEXT).char_to_token(3)


@pytest.mark.parametrize(
    ("tokens", "special"),
    [
        (["<e1>", "</e1>"], True),
        (["<e1>", "</e1>"], False),
        ("foxglove", False),
        (
            [transformers.AddedToken("<x>", lstrip=True), transformers.AddedToken("fox", single_word=True)],
            False,
        ),
        (["▁the", "<e1>", "<e1>", "[MASK]"], True),
    ],
)
def test_added_tokens(nano: Path, tmp_path: Path, tokens: Any, special: bool) -> None:
    ours = DebertaV3Tokenizer.from_pretrained(nano)
    theirs = ours.to_transformers()
    before = len(ours)
    assert ours.add_tokens(tokens, special_tokens=special) == len(ours) - before
    theirs.add_tokens(tokens, special_tokens=special)
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    text = "A fox <x> and <e1>Kate</e1> saw foxglove , foxes and <e1>."
    assert ours(text)["input_ids"] == theirs(text)["input_ids"]
    ids = ours(text)["input_ids"]
    assert ours.decode(ids, skip_special_tokens=True).count("<e1>") == (
        theirs.decode(ids, skip_special_tokens=True).count("<e1>")
    )
    ours.save_pretrained(tmp_path)
    for opened in (
        DebertaV3Tokenizer.from_pretrained(tmp_path),
        transformers.AutoTokenizer.from_pretrained(tmp_path),
    ):
        assert len(opened) == len(ours) and opened(text)["input_ids"] == ids


def test_added_tokens_one_after_another(nano: Path) -> None:
    ours = DebertaV3Tokenizer.from_pretrained(nano)
    size = len(ours)
    assert ours.add_special_tokens({"additional_special_tokens": ["<a>", "<b>"], "pad_token": "[PAD]"}) == 2
    assert ours.add_tokens("word_with_normalization") == 1
    assert ours.add_tokens(["<a>", "<c>"]) == 1
    assert ours.convert_tokens_to_ids(["<a>", "<b>", "word_with_normalization", "<c>"]) == list(
        range(size, size + 4)
    )
    assert ours.tokenize("see <a><c> word_with_normalization<b>")[1:3] == ["<a>", "<c>"]
    for wrong in ("", None, 3):
        with pytest.raises(UserError, match="at least one character"):
            ours.add_tokens([wrong])
    with pytest.raises(UserError, match="pad_token cannot become '<pad>'"):
        ours.add_special_tokens({"pad_token": "<pad>"})
    with pytest.raises(UserError, match="the roles are"):
        ours.add_special_tokens({"start_token": "<s>"})


def test_names_that_are_not_there_point_to_stock(tokenizer: DebertaV3Tokenizer) -> None:
    for name in ("apply_chat_template", "train_new_from_iterator", "backend_tokenizer", "push_to_hub"):
        assert not hasattr(tokenizer, name)
        with pytest.raises(AttributeError, match=rf"no '{name}'. to_transformers\(\) gives"):
            getattr(tokenizer, name)


def test_every_public_name_of_stock_is_there_or_points_to_it(
    tokenizer: DebertaV3Tokenizer, stock: Any
) -> None:
    for name in dir(stock):
        if not name.startswith("_") and not hasattr(tokenizer, name):
            with pytest.raises(AttributeError, match="to_transformers"):
                getattr(tokenizer, name)


def test_isinstance_and_copies(tokenizer: DebertaV3Tokenizer) -> None:
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    assert isinstance(tokenizer, DebertaV3Tokenizer)
    assert type(tokenizer) is DebertaV3Tokenizer and tokenizer.__class__.__name__ == "DebertaV3Tokenizer"
    for other in (copy.copy(tokenizer), copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert type(other) is DebertaV3Tokenizer and other(TEXT) == tokenizer(TEXT)
    deep = copy.deepcopy(tokenizer)
    deep.add_tokens(["<only here>"])
    assert len(deep) == len(tokenizer) + 1


def test_the_trainer_pads_with_it_alone(tokenizer: DebertaV3Tokenizer, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": [TEXT, QUESTION, "a"], "label": [0, 1, 0]})
    rows = rows.map(lambda row: tokenizer(row["text"]), batched=True)
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=3,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    model = DebertaV2ForSequenceClassification(
        tiny_config(vocab_size=len(tokenizer), max_position_embeddings=128)
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["input_ids"].shape == (3, len(tokenizer(TEXT)["input_ids"]))
    trainer.save_model(str(tmp_path / "saved"))
    assert DebertaV3Tokenizer.from_pretrained(tmp_path / "saved")(TEXT) == tokenizer(TEXT)
