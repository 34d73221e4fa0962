"""Folders that people take for checkpoints and that are something else: what each is, what to give instead.

PEFT's adapters, graphs without weights, weights of other programs or under other names, and folders that hold
checkpoints rather than being one, as transformers' ``Trainer`` and sentence-transformers write them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from ..files.model_folder import ModelFolder, json_object
from ..tasks.rows import first_of

_NOT_READ = frozenset({".h5", ".msgpack", ".ot", ".pt", ".pth", ".ckpt", ".gguf", ".npz", ".keras"})
_GRAPHS = frozenset({".onnx", ".xml", ".tflite", ".engine"})
_VARIANT = re.compile(r"model\.[A-Za-z0-9_-]+\.safetensors")
"""Weights in another precision beside the usual ones, such as ``model.fp16.safetensors``."""

_ADAPTER = "adapter_config.json"
_MOST_SHOWN = 3


def no_checkpoint(folder: ModelFolder) -> UserError:
    """The error for a folder without ``config.json``."""
    advice = found_instead(folder.path) or " Give the folder of a model."
    return UserError(f"{folder} has no config.json, so it is not a checkpoint.{advice}")


def found_instead(folder: Path) -> str:
    """Say what a folder without ``config.json`` or without weights holds, as sentences for an error.

    Returns:
        Sentences after a space; empty if nothing about the folder is known.
    """
    try:
        said = next(_sentences(folder), "")
    except OSError:
        return ""
    return said and f" {said}"


def _sentences(folder: Path) -> Iterator[str]:
    names = sorted(path.name for path in folder.iterdir())
    if _ADAPTER in names:
        base = _base_of(folder / _ADAPTER)
        yield (
            f"It is an adapter of PEFT for {base}: merge it into that model with "
            "PeftModel.from_pretrained(model, folder).merge_and_unload().save_pretrained(out), and give out."
        )
    if variants := [name for name in names if _VARIANT.fullmatch(name)]:
        yield f"It has {variants[0]}: if these are its weights, call them model.safetensors."
    if inside := [path for path in folder.iterdir() if (path / "config.json").is_file()]:
        yield f"There is a model in {max(inside, key=_by_number)}: give that folder."
    if unread := [name for name in names if Path(name).suffix in _NOT_READ]:
        yield (
            f"It has {first_of(unread, most=_MOST_SHOWN)}, which is not read: save the model with "
            "save_pretrained, or fetch model.safetensors."
        )
    graphs = [
        str(path.relative_to(folder))
        for path in sorted([*folder.glob("*"), *folder.glob("onnx/*")])
        if path.suffix in _GRAPHS
    ]
    if graphs:
        yield (
            f"It has {first_of(graphs, most=_MOST_SHOWN)}, a graph of another program: give the "
            "folder of the model that it was made from."
        )


def _base_of(file: Path) -> str:
    try:
        base = json_object(file).get("base_model_name_or_path")
    except UserError:
        return "another model"
    return base if isinstance(base, str) and base else "another model"


def _by_number(folder: Path) -> tuple[int, str]:
    """Of ``checkpoint-500`` and ``checkpoint-1000`` the later one is the greater."""
    number = re.search(r"(\d{1,9})$", folder.name)
    return (int(number[1]) if number else -1), folder.name
