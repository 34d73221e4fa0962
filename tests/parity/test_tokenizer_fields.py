"""Every field of a tokenizer's files that changes ids is honoured as in transformers, or refused by name."""

import inspect
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import AddedToken

from debertav3.errors import UserError
from debertav3.tokenization import DebertaV3Tokenizer

TEXTS = [
    "Hello World, it's 5% (or so).",
    "<<ENT>> person <<ENT>> place <<SEP>> Bill",
    "The <e1>cat</e1> sat on the <e2>mat</e2>.",
    "A <e1> cat </e1> sat",
    "line\n<e1> next",
    "a<e1>b",
    "<e1>",
    "x <e1>,y",
    "",
    " ",
]
MARKERS = ["<<ENT>>", "<<SEP>>", "<e1>", "</e1>", "<e2>", "</e2>"]


def copy_of(nano: Path, folder: Path, *names: str, **fields: Any) -> Path:
    """A tokenizer folder with some of nano's files and changed fields of its tokenizer_config.json."""
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(nano / name, folder)
    config = json.loads((nano / "tokenizer_config.json").read_text()) | fields
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def both(folder: Path) -> tuple[DebertaV3Tokenizer, Any]:
    """Our tokenizer and transformers' of one folder."""
    return (
        DebertaV3Tokenizer.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )


def assert_equal_ids(folder: Path, texts: list[str] = TEXTS) -> None:
    ours, stock = both(folder)
    for text in texts:
        assert ours(text)["input_ids"] == stock(text)["input_ids"], text
    assert len(ours) == len(stock)


# Each init argument of transformers' tokenizer: a value that is not its default, and what must come of it.
FIELDS: dict[str, tuple[Any, str]] = {
    "do_lower_case": (True, "equal"),
    "split_by_punct": (True, "equal"),
    "add_prefix_space": (False, "equal"),
    "bos_token": ("<s>", "equal"),
    "eos_token": ("</s>", "equal"),
    "unk_token": ("[PAD]", "other id"),
    "sep_token": ("▁the", "other id"),
    "pad_token": ("[UNK]", "other id"),
    "cls_token": ("▁a", "other id"),
    "mask_token": ("▁of", "other id"),
    "vocab": (None, "no field of the file"),
    "unk_id": (0, "not read: unk_token names it"),
    "kwargs": (None, "no field of the file"),
}


def test_every_argument_of_transformers_has_a_case() -> None:
    arguments = set(inspect.signature(transformers.DebertaV2Tokenizer.__init__).parameters) - {"self"}
    assert arguments == FIELDS.keys()


@pytest.mark.parametrize("field", [name for name, (_, kind) in FIELDS.items() if kind == "equal"])
def test_a_field_that_changes_ids_changes_ours_alike(
    field: str, nano: Path, nano_mask: int, tmp_path: Path
) -> None:
    """On a folder with spm.model alone, where the fields decide."""
    fields = {field: FIELDS[field][0], "tokenizer_class": "DebertaV2Tokenizer"}
    copy_of(nano, tmp_path, "spm.model", **fields)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"[MASK]": nano_mask, "<e1>": nano_mask + 1}))
    if field in ("bos_token", "eos_token"):
        (tmp_path / "added_tokens.json").unlink()
    assert_equal_ids(tmp_path)


@pytest.mark.parametrize("role", ["unk_token", "sep_token", "pad_token", "cls_token", "mask_token"])
def test_a_role_follows_its_field(role: str, nano: Path, tmp_path: Path) -> None:
    copy_of(nano, tmp_path, "spm.model", **{role: FIELDS[role][0]}, tokenizer_class="DebertaV2Tokenizer")
    ours = DebertaV3Tokenizer.from_pretrained(tmp_path)
    stock = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours.specials.ids[role] == getattr(stock, f"{role}_id")
    assert ours("Hello")["input_ids"] == stock("Hello")["input_ids"]


