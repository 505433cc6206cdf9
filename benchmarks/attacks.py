"""Attacks of every kind: right files with seeded random changes, and files that were made to do harm."""

import io
import json
import os
import pickle
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import tomli_w
import torch
from PIL import Image

from benchmarks.attack import Attack, checksums, command, nothing_passes
from tests.mutations import changed_bytes, changed_fields
from tests.raw import face, make_celebamask_hq, make_helen, make_lapa

ROUNDS = int(os.environ.get("ROBUSTNESS_ROUNDS", "3"))
"""How many times each kind's usual number of files is changed."""
FOLDER = 25
"""Pictures per command."""


@dataclass(frozen=True)
class Seeds:
    """Right files, from which all others are made."""

    faces: Path
    """A prepared dataset."""
    run: Path
    """A run that was stopped, with best.pth and last.pth."""
    tracked: Path
    """A finished run that MLflow knows."""
    exports: Path
    """best.onnx, best.safetensors, best.pt2, best.torchscript, and best.bundle."""
    raw: Path
    """A raw dataset in LaPa's layout."""
    prepared: Path
    """The raw dataset after `prepare`."""
    photograph: bytes
    """PNG of a face."""


Files = dict[str, bytes | Path]
"""Path -> content, as in `Attack.files`."""


class Code:
    """Object whose pickle leaves a mark when it is loaded."""

    def __reduce__(self) -> Any:
        return os.system, ('touch "$ATTACK_MARK"',)


def attacks(seeds: Seeds, kinds: Sequence[str] = ()) -> Iterator[Attack]:
    """All attacks, or those of some kinds; the same each time."""
    for kind, make in _KINDS.items():
        if not kinds or kind in kinds:
            yield from make(kind, seeds)


# Pictures


def encoded_pictures() -> dict[str, bytes]:
    """A drawn face in every format that faceparse reads: name -> file."""
    image = Image.fromarray(face(3, (96, 80)).image)
    kinds: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "a.png": (image, "PNG", {}),
        "b.png": (image.convert("RGBA"), "PNG", {}),
        "c.png": (image, "PNG", {"save_all": True, "append_images": [image.rotate(9)]}),
        "a.jpg": (image, "JPEG", {}),
        "b.jpg": (image, "JPEG", {"progressive": True}),
        "a.webp": (image, "WEBP", {}),
        "b.webp": (image, "WEBP", {"lossless": True}),
        "a.bmp": (image, "BMP", {}),
        "a.gif": (image.quantize(64), "GIF", {}),
        "a.tif": (image, "TIFF", {}),
        "b.tif": (image, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "c.tif": (image, "TIFF", {"compression": "tiff_lzw"}),
        "a.jp2": (image, "JPEG2000", {}),
        "a.ppm": (image, "PPM", {}),
        "a.avif": (image, "AVIF", {}),
    }
    files = {}
    for name, (picture, kind, options) in kinds.items():
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        files[name] = buffer.getvalue()
    return files


def is_damage(name: str, old: bytes, new: bytes) -> bool:
    """Whether a change must be noticed: the file is cut, or a checksum covers the changed bytes."""
    if len(new) < len(old) and old.startswith(new):
        return True
    if name.endswith(".png"):
        return not new.startswith(old)
    if name == "b.tif":
        tags = Image.open(io.BytesIO(old)).tag_v2  # type: ignore[attr-defined]
        strips = zip(tags[273], tags[279], strict=True)
        return any(new[start : start + size] != old[start : start + size] for start, size in strips)
    return False


def _pictures(kind: str, seeds: Seeds) -> Iterator[Attack]:
    model = ("--model", str(seeds.exports / "best.onnx"))
    arguments = ("predict", *model, "photos", "-o", "out", "--save", "labels", "--faces", "none")
    for seed, (name, old) in enumerate(encoded_pictures().items()):
        changed = list(changed_bytes(old, ROUNDS * 4 * FOLDER, seed=seed))
        for first in range(0, len(changed), FOLDER):
            files = {f"photos/{n}{Path(name).suffix}": changed[n] for n in range(first, first + FOLDER)}
            damaged = [f"out/labels/{Path(n).stem}.png" for n, new in files.items() if is_damage(name, old, new)]

            def passed(folder: Path, _code: int, _output: str, *, damaged: list[str] = damaged) -> int:
                return sum((folder / one).exists() for one in damaged)

            yield Attack(kind, f"{name} {first}", arguments, files, passed, len(files))


# Datasets


