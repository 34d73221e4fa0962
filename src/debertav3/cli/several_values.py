"""``--input a b c``: several values after one flag, as people type them and shells expand them."""

from typing import Any

from typer.core import TyperCommand


class SeveralValues(TyperCommand):
    """A command without positional arguments whose repeatable options take several values at once.

    ``--input a b`` then means ``--input a --input b``; both work.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        repeatable = {
            name for option in self.params if getattr(option, "multiple", False) for name in option.opts
        }
        spread: list[str] = []
        current = ""
        for arg in args:
            if arg.startswith("-") and arg != "-":
                current = arg if arg in repeatable else ""
            elif current and spread[-1] != current:
                spread.append(current)
            spread.append(arg)
        return super().parse_args(ctx, spread)
