"""Label sets: what the ids mean, and what follows from it."""

from pathlib import Path

import numpy as np
import pytest
import tomli_w

from faceparse.core.errors import SettingsError
from faceparse.core.labels.label_set import (
    LabelSet,
    builtin_label_sets,
    get_label_set,
    label_set_from_dict,
    match_label_names,
    nearest,
    read_label_set,
)

HELEN = [
    "background",
    "skin",
    "left_brow",
    "right_brow",
    "left_eye",
    "right_eye",
    "nose",
    "upper_lip",
    "inner_mouth",
    "lower_lip",
    "hair",
]
CELEBA = [
    "background",
    "skin",
    "nose",
    "eye_g",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "l_ear",
    "r_ear",
    "mouth",
    "u_lip",
    "l_lip",
    "hair",
    "hat",
    "ear_r",
    "neck_l",
    "neck",
    "cloth",
]
FASSEG = ["background", "hair", "skin", "eyes", "mouth", "nose"]
IBUG_14 = [*HELEN, "left_ear", "right_ear", "glasses"]
NAMES = {
    "helen": HELEN,
    "lapa": HELEN,
    "ibugmask": HELEN,
    "ibugmask-14": IBUG_14,
    "celebamask-hq": CELEBA,
    "fasseg": FASSEG,
}
SWAPS = {
    "helen": {2: 3, 4: 5},
    "lapa": {2: 3, 4: 5},
    "ibugmask": {2: 3, 4: 5},
    "ibugmask-14": {2: 3, 4: 5, 11: 12},
    "celebamask-hq": {4: 5, 6: 7, 8: 9},
    "fasseg": {},
}

OWN = """
name = "own"
side = "viewer"
mirror = [["left", "right"]]

[classes]
background = "#000000"
left = "#FF0000"
right = "#00ff00"
nose = "#0000ff"

[merged]
both = ["left", "right"]
"""

every_built_in = pytest.mark.parametrize("name", sorted(NAMES))


def refusal(text: str, path: Path) -> str:
    """The one line with which a label set file is refused."""
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        read_label_set(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_these_sets_are_built_in() -> None:
    assert set(builtin_label_sets()) == set(NAMES)


@every_built_in
def test_ids_are_those_of_the_public_datasets(name: str) -> None:
    label_set = get_label_set(name)
    assert list(label_set.names) == NAMES[name]
    assert len(label_set) == len(NAMES[name])
    assert label_set.ids(reversed(NAMES[name])) == tuple(reversed(range(len(NAMES[name]))))


@every_built_in
def test_mirror_table_swaps_exactly_the_left_and_right_parts(name: str) -> None:
    table = get_label_set(name).mirror_table()
    swaps = SWAPS[name] | {right: left for left, right in SWAPS[name].items()}
    assert table.dtype == np.uint8
    assert table.tolist() == [swaps.get(i, i) for i in range(256)]
    assert table[table].tolist() == list(range(256))


@every_built_in
def test_mirrored_names_differ_only_in_the_side(name: str) -> None:
    label_set = get_label_set(name)
    for left, right in label_set.mirror:
        assert left.replace("left", "right").replace("l_", "r_", 1) == right


@every_built_in
def test_palette_has_a_colour_of_its_own_for_each_class(name: str) -> None:
    label_set = get_label_set(name)
    palette = label_set.palette()
    by_hand = [[int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)] for c in label_set.classes.values()]
    assert palette.dtype == np.uint8
    assert palette.tolist() == by_hand
    assert len({tuple(colour) for colour in by_hand}) == len(label_set)


@every_built_in
def test_no_merged_score_hides_a_class_of_the_same_name(name: str) -> None:
    label_set = get_label_set(name)
    assert not set(label_set.merged) & set(label_set.names)


def test_fasseg_has_the_colours_of_its_label_pictures() -> None:
    assert get_label_set("fasseg").palette().tolist() == [
        [255, 0, 0], [127, 0, 0], [255, 255, 0], [0, 0, 255], [0, 255, 0], [0, 255, 255],
    ]  # fmt: skip


def test_sides_are_the_viewers_in_helen_and_the_subjects_in_celebamask() -> None:
    sides = {name: get_label_set(name).side for name in NAMES}
    viewers = dict.fromkeys(("helen", "lapa", "ibugmask", "ibugmask-14"), "viewer")
    assert sides == {**viewers, "celebamask-hq": "subject", "fasseg": "none"}


