"""Settings: who overrides whom, and what a typo is answered with."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.settings import (
    Settings,
    chosen,
    flatten,
    keys,
    load_settings,
    override,
    read_settings,
    settings_from_dict,
    to_dict,
    to_toml,
)
from faceparse.core.text.address import VARIABLE, whole_address

# eagrnet.md, 'Training recipe' and 'Loss', copied by hand.
RECIPE = {
    "optim.lr": 1e-3,
    "optim.momentum": 0.9,
    "optim.weight_decay": 5e-4,
    "optim.power": 0.9,
    "optim.warmup": 0,
    "train.batch_size": 7,
    "train.epochs": 200,
    "data.input_size": [473, 473],
    "data.random_scale": True,
    "data.scale_sigma": 0.25,
    "data.rotation_sigma": 30.0,
    "data.rotation_probability": 0.6,
    "data.random_mirror": False,
    "data.color_jitter": 0.0,
    "data.mean": [0.485, 0.456, 0.406],
    "data.std": [0.229, 0.224, 0.225],
    "loss.parsing": 1.0,
    "loss.edge": 1.0,
    "loss.boundary_attention": 4.0,
    "loss.scale": 2.0,
    "model.backbone": "resnet101",
    "model.stem": "deep",
}


def toml(text: str, path: Path) -> Path:
    path.write_text(text, "utf-8")
    return path


def refusal(file: Path | None = None, options: Mapping[str, Any] | None = None) -> str:
    """The one line with which settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings(file, options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_the_papers_recipe() -> None:
    defaults = flatten(load_settings())
    assert {key: defaults[key] for key in RECIPE} == RECIPE
    assert Path(defaults["data.root"]) == Path("dataset/Helen")


def test_each_layer_overrides_the_one_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml("[train]\nepochs = 2\nbatch_size = 3\nseed = 4\n", tmp_path / "e.toml")
    monkeypatch.setenv("FACEPARSE_TRAIN__BATCH_SIZE", "30")
    monkeypatch.setenv("FACEPARSE_TRAIN__SEED", "40")
    train = load_settings(file, {"train.seed": 400}).train
    assert (train.seed, train.batch_size, train.epochs, train.evaluate_every) == (400, 30, 2, 1)


def test_layers_meet_within_one_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml("[optim]\nlr = 1e-2\n", tmp_path / "e.toml")
    monkeypatch.setenv("FACEPARSE_OPTIM__POWER", "2")
    optim = load_settings(file, {"optim.warmup": 5}).optim
    assert (optim.lr, optim.power, optim.warmup, optim.momentum) == (0.01, 2.0, 5, 0.9)


def test_numbers_in_toml_may_have_exponents(tmp_path: Path) -> None:
    assert load_settings(toml("[optim]\nlr = 1e-3\n", tmp_path / "e.toml")).optim.lr == 0.001


@pytest.mark.parametrize("typed", ["473,321", " 473 , 321 ", (473, 321), [473, 321]])
def test_sizes_are_typed_with_a_comma(typed: object) -> None:
    assert load_settings(options={"data.input_size": typed}).data.input_size == (473, 321)


def test_sizes_in_the_environment_are_typed_with_a_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPARSE_DATA__INPUT_SIZE", "64,96")
    monkeypatch.setenv("FACEPARSE_DATA__MEAN", "0.5, 0.25, 0")
    data = load_settings().data
    assert (data.input_size, data.mean) == ((64, 96), (0.5, 0.25, 0.0))


def test_sizes_in_toml_are_lists_or_text(tmp_path: Path) -> None:
    assert load_settings(toml("[data]\ninput_size = [64, 96]", tmp_path / "a.toml")).data.input_size == (64, 96)
    assert load_settings(toml("[data]\ninput_size = '64,96'", tmp_path / "b.toml")).data.input_size == (64, 96)


@pytest.mark.parametrize(("typed", "expected"), [("true", True), ("no", False), ("0", False), ("1", True)])
def test_switches_are_typed_as_words_or_digits(monkeypatch: pytest.MonkeyPatch, typed: str, expected: bool) -> None:
    monkeypatch.setenv("FACEPARSE_DATA__RANDOM_MIRROR", typed)
    assert load_settings().data.random_mirror is expected


def test_an_option_of_none_unsets_what_the_file_says(tmp_path: Path) -> None:
    file = toml("[data]\nlabel_set = 'lapa'\n", tmp_path / "e.toml")
    assert load_settings(file).data.label_set == "lapa"
    assert load_settings(file, {"data.label_set": None}).data.label_set is None


@pytest.mark.parametrize(("typed", "expected"), [("auto", None), ("true", True), ("false", False)])
def test_pinning_is_on_off_or_nobodys_decision(tmp_path: Path, typed: str, expected: bool | None) -> None:
    file = toml("[data]\npin_memory = true\n", tmp_path / "e.toml")
    assert load_settings(file, {"data.pin_memory": typed}).data.pin_memory is expected


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.train = settings.train
    with pytest.raises(ValueError, match="frozen"):
        settings.train.epochs = 3


@pytest.mark.parametrize("layer", ["option", "file", "override"])
def test_user_and_password_of_an_address_are_in_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    address = "http://me:s3cr3t@host"
    if layer == "option":
        settings = load_settings(options={"tracking.uri": address})
    elif layer == "file":
        settings = load_settings(toml(f"[tracking]\nuri = '{address}'\n", tmp_path / "e.toml"))
    else:
        settings = override(load_settings(), {"tracking.uri": address})
    assert settings.tracking.uri == "http://host"
    assert whole_address("http://host") == address
    assert "s3cr3t" not in to_toml(settings)


def test_those_in_a_strangers_checkpoint_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert settings_from_dict({"tracking": {"uri": "http://me:s3cr3t@host"}}).tracking.uri == "http://host"
    assert whole_address("http://host") == "http://host"


def test_settings_of_a_checkpoint_do_not_look_at_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPARSE_TRAIN__EPOCHS", "3")
    assert settings_from_dict({"train": {"seed": 5}}).train.epochs == 200


def test_toml_round_trip_gives_the_same_settings(tmp_path: Path) -> None:
    changed = load_settings(
        options={
            "data.root": Path("some where/ünïcode"),
            "data.input_size": (64, 96),
            "data.label_set": "lapa",
            "data.num_classes": 11,
            "optim.lr": 1.25e-7,
            "data.random_mirror": True,
            "train.run_dir": Path("there"),
            "tracking.uri": 'http://host/"quoted"',
        }
    )
    for settings in (changed, load_settings()):
        assert load_settings(toml(to_toml(settings), tmp_path / "again.toml")) == settings
        assert settings_from_dict(to_dict(settings)) == settings


def test_unset_settings_are_left_out_of_toml() -> None:
    assert "run_dir" not in tomllib.loads(to_toml(load_settings()))["train"]


def test_flat_names_are_section_and_key() -> None:
    flat = flatten(load_settings(options={"train.seed": 9}))
    assert flat["train.seed"] == 9
    assert all(name.count(".") == 1 for name in flat)
    assert set(flat) <= set(keys())


def test_every_setting_is_known_by_its_dotted_name() -> None:
    settings = load_settings()
    expected = {
        f"{section}.{key}": value for section in Settings.model_fields for key, value in getattr(settings, section)
    }
    assert {key: field.default for key, field in keys().items()} == expected
    assert keys()["train.batch_size"].description.startswith("Photographs at a time")


# Unknown keys, each layer.


def test_unknown_key_in_a_file_names_the_file_and_the_nearest(tmp_path: Path) -> None:
    file = toml("[train]\nepoch = 3\n", tmp_path / "e.toml")
    assert refusal(file) == f"{file}: unknown setting 'train.epoch'; did you mean 'train.epochs'?"


def test_unknown_section_in_a_file_names_the_file_and_the_nearest(tmp_path: Path) -> None:
    file = toml("[trian]\nepochs = 3\n", tmp_path / "e.toml")
    assert refusal(file) == f"{file}: unknown setting 'trian'; did you mean 'train'?"


def test_key_without_a_section_in_a_file_names_the_sections(tmp_path: Path) -> None:
    file = toml("lr = 3\n", tmp_path / "e.toml")
    sections = "data, model, loss, optim, train, speed, launch, tracking"
    assert refusal(file) == f"{file}: unknown setting 'lr'; sections are {sections}"


@pytest.mark.parametrize("key", ["_env_file", "_cli_parse_args", "_secrets_dir", "__init__"])
def test_no_key_means_anything_but_a_setting(tmp_path: Path, key: str) -> None:
    """Libraries that read settings take some such keys for their own options."""
    file = toml(f"{key} = '/dev/zero'\n", tmp_path / "e.toml")
    assert refusal(file).startswith(f"{file}: unknown setting {key!r}; sections are data, model, ")
    with pytest.raises(SettingsError, match=f"unknown setting {key!r}"):
        settings_from_dict({key: "/dev/zero"})


def test_unknown_key_in_the_environment_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPARSE_TRAIN__EPOCH", "3")
    assert refusal() == "environment: unknown setting 'train.epoch'; did you mean 'train.epochs'?"


def test_unknown_section_in_the_environment_names_the_variable_and_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPARSE_TRIAN__EPOCHS", "3")
    assert refusal() == (
        "environment: unknown setting FACEPARSE_TRIAN__EPOCHS; did you mean 'train'?; "
        "settings are written FACEPARSE_TRAIN__EPOCHS"
    )


def test_unknown_option_names_the_nearest() -> None:
    assert refusal(options={"optim.rl": 1}) == "option: unknown setting 'optim.rl'; did you mean 'optim.lr'?"


@pytest.mark.parametrize("typed", ["epochs", "train.epochs.now"])
def test_option_that_is_no_section_and_key_is_refused(typed: str) -> None:
    message = refusal(options={typed: 1})
    assert message == f"{typed}: a setting is written section.key; did you mean 'train.epochs'?"


# Bad values, each layer.


def test_bad_value_in_a_file_names_file_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    file = toml("[train]\nepochs = 0\n", tmp_path / "e.toml")
    assert refusal(file) == f"{file}: train.epochs = 0: input should be greater than 0"


def test_bad_value_in_the_environment_is_said_to_come_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPARSE_TRAIN__EPOCHS", "many")
    assert refusal().startswith("environment: train.epochs = 'many': input should be a valid integer")


def test_bad_option_is_said_to_be_one() -> None:
    message = refusal(options={"model.backbone": "resnet102"})
    assert message == (
        "option: model.backbone = 'resnet102': not one of resnet18, resnet34, resnet50, resnet101, mobilenet_v2 and "
        "timm:NAME; did you mean 'resnet101'?"
    )


def test_bad_value_names_the_layer_that_won(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml("[train]\nepochs = -1\nseed = -1\n", tmp_path / "e.toml")
    monkeypatch.setenv("FACEPARSE_TRAIN__EPOCHS", "-2")
    assert "environment: train.epochs = '-2'" in refusal(file)
    assert f"{file}: train.seed = -1" in refusal(file)
    assert refusal(file, {"train.epochs": -3, "train.seed": 0}).startswith("option: train.epochs = -3")


def test_good_value_above_mends_a_bad_one_below(tmp_path: Path) -> None:
    file = toml("[train]\nepochs = -1\n", tmp_path / "e.toml")
    assert load_settings(file, {"train.epochs": 5}).train.epochs == 5


def test_value_in_place_of_a_section_is_refused(tmp_path: Path) -> None:
    file = toml("train = 3\n", tmp_path / "e.toml")
    assert refusal(file).startswith(f"{file}: train = 3: ")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optim.lr", 0, "0: input should be greater than 0"),
        ("optim.lr", "nan", "'nan': input should be a finite number"),
        ("optim.lr", "inf", "'inf': input should be a finite number"),
        ("optim.momentum", 1, "1: input should be less than 1"),
        ("optim.weight_decay", -1e-9, "-1e-09: input should be greater than or equal to 0"),
        ("loss.edge", -1, "-1: input should be greater than or equal to 0"),
        ("loss.scale", 0, "0: input should be greater than 0"),
        ("train.batch_size", 1, "1: input should be greater than or equal to 2"),
        ("train.epochs", 1.5, "1.5: input should be a valid integer"),
        ("train.device", "gpu", "'gpu': One of auto (the first GPU of CUDA, else the CPU), cpu, cuda, cuda:N"),
        ("train.device", "cuda:x", "'cuda:x': One of auto"),
        ("data.workers", -1, "-1: input should be greater than or equal to 0"),
        ("data.prefetch", 0, "0: input should be greater than 0"),
        ("data.pin_memory", "maybe", "'maybe': input should be a valid boolean"),
        ("data.cache", "yes", "'yes': input should be 'auto', 'off' or 'on'"),
        ("data.num_classes", 1, "1: input should be greater than or equal to 2"),
        ("data.num_classes", 256, "256: input should be less than or equal to 255"),
        ("data.val_split", "train", "'train': input should be 'val' or 'test'"),
        ("data.channel_order", "RGB", "'RGB': input should be 'rgb' or 'bgr'"),
        ("data.rotation_probability", 1.01, "1.01: input should be less than or equal to 1"),
        ("data.scale_sigma", 1, "1: input should be less than 1"),
        ("data.color_jitter", 2, "2: input should be less than or equal to 1"),
        ("data.input_size", "473", "('473',): too few values"),
        ("data.input_size", "4,5,6", "('4', '5', '6'): tuple should have at most 2 items"),
        ("data.input_size", "31,473", "'31': input should be greater than or equal to 32"),
        ("data.input_size", "473,2049", "'2049': input should be less than or equal to 2048"),
        ("data.input_size", "473,b", "'b': input should be a valid integer"),
        ("data.mean", "0,1", "('0', '1'): too few values"),
        ("data.mean", "0,nan,0", "'nan': input should be a finite number"),
        ("data.std", "1,0,1", "'0': input should be greater than 0"),
        ("data.input_size", 512, "512: too few values"),
        ("tracking.experiment", " ", "' ': a name is one line of 1 to 500 letters"),
        ("tracking.experiment", "a\nb", "'a\\nb': a name is one line of 1 to 500 letters"),
        ("tracking.experiment", "a" * 501, f"'{'a' * 60}"),
        ("tracking.overlays", 65, "65: input should be less than or equal to 64"),
        ("model.norm", "batch", "'batch': input should be 'auto', 'inplace_abn' or 'torch'"),
    ],
)
def test_bad_values_are_answered_with_key_value_and_what_is_allowed(key: str, value: object, message: str) -> None:
    assert refusal(options={key: value}).startswith(f"option: {key} = {message}")


