import json
import subprocess
import sys

import pytest

import insitu_widgets
import insitu_widgets as iw

#: The public names that notebooks, users and checks call (the architecture's own list).
STABLE = [
    *("ROOTS", "load_root", "load_data", "Recipe", "derive", "pack", "unpack", "transmit", "Link"),
    *("Situation", "choose", "Library", "accuracy", "sweep", "required_rate_bps", "Explorer"),
    "dashboard",
]
CHEAP = [
    "from insitu_widgets import Recipe, Situation, choose, load_catalogue, ROOTS, PRESETS",
    "from insitu_widgets import Catalogue, Measurement, Decision, Estimate, Link",
    "from insitu_widgets import required_rate_bps, LARGE_MODELS, REFERENCE_RATES",
    "from insitu_widgets.air import channel, rates",
    "from insitu_widgets.explorer import figures, state, dashboard, controls, panels",
    "from insitu_widgets.network import catalogue, situation",
]


def modules_after(*lines):
    """The modules that a fresh interpreter has loaded after these lines, which must be silent."""
    code = "\n".join([*lines, "import json, sys; print(json.dumps(sorted(sys.modules)))"])
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("name", STABLE)
def test_every_stable_name_is_there(name):
    assert name in insitu_widgets.__all__
    thing = getattr(insitu_widgets, name)
    assert getattr(thing, "__name__", name) == name


def test_every_name_it_promises_is_there_with_a_docstring():
    for name in insitu_widgets.__all__:
        thing = getattr(insitu_widgets, name)
        if callable(thing):
            assert thing.__doc__, name
            assert thing.__module__.startswith("insitu_widgets."), name


def test_the_list_of_names_is_the_one_list():
    assert set(insitu_widgets._PLACE) == set(insitu_widgets.__all__)
    assert dir(insitu_widgets) == sorted(insitu_widgets.__all__)
    assert len(insitu_widgets.__all__) == len(set(insitu_widgets.__all__))


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'insitu_widgets' has no attribute 'Resnet'"):
        _ = insitu_widgets.Resnet
    assert not hasattr(insitu_widgets, "nothing_of_the_sort")


def test_importing_the_package_loads_nothing_foreign():
    loaded = modules_after("import insitu_widgets")
    assert not loaded & {"torch", "numpy", "ipywidgets", "plotly", "sklearn"}


def test_the_cheap_tier_needs_no_torch():
    """All of it in one interpreter, used and not only imported."""
    used = [
        "situation = Situation(bandwidth_hz=1e6)",
        "decision = choose(situation, load_catalogue('resnet-digits'))",
        "assert decision.fits and decision.recipe == Recipe.parse(str(decision.recipe))",
        "assert situation.link.time_s(decision.expected.num_bits) <= situation.latency_s",
        "assert Estimate(1, 2).low < required_rate_bps(1e6, 0.5, 1.0)",
        "assert state.Explorer(situation, measuring=False).decision == decision",
    ]
    loaded = modules_after(*CHEAP, *used)
    assert not loaded & {"torch", "torchvision", "safetensors", "sklearn", "distributed", "dask"}


def test_the_measured_tier_needs_no_widget_and_prints_nothing():
    """Nor does it where torchvision's compiled operators are missing, as with many a CPU torch."""
    loaded = modules_after(
        "from insitu_widgets import load_root, load_data, derive, pack, unpack, transmit, Link",
        "from insitu_widgets import Recipe, accuracy, sweep",
        "packet = pack(derive(load_root('vgg-digits'), Recipe('vgg-digits', 1, 0.5, 4)))",
        "model, _ = unpack(transmit(packet, Link(1e6, bit_error_rate=1e-3), 0))",
        "assert next(accuracy(model, load_data('digits', limit=10))).seen == 10",
    )
    assert "torch" in loaded
    assert not loaded & {"ipywidgets", "traitlets", "anywidget", "plotly", "IPython", "sklearn"}
    assert not loaded & {"dask", "distributed"}


