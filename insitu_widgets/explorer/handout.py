"""The handout: the course as pages without a kernel, for the day when no server answers.

``python -m insitu_widgets.explorer.handout`` (``make handout``) runs every notebook here and writes
its text, its code, what it printed and its panels' figures, which stay interactive, as HTML. The
pages open from a file, on any machine, offline; Plotly is there once. Formulas are MathML.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from nbconvert.filters import markdown2html

from insitu_widgets.cards import ROOTS
from insitu_widgets.explorer import figures, words
from insitu_widgets.explorer.charts import plotly_source
from insitu_widgets.explorer.classwork.predict_first import CURVE, PredictFirst
from insitu_widgets.explorer.dashboard import TITLES, Board
from insitu_widgets.explorer.panels import Panel
from insitu_widgets.explorer.state import Explorer
from insitu_widgets.network.situation import PRESETS, candidates

_HERE = Path(__file__).parent
INDEX = "00_start_here"
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", flags=re.DOTALL)
_LIVE = "In the live notebook your answers are kept and saved here; that needs a kernel."


def build(notebooks: Sequence[Path], glossary: Path, out: Path) -> Iterator[Path]:
    """Write the pages of ``notebooks`` and of the glossary into ``out``; yields each page.

    Links to notebooks that are not among them become plain text.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "plotly.min.js").write_text(plotly_source(), encoding="utf-8")
    shutil.copy(_HERE / "page.css", out)
    shutil.copy(_HERE / "handout.css", out)
    shutil.copy(_HERE / "handout.js", out)
    names = [path.stem for path in notebooks]
    for path in notebooks:
        page = out / _address(path.stem)
        title, body = _notebook(path)
        page.write_text(_page(title, _linked(body, names), names, path.stem), encoding="utf-8")
        yield page
    page = out / "glossary.html"
    body = _anchored(_prose(glossary.read_text(encoding="utf-8")))
    page.write_text(_page("Glossary", _linked(body, names), names, "glossary"), encoding="utf-8")
    yield page


def _address(name: str) -> str:
    return "index.html" if name == INDEX else f"{name}.html"


def _notebook(path: Path) -> tuple[str, str]:
    """Title and body of a notebook's page; its code is run here."""
    notebook = nbformat.read(path, as_version=4)
    title = notebook.metadata.get("title", path.stem)
    shown: list[Any] = []
    space: dict[str, Any] = {"display": lambda *things: shown.extend(things), "__name__": path.stem}
    parts: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(_prose(cell.source))
            continue
        printed = io.StringIO()
        with redirect_stdout(printed):
            _run(cell.source, space)
        parts.append(f'<pre class="code"><code>{escape(cell.source)}</code></pre>')
        if printed.getvalue():
            parts.append(f'<pre class="printed">{escape(printed.getvalue())}</pre>')
        parts += [_widget(thing) for thing in shown]
        shown.clear()
    body = "\n".join(parts)
    return title, body if "<h1" in body else f"<h1>{escape(title)}</h1>{body}"


def _run(source: str, space: dict[str, Any]) -> None:
    """Run a cell of one of our own notebooks; what its last line is worth is displayed."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        call = ast.Call(ast.Name("__last__", ast.Load()), [last.value], [])
        tree.body[-1] = ast.copy_location(ast.Expr(call), last)
    show: Callable[..., object] = space["display"]
    space["__last__"] = lambda value: None if value is None else show(value)
    exec(compile(ast.fix_missing_locations(tree), "<cell>", "exec"), space)  # noqa: S102


def _prose(text: str) -> str:
    """Markdown as HTML, with formulas as MathML."""
    formulas: list[str] = []

    def keep(found: re.Match[str]) -> str:
        display = "block" if found[1] else "inline"
        formulas.append(convert(found[1] or found[2], display=display))
        return f"FORMULA{len(formulas) - 1}END"

    html = markdown2html(_FORMULA.sub(keep, text))
    html = re.sub(r'<a class="anchor-link".*?</a>', "", html)
    return re.sub(r"FORMULA(\d+)END", lambda found: formulas[int(found[1])], html)


def _anchored(html: str) -> str:
    """Each term's heading with the name that links to it use."""

    def named(found: re.Match[str]) -> str:
        name = found[1].strip().lower().replace(" ", "-")
        return f'<h2 id="{name}">{found[1]}</h2>'

    return re.sub(r"<h2[^>]*>(.*?)</h2>", named, html)


def _linked(html: str, names: Sequence[str]) -> str:
    """Links between notebooks as links between pages."""
    html = html.replace("../docs/glossary.md", "glossary.html")

    def link(found: re.Match[str]) -> str:
        name, text = found[1], found[2]
        return f'<a href="{_address(name)}">{text}</a>' if name in names else text

    return re.sub(r'<a href="([^"/]+)\.ipynb">(.*?)</a>', link, html)


def _widget(thing: Any) -> str:
    """A panel as HTML; what needs a kernel is named."""
    if isinstance(thing, PredictFirst):
        thing.settle()
        inner = _panel(thing.view) if isinstance(thing.view, Panel) else _catalogue()
        return (
            f'<section class="insitu insitu-panel insitu-question"><p><b>Predict first.</b> '
            f"{escape(thing.question.text)}</p><details><summary>I have written down my "
            f"prediction: show the panel</summary>{inner}</details></section>"
        )
    if isinstance(thing, Panel):
        return _panel(thing)
    return _catalogue() if isinstance(thing, Board) else f'<p class="needs-kernel">{_LIVE}</p>'


