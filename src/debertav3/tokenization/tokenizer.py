"""``DebertaV3Tokenizer``: text to model inputs, with the ids of the sentencepiece model on every string."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import UserError
from .assembly import (
    Arrays,
    Padding,
    Row,
    Segment,
    Side,
    Truncation,
    cut,
    kept_lengths,
    pad_rows,
    padded_length,
    sequence_ids,
    to_arrays,
)
from .encoding import Encoding, Origin
from .engines import Engine, SentencePieceEngine, Span, TokenizersEngine
from .folder import TokenizerFiles, download_folder, read_folder, write_tokenizer_folder
from .specials import SpecialTokens

Compat = Literal["hf5"]
NO_LIMIT = int(1e30)
"""What transformers writes for "no limit"."""


class DebertaV3Tokenizer:
    """Encode single texts and pairs as ``[CLS] a [SEP]`` and ``[CLS] a [SEP] b [SEP]``.

    Special-token strings in user text are plain text unless ``parse_special_tokens`` says otherwise, so nobody can end
    a segment by typing ``[SEP]``.

    Args:
        engine: text to ids.
        specials: special tokens and their ids.
        model_max_length: longest row in tokens, special ones included; None for no limit.
        parse_special_tokens: recognise ``[MASK]`` and the other special strings in text, unless a call says otherwise.
    """

    padding_side: Side = "right"
    truncation_side: Side = "right"
    model_input_names = ("input_ids", "token_type_ids", "attention_mask")
    is_fast = True

    def __init__(
        self,
        engine: Engine,
        specials: SpecialTokens,
        *,
        model_max_length: int | None = 512,
        parse_special_tokens: bool = False,
    ) -> None:
        self.engine = engine
        self.specials = specials
        self.model_max_length = model_max_length or NO_LIMIT
        self.parse_special_tokens = parse_special_tokens
        self._ids = {piece: number for number, piece in enumerate(engine.pieces)} | specials.all_ids
        self._tokens = {number: token for token, number in self._ids.items()}
        self._starts_word = [self._tokens.get(number, "").startswith("▁") for number in range(max(self._tokens) + 1)]
        self._added_pattern = _pattern(specials.added)
        self._all_pattern = _pattern(specials.all_ids)

    @classmethod
    def from_pretrained(
        cls,
        folder_or_hub_name: str | Path,
        *,
        compat: Compat | None = None,
        parse_special_tokens: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> "DebertaV3Tokenizer":
        """Open the tokenizer of a checkpoint.

        Args:
            folder_or_hub_name: a folder with ``spm.model`` (preferred) or ``tokenizer.json``, or a Hub name.
            compat: ``"hf5"`` gives the ids of transformers 5, for checkpoints that were fine-tuned with them.
            parse_special_tokens: recognise ``[MASK]`` and the other special strings in text.
            revision: branch, tag or commit on the Hub.
            local_files_only: never ask the network.

        Raises:
            UserError: if there is no tokenizer, or it is not one of DeBERTa's kind.
        """
        folder = Path(folder_or_hub_name)
        if not folder.is_dir():
            folder = download_folder(
                str(folder_or_hub_name), revision=revision, local_files_only=local_files_only
            )
        files = read_folder(folder)
        engine, specials = _open_engine(files, compat)
        return cls(
            engine,
            specials,
            model_max_length=files.model_max_length,
            parse_special_tokens=parse_special_tokens,
        )

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Write ``spm.model`` untouched, ``tokenizer.json`` and the two small files beside them; return their paths."""
        if not isinstance(self.engine, SentencePieceEngine):
            raise UserError("this tokenizer came from a tokenizer.json alone and has no spm.model to save.")
        limit = self.model_max_length if self.model_max_length < int(1e30) else None
        return tuple(
            map(
                str,
                write_tokenizer_folder(
                    Path(folder), self.engine.model, self.specials, model_max_length=limit
                ),
            )
        )

    @property
    def pad_token_id(self) -> int:
        """Id of ``[PAD]``."""
        return self.specials.ids["pad_token"]

    @property
    def cls_token_id(self) -> int:
        """Id of ``[CLS]``."""
        return self.specials.ids["cls_token"]

    @property
    def sep_token_id(self) -> int:
        """Id of ``[SEP]``."""
        return self.specials.ids["sep_token"]

    @property
    def unk_token_id(self) -> int:
        """Id of ``[UNK]``."""
        return self.specials.ids["unk_token"]

    @property
    def mask_token_id(self) -> int:
        """Id of ``[MASK]``."""
        return self.specials.ids["mask_token"]

    @property
    def mask_token(self) -> str:
        """The mask as text."""
        return self.specials.names["mask_token"]

    def __len__(self) -> int:
        return max(self._tokens) + 1

    def encode(self, text: str, *, parse_special_tokens: bool | None = None) -> list[int]:
        """Ids of one text, without special tokens."""
        return self.encode_batch([text], parse_special_tokens=parse_special_tokens)[0]

    def encode_batch(
        self, texts: Sequence[str], *, parse_special_tokens: bool | None = None
    ) -> list[list[int]]:
        """Ids of every text, without special tokens."""
        pattern = self._pattern_for(parse_special_tokens)
        if pattern is None:
            return self.engine.encode_batch(list(texts))
        return [[number for number, _ in self._encode_parts(text, pattern)] for text in texts]

    def encode_with_offsets(
        self, text: str, *, parse_special_tokens: bool | None = None
    ) -> tuple[list[int], list[Span]]:
        """Ids of one text and, for each, the characters ``[start, end)`` that it stands for."""
        return self.encode_batch_with_offsets([text], parse_special_tokens=parse_special_tokens)[0]

    def encode_batch_with_offsets(
        self, texts: Sequence[str], *, parse_special_tokens: bool | None = None
    ) -> list[tuple[list[int], list[Span]]]:
        """Ids and character spans of every text."""
        pattern = self._pattern_for(parse_special_tokens)
        if pattern is None:
            return self.engine.encode_batch_with_offsets(list(texts))
        parts = [self._encode_parts(text, pattern) for text in texts]
        return [([number for number, _ in part], [span for _, span in part]) for part in parts]

    def __call__(
        self,
        text: str | Sequence[str] | Sequence[Sequence[str]],
        text_pair: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | Literal["longest", "max_length", "do_not_pad"] = False,
        truncation: bool | Truncation | Literal["do_not_truncate"] = False,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        is_split_into_words: bool = False,
        parse_special_tokens: bool | None = None,
        return_tensors: Literal["np", "pt"] | None = None,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = True,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
    ) -> Encoding:
        """Model inputs of one text, one pair, or a batch of either, in transformers' words.

        Args:
            text: a text, a list of texts, or lists of words with ``is_split_into_words``.
            text_pair: the second texts, as many as the first.
            add_special_tokens: put ``[CLS]`` and ``[SEP]`` around.
            padding: True or ``"longest"`` pads to the longest row, ``"max_length"`` to ``max_length``.
            truncation: True means ``"longest_first"``; ``"only_first"`` and ``"only_second"`` cut one text only.
            max_length: longest row in tokens, special ones included; the model's limit if None.
            pad_to_multiple_of: round the padded length up.
            is_split_into_words: texts are lists of words; spans then count from each word's own start.
            parse_special_tokens: overrides the tokenizer's setting.
            return_tensors: ``"np"``, ``"pt"``, or lists.
            return_token_type_ids: 0 for the first segment, 1 for the second.
            return_attention_mask: 1 for real tokens.
            return_offsets_mapping: add ``offset_mapping``; special tokens have ``(0, 0)``.
            return_special_tokens_mask: add ``special_tokens_mask``, 1 for special tokens.

        Raises:
            UserError: for input that is no text, unequal numbers of first and second texts, or a truncation that
                cannot be done.
        """
        is_batch = _is_batch(text, is_split_into_words)
        firsts = list(text) if is_batch else [text]
        seconds = None if text_pair is None else (list(text_pair) if is_batch else [text_pair])
        if seconds is not None and len(seconds) != len(firsts):
            raise UserError(
                f"got {len(firsts)} first and {len(seconds)} second texts: pairs need as many of both."
            )
        encode = self._encode_words if is_split_into_words else self._encode_texts
        segments = encode(firsts + (seconds or []), return_offsets_mapping, parse_special_tokens)
        pairs = (
            [(one,) for one in segments] if seconds is None else list(zip(segments, segments[len(firsts) :]))
        )
        limit = max_length or self._limit
        rows = self._lay_out(pairs, _truncation(truncation), limit, add_special_tokens)
        columns = self._columns(rows)
        if return_offsets_mapping:
            columns["offset_mapping"] = [self._row_spans(row) for row in rows]
        if return_special_tokens_mask:
            columns["special_tokens_mask"] = [
                [int(index is None) for index in sequence_ids(row)] for row in rows
            ]
        length = 0
        if strategy := _padding(padding):
            longest = max(map(len, columns["input_ids"]), default=0)
            length = padded_length(
                longest, padding=strategy, max_length=limit, pad_to_multiple_of=pad_to_multiple_of
            )
            columns = pad_rows(columns, fill=self._fill, length=length, side=self.padding_side)
        for name, wanted in (
            ("token_type_ids", return_token_type_ids),
            ("attention_mask", return_attention_mask),
        ):
            if not wanted:
                del columns[name]
        if not is_batch and return_tensors is None:
            columns = {name: rows[0] for name, rows in columns.items()}
        encoding = Encoding(to_arrays(columns, return_tensors) if return_tensors else columns)
        encoding._origin = Origin(
            rows,
            length=length,
            starts_word=self._starts_word,
            padding_side=self.padding_side,
            truncation_side=self.truncation_side,
        )
        return encoding

    def pad(
        self,
        encoded: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        padding: bool | Padding = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: Arrays | None = None,
    ) -> Encoding:
        """Pad rows that were encoded one by one: what transformers' collators call.

        Args:
            encoded: a list of encodings of one text each, or one encoding of a batch; entries other than the
                tokenizer's own are passed on unpadded.
            padding: as in ``__call__``.
            max_length: as in ``__call__``.
            pad_to_multiple_of: as in ``__call__``.
            return_tensors: as in ``__call__``.
        """
        if not isinstance(encoded, Mapping):
            encoded = {name: [row[name] for row in encoded] for name in encoded[0]} if encoded else {}
        columns = {name: [_as_list(row) for row in values] for name, values in encoded.items()}
        if "input_ids" not in columns:
            raise UserError(
                f"pad needs input_ids, got {', '.join(columns) or 'nothing'}. Encode the texts first."
            )
        columns.setdefault("attention_mask", [[1] * len(row) for row in columns["input_ids"]])
        if strategy := _padding(padding):
            longest = max(map(len, columns["input_ids"]), default=0)
            length = padded_length(
                longest,
                padding=strategy,
                max_length=max_length or self._limit,
                pad_to_multiple_of=pad_to_multiple_of,
            )
            columns = pad_rows(columns, fill=self._fill, length=length, side=self.padding_side)
        return Encoding(to_arrays(columns, return_tensors) if return_tensors else columns)

    @property
    def _limit(self) -> int | None:
        return self.model_max_length if self.model_max_length < NO_LIMIT else None

    @property
    def _fill(self) -> dict[str, Any]:
        """What padding is made of, by column."""
        return {
            "input_ids": self.pad_token_id,
            "token_type_ids": 0,
            "attention_mask": 0,
            "special_tokens_mask": 1,
            "offset_mapping": (0, 0),
        }

    def _encode_texts(
        self, texts: list[Any], with_offsets: bool, parse_special_tokens: bool | None
    ) -> list[Segment]:
        for text in texts:
            if not isinstance(text, str):
                raise UserError(
                    f"a text must be a string, got {type(text).__name__}. Convert or leave out such rows."
                )
        if with_offsets:
            encoded = self.encode_batch_with_offsets(texts, parse_special_tokens=parse_special_tokens)
            return [Segment(ids, spans) for ids, spans in encoded]
        return [Segment(ids) for ids in self.encode_batch(texts, parse_special_tokens=parse_special_tokens)]

    def _encode_words(
        self, texts: list[Any], with_offsets: bool, parse_special_tokens: bool | None
    ) -> list[Segment]:
        """Encode each word for itself, as Hugging Face does with ``is_split_into_words``."""
        encoded = iter(
            self._encode_texts(
                [word for words in texts for word in words], with_offsets, parse_special_tokens
            )
        )
        segments = []
        for words in texts:
            parts = [next(encoded) for _ in words]
            segments.append(
                Segment(
                    [number for part in parts for number in part.ids],
                    [span for part in parts for span in part.spans or ()] if with_offsets else None,
                    [index for index, part in enumerate(parts) for _ in part.ids],
                )
            )
        return segments

    def _lay_out(
        self,
        pairs: Sequence[tuple[Segment, ...]],
        truncation: Truncation | None,
        limit: int | None,
        add_special_tokens: bool,
    ) -> list[Row]:
        num_special = int(add_special_tokens)
        rows = []
        for segments in pairs:
            kept = tuple(len(segment.ids) for segment in segments)
            if truncation and limit is not None:
                budget = limit - num_special * (len(segments) + 1)
                if budget < 0:
                    raise UserError(
                        f"max_length={limit} leaves no room for the special tokens. Give a larger one."
                    )
                kept = kept_lengths(kept[0], sum(kept[1:]), budget=budget, strategy=truncation)[
                    : len(segments)
                ]
            rows.append(Row(segments, kept, num_special))
        return rows

    def _columns(self, rows: list[Row]) -> dict[str, list[list[Any]]]:
        ids_rows, type_rows = [], []
        for row in rows:
            ids = [self.cls_token_id] * row.num_special
            types = [0] * row.num_special
            for index, (segment, length) in enumerate(zip(row.segments, row.kept, strict=True)):
                ids += cut(segment.ids, length, self.truncation_side)
                ids += [self.sep_token_id] * row.num_special
                types += [index] * (length + row.num_special)
            ids_rows.append(ids)
            type_rows.append(types)
        return {
            "input_ids": ids_rows,
            "token_type_ids": type_rows,
            "attention_mask": [[1] * len(ids) for ids in ids_rows],
        }

    def _row_spans(self, row: Row) -> list[Span]:
        special = [(0, 0)] * row.num_special
        spans = list(special)
        for segment, length in zip(row.segments, row.kept, strict=True):
            spans += cut(segment.spans or [], length, self.truncation_side) + special
        return spans

    def decode(self, ids: int | Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Text of ids."""
        numbers = [ids] if isinstance(ids, int) else _as_list(ids)
        if skip_special_tokens:
            special = set(self.specials.ids.values())
            numbers = [number for number in numbers if number not in special]
        outside = {**self.specials.all_ids}.values()
        parts = []
        for is_outside, group in groupby(numbers, key=lambda number: number in outside):
            if is_outside:
                parts += [self._tokens[number] for number in group]
            else:
                parts.append(self.engine.decode(list(group)))
        return " ".join(parts)

    def batch_decode(self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool = False) -> list[str]:
        """Text of every row of ids."""
        return [self.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]

    def convert_ids_to_tokens(self, ids: int | Sequence[int]) -> Any:
        """Token of an id, or tokens of ids."""
        if isinstance(ids, int):
            return self._tokens.get(ids, self.specials.names["unk_token"])
        return [self.convert_ids_to_tokens(number) for number in _as_list(ids)]

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """Id of a token, or ids of tokens; ``[UNK]``'s for what is not in the vocabulary."""
        if isinstance(tokens, str):
            return self._ids.get(tokens, self.unk_token_id)
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def _pattern_for(self, parse_special_tokens: bool | None) -> re.Pattern[str] | None:
        parse = self.parse_special_tokens if parse_special_tokens is None else parse_special_tokens
        return self._all_pattern if parse else self._added_pattern

    def _encode_parts(self, text: str, pattern: re.Pattern[str]) -> list[tuple[int, Span]]:
        """Encode what stands between recognised tokens, each stretch for itself."""
        result: list[tuple[int, Span]] = []
        place = 0
        for match in [*pattern.finditer(text), None]:
            end = len(text) if match is None else match.start()
            ids, spans = self.engine.encode_batch_with_offsets([text[place:end]])[0]
            result += [
                (number, (start + place, stop + place))
                for number, (start, stop) in zip(ids, spans, strict=True)
            ]
            if match is not None:
                result.append((self._ids[match.group()], match.span()))
                place = match.end()
        return result


def _open_engine(files: TokenizerFiles, compat: Compat | None) -> tuple[Engine, SpecialTokens]:
    if compat not in (None, "hf5"):
        raise UserError(f"compat={compat!r} is unknown: use None (exact) or 'hf5' (the ids of transformers 5).")
    if files.model is not None:
        engine = SentencePieceEngine(files.model)
        specials = SpecialTokens.resolve(
            pieces=engine.pieces, names=files.names, added=files.added, place=files.place
        )
        if compat is None:
            return engine, specials
        from .recipe import transformers5_tokenizer

        return TokenizersEngine(transformers5_tokenizer(files.model, specials)), specials
    raise UserError(f"{files.place} has no spm.model.")


def _pattern(tokens: Iterable[str]) -> re.Pattern[str] | None:
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _is_batch(text: Any, is_split_into_words: bool) -> bool:
    if isinstance(text, str):
        return False
    return not is_split_into_words or not text or not isinstance(text[0], str)


def _truncation(value: bool | str) -> Truncation | None:
    if value is True:
        return "longest_first"
    if value in (False, None, "do_not_truncate"):
        return None
    if value not in get_args(Truncation):
        raise UserError(f"truncation={value!r} is unknown: use True, False or one of {', '.join(get_args(Truncation))}.")
    return value  # type: ignore[return-value]


def _padding(value: bool | str) -> Padding | None:
    if value is True:
        return "longest"
    if value in (False, None, "do_not_pad"):
        return None
    if value not in get_args(Padding):
        raise UserError(f"padding={value!r} is unknown: use True, False or one of {', '.join(get_args(Padding))}.")
    return value  # type: ignore[return-value]


def _as_list(row: Any) -> Any:
    return row.tolist() if hasattr(row, "tolist") else row
