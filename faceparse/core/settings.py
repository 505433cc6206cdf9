"""The settings of an experiment: one frozen tree, checked before anything runs.

Precedence: option typed > environment (`FACEPARSE_TRAIN__EPOCHS`) > TOML file > MLFLOW_EXPERIMENT_NAME > default.
"""

import os
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from faceparse.core.errors import SettingsError
from faceparse.core.labels.label_set import nearest
from faceparse.core.limits import LARGEST_SIDE
from faceparse.core.text.address import keep_secrets, public_address
from faceparse.core.text.paths import path_problem, utf8_problem
from faceparse.core.text.toml_json import read_toml

ENV_PREFIX = "FACEPARSE_"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
LONGEST_EXPERIMENT = 500
"""Characters of an experiment's name that MLflow takes."""
LONGEST_FOLDER = 200
"""Bytes of a folder's name. File systems take 255."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _split(value: Any) -> Any:
    """Split `473,473`, as typed in a shell or the environment; return other values unchanged."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return value


def _usable(value: Any) -> Any:
    """Return a path unchanged; raise ValueError if no file can have it, or if it does not fit a settings file."""
    if isinstance(value, str | Path) and (problem := utf8_problem(value)):
        raise ValueError(problem)
    return value


def _unset(value: Any) -> Any:
    """Return None for `auto`, which leaves the choice open; return other values unchanged."""
    return None if value == "auto" else value


def _experiment_name(name: str) -> str:
    if not name.isprintable() or not name.strip() or len(name) > LONGEST_EXPERIMENT:
        raise ValueError(f"a name is one line of 1 to {LONGEST_EXPERIMENT} letters")
    return name


def folder_name(experiment: str) -> str:
    """Name of an experiment's folder: `/Shared/faces` -> `Shared-faces`."""
    words = re.sub(r"[^\w. -]+", "-", experiment).encode()[:LONGEST_FOLDER].decode(errors="ignore")
    return words if words == experiment and words.strip(". ") else words.strip("-. ") or "experiment"


FilePath = Annotated[Path, BeforeValidator(_usable)]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=32, le=LARGEST_SIDE)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_split)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Triple = Annotated[tuple[Finite, Finite, Finite], BeforeValidator(_split)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Switch = Annotated[bool | None, BeforeValidator(_unset)]
PositivePair = Annotated[tuple[PositiveFloat, PositiveFloat], BeforeValidator(_split)]
PositiveTriple = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], BeforeValidator(_split)]


RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
TIMM = "timm:"
"""Prefix of the name of a backbone from timm."""


INPUT = ("input_size", "channel_order", "mean", "std")
"""Settings of `data` that say what the network sees."""


def _backbone(name: str) -> str:
    own = (*RESNETS, "mobilenet_v2")
    if name not in own and not re.fullmatch(rf"{TIMM}[\w.-]+", name):
        raise ValueError(f"not one of {', '.join(own)} and {TIMM}NAME{nearest(name, own)}")
    return name


Backbone = Annotated[str, AfterValidator(_backbone)]