@pytest.mark.parametrize("side", ["padding_side", "truncation_side"])
def test_sides(side: str, nano: Path, tmp_path: Path) -> None:
    copy_of(nano, tmp_path, "spm.model", "tokenizer.json", **{side: "left"})
    ours, stock = (
        DebertaV3Tokenizer.from_pretrained(tmp_path),
        transformers.AutoTokenizer.from_pretrained(tmp_path),
    )
    options = {"padding": True, "truncation": True, "max_length": 6}
    texts = ["one", "a b c d e f g h"]
    assert ours(texts, **options)["input_ids"] == stock(texts, **options)["input_ids"]
    ours.save_pretrained(tmp_path / "again")
    assert getattr(DebertaV3Tokenizer.from_pretrained(tmp_path / "again"), side) == "left"


@pytest.mark.parametrize("field", ["model_max_length", "max_len"])
def test_the_length_limit(field: str, nano: Path, tmp_path: Path) -> None:
    copy_of(nano, tmp_path, "spm.model", "tokenizer.json")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["model_max_length"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {field: 9}))
    ours, stock = (
        DebertaV3Tokenizer.from_pretrained(tmp_path),
        transformers.AutoTokenizer.from_pretrained(tmp_path),
    )
    text = "a b c d e f g h i j k l"
    assert ours(text, truncation=True)["input_ids"] == stock(text, truncation=True)["input_ids"]


def test_the_names_of_inputs(nano: Path, tmp_path: Path) -> None:
    names = ["input_ids", "attention_mask"]
    copy_of(nano, tmp_path, "spm.model", "tokenizer.json", model_input_names=names)
    ours, stock = (
        DebertaV3Tokenizer.from_pretrained(tmp_path),
        transformers.AutoTokenizer.from_pretrained(tmp_path),
    )
    assert set(ours("a")) == set(stock("a")) == set(names)
    assert "token_type_ids" in ours("a", return_token_type_ids=True)
    ours.save_pretrained(tmp_path / "again")
    assert set(DebertaV3Tokenizer.from_pretrained(tmp_path / "again")("a")) == set(names)


@pytest.mark.parametrize("key", ["extra_special_tokens", "additional_special_tokens"])
@pytest.mark.parametrize("value", [["<e1>", "</e1>"], {"entity_token": "<e1>"}])
def test_special_tokens_that_are_named_without_an_id(
    key: str, value: Any, nano: Path, tmp_path: Path
) -> None:
    if isinstance(value, dict) and key == "additional_special_tokens":
        pytest.skip("transformers takes a list there")
    copy_of(nano, tmp_path, "spm.model", **{key: value}, tokenizer_class="DebertaV2Tokenizer")
    assert_equal_ids(tmp_path)


def test_a_token_field_of_the_users_own(nano: Path, tmp_path: Path) -> None:
    copy_of(nano, tmp_path, "spm.model", entity_token="<e1>", tokenizer_class="DebertaV2Tokenizer")
    assert_equal_ids(tmp_path)


def test_special_tokens_map(nano: Path, tmp_path: Path) -> None:
    copy_of(nano, tmp_path, "spm.model", tokenizer_class="DebertaV2Tokenizer")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"sep_token": {"content": "▁the"}}))
    ours, stock = (
        DebertaV3Tokenizer.from_pretrained(tmp_path),
        transformers.AutoTokenizer.from_pretrained(tmp_path),
    )
    assert ours("Hello")["input_ids"] == stock("Hello")["input_ids"]
    assert ours.sep_token_id == stock.sep_token_id != 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tokenizer_class", "XLMRobertaTokenizer"),
        ("tokenizer_class", "BertTokenizerFast"),
        ("auto_map", {"AutoTokenizer": ["tokenizer.Mine", None]}),
        ("vocab_type", "gpt2"),
        ("sp_model_kwargs", {"enable_sampling": True, "nbest_size": -1, "alpha": 0.1}),
        ("split_special_tokens", True),
        ("do_lower_case", "yes"),
        ("padding_side", "middle"),
        ("model_max_length", "long"),
        ("model_max_length", -1),
        ("model_input_names", "input_ids"),
        ("sep_token", 7),
        ("extra_special_tokens", "x"),
        ("added_tokens_decoder", ["<e1>"]),
        ("added_tokens_decoder", {"x": {"content": "<e1>"}}),
        ("added_tokens_decoder", {"12001": {"lstrip": True}}),
    ],
)
def test_what_is_not_honoured_is_refused(field: str, value: Any, nano: Path, tmp_path: Path) -> None:
    copy_of(nano, tmp_path, "spm.model", "tokenizer.json", **{field: value})
    with pytest.raises(UserError) as caught:
        DebertaV3Tokenizer.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_json_that_does_not_do_what_its_config_asks_is_refused(nano: Path, tmp_path: Path) -> None:
    for field in ("do_lower_case", "split_by_punct"):
        copy_of(nano, tmp_path, "tokenizer.json", **{field: True})
        with pytest.raises(UserError, match=f"{field} is true"):
            DebertaV3Tokenizer.from_pretrained(tmp_path)


