import copy
from importlib.resources import files

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from insitu_widgets import ROOTS, Root, load_data, load_root, roots
from insitu_widgets.cards import NESTED_ROOTS
from insitu_widgets.data import has_data
from insitu_widgets.model_card import _exit_parameters, exit_accuracies
from insitu_widgets.roots import ARCHITECTURES, assign, is_weight, skeleton
from tests.conftest import DIGITS_ROOTS, PHOTO_ROOTS

WEIGHTS = files("insitu_widgets") / "weights"
FAMILIES = {
    "resnet": {"BasicBlock"},
    "vgg": {"Conv2d", "BatchNorm2d", "MaxPool2d"},
    "vit": {"EncoderBlock"},
}


# The shipped roots


def test_the_three_families_are_shipped():
    assert DIGITS_ROOTS == ["resnet-digits", "vgg-digits", "vit-digits"] == list(ROOTS)[:3]
    assert [ROOTS[name].family for name in DIGITS_ROOTS] == list(FAMILIES)
    assert list(ROOTS) == [name for name in ARCHITECTURES if name in ROOTS]


def test_a_root_is_ready_to_answer(root):
    assert root.name in ROOTS
    assert not root.training
    for tensor in [*root.parameters(), *root.buffers()]:
        assert tensor.dtype == torch.float32
        assert not tensor.requires_grad
        assert tensor.device.type == "cpu"
        assert tensor.isfinite().all()


def test_it_is_built_of_torchvisions_own_classes(root):
    classes = {type(module) for module in root.blocks.modules()}
    assert FAMILIES[ROOTS[root.name].family] <= {each.__name__ for each in classes}
    assert all(each.__module__.startswith(("torch.", "torchvision.")) for each in classes)


def test_its_sizes_are_those_of_its_card(root):
    card = ROOTS[root.name]
    assert root.num_parameters == sum(p.numel() for p in root.parameters()) == card.parameters
    assert 200_000 <= root.num_parameters <= 1_000_000
    assert root.num_exits == len(root.blocks) == len(root.heads) == card.num_exits == 6
    assert list(card.exit_parameters) == sorted(set(card.exit_parameters))


def test_its_accuracies_are_those_of_its_card(root, digits):
    assert exit_accuracies(root, digits) == list(ROOTS[root.name].accuracy)


def test_its_last_exit_is_as_good_as_promised():
    promised = {"resnet-digits": 0.98, "vgg-digits": 0.98, "vit-digits": 0.96}
    for name, least in promised.items():
        assert ROOTS[name].accuracy[-1] >= least


def test_the_weights_are_safetensors_within_their_budgets():
    paths = [path for path in WEIGHTS.iterdir() if path.name.endswith(".safetensors")]
    assert {path.name.removesuffix(".safetensors") for path in paths} == {*ROOTS, *NESTED_ROOTS}
    sizes = {path.name.removesuffix(".safetensors"): len(path.read_bytes()) for path in paths}
    assert sum(sizes[name] for name in DIGITS_ROOTS) < 6e6
    assert sum(sizes[f"{name}-nested"] for name in DIGITS_ROOTS) < 6e6
    assert sum(sizes.values()) < 75e6
    assert sum(sizes[name] for name in ROOTS if name not in DIGITS_ROOTS) < 40e6


def test_loading_gives_the_files_own_tensors(root):
    stored = load_file(str(WEIGHTS / f"{root.name}.safetensors"))
    loaded = dict(root.named_parameters()) | dict(root.named_buffers())
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in stored.items())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda good: b"", "Install the package again"),
        (lambda good: good[: len(good) // 2], "Install the package again"),
        (lambda good: b"<html>404</html>", "Install the package again"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ],
)
@pytest.mark.parametrize("program", ["train", "levels.all_in_one"])
def test_weights_that_are_damaged_are_named_with_the_remedy(
    tmp_path, monkeypatch, damage, words, program
):
    name = "vgg-digits" if program == "train" else "vgg-digits-nested"
    good = (WEIGHTS / f"{name}.safetensors").read_bytes()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / f"{name}.safetensors").write_bytes(damage(good))
    monkeypatch.setattr(roots, "files", lambda _: tmp_path)
    sentence = rf"{name}\.safetensors must hold .+{words}.+insitu_widgets\.{program} vgg-digits$"
    with pytest.raises(ValueError, match=sentence):
        load_root(name)


def test_two_loads_share_nothing_that_can_be_written():
    first, second = load_root("vgg-digits"), load_root("vgg-digits")
    before = second.heads[0][2].weight.clone()
    first.heads[0][2].weight.zero_()
    assert torch.equal(second.heads[0][2].weight, before)


def test_all_exits_from_one_pass_equal_separate_calls(root, few):
    together = root.exits(few.images)
    assert len(together) == root.num_exits
    for exit_, logits in enumerate(together, 1):
        assert logits.shape == (len(few), 10)
        assert torch.equal(logits, root(few.images, exit=exit_)), exit_
    assert torch.equal(together[-1], root(few.images))


