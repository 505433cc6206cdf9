"""The experiment files: each is valid, and those of the paper hold its recipe."""

from pathlib import Path

import pytest

from faceparse.core.labels.label_set import builtin_label_sets
from faceparse.core.settings import Settings, load_settings

FILES = sorted((Path(__file__).parents[1] / "experiments").glob("*.toml"))
PAPER = ("helen", "lapa", "celebamask-hq")


def test_every_table_of_the_paper_has_a_file_and_a_light_one() -> None:
    assert {file.stem for file in FILES} >= {*PAPER, *(f"{name}-light" for name in PAPER)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_valid_and_a_run_of_its_own_name(file: Path) -> None:
    settings = load_settings(file)
    assert settings.tracking.experiment == file.stem
    assert settings.data.label_set is None or settings.data.label_set in builtin_label_sets()
    assert file.read_text().splitlines()[1].startswith("#   faceparse prepare ")


LAPTOP = [file for file in FILES if "on a laptop" in file.read_text()]


def test_every_dataset_of_the_paper_has_one_for_a_laptop() -> None:
    assert {load_settings(file).data.label_set for file in LAPTOP} == set(PAPER)


@pytest.mark.parametrize("file", LAPTOP, ids=lambda file: file.stem)
def test_those_for_a_laptop_need_no_network_and_say_how_to_start_from_imagenet(file: Path) -> None:
    assert load_settings(file).model.pretrained == "none"
    assert "--restore-from imagenet" in file.read_text()


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipe_differs_from_the_defaults_only_in_the_dataset(name: str) -> None:
    settings = load_settings(next(file for file in FILES if file.stem == name))
    for section in ("model", "loss", "optim"):
        assert getattr(settings, section) == getattr(Settings(), section)
    assert (settings.train.epochs, settings.train.batch_size, settings.data.input_size) == (200, 7, (473, 473))
    assert settings.train.best_metric == ("f1/overall" if name == "helen" else "mean_f1")
