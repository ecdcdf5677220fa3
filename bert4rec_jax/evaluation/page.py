"""One HTML file that needs nothing else: no script, no network, pictures inside.

Every function takes plain text and escapes it, except for the parts of `beside`, `section` and
`document`, which are markup that the others made.
"""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

_STYLE = """
:root { color-scheme: light; --ink: #222; --faint: #666; --line: #d9d9d9; --blue: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1.5rem 1rem 4rem; color: var(--ink);
  background: #fff; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
p, figcaption { margin: .4rem 0; max-width: 46rem; }
.note, figcaption { color: var(--faint); font-size: .875rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem;
  list-style: none; margin: 1.2rem 0 0; padding: 0; }
.tiles li { border: 1px solid var(--line); border-top: 3px solid var(--blue); border-radius: 4px;
  padding: .6rem .8rem; font-size: .875rem; }
.tiles b { display: block; font-size: 1.7rem; font-weight: 600; line-height: 1.3; }
.tiles span { display: block; color: var(--faint); }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr));
  gap: 1.2rem; align-items: start; margin: .8rem 0; }
.beside > * { min-width: 0; }
.beside > table { justify-self: start; }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; }
.scroll { overflow-x: auto; margin: .8rem 0 1.2rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums;
  line-height: 1.35; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .22rem 0 .22rem .75rem; text-align: right; vertical-align: baseline;
  white-space: nowrap; }
tr > :first-child { text-align: left; font-weight: 400; padding-left: 0; }
thead th { color: var(--faint); font-weight: 400; border-bottom: 1px solid var(--line); }
caption small { display: block; color: var(--faint); font-weight: 400; }
table.settings { margin: .8rem 0; }
table.settings td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
@media (max-width: 30rem) { table { font-size: .8rem; } th, td { padding-left: .5rem; } }
@media print { section { break-inside: avoid; } body { max-width: none; } }
"""


# Units of the page for one dot of a picture, so that screens with finer dots show them.
_SHOWN = 0.58


class Figure(NamedTuple):
    """Attributes:
    name: of the file, without its ending.
    png: the picture.
    text: what it shows, for those who cannot see it.
    caption: below it; may be empty.
    """

    name: str
    png: bytes
    text: str
    caption: str = ""


def paragraph(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    explanation: str = "",
) -> str:
    """A table of numbers; wider than a phone, it scrolls by itself.

    The first cell of a row names it; `explanation` stands below `caption`.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    small = f"<small>{escape(explanation)}</small>" if explanation else ""
    title = f"<caption>{escape(caption)}{small}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(map(_row, rows))}</tbody></table></div>"
    )


def settings(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """Names and values, without a header."""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<table class="settings">{title}<tbody>{"".join(map(_row, rows))}</tbody></table>'


def tiles(entries: Iterable[tuple[str, str, Sequence[str]]]) -> str:
    """The few numbers to see first: (what it is, the number, lines below it) each."""
    made = [
        f"<li>{escape(name)}<b>{escape(number)}</b>"
        + "".join(f"<span>{escape(line)}</span>" for line in lines)
        + "</li>"
        for name, number, lines in entries
    ]
    return f'<ul class="tiles">{"".join(made)}</ul>'


def figure(picture: Figure) -> str:
    width, height = (round(extent * _SHOWN) for extent in _size(picture.png))
    data = base64.b64encode(picture.png).decode("ascii")
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return (
        f'<figure><img alt="{escape(picture.text)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{data}">'
        f"{caption}</figure>"
    )


def beside(parts: Iterable[str]) -> str:
    """Markup side by side where there is room."""
    body = "".join(parts)
    return f'<div class="beside">{body}</div>' if body else ""


def section(title: str, parts: Iterable[str]) -> str:
    """A heading over markup; nothing where there is no markup."""
    body = "\n".join(filter(None, parts))
    return f"<section><h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def document(title: str, subtitle: str, parts: Iterable[str]) -> str:
    body = "\n".join(filter(None, parts))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(title)}</h1>\n<p class="note">{escape(subtitle)}</p></header>\n'
        f"{body}\n</body>\n</html>\n"
    )


def _size(png: bytes) -> tuple[int, int]:
    """Width and height in dots, from the header that begins every PNG file."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def _row(cells: Sequence[str]) -> str:
    name, *values = cells
    return (
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(value)}</td>" for value in values)
        + "</tr>"
    )
