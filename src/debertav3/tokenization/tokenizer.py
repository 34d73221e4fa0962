"""``DebertaV3Tokenizer``: text to model inputs, with the ids of the sentencepiece model for every string."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tokenizers

from ..errors import UserError, whole_number
from ..files.model_folder import TOKENIZER, ModelFolder
from ..json_types import JsonMapping
from .alignment import Span
from .assembly import Encoded, RowLayout, Truncation, lay_out, truncation_strategy, windows
from .call_inputs import Texts, read_inputs
from .encoding import BatchEncoding, Origin
from .engines import SentencePieceEngine, TokenizerEngine, TokenizersEngine
from .open_engine import open_engine
from .padding import Arrays, Padding, Side, as_list, pad_rows, padded_length, padding_strategy, to_arrays
from .recipe import exact_tokenizer, with_special
from .specials import SpecialTokens
from .stock_names import StockNames
from .tokenizer_files import read_folder, write_folder
from .tokenizer_settings import INPUT_NAMES, NO_LIMIT, PLAIN_TEXT, Compat, TextSettings

if TYPE_CHECKING:
    import transformers

PADDED: dict[str, object] = {
    "input_ids": 0,
    "token_type_ids": 0,
    "attention_mask": 0,
    "special_tokens_mask": 1,
    "offset_mapping": (0, 0),
}
"""What padding is made of, by column; the pad token's own id stands in for the first."""