@every_built_in
def test_landmarks_name_what_eyes_nose_and_mouth_are(name: str) -> None:
    label_set = get_label_set(name)
    assert set(label_set.landmarks) == {"eyes", "nose", "mouth"}
    eyes = label_set.landmarks["eyes"]
    if label_set.side == "none":
        assert eyes == ("eyes",)
    else:  # in image order: the viewer's left eye first, which is the subject's right one
        first = "right" if label_set.side == "subject" else "left"
        assert eyes[0] in (f"{first}_eye", f"{first[0]}_eye")
        assert eyes in (*label_set.mirror, *(pair[::-1] for pair in label_set.mirror))
    assert all("lip" in part or "mouth" in part for part in label_set.landmarks["mouth"])


def test_landmarks_are_whole_or_not_there(tmp_path: Path) -> None:
    assert read_label_set_text(OWN, tmp_path).landmarks == {}
    text = OWN + '[landmarks]\neyes = ["left", "right"]\nnose = ["nose"]\n'
    assert "landmarks has eyes, nose and mouth, or is left out" in refusal(text, tmp_path / "own.toml")
    text = OWN + '[landmarks]\neyes = ["left", "right"]\nnose = ["nose"]\nmouth = ["moth"]\n'
    assert "unknown class 'moth'" in refusal(text, tmp_path / "own.toml")


def read_label_set_text(text: str, folder: Path) -> LabelSet:
    (folder / "own.toml").write_text(text)
    return read_label_set(folder / "own.toml")


def test_helens_merged_scores_are_the_papers() -> None:
    merged = {name: set(get_label_set("helen").ids(group)) for name, group in get_label_set("helen").merged.items()}
    assert merged == {
        "eyes": {4, 5},
        "brows": {2, 3},
        "mouth": {7, 8, 9},
        "overall": {2, 3, 4, 5, 6, 7, 8, 9},
    }


def test_names_of_classes_and_merged_scores_give_ids() -> None:
    helen = get_label_set("helen")
    assert helen.resolve(["hair", "mouth", "upper_lip", "hair"]) == (10, 7, 8, 9)
    assert helen.resolve(iter(())) == ()
    with pytest.raises(SettingsError) as caught:
        helen.resolve(["skin", "mout"], "--classes")
    assert str(caught.value) == (
        f"--classes 'mout': not in helen ({', '.join(helen.names)}, eyes, brows, mouth, overall); did you mean 'mouth'?"
    )


