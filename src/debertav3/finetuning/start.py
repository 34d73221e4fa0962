"""What a run starts from, found and checked before torch is loaded."""

from dataclasses import dataclass

from ..checkpoint.folder import Checkpoint
from ..errors import UserError
from ..files.model_folder import ModelFolder, user_path
from ..sizes import SIZES, is_size, near_size
from ..tokenization import DebertaV3Tokenizer
from .config import FinetuneConfig

OURS = "deberta-v2"
"""transformers' name of the family that our own classes open."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run starts from, found once."""

    family: str
    """transformers' name of the model's family."""
    checkpoint: Checkpoint | None
    """None for a size, which starts from scratch."""


def find_start(config: FinetuneConfig) -> Start:
    """Find the model of a run; one on the Hub is downloaded.

    Raises:
        UserError: if there is no such model, or its config.json cannot be read.
    """
    name = config.model
    if is_size(name):
        return Start(family=OURS, checkpoint=None)
    if "/" not in name and not user_path(name).exists() and (near := near_size(name)):
        raise UserError(f"no folder and no size is named {name}. Did you mean {near}?")
    checkpoint = Checkpoint.open(name)
    return Start(family=_family_of(checkpoint.folder), checkpoint=checkpoint)


def is_from_hub(config: FinetuneConfig) -> bool:
    """Whether model or tokenizer of a run must be downloaded, which takes longer than a look at the data."""
    named = [name for name in (config.model, config.tokenizer) if name is not None]
    return any("/" in name and not user_path(name).exists() and not is_size(name) for name in named)


def check_start(config: FinetuneConfig, start: Start | None = None) -> Start:
    """Check that a run's model and tokenizer can be opened, as far as that needs no torch.

    Tokenizers of other families are checked when they are opened.

    Args:
        config: the run.
        start: from `find_start`, if it is found already.

    Returns:
        What the run starts from.

    Raises:
        UserError: if there is no such model, or model and tokenizer cannot be read.
    """
    start = start or find_start(config)
    if start.checkpoint is None:
        check_lora(config)
        check_frozen(config, SIZES[config.model]["num_hidden_layers"])
        if config.tokenizer is None:
            raise no_tokenizer(config)
    elif start.family == OURS:
        check_frozen(config, start.checkpoint.config.get("num_hidden_layers"))
        if config.tokenizer is None:
            _ = start.checkpoint.tokenizer
    if config.tokenizer is not None and start.family == OURS:
        DebertaV3Tokenizer.from_pretrained(config.tokenizer)
    return start


def check_lora(config: FinetuneConfig) -> None:
    """Assert that there is something for ``--lora`` to change a little.

    Raises:
        UserError: for a model from scratch.
    """
    if config.lora and is_size(config.model):
        raise UserError(f"--lora adapts a trained model; --model {config.model} is from scratch.")


def check_frozen(config: FinetuneConfig, num_layers: int | None) -> None:
    """Assert that a model has as many layers as are to be frozen.

    Raises:
        UserError: if it has fewer.
    """
    frozen = config.regularization.freeze_layers
    if num_layers is not None and frozen > num_layers:
        raise UserError(f"freeze_layers={frozen}, but the model has {num_layers} layers.")


def no_tokenizer(config: FinetuneConfig) -> UserError:
    """The error for a model from scratch without a tokenizer."""
    return UserError(
        f"--model {config.model} starts from scratch and has no tokenizer of its own. "
        "Name a folder with an spm.model: --tokenizer DIR."
    )


def _family_of(folder: ModelFolder) -> str:
    """Return transformers' name of a model's family.

    Raises:
        UserError: if its config.json cannot be read.
    """
    if not folder.has("config.json"):
        return OURS  # whose own opening says what is wrong
    return str(folder.json("config.json").get("model_type"))