def _labels(kind: str, seeds: Seeds) -> Iterator[Attack]:
    """Attacks on labels, photographs and edges of a dataset, three of each at a time."""
    names = sorted(path.stem for path in (seeds.faces / "labels").glob("*.png"))
    for seed in range(ROUNDS * 25):
        dice = random.Random(seed)
        changed: dict[str, bytes] = {}
        damaged = []
        for part, suffix in (("labels", ".png"), ("images", ".jpg"), ("edges", ".png")):
            for name in dice.sample(names, 3):
                path = f"{part}/{name}{suffix}"
                old = (seeds.faces / path).read_bytes()
                changed[f"data/{path}"] = list(changed_bytes(old, 3, seed=dice.randrange(10**6)))[dice.randrange(3)]
                if is_damage(path, old, changed[f"data/{path}"]):
                    damaged.append(path)

        def passed(_folder: Path, _code: int, output: str, *, damaged: list[str] = damaged) -> int:
            said = "".join(output.split())
            labels = {
                one: one.replace("edges/", "labels/") for one in damaged
            }  # where a label is bad, its edges are not checked
            return sum(one not in said and labels[one] not in said for one in damaged)

        files: Files = {"data": seeds.faces, **changed}
        yield Attack(kind, f"seed {seed}", ("check", "data", "--processes", "1"), files, passed, len(changed))


# Models


def _uses(model: str, seeds: Seeds) -> list[tuple[str, ...]]:
    """Commands that use a model's file. The last two are for checkpoints only: export and training."""
    data = ("--data-dir", str(seeds.faces))
    short = ("--set", "tracking.enabled=false", "--device", "cpu", "--epochs", "1", "--input-size", "64,64")
    return [
        ("predict", "--model", model, "face.png", "-o", "out", "--faces", "none"),
        ("predict", "--model", model, "face.png", "-o", "out"),
        ("eval", model, *data, "--bootstrap", "0", "--worst", "0", "--device", "cpu"),
        ("export", model, *data, "-o", "out.onnx"),
        ("train", *data, "--restore-from", model, *short, "--set", "model.backbone=mobilenet_v2"),
    ]


def _saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _load(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def _checkpoints(kind: str, seeds: Seeds) -> Iterator[Attack]:
    uses, best, last = _uses("m.pth", seeds), seeds.run / "best.pth", seeds.run / "last.pth"
    photo = {"face.png": seeds.photograph}
    for number, data in enumerate(changed_bytes(best.read_bytes(), ROUNDS * 60)):
        yield Attack(kind, f"bytes {number}", uses[number % 5], {**photo, "m.pth": data})
    for number, (what, new) in enumerate(changed_fields(_load(best), ROUNDS * 60)):
        yield Attack(kind, f"field {what!r:.80}", uses[number % 5], {**photo, "m.pth": _saved(new)})
    content = _load(last)
    weights, content["model"] = content["model"], {}
    for what, new in changed_fields(content, ROUNDS * 60):
        new["model"] = new.get("model") or weights  # weights are not the target here
        yield Attack(
            kind,
            f"state {what!r:.80}",
            ("train", "--resume", "run"),
            {"run": seeds.run, "run/last.pth": _saved(new)},
        )


def _exported_files(kind: str, seeds: Seeds) -> Iterator[Attack]:
    photo = {"face.png": seeds.photograph}
    for suffix, count in ((".onnx", 60), (".safetensors", 40), (".pt2", 15), (".torchscript", 15)):
        uses = _uses(f"m{suffix}", seeds)[:3]  # without --trust, because a trusted program may do anything
        old = (seeds.exports / f"best{suffix}").read_bytes()
        within = 20_000 if suffix == ".safetensors" else None
        for number, data in enumerate(changed_bytes(old, ROUNDS * count, within=within)):
            files = {**photo, f"m{suffix}": data}
            yield Attack(kind, f"{suffix} bytes {number}", uses[number % 3], files)
    model = onnx.load(seeds.exports / "best.onnx")
    metadata = {entry.key: _plain(entry.value) for entry in model.metadata_props}
    uses = _uses("m.onnx", seeds)[:3]
    for number, (what, new) in enumerate(changed_fields(metadata, ROUNDS * 60)):
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in new.items()}
        onnx.helper.set_model_props(model, {_utf8(key): _utf8(value) for key, value in texts.items()})
        files = {**photo, "m.onnx": model.SerializeToString()}
        yield Attack(kind, f"metadata {what!r:.80}", uses[number % 3], files)


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _utf8(text: str) -> str:
    return text.encode(errors="replace").decode()


