"""Generator, discriminator and Δ: the whole state of DeBERTaV3's pre-training, loaded, repaired and saved.

E_D = stop-gradient(E_G) + Δ for the word and the position embeddings (DeBERTaV3, arXiv:2111.09543, section
3.3). The official code loads a discriminator without Δ with a warning only, and its embeddings silently
become the generator's; here Δ is restored from what is known, and where it comes from is said.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from ..files.model_folder import GENERATOR, GENERATOR_BESIDE, ModelFolder
from ..models import DebertaV2Model
from ..models.base import complete_config
from . import files, keys
from .agreement import check_body, check_encoder
from .configuration import build_config, checked, read_config
from .folder import Checkpoint
from .opening import expected_shapes
from .saving import SavesItself, replacing_folder
from .weights import Weights

logger = logging.getLogger(__name__)

Source = Literal["stored", "difference", "zero"]

STALENESS = 0.05
"""A stored E_D may differ from E_G + Δ by this share of its norm: it is one training step older, and rounded
to half precision. A generator of another run differs by its whole norm."""


@dataclass(frozen=True, slots=True)
class SharedTable:
    """One embedding that generator and discriminator share, in fp32."""

    generator: Tensor
    """E_G, ``(rows, embedding_size)``."""
    delta: Tensor
    """Δ, of the same shape."""
    source: Source
    """Where Δ comes from: the file, E_D - E_G, or zero because no generator is known."""

    @property
    def discriminator(self) -> Tensor:
        """E_D = E_G + Δ."""
        return self.generator + self.delta


@dataclass(frozen=True, slots=True)
class PretrainedTrio:
    """What continued pre-training starts from, and what pre-training ends with.

    The tensors of ``discriminator`` and ``generator`` are kept as they are stored, under official names, so
    that saving them loses nothing; ``tables`` holds the embeddings as they are to be used.
    """

    config: dict[str, object]
    """The discriminator's checked configuration."""
    discriminator: dict[str, Tensor]
    """``deberta.*`` and ``mask_predictions.*``, with Δ as ``_weight`` where it is stored."""
    generator: dict[str, Tensor] | None
    """``deberta.*`` and ``lm_predictions.*``; ``None`` where there is no generator."""
    generator_config: dict[str, object] | None
    tables: dict[str, SharedTable]
    """By :data:`debertav3.checkpoint.keys.TABLES`; a table that neither network has is absent."""

    def discriminator_state(self) -> dict[str, Tensor]:
        """Return fp32 tensors for ``DebertaV2ForReplacedTokenDetection``, with E_D in place of Δ.

        The head is absent where the checkpoint has none.
        """
        state = _without_other_heads(self.discriminator, "mask_predictions.")
        state.update({keys.table_key(name): table.discriminator for name, table in self.tables.items()})
        return state

    def generator_state(self) -> dict[str, Tensor]:
        """Return fp32 tensors for the generator, a ``DebertaV2ForMaskedLM``; without one, only E_G."""
        state = _without_other_heads(self.generator or {}, "lm_predictions.")
        state.update({keys.table_key(name): table.generator for name, table in self.tables.items()})
        return state


