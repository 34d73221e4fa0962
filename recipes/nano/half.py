"""A model with weights in 16 bits and a config that says float32, without the files of its run.

Run: python recipes/nano/half.py runs/nano/final/seed-1 runs/nano/model/nano --dtype float16
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
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def write_half(model: Path, out: Path, dtype: torch.dtype, most_bytes: int | None = None) -> int:
    """Write the folder; return its size in bytes.

    Raises:
        UserError: if it is larger than ``most_bytes``.
    """
    with replacing_folder(out) as folder:
        weights = {name: tensor.to(dtype) for name, tensor in load_file(model / WEIGHTS).items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        config = read_json_object(model / "config.json")
        for key in ("_name_or_path", "problem_type"):
            config.pop(key, None)
        write_json(folder / "config.json", config | {"dtype": "float32"})
        for name in TOKENIZER:
            if (model / name).is_file():
                shutil.copy2(model / name, folder / name)
        size = sum(path.stat().st_size for path in folder.iterdir())
        if most_bytes is not None and size > most_bytes:
            raise UserError(f"{model}: {size:,} bytes with 16-bit weights; at most {most_bytes:,} fit.")
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--most-bytes", type=int, help="refuse a larger folder")
    arguments = parser.parse_args()
    size = write_half(arguments.model, arguments.out, DTYPES[arguments.dtype], arguments.most_bytes)
    print(f"{size:,} bytes")


if __name__ == "__main__":
    main()
