"""Every notebook runs as it is, and is thin: import a name, call it."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))  # and not what JupyterLab keeps in folders beside them
#: The course, in its order; the index lists them all, and the dashboard.
COURSE = (
    "00_start_here",
    "01_root_models",
    "02_depth_exits_and_split",
    "03_parameter_pruning_and_nesting",
    "04_bits_and_mixed_precision",
    "05_three_levels_together",
    "06_bytes_on_the_air",
    "07_rates",
    "08_from_situation_to_submodel",
    "09_library_and_network",
    "10_swap_and_predict",
    "11_open_problems",
    "12_sweeps_on_a_cluster",
    "13_bring_your_own",
)
GLOSSARY = FOLDER.parent / "docs" / "glossary.md"
CELLS_LIMIT = 6
LINES_LIMIT = 40

every_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=lambda path: str(path.relative_to(FOLDER))
)


course_notebook = pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem in COURSE], ids=lambda path: path.stem
)


def cells_of(path):
    return nbformat.read(path, as_version=4).cells


def code_cells(path):
    return code_cells_of(nbformat.read(path, as_version=4))


def code_cells_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(path):
    return "\n\n".join(cell.source for cell in cells_of(path) if cell.cell_type == "markdown")


def place(cells, kind, pattern):
    """Where the first cell of a kind stands that holds a pattern."""
    found = [
        number
        for number, cell in enumerate(cells)
        if cell.cell_type == kind and re.search(pattern, cell.source, flags=re.MULTILINE)
    ]
    assert found, f"no {kind} cell holds {pattern}"
    return found[0]


def links(text):
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors():
    """The glossary's terms, as a link names them."""
    heads = re.findall(r"^## (.+)$", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [head.lower().replace(" ", "-") for head in heads]


def test_there_are_notebooks():
    assert (FOLDER / "dashboard.ipynb") in NOTEBOOKS


@every_notebook
def test_no_outputs_are_committed(path):
    for cell in code_cells(path):
        assert cell.outputs == [], "strip it: nbstripout " + str(path)
        assert cell.execution_count is None, "strip it: nbstripout " + str(path)


@every_notebook
def test_it_is_thin(path):
    cells = code_cells(path)
    lines = [line.strip() for cell in cells for line in cell.source.splitlines()]
    code = [line for line in lines if line and not line.startswith("#")]
    assert len(cells) <= CELLS_LIMIT
    assert len(code) <= LINES_LIMIT


@every_notebook
def test_it_defines_nothing(path):
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for cell in code_cells(path):
        found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, definitions)]
        assert [node.name for node in found] == [], "move it into the package"


def test_every_notebook_has_its_place_in_the_course():
    assert {path.stem for path in NOTEBOOKS} - {*COURSE, "dashboard"} == set()


def test_the_index_lists_the_whole_course_in_its_order():
    listed = [link for link in links(prose(FOLDER / "00_start_here.ipynb")) if "ipynb" in link]
    assert listed == [f"{name}.ipynb" for name in (*COURSE[1:], "dashboard")]


@course_notebook
def test_it_has_the_courses_parts_in_their_order(path):
    cells = cells_of(path)
    first = cells[0].source
    assert first.startswith("# ")
    parts = [first.find(f"**What you {part}.**") for part in ("will do", "will learn", "need")]
    assert 0 < parts[0] < parts[1] < parts[2], parts
    order = [
        place(cells, "markdown", r"^## The idea$"),
        place(cells, "code", r"^(from|import) "),
        place(cells, "code", r"_panel\("),
        place(cells, "markdown", r"^## Three questions$"),
        place(cells, "markdown", r"^## One claim, checked$"),
        place(cells, "code", r"^ *assert "),
    ]
    assert order == sorted(order)
    idea = cells[order[0]].source
    assert idea.count("$$") == 2, "one formula"
    assert re.search(r"sections? \d", idea), "the paper's section"
    questions = cells[order[3]].source
    assert len(re.findall(r"^[123]\. ", questions, flags=re.MULTILINE)) == 3
    assert questions.count("<details><summary>Answer</summary>") == 3
    assert questions.count("</details>") == 3


@course_notebook
def test_it_imports_in_one_cell_and_asserts_in_the_last(path):
    cells = code_cells(path)
    importing = [c for c in cells if re.search(r"^(from|import) ", c.source, flags=re.MULTILINE)]
    asserting = [c for c in cells if re.search(r"^ *assert ", c.source, flags=re.MULTILINE)]
    assert importing == cells[:1]
    assert asserting == cells[-1:]


def test_the_glossary_is_in_order_and_each_term_is_there_once():
    terms = anchors()
    assert len(terms) > 30
    assert terms == sorted(set(terms))


@pytest.mark.parametrize("path", [*NOTEBOOKS, GLOSSARY], ids=lambda path: path.stem)
def test_its_links_resolve(path):
    terms = set(anchors())
    text = prose(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    for link in links(text):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        there = path.parent / target if target else path
        later = there.stem in COURSE and there.suffix == ".ipynb"
        assert later or there.is_file(), link
        assert not anchor or anchor in terms, link


def test_the_notebooks_link_the_glossary():
    for name in ("00_start_here", "01_root_models", "02_depth_exits_and_split"):
        assert "../docs/glossary.md#" in prose(FOLDER / f"{name}.ipynb")


@every_notebook
@pytest.mark.notebook
def test_it_runs(path):
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    for cell in code_cells_of(notebook):  # what fails while it is displayed does not stop a cell
        assert "Traceback" not in str(cell.outputs)