def test_text_settings_survive_a_save(nano: Path, tmp_path: Path) -> None:
    copy_of(nano, tmp_path / "a", "spm.model", do_lower_case=True, split_by_punct=True)
    first = DebertaV3Tokenizer.from_pretrained(tmp_path / "a")
    first.save_pretrained(tmp_path / "b")
    (tmp_path / "b" / "spm.model").rename(tmp_path / "spm.model")  # what stock libraries read
    for _ in range(2):  # without the model, then with it
        again = DebertaV3Tokenizer.from_pretrained(tmp_path / "b")
        assert [again(text)["input_ids"] for text in TEXTS] == [first(text)["input_ids"] for text in TEXTS]
        shutil.copy(tmp_path / "spm.model", tmp_path / "b")
    assert first("HELLO")["input_ids"] == first("hello")["input_ids"]


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("source", ["spm.model alone", "our folder", "our folder, saved into again"])
def test_added_tokens(source: str, special: bool, nano: Path, tmp_path: Path) -> None:
    """``add_tokens`` looks for them after normalization, which leaves the spaces around them as tokens."""
    if source == "spm.model alone":
        copy_of(nano, tmp_path, "spm.model", tokenizer_class="DebertaV2Tokenizer")
    else:
        DebertaV3Tokenizer.from_pretrained(nano).save_pretrained(tmp_path)
    stock = transformers.AutoTokenizer.from_pretrained(tmp_path)
    stock.add_tokens(MARKERS, special_tokens=special)
    target = tmp_path if source == "our folder, saved into again" else tmp_path / "saved"
    stock.save_pretrained(target)
    assert_equal_ids(target)
    DebertaV3Tokenizer.from_pretrained(target).save_pretrained(tmp_path / "ours")
    assert_equal_ids(tmp_path / "ours")
    ours = DebertaV3Tokenizer.from_pretrained(tmp_path / "ours")
    for text in TEXTS:
        assert ours(text)["input_ids"] == stock(text)["input_ids"], text
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert again.decode(stock("a <e1> b")["input_ids"], skip_special_tokens=True) == stock.decode(
        stock("a <e1> b")["input_ids"], skip_special_tokens=True
    )


@pytest.mark.parametrize("flag", ["single_word", "lstrip", "rstrip", "normalized"])
def test_how_an_added_token_matches(flag: str, nano: Path, tmp_path: Path) -> None:
    stock = DebertaV3Tokenizer.from_pretrained(nano).to_transformers()
    stock.add_tokens([AddedToken("cat", **{"normalized": False, flag: True})])
    stock.save_pretrained(tmp_path)
    assert_equal_ids(
        tmp_path, ["a cat sat", "concat", "cats", "cat", "the  cat\tsat", "cat cat", "\uff43\uff41\uff54"]
    )


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "max_length", "max_length": 64},
        {"truncation": True, "max_length": 32},
        {"truncation": True, "max_length": 32, "padding": "max_length"},
        {"padding": True},
    ],
)
def test_saved_while_padding_or_truncation_was_on(
    options: dict[str, Any], nano: Path, tmp_path: Path
) -> None:
    stock = DebertaV3Tokenizer.from_pretrained(nano).to_transformers()
    stock(["one text", "another text here"], **options)
    stock.save_pretrained(tmp_path)
    long = "word " * 100
    ours = DebertaV3Tokenizer.from_pretrained(tmp_path)
    assert ours(long)["input_ids"] == DebertaV3Tokenizer.from_pretrained(nano)(long)["input_ids"]
    assert len(ours("a")["input_ids"]) == 3
    saved = json.loads(Path(ours.save_pretrained(tmp_path / "again")[0]).read_text())
    assert saved["padding"] is None and saved["truncation"] is None