def _panel(panel: Panel) -> str:
    settings = ", ".join(
        f"{control.description} {getattr(control, 'label', None) or control.value}"
        for name, control in panel.controls.items()
        if name != "upload"
    )
    charts = {name: c for name, c in panel.charts.charts.items() if name != CURVE}
    cards = "".join(_figure(chart) for chart in charts.values())
    return (
        f'<section class="insitu insitu-panel">{panel.children[0].value}'
        f'<p class="insitu-quiet">{escape(settings)}</p>'
        f'<div class="insitu-words">{panel.words.value}</div>'
        f'<div class="insitu-charts">{cards}</div></section>'
    )


def _figure(chart: dict[str, Any]) -> str:
    return (
        f'<figure class="insitu-card"><figcaption>{escape(chart["title"])}</figcaption>'
        f'<div class="insitu-plot" role="img" aria-label="{escape(chart["text"])}"></div>'
        f"{_data(chart['spec'])}</figure>"
    )


def _data(value: object) -> str:
    """Plain values for the page's script; no text in them can end the element."""
    text = json.dumps(value).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'


def _catalogue() -> str:
    """The catalogue without a kernel: every preset with every root, to be chosen from lists."""
    roots = [name for name, card in ROOTS.items() if card.data == "digits"]
    states = {f"{root}|{preset}": _state(root, preset) for root in roots for preset in PRESETS}
    lists = "".join(
        f'<label>{label} <select name="{key}">'
        + "".join(f"<option>{escape(name)}</option>" for name in names)
        + "</select></label> "
        for label, key, names in (("Root model", "root", roots), ("Situation", "preset", PRESETS))
    )
    first = next(iter(states.values()))
    cards = "".join(
        f'<figure class="insitu-card" data-chart="{name}"><figcaption>{escape(chart["title"])}'
        f'</figcaption><div class="insitu-plot" role="img" '
        f'aria-label="{escape(chart["text"])}"></div></figure>'
        for name, chart in first["charts"].items()
    )
    return (
        f'<section class="insitu insitu-panel insitu-catalogue">'
        f'<h2 class="insitu-name">The catalogue, without a kernel</h2>'
        f'<p class="insitu-provenance">Accuracies are the shipped measurements; the live dashboard '
        f"measures anew.</p><p>{lists}</p>"
        f'<p class="insitu-sentence" aria-live="polite">{first["sentence"]}</p>'
        f'<div class="insitu-charts">{cards}</div>{_data(states)}</section>'
    )


def _state(root: str, preset: str) -> dict[str, Any]:
    explorer = Explorer(replace(PRESETS[preset], root=root), measuring=False)
    situation, decision, catalogue = explorer.situation, explorer.decision, explorer.catalogue
    texts = figures.describe(situation, decision, None)
    rows = candidates(situation, catalogue)
    specs = {
        "accuracy": figures.accuracy_against_size(situation, decision, rows, None),
        "errors": figures.accuracy_against_errors(situation, decision, catalogue, (), None),
    }
    charts = {
        name: {"title": TITLES[name], "text": texts[name].replace("not measured yet", "in the "
               "catalogue"), "spec": spec}
        for name, spec in specs.items()
    }  # fmt: skip
    return {"sentence": words.sentence(explorer), "charts": charts}


def _page(title: str, body: str, names: Sequence[str], here: str) -> str:
    items = "".join(
        f'<li><a href="{_address(name)}"{_current(name == here)}>{escape(name)}</a></li>'
        for name in names
    )
    items += f'<li><a href="glossary.html"{_current(here == "glossary")}>glossary</a></li>'
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} – In-situ Explorer</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="page.css">'
        '<link rel="stylesheet" href="handout.css"></head><body>'
        f'<nav aria-label="The course"><ul>{items}</ul></nav><main>{body}</main>'
        '<script src="plotly.min.js"></script><script src="handout.js"></script></body></html>'
    )


def _current(here: bool) -> str:  # noqa: FBT001
    return ' aria-current="page"' if here else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: build the handout of a folder of notebooks."""
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.explorer.handout",
        description="Write the course as pages that open from a file, offline.",
    )
    parser.add_argument("--notebooks", type=Path, default=Path("notebooks"))
    parser.add_argument("--glossary", type=Path, default=Path("docs") / "glossary.md")
    parser.add_argument("--out", type=Path, default=Path("build") / "handout")
    options = parser.parse_args(arguments)
    found = sorted(options.notebooks.glob("*.ipynb"))
    if not found or not options.glossary.is_file():
        parser.error("Run this from the root of the repository, where notebooks/ and docs/ are.")
    start = time.perf_counter()
    for page in build(found, options.glossary, options.out):
        print(f"{time.perf_counter() - start:6.1f} s  {page}", flush=True)
    print(f"Open {options.out / 'index.html'} in a browser; no server is needed.")


if __name__ == "__main__":
    main()
