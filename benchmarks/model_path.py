"""Which modules get a model's name or folder between a command and its logits.

    python benchmarks/model_path.py                        # debertav3 nli with models/nano, on torch
    python benchmarks/model_path.py --model an-export      # ... with an exported folder, without torch
    python benchmarks/model_path.py --show                 # also every step

Counted is every call of a function of this package with an argument that is the model's name or folder, as a
text or a path; a path of a file in the folder is not counted. Steps within one module are one. A return is a
step to a module where the name has been before. Modules that get the opened ``Checkpoint`` are counted apart:
they read what it holds and ask the folder for nothing again.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = "debertav3"
PAIR = ("A man is asleep on a bench.", "Nobody is awake.")


@dataclass
class ModelPath:
    """The modules that a model's name has gone through."""

    steps: list[str] = field(default_factory=list)
    """Module by module, in the order of the calls."""
    opened: list[str] = field(default_factory=list)
    """The same for the opened checkpoint."""

    @property
    def modules(self) -> list[str]:
        """Every module once, in the order in which they first got the name."""
        return list(dict.fromkeys(self.steps))

    @property
    def returns(self) -> int:
        """How often the name came back to a module where it had been."""
        return len(self.steps) - len(self.modules)


def trace(run: Callable[[], Any], model: str | Path) -> ModelPath:
    """Run something and note which modules get the model's name or folder.

    Args:
        run: what to run.
        model: the name as it is given to ``run``; also the folder, if it is one.
    """
    names = {str(model), os.path.realpath(model)}
    found = ModelPath()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(PACKAGE):
            return
        for value in _arguments(frame):
            if isinstance(value, str | Path) and str(value) in names:
                steps = found.steps
            elif type(value).__name__ in ("Checkpoint", "ModelFolder"):
                steps = found.opened
            else:
                continue
            if not steps or steps[-1] != module:
                steps.append(module)

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def _arguments(frame: FrameType) -> list[Any]:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)  # *args, **kwargs
    values = []
    for name in code.co_varnames[:count]:
        value = frame.f_locals.get(name)
        values += (
            [*value] if isinstance(value, tuple) else [*value.values()] if type(value) is dict else [value]
        )
    return values


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="models/nano")
    parser.add_argument("--show", action="store_true", help="print every step")
    args = parser.parse_args()
    from debertav3.cli.nli import nli

    found = trace(lambda: nli(*PAIR, model=args.model), args.model)
    if args.show:
        print(*found.steps, "", sep="\n")
    print(
        f"name or folder: {len(found.modules)} modules, {found.returns} returns: {', '.join(found.modules)}"
    )
    opened = list(dict.fromkeys(found.opened))
    print(f"opened checkpoint: {len(opened)} modules: {', '.join(opened)}")


if __name__ == "__main__":
    main()