def _bundles(kind: str, seeds: Seeds) -> Iterator[Attack]:
    """Attacks on the files of a bundle. Checksums cover each file, so every difference must be refused."""
    bundle, dice = seeds.exports / "best.bundle", random.Random(5)
    names = sorted(path.name for path in bundle.iterdir())
    for number in range(ROUNDS * 60):
        name = names[number % len(names)]
        old = (bundle / name).read_bytes()
        new = list(changed_bytes(old, 3, seed=dice.randrange(10**6)))[dice.randrange(3)]
        covered = name != "SHA256SUMS" and new != old
        files: Files = {"face.png": seeds.photograph, "m.bundle": bundle, f"m.bundle/{name}": new}
        use = _uses("m.bundle", seeds)[number % 3]
        yield Attack(kind, f"{name} {number}", use, files, _accepted if covered else nothing_passes)


def _accepted(_folder: Path, code: int, _output: str) -> int:
    return int(code == 0)


# Archives


def _archives(kind: str, _seeds: Seeds) -> Iterator[Attack]:
    for source, make in (("lapa", make_lapa), ("helen", make_helen), ("celebamask-hq", make_celebamask_hq)):
        for packed in ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz"):
            with tempfile.TemporaryDirectory() as name:
                old = _packed(make(Path(name) / "raw"), packed)
            archive = f"raw.{packed}"
            arguments = ("prepare", source, archive, "data", "--processes", "1")
            expected = _result(arguments, {archive: old}, "data")

            def passed(
                folder: Path, code: int, _output: str, *, packed: str = packed, expected: dict[str, str] = expected
            ) -> int:
                found = _dataset(folder / "data")
                wrong = (
                    found != expected if packed != "tar" else len(found) < len(expected)
                )  # the content of a tar has no checksum
                return int(code == 0 and wrong)

            for number, new in enumerate(changed_bytes(old, ROUNDS * 12, seed=len(packed))):
                yield Attack(
                    kind,
                    f"{source} {packed} {number}",
                    arguments,
                    {archive: new},
                    passed,
                    fixed={archive: old},
                    whole=lambda folder, expected=expected: _dataset(folder / "data") == expected,  # type: ignore[misc]
                )


def _packed(folder: Path, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder))
    else:
        with tarfile.open(fileobj=buffer, mode=f"w:{kind[4:]}") as tar:  # type: ignore[call-overload]
            tar.add(folder, ".")
    return buffer.getvalue()


def _result(arguments: tuple[str, ...], files: Mapping[str, bytes], result: str) -> dict[str, str]:
    """Checksums of the command's result for the right files."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "above" / "here"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        code, output = command(arguments, folder)
        assert code == 0, output
        return _dataset(folder / result)


def _dataset(folder: Path) -> dict[str, str]:
    """Checksums of a dataset's files, without prepared.toml: it names the archive, which differs."""
    return {name: content for name, content in checksums(folder).items() if name != "prepared.toml"}


# Tables and lists


def _tables(kind: str, seeds: Seeds) -> Iterator[Attack]:
    settings, labels = ((seeds.run / "settings.toml").read_bytes(), (seeds.faces / "label_set.toml").read_bytes())
    train = ("train", "a.toml", "--data-dir", "nowhere")
    data = {"data": seeds.faces}
    commands = (
        ("a.toml", settings, train),
        ("a.toml", labels, ("check", "data", "--label-set", "a.toml", "--processes", "1")),
        ("data/label_set.toml", labels, ("edges", "data", "--processes", "1")),
    )
    for place, (name, old, arguments) in enumerate(commands):
        for number, new in enumerate(changed_bytes(old, ROUNDS * 40, seed=place)):
            yield Attack(kind, f"{arguments[0]} {number}", arguments, {**data, name: new})
    hostile = {"_env_file": "/dev/zero", "_cli_parse_args": True, "_secrets_dir": "/", "__proto__": 1, "": {}}
    for key, value in hostile.items():
        files = {"a.toml": tomli_w.dumps({key: value}).encode() + settings}
        yield Attack(kind, f"key {key}", train, files, _accepted)
    for what, text in (("deep", "a = " + "[" * 200_000), ("vast", "a = 1\n" * 10**6), ("number", "a = " + "9" * 10**6)):
        yield Attack(kind, what, train, {"a.toml": text.encode()}, _accepted)


_NAMES = tuple(
    text.encode(errors="surrogateescape")
    for text in (
        *("../../../escaped", "/tmp/escaped", "..", ".", "", "a\0b", "x" * 300, "\udcff", "CON", "a/b", "a\\b", "*"),
        *("images/00000.jpg labels/../../../escaped.png", "images/00000.jpg labels/00000.png extra", "\ufeffa", "-rf"),
    )
)
"""Names that should be in no list, or only by mistake."""


