"""Every notebook runs as it is, and is thin: import a name, call it."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))  # and not what JupyterLab keeps in folders beside them
CELLS_LIMIT = 6
LINES_LIMIT = 40

every_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=lambda path: str(path.relative_to(FOLDER))
)


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


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


@every_notebook
@pytest.mark.notebook
def test_it_runs(path):
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