@pytest.mark.parametrize("exit_", [0, 7, -1, 2.0, True, "2"])
def test_an_exit_that_it_lacks_is_refused(root, few, exit_):
    with pytest.raises(ValueError, match=r"^exit must be a whole number from 1 to 6; got .+ Give"):
        root(few.images, exit=exit_)


@pytest.mark.parametrize("name", ["resnet19-cifar100", "", None])
def test_a_root_that_is_not_shipped_is_refused(name):
    with pytest.raises(ValueError, match=r"^root must be one of resnet-digits, .+; got .+ Choose"):
        load_root(name)


def test_a_skeleton_is_a_root_without_weights(root):
    bare = skeleton(root.name)
    shapes = {name: (p.shape, p.dtype) for name, p in bare.named_parameters()}
    assert shapes == {name: (p.shape, p.dtype) for name, p in root.named_parameters()}
    assert {p.device.type for p in bare.parameters()} == {"meta"}


# The roots of CIFAR-100's size

shipped_photo_roots = pytest.mark.parametrize(
    "name", [name for name in PHOTO_ROOTS if name in ROOTS]
)


@shipped_photo_roots
def test_a_photo_root_is_what_its_card_says(name):
    root, card = load_root(name), ROOTS[name]
    assert (root.num_parameters, root.num_exits) == (card.parameters, card.num_exits)
    assert _exit_parameters(root) == list(card.exit_parameters)
    assert (card.data, card.classes) == ("cifar100", 100)
    stored = load_file(str(WEIGHTS / f"{name}.safetensors"))
    for key, tensor in (dict(root.named_parameters()) | dict(root.named_buffers())).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, stored[key].float())


@shipped_photo_roots
@pytest.mark.skipif(not has_data("cifar100"), reason="CIFAR-100 is not on this machine")
def test_its_accuracies_on_a_thousand_photographs_fit_its_card(name):
    """Within four standard deviations of a sample of a thousand; the card's are of all 10,000."""
    few = load_data("cifar100", limit=1000)
    for measured, stated in zip(
        exit_accuracies(load_root(name), few), ROOTS[name].accuracy, strict=True
    ):
        assert abs(measured - stated) < 4 * (stated * (1 - stated) / 1000) ** 0.5 + 0.001


def test_all_exits_of_a_photo_root_from_one_pass_equal_separate_calls(photo_root, noise):
    images = noise.images[:4]
    with torch.inference_mode():
        together = photo_root.exits(images)
        for exit_, logits in enumerate(together, 1):
            assert logits.shape == (4, 100)
            assert torch.equal(logits, photo_root(images, exit=exit_))