class _Section(BaseModel):
    # `use_attribute_docstrings`: the text under a field is its help, in the reference and in error messages.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataSettings(_Section):
    """The dataset in its canonical layout, and how an image becomes a network input."""

    root: FilePath = Path("dataset/Helen")
    """Dataset folder (canonical layout)."""
    label_set: str | None = None
    """Built-in name or TOML file. Default: what the dataset folder says, else by `num_classes`."""
    num_classes: Annotated[int, Field(ge=2, le=255)] | None = None
    """Expected class count; a dataset or checkpoint with another one is refused."""
    val_split: Literal["val", "test"] = "val"
    """Split that best.pth is chosen on. `test`, as several published codes have it, inflates the reported scores."""
    folds: Annotated[int, Field(ge=2, le=50)] | None = None
    """Number of parts that train and val together are divided into, of nearly equal size. The photographs of one group
    in groups.csv, such as those of one person, stay in one part. `train` then trains a network for each part, on all
    others. test is left out."""
    fold: Positive | None = None
    """The one of the `folds` that a single run leaves out of training, counted from 1. It takes the place of val."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the training photographs that are used. A smaller share is a part of every larger one. An epoch has as
    many updates as with all of them."""
    input_size: Size = (473, 473)
    """Height and width of the crop the network sees."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """Order of the image channels; the released checkpoints expect bgr with the mean and std in RGB order."""
    mean: Triple = IMAGENET_MEAN
    """Numbers that are subtracted from the channels (0 to 1), in the channels' order."""
    std: PositiveTriple = IMAGENET_STD
    """Numbers that the channels are then divided by."""
    random_scale: bool = True
    """Apply the recipe's augmentation: a random scale, and with `rotation_probability` a random rotation."""
    scale_sigma: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Scale is clip(1 + sigma N(0, 1), 1 - sigma, 1 + sigma)."""
    rotation_sigma: NonNegative = 30.0
    """Rotation in degrees is clip(sigma N(0, 1), -2 sigma, 2 sigma)."""
    rotation_probability: Fraction = 0.6
    """Share of the samples that are rotated, where `random_scale` is on."""
    random_mirror: bool = False
    """Mirror half of the samples, and swap their left and right classes."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Random shift, in both directions, of up to this share of the crop's side; 0 in the recipe."""
    color_jitter: Fraction = 0.0
    """Random brightness, contrast and saturation of up to this share; 0 in the recipe."""
    grey: Fraction = 0.0
    """Share of the samples that lose their colours."""
    blur: Fraction = 0.0
    """Share of the samples that are blurred, by a Gaussian of 0.3 to 2 % of the crop's side."""
    jpeg: Fraction = 0.0
    """Share of the samples that are compressed as JPEG, with a quality from 20 to 90."""
    noise: Fraction = 0.0
    """Share of the samples that get Gaussian noise of up to 8 % of the range."""
    erase: Fraction = 0.0
    """Share of the samples in which a rectangle of 2 to 15 % of the crop is grey; its label stays."""
    backgrounds: FilePath | None = None
    """Folder of pictures without faces. In half of the samples, such a picture fills the area beyond the photograph's
    border, and the loss counts that area as background. Otherwise the area is black, and the loss ignores it. `far` and
    `empty` need this folder."""
    far: Fraction = 0.0
    """Share of the samples that are shown small and turned on a picture of `backgrounds`, with up to three others."""
    empty: Fraction = 0.0
    """Share of the samples that are replaced by a piece of a picture of `backgrounds`."""
    rare_first: Fraction = 0.0
    """Draw photographs with a rare class more often. A class is rare if fewer than this share of the photographs have
    it; they are drawn more often by the square root of how much rarer it is (Gupta et al., LVIS, CVPR 2019). 0 draws
    each photograph once an epoch, as in the recipe."""
    workers: Annotated[int, Field(ge=0)] = 2
    """Processes that load samples; 0 loads them in the training process."""
    persistent_workers: bool = True
    """Keep loader processes between epochs; otherwise each epoch starts new ones."""
    prefetch: Positive | None = None
    """Batches that each loader process loads ahead. Default: 2."""
    pin_memory: Switch = None
    """Put batches in pinned memory, from which a GPU fetches them while it computes. Default (auto): on a GPU."""
    cache: Literal["auto", "off", "on"] = "auto"
    """Keep decoded training samples in memory, one block for all loader processes. `auto`: if half of the free memory
    is enough. `on`: always; the run is refused if nine tenths of the free memory are not enough. The numbers are the
    same either way."""

    @field_validator("folds")
    @classmethod
    def _hold_out(cls, folds: int | None, info: ValidationInfo) -> int | None:
        if folds is not None and info.data.get("val_split") != "val":
            raise ValueError("each fold chooses best.pth on its own photographs; drop data.val_split")
        return folds

    @field_validator("fold")
    @classmethod
    def _one_of_the_folds(cls, fold: int | None, info: ValidationInfo) -> int | None:
        if fold is not None and "folds" in info.data and fold > (folds := info.data["folds"] or 0):
            raise ValueError(f"there are data.folds = {folds}" if folds else "say how many there are as data.folds")
        return fold

    @field_validator("far", "empty")
    @classmethod
    def _needs_backgrounds(cls, share: float, info: ValidationInfo) -> float:
        if share and info.data.get("backgrounds") is None:
            raise ValueError("needs pictures without faces; name their folder as data.backgrounds")
        return share

    @field_validator("prefetch")
    @classmethod
    def _needs_workers(cls, prefetch: int | None, info: ValidationInfo) -> int | None:
        if prefetch is not None and info.data.get("workers") == 0:
            raise ValueError("without loader processes (data.workers = 0) nothing works ahead; drop one of the two")
        return prefetch


