"""Errors caused by bad input; every message says how to fix it."""


class UserError(ValueError):
    """Bad input. The message says what was got, what is needed and what to do, in one line.

    The command line prints it to stderr without a traceback and exits with code 2.
    """


class MissingExtraError(UserError, ImportError):
    """A feature needs a package that is not installed."""

    def __init__(self, *, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed. "
            f"Run: pip install 'debertav3[{extra}]'"
        )


class DivergedError(UserError):
    """A training ended without usable weights: its loss or its weights are no longer finite numbers."""