@pytest.mark.parametrize(
    ("name", "exits", "parameters"),
    [("resnet18", 8, 11_977_312), ("vgg16", 5, 4_751_332), ("vit", 6, 3_092_232)],
)
def test_the_larger_roots_have_their_exits_and_sizes(name, exits, parameters):
    root = ARCHITECTURES[f"{name}-cifar100"]().eval()
    assert (root.num_exits, root.num_parameters) == (exits, parameters)
    with torch.inference_mode():
        logits = root.exits(torch.zeros(2, 3, 32, 32))
    assert [each.shape for each in logits] == [(2, 100)] * exits
    sizes = _exit_parameters(root)
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("side_px", [16, 24])
def test_the_larger_roots_learn_from_smaller_images(photo_root, side_px):
    """Every logit depends on them, and a ViT's patches keep their places."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, side_px, side_px, generator=random)
    with torch.inference_mode():
        for logits in photo_root.exits(images):
            assert logits.shape == (2, 100)
            assert not torch.equal(logits[0], logits[1])


def test_a_vits_positions_are_interpolated_between_those_of_its_own_grid():
    root = ARCHITECTURES["vit-cifar100"]().eval()
    own = root.stem.position.data  # 8×8 patches of a 32×32 image
    ramp = torch.arange(8.0).repeat_interleave(8)  # a patch's row
    own[0, 1:], own[0, 0] = ramp[:, None], 100.0
    root.stem.projection, root.stem.class_token.data = nn.Identity(), torch.zeros(1, 1, 192)
    with torch.inference_mode():
        same = root.stem(torch.zeros(1, 192, 8, 8))
        smaller = root.stem(torch.zeros(1, 192, 4, 4))
    assert torch.equal(same[0], own[0])
    assert smaller.shape == (1, 1 + 4 * 4, 192)
    assert smaller[0, 0, 0] == 100.0  # the class token has no place to move from
    rows = smaller[0, 1:, 0].reshape(4, 4)
    assert torch.equal(rows, torch.tensor([0.5, 2.5, 4.5, 6.5])[:, None].expand(4, 4))


def test_the_last_exit_of_the_resnet_is_torchvisions_network():
    """Stem, blocks and last head: 11,220,132 parameters, with a 3×3 stem and 100 classes."""
    assert _exit_parameters(skeleton("resnet18-cifar100"))[-1] == 11_220_132


def test_the_three_fit_forty_megabytes_in_half_precision():
    names = [name for name in ARCHITECTURES if name.endswith("-cifar100")]
    tensors = [(n, t) for name in names for n, t in skeleton(name).state_dict().items()]
    size = sum(t.numel() * (2 if is_weight(n, t) else 4) for n, t in tensors)
    assert size < 39.9e6  # and the files' headers


# A user's own


def parts():
    stem = nn.Linear(4, 3)
    return stem, [nn.ReLU(), nn.Linear(3, 3)], [nn.Linear(3, 2), nn.Linear(3, 2)]


def test_a_wrapped_network_computes_what_its_parts_compute():
    stem, blocks, heads = parts()
    root = Root.wrap("mine", stem, blocks, heads)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = blocks[0](stem(x))
        assert torch.equal(root(x, exit=1), heads[0](first))
        assert torch.equal(root(x), heads[1](blocks[1](first)))


def test_wrapping_leaves_the_originals_alone():
    stem, blocks, heads = parts()
    stem.double().train()
    originals = copy.deepcopy(stem.state_dict())
    root = Root.wrap("mine", stem, blocks, heads)
    root.stem.weight.zero_()
    assert root.stem.weight.dtype == torch.float32
    assert not root.training
    assert stem.training
    assert stem.weight.requires_grad
    assert all(torch.equal(stem.state_dict()[name], t) for name, t in originals.items())


def test_wrapping_drops_the_counters_of_training():
    root = Root.wrap("mine", nn.BatchNorm1d(4), [nn.Identity()], [nn.Linear(4, 2)])
    assert sorted(name for name, _ in root.named_buffers()) == [
        "stem.running_mean",
        "stem.running_var",
    ]


@pytest.mark.parametrize(("blocks", "heads"), [(0, 0), (1, 0), (0, 1), (2, 1), (1, 2)])
def test_one_head_for_each_block(blocks, heads):
    with pytest.raises(ValueError, match=rf"^heads: .+ got {blocks} blocks and {heads} heads. Add"):
        Root.wrap(
            "mine",
            nn.Identity(),
            [nn.Identity() for _ in range(blocks)],
            [nn.Identity() for _ in range(heads)],
        )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("vgg-digits", r"^name must be another than the shipped roots'; got 'vgg-digits'.+Choose"),
        ("resnet18-cifar100-nested", r"another than the shipped roots'.+Choose another"),
        ("mine-nested", r"^name must not end with '-nested'; got 'mine-nested'\. .+Leave it out"),
        ("", r"^name must begin with a letter or a digit .+ 1 to 100 characters; got ''\. Name it"),
        (" mine", "got ' mine'"),
        ("mine ", "got 'mine '"),
        ("my\nroot", r"got 'my\\nroot'"),
        ("# mine", "got '# mine'"),  # in a table it would be a note
        ("m" * 101, "1 to 100 characters"),
    ],
)
def test_a_name_that_means_something_else_is_refused(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        Root.wrap(name, *parts())


def test_a_name_is_text():
    with pytest.raises(TypeError, match=r"^name must be of type str; got Linear\. Give the root a"):
        Root.wrap(*parts(), [])
    assert Root.wrap("Éva's 2. root (v2)", *parts()).name == "Éva's 2. root (v2)"


# Tensors


def test_only_matrices_and_kernels_are_weights():
    module = nn.ModuleDict(
        {
            "conv": nn.Conv2d(2, 3, 3),
            "linear": nn.Linear(2, 3),
            "attention": nn.MultiheadAttention(4, 2),
            "norm": nn.BatchNorm2d(3),
            "layer_norm": nn.LayerNorm(4),
        }
    )
    weights = {name for name, p in module.named_parameters() if is_weight(name, p)}
    assert weights == {
        "conv.weight",
        "linear.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }
    assert not is_weight("class_token", torch.zeros(1, 1, 4))


def test_tensors_that_do_not_fit_are_refused():
    good = {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}
    for bad in (
        {"weight": good["weight"]},
        good | {"more": torch.zeros(1)},
        good | {"bias": torch.zeros(4)},
    ):
        with pytest.raises(ValueError, match=r"^tensors: they do not fit the network"):
            assign(nn.Linear(2, 3), bad)


def test_tensors_are_assigned_without_a_copy():
    with torch.device("meta"):
        module = nn.BatchNorm1d(3)
    module.num_batches_tracked = None
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: torch.full((3,), float(i)) for i, name in enumerate(names)}
    assign(module, tensors)
    for name, tensor in tensors.items():
        assert getattr(module, name).data_ptr() == tensor.data_ptr()
    assert {name for name, _ in module.named_parameters()} == {"weight", "bias"}
