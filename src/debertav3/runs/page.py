"""The page of a run's report: one self-contained HTML file, readable on screens from 400 pixels."""

from collections.abc import Callable, Sequence
from functools import cache

from ..errors import MissingExtraError

STYLE = """
:root { color-scheme: light; --line: #d8dde3; --soft: #f4f6f8; --ink: #1c2733; --dim: #4a5866; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 1.5rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .75rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .25rem 0 1rem; color: var(--dim); }
.warning { border-left: 4px solid #b25b00; padding-left: .75rem; margin: .5rem 0; color: var(--ink); }
.figures { display: grid; gap: 1.5rem 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
figure { margin: 0; }
figure b { display: block; }
figure svg { width: 100%; height: auto; }
figcaption { font-size: .9rem; color: var(--dim); }
.numbers { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.numbers div { background: var(--soft); border-radius: .5rem; padding: .6rem 1rem; flex: 1 1 8rem;
  max-width: 16rem; }
.numbers b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.numbers span { font-size: .85rem; color: var(--dim); }
.scroll { overflow-x: auto; margin: .5rem 0 1.25rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
th { background: var(--soft); font-weight: 600; overflow-wrap: normal; }
td { white-space: nowrap; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
td:first-child { white-space: normal; overflow-wrap: break-word; }
td.text { white-space: normal; overflow-wrap: anywhere; }
td.text { min-width: 8rem; }
summary { cursor: pointer; color: #0b5cad; margin: .75rem 0; }
pre { background: var(--soft); padding: .75rem; white-space: pre-wrap; font-size: .85rem; }
@media (max-width: 44rem) {
  body { padding: 1rem; }
  th, td { padding: .3rem .25rem; font-size: .8rem; }
  td.text { min-width: 0; }
  .cards table, .cards tbody, .cards tr, .cards td { display: block; min-width: 0; text-align: left;
    white-space: normal; }
  .cards thead { display: none; }
  .cards tr { border: 1px solid var(--line); border-radius: .5rem; margin: .75rem 0; padding: .25rem 0; }
  .cards td { border: 0; padding: .2rem .75rem; font-size: .9rem; }
  .cards td::before { content: attr(data-name) ": "; color: var(--dim); font-size: .85rem; }
}
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>{{ style|safe }}</style></head>
<body>
<h1>{{ title }}</h1>
{% for part in parts %}{{ part|safe }}
{% endfor %}</body></html>
"""
_TABLE = """<div class="scroll{{ ' cards' if as_cards }}"><table>
{%- if header %}<thead><tr>
{%- for name in header %}<th{{ ' class="text"'|safe if loop.index0 in texts }}>{{ name }}</th>{% endfor -%}
</tr></thead>{% endif %}<tbody>
{%- for row in rows %}<tr>
{%- for cell in row -%}
<td{{ ' class="text"'|safe if loop.index0 in texts }}
{%- if as_cards %} data-name="{{ header[loop.index0] }}"{% endif %}>{{ cell }}</td>
{%- endfor %}</tr>{% endfor -%}
</tbody></table></div>"""
_PARAGRAPH = "<p{{ ' class=\"warning\"'|safe if is_warning }}>{{ text }}</p>"
_NUMBERS = """<div class="numbers">
{%- for name, value in figures %}<div><b>{{ value }}</b><span>{{ name }}</span></div>{% endfor -%}
</div>"""
_FIGURE = (
    "<figure>{% if title %}<b>{{ title }}</b>{% endif %}{{ svg|safe }}"
    "<figcaption>{{ caption }}</figcaption></figure>"
)
_HEADING = "<h{{ level }}>{{ text }}</h{{ level }}>"


def require() -> None:
    """Check before a long training that its report can be written.

    Raises:
        MissingExtraError: without jinja2.
    """
    _template(_HEADING)


@cache
def _template(source: str) -> Callable[..., str]:
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError(feature="report.html", package="jinja2", extra="train") from error
    return jinja2.Environment(autoescape=True).from_string(source).render


def page(title: str, parts: Sequence[str]) -> str:
    """Return a whole page.

    Args:
        title: title of the page, escaped here like every text in this module.
        parts: HTML from the other functions, in order.
    """
    return _template(_PAGE)(title=title, style=STYLE, parts=parts)


def heading(text: str, *, level: int = 2) -> str:
    """Return a heading of level 2 or 3."""
    return _template(_HEADING)(text=text, level=level)


def paragraph(text: str, *, is_warning: bool = False) -> str:
    """Return a paragraph; a warning is marked at its side."""
    return _template(_PARAGRAPH)(text=text, is_warning=is_warning)


def numbers(figures: Sequence[tuple[str, str]]) -> str:
    """Return the headline figures.

    Args:
        figures: name and value of each.
    """
    return _template(_NUMBERS)(figures=figures)


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    text_columns: Sequence[int] = (),
    as_cards: bool = False,
) -> str:
    """Return a table.

    Args:
        header: names of the columns; none for a list of names and values.
        rows: cells: texts, or numbers formatted for reading.
        text_columns: indices of columns with running text; the others have numbers or short words.
        as_cards: show each row as a card on narrow screens, for tables with too many columns for them.
    """
    return _template(_TABLE)(header=header, rows=rows, texts=set(text_columns), as_cards=as_cards)


def figure(svg: str, caption: str, *, title: str = "") -> str:
    """Return a plot.

    Args:
        svg: the element, not escaped.
        caption: below it.
        title: above it.
    """
    return _template(_FIGURE)(svg=svg, caption=caption, title=title)