def list_tokens(folder: Path, tokens: dict[str, int]) -> None:
    (folder / "added_tokens.json").write_text(json.dumps(tokens))


def test_gaps_between_added_ids(nano: Path, nano_mask: int, tmp_path: Path) -> None:
    copy_of(nano, tmp_path / "a", "spm.model")
    list_tokens(tmp_path / "a", {"[MASK]": nano_mask, "<e1>": nano_mask + 10})
    ours = DebertaV3Tokenizer.from_pretrained(tmp_path / "a")
    assert nano_mask + 10 in ours("a <e1> b")["input_ids"] and len(ours) == nano_mask + 11
    ours.save_pretrained(tmp_path / "b")
    assert_equal_ids(tmp_path / "b", ["a <e1> b", "<e1>"])
    assert (
        transformers.AutoTokenizer.from_pretrained(tmp_path / "b").convert_tokens_to_ids("<e1>")
        == nano_mask + 10
    )
    (tmp_path / "b" / "spm.model").unlink()
    alone = DebertaV3Tokenizer.from_pretrained(tmp_path / "b")
    assert alone("a <e1> b")["input_ids"] == ours("a <e1> b")["input_ids"]


def test_an_empty_added_token_is_ignored(
    nano: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy_of(nano, tmp_path, "spm.model", added_tokens_decoder={"12001": {"content": ""}})
    with caplog.at_level(logging.WARNING):
        ours = DebertaV3Tokenizer.from_pretrained(tmp_path)
    assert "empty token" in caplog.text
    assert ours("a b")["input_ids"] == DebertaV3Tokenizer.from_pretrained(nano)("a b")["input_ids"]


def spoil_vocabulary(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"][300][0] = "▁other"
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: list_tokens(folder, {"[MASK]": 10**9}),
            "no model can have so many|two ids|another file",
        ),
        (lambda folder: list_tokens(folder, {"[MASK]": 2 * 10**7}), "another file"),
        (lambda folder: list_tokens(folder, {"<e1>": 10**9}), "no model can have so many embeddings"),
        (lambda folder: list_tokens(folder, {"<e1>": -1}), "Ids count from 0"),
        (lambda folder: list_tokens(folder, {"<e1>": 17}), "files are of two tokenizers"),
        (lambda folder: list_tokens(folder, {"▁the": 12001}), "files are of two tokenizers"),
        (lambda folder: list_tokens(folder, {"<e1>": 12001, "<e2>": 12001}), "the same id"),
        (spoil_vocabulary, "different vocabularies"),
    ],
)
def test_ids_that_cannot_be_right_are_refused(
    spoil: Callable[[Path], None], message: str, nano: Path, tmp_path: Path
) -> None:
    copy_of(nano, tmp_path, "spm.model", "tokenizer.json", "added_tokens.json")
    spoil(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        DebertaV3Tokenizer.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["spm.model", "tokenizer.json", "tokenizer_config.json", "added_tokens.json", "config.json"]
)
def test_a_link_out_of_the_folder_is_refused(name: str, nano: Path, tmp_path: Path) -> None:
    inside = copy_of(
        nano, tmp_path / "inside", "spm.model", "tokenizer.json", "added_tokens.json", "config.json"
    )
    outside = tmp_path / "outside"
    shutil.copytree(inside, outside)
    (inside / name).unlink()
    (inside / name).symlink_to(outside / name)
    with pytest.raises(UserError, match="a link that points outside its folder"):
        DebertaV3Tokenizer.from_pretrained(inside)