def _lists(kind: str, seeds: Seeds) -> Iterator[Attack]:
    uses = (("check", "data", "--processes", "1"), ("edges", "data", "--processes", "1"))
    old = (seeds.faces / "train_list.txt").read_bytes()
    changed = [
        *changed_bytes(old, ROUNDS * 40),
        *(old + name + b"\n" for name in _NAMES),
        old.decode().encode("utf-16"),
    ]
    changed += [b"\xef\xbb\xbf" + old, old.replace(b"/", b"\\"), old + old]
    for number, new in enumerate(changed):
        yield Attack(kind, f"train {number}", uses[number % 2], {"data": seeds.faces, "data/train_list.txt": new})
    with tempfile.TemporaryDirectory() as name:
        root = make_helen(Path(name))
        raw = {f"raw/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    predict = ("predict", "--model", str(seeds.exports / "best.onnx"), "-o", "out", "--faces", "none")
    for number, entry in enumerate(_NAMES):
        files = {**raw, "raw/testing.txt": raw["raw/testing.txt"] + b"9 , " + entry + b"\n"}
        yield Attack(kind, f"helen {number}", ("prepare", "helen", "raw", "data", "--processes", "1"), files)
        files = {"face.png": seeds.photograph, "list.txt": b"face.png\n" + entry + b"\n"}
        yield Attack(kind, f"inputs {number}", (*predict, "--from-file", "list.txt"), files)


def _records(kind: str, seeds: Seeds) -> Iterator[Attack]:
    """Attacks on files that a training or a preparation writes for itself and reads again."""
    resume, sync = ("train", "--resume", "run"), ("sync", "run")
    uses: list[tuple[Files, Path, tuple[str, ...]]] = [
        ({"run": seeds.run}, seeds.run / "metrics.jsonl", resume),
        ({"run": seeds.run}, seeds.run / "settings.toml", resume),
        ({"run": seeds.tracked}, seeds.tracked / "tracking.json", sync),
        ({"run": seeds.tracked}, seeds.tracked / "metrics.jsonl", sync),
    ]
    raw = {"raw": seeds.raw, "data": seeds.prepared}
    uses += [
        (dict(raw), seeds.prepared / name, ("prepare", "lapa", "raw", "data", "--processes", "1"))
        for name in ("prepared.toml", "prepared.jsonl", "label_set.toml")
    ]
    for files, path, arguments in uses:
        folder = "run" if "run" in files else "data"
        for number, new in enumerate(changed_bytes(path.read_bytes(), ROUNDS * 12, seed=len(path.name))):
            yield Attack(kind, f"{path.name} {number}", arguments, {**files, f"{folder}/{path.name}": new})
    tracking = json.loads((seeds.tracked / "tracking.json").read_text())
    for what, new in changed_fields(tracking, ROUNDS * 20):
        files = {"run": seeds.tracked, "run/tracking.json": json.dumps(new).encode()}
        yield Attack(kind, f"tracking.json {what!r:.80}", sync, files)


def _boxes(kind: str, seeds: Seeds) -> Iterator[Attack]:
    boxes = {"face.png": [{"box": [1, 2, 30, 40], "score": 0.5, "points": [[1, 2]] * 5}, [1, 2, 3, 4]]}
    predict = ("predict", "--model", str(seeds.exports / "best.onnx"), "-o", "out", "--faces", "b.json", "face.png")
    for what, new in changed_fields(boxes, ROUNDS * 40):
        files = {"face.png": seeds.photograph, "b.json": json.dumps(new).encode()}
        yield Attack(kind, f"{what!r:.80}", predict, files)


# What would run, or reach outside


def _pickles(kind: str, seeds: Seeds) -> Iterator[Attack]:
    photo = {"face.png": seeds.photograph}
    content = _load(seeds.run / "best.pth") | {"scores": Code()}
    models = {f"pickle {protocol}": pickle.dumps({"model": Code()}, protocol) for protocol in (0, 2, 4)}
    models |= {f"zip {zipped}": _saved(content, _use_new_zipfile_serialization=zipped) for zipped in (True, False)}
    for what, data in models.items():
        for use in _uses("m.pth", seeds):
            yield Attack(kind, f"{what}, {use[0]}", use, {**photo, "m.pth": data}, _accepted)
    state = _load(seeds.run / "last.pth")
    state["training"]["trainer"]["epoch"] = Code()
    files: Files = {"run": seeds.run, "run/last.pth": _saved(state)}
    yield Attack(kind, "last.pth", ("train", "--resume", "run"), files)  # goes on from previous.pth, with a warning
    for suffix in (".torchscript", ".pt2"):
        poisoned = {**photo, f"m{suffix}": _poisoned((seeds.exports / f"best{suffix}").read_bytes())}
        for use in _uses(f"m{suffix}", seeds):
            yield Attack(kind, f"{suffix}, {use[0]}", use, poisoned, _accepted)


def _poisoned(program: bytes) -> bytes:
    """The program with a harmful pickle in place of each of its pickles, and with more such parts."""
    buffer, payload = io.BytesIO(), pickle.dumps(Code())
    with zipfile.ZipFile(io.BytesIO(program)) as old, zipfile.ZipFile(buffer, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, payload if name.endswith((".pkl", ".pt")) else old.read(name))
        for part in ("data/weights/model.pt", "data/sample_inputs/model.pt", "data/constants/model.pt", "data.pkl"):
            if f"{root}/{part}" not in old.namelist():
                new.writestr(f"{root}/{part}", payload)
    return buffer.getvalue()


def _outside_data(kind: str, seeds: Seeds) -> Iterator[Attack]:
    """Attacks by ONNX files whose numbers lie in another file."""

    def arrange(folder: Path) -> None:
        (folder.parent / "secret").write_bytes(bytes(10**6))
        os.mkfifo(folder / "pipe")
        (folder / "link").symlink_to("/etc/hostname")

    for place in ("../secret", "/dev/zero", "/etc/hostname", "pipe", "link", "../../../../../../etc/hostname"):
        model = onnx.load(seeds.exports / "best.onnx")
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) > 1000:
                onnx.external_data_helper.set_external_data(tensor, place, 0, len(tensor.raw_data))
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
        files = {"face.png": seeds.photograph, "m.onnx": model.SerializeToString()}
        for use in _uses("m.onnx", seeds)[:3]:
            yield Attack(kind, f"ONNX data in {place}, {use[0]}", use, files, _accepted, arrange=arrange)


