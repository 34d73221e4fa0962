"""Names of transformers' tokenizers that need no text to be encoded, and for all others a helpful error."""

import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

from ..errors import UserError
from ..json_types import JsonMapping
from .engines import TokenizerEngine
from .open_engine import engine_with
from .padding import as_list
from .specials import ROLES, Matching, SpecialTokens
from .text_encoder import TextEncoder
from .tokenizer_settings import TextSettings
from .vocabulary import Vocabulary


class StockNames(Vocabulary):
    """What scripts written for transformers' tokenizers ask for, with the same answers.

    Begin and end of a text are ``[CLS]`` and ``[SEP]``, as in the files of the released checkpoints.
    """

    model_max_length: int
    parse_special_tokens: bool
    text_settings: TextSettings
    pad_token_type_id = 0
    clean_up_tokenization_spaces = False

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """What ``isinstance`` reads: the Trainer pads batches only for transformers' own tokenizers."""
        stock = sys.modules.get("transformers.tokenization_utils_base")
        return type(self) if stock is None else _claimed(type(self).__name__, stock.PreTrainedTokenizerBase)

    def __reduce__(self) -> tuple[object, ...]:
        """For copies and pickles, which would take the class that ``isinstance`` reads."""
        return _restored, (type(self), self.__dict__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"DebertaV3Tokenizer has no {name!r}. to_transformers() gives transformers' own tokenizer with "
            "the same vocabulary, which may have it."
        )

    @property
    def cls_token(self) -> str:
        """``[CLS]`` as text."""
        return self.specials.names["cls_token"]

    @property
    def sep_token(self) -> str:
        """``[SEP]`` as text."""
        return self.specials.names["sep_token"]

    @property
    def unk_token(self) -> str:
        """``[UNK]`` as text."""
        return self.specials.names["unk_token"]

    @property
    def bos_token(self) -> str:
        """What begins a text: ``[CLS]``."""
        return self.cls_token

    @property
    def eos_token(self) -> str:
        """What ends a text: ``[SEP]``."""
        return self.sep_token

    @property
    def bos_token_id(self) -> int:
        """Id of what begins a text."""
        return self.cls_token_id

    @property
    def eos_token_id(self) -> int:
        """Id of what ends a text."""
        return self.sep_token_id

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """Text of each special token by what it is for."""
        return {"bos_token": self.bos_token, "eos_token": self.eos_token, **self.specials.names}

    @property
    def vocab_size(self) -> int:
        """Pieces of the model, without added tokens; the size of an embedding table is ``len(tokenizer)``."""
        return len(self.engine.pieces)

    @property
    def vocab(self) -> dict[str, int]:
        """Id of every token."""
        return self.get_vocab()

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Id of every special or added token."""
        return dict(sorted(self._outside.items(), key=lambda item: item[1]))

    @property
    def split_special_tokens(self) -> bool:
        """Whether special tokens in a text are plain text."""
        return not self.parse_special_tokens

    @property
    def max_len_single_sentence(self) -> int:
        """Most tokens of a single text beside its special tokens."""
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        """Most tokens of a pair beside its special tokens."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text, or a pair, gets."""
        return 3 if pair else 2

    def build_inputs_with_special_tokens(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]`` of ids."""
        first = [self.cls_token_id, *as_list(token_ids_0), self.sep_token_id]
        return first if token_ids_1 is None else [*first, *as_list(token_ids_1), self.sep_token_id]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """0 for ``[CLS] a [SEP]``, 1 for ``b [SEP]``."""
        return [0] * (len(token_ids_0) + 2) + ([] if token_ids_1 is None else [1] * (len(token_ids_1) + 1))

    def get_added_vocab(self) -> dict[str, int]:
        """Id of every special or added token."""
        return self.added_tokens_encoder

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add tokens, found in text as transformers finds them; then call ``model.resize_token_embeddings``.

        Args:
            new_tokens: a token or several, as strings or ``AddedToken``.
            special_tokens: whether decoding without special tokens leaves them out.

        Returns:
            How many ids are new.

        Raises:
            UserError: for an empty token.
        """
        size = len(self)
        added, matching = dict(self.specials.added), dict(self.specials.matching)
        following = size
        for token in [new_tokens] if _is_token(new_tokens) else list(new_tokens):
            text = _text_of(token)
            if text in added or text in self.specials.names.values():
                continue
            added[text] = self._ids.get(text, following)
            following = max(following, added[text] + 1)
            matching[text] = _matching_of(token, is_special=special_tokens)
        specials = replace(self.specials, added=added, matching=matching)
        self._use(specials, engine_with(self.engine, specials, self.text_settings))
        return len(self) - size

    def add_special_tokens(
        self, special_tokens_dict: JsonMapping, replace_extra_special_tokens: bool = True
    ) -> int:
        """Add the tokens of ``additional_special_tokens`` or ``extra_special_tokens``; see `add_tokens`.

        Args:
            special_tokens_dict: as for transformers.
            replace_extra_special_tokens: accepted for transformers' callers; nothing is ever taken away.

        Returns:
            How many ids are new.

        Raises:
            UserError: if another string is asked for one of the five special tokens.
        """
        new: list[object] = []
        for role, value in special_tokens_dict.items():
            if role in ("additional_special_tokens", "extra_special_tokens"):
                new += value.values() if isinstance(value, Mapping) else value
            elif _text_of(value) != self.special_tokens_map.get(role):
                known = self.special_tokens_map.get(role)
                found = f"it is {known}" if known else f"the roles are {', '.join(ROLES)}"
                raise UserError(
                    f"{role} cannot become {_text_of(value)!r}: {found}. "
                    "Use additional_special_tokens, or to_transformers()."
                )
        return self.add_tokens(new, special_tokens=True)

    def _use(self, specials: SpecialTokens, engine: TokenizerEngine) -> None:
        """Take special and added tokens, and build every look-up of them."""
        Vocabulary.__init__(self, engine, specials)
        self._encoder = TextEncoder(engine, specials)


def _is_token(value: object) -> bool:
    return isinstance(value, str) or hasattr(value, "content")


def _text_of(token: object) -> str:
    text = getattr(token, "content", token)
    if not isinstance(text, str) or not text:
        raise UserError(f"a token to add must be a string of at least one character; got {text!r}.")
    return text


def _matching_of(token: object, *, is_special: bool) -> Matching:
    """How a token is found: as its ``AddedToken`` says, or as transformers takes a string."""
    if isinstance(token, str):
        return Matching(special=is_special, normalized=not is_special)
    found = {field.name: bool(getattr(token, field.name)) for field in fields(Matching)}
    return Matching(**{**found, "special": found["special"] or is_special})


@cache
def _claimed(name: str, stock: type) -> type:
    return types.new_class(
        name,
        (stock,),
        exec_body=lambda body: body.update(
            {"__module__": __name__, "__doc__": "What isinstance reads; never built."}
        ),
    )


def _restored(kind: type, state: Mapping[str, object]) -> object:
    tokenizer: object = object.__new__(kind)
    tokenizer.__dict__.update(state)
    return tokenizer
