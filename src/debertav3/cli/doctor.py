"""``debertav3 doctor``: what a checkpoint is, and whether it is sound."""

import json
import textwrap
from typing import TYPE_CHECKING, Annotated

from click.exceptions import Exit

from .commands import Argument, Option
from .input_checks import open_checkpoint

if TYPE_CHECKING:
    from ..checkpoint.diagnosis import Diagnosis

LABEL_WIDTH = 22
TEXT_WIDTH = 100


def doctor(
    path: Annotated[str, Argument(metavar="PATH", help="Checkpoint folder or Hub name.")],
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a checkpoint for problems.

    Describes it and lists its problems. Exit code 0: OK, 1: problems, 2: cannot be read.

    Example: debertav3 doctor models/nano
    """
    checkpoint = open_checkpoint(path)  # a wrong path is reported before torch is loaded
    from ..checkpoint.doctor import examine

    diagnosis = examine(checkpoint)
    if as_json:
        print(json.dumps(diagnosis.to_dict(), indent=2, ensure_ascii=False))
    else:
        print(render(diagnosis))
    if not diagnosis.is_ok:
        raise Exit(1)


def render(diagnosis: "Diagnosis") -> str:
    """Lay a diagnosis out for a terminal."""
    lines = [f"{diagnosis.path}", ""]
    for label, text in _facts(diagnosis):
        lines.append(f"  {label:<{LABEL_WIDTH}}{text}")
    for label, names in (
        ("missing", diagnosis.missing),
        ("unexpected", diagnosis.unexpected),
        ("stale", diagnosis.stale),
        ("untrained", diagnosis.untrained),
    ):
        lines.append(f"  {label:<{LABEL_WIDTH}}{_listed(names)}")
    if diagnosis.notes:
        lines += ["", "notes", *(_wrapped(note, "  - ") for note in diagnosis.notes)]
    if diagnosis.is_ok:
        return "\n".join([*lines, "", "OK"])
    count = len(diagnosis.faults)
    lines += ["", f"{count} fault{'s' if count > 1 else ''}"]
    for number, fault in enumerate(diagnosis.faults, start=1):
        lines += [_wrapped(fault.what, f"  {number}. "), _wrapped(fault.remedy, "     -> ")]
    return "\n".join(lines)


def _facts(diagnosis: "Diagnosis") -> list[tuple[str, str]]:
    stored = ", ".join(f"{_DTYPES.get(name, name)}" for name in diagnosis.dtypes)
    facts = [
        ("what it is", f"{diagnosis.family}{f', size {diagnosis.size}' if diagnosis.size else ''}"),
        ("head", ", ".join(diagnosis.heads) or "none: an encoder"),
        ("parameters stored", f"{diagnosis.parameters:,} as {stored}" if stored else "not read"),
    ]
    if diagnosis.labels is not None:
        facts.append(("labels", ", ".join(f"{i} {name}" for i, name in enumerate(diagnosis.labels[:12]))))
        if len(diagnosis.labels) > 12:
            facts.append(("", f"... {len(diagnosis.labels)} in all"))
    if diagnosis.tokenizer is not None:
        facts.append(("tokenizer", f"{diagnosis.tokenizer}, {diagnosis.tokenizer_size:,} ids"))
    if (look := diagnosis.embeddings) is not None:
        facts.append(("word embeddings", f"{look.rows:,} x {look.width}, spread {look.std:.4f}"))
        spread = 100 * look.norm_spread
        cosine = look.average_cosine
        facts.append(("", f"row norm {look.norm_mean:.3f} +- {spread:.0f} %, average cosine {cosine:.3f}"))
    return facts


_DTYPES = {
    **{"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "BOOL": "bool"},
    **{
        f"{kind}{bits}": f"{name}{bits}"
        for kind, name in (("I", "int"), ("U", "uint"))
        for bits in (8, 16, 32, 64)
    },
}
"""Names of number formats, by those in safetensors files."""


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    rest = f"\n{'':<{LABEL_WIDTH + 2}}... {len(names)} in all" if len(names) > 5 else ""
    return f"\n{'':<{LABEL_WIDTH + 2}}".join(names[:5]) + rest


def _wrapped(text: str, lead: str) -> str:
    return textwrap.fill(text, TEXT_WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead))