def _is_light(heads: str | None, backbone: str) -> bool:
    return heads == "light" or (heads == "auto" and backbone not in RESNETS)


class ModelSettings(_Section):
    """The network."""

    backbone: Backbone = "resnet101"
    """Network under the heads: resnet18, resnet34, resnet50, resnet101 (the paper's), mobilenet_v2, or timm:NAME, a
    feature network of timm with maps at 1/4, 1/8, 1/16 and 1/32."""
    stem: Literal["deep", "torchvision"] = "deep"
    """Stem of a ResNet. `deep`: three 3x3 convolutions as in the paper's backbone; `torchvision`: its single 7x7."""
    heads: Literal["auto", "paper", "light"] = "auto"
    """`paper`: the published heads on maps at 1/4 and 1/8. `light`: a lean pyramid on maps at 1/4 to 1/32, with a
    seventh of the computation on a ResNet-18. `auto`: `paper` on a ResNet, else `light`."""
    graph: bool = False
    """Add an edge-anchored graph to the light heads. The paper's heads always have two graphs."""
    norm: Literal["auto", "inplace_abn", "torch"] = "auto"
    """`auto`: inplace_abn on a GPU where it is installed, else `torch`, a plain layer that computes the same."""
    pretrained: str = "none"
    """Weights to start from. `none`; `imagenet`: torchvision's or timm's weights of the backbone (a ResNet's are made
    for its 7x7 stem); a checkpoint or its name (`hf:ORG/NAME`, ...); a released EAGRNet; or a backbone's file. A
    checkpoint may have other classes: those of the same name are taken, and `mapping` may name others."""
    mapping: FilePath | None = None
    """TOML file that says which of the checkpoint's classes become which of the dataset's, with a line
    `new = ["old", ...]` for each; a new class starts from the mean of its old ones. Default: the known mapping between
    the two label sets, else classes of the same name."""
    freeze: Annotated[Literal["none", "backbone"] | Positive, Field(union_mode="left_to_right")] = "none"
    """Keep the backbone's weights and statistics as they are: `backbone` in the whole training, a number in that many
    first epochs. Needs weights to start from."""

    @field_validator("mapping", "freeze")
    @classmethod
    def _of_a_start(cls, value: Any, info: ValidationInfo) -> Any:
        if value not in (None, "none") and info.data.get("pretrained") == "none":
            raise ValueError("needs weights to start from; name them as model.pretrained (--restore-from)")
        return value

    def is_frozen(self, epoch: int) -> bool:
        """Whether the backbone is frozen in this epoch, counted from 1."""
        return self.freeze == "backbone" or (isinstance(self.freeze, int) and epoch <= self.freeze)

    @property
    def light(self) -> bool:
        """Whether the heads are the light ones."""
        return _is_light(self.heads, self.backbone)

    @field_validator("graph")
    @classmethod
    def _of_light_heads(cls, graph: bool, info: ValidationInfo) -> bool:
        heads, backbone = info.data.get("heads"), info.data.get("backbone", "")
        if graph and not _is_light(heads, backbone):
            raise ValueError("the paper's heads always have their graphs; model.graph is for the light ones")
        return graph


