"""The house: arrows run downwards only, and each foreign library has one room."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import insitu_widgets

PACKAGE = Path(insitu_widgets.__file__).parent
FLOORS = ["levels", "air", "network", "explorer", "classroom"]
BESIDE_ROOTS = {
    *("cards", "cifar100", "cpus", "data", "errors", "estimate", "evaluate", "roots", "units"),
    *("inference", "remembered", "vision"),
    *("augment", "checkpoint", "model_card", "plans", "train"),
}
PROGRAMS = {"serve", "page_server", "train", "classroom"}
#: Rooms inside ``explorer`` that stand on the rest of it, and its program, which stands above them.
ON_THE_EXPLORER = ("explorer.course", "explorer.classwork")
HANDOUT = "explorer.handout"
LEVELS = {"levels.depth", "levels.parameter", "levels.bit"}


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {name: path for name, path in FILES.items() if name}


def imported(tree):
    """Absolute names of all that a tree imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrows"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(names):
    """Which of the package's own modules are among the names."""
    inner = {name.removeprefix("insitu_widgets.") for name in names if "insitu_widgets." in name}
    return inner & MODULES.keys()


def foreign(names):
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def tree_of(module):
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


ARROWS = {module: ours(imported(tree_of(module))) for module in MODULES}
FOREIGN = {module: foreign(imported(tree_of(module))) for module in FILES}


def floor(module):
    top = module.partition(".")[0]
    return FLOORS.index(top) + 1 if top in FLOORS else 0


def test_the_walk_sees_the_house():
    assert len(MODULES) > 20
    assert "levels.derive" in ARROWS["air.payload"]
    assert "torch" in FOREIGN["roots"]
    rooms = {module.partition(".")[0] for module in MODULES}
    assert rooms == {*FLOORS, *BESIDE_ROOTS, *PROGRAMS}


@pytest.mark.parametrize("module", MODULES)
def test_arrows_run_downwards_only(module):
    upwards = {other for other in ARROWS[module] if floor(other) > floor(module)}
    assert upwards == set()


def test_roots_stand_on_errors_and_cards_only():
    assert ARROWS["roots"] <= {"errors", "cards", "cpus", "vision"}
    assert ARROWS["errors"] == ARROWS["cpus"] == set()
    for beside in ("cards", "estimate", "plans", "remembered", "units"):
        assert ARROWS[beside] <= {"errors"}
    assert ARROWS["cifar100"] <= {"errors", "vision"}
    assert ARROWS["data"] <= {"errors", "cifar100"}


def test_nothing_imports_the_command_line_programs():
    for module, arrows in ARROWS.items():
        programs = {each for each in arrows if each.partition(".")[0] in PROGRAMS}
        inside = module.partition(".")[0] == "classroom"  # it serves as ``serve`` does, to many
        assert not programs or (inside and "train" not in programs), module


def test_the_three_levels_do_not_know_each_other():
    for level in LEVELS:
        assert not ARROWS[level] & {name for name in MODULES if name.startswith("levels.")}


def test_only_derive_knows_all_three():
    knowing = {module for module, arrows in ARROWS.items() if len(arrows & LEVELS) > 1}
    assert knowing == {"levels.derive"}
    assert ARROWS["levels.derive"] >= LEVELS


def room(module):
    """Which room inside ``explorer`` a module is in: one of two, or none."""
    return next((name for name in ON_THE_EXPLORER if f"{module}.".startswith(f"{name}.")), None)


def test_the_courses_panels_stand_on_the_explorer():
    """Never the other way; course and classwork do not know each other; none knows the handout."""
    assert all(name in MODULES for name in (*ON_THE_EXPLORER, HANDOUT))
    assert "explorer.panels" in ARROWS["explorer.course.depth_panels"]
    for module in (name for name in MODULES if floor(name) == floor("explorer")):
        assert HANDOUT not in ARROWS[module], module
        rooms = {room(other) for other in ARROWS[module]} - {room(module), None}
        assert not rooms or module == HANDOUT, module


def while_running(tree):
    """The tree without what only a type checker imports, and without what functions import."""

    class Prune(ast.NodeTransformer):
        def visit_If(self, node):
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

        def visit_FunctionDef(self, _):
            return None

    return Prune().visit(tree)


def test_there_is_no_circle():
    graph = {module: ours(imported(while_running(tree_of(module)))) for module in MODULES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("roots") < order.index("levels.derive") < order.index("air.payload")


@pytest.mark.parametrize(
    ("libraries", "rooms"),
    [
        ({"anywidget", "plotly", "IPython"}, {"explorer"}),
        ({"ipywidgets", "traitlets"}, {"explorer", "classroom"}),
        ({"voila"}, {"classroom", "page_server"}),
        ({"jupyter_client", "jupyter_server", "tornado", "ipykernel"}, {"classroom"}),
        ({"dask", "distributed"}, {"network.sweep", "network.study", "network.cluster"}),
        ({"torchvision"}, {"vision", "roots", "air.rates", "cifar100", "levels.imagenet"}),
        ({"safetensors"}, {"roots", "model_card"}),
        (
            {"tqdm"},
            {
                "train",
                "explorer.course.point_tables",
                "network.candidates",
                "network.depth_tables",
                "network.hardened",
                "network.healed",
                "network.judged",
                "network.paired",
                "network.study",
                "network.sweep",
                "levels.all_in_one",
            },
        ),
        ({"jsonschema"}, {"network.dsi"}),
        ({"latex2mathml", "nbconvert", "nbformat"}, {"explorer.handout"}),  # in the tests' extra
        ({"river"}, {"network.drift"}),
        ({"matplotlib", "pandas", "scipy", "sklearn"}, set()),
    ],
    ids=lambda value: "-".join(sorted(value)) if value and "insitu" not in value else None,
)
def test_each_foreign_library_has_its_rooms(libraries, rooms):
    users = {module for module, names in FOREIGN.items() if names & libraries}
    strangers = {m for m in users if m not in rooms and m.partition(".")[0] not in rooms}
    assert strangers - {"serve"} == set()
    assert bool(users) == bool(rooms)


@pytest.mark.parametrize(
    "module", sorted(m for m in MODULES if FOREIGN[m] & {"torchvision"} and m != "cifar100")
)
def test_whoever_is_first_to_import_torchvision_can(module):
    """In a process of its own: here others have made it importable."""
    code = f"import insitu_widgets.{module}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_package_itself_imports_nothing_while_running():
    names = set(imported(while_running(tree_of(""))))
    assert foreign(names) == ours(names) == set()


def test_no_room_comes_in_by_the_front_door():
    """The package's own names are for its users; inside, an arrow names the module it points to."""
    for module in MODULES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.ImportFrom) and node.module == "insitu_widgets":
                names = {alias.name for alias in node.names}
                assert names <= {n.partition(".")[0] for n in MODULES} | {"__version__"}, module


def test_no_file_is_a_pile_of_utilities():
    assert not {name for name in MODULES if "util" in name or "helper" in name or "common" in name}


def test_there_is_no_bare_except_and_no_global():
    for module in FILES:
        for node in ast.walk(tree_of(module)):
            assert not isinstance(node, ast.Global), module
            assert not (isinstance(node, ast.ExceptHandler) and node.type is None), module
