"""The special tokens of a tokenizer folder: which strings they are and which ids they have."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import UserError

ROLES = {
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}
"""What each special token is called in ``tokenizer_config.json``, and the string that DeBERTa uses for it."""


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """Strings and ids of the five special tokens, and of whatever a folder adds to the vocabulary."""

    names: Mapping[str, str]
    """String of each role of ``ROLES``."""
    ids: Mapping[str, int]
    """Id of each role."""
    added: Mapping[str, int] = field(default_factory=dict)
    """Tokens outside the model and the five roles, such as ``<e1>`` markers: always recognised in text."""

    @classmethod
    def resolve(
        cls, *, pieces: list[str], names: Mapping[str, str], added: Mapping[str, int], place: str
    ) -> "SpecialTokens":
        """Find every role among the model's pieces and the added tokens.

        A mask token that nothing lists is appended after the last piece, as the official tokenizer does.

        Raises:
            UserError: if a role has no id.
        """
        known = {**{piece: number for number, piece in enumerate(pieces) if piece in names.values()}, **added}
        known.setdefault(names["mask_token"], len(pieces))
        missing = [name for name in names.values() if name not in known]
        if missing:
            raise UserError(
                f"{place} has no id for {', '.join(missing)}: not in the model's {len(pieces)} pieces nor "
                "among the added tokens. Give a folder with a DeBERTa vocabulary, or name its tokens in "
                "tokenizer_config.json."
            )
        others = {token: number for token, number in added.items() if token not in names.values()}
        return cls(names=names, ids={role: known[name] for role, name in names.items()}, added=others)

    @property
    def all_ids(self) -> dict[str, int]:
        """Id of every token that the engine does not know, and of the five special ones, by string."""
        return {**self.added, **{self.names[role]: number for role, number in self.ids.items()}}