def _without_other_heads(stored: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    deltas = {keys.delta_key(table) for table in keys.TABLES}
    return {
        name: tensor.float()
        for name, tensor in stored.items()
        if name.startswith((keys.BODY, head)) and name not in deltas and not name.endswith(".position_ids")
    }


def open_trio(checkpoint: str | Path | Checkpoint, *, generator: str | Path | None = None) -> PretrainedTrio:
    """Open a discriminator and, where there is one, its generator.

    Args:
        checkpoint: the discriminator, its folder or its Hub name: an official one, one saved by
            :func:`save_trio`, or any encoder.
        generator: the generator's folder, weight file or Hub name; ``None`` looks beside the discriminator.

    Raises:
        UserError: if a folder is damaged or not a checkpoint, the networks do not fit together, or Δ alone
            is stored and there is no generator to add it to.
    """
    checkpoint = Checkpoint.open(checkpoint, with_generator=generator is None)
    folder, config, weights = checkpoint.folder, dict(checkpoint.config), checkpoint.weights
    given, given_config = _open_generator(folder, config, generator)
    check_body(folder, config, weights.stored, delta_suffices=given is not None)
    _check_encoder(folder, config, weights)
    discriminator = weights.read()
    weights.forget()
    tables = {}
    for name in keys.TABLES:
        table = _repair(folder, name, discriminator, given or {})
        if table is not None:
            tables[name] = table
            logger.info("%s: delta of the %s is %s", folder, name, _EXPLAINED[table.source])
    return PretrainedTrio(
        config=config,
        discriminator=discriminator,
        generator=given,
        generator_config=given_config,
        tables=tables,
    )


_EXPLAINED: dict[Source, str] = {
    "stored": "the stored one",
    "difference": "E_D - E_G",
    "zero": "zero, over a generator that starts with the discriminator's embeddings",
}


def _open_generator(
    folder: ModelFolder, config: Mapping[str, object], generator: str | Path | None
) -> tuple[dict[str, Tensor] | None, dict[str, object] | None]:
    """Read the generator and its configuration; an official one has none, and differs only in depth."""
    if generator is None:
        paths = files.find_generator(folder)
    elif Path(generator).is_file():
        paths = [Path(generator)]
    else:
        given = ModelFolder.find(generator)
        paths = files.find_generator(given) or files.find_weights(given)
    if not paths:
        return None, None
    place = ModelFolder(paths[0].parent)
    weights = Weights(place, paths)
    # A file beside a discriminator's has no configuration: the config.json there is the discriminator's.
    is_beside = place.path == folder.path or paths[0].name in GENERATOR_BESIDE
    has_own = not is_beside and place.has("config.json")
    own_config = read_config(place) if has_own else _of_depth(config, keys.count_layers(weights.stored))
    check_body(place, own_config, weights.stored)
    _check_encoder(place, own_config, weights)
    if own_config.get("hidden_size") != config.get("hidden_size"):
        raise UserError(
            f"{paths[0]}: the generator is {own_config.get('hidden_size')} wide and the discriminator "
            f"{config.get('hidden_size')}; sharing embeddings needs equal widths"
        )
    return weights.read(), own_config


def _of_depth(config: Mapping[str, object], layers: int) -> dict[str, object]:
    return checked({**config, "num_hidden_layers": layers})


def _check_encoder(folder: ModelFolder, config: Mapping[str, object], weights: Weights) -> None:
    """Refuse a network whose encoder is not whole; which tables there are is up to :func:`_repair`."""
    wanted = expected_shapes(DebertaV2Model, build_config(config), keeps_positions=True)
    tables = {keys.table_key(table) for table in keys.TABLES} - weights.stored.keys()
    check_encoder(folder, {name: wanted[name] for name in wanted.keys() - tables}, weights.stored)


def _repair(
    folder: ModelFolder, table: str, discriminator: Mapping[str, Tensor], generator: Mapping[str, Tensor]
) -> SharedTable | None:
    """Restore E_G and Δ of one table from whatever is known of E_D, Δ and E_G."""
    delta = _fp32(discriminator, keys.delta_key(table))
    own = _fp32(discriminator, keys.table_key(table))
    shared = _fp32(generator, keys.table_key(table))
    known = [x for x in (delta, own, shared) if x is not None]
    if any(x.shape != known[0].shape for x in known):
        raise UserError(
            f"{folder}: the {table} of generator and discriminator differ in size: "
            f"{' and '.join(str(list(x.shape)) for x in known)}; they are not from one pre-training run"
        )
    if shared is not None:
        if delta is not None and (own is None or _fits(own, shared + delta)):
            return SharedTable(shared, delta, "stored")
        if delta is not None:
            logger.warning(
                "%s: E_G + delta is far from the stored %s: using the latter, and delta = E_D - E_G",
                folder,
                table,
            )
        if own is not None:
            return SharedTable(shared, own - shared, "difference")
        return SharedTable(shared, torch.zeros_like(shared), "zero")
    if own is None:
        return None
    if delta is not None:
        return SharedTable(own - delta, delta, "stored")
    return SharedTable(own, torch.zeros_like(own), "zero")


def _fp32(tensors: Mapping[str, Tensor], name: str) -> Tensor | None:
    return tensors[name].float() if name in tensors else None


def _fits(stored: Tensor, computed: Tensor) -> bool:
    return bool((stored - computed).norm() <= STALENESS * stored.norm())


def trained_trio(
    *,
    config: Mapping[str, object],
    discriminator: Mapping[str, Tensor],
    generator: Mapping[str, Tensor],
    generator_config: Mapping[str, object],
    deltas: Mapping[str, Tensor],
) -> PretrainedTrio:
    """Bring the trained networks into the official form: Δ as ``_weight``, E_D as ``weight``.

    Unlike the official code's, this E_D is not one step behind.

    Args:
        config: the discriminator's configuration.
        discriminator: its tensors under official names; its tables are ignored, E_D is computed.
        generator: the generator's tensors, with E_G.
        generator_config: the generator's configuration.
        deltas: Δ by :data:`debertav3.checkpoint.keys.TABLES`.

    Raises:
        UserError: if a configuration is not valid, or a table of the generator is missing.
    """
    tables = {}
    for name, delta in deltas.items():
        if keys.table_key(name) not in generator:
            raise UserError(
                f"the generator has no {keys.table_key(name)}, which the discriminator's {name} needs"
            )
        tables[name] = SharedTable(generator[keys.table_key(name)], delta, "stored")
    official = dict(discriminator)
    for name, table in tables.items():
        official |= {keys.delta_key(name): table.delta, keys.table_key(name): table.discriminator}
    return PretrainedTrio(
        config=checked(config),
        discriminator=official,
        generator=dict(generator),
        generator_config=checked(generator_config),
        tables=tables,
    )


def save_trio(trio: PretrainedTrio, folder: str | Path, tokenizer: SavesItself | None = None) -> Path:
    """Save the discriminator in ``folder`` and the generator in ``folder/generator``, as they are stored.

    Both open in stock transformers: the first as ``DebertaV2Model``, the second as ``DebertaV2ForMaskedLM``.

    Raises:
        UserError: if the folder cannot be written.
    """
    target = Path(folder)
    with replacing_folder(target) as partial:
        _write(partial, trio.config, trio.discriminator, "DebertaV2ForReplacedTokenDetection")
        if trio.generator is not None and trio.generator_config is not None:
            inner = partial / GENERATOR
            inner.mkdir()
            _write(inner, trio.generator_config, trio.generator, "DebertaV2ForMaskedLM")
        if tokenizer is not None:
            tokenizer.save_pretrained(str(partial))
    return target


def _write(folder: Path, raw: Mapping[str, object], tensors: Mapping[str, Tensor], architecture: str) -> None:
    state = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}  # no two share memory
    save_file(state, folder / files.WEIGHTS[0], metadata={"format": "pt"})
    config = build_config({**raw, "architectures": [architecture], "legacy": False})
    (folder / "config.json").write_text(
        json.dumps(complete_config(config), indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
