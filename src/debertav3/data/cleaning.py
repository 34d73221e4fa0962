"""Cleaning of one document's text, on request, before duplicates are looked for."""

import re

_LINE_ENDS = re.compile(r"\r\n|[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff\ufffe\uffff]")
_SPACES = re.compile(r"[ \t\u00a0]+")
MIN_CHARS = 100
MIN_LETTER_SHARE = 0.6


def clean_text(text: str) -> str | None:
    """Remove control characters, squeeze spaces, drop empty and directly repeated lines.

    Returns:
        The cleaned text, or None if fewer than 100 characters are left or fewer than 60 % of those that are
        not spaces are letters (tables, markup, binary rubbish).
    """
    kept: list[str] = []
    for line in _LINE_ENDS.split(text):
        line = _SPACES.sub(" ", _CONTROL.sub("", line)).strip()
        if line and (not kept or line != kept[-1]):
            kept.append(line)
    cleaned = "\n".join(kept)
    if len(cleaned) < MIN_CHARS:
        return None
    visible = sum(not character.isspace() for character in cleaned)
    letters = sum(character.isalpha() for character in cleaned)
    return cleaned if letters >= MIN_LETTER_SHARE * visible else None
