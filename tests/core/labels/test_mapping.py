"""Mappings between label sets: what becomes what, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import tomli_w

from faceparse.core.errors import SettingsError
from faceparse.core.labels.label_set import LabelSet, builtin_label_sets, get_label_set
from faceparse.core.labels.mapping import (
    ClassMapping,
    MappingFile,
    chain,
    closest_mapping,
    common_mappings,
    identity,
    image_side,
    known_mapping,
    map_classes,
    mapping_from_dict,
    read_mapping,
)

CELEBA, HELEN, FASSEG, LAPA = map(get_label_set, ("celebamask-hq", "helen", "fasseg", "lapa"))


def label_set(name: str, *classes: str, side: str = "none", mirror: tuple[tuple[str, str], ...] = ()) -> LabelSet:
    colours = {one: f"#0000{i:02x}" for i, one in enumerate(classes)}
    return LabelSet.model_validate({"name": name, "side": side, "classes": colours, "mirror": mirror})


def file(content: dict[str, object], name: str = "mine") -> MappingFile:
    return mapping_from_dict(content, f"{name}.toml", name)


def named(mapping: ClassMapping) -> dict[str, set[str]]:
    return {
        name: {mapping.source.names[i] for i in ids}
        for name, ids in zip(mapping.target.names, mapping.groups, strict=True)
    }


# Built-in mappings


@pytest.mark.parametrize("source", sorted(builtin_label_sets()))
@pytest.mark.parametrize("target", sorted(builtin_label_sets()))
def test_every_known_mapping_has_each_class_once_and_keeps_the_sides(source: str, target: str) -> None:
    mapping = known_mapping(get_label_set(source), get_label_set(target))
    if mapping is None:
        assert (source, target) in {("fasseg", other) for other in builtin_label_sets()}  # its eyes are one class
        return
    ids = sorted(i for group in mapping.groups for i in group)
    assert ids == list(range(len(mapping.source)))
    for name, group in zip(mapping.target.names, mapping.groups, strict=True):
        wanted = image_side(mapping.target, name)
        for i in group:
            assert not wanted or image_side(mapping.source, mapping.source.names[i]) == wanted
    assert mapping.groups[0][0] == 0  # background stays background


def test_helens_left_is_the_viewers_and_celebamask_hqs_the_subjects() -> None:
    mapping = known_mapping(CELEBA, HELEN)
    assert mapping is not None
    found = named(mapping)
    assert (found["left_eye"], found["right_brow"], found["inner_mouth"]) == ({"r_eye"}, {"l_brow"}, {"mouth"})
    assert found["background"] == {"background", "l_ear", "r_ear", "hat", "ear_r", "neck_l", "neck", "cloth"}


def test_sets_with_the_same_names_need_no_file_and_one_after_the_other_is_found() -> None:
    mapping = known_mapping(LAPA, HELEN)
    assert mapping is not None
    assert mapping.groups == identity(HELEN).groups
    chained = known_mapping(LAPA, FASSEG)
    assert chained is not None
    assert named(chained)["hair"] == {"hair", "left_brow", "right_brow"}
    assert "neck as background" in chained.note


def test_a_users_set_that_is_only_named_like_a_built_in_one_has_no_built_in_mapping() -> None:
    assert known_mapping(label_set("celebamask-hq", "background", "face"), HELEN) is None


def test_classes_of_the_same_name_swap_where_left_is_the_other_side() -> None:
    names, mirror = ("background", "left_eye", "right_eye"), (("left_eye", "right_eye"),)
    viewer = label_set("a", *names, side="viewer", mirror=mirror)
    subject = label_set("b", *names, side="subject", mirror=mirror)
    crossed = known_mapping(viewer, subject)
    assert crossed is not None
    assert crossed.groups == ((0,), (2,), (1,))
    straight = known_mapping(viewer, label_set("c", *names, side="viewer", mirror=mirror))
    assert straight is not None
    assert straight.is_identity


def test_sides_swap_where_one_of_two_sets_names_the_pairs() -> None:
    names = ("background", "left_eye", "right_eye")
    viewer = label_set("a", *names, side="viewer")
    subject = label_set("b", *names, side="subject", mirror=(("left_eye", "right_eye"),))
    for source, target in ((viewer, subject), (subject, viewer)):
        crossed = known_mapping(source, target)
        assert crossed is not None
        assert crossed.groups == ((0,), (2,), (1,))


def test_a_set_with_a_built_in_name_and_its_other_side_is_not_the_built_in_one() -> None:
    turned = HELEN.model_copy(update={"side": "subject"})
    crossed = known_mapping(turned, HELEN)
    assert crossed is not None
    assert (named(crossed)["left_eye"], named(crossed)["nose"]) == ({"right_eye"}, {"nose"})
    assert known_mapping(turned, FASSEG) is not None  # by way of the built-in set


def test_what_the_second_of_two_mappings_ignores_is_ignored() -> None:
    middle, last = label_set("m", "p", "q", "r"), label_set("l", "p", "q")
    first = ClassMapping(label_set("f", "a", "b", "c", "d"), middle, ((0,), (1,), (2, 3)))
    second = ClassMapping(middle, last, ((0,), (1,)), ignored=(2,))
    chained = chain(first, second)
    assert (chained.groups, chained.ignored) == (((0,), (1,)), (2, 3))


def test_the_closest_mapping_takes_what_has_a_name() -> None:
    mapping = closest_mapping(CELEBA, label_set("mine", "background", "hair", "beard"))
    assert named(mapping) == {"background": {"background"}, "hair": {"hair"}, "beard": set()}
    assert mapping.absent == ("beard",)
    assert len(mapping.ignored) == 17


# What a mapping does


def test_a_table_maps_every_pixel_and_keeps_what_is_ignored() -> None:
    mapping = map_classes(file({"none": ["background"], "all": ["skin"], "ignored": ["hair"]}), label_set(
        "raw", "background", "skin", "hair"
    ))  # fmt: skip
    labels = np.array([[0, 1, 2, 255]], np.uint8)
    assert mapping.table[labels].tolist() == [[0, 1, 255, 255]]
    assert mapping.merged() == ["hair ignored"]


def test_what_was_merged_is_said() -> None:
    mapping = known_mapping(CELEBA, FASSEG)
    assert mapping is not None
    assert mapping.merged()[1] == "l_brow, r_brow in hair"
    assert mapping.notes()[0].startswith("celebamask-hq as fasseg: hat, cloth in background; ")
    assert identity(CELEBA).notes() == []


def test_a_mapping_is_written_and_read_again(tmp_path: Path) -> None:
    mapping = known_mapping(CELEBA, FASSEG)
    assert mapping is not None
    path = tmp_path / "fasseg.toml"
    path.write_text(tomli_w.dumps(mapping.to_toml()))
    again = map_classes(read_mapping(path), CELEBA)
    assert (again.groups, again.target) == (mapping.groups, FASSEG)


def test_a_new_set_keeps_colours_pairs_and_landmarks() -> None:
    lines = {
        "background": [name for name in CELEBA.names if name not in ("nose", "l_eye", "r_eye", "mouth", "skin")],
        "one": ["r_eye"],
        "other": ["l_eye"],
        "middle": ["nose", "skin"],
        "lips": ["mouth"],
    }
    made = map_classes(file(lines), CELEBA).target
    assert made.name == "mine"
    assert made.classes["middle"] == CELEBA.classes["nose"]
    assert made.mirror == (("other", "one"),)
    assert made.side == "subject"
    assert made.landmarks["eyes"] == ("one", "other")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            {"one": ["l_ear"]},
            r"mine\.toml: background has background and r_ear, whose mirror images are in background and in one; treat "
            r"left and right alike",
        ),
        (
            {"one": ["l_ear", "r_eye"], "two": ["r_ear"], "three": ["l_eye"]},
            r"one has l_ear and r_eye, whose mirror images are in three and in two",
        ),
    ],
)
def test_a_new_set_whose_left_and_right_are_not_alike_is_refused(lines: dict[str, list[str]], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        map_classes(file(all_of(CELEBA, **lines)), CELEBA)


def test_new_classes_have_different_colours() -> None:
    made = map_classes(file({"p": ["background"], "q": [], "r": ["x"]}), label_set("a", "background", "x")).target
    assert len(set(made.classes.values())) == 3


# Common classes


@pytest.mark.parametrize(
    ("sets", "common"),
    [
        ([CELEBA, LAPA], "lapa"),
        ([LAPA, CELEBA], "lapa"),
        ([CELEBA, LAPA, HELEN], "helen"),
        ([CELEBA, HELEN, FASSEG], "fasseg"),
        ([CELEBA, CELEBA], "celebamask-hq"),
    ],
)
def test_the_common_set_is_the_one_with_most_classes_that_all_have(sets: list[LabelSet], common: str) -> None:
    mappings = common_mappings(sets)
    assert [one.source for one in mappings] == sets
    assert {one.target.name for one in mappings} == {common}
    assert not any(one.absent for one in mappings)


def test_sets_without_common_classes_are_refused_with_what_to_write() -> None:
    with pytest.raises(SettingsError, match=r"mine \(3 classes\) and helen \(11 classes\): no known .* --mapping FILE"):
        common_mappings([label_set("mine", "background", "head", "body"), HELEN])


def test_a_file_serves_several_sets_and_one_has_a_table_of_its_own() -> None:
    lines = {
        "rest": ["background"],
        "face": [name for name in HELEN.names if name != "background"],
        "fasseg": {"rest": ["background"], "face": [name for name in FASSEG.names if name != "background"]},
    }
    first, second = common_mappings([HELEN, FASSEG], file(lines))
    assert first.target == second.target
    assert (len(first.groups[1]), len(second.groups[1])) == (10, 5)


# What is refused


def all_of(labels: LabelSet, **lines: list[str]) -> dict[str, object]:
    used = {name for names in lines.values() for name in names}
    return {"background": [name for name in labels.names if name not in used], **lines}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({"skin": "skin"}, r"mine\.toml: skin: a list of class names, such as skin = "),
        ({"skin": [1]}, r"mine\.toml: skin: a list of class names"),
        ({"background": ["background"], "face": ["skin"]}, r"class 'left_brow' of helen is in no list; add it to one"),
        (all_of(HELEN, a=["hair"], b=["hair"]), r"'hair' is in a and in b; name it once"),
        (all_of(HELEN, a=["hare"]), r"a: 'hare' is no class of helen; did you mean 'hair'\?"),
        ({"background": list(HELEN.names)}, r"1 new classes; name two at least, the background first"),
        ({"helen": all_of(HELEN, a=["noes"])}, r"a: 'noes' is no class of helen; did you mean 'nose'\?"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(lines: dict[str, object], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected) as caught:
        common_mappings([HELEN], file(lines))
    assert "\n" not in str(caught.value)


def test_a_swap_of_left_and_right_is_refused() -> None:
    lines = {"left_eye": ["l_eye"], "right_eye": ["r_eye"], "left_brow": ["r_brow"], "right_brow": ["l_brow"]}
    with pytest.raises(SettingsError, match="left_eye of helen is on the image's left, l_eye of celebamask-hq on"):
        map_classes(file(lines), CELEBA, HELEN, partial=True)
    mirror = (("left_eye", "right_eye"),)
    both = [
        label_set(side, "background", "left_eye", "right_eye", side=side, mirror=mirror)
        for side in ("viewer", "subject")
    ]
    lines = {"background": ["background"], "one": ["left_eye"], "two": ["right_eye"]}
    with pytest.raises(SettingsError, match=r"one is on the image's left by viewer, on its right by subject; give one"):
        common_mappings(both, file(lines))


def test_a_wrong_name_is_refused_where_classes_may_be_left_out() -> None:
    with pytest.raises(SettingsError, match=r"mine\.toml: nose: 'noes' is no class of helen; did you mean 'nose'\?"):
        map_classes(file({"skin": ["skin"], "nose": ["noes"]}), HELEN, HELEN, partial=True)


def test_a_class_that_one_set_lacks_is_refused() -> None:
    lines = {"background": [*(n for n in HELEN.names if n != "hair"), *(n for n in CELEBA.names if n != "hat")]}
    lines["background"] = list(dict.fromkeys([*lines["background"], "hair"]))
    with pytest.raises(SettingsError, match=r"no class of helen goes to 'hat'"):
        common_mappings([HELEN, CELEBA], file({**lines, "hat": ["hat"]}))


@pytest.mark.parametrize("text", ["skin = [", "= 1", "\x00"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="not a TOML file"):
        read_mapping(path)
    with pytest.raises(SettingsError, match="no such file"):
        read_mapping(tmp_path / "other.toml")