def _postscript(kind: str, seeds: Seeds) -> Iterator[Attack]:
    """Attacks by PostScript. Pillow reads it, and would start Ghostscript."""
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n%%EndComments\nshowpage\n%%EOF\n"
    paths = [f"data/{path.relative_to(seeds.faces)}" for path in seeds.faces.glob("[il]*s/*.*")]
    files: Files = {"data": seeds.faces, **dict.fromkeys(paths, text)}
    model = ("--model", str(seeds.exports / "best.onnx"), "--faces", "none", "-o", "out")
    for use in (("check", "data"), ("edges", "data"), ("predict", "data/images", *model)):
        yield Attack(kind, f"PostScript, {use[0]}", use, files, _accepted)


def _members(kind: str, _seeds: Seeds) -> Iterator[Attack]:
    """Attacks by archives whose members lie outside the folder, or are links, pipes or devices."""
    members = {
        "../../../escaped.jpg": (tarfile.REGTYPE, ""),
        "/tmp/../escaped.jpg": (tarfile.REGTYPE, ""),
        "train/link": (tarfile.SYMTYPE, "../../../.."),
        "train/link/escaped.jpg": (tarfile.REGTYPE, ""),
        "train/hard": (tarfile.LNKTYPE, "/etc/hostname"),
        "train/images/pipe.jpg": (tarfile.FIFOTYPE, ""),
        "train/images/zero.jpg": (tarfile.CHRTYPE, ""),
    }
    arguments = ("prepare", "lapa", "raw.tar", "data", "--processes", "1")
    for chosen in [*([name] for name in members), ["train/link", "train/link/escaped.jpg"]]:
        yield Attack(
            kind, f"members {chosen}", arguments, {}, arrange=partial(_write_tar, members=members, chosen=chosen)
        )


def _write_tar(folder: Path, *, members: dict[str, tuple[bytes, str]], chosen: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name, tarfile.open(folder / "raw.tar", "w") as tar:
        tar.add(make_lapa(Path(name) / "raw"), ".")
        for member in chosen:
            info = tarfile.TarInfo(member)
            info.type, info.linkname = members[member]
            info.devmajor, info.devminor = 1, 5
            info.size = 4 if info.isreg() else 0
            tar.addfile(info, io.BytesIO(b"evil"))


_KINDS: dict[str, Callable[[str, Seeds], Iterator[Attack]]] = {
    "pictures": _pictures,
    "labels": _labels,
    "checkpoints": _checkpoints,
    "exported files": _exported_files,
    "bundles": _bundles,
    "archives": _archives,
    "settings": _tables,
    "lists": _lists,
    "records": _records,
    "boxes": _boxes,
    "pickles": _pickles,
    "outside data": _outside_data,
    "PostScript": _postscript,
    "members": _members,
}
"""Kind, as the table shows it -> its attacks."""
