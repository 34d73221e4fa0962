"""The model card (``README.md``) of an exported folder."""

from ...json_types import JsonObject
from ..backends.exported import Exported


def export_card(source: str, exported: Exported, checks: JsonObject) -> str:
    """Say where the graph comes from, what was checked, and how to run it.

    Args:
        source: the checkpoint, as the user named it.
        exported: the folder.
        checks: the content of ``checks.json``.
    """
    manifest = exported.manifest
    lines = [
        "---",
        "library_name: debertav3",
        f"tags: [deberta-v3, {manifest.format}, {manifest.weights}]",
        "---",
        "",
        f"# {source}, exported for {manifest.format}",
        "",
    ]
    gate = checks.get("gate")
    if gate and not gate["passed"]:
        lines += [
            f"**Forced: this int8 model failed its gate.** {gate['verdict']} Check it before you use it.",
            "",
        ]
    lines += [
        f"Head: {manifest.head}; weights: {manifest.weights}; written by debertav3 {manifest.version}. "
        "Batch size and length are dynamic.",
        "",
        f"Checked before it was written: {checks['summary']}. Details are in `checks.json`.",
        "",
    ]
    if gate:
        lines += [gate["verdict"], ""]
        if gate["kept_in_float"]:
            lines += ["Kept in float: " + ", ".join(f"`{name}`" for name in gate["kept_in_float"]) + ".", ""]
    lines += [
        "```python",
        "from debertav3 import Predictor",
        "",
        f'predictor = Predictor.from_pretrained("PATH", backend="{manifest.format}")',
        "```",
        "",
    ]
    return "\n".join(lines)
