"""Every table that is shipped tells which weights it was measured on, and how."""

import csv
from pathlib import Path

import pytest

import insitu_widgets
from insitu_widgets.model_card import weights_digest
from insitu_widgets.network.table_file import TableFile

FOLDER = Path(insitu_widgets.__file__).parent / "catalogue"
ROOTS = ("resnet-digits", "vgg-digits")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_a_shipped_table_names_the_weights_of_all_its_roots(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    names = {row[column] for row in rows for column in ("root", "nested_root") if column in row}
    expected = {f"# weights: {weights_digest(name)}" for name in names}
    assert expected
    assert {line for line in lines if line.startswith("# weights: ")} == expected


def test_it_goes_on_only_with_the_same_weights_and_conditions(tmp_path):
    path = tmp_path / "some.csv"
    begin = ("python -m some", ROOTS, "images: 10", ("root", "right"))
    TableFile(path, *begin).add(("vgg-digits", 7))
    path.write_text(path.read_text() + "resnet-di")  # cut while it was written
    TableFile(path, *begin).add(("resnet-digits", 8))
    text = path.read_text()
    assert text.splitlines()[-3:] == ["root,right", "vgg-digits,7", "resnet-digits,8"]
    with pytest.raises(SystemExit, match=r"other weights or images\. Delete it, or name another"):
        TableFile(path, begin[0], ROOTS, "images: 20", begin[-1])
    with pytest.raises(SystemExit, match="other weights or images"):
        TableFile(path, begin[0], (*ROOTS, "vit-digits"), *begin[2:])
    assert path.read_text() == text


def test_lines_that_belong_together_are_all_written_or_none(tmp_path):
    path = tmp_path / "some.csv"
    table = TableFile(path, "python -m some", ROOTS, "images: 10", ("root", "right"))

    def broken():
        yield ("vgg-digits", 7)
        raise RuntimeError

    before = path.read_text()
    with pytest.raises(RuntimeError):
        table.add_together(broken())
    assert path.read_text() == before
    table.add_together([("vgg-digits", 7), ("resnet-digits", "8 9")])
    assert path.read_text() == before + "vgg-digits,7\nresnet-digits,8 9\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "foreign",
    [
        b"my one line",
        b"# Title",
        b"a,b\n1,2\n3,4",
        b"\xff\xfe\x00binary",
        b"# weights\nroot,right\ncut",
    ],
)
def test_a_file_of_another_is_refused_and_stays_as_it_is(tmp_path, foreign):
    path = tmp_path / "some.csv"
    path.write_bytes(foreign)
    with pytest.raises(SystemExit, match=r"some\.csv.* [Nn]ame another"):
        TableFile(path, "python -m some", ROOTS, "images: 10", ("root", "right"))
    assert path.read_bytes() == foreign
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_of_other_weights_keeps_even_its_cut_line(tmp_path):
    path = tmp_path / "some.csv"
    TableFile(path, "python -m some", ROOTS, "images: 10", ("root", "right"))
    path.write_text(path.read_text() + "resnet-di")
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="other weights or images"):
        TableFile(path, "python -m some", ROOTS, "images: 20", ("root", "right"))
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path):
    for path, remedy in ((tmp_path, "Name a file in it"), (tmp_path / "no" / "t.csv", "Make that")):
        with pytest.raises(SystemExit, match=remedy):
            TableFile(path, "python -m some", ROOTS, "images: 10", ("root", "right"))
    assert not list(tmp_path.iterdir())
