"""Generator and discriminator: built fresh or from a checkpoint, and taken out finished."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import DebertaV2Config, PreTrainedConfig, PreTrainedModel

from ..checkpoint import PretrainedTrio, open_model, open_trio, save_model
from ..checkpoint.quiet import quiet_transformers
from ..errors import UserError
from ..json_types import JsonMapping
from ..models import DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection
from ..sizes import SIZES, raw_config, size_of
from ..tokenization import DebertaV3Tokenizer
from .gdes import TABLES, GDESEmbedding, merged_tables, share_embeddings
from .settings import PretrainConfig
from .sharding import whole_state

log = logging.getLogger(__name__)

EMBEDDINGS = "deberta.embeddings"
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
_LAYER = "deberta.encoder.layer."


@dataclass
class Networks:
    """What is trained.

    Attributes:
        generator: predicts masked tokens; the only network of MLM.
        discriminator: finds replaced tokens; None for MLM. Under GDES and ES it reads the generator's tables.
        dropout: what the finished models' configurations say, for fine-tuning.
    """

    generator: DebertaV2ForMaskedLM
    discriminator: DebertaV2ForReplacedTokenDetection | None
    dropout: Mapping[str, float]


def build_networks(config: PretrainConfig, num_tokens: int, start: Path | None) -> Networks:
    """Networks as a run begins with; what is fresh is initialized from the run's seed.

    Args:
        config: of the run.
        num_tokens: size of the tokenizer's vocabulary.
        start: a checkpoint to continue from, or None for fresh networks of the size.

    Raises:
        UserError: if there is no such size, or the checkpoint cannot be continued with this objective and
            length.
    """
    torch.manual_seed(config.seed)
    if start is not None:
        return _continued(config, start)
    raw = raw_config(config.size, vocab_size=vocabulary_rows(config.size, num_tokens))
    raw["max_position_embeddings"] = max(raw["max_position_embeddings"], config.plan.max_length)
    dropout = {name: raw[name] for name in DROPOUTS}
    full = _with_dropout(raw, config)
    if config.objective == "mlm":
        return Networks(DebertaV2ForMaskedLM(full), None, dropout)
    generator = DebertaV2ForMaskedLM(_generator_config(raw, config))
    discriminator = DebertaV2ForReplacedTokenDetection(full)
    share_embeddings(discriminator.deberta.embeddings, generator.deberta.embeddings, config.rtd.sharing)
    return Networks(generator, discriminator, dropout)


def vocabulary_rows(size: str, num_tokens: int) -> int:
    """Rows of the embedding table: the size's own where the tokenizer just fits it, else a multiple of 64."""
    own = int(SIZES[size]["vocab_size"])
    return own if 0 <= own - num_tokens < 128 else (num_tokens + 63) // 64 * 64


def _with_dropout(raw: JsonMapping, config: PretrainConfig) -> DebertaV2Config:
    return DebertaV2Config(**{**raw, **dict.fromkeys(DROPOUTS, config.dropout)})


