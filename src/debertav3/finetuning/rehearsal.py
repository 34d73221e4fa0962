"""What can be found out before the first step: whether model, tokenizer and data fit together."""

import logging

from ..checkpoint.quiet import quiet_transformers
from .config import FinetuneConfig
from .doctor import examine
from .preparation import Data
from .prepared_run import open_for_training
from .start import Start
from .starting_model import open_tokenizer

logger = logging.getLogger(__name__)


def rehearse(config: FinetuneConfig, data: Data, start: Start) -> None:
    """Open tokenizer and model as the run would, and say how long the examples are.

    Raises:
        UserError: for what would stop the run.
    """
    tokenizer = open_tokenizer(config, data.task, start)
    with quiet_transformers():
        model = open_for_training(config, data, tokenizer, start)
    logger.info("model: %s, %d parameters", type(model).__name__, model.num_parameters())
    facts = examine(data, config, tokenizer=tokenizer)
    for name, part in [("training data", facts["train"]), *facts["dev"].items()]:
        tokens = ", ".join(f"{key} {value:.4g}" for key, value in part.get("tokens", {}).items())
        cut = part.get("truncated", 0)
        logger.info(
            "%s: %d examples; tokens: %s; longer than max_length=%d: %d",
            name,
            part["examples"],
            tokens or "not counted",
            config.data.max_length,
            cut,
        )
    for line in facts["warnings"]:
        logger.warning("%s", line)
