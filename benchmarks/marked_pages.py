"""Tables that scripts write into a page of the documents, between two marks."""

from collections.abc import Sequence
from pathlib import Path


def put_into(page: Path, lines: Sequence[str], *, begin: str, end: str) -> None:
    """Replace what is between two marks of a page.

    Args:
        page: a Markdown file.
        lines: what belongs there.
        begin: the line before it.
        end: the line after it.
    """
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} lacks the lines {begin} and {end}: add them where the table belongs")
    page.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}", encoding="utf-8")
