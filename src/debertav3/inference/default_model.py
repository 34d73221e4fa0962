"""Where the small model is that comes with the package."""

from pathlib import Path

from ..errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


def default_model() -> Path:
    """The folder of ``nano``: in a checkout ``models/nano``, in an installed wheel beside the code.

    Raises:
        UserError: if it is in neither place.
    """
    places = (_PACKAGE.parents[1] / "models" / "nano", _PACKAGE / "nano")
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise UserError(
        f"the small model that comes with the package is not there (looked in {places[0]} and {places[1]}). "
        "Name one with --model: a checkpoint folder or a Hub name"
    )
