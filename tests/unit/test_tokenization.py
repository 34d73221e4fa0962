"""The model's ids on every string, spans inside the text, rows in transformers' layout."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from debertav3.errors import UserError
from debertav3.tokenization import DebertaV3Tokenizer
from debertav3.tokenization.assembly import kept_lengths

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=60)  # surrogates and unassigned too
# fmt: off
TRICKY = [
    "a", "the", "92000", ",", ".", "--", "[MASK]", "[SEP]", "<0x41>", " ", "  ", "\n", "\t", "\0", "\x07",
    "\x85", "\u00a0", "\u200b", "\u2581", "\u00bd", "1\u00bc", "\u2026", "\ufb01", "\uff21", "e\u0301",
    "\u0301", "\u1f04", "\ufdfa", "\u4e2d\u6587", "\U0001f469\u200d\U0001f467", "\U00013000", "\ud800",
    "\ue000",
]
# fmt: on
TRICKY_TEXT = st.lists(st.sampled_from(TRICKY), max_size=12).map("".join)


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


@pytest.fixture(scope="module")
def reference(nano: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(nano / "spm.model"))


@pytest.fixture
def json_only(nano: Path, tmp_path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(nano / name, tmp_path)
    return tmp_path


def test_import_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, debertav3.tokenization, debertav3.cli.tokenizer;"
        "sys.exit(', '.join({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestIds:
    @given(st.one_of(ANY_TEXT, TRICKY_TEXT))
    @settings(max_examples=300, deadline=None)
    def test_are_those_of_the_model(self, tokenizer, reference, text: str) -> None:
        clean = (
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if _has_surrogate(text)
            else text
        )
        ids = tokenizer.encode(text)
        assert tokenizer.encode_with_offsets(text)[0] == ids
        if len(clean) == len(text):  # a pair of surrogates may have joined into one character
            assert ids == reference.encode(clean)

    def test_surrogates_are_read_as_replacement_characters(self, tokenizer, reference) -> None:
        assert tokenizer.encode("a\ud800b \udfff") == reference.encode("a\ufffdb \ufffd")

    @pytest.mark.parametrize("unit", ["a", "word ", "\0", " ", "\u00bd", "\U00013000"])
    def test_a_line_of_a_megabyte(self, tokenizer, reference, unit: str) -> None:
        text = unit * (250_000 // len(unit.encode()))
        assert tokenizer.encode(text) == reference.encode(text)

    def test_batches_and_threads_change_nothing(self, nano: Path, tokenizer) -> None:
        texts = ["A man eats.", "", "caf\u00e9 \u00bd", "x" * 50] * 20
        want = [tokenizer.encode(text) for text in texts]
        assert tokenizer.encode_batch(texts) == want
        assert DebertaV3Tokenizer.from_pretrained(nano, num_threads=2).encode_batch(texts) == want
        assert [ids for ids, _ in tokenizer.encode_batch_with_offsets(texts)] == want

    @pytest.mark.parametrize("compat", ["sentencepiece", "json"])
    def test_few_texts_are_the_callers_own_work(self, nano: Path, json_only: Path, compat: str) -> None:
        folder = nano if compat == "sentencepiece" else json_only
        code = (
            "import sys, time\n"
            "from debertav3.tokenization import DebertaV3Tokenizer\n"
            "tokenizer = DebertaV3Tokenizer.from_pretrained(sys.argv[1])\n"
            "tokenizer.encode_batch(['A man'])\n"  # starts a pool that then sleeps
            "elsewhere = time.process_time() - time.thread_time()\n"
            "for _ in range(50):\n"
            "    tokenizer.encode_batch(['A man is asleep on a bench.', 'Nobody is awake.'] * 8)\n"
            "    tokenizer.encode_batch_with_offsets(['A man is asleep.', 'Nobody is awake.'])\n"
            "print(time.process_time() - time.thread_time() - elsewhere)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
        )
        assert float(done.stdout) < 0.001  # seconds of other threads

    def test_a_pickled_copy_gives_the_same(self, tokenizer) -> None:
        copy = pickle.loads(pickle.dumps(tokenizer))
        assert copy("caf\u00e9 \u00bd", "b") == tokenizer("caf\u00e9 \u00bd", "b")


class TestOffsets:
    @given(st.one_of(ANY_TEXT, TRICKY_TEXT))
    @settings(max_examples=300, deadline=None)
    def test_are_monotone_and_inside_the_text(self, tokenizer, text: str) -> None:
        _, spans = tokenizer.encode_with_offsets(text)
        assert all(0 <= start <= end <= len(text) for start, end in spans)
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        assert starts == sorted(starts)
        assert ends == sorted(ends)

    @given(st.text(st.sampled_from("abc XYZ.,-'19"), max_size=40))
    @settings(deadline=None)
    def test_cover_plain_text_exactly(self, tokenizer, text: str) -> None:
        ids, spans = tokenizer.encode_with_offsets(text)
        pieces = tokenizer.convert_ids_to_tokens(ids)
        assert [text[start:end] for start, end in spans] == [piece.removeprefix("\u2581") for piece in pieces]
        covered = "".join(text[start:end] for start, end in spans)
        assert covered == text.replace(" ", "")

    @given(st.one_of(ANY_TEXT, TRICKY_TEXT))
    @settings(max_examples=200, deadline=None)
    def test_a_span_normalizes_to_its_piece(self, tokenizer, reference, text: str) -> None:
        """Where a piece has whole characters to itself, normalizing its span gives the piece back."""
        ids, spans = tokenizer.encode_with_offsets(text)
        for place, (number, (start, end)) in enumerate(zip(ids, spans, strict=True)):
            others = spans[:place] + spans[place + 1 :]
            shares = any(begin < end and start < stop for begin, stop in others)
            if (
                start < end
                and not shares
                and not reference.is_byte(number)
                and not _has_surrogate(text[start:end])
            ):
                piece = tokenizer.convert_ids_to_tokens(number)
                assert reference.normalize(text[start:end]).replace("\u2581", "") == piece.replace(
                    "\u2581", ""
                )

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("\u00bd cup", ["\u00bd", "cup"]),
            ("a\u2026b c", ["a\u2026b", "c"]),
            ("\uff21\uff22 x", ["\uff21\uff22", "x"]),
            ("e\u0301t\u00e9 y", ["e\u0301t\u00e9", "y"]),
            ("x \U00013000 z", ["x", "\U00013000", "z"]),
            ("two  spaces\u00a0and \x07control\x07 ", ["two", "spaces", "and", "control"]),
        ],
        ids=["fraction", "ellipsis", "full-width", "combining", "bytes", "spaces-and-controls"],
    )
    def test_point_at_the_original_words(self, tokenizer, text: str, words: list[str]) -> None:
        encoding = tokenizer(text, return_offsets_mapping=True)
        spans: dict[int, list[tuple[int, int]]] = {}
        for word, span in zip(encoding.word_ids(), encoding["offset_mapping"], strict=True):
            if word is not None:
                spans.setdefault(word, []).append(span)
        assert [
            text[min(start for start, _ in of) : max(end for _, end in of)] for of in spans.values()
        ] == words

    def test_all_pieces_of_an_expanded_character_have_it(self, tokenizer) -> None:
        ids, spans = tokenizer.encode_with_offsets("the \ufdfa")
        assert len(ids) > 10
        assert set(spans[1:]) == {(4, 4), (4, 5)}
        assert tokenizer.encode_with_offsets("1\u00bc")[1][0] == (0, 2)  # its first piece is 11

    def test_special_strings_in_text_have_their_own_span(self, tokenizer) -> None:
        text = "Paris is [MASK], no?"
        ids, spans = tokenizer.encode_with_offsets(text, parse_special_tokens=True)
        (place,) = [index for index, number in enumerate(ids) if number == tokenizer.mask_token_id]
        assert text[slice(*spans[place])] == "[MASK]"
        assert text[slice(*spans[place + 1])] == ","


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


class TestSpecialTokens:
    TEXT = "a [SEP] b [CLS][MASK] [PAD][UNK]"

    def test_are_plain_text_by_default(self, tokenizer) -> None:
        assert not set(tokenizer.encode(self.TEXT)) & set(tokenizer.all_special_ids)
        assert tokenizer(self.TEXT)["input_ids"].count(tokenizer.sep_token_id) == 1

    def test_are_plain_text_without_a_model_too(self, json_only: Path, tokenizer) -> None:
        assert DebertaV3Tokenizer.from_pretrained(json_only).encode(self.TEXT) == tokenizer.encode(self.TEXT)

    @pytest.mark.parametrize("compat", ["exact", "hf5"])
    def test_are_recognized_on_request(self, nano: Path, compat: str) -> None:
        tokenizer = DebertaV3Tokenizer.from_pretrained(nano, compat=compat, parse_special_tokens=True)
        a, b = tokenizer.encode("a", parse_special_tokens=False), tokenizer.encode("b")
        sep, cls, mask, pad, unk = (
            tokenizer.convert_tokens_to_ids(f"[{name}]") for name in ("SEP", "CLS", "MASK", "PAD", "UNK")
        )
        assert tokenizer.encode(self.TEXT) == [*a, sep, *b, cls, mask, pad, unk]
        assert tokenizer.encode_batch([self.TEXT], parse_special_tokens=False) == [
            ids for ids, _ in tokenizer.encode_batch_with_offsets([self.TEXT], parse_special_tokens=False)
        ]
        assert mask not in tokenizer.encode(self.TEXT, parse_special_tokens=False)

    @pytest.mark.parametrize("masked", ["the film, it was good.", "un-believ-able", "I am"])
    def test_a_mask_stands_for_one_piece(self, tokenizer, masked: str) -> None:
        """Masking the text of a piece gives the ids that masking the piece gives."""
        ids, spans = tokenizer.encode_with_offsets(masked)
        for place, (start, end) in enumerate(spans):
            before_is_glued = not tokenizer.convert_ids_to_tokens(ids[place]).startswith("\u2581")
            if place == 0 or (before_is_glued and masked[start - 1].isalpha()):
                continue  # what stands before inside a word would be spelled otherwise without its end
            text = masked[:start] + "[MASK]" + masked[end:]
            want = [*ids[:place], tokenizer.mask_token_id, *ids[place + 1 :]]
            if end < len(masked) and masked[end].isalpha():
                continue
            assert tokenizer.encode(text, parse_special_tokens=True) == want

    def test_added_tokens_are_always_recognized(self, nano: Path, nano_mask: int, tmp_path: Path) -> None:
        shutil.copytree(nano, tmp_path, dirs_exist_ok=True)
        (tmp_path / "added_tokens.json").write_text(json.dumps({"[MASK]": nano_mask, "<e1>": nano_mask + 1}))
        tokenizer = DebertaV3Tokenizer.from_pretrained(tmp_path)
        assert tokenizer.encode("<e1>Bill [MASK]")[0] == nano_mask + 1
        assert tokenizer.mask_token_id not in tokenizer.encode("<e1>Bill [MASK]")
        assert len(tokenizer) == nano_mask + 2
        tokenizer.save_pretrained(tmp_path / "again")
        again = DebertaV3Tokenizer.from_pretrained(tmp_path / "again")
        assert again.encode("<e1>Bill") == tokenizer.encode("<e1>Bill")

    def test_ids_come_from_the_folder(self, tokenizer, nano_mask: int) -> None:
        ids = (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id)
        assert ids == (0, 1, 2, 3)
        assert tokenizer.mask_token_id == nano_mask
        assert len(tokenizer) == nano_mask + 1
        assert tokenizer.convert_ids_to_tokens([0, nano_mask, 5, 99999]) == [
            "[PAD]",
            "[MASK]",
            "<0x01>",
            "[UNK]",
        ]
        assert tokenizer.convert_tokens_to_ids(["[PAD]", "[MASK]", "<0x01>", "no such piece"]) == [
            0,
            nano_mask,
            5,
            3,
        ]


class TestRows:
    def test_pairs(self, tokenizer) -> None:
        a, b = tokenizer.encode("one two"), tokenizer.encode("three")
        encoding = tokenizer("one two", "three", return_special_tokens_mask=True)
        assert encoding["input_ids"] == [1, *a, 2, *b, 2]
        assert encoding["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)
        assert encoding.attention_mask == [1] * (len(a) + len(b) + 3)
        assert encoding["special_tokens_mask"] == [1, *[0] * len(a), 1, *[0] * len(b), 1]
        assert encoding.sequence_ids() == [None, *[0] * len(a), None, *[1] * len(b), None]
        assert tokenizer([("one two", "three")])["input_ids"] == [encoding["input_ids"]]
        assert tokenizer(["one two"], ["three"])["input_ids"] == [encoding["input_ids"]]
        assert tokenizer("one two", "three", add_special_tokens=False)["input_ids"] == [*a, *b]

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_truncation_cuts_the_longer_text(self, nano: Path, side: str) -> None:
        tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
        tokenizer.truncation_side = side
        long, short = "in of the and to is man was", "a on"  # every word is one piece
        encoding = tokenizer(long, short, truncation=True, max_length=9, return_offsets_mapping=True)
        kept = "in of the and" if side == "right" else "to is man was"
        assert encoding["input_ids"] == [1, *tokenizer.encode(kept), 2, *tokenizer.encode(short), 2]
        first = 0 if side == "right" else 4
        assert encoding.word_ids() == [None, first, first + 1, first + 2, first + 3, None, 0, 1, None]
        assert encoding["offset_mapping"][1] == ((0, 2) if side == "right" else (14, 16))

    @given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
    def test_longest_first_fills_the_budget_and_spares_the_shorter(
        self, first: int, second: int, budget: int
    ) -> None:
        kept = kept_lengths(first, second, budget=budget, strategy="longest_first")
        assert sum(kept) == min(first + second, budget)
        assert kept[0] <= first and kept[1] <= second
        for mine, length, other in ((kept[0], first, kept[1]), (kept[1], second, kept[0])):
            assert (
                mine == length or mine >= other - 1
            )  # only a text that is at least as long as the other is cut

    def test_only_one_text_is_cut_when_asked(self, tokenizer) -> None:
        texts = ("in of the and", "to is man was")
        assert tokenizer(*texts, truncation="only_first", max_length=8)["input_ids"] == [
            1, *tokenizer.encode("in"), 2, *tokenizer.encode("to is man was"), 2
        ]  # fmt: skip
        with pytest.raises(UserError, match="the second text has only 4"):
            tokenizer(*texts, truncation="only_second", max_length=6)
        with pytest.raises(UserError, match="no room"):
            tokenizer(*texts, truncation=True, max_length=2)

    def test_truncation_without_a_length_takes_the_models(self, tokenizer) -> None:
        assert (
            len(tokenizer("word " * 1000, truncation=True)["input_ids"]) == tokenizer.model_max_length == 512
        )
        assert len(tokenizer("word " * 1000)["input_ids"]) == 1002

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_padding(self, nano: Path, side: str) -> None:
        tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
        tokenizer.padding_side = side
        encoding = tokenizer(["a b c", "d"], padding=True, return_offsets_mapping=True)
        short = tokenizer("d")["input_ids"]
        assert encoding["input_ids"][1] == ([*short, 0, 0] if side == "right" else [0, 0, *short])
        assert encoding["attention_mask"][1] == ([1, 1, 1, 0, 0] if side == "right" else [0, 0, 1, 1, 1])
        assert encoding.sequence_ids(1).index(0) == (1 if side == "right" else 3)
        assert len(tokenizer("a", padding="max_length", max_length=7)["input_ids"]) == 7
        assert len(tokenizer(["a b c d"], padding=True, pad_to_multiple_of=8)["input_ids"][0]) == 8

    def test_words_that_were_given(self, tokenizer) -> None:
        words = ["Un", "believable", ",", "isn't"]
        encoding = tokenizer(words, is_split_into_words=True, return_offsets_mapping=True)
        pieces = [tokenizer.encode(word) for word in words]
        assert encoding["input_ids"] == [1, *[number for piece in pieces for number in piece], 2]
        want = [index for index, piece in enumerate(pieces) for _ in piece]
        assert encoding.word_ids() == [None, *want, None]
        assert encoding["offset_mapping"][1][0] == 0
        assert tokenizer([words, ["x"]], is_split_into_words=True)["input_ids"][0] == encoding["input_ids"]

    def test_arrays(self, tokenizer) -> None:
        rows = tokenizer(["a b", "c"], padding=True)
        tensors = tokenizer(["a b", "c"], padding=True, return_tensors="pt")
        arrays = tokenizer("a b", return_tensors="np")
        assert tensors["input_ids"].dtype == torch.int64
        assert tensors["input_ids"].tolist() == rows["input_ids"]
        assert tensors.to("cpu")["attention_mask"].shape == (2, 4)
        assert isinstance(arrays["input_ids"], np.ndarray) and arrays["input_ids"].shape == (1, 4)
        with pytest.raises(UserError, match="padding=True"):
            tokenizer(["a b", "c"], return_tensors="np")

    def test_pad_leaves_other_columns_alone(self, tokenizer) -> None:
        features = [{**tokenizer("a b"), "label": 1}, {**tokenizer("c"), "label": 0}]
        batch = tokenizer.pad(features, return_tensors="pt")
        assert batch["label"].tolist() == [1, 0]
        assert batch["input_ids"].tolist() == tokenizer(["a b", "c"], padding=True)["input_ids"]
        with pytest.raises(UserError, match="input_ids"):
            tokenizer.pad([{"label": 1}])

    @pytest.mark.parametrize(
        ("text", "pair", "message"),
        [
            (3, None, "got int"),
            (["a", None], None, "got NoneType"),
            (["a", "b"], ["c"], "2 first texts but 1 texts"),
            (["a"], "c", "one text"),
        ],
    )
    def test_what_is_no_text_is_refused(self, tokenizer, text, pair, message: str) -> None:
        with pytest.raises(UserError, match=message):
            tokenizer(text, pair)

    def test_unknown_strategies_are_refused(self, tokenizer) -> None:
        with pytest.raises(UserError, match="truncation='longest'"):
            tokenizer("a", truncation="longest")
        with pytest.raises(UserError, match="padding='left'"):
            tokenizer("a", padding="left")

    def test_an_empty_batch_and_an_empty_text(self, tokenizer) -> None:
        assert tokenizer([])["input_ids"] == []
        assert tokenizer("")["input_ids"] == [1, 2]
        assert tokenizer([""], [""])["token_type_ids"] == [[0, 0, 1]]

    @pytest.mark.parametrize("text", ["A man is eating.", "caf\u00e9 \u4e2d x", "one [MASK], two"])
    def test_decoding_gives_the_text_back(self, tokenizer, text: str) -> None:
        row = tokenizer(text, parse_special_tokens=True)["input_ids"]
        assert tokenizer.decode(row[1:-1]) == text
        assert tokenizer.decode(row) == f"[CLS] {text} [SEP]"
        assert tokenizer.batch_decode([row], skip_special_tokens=True) == [text.replace(" [MASK]", "")]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"truncation": True, "max_length": 0}, "max_length=0 leaves no room"),
            (
                {"truncation": True, "max_length": "5"},
                "max_length must be a whole number, at least 0; got '5'",
            ),
            (
                {"truncation": True, "max_length": 6, "return_overflowing_tokens": True, "stride": -1},
                "stride",
            ),
            ({"padding": True, "pad_to_multiple_of": -8}, "pad_to_multiple_of must be a whole number"),
            ({"padding": True, "padding_side": "middle"}, "padding_side='middle' is unknown"),
        ],
    )
    def test_sizes_and_sides_that_have_no_meaning_are_refused(self, tokenizer, settings, message) -> None:
        with pytest.raises(UserError, match=message):
            tokenizer("A man sleeps on a bench in the park.", **settings)

    @pytest.mark.parametrize("number", [-100, 12_001, 10**9])
    def test_ids_without_a_token_are_unknown(self, tokenizer, number: int) -> None:
        row = tokenizer("A man sleeps.")["input_ids"]
        assert tokenizer.convert_ids_to_tokens(number) == "[UNK]"
        assert tokenizer.decode([*row[:3], number, *row[3:]]) == "[CLS] A man [UNK] sleeps. [SEP]"
        assert tokenizer.decode(number) == "[UNK]"

    @pytest.mark.parametrize("value", ["a", ["a"], None, 1.5, [1.5], [None], [[1], ["a"]]])
    def test_what_is_no_id_is_refused(self, tokenizer, value) -> None:
        for method in (tokenizer.convert_ids_to_tokens, tokenizer.decode):
            with pytest.raises(UserError, match="ids must be whole numbers"):
                method(value)

    def test_folders_that_cannot_be_written(self, tokenizer, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "folder", ""):
            with pytest.raises(UserError, match=r"cannot be written|needs a folder"):
                tokenizer.save_pretrained(path)