@pytest.fixture(scope="module")
def good():
    """What is right, by name, for calls of which one part is wrong."""
    recipe = iw.Recipe("vgg-digits", 1, 0.5, 4)
    submodel = iw.derive(iw.load_root("vgg-digits"), recipe)
    return {
        "recipe": recipe, "other": iw.Recipe("resnet-digits"), "submodel": submodel,
        "packet": iw.pack(submodel), "link": iw.Link(1e6), "situation": iw.Situation(),
        "catalogue": iw.load_catalogue("resnet-digits"), "images": iw.load_data("digits", limit=10),
        "root": iw.load_root("vgg-digits"),
    }  # fmt: skip


def swept(*recipes, **settings):
    return lambda g: iw.sweep([g[name] for name in recipes], g["images"], **settings)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda g: iw.transmit(g["submodel"], g["link"], 0), TypeError, "packet must be of type P"),
        (lambda g: iw.unpack(g["packet"], root="resnet-digits"), TypeError, "root must be of type"),
        (lambda g: iw.choose(g["situation"], None), TypeError, "catalogue must be of type Catalog"),
        (lambda g: iw.choose(None, g["catalogue"]), TypeError, "situation must be of type Situati"),
        (lambda g: iw.choose({}, g["catalogue"]), TypeError, "got dict. Make one with Situation"),
        (lambda _: iw.Library(tiers=["edge"]), TypeError, "each of tiers must be of type Tier"),
        (lambda _: iw.Library(tiers=None), TypeError, "tiers must be of type Sequence; got NoneT"),
        (lambda _: iw.Library(make=3), TypeError, "make must be of type Callable; got 3"),
        (lambda g: iw.sweep("foo", g["images"]), TypeError, "each of recipes must be of type Rec"),
        (lambda g: iw.sweep([1], g["images"]), TypeError, "each of recipes must be of type Recipe"),
        (lambda g: iw.sweep(3, g["images"]), TypeError, "recipes must be of type Iterable; got 3"),
        (lambda g: iw.sweep(g["recipe"], g["images"]), TypeError, r"into a list: \[recipe\]"),
        (lambda g: iw.sweep([g["recipe"]], [1]), TypeError, "images must be of type ImageSet"),
        (swept(), ValueError, "recipes must hold at least one recipe; got none"),
        (swept("recipe", path=3), TypeError, "path must be of type Path; got 3"),
        (swept("recipe", client=3), TypeError, "client must be of type Client; got 3"),
        (swept("recipe", guards="none"), TypeError, r"guards must .* Write guards=\('none',\)"),
        (swept("recipe", seeds=3), TypeError, r"seeds must be several values; got 3"),
        (swept("recipe", root="vgg-digits"), TypeError, "root must be of type Root"),
        (
            lambda g: iw.sweep([g["recipe"], g["other"]], g["images"], root=g["root"]),
            ValueError,
            "recipe.root, as root is given, must be one of vgg-digits; got 'resnet-digits'",
        ),
        (lambda _: iw.Explorer("foo"), TypeError, "situation must be of type Situation; got 'foo'"),
        (lambda _: iw.Explorer({}), TypeError, "situation must be of type Situation; got dict"),
        (lambda _: iw.Explorer(measuring="x"), TypeError, "measuring must be of type bool"),
        (lambda _: iw.Explorer(runner=3), TypeError, "runner must be of type Latest; got 3. Give"),
        (lambda _: iw.dashboard("foo"), TypeError, "explorer must be of type Explorer; got 'foo'"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_what_would_be_right(call, error, sentence, good):
    with pytest.raises(error, match=sentence):
        call(good)


def test_what_is_meant_is_taken(good, tmp_path):
    path = tmp_path / "x.csv"
    few = {"bit_error_rates": (0.0,), "progress": False}
    rows = iw.sweep([good["recipe"]], good["images"], path=str(path), **few).rows
    assert len(rows) == 1
    assert path.is_file()
    situation = iw.Situation(bandwidth_hz=1e6)
    assert iw.dashboard(situation).explorer.situation == situation
    assert iw.required_rate_bps(1e6, 0, 1) == 0.0