def _generator_config(raw: JsonMapping, config: PretrainConfig) -> DebertaV2Config:
    """Half the depth at the same width, unless the run says otherwise."""
    layers = config.rtd.generator_layers
    if layers is None:
        layers = max(1, raw["num_hidden_layers"] // 2)
    return _with_dropout({**raw, "num_hidden_layers": layers}, config)


def _continued(config: PretrainConfig, start: Path) -> Networks:
    networks = (_continued_mlm if config.objective == "mlm" else _continued_rtd)(config, start)
    encoder = networks.discriminator or networks.generator
    if (longest := config.plan.max_length) > (rows := encoder.config.max_position_embeddings):
        raise UserError(
            f"{start} has {rows} positions and max_length is {longest}: add --set max_length={rows}, or less"
        )
    if (size := size_of(encoder.config.to_dict())) not in (None, config.size):
        log.warning("%s is of size %s: only the recipe of --size %s is used", start, size, config.size)
    return networks


def _continued_mlm(config: PretrainConfig, start: Path) -> Networks:
    if _is_run_of_mlm(start):
        start = start / "generator"
    elif (start / "discriminator").is_dir() and not (start / "config.json").is_file():
        raise UserError(
            f"{start} contains several networks: say which one to continue, {start / 'encoder'} or "
            f"{start / 'generator'}"
        )
    opened = open_model(start, head=DebertaV2ForMaskedLM, new_head=True)
    dropout: dict[str, float] = {name: getattr(opened.model.config, name) for name in DROPOUTS}
    model = DebertaV2ForMaskedLM(_with_dropout(opened.model.config.to_dict(), config))
    _load(model, opened.model.state_dict(), "model", start)  # one that was fine-tuned has no positions
    return Networks(model, None, dropout)


def _continued_rtd(config: PretrainConfig, start: Path) -> Networks:
    """Go on from a discriminator with or without its generator and delta.

    ``checkpoint.open_trio`` restores delta: stored, E_D - E_G where both are known, or zero over E_G := E_D.
    Without a generator, a new one begins as the discriminator's lower half with a fresh head.
    """
    trio = _open_run_or_checkpoint(start)
    if config.rtd.sharing == "es":
        _refuse_to_lose_delta(trio, start)
    raw = {**SIZES["base"], **trio.config}
    dropout: dict[str, float] = {name: raw[name] for name in DROPOUTS}
    discriminator = DebertaV2ForReplacedTokenDetection(_with_dropout(trio.config, config))
    _load(discriminator, trio.discriminator_state(), "discriminator", start)
    if trio.generator_config is not None:
        found = trio.generator_config["num_hidden_layers"]
        if config.rtd.generator_layers not in (None, found):
            raise UserError(
                f"the generator of {start} has {found} layers and generator_layers is "
                f"{config.rtd.generator_layers}: leave that out"
            )
        generator = DebertaV2ForMaskedLM(_with_dropout(trio.generator_config, config))
        _load(generator, trio.generator_state(), "generator", start)
    else:
        generator = DebertaV2ForMaskedLM(_generator_config(trio.config, config))
        kept = generator.config.num_hidden_layers
        lower = {name: x for name, x in trio.discriminator_state().items() if _is_below(name, kept)}
        _load(generator, lower | trio.generator_state(), "generator", start)
    share_embeddings(discriminator.deberta.embeddings, generator.deberta.embeddings, config.rtd.sharing)
    if config.rtd.sharing == "gdes":
        _set_deltas(discriminator, trio)
    return Networks(generator, discriminator, dropout)


def _open_run_or_checkpoint(start: Path) -> PretrainedTrio:
    if (start / "discriminator").is_dir():  # the folder of an earlier run
        generator = start / "generator"
        return open_trio(start / "discriminator", generator=generator if generator.is_dir() else None)
    if _is_run_of_mlm(start):
        raise UserError(
            f"{start} is an MLM run, which has no discriminator: start one with --from {start / 'encoder'}"
        )
    return open_trio(start)


def _refuse_to_lose_delta(trio: PretrainedTrio, start: Path) -> None:
    """With one table for both networks the discriminator would start with other embeddings than it had.

    Raises:
        UserError: if delta of a table that the discriminator reads is not zero.
    """
    is_read = {"word_embeddings": True, "position_embeddings": trio.config.get("position_biased_input", True)}
    lost = [name for name, table in trio.tables.items() if is_read[name] and bool(table.delta.any())]
    if lost:
        raise UserError(
            f"{start}: the discriminator's {' and '.join(lost)} are the generator's plus a delta, which "
            "sharing=es cannot keep; use --set sharing=gdes, or nes for separate tables"
        )


def _is_run_of_mlm(start: Path) -> bool:
    return (start / "generator").is_dir() and not any(
        (start / name).exists() for name in ("discriminator", "config.json")
    )


def _is_below(name: str, layers: int) -> bool:
    """Whether a tensor belongs to the embeddings, the relative table or the first layers."""
    if name.startswith(_LAYER):
        return int(name.removeprefix(_LAYER).split(".", 1)[0]) < layers
    return name.startswith("deberta.")


def _load(model: PreTrainedModel, state: Mapping[str, Tensor], role: str, start: Path) -> None:
    fresh, unknown = model.load_state_dict(state, strict=False)
    if unknown:
        raise UserError(f"{start}: the {role} contains unexpected tensors: {', '.join(sorted(unknown)[:3])}")
    if missing := [name for name in fresh if name.startswith(_LAYER)]:
        raise UserError(f"{start}: the {role} is incomplete: {', '.join(sorted(missing)[:3])} missing")
    if fresh:
        log.info("%s: newly initialized in the %s: %s", start, role, ", ".join(sorted(fresh)))


def _set_deltas(discriminator: DebertaV2ForReplacedTokenDetection, trio: PretrainedTrio) -> None:
    for name in TABLES:
        module = getattr(discriminator.deberta.embeddings, name)
        if isinstance(module, GDESEmbedding) and name in trio.tables:
            with torch.no_grad():
                module._weight.copy_(trio.tables[name].delta)


def finished_models(networks: Networks) -> dict[str, PreTrainedModel]:
    """Copies of the networks as they are exported: ``encoder``, ``generator`` and, of RTD, ``discriminator``.

    The discriminator's tables are merged, ``E_G + delta``; ``encoder`` is a part of its copy. Where weights
    are spread over processes call it in every one.
    """
    generator = DebertaV2ForMaskedLM(_finished_config(networks.generator.config, networks.dropout))
    generator.load_state_dict(whole_state(networks.generator), strict=True)
    finished: dict[str, PreTrainedModel] = {"generator": generator, "encoder": generator.deberta}
    if networks.discriminator is not None:
        discriminator = merged_discriminator(networks.discriminator, networks.dropout)
        finished |= {"discriminator": discriminator, "encoder": discriminator.deberta}
    return finished


def export(networks: Networks, out: Path, tokenizer: DebertaV3Tokenizer, *, writes: bool = True) -> None:
    """Write the finished models: ``encoder/``, and ``discriminator/`` and ``generator/`` with their heads.

    Any loader reads what was trained. Where weights are spread over processes call it in every one; only one
    of them ``writes``.
    """
    finished = finished_models(networks)
    with quiet_transformers():
        for name, model in finished.items() if writes else ():
            save_model(model, out / name, tokenizer)


def merged_discriminator(
    trained: DebertaV2ForReplacedTokenDetection, dropout: Mapping[str, float]
) -> DebertaV2ForReplacedTokenDetection:
    """A discriminator of its own: the same outputs, with ordinary embeddings."""
    embeddings = trained.deberta.embeddings
    tables = {f"{EMBEDDINGS}.{name}.weight": table for name, table in merged_tables(embeddings).items()}
    own = {key: value for key, value in whole_state(trained).items() if not key.endswith("._weight")}
    merged = DebertaV2ForReplacedTokenDetection(_finished_config(trained.config, dropout))
    merged.load_state_dict(own | tables, strict=True)
    return merged


def _finished_config(config: PreTrainedConfig, dropout: Mapping[str, float]) -> DebertaV2Config:
    return DebertaV2Config(**{**config.to_dict(), **dropout})