class LossSettings(_Section):
    """Weights of the loss terms; the published code uses 1, 1 and 4."""

    parsing: NonNegative = 1.0
    """Weight of the cross-entropy over all labelled pixels."""
    edge: NonNegative = 1.0
    """Weight of the edge head's cross-entropy; the rarer of edge and no edge weighs more."""
    boundary_attention: NonNegative = 4.0
    """Weight of the parsing cross-entropy at edge pixels alone."""
    dice: NonNegative = 0.0
    """Weight of 1 minus the batch's soft F1, mean over classes: a rare class counts like any other. 0 in the recipe."""
    lovasz: NonNegative = 0.0
    """Weight of the Lovász-Softmax, which lowers 1 minus the IoU: mean over an image's classes, then over images
    (Berman et al., CVPR 2018). 0 in the recipe."""
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    """Factor on the whole loss. It is 2 because the released code adds each term once for each of its two outputs."""
    class_weights: Literal["none", "root", "enet"] = "none"
    """Weight of a pixel in both parsing terms, by its class's share p of all training pixels. `root`: 1 / sqrt(p x
    classes); `enet`: 1 / ln(1.02 + p) (Paszke et al., ENet, 2016); `none`: 1, as in the recipe."""
    class_weight_range: PositivePair = (0.5, 5.0)
    """Lowest and highest class weight; a weight beyond one of them is set to it."""

    @field_validator("class_weight_range")
    @classmethod
    def _ascending(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:
            raise ValueError("the lower limit comes first")
        return limits


class OptimSettings(_Section):
    """The optimizer, which updates the weights; the recipe is SGD with the poly schedule."""

    name: Literal["sgd", "adamw"] = "sgd"
    """`sgd` as in the recipe, or `adamw` (Loshchilov and Hutter, ICLR 2019), which suits light networks."""
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    """Base learning rate, which `schedule` and `warmup` multiply over the iterations."""
    backbone_lr: PositiveFloat | None = None
    """Base learning rate of the backbone. Default: `lr`."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the previous update in each update of sgd; adamw's first beta."""
    weight_decay: NonNegative = 5e-4
    """sgd: L2 penalty on all weights. adamw: decay of all weights but norms and biases."""
    clip: NonNegative = 0.0
    """Largest L2 norm of the gradient over all weights; a longer gradient is shortened to it. 0 clips nothing."""
    schedule: Literal["poly", "cosine"] = "poly"
    """How the learning rate falls: `poly`, lr x (1 - iteration / iterations) ** power, or `cosine`, half a wave."""
    power: NonNegative = 0.9
    """Exponent of the poly schedule."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Iterations over which lr rises linearly from 0; 0 in the recipe."""
    fused: bool = True
    """Update all weights in one kernel. Without it, each step waits for its loss, to leave out a bad one."""


class TrainSettings(_Section):
    """Length, batches, checkpoints and folders of a training run."""

    epochs: Positive = 200
    """Passes over the training set."""
    batch_size: Annotated[int, Field(ge=2)] = 7
    """Photographs at a time in each process. At least 2: batch norm after the pyramid's 1 x 1 pool needs more than one
    value a channel."""
    accumulate: Positive = 1
    """Batches whose gradients together make one update."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the old average in a running average of the weights, such as 0.999. The average is evaluated and saved
    as best.pth. 0: no average."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the first weights, the order of the samples and their augmentation, and of `data.folds` and
    `data.share`."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+(,\d+)*)?)$")] = "auto"
    """One of auto (the first GPU of CUDA, else the CPU), cpu, cuda, cuda:N, mps (Apple's GPU), and cuda:N,N,... for
    a process on each."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 1000
    """Iterations between two writes of last.pth in an epoch; 0 writes it only with evaluations and at signals."""
    evaluate_every: Positive = 1
    """Epochs between evaluations on `val`. Each writes last.pth. The last epoch always has one."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Evaluations without a better `best_metric` after which training stops. 0, as in the recipe: train all epochs. The
    learning rate falls until the last of `epochs`; training that stops before does without the end of this fall."""
    best_metric: str = "auto"
    """Score on `val` that chooses best.pth: mean_f1, mean_iou, pixel_accuracy, or f1/<class or merged name>.
    `auto` is f1/overall where the label set has it (Helen), as in the recipe, else mean_f1."""
    runs_dir: FilePath = Path("runs")
    """Folder of all runs."""
    run_dir: FilePath | None = None
    """The run directory itself. Default: runs_dir/<experiment>/<time>-<id>."""


class SpeedSettings(_Section):
    """Ways to get the same numbers, or nearly the same, sooner."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of forward and backward; weights and loss stay fp32. `auto`: bf16 on a GPU that has it, else fp32.
    The in-place norm layer takes no bf16: with it, `model.norm = "auto"` becomes `torch`."""
    channels_last: bool = True
    """Store weights and maps in the memory order N H W C."""
    compile: bool = False
    """Use torch.compile; the first iterations take minutes, and `model.norm` becomes `torch`."""


class LaunchSettings(_Section):
    """Processes and machines that a run uses.

    They do not change what is trained, with one exception: the number of processes multiplies `train.batch_size`.
    """

    processes: Positive = 1
    """Processes on this machine's CPU; on GPUs, `train.device` says how many."""
    nodes: Positive = 1
    """Number of machines; start the same command on each."""
    rendezvous: Annotated[str, Field(pattern=r"^[^:\s]+:\d+$|^\[[0-9a-fA-F:]+\]:\d+$")] | None = None
    """Where the machines meet, host:port of one of them."""
    max_restarts: Annotated[int, Field(ge=0)] = 3
    """How often lost processes are started again, from the last checkpoint."""
    timeout: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 600.0
    """Seconds without an answer after which another process counts as lost."""


class TrackingSettings(_Section):
    """Logging to MLflow."""

    enabled: bool = True
    """Log to MLflow. Everything is in the run directory, too."""
    uri: Annotated[str, AfterValidator(public_address)] | None = None
    """Tracking URI. Default: MLFLOW_TRACKING_URI, else mlflow.db (SQLite) in the working folder. A user and password in
    it are used by this run only, and saved nowhere."""
    experiment: Annotated[str, AfterValidator(_experiment_name)] = "faceparse"
    """Experiment name in MLflow, such as `faces` or `/Shared/faces`. MLFLOW_EXPERIMENT_NAME is used where neither a
    file nor an option has one. The folder under `runs_dir` gets the same name, with `-` for unfit characters."""
    run_name: str | None = None
    """The run's name in MLflow. Default: the name of its folder."""
    overlays: Annotated[int, Field(ge=0, le=64)] = 4
    """Number of overlays of `val` that are logged with each new best."""
    system_metrics: bool = True
    """Log how busy CPU, memory and GPUs were, as a mean for each epoch."""


class Settings(BaseModel):
    """All settings of a run. The defaults are the paper's Helen recipe on one GPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    optim: OptimSettings = OptimSettings()
    train: TrainSettings = TrainSettings()
    speed: SpeedSettings = SpeedSettings()
    launch: LaunchSettings = LaunchSettings()
    tracking: TrackingSettings = TrackingSettings()

    @property
    def experiment_dir(self) -> Path:
        """Folder of the experiment's runs, each in a folder of its own."""
        return self.train.runs_dir / folder_name(self.tracking.experiment)

    def moved_to(self, other: "Settings") -> "Settings":
        """Return these settings with the device and launch of `other`: neither changes what is trained."""
        train = self.train.model_copy(update={"device": other.train.device})
        return self.model_copy(update={"train": train, "launch": other.launch})

    def lasting(self, epochs: int) -> "Settings":
        """Return these settings with another number of epochs."""
        return self.model_copy(update={"train": self.train.model_copy(update={"epochs": epochs})})


def read_settings(file: Path) -> Settings:
    """Settings from a settings.toml alone; the environment is ignored.

    Raises:
        SettingsError: as `load_settings`.
    """
    return settings_from_dict(_read_toml(file), {str(file): {}})


def load_settings(file: Path | None = None, options: Mapping[str, Any] | None = None) -> Settings:
    """Settings from a TOML file, the environment and `options` ("section.key" -> value).

        load_settings(Path("experiments/helen.toml"), {"train.epochs": 50})

    Raises:
        SettingsError: an unknown key or a bad value, with where it came from.
    """
    experiment = os.environ.get(EXPERIMENT_VARIABLE)
    layers = {
        EXPERIMENT_VARIABLE: _nest({"tracking.experiment": experiment} if experiment else {}),
        str(file) if file else "settings": _read_toml(file) if file else {},
        "environment": _environment(),
        "option": _nest(options or {}),
    }
    merged: dict[str, Any] = {}
    for origin, layer in layers.items():
        for section, values in layer.items():
            if section in Settings.model_fields and not isinstance(values, Mapping):
                raise SettingsError(f"{origin}: {section} = {values!r}: a section is a table, [{section}]")
        _merge(merged, layer)
    _keep_secrets(merged)
    return settings_from_dict(merged, layers)


SettingsSource = str | Path | Mapping[str, Any] | Settings | None
"""Settings: a TOML file, values by section.key or by section and key, settings, or None for the defaults."""


def settings_from(source: SettingsSource, options: Mapping[str, Any] | None = None) -> Settings:
    """Settings from whatever holds them, with some replaced by `options` ("section.key" -> value).

        settings_from({"train.epochs": 50, "data": {"root": "dataset/FASSEG"}})

    The environment counts as for `load_settings`, but not for settings that are whole already.

    Raises:
        SettingsError: an unknown key or a bad value, with where it came from; or `source` is something else.
    """
    if isinstance(source, Settings):
        return override(source, options or {})
    if isinstance(source, Mapping):
        return load_settings(options=_dotted(source) | dict(options or {}))
    if source is not None and not isinstance(source, str | Path):
        raise SettingsError(f"settings: a {type(source).__name__}; give a TOML file, a dict, or settings")
    if problem := path_problem(source) if source is not None else None:  # as text: an empty one would be the folder `.`
        raise SettingsError(f"experiment file: {problem}")
    return load_settings(Path(source) if source is not None else None, options)


def _dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by section.key, from such a dict, from one of sections, or from a mixture."""
    dotted: dict[str, Any] = {}
    for name, value in values.items():
        inside = {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, Mapping) else {name: value}
        for key, one in inside.items():
            if key in dotted:
                raise SettingsError(f"settings: {key} is given twice")
            dotted[key] = one
    return dotted


def parse_input_size(value: Any) -> tuple[int, int]:
    """Return height and width as `data.input_size` takes them: from two numbers, or from `473,473` as typed.

    Raises:
        SettingsError: `value` is anything else, or a size that no network takes.
    """
    return load_settings(options={"data.input_size": value}).data.input_size


def settings_from_dict(data: Mapping[str, Any], layers: dict[str, Any] | None = None) -> Settings:
    """Settings from a nested dict; with `layers` (origin -> dict) an error says where a bad value came from.

    Raises:
        SettingsError: an unknown key or a bad value.
    """
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        found: dict[Any, list[Any]] = {}
        for one in error.errors():  # a key that may be one thing or another has an error for each
            found.setdefault(one["loc"][:2], []).append(one)
        raise SettingsError("; ".join(_explain(same, layers or {}) for same in list(found.values())[:3])) from None


def override(settings: Settings, options: Mapping[str, Any], origin: str = "option") -> Settings:
    """Return these settings with some replaced ("section.key" -> value). Keys that were not set stay not set.

    Raises:
        SettingsError: an unknown key or a bad value; the error names `origin`.
    """
    merged, layer = chosen(settings), _nest(options)
    _merge(merged, layer)
    _keep_secrets(layer)
    return settings_from_dict(merged, {origin: layer})


def chosen(settings: Settings) -> dict[str, Any]:
    """Nested dict like that of `to_dict`, with only the keys that somebody set."""
    return settings.model_dump(mode="json", exclude_none=True, exclude_unset=True)


def to_dict(settings: Settings) -> dict[str, Any]:
    """Nested dict of JSON values without unset keys, as stored in checkpoints and settings.toml."""
    return settings.model_dump(mode="json", exclude_none=True)


def to_toml(settings: Settings) -> str:
    """Text of a settings.toml."""
    return tomli_w.dumps(to_dict(settings))


def flatten(settings: Settings) -> dict[str, Any]:
    """Settings by `section.key`."""
    return {f"{section}.{key}": value for section, keys in to_dict(settings).items() for key, value in keys.items()}


def keys() -> dict[str, Any]:
    """Fields by `section.key`, for errors and for the reference."""
    return {
        f"{section}.{key}": field
        for section, model in Settings.model_fields.items()
        for key, field in model.annotation.model_fields.items()  # type: ignore[union-attr]
    }


def _read_toml(file: Path) -> dict[str, Any]:
    if problem := path_problem(file):
        raise SettingsError(f"experiment file: {problem}")
    try:
        return read_toml(file)
    except FileNotFoundError:
        raise SettingsError(f"{file}: no such experiment file; see experiments/ for examples") from None
    except ValueError as error:
        raise SettingsError(f"{file}: {error}") from None


def _environment() -> dict[str, Any]:
    """Settings in the environment: section -> key -> text. Empty variables are ignored."""
    found: dict[str, Any] = {}
    for name, value in os.environ.items():
        if not name.upper().startswith(ENV_PREFIX):
            continue
        section, separator, key = name.upper().removeprefix(ENV_PREFIX).lower().partition("__")
        if not separator or section not in Settings.model_fields:
            example = f"settings are written {ENV_PREFIX}TRAIN__EPOCHS"
            raise SettingsError(
                f"environment: unknown setting {name}{nearest(section, Settings.model_fields)}; {example}"
            )
        if value:
            found.setdefault(section, {})[key] = value
    return found


def _keep_secrets(typed: Mapping[str, Any]) -> None:
    section = typed.get("tracking")
    if isinstance(section, Mapping) and isinstance(uri := section.get("uri"), str):
        keep_secrets(uri)


def _nest(dotted: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in dotted.items():
        *sections, key = str(path).split(".")
        if len(sections) != 1:
            raise SettingsError(f"{path or repr(path)}: a setting is written section.key{nearest(str(path), keys())}")
        nested.setdefault(sections[0], {})[key] = value
    return nested


def _merge(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, Mapping) else value


_SHORT = reprlib.Repr()
"""Shows values as they were written, and shortens long ones."""
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200


def _explain(errors: list[Any], layers: dict[str, Any]) -> str:
    """Say the validation errors of one key in plain words: origin, key, value, what is allowed."""
    error = errors[0]
    location = [str(part) for part in error["loc"]]
    key, value = ".".join(location[:2])[:100], _SHORT.repr(error["input"])
    where = next((f"{origin}: " for origin in reversed(layers) if _holds(layers[origin], location[:2])), "")
    if error["type"] == "extra_forbidden":
        section = f"{location[0]}." if len(location) > 1 else ""
        known = [name.removeprefix(section) for name in keys() if name.startswith(section)]
        known = known if section else list(Settings.model_fields)
        allowed = f"; {location[0]} has {', '.join(known)}" if section else f"; sections are {', '.join(known)}"
        close = nearest(location[-1][:100], known, prefix=section)
        return f"{where}unknown setting {key!r}{close or allowed}"
    if error["type"] == "string_pattern_mismatch":
        return f"{where}{key} = {value}: {keys()[key].description.splitlines()[0]}"
    if len(errors) > 1 and all(isinstance(one["loc"][-1], str) for one in errors):
        return f"{where}{key} = {value}: give {', or '.join(map(_allowed, errors))}"
    too_few = error["type"] in ("missing", "tuple_type")
    message = "too few values" if too_few else error["msg"].removeprefix("Value error, ")
    return f"{where}{key} = {value}: {message[0].lower()}{message[1:]}"


def _allowed(error: Any) -> str:
    """Return the values that one alternative of a setting takes."""
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"])
    if error["type"].startswith("int_"):
        return "a whole number"
    return f"a number {str(error['msg']).removeprefix('Input should be ')}"


def _holds(layer: Any, path: list[str]) -> bool:
    for part in path:
        if not isinstance(layer, Mapping) or part not in layer:
            return False
        layer = layer[part]
    return True
