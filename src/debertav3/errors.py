"""Errors caused by bad input; every message says how to fix it."""

from operator import index


class UserError(ValueError):
    """Bad input. The message says in one line what was given, what is needed and what to do.

    The command line prints it to stderr without a traceback and exits with code 2.
    """


def whole_number(value: object, *, name: str, least: int) -> int:
    """A setting that counts something, as an int.

    Args:
        value: as given: an int, or what stands for one, such as numpy's.
        name: of the setting.
        least: the smallest that has a meaning.

    Raises:
        UserError: for anything else.
    """
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least:
        raise UserError(f"{name} must be a whole number, at least {least}; got {value!r}.")
    return number


EXTRA_OF = {
    "torch": "torch",
    "transformers": "torch",
    "accelerate": "train",
    "datasets": "train",
    "tensorboard": "train",
    "sklearn": "train",
    "scipy": "train",
    "pyarrow": "train",
}
"""The extra in ``pyproject.toml`` that installs each package, for packages that are imported directly."""


class MissingExtraError(UserError, ImportError):
    """A feature needs a package that is not installed."""

    @classmethod
    def of(
        cls, error: ModuleNotFoundError, *, feature: str, extra: str | None = None
    ) -> "MissingExtraError | None":
        """The error for a failed import; None if no extra installs the package.

        Args:
            error: the failed import.
            feature: what needs the package.
            extra: installs all that the feature needs; None means the one that installs the package.
        """
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            return None
        return cls(feature=feature, package=package, extra=extra or EXTRA_OF[package])

    def __init__(self, *, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed. "
            f"Run: pip install 'debertav3[{extra}]'"
        )


class DivergedError(UserError):
    """Training ended without usable weights: the loss or the weights are no longer finite."""
