import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.settings import Settings
from faceparse.core.sweeps.space import Choices, FloatRange, IntRange, Space, parse_space


def parse(*over: str) -> Space:
    return parse_space(Settings(), over)


def test_choices_and_ranges_are_read_as_their_settings_are() -> None:
    space = parse(
        "optim.lr=1e-3, 5e-4",
        "data.input_size=97,65;64,64",
        "train.seed=0..9",
        "optim.momentum=0..0.5",
        "optim.warmup=1..1000:log",
        "data.root=../a,../b",
        "data.random_mirror=true,false",
    )
    assert space.axes == [
        Choices("optim.lr", ("1e-3", "5e-4")),
        Choices("data.input_size", ("97,65", "64,64")),
        IntRange("train.seed", 0, 9, log=False),
        FloatRange("optim.momentum", 0.0, 0.5, log=False),
        IntRange("optim.warmup", 1, 1000, log=True),
        Choices("data.root", ("../a", "../b")),
        Choices("data.random_mirror", ("true", "false")),
    ]
    assert space.size is None
    example = space.example()
    assert (example["optim.lr"], example["train.seed"], example["optim.momentum"]) == ("1e-3", 0, 0.0)


def test_combinations_are_counted_and_numbered() -> None:
    space = parse("optim.lr=1,2", "train.epochs=5..7", "train.batch_size=4")
    found = [tuple(space.at(position).items()) for position in range(space.size or 0)]
    expected = [
        (("optim.lr", lr), ("train.epochs", epochs), ("train.batch_size", "4")) for lr in "12" for epochs in (5, 6, 7)
    ]
    assert found == expected
    assert parse(f"train.seed=0..{2**63 - 1}", f"data.workers=0..{2**62}").size == 2**63 * (2**62 + 1)


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ([], "--over: say what to vary, such as --over optim.lr=1e-3,5e-4"),
        (["optim.lr"], "--over 'optim.lr': write section.key=value,value or section.key=low..high"),
        (["optim.lr="], "--over 'optim.lr=': write section.key=value,value or section.key=low..high"),
        (["optim.rl=1,2"], "--over: unknown setting 'optim.rl'; did you mean 'optim.lr'?"),
        (["lr=1,2"], "lr: a setting is written section.key"),
        (["optim.lr=1e-3,0"], "--over: optim.lr = '0': input should be greater than 0"),
        (["train.batch_size=4,"], "--over: train.batch_size = '': input should be a valid integer, unable to parse "
         "string as an integer"),
        (["train.batch_size=4,1..7"], "--over: train.batch_size = '4,1': input should be a valid integer, unable to "
         "parse string as an integer"),
        (["model.backbone=resnet18,vgg"], "--over: model.backbone = 'vgg': not one of resnet18, resnet34, "
         "resnet50, resnet101, mobilenet_v2 and timm:NAME"),
        (["data.input_size=64,64"], "--over: data.input_size = ('64',): too few values"),
        (["optim.lr=1e-3,0.001"], "--over optim.lr=1e-3,0.001: 1e-3 is there twice"),
        (["optim.lr=1,2", "optim.lr=3"], "--over optim.lr: given twice; write all of its values in one"),
        (["optim.lr=1e-2..1e-3"], "--over optim.lr=1e-2..1e-3: 1e-2 is not below 1e-3"),
        (["optim.lr=0..1"], "--over: optim.lr = '0': input should be greater than 0"),
        (["optim.weight_decay=0..1:log"], "--over optim.weight_decay=0..1:log: a log scale begins above 0"),
        (["optim.lr=1..2:lin"], "--over optim.lr=1..2:lin: write low..high or low..high:log"),
        (["train.epochs=1..2.5"], "--over: train.epochs = '2.5': input should be a valid integer, unable to parse "
         "string as an integer"),
        (["model.backbone=resnet18..resnet50"], "--over: model.backbone = 'resnet18..resnet50': not one of "
         "resnet18, resnet34, resnet50, resnet101, mobilenet_v2 and timm:NAME; did you mean 'resnet50'?"),
        (["tracking.experiment=a,b"], "--over tracking.experiment: all trials share it, or their scores could not be "
         "compared"),
        (["data.val_split=val,test"], "--over data.val_split: all trials share it, or their scores could not be "
         "compared"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_be_varied_is_said_in_one_line(over: list[str], expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(*over)
    assert str(caught.value) == expected
