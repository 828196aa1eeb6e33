"""The page of an executed course: a table of what passed, then the labs. It fetches nothing."""

from __future__ import annotations

import base64
import mimetypes
import re
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import unquote

from nbconvert import HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1b1f24;background:#fff;margin:0 auto;
 padding:1rem 1.5rem 4rem;max-width:1060px}
a{color:#0072b2}
img,svg{max-width:100%;height:auto}
section{border-top:3px solid #1b1f24;margin-top:3rem}
pre,code{font:13px/1.45 ui-monospace,Menlo,Consolas,monospace}
pre{margin:0;white-space:pre-wrap}
table{border-collapse:collapse;margin:.5rem 0;font-size:14px}
th,td{border:1px solid #e5e7eb;padding:.25rem .6rem;text-align:left;vertical-align:top}
td.number{text-align:right}
.failed{color:#a84300;font-weight:bold}
.passed{color:#00664a}
.anchor-link,.jp-MarkdownCell .jp-InputPrompt{display:none}
.jp-CodeCell{margin:.8rem 0}
.jp-InputPrompt,.jp-OutputPrompt{font:12px ui-monospace,monospace;color:#6b7280}
.jp-InputArea-editor{background:#f6f7f9;border:1px solid #e5e7eb;padding:.5rem .7rem}
.jp-OutputArea-child{padding:.3rem .7rem;overflow-x:auto}
.jp-RenderedText[data-mime-type$=stderr]{background:#fdf1ea}
.jp-Mermaid{border-left:3px solid #e5e7eb;padding-left:.7rem}
.jp-Mermaid::before{content:"A diagram in Mermaid's notation; JupyterLab draws it:"}
details{border:1px solid #e5e7eb;padding:.4rem .7rem;margin:.5rem 0}
summary{cursor:pointer}
.ansi-red-fg,.ansi-red-intense-fg{color:#a84300}
.ansi-green-fg,.ansi-green-intense-fg{color:#00664a}
.ansi-blue-fg,.ansi-blue-intense-fg{color:#0072b2}
.ansi-cyan-fg{color:#00626e}
.ansi-bold{font-weight:bold}
"""

TEMPLATE = """
{%- extends 'lab/base.html.j2' -%}
{%- block data_png scoped -%}
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
 alt="{{ output | get_metadata('alt', 'image/png') | string | escape_html }}">
{%- endblock data_png -%}
"""
"""nbconvert's cells, without its page around them, and with alt text, which it drops."""

_SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
_LOCAL_IMAGE = re.compile(r'(?P<before><img\b[^>]*\b)src="(?P<name>[^":]+)"')
_LAB_LINK = re.compile(r'href="(?:[^"/]*/)*(\d\d)-[^"/]*\.ipynb[^"]*"')


@dataclass(frozen=True)
class Row:
    """One executed lab.

    Attributes:
        path: its file.
        notebook: with the outputs of this run.
        cells: how many code cells it has.
        done: how many of them ran.
        seconds: how long it took.
        failure: what stopped it, or None.
        skipped: what it needs and did not find, or None.
    """

    path: Path
    notebook: NotebookNode
    cells: int
    done: int
    seconds: float
    failure: str | None
    skipped: str | None = None

    @property
    def result(self) -> str:
        """In words."""
        if self.skipped and self.failure is None:
            return f"skipped: {self.skipped}"
        return "passed" if self.failure is None else f"FAILED at {self.failure}"

    @property
    def anchor(self) -> str:
        """Where it is in the page."""
        return f"lab-{self.path.stem[:2]}"

    @property
    def title(self) -> str:
        """Its first heading."""
        for cell in self.notebook.cells:
            for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
                if line.startswith("# "):
                    return line[2:].strip()
        return self.path.stem


def page(rows: list[Row], broker: str) -> str:
    """The whole course as one HTML page."""
    failed = sum(row.failure is not None for row in rows)
    skipped = sum(row.failure is None and row.skipped is not None for row in rows)
    verdict = f"{failed} of {len(rows)} labs failed" if failed else f"All {len(rows)} labs passed"
    if skipped and not failed:
        verdict = f"{len(rows) - skipped} labs passed, {skipped} skipped"
    when = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    style = STYLE + HtmlFormatter(style="default").get_style_defs(".highlight")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Messaging Lab: {verdict}</title><style>{style}</style></head><body>"
        f"<h1>Messaging Lab, executed</h1><p><strong>{verdict}</strong>, on {escape(broker)}, "
        f"{when}.</p>{_table(rows)}<main>{''.join(map(_section, rows))}</main></body></html>\n"
    )


def _table(rows: list[Row]) -> str:
    lines = [
        f'<tr><td>{row.path.stem[:2]}</td><td><a href="#{row.anchor}">{escape(row.title)}</a></td>'
        f'<td class="number">{row.done} of {row.cells}</td>'
        f'<td class="number">{row.seconds:.1f}</td>'
        f'<td class="{"failed" if row.failure else "passed"}">{escape(row.result)}</td></tr>'
        for row in rows
    ]
    heads = ("lab", "title", "cells run", "seconds", "result")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _section(row: Row) -> str:
    """One lab, without the scripts and style sheets that nbconvert's own pages fetch."""
    exporter = HTMLExporter(raw_template=TEMPLATE)
    body, _ = exporter.from_notebook_node(row.notebook)
    body = _LAB_LINK.sub(r'href="#lab-\1"', _SCRIPT.sub("", body))
    body = _LOCAL_IMAGE.sub(lambda found: _embedded(found, row.path.parent), body)
    return f'<section id="{row.anchor}">{body}</section>'


def _embedded(found: re.Match[str], folder: Path) -> str:
    """The picture that a text shows from a file, in the page. (nbconvert's own way of doing it
    closes every `<details>` at once.)"""
    picture = folder / unquote(found["name"])
    if not picture.is_file():
        return found[0]
    kind = mimetypes.guess_type(picture.name)[0] or "image/png"
    data = base64.b64encode(picture.read_bytes()).decode("ascii")
    return f'{found["before"]}src="data:{kind};base64,{data}"'
