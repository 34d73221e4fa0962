"""Building generator and discriminator, and taking the finished models out of them."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import DebertaV2Config, PreTrainedConfig, PreTrainedModel

from ..models import DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection
from ..sizes import SIZES, config_for
from ..tokenization import DebertaV3Tokenizer
from .gdes import merged_tables, share_embeddings
from .settings import PretrainConfig

log = logging.getLogger(__name__)

EMBEDDINGS = "deberta.embeddings"
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclass
class Networks:
    """What is trained.

    Attributes:
        generator: predicts masked tokens; the only network of MLM.
        discriminator: finds replaced tokens; None for MLM. Under GDES and ES it reads the generator's tables.
    """

    generator: DebertaV2ForMaskedLM
    discriminator: DebertaV2ForReplacedTokenDetection | None


def vocabulary_rows(size: str, num_tokens: int) -> int:
    """Rows of the embedding table: the size's own where the tokenizer just fits it, else a multiple of 64."""
    own = int(SIZES[size]["vocab_size"])
    return own if 0 <= own - num_tokens < 128 else (num_tokens + 63) // 64 * 64


def build_networks(config: PretrainConfig, num_tokens: int) -> Networks:
    """Fresh networks of the size, initialised from the run's seed.

    Args:
        config: of the run.
        num_tokens: size of the tokenizer's vocabulary.
    """
    torch.manual_seed(config.seed)
    shape = {
        "vocab_size": vocabulary_rows(config.size, num_tokens),
        **dict.fromkeys(DROPOUTS, config.dropout),
    }
    if SIZES[config.size]["max_position_embeddings"] < config.length:
        shape["max_position_embeddings"] = config.length
    full = config_for(config.size, **shape)
    if config.objective == "mlm":
        return Networks(DebertaV2ForMaskedLM(full), None)
    layers = config.generator_layers or max(1, full.num_hidden_layers // 2)
    generator = DebertaV2ForMaskedLM(config_for(config.size, **shape, num_hidden_layers=layers))
    networks = Networks(generator, DebertaV2ForReplacedTokenDetection(full))
    tie(networks, config.sharing)
    return networks


def tie(networks: Networks, sharing: str) -> None:
    """Let the discriminator read the generator's tables, as ``sharing`` says."""
    if networks.discriminator is not None:
        share_embeddings(
            networks.discriminator.deberta.embeddings, networks.generator.deberta.embeddings, sharing
        )


def export(networks: Networks, size: str, out: Path, tokenizer: DebertaV3Tokenizer) -> None:
    """Write the finished models: ``encoder/``, and ``discriminator/`` and ``generator/`` with their heads.

    The discriminator's tables are written merged, ``E_G + delta``: any loader reads what was trained.
    """
    generator = DebertaV2ForMaskedLM(_finished_config(networks.generator.config, size))
    generator.load_state_dict(networks.generator.state_dict(), strict=True)
    finished: dict[str, PreTrainedModel] = {"generator": generator, "encoder": generator.deberta}
    if networks.discriminator is not None:
        discriminator = merged_discriminator(networks.discriminator, size)
        finished |= {"discriminator": discriminator, "encoder": discriminator.deberta}
    for name, model in finished.items():
        model.save_pretrained(out / name)
        tokenizer.save_pretrained(out / name)


def merged_discriminator(
    trained: DebertaV2ForReplacedTokenDetection, size: str
) -> DebertaV2ForReplacedTokenDetection:
    """A discriminator of its own: the same outputs, with ordinary embeddings."""
    embeddings = trained.deberta.embeddings
    tables = {f"{EMBEDDINGS}.{name}.weight": table for name, table in merged_tables(embeddings).items()}
    own = {key: value for key, value in trained.state_dict().items() if not key.endswith("._weight")}
    merged = DebertaV2ForReplacedTokenDetection(_finished_config(trained.config, size))
    merged.load_state_dict(own | tables, strict=True)
    return merged


def _finished_config(config: PreTrainedConfig, size: str) -> DebertaV2Config:
    """The same shape with the size's own dropout, for fine-tuning."""
    dropout = {name: SIZES[size][name] for name in DROPOUTS}
    return DebertaV2Config(**{**config.to_dict(), **dropout})
