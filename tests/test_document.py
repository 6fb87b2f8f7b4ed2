import pytest

from fvflow.case.document import Place, parse, plain
from fvflow.case.overrides import apply_overrides
from fvflow.errors import CaseError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("010", 10),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("+7", 7),
        (".", "."),
        ("e5", "e5"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text, value):
    assert plain(text) == value
    assert type(plain(text)) is type(value)


def test_places_are_those_of_an_editor():
    document = parse("a: 1\nb:\n  - {c: [x, 2.5]}\n", "f.yaml")
    assert document.values == {"a": 1, "b": [{"c": ["x", 2.5]}]}
    assert document.place(("b", 0, "c", 1)) == Place(3, 13)
    assert document.place(("b", 0, "c"), of_key=True) == Place(3, 6)
    assert document.place(("b", 0, "missing")) == Place(3, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", r"f:2:1: a: given twice, first in line 1"),
        ("a: &x 1\n", r"f:1:4: a: anchors"),
        ("a: *x\n", r"f:1:4: a: aliases"),
        ("a: !!python/object:os.system 1\n", r"f:1:4: a: tags"),
        ("a: 1\n---\nb: 2\n", r"f:2:1: a second document"),
        ("- 1\n", r"f:1:1: expected a mapping"),
        ("", r"empty"),
        ("# nothing\n", r"empty"),
        ("{1: 2}\n", r"f:1:2: expected a name as key, got 1"),
        ("[a]: 2\n", r"expected a name as key"),
        ("a: [1, 2\n", r"f:2:1: not YAML"),
        ("a:\tb: c\n", r"not YAML"),
        ("a: " + "[" * 40 + "]" * 40, r"nested more than 32"),
        ("a: [" + "1," * 200_001 + "]", r"more than 200000 values"),
        (b"a: \xff\xfe", r"not UTF-8"),
        (b"#" * (2**20 + 1), r"at most"),
        ("a: \x07", r"not YAML"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused_with_its_place(text, message):
    with pytest.raises(CaseError, match=message):
        parse(text, "f")


def test_numbers_that_are_not_finite_are_collected():
    document = parse("a: .nan\nb: 1e999\nc: -.INF", "f")
    assert [fault.path for fault in document.faults] == [("a",), ("b",), ("c",)]


def test_a_line_and_a_caret_point_at_the_fault():
    with pytest.raises(CaseError) as caught:
        parse("title: x\nmesh: *y\n", "f")
    assert str(caught.value).splitlines()[1:] == ["    mesh: *y", "          ^"]


def test_overrides_change_lists_and_make_mappings():
    document = parse("a: {b: [1, 2]}\n", "f")
    changed = apply_overrides(document, {"a.b.1": "7", "c.d.e": "[x, 1e-2]", "a.f": "on"})
    assert changed.values == {"a": {"b": [1, 7], "f": "on"}, "c": {"d": {"e": ["x", 0.01]}}}
    assert document.values == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize("path", ["a.b.2", "a.b.c", "a.b.0.x", "a.3", "", "."])
def test_overrides_of_nothing_are_refused(path):
    with pytest.raises(CaseError, match="--set"):
        apply_overrides(parse("a: {b: [1, 2]}\n", "f"), {path: "1"})
