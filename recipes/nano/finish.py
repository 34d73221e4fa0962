"""A fine-tuned model as it ships: fp16 weights, a config that says float32, no files of the run.

Run: python recipes/nano/finish.py --model runs/nano/final/seed-1 --out runs/nano/model/nano
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from debertav3.errors import UserError
from debertav3.files import read_json_object, replacing_folder, write_json

TOKENIZER = ("spm.model", "tokenizer.json", "tokenizer_config.json", "added_tokens.json", "vocabulary.json")
WEIGHTS = "model.safetensors"
MOST_BYTES = 14_980_000
"""Of everything but the model card, with which the folder keeps within 15 MB."""


def finish(model: Path, out: Path) -> int:
    """Write the folder; return its size in bytes.

    Raises:
        UserError: if it is larger than what ships.
    """
    with replacing_folder(out) as folder:
        weights = {name: tensor.to(torch.float16) for name, tensor in load_file(model / WEIGHTS).items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        config = read_json_object(model / "config.json")
        for key in ("_name_or_path", "problem_type"):
            config.pop(key, None)
        write_json(folder / "config.json", config | {"dtype": "float32"})
        for name in TOKENIZER:
            if (model / name).is_file():
                shutil.copy2(model / name, folder / name)
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size > MOST_BYTES:
            raise UserError(f"{model}: {size:,} bytes with fp16 weights, and at most {MOST_BYTES:,} ship")
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    print(f"{finish(arguments.model, arguments.out):,} bytes")


if __name__ == "__main__":
    main()
