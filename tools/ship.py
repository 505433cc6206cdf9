"""Add a bundle's model to the models that come with the package: `python -m tools.ship BUNDLE NAME [NOTE]`.

Make the bundle with `faceparse export best.pth --format safetensors --bundle` and a dataset to score it on.
"""

import json
import sys
import tomllib
from pathlib import Path

import tomli_w

from faceparse.core.errors import CheckpointError, FaceparseError
from faceparse.core.files.writing import write_atomic
from faceparse.core.names import shipped
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.runtime.checksums import check_sums, sha256


def ship(bundle: Path, name: str, note: str = "") -> str:
    """Copy weights and card into the package and add them to its list; return a line that names the file.

    Raises:
        CheckpointError: the bundle was changed, is too large, holds a graph, or has no scores or no licence.
    """
    file = check_sums(bundle)
    if file.suffix != ".safetensors":
        raise CheckpointError(f"{file}: not a safetensors file; export with --format safetensors")
    size = file.stat().st_size
    if size > shipped.LARGEST:
        raise CheckpointError(f"{file}: {size} bytes, more than {shipped.LARGEST}; train a lighter network")
    model = read_checkpoint(file)
    scores = json.loads((bundle / "config.json").read_text("utf-8"))["scores"]
    if scores is None:
        raise CheckpointError(f"{bundle}: was not scored; export it again with --data-dir")
    if model.licence is None:
        raise CheckpointError(f"{bundle}: names no licence; export it again with --licence")
    path = shipped.FOLDER / shipped.LIST
    entries = tomllib.loads(path.read_text("utf-8"))
    terms = {"licence": model.licence, "notice": f"the terms of its weights: {model.licence}"}
    entries[name] = (terms | entries.get(name, {})) | {
        "file": f"{name}.safetensors",
        "sha256": sha256(file),
        "label_set": model.label_set.name,
        "score": round(scores["mean_f1"], 4),
        "protocol": f"{scores['protocol']} on {scores['dataset']} {scores['split']}, {scores['images']} images",
        **({"note": note} if note else {}),
    }
    write_atomic(shipped.FOLDER / f"{name}.safetensors", file.read_bytes())
    card = (bundle / "README.md").read_text("utf-8").replace("THIS_FOLDER", name)
    write_atomic(shipped.FOLDER / f"{name}.md", card.encode())
    write_atomic(path, tomli_w.dumps(entries).encode())
    return f"{shipped.FOLDER / name}.safetensors: {size / 1e6:.1f} MB, F1 {scores['mean_f1']:.4f}"


def main() -> int:
    """Run the program and return its exit code."""
    if len(sys.argv) not in (3, 4):
        print("usage: python -m tools.ship BUNDLE NAME [NOTE]", file=sys.stderr)
        return 2
    bundle, name, *note = sys.argv[1:]
    try:
        print(ship(Path(bundle), name, *note))
    except FaceparseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
