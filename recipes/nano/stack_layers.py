"""Copy a shallow masked language model's layers into a deeper one, which then begins with what they know.

Progressive stacking (Gong et al., 2019): layers of a transformer resemble their neighbours, so a deeper model
whose layers are copies trains on at once from nearly the shallow one's loss. The last layer stays last: it is
the enhanced mask decoder's.

Run: python recipes/nano/stack_layers.py runs/shallow/generator runs/stacked --order 0 0 1 1 1 2
"""

import argparse
from pathlib import Path

from transformers import DebertaV2Config

from debertav3 import DebertaV2ForMaskedLM, DebertaV3Tokenizer
from debertav3.checkpoint import open_model, save_model

LAYERS = "deberta.encoder.layer."


def stack(shallow: DebertaV2ForMaskedLM, order: list[int]) -> DebertaV2ForMaskedLM:
    """A model whose layer i is a copy of the layer ``order[i]``; all else is copied as it is."""
    config = DebertaV2Config(**{**shallow.config.to_dict(), "num_hidden_layers": len(order)})
    deep = DebertaV2ForMaskedLM(config)
    state = shallow.state_dict()
    copied = {name: tensor for name, tensor in state.items() if not name.startswith(LAYERS)}
    for place, source in enumerate(order):
        prefix = f"{LAYERS}{source}."
        for name, tensor in state.items():
            if name.startswith(prefix):
                copied[f"{LAYERS}{place}.{name.removeprefix(prefix)}"] = tensor
    deep.load_state_dict(copied, strict=True)
    return deep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shallow", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--order", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    shallow = open_model(arguments.shallow, head=DebertaV2ForMaskedLM).model
    tokenizer = DebertaV3Tokenizer.from_pretrained(arguments.shallow)
    save_model(stack(shallow, arguments.order), arguments.out, tokenizer)


if __name__ == "__main__":
    main()
