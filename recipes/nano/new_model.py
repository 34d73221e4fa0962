"""A masked language model of any width and depth with random weights, to pre-train with ``--from``.

Run: python recipes/nano/new_model.py --tokenizer TOKENIZER --layers 3 --width 256 --heads 4 --out start
"""

import argparse
from pathlib import Path

import torch

from debertav3 import DebertaV2ForMaskedLM, DebertaV3Tokenizer
from debertav3.checkpoint import save_model
from debertav3.sizes import config_for

ROWS = 32
"""The embedding table has a multiple of so many rows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--heads", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = DebertaV3Tokenizer.from_pretrained(arguments.tokenizer)
    config = config_for(
        "nano",
        vocab_size=(len(tokenizer) + ROWS - 1) // ROWS * ROWS,
        num_hidden_layers=arguments.layers,
        hidden_size=arguments.width,
        num_attention_heads=arguments.heads,
        intermediate_size=4 * arguments.width,
    )
    torch.manual_seed(arguments.seed)
    model = DebertaV2ForMaskedLM(config)
    print(f"{sum(one.numel() for one in model.deberta.parameters()):,} parameters in the encoder")
    save_model(model, arguments.out, tokenizer)


if __name__ == "__main__":
    main()
