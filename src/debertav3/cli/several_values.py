"""``--input a b c``: several values after one flag, as people type them and shells expand them."""

from typing import Any

from typer.core import TyperCommand


class SeveralValues(TyperCommand):
    """A command whose repeatable options take several values at once.

    ``--input a b`` then means ``--input a --input b``; both work. Where there is a positional argument,
    ``--set`` takes one value, so that ``finetune --set epochs=1 nli`` means what it says.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        has_positional = any(parameter.param_type_name == "argument" for parameter in self.params)
        repeatable = {
            name for option in self.params if getattr(option, "multiple", False) for name in option.opts
        }
        if has_positional:
            repeatable.discard("--set")
        spread: list[str] = []
        current = ""
        for arg in args:
            if arg.startswith("-") and arg != "-":
                current = arg if arg in repeatable else ""
            elif current and spread[-1] != current:
                spread.append(current)
            spread.append(arg)
        return super().parse_args(ctx, spread)