def test_own_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    label_set = get_label_set(str(path))
    assert label_set.names == ("background", "left", "right", "nose")
    assert label_set.palette().tolist() == [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert label_set.classes["left"] == "#ff0000"  # however it was written
    assert label_set.mirror_table()[:5].tolist() == [0, 2, 1, 3, 4]
    assert label_set.merged == {"both": ("left", "right")}


def test_own_file_survives_a_round_trip(tmp_path: Path) -> None:
    for name in NAMES:
        path = tmp_path / f"{name}.toml"
        path.write_text(tomli_w.dumps(get_label_set(name).to_toml()))
        assert read_label_set(path) == get_label_set(name)


def test_label_sets_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        get_label_set("helen").name = "other"


def test_unknown_class_in_mirror_names_the_nearest(tmp_path: Path) -> None:
    message = refusal(OWN.replace('["left", "right"]]\n', '["left", "rihgt"]]\n'), tmp_path / "own.toml")
    assert "unknown class 'rihgt'; did you mean 'right'?" in message


def test_unknown_class_in_merged_names_the_nearest(tmp_path: Path) -> None:
    message = refusal(OWN.replace('both = ["left"', 'both = ["lefft"'), tmp_path / "own.toml")
    assert "unknown class 'lefft'; did you mean 'left'?" in message


def test_class_in_two_mirror_pairs_is_refused(tmp_path: Path) -> None:
    text = OWN.replace('[["left", "right"]]', '[["left", "right"], ["right", "nose"]]')
    assert "a class stands in two mirror pairs" in refusal(text, tmp_path / "own.toml")


@pytest.mark.parametrize("colour", ["red", "#ff00", "#ff00zz", "ff0000f", "#ff0000ff", ""])
def test_bad_colour_names_its_class(tmp_path: Path, colour: str) -> None:
    message = refusal(OWN.replace("#FF0000", colour), tmp_path / "own.toml")
    assert f"classes.left: a colour is written like '#ff8000', not {colour!r}" in message


def test_unknown_key_is_named(tmp_path: Path) -> None:
    assert "colours" in refusal('colours = "x"' + OWN, tmp_path / "own.toml")


def test_missing_key_is_named(tmp_path: Path) -> None:
    assert "side" in refusal(OWN.replace('side = "viewer"', ""), tmp_path / "own.toml")


def test_bad_side_names_what_is_allowed(tmp_path: Path) -> None:
    message = refusal(OWN.replace('"viewer"', '"mine"'), tmp_path / "own.toml")
    assert "side" in message
    assert all(f"'{side}'" in message for side in ("viewer", "subject", "none"))


@pytest.mark.parametrize("count", [0, 1, 256])
def test_class_counts_that_a_label_cannot_hold_are_refused(count: int) -> None:
    data = {"name": "x", "side": "none", "classes": {f"c{i}": f"#{i:06x}" for i in range(count)}}
    with pytest.raises(SettingsError, match=rf"^x\.toml: a label set has 2 to 255 classes, not {count}$"):
        label_set_from_dict(data, "x.toml")


def test_255_classes_are_accepted() -> None:
    data = {"name": "x", "side": "none", "classes": {f"c{i}": f"#{i:06x}" for i in range(255)}}
    assert len(label_set_from_dict(data, "x.toml")) == 255


def test_missing_file_names_what_is_built_in(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        get_label_set(str(tmp_path / "gone.toml"))
    assert f"{tmp_path / 'gone.toml'}: no such file" in str(caught.value)
    assert all(name in str(caught.value) for name in NAMES)


def test_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    assert "not a TOML file" in refusal("background\nskin\n", tmp_path / "own.toml")


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not a TOML file"):
        read_label_set(path)


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.toml").mkdir()
    with pytest.raises(SettingsError, match=r"own\.toml"):
        read_label_set(tmp_path / "own.toml")


def test_unknown_name_gives_the_nearest_and_all_others() -> None:
    with pytest.raises(SettingsError) as caught:
        get_label_set("hellen")
    assert str(caught.value).startswith("label set 'hellen' is not built in; did you mean 'helen'?")
    assert all(name in str(caught.value) for name in NAMES)
    assert "\n" not in str(caught.value)


def test_name_like_nothing_gives_no_advice() -> None:
    assert nearest("qqqq", NAMES) == ""
    assert nearest("laap", NAMES) == "; did you mean 'lapa'?"


def test_the_order_of_a_names_words_counts_less_than_the_words() -> None:
    names = ["eye_g", "l_eye", "r_eye", "left_brow"]
    assert nearest("eye_r", names) == "; did you mean 'r_eye'?"
    assert nearest("Brow-left", names) == "; did you mean 'left_brow'?"
    assert nearest("eye_", names) == "; did you mean 'eye_g'?"


def test_names_of_the_released_code_mean_helen() -> None:
    names = ["bg", "face", "lb", "rb", "le", "re", "nose", "ulip", "imouth", "llip", "hair"]
    assert match_label_names(names) == get_label_set("helen")


def test_one_alias_among_plain_names_is_enough() -> None:
    assert match_label_names(["bg", *CELEBA[1:]]) == get_label_set("celebamask-hq")


@pytest.mark.parametrize("name", ["helen", "celebamask-hq", "fasseg"])
def test_plain_names_mean_their_set(name: str) -> None:
    assert match_label_names(NAMES[name]) == get_label_set(name)


@pytest.mark.parametrize(
    "names",
    [
        HELEN[:-1],
        [*HELEN, "hat"],
        [*HELEN[:2], HELEN[3], HELEN[2], *HELEN[4:]],
        [*HELEN[:-1], "Hair"],
        [],
    ],
)
def test_other_names_or_another_order_mean_nothing_built_in(names: list[str]) -> None:
    assert match_label_names(names) is None


def test_equal_sets_are_equal_whatever_their_source(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    own = read_label_set(tmp_path / "own.toml")
    assert own == LabelSet.model_validate(own.model_dump())
    assert own != get_label_set("helen")


@pytest.mark.parametrize("name", ["sk\x1b[31min", "sk\nin", "sk\x00in"])
def test_names_are_printable(name: str) -> None:
    with pytest.raises(SettingsError, match="a name is of printable letters, not "):
        label_set_from_dict({"name": "x", "side": "none", "classes": {"bg": "#000000", name: "#ffffff"}}, "x.toml")
    with pytest.raises(SettingsError, match="a name is of printable letters, not "):
        label_set_from_dict({"name": name, "side": "none", "classes": {"bg": "#000000", "s": "#ffffff"}}, "x.toml")


def test_two_sets_with_their_classes_in_another_order_are_not_the_same() -> None:
    classes = {"bg": "#000000", "skin": "#ffffff", "hair": "#ff0000"}
    one = LabelSet(name="x", side="none", classes=classes)
    other = LabelSet(name="x", side="none", classes={name: classes[name] for name in ("bg", "hair", "skin")})
    assert one != other
    assert one == LabelSet(name="x", side="none", classes=dict(classes))
