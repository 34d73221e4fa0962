"""``debertav3 info``: size and cost of a model, from its configuration alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from ..json_types import JsonMapping, JsonObject
from .commands import Argument, Option
from .input_checks import open_checkpoint

LABEL_WIDTH = 16


def info(
    model: Annotated[
        str,
        Argument(metavar="SIZE-or-PATH", help="A size such as xsmall, a checkpoint folder, or a Hub name."),
    ],
    length: Annotated[int, Option(help="Tokens in the text for which operations are counted.")] = 128,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the size and cost of a model.

    Layers, width, vocabulary, parameters, bytes and operations.

    Example: debertav3 info xsmall --length 512
    """
    facts = describe(model, length=length)
    print(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else render(facts))


def describe(model: str, *, length: int) -> dict[str, object]:
    """Return everything that ``info`` prints.

    Raises:
        UserError: if ``model`` is neither a size nor a checkpoint, or its configuration is not valid.
    """
    from ..files.model_folder import is_folder
    from ..sizes import is_size, raw_config, size_of

    if is_size(model):
        return _facts(raw_config(model), name=model, head=None, length=length)
    if is_folder(model) or Path(model).exists() or "/" in model:
        from ..heads import ENCODER, heads_in

        raw = open_checkpoint(model).config
        heads = heads_in(raw.get("architectures"))
        head = heads[0].name if heads else ENCODER
        return {"path": model, **_facts(raw, name=size_of(raw), head=head, length=length)}
    return _facts(raw_config(model), name=model, head=None, length=length)  # raises, listing the sizes


def _facts(raw: JsonMapping, *, name: str | None, head: str | None, length: int) -> JsonObject:
    from ..heads import MASKED_LM, REPLACED_TOKENS
    from ..layers.config import EncoderConfig
    from ..sizes import (
        DTYPE_BYTES,
        PUBLISHED,
        SIZES,
        count_parameters,
        flops_per_token,
    )

    config = EncoderConfig.from_dict(raw)
    labels = len(raw.get("id2label") or (0, 1))
    if head is None:  # the head that the authors pre-trained with
        head = MASKED_LM if config.conv_kernel_size else REPLACED_TOKENS
    count = count_parameters(raw, head=head, num_labels=labels)
    is_released = name in PUBLISHED and SIZES[name]["vocab_size"] == config.vocab_size
    published = PUBLISHED[name] if name and is_released else None
    return {
        "size": name,
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "heads": config.num_attention_heads,
        "feed_forward": config.intermediate_size,
        "positions": config.max_position_embeddings,
        "relative_rows": config.relative_rows,
        "vocabulary": config.vocab_size,
        "head": head,
        "parameters": {
            "backbone": count.backbone,
            "embedding": count.word_embeddings,
            "total": count.total,
            "encoder_only_backbone": count_parameters(raw).backbone,
        },
        "published_millions": published
        and {"backbone": published.backbone, "embedding": published.embedding, "source": published.hub_name},
        "bytes": {dtype: count.total * size for dtype, size in DTYPE_BYTES.items()},
        "flops_per_token": {"length": length, "forward": flops_per_token(raw, length=length)},
    }


def render(facts: JsonMapping) -> str:
    """Format the facts for a terminal."""
    parameters, published = facts["parameters"], facts["published_millions"]
    flops = facts["flops_per_token"]
    width, heads = facts["width"], facts["heads"]
    rows = [
        ("layers", f"{facts['layers']}"),
        ("width", f"{width}, feed-forward {facts['feed_forward']}"),
        ("heads", f"{heads} of {width // heads}"),
        ("positions", f"{facts['positions']} tokens, relative table of {facts['relative_rows']} rows"),
        ("vocabulary", f"{facts['vocabulary']:,}"),
        ("parameters", _in_millions(parameters, published)),
        ("exactly", f"{parameters['backbone']:,} backbone, with the head ({facts['head']})"),
        ("", f"{parameters['encoder_only_backbone']:,} of them in the bare encoder"),
        ("", f"{parameters['embedding']:,} word embeddings"),
        ("", f"{parameters['total']:,} in total"),
    ]
    rows.append(("bytes", ", ".join(f"{_mebibytes(n)} {dtype}" for dtype, n in facts["bytes"].items())))
    rows.append(
        (
            "operations",
            f"{flops['forward'] / 1e6:,.1f} MFLOP per token, forward pass, text of {flops['length']} tokens",
        )
    )
    rows.append(("", "(matmuls of the encoder; a multiply-add counts as 2)"))
    title = facts.get("path") or f"size {facts['size']}"
    if facts.get("path") and facts["size"]:
        title += f" (size {facts['size']})"
    return "\n".join([title, "", *(f"  {label:<{LABEL_WIDTH}}{text}" for label, text in rows)])


def _in_millions(parameters: Mapping[str, int], published: Mapping[str, object] | None) -> str:
    """Backbone and embedding as published by the authors, or rounded if they are not."""
    backbone, embedding = _millions(parameters["backbone"]), _millions(parameters["embedding"])
    if not published:
        return f"{backbone} backbone + {embedding} embedding"
    if published["embedding"]:
        embedding = f"{published['embedding']}M"
    return f"{published['backbone']}M backbone + {embedding} embedding (published: {published['source']})"


def _millions(count: int) -> str:
    return f"{count / 1e6:.0f}M" if count >= 9.5e6 else f"{count / 1e6:.1f}M"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