@pytest.mark.parametrize(
    ("value", "message"),
    [("encoder", "'encoder': give 'none' or 'backbone', or a whole number"),
     (0, "0: give 'none' or 'backbone', or a number greater than 0")],
)  # fmt: skip
def test_a_setting_of_two_kinds_has_one_line(value: object, message: str) -> None:
    options = {"model.pretrained": "imagenet", "model.freeze": value}
    assert refusal(options=options) == f"option: model.freeze = {message}"


# Settings out of others


def test_some_are_replaced_and_the_rest_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(options={"data.mean": "0.1,0.2,0.3", "optim.lr": 0.5})
    monkeypatch.setenv("FACEPARSE_OPTIM__POWER", "0.1")
    changed = override(settings, {"optim.lr": "0.25", "train.run_dir": Path("run")})
    assert changed == load_settings(
        options={"data.mean": "0.1,0.2,0.3", "optim.lr": 0.25, "train.run_dir": "run", "optim.power": 0.9}
    )
    assert changed.data.model_fields_set == {"mean"}
    assert chosen(changed) == {
        "data": {"mean": [0.1, 0.2, 0.3]},
        "optim": {"lr": 0.25},
        "train": {"run_dir": "run"},
    }
    assert settings_from_dict(chosen(settings)) == settings