class DebertaV3Tokenizer(StockNames):
    """Encode single texts and pairs as ``[CLS] a [SEP]`` and ``[CLS] a [SEP] b [SEP]``.

    Special-token strings in user text are plain text unless ``parse_special_tokens`` says otherwise, so
    nobody can end a segment by typing ``[SEP]``. Tokens that a folder adds to the five special ones are
    always recognized. A lone surrogate is read as U+FFFD.

    Args:
        engine: text to ids.
        specials: special tokens and their ids.
        model: the ``spm.model``, which is saved unchanged; None if there is none.
        compat: ``"hf5"`` if the engine gives the ids of transformers 5; kept when saving.
        model_max_length: maximum tokens per row, including special tokens; None for no limit.
        parse_special_tokens: recognize ``[MASK]`` and the other special strings in text, unless a call says
            otherwise.
        text: what is done to a text before the engine encodes it; kept when saving.
        padding_side: where padding goes.
        truncation_side: where texts that are too long are truncated.
        model_input_names: columns that a call returns by default.
    """

    is_fast = True

    def __init__(
        self,
        engine: TokenizerEngine,
        specials: SpecialTokens,
        *,
        model: bytes | None,
        compat: Compat = "exact",
        model_max_length: int | None = 512,
        parse_special_tokens: bool = False,
        text: TextSettings = PLAIN_TEXT,
        padding_side: Side = "right",
        truncation_side: Side = "right",
        model_input_names: Sequence[str] = INPUT_NAMES,
    ) -> None:
        self._use(specials, engine)
        self.model = model
        self.compat = compat
        self.model_max_length = model_max_length or NO_LIMIT
        self.parse_special_tokens = parse_special_tokens
        self.text_settings = text
        self.padding_side: Side = padding_side
        self.truncation_side: Side = truncation_side
        self.model_input_names: tuple[str, ...] = tuple(model_input_names)

    @classmethod
    def from_pretrained(
        cls,
        folder_or_hub_name: str | Path | ModelFolder,
        *,
        compat: Compat | None = None,
        parse_special_tokens: bool = False,
        num_threads: int = 1,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> "DebertaV3Tokenizer":
        """Load the tokenizer of a checkpoint.

        Args:
            folder_or_hub_name: a folder with ``spm.model`` (preferred) or ``tokenizer.json``, or a Hub name;
                or an opened folder.
            compat: ``"exact"`` follows the folder's files; ``"hf5"`` gives the ids of transformers 5, for
                checkpoints that were fine-tuned with them. None: the mode that the folder was saved with,
                else ``"exact"``.
            parse_special_tokens: recognize ``[MASK]`` and the other special strings in text.
            num_threads: threads for a batch of texts; 1 is best for short batches and busy servers.
            revision: branch, tag or commit on the Hub.
            local_files_only: never use the network.

        Raises:
            UserError: if there is no tokenizer, or it is not a DeBERTa tokenizer.
        """
        if not isinstance(folder_or_hub_name, ModelFolder):
            folder_or_hub_name = ModelFolder.find(
                folder_or_hub_name, only=TOKENIZER, revision=revision, local_files_only=local_files_only
            )
        files = read_folder(folder_or_hub_name)
        settings = files.settings
        mode = settings.resolve_compat(compat)
        engine, specials = open_engine(files, compat=mode, num_threads=num_threads)
        return cls(
            engine,
            specials,
            model=files.model,
            compat=mode,
            model_max_length=files.model_max_length,
            parse_special_tokens=parse_special_tokens,
            text=settings.text,
            padding_side=settings.padding_side,
            truncation_side=settings.truncation_side,
            model_input_names=settings.model_input_names,
        )

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Write the unchanged ``spm.model``, ``tokenizer.json`` and the small files; return their paths.

        Stock libraries read the ``tokenizer.json``: ``docs/tokenizer.md`` says how closely it matches the
        model.

        Raises:
            UserError: if the folder cannot be written.
        """
        if not str(folder):
            raise UserError("the tokenizer needs a folder to be saved in; got ''.")
        return write_folder(
            Path(folder),
            model=self.model,
            tokenizer_json=self._backend().to_str(),
            specials=self.specials,
            model_max_length=self._limit,
            model_input_names=self.model_input_names,
            padding_side=self.padding_side,
            truncation_side=self.truncation_side,
            text=self.text_settings,
            compat=None if self.compat == "exact" else self.compat,
        )

    def to_transformers(self) -> "transformers.PreTrainedTokenizerFast":
        """The same vocabulary as a stock tokenizer, for code that needs transformers' own class."""
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(
            tokenizer_object=self._backend(),
            model_max_length=self.model_max_length,
            padding_side=self.padding_side,
            truncation_side=self.truncation_side,
            model_input_names=list(self.model_input_names),
            clean_up_tokenization_spaces=False,
            bos_token=self.specials.names["cls_token"],
            eos_token=self.specials.names["sep_token"],
            **self.specials.names,
        )

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        *,
        parse_special_tokens: bool | None = None,
    ) -> list[str]:
        """Pieces of one text or pair, without special tokens unless requested."""
        encoding = self(
            text, pair, add_special_tokens=add_special_tokens, parse_special_tokens=parse_special_tokens
        )
        ids: list[int] = encoding["input_ids"]
        return self.convert_ids_to_tokens(ids)

    def encode(
        self,
        text: str,
        text_pair: str | None = None,
        add_special_tokens: bool = False,
        *,
        parse_special_tokens: bool | None = None,
        **settings: Any,
    ) -> Any:
        """Ids of one text or pair.

        Args:
            text: the text.
            text_pair: the second text of a pair.
            add_special_tokens: add ``[CLS]`` and ``[SEP]``; unlike in transformers, only on request.
            parse_special_tokens: overrides the tokenizer's setting.
            settings: as in a call, such as ``truncation`` and ``max_length``.
        """
        if text_pair is None and not add_special_tokens and not settings:
            return self.encode_batch([text], parse_special_tokens=parse_special_tokens)[0]
        return self(
            text,
            text_pair,
            add_special_tokens=add_special_tokens,
            parse_special_tokens=parse_special_tokens,
            **settings,
        )["input_ids"]

    def encode_batch(
        self, texts: Sequence[str], *, parse_special_tokens: bool | None = None
    ) -> list[list[int]]:
        """Ids of every text, without special tokens."""
        return self._encoder.encode_batch(texts, parse_special_tokens=self._parses(parse_special_tokens))

    def encode_with_offsets(
        self, text: str, *, parse_special_tokens: bool | None = None
    ) -> tuple[list[int], list[Span]]:
        """Ids of one text and, for each id, its character span ``[start, end)``."""
        return self.encode_batch_with_offsets([text], parse_special_tokens=parse_special_tokens)[0]

    def encode_batch_with_offsets(
        self, texts: Sequence[str], *, parse_special_tokens: bool | None = None
    ) -> list[tuple[list[int], list[Span]]]:
        """Ids and character spans of every text."""
        return self._encoder.encode_batch_with_offsets(
            texts, parse_special_tokens=self._parses(parse_special_tokens)
        )

    def __call__(
        self,
        text: Texts,
        text_pair: Texts | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | Padding | Literal["do_not_pad"] = False,
        truncation: bool | Truncation | Literal["do_not_truncate"] | None = False,
        max_length: int | None = None,
        stride: int = 0,
        pad_to_multiple_of: int | None = None,
        padding_side: Side | None = None,
        is_split_into_words: bool = False,
        parse_special_tokens: bool | None = None,
        return_tensors: Arrays | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Model inputs of one text, one pair, or a batch of either, in transformers' words.

        Args:
            text: a text, a list of texts or of pairs, or lists of words with ``is_split_into_words``.
            text_pair: the second texts, as many as the first.
            add_special_tokens: put ``[CLS]`` and ``[SEP]`` around.
            padding: True or ``"longest"`` pads to the longest row, ``"max_length"`` to ``max_length``.
            truncation: True means ``"longest_first"``; ``"only_first"`` and ``"only_second"`` cut one text
                only.
            max_length: longest row in tokens, special ones included; the model's limit if None.
            stride: tokens that the windows of ``return_overflowing_tokens`` share.
            pad_to_multiple_of: round the padded length up.
            padding_side: overrides the tokenizer's own.
            is_split_into_words: texts are lists of words; spans then count from each word's own start.
            parse_special_tokens: overrides the tokenizer's setting.
            return_tensors: ``"np"``, ``"pt"``, or None for lists.
            return_token_type_ids: 0 for the first segment, 1 for the second; None asks
                ``model_input_names``.
            return_attention_mask: 1 for real tokens; None asks ``model_input_names``.
            return_overflowing_tokens: make further rows of what truncation cuts off, and add
                ``overflow_to_sample_mapping``, the index of each row's text; the answer is always a batch.
            return_offsets_mapping: add ``offset_mapping``; special tokens have ``(0, 0)``.
            return_special_tokens_mask: add ``special_tokens_mask``, 1 for special tokens.
            return_length: add ``length``, the tokens of each row, padding included.
            verbose: accepted for compatibility with transformers.

        Raises:
            UserError: for input that is not text, unequal numbers of first and second texts, or a truncation
                that cannot be done.
        """
        inputs = read_inputs(text, text_pair, is_split_into_words=is_split_into_words)
        encode = self._encoder.word_lists if is_split_into_words else self._encoder.texts
        encoded = encode(
            inputs.texts,
            with_offsets=return_offsets_mapping,
            parse_special_tokens=self._parses(parse_special_tokens),
        )
        count = len(inputs.firsts)
        firsts, seconds = encoded.part(0, count), encoded.part(count, len(inputs.texts))
        limit = self._limit if max_length is None else whole_number(max_length, name="max_length", least=0)
        whole_number(stride, name="stride", least=0)
        texts: tuple[Encoded, ...] = (firsts,) if inputs.seconds is None else (firsts, seconds)
        strategy = truncation_strategy(truncation)
        rows: list[int] | None = None
        if return_overflowing_tokens:
            special = (len(texts) + 1) * add_special_tokens
            texts, rows = windows(
                texts,
                self._starts_word,
                budget=NO_LIMIT if strategy is None or limit is None else limit - special,
                stride=stride,
                truncation=strategy or "longest_first",
                side=self.truncation_side,
            )
        layout = lay_out(
            texts,
            add_special_tokens=add_special_tokens,
            truncation=strategy,
            max_length=limit,
            side=self.truncation_side,
        )
        columns: dict[str, list[Any]] = {
            "input_ids": layout.ids(cls_id=self.cls_token_id, sep_id=self.sep_token_id)
        }
        if self._gives("token_type_ids", return_token_type_ids):
            columns["token_type_ids"] = layout.types()
        if self._gives("attention_mask", return_attention_mask):
            columns["attention_mask"] = [[1] * length for length in layout.lengths]
        if return_offsets_mapping:
            columns["offset_mapping"] = layout.spans()
        if return_special_tokens_mask:
            columns["special_tokens_mask"] = [
                [int(text is None) for text in row] for row in layout.sequences()
            ]
        side = padding_side or self.padding_side
        length = self._pad(columns, padding, limit, pad_to_multiple_of, side)
        if return_length:
            columns["length"] = list(map(len, columns["input_ids"]))
        if rows is not None:
            columns["overflow_to_sample_mapping"] = rows

        def with_spans() -> RowLayout:
            """The same layout with characters, which cost too much to be found for everybody."""
            again = self(
                inputs.firsts if inputs.is_batch else inputs.firsts[0],
                None if inputs.seconds is None else inputs.seconds if inputs.is_batch else inputs.seconds[0],
                add_special_tokens=add_special_tokens,
                truncation=truncation,
                max_length=max_length,
                stride=stride,
                is_split_into_words=is_split_into_words,
                parse_special_tokens=parse_special_tokens,
                return_overflowing_tokens=return_overflowing_tokens,
                return_offsets_mapping=True,
            )
            return again.layout

        origin = Origin(
            layout=layout,
            length=length,
            padding_side=side,
            starts_word=self._starts_word,
            pieces=self._tokens,
            with_spans=None if return_offsets_mapping else with_spans,
        )
        if return_tensors is not None:
            return BatchEncoding(to_arrays(columns, return_tensors), origin)
        is_batch = inputs.is_batch or return_overflowing_tokens
        return BatchEncoding(
            columns if is_batch else {name: column[0] for name, column in columns.items()}, origin
        )

    batch_encode_plus = encode_plus = __call__

    def pad(
        self,
        encoded_inputs: JsonMapping | Sequence[JsonMapping],
        *,
        padding: bool | Padding = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: Side | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: Arrays | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad rows that were encoded one by one; called by transformers' collators.

        Args:
            encoded_inputs: a list of encodings of one text each, or one encoding of a batch; other entries
                are passed on unpadded.
            padding: as in a call.
            max_length: as in a call.
            pad_to_multiple_of: as in a call.
            padding_side: as in a call.
            return_attention_mask: as in a call.
            return_tensors: as in a call.
            verbose: accepted for compatibility with transformers.

        Raises:
            UserError: if there is nothing to pad.
        """
        if not isinstance(encoded_inputs, Mapping):
            names = list(encoded_inputs[0]) if encoded_inputs else []
            encoded_inputs = {name: [row[name] for row in encoded_inputs] for name in names}
        columns = {
            name: [list(as_list(row)) if name in PADDED else as_list(row) for row in column]
            for name, column in encoded_inputs.items()
        }
        if "input_ids" not in columns:
            raise UserError(
                f"pad needs input_ids, got {', '.join(columns) or 'nothing'}. Encode the texts first."
            )
        if self._gives("attention_mask", return_attention_mask):
            columns.setdefault("attention_mask", [[1] * len(row) for row in columns["input_ids"]])
        side = padding_side or self.padding_side
        limit = self._limit if max_length is None else whole_number(max_length, name="max_length", least=0)
        self._pad(columns, padding, limit, pad_to_multiple_of, side)
        return BatchEncoding(to_arrays(columns, return_tensors) if return_tensors else columns)

    def _gives(self, name: str, asked: bool | None) -> bool:
        return name in self.model_input_names if asked is None else asked

    @property
    def _limit(self) -> int | None:
        return self.model_max_length if self.model_max_length < NO_LIMIT else None

    def _backend(self) -> tokenizers.Tokenizer:
        """A ``tokenizers.Tokenizer`` of its own that recognizes special tokens, as Hugging Face expects."""
        if isinstance(self.engine, TokenizersEngine):
            special = {token for token, how in self.specials.matching.items() if how.special}
            return with_special(self.engine.tokenizer, special | set(self.specials.names.values()))
        if not isinstance(self.engine, SentencePieceEngine):
            raise TypeError(f"no tokenizer.json can be made from a {type(self.engine).__name__}")
        return exact_tokenizer(self.engine, self.specials, self.text_settings)

    def _parses(self, asked: bool | None) -> bool:
        return self.parse_special_tokens if asked is None else asked

    def _pad(
        self,
        columns: dict[str, list[list[object]]],
        padding: bool | str,
        max_length: int | None,
        pad_to_multiple_of: int | None,
        side: Side,
    ) -> int:
        """Pad the columns in place and return the padded length, 0 if nothing was asked."""
        strategy = padding_strategy(padding)
        if strategy is None:
            return 0
        length = padded_length(
            list(map(len, columns["input_ids"])),
            padding=strategy,
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
        )
        pad_rows(columns, fill=PADDED | {"input_ids": self.pad_token_id}, length=length, side=side)
        return length