def test_a_bad_replacement_is_said_to_come_from_its_place() -> None:
    with pytest.raises(SettingsError, match=r"^option: optim\.lr = '0': input should be greater than 0$"):
        override(Settings(), {"optim.lr": "0"})
    with pytest.raises(SettingsError, match=r"^--over: unknown setting 'optim\.rl'; did you mean 'optim\.lr'\?$"):
        override(Settings(), {"optim.rl": "1"}, "--over")


def test_three_bad_values_are_told_together() -> None:
    message = refusal(options={"train.epochs": 0, "optim.lr": -1, "data.workers": -1})
    assert all(part in message for part in ("train.epochs = 0", "optim.lr = -1", "data.workers = -1"))


def test_working_ahead_without_loader_processes_is_refused(tmp_path: Path) -> None:
    file = toml("[data]\nprefetch = 4\n", tmp_path / "e.toml")
    assert load_settings(file).data.prefetch == 4
    assert refusal(file, {"data.workers": 0}) == (
        f"{file}: data.prefetch = 4: without loader processes (data.workers = 0) nothing works ahead; "
        "drop one of the two"
    )


# Files that are none.


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.toml").startswith(f"{tmp_path / 'gone.toml'}: no such experiment file")


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: cannot be read (Is a directory)")


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    file = toml("[train]\nepochs = \n", tmp_path / "e.toml")
    message = refusal(file)
    assert message.startswith(f"{file}: not valid TOML: ")
    assert "line 2" in message


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_bytes(b"\xff\xfe\x00\x01")
    assert refusal(tmp_path / "e.toml").startswith(f"{tmp_path / 'e.toml'}: not a text file in UTF-8")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("faceparse", "faceparse"),
        ("a.b_c-1", "a.b_c-1"),
        ("my faces", "my faces"),
        ("gesichter-ä", "gesichter-ä"),
        ("/Shared/faces", "Shared-faces"),
        ("../../etc", "etc"),
        ("..", "experiment"),
        ("///", "experiment"),
        ("ä" * 400, "ä" * 100),
    ],
)
def test_an_experiment_has_a_folder_that_is_safe(name: str, folder: str) -> None:
    settings = load_settings(options={"tracking.experiment": name, "train.runs_dir": "runs"})
    assert (settings.tracking.experiment, settings.experiment_dir) == (name, Path("runs") / folder)


def test_mlflows_own_variable_names_the_experiment_where_nobody_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "/Shared/faces")
    assert load_settings().tracking.experiment == "/Shared/faces"
    file = tmp_path / "experiment.toml"
    file.write_text("[tracking]\nexperiment = 'file'\n")
    assert load_settings(file).tracking.experiment == "file"
    assert read_settings(file).tracking.experiment == "file"
    assert load_settings(options={"tracking.experiment": "option"}).tracking.experiment == "option"
    monkeypatch.setenv("FACEPARSE_TRACKING__EXPERIMENT", "environment")
    assert load_settings(file).tracking.experiment == "environment"
    monkeypatch.delenv("FACEPARSE_TRACKING__EXPERIMENT")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "a" * 501)
    with pytest.raises(SettingsError, match=r"^MLFLOW_EXPERIMENT_NAME: tracking.experiment = 'a+\.\.\.a+'"):
        load_settings()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    assert load_settings().tracking.experiment == "faceparse"
