"""The layout's rules, read off the source: who may import whom, who may print."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import faceparse

PACKAGE = Path(faceparse.__file__).parent

ROWS = [
    ["faceparse", "core", "core.address", "core.errors", "core.texts", "core.leftovers", "core.paths"],
    ["core.labels", "core.settings", "core.device", "core.files"],
    ["core.geometry", "core.polygons"],
    ["core.preprocessing", "core.face_geometry"],
    ["core.finding"],
    ["core.serving"],
    ["core.names"],
    ["core.parallel", "core.html", "core.evaluation.confusion"],
    ["core.datasets"],
    ["core.data"],
    ["core.model"],
    ["core.inference"],
    ["core.evaluation", "core.prediction"],
    ["core.checks", "core.serving.answers"],
    ["core.tracking", "core.tracking.ledger", "core.tracking.git"],
    ["core.tracking.store"],
    ["core.tracking.tracker", "core.tracking.registry", "core.tracking.runs"],
    ["core.evaluation.evaluations", "core.training", "core.export", "core.diagnosis"],
    ["core.load"],
    ["core.api"],
    ["core.web"],
    ["core.sweep"],
    ["commands"],
    ["cli"],
]
"""A file imports only from its own row and from those above it. The longest name that fits a module is its row's."""

EXCEPTIONS = {("commands.demo", "cli"), ("faceparse", "core.api")}
"""The demo runs the other commands as a user would; the package's front door opens on its interface."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "faceparse"


TREES = {module_name(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def row(module: str) -> int:
    fitting = [
        (len(name), number)
        for number, names in enumerate(ROWS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    assert fitting, f"{module} stands in no row of the layout"
    return max(fitting)[1]


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of all that is imported, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(module: str) -> set[str]:
    """Modules of this package that `module` imports."""
    found = set()
    for name in imports(TREES[module]):
        if name == "faceparse" or name.startswith("faceparse."):
            inside = name.removeprefix("faceparse").removeprefix(".")
            while inside and inside not in TREES:  # a function's name: go up to the module that holds it
                inside = inside.rpartition(".")[0]
            found.add(inside or "faceparse")
    return found


def top_level(module: str) -> set[str]:
    return {name.split(".")[0] for name in imports(TREES[module])}


def calls(module: str) -> Iterator[ast.expr]:
    return (node.func for node in ast.walk(TREES[module]) if isinstance(node, ast.Call))


def test_the_rules_are_looked_for_where_they_can_be_broken() -> None:
    assert len(TREES) > 40
    assert imported_modules("commands.train") >= {"commands.options", "core.settings", "core.training.run"}
    assert "core.tracking.store" in imported_modules("core.diagnosis")  # inside a function
    names = ["core.evaluation.scores", "core.tracking.ledger", "core.tracking.store", "core.tracking.tracker"]
    rows = [row(name) for name in [*names, "core.evaluation.evaluations", "cli"]]
    assert rows == sorted(set(rows))


def test_imports_go_upwards() -> None:
    downwards = {(module, name) for module in TREES for name in imported_modules(module) if row(name) > row(module)}
    assert downwards == EXCEPTIONS


def test_only_tracking_imports_mlflow() -> None:
    importing = {module for module in TREES if "mlflow" in top_level(module)}
    assert importing
    assert importing <= {module for module in TREES if module.startswith("core.tracking.")}


def test_only_one_file_imports_optuna() -> None:
    assert {module for module in TREES if "optuna" in top_level(module)} == {"core.sweep.proposals"}


def test_only_one_file_imports_pyav() -> None:
    assert {module for module in TREES if "av" in top_level(module)} == {"core.prediction.video"}


def test_only_the_page_imports_a_server() -> None:
    serving = {module for module in TREES if top_level(module) & {"starlette", "uvicorn"}}
    assert {"core.web.server", "core.web.application"} <= serving
    assert all(module.startswith("core.web.") for module in serving)


def test_only_the_export_imports_onnx() -> None:
    """And its runtime alone, without PyTorch, what serves the exported file."""
    importing = {module for module in TREES if any(name.startswith("onnx") for name in top_level(module))}
    assert importing == {"core.export.onnx", "core.serving.onnx_model"}


def test_serving_needs_no_pytorch() -> None:
    """Nor anything that imports it, at any depth."""
    needed, waiting = set[str](), {"core.tracking.servable"}
    while waiting:
        needed |= waiting
        waiting = {name for module in waiting for name in imported_modules(module)} - needed
    needed -= {"faceparse", "core.api"}  # the package's front door opens on the interface only when that is used
    assert needed >= {"core.serving.answers", "core.serving.onnx_model", "core.finding.finder", "core.files"}
    assert not {module for module in needed if top_level(module) & {"torch", "torchvision", "onnx"}}


def test_only_commands_speak_to_the_user() -> None:
    core = [module for module in TREES if module.startswith("core")]
    assert not {module for module in core if top_level(module) & {"typer", "click", "rich"}}
    assert not {module for module in core for name in imported_modules(module) if name.startswith(("commands", "cli"))}
    printing = [module for module in core for f in calls(module) if isinstance(f, ast.Name) and f.id == "print"]
    assert not printing


def test_only_the_cli_ends_the_process() -> None:
    """And workers themselves, where their parent is gone."""
    ending = [
        module
        for module in TREES
        for f in calls(module)
        if isinstance(f, ast.Attribute) and f.attr in ("exit", "_exit")
    ]
    assert sorted(set(ending)) == ["cli", "core.parallel", "core.training.launch"]


def test_devices_are_chosen_by_name() -> None:
    assert not [module for module in TREES for f in calls(module) if isinstance(f, ast.Attribute) and f.attr == "cuda"]


def test_the_command_is_there_at_once() -> None:
    """Importing what help and errors need must not import what computing needs."""
    code = "import sys, faceparse.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded
    slow = {"torch", "mlflow", "optuna", "rich", "cv2", "numpy", "onnxruntime", "pydantic", "PIL", "av", "starlette"}
    assert not loaded & slow


def test_pictures_are_opened_in_one_place() -> None:
    """Which knows which formats are safe to open."""
    found = [path for path in PACKAGE.rglob("*.py") if "Image.open(" in path.read_text()]
    assert found == [PACKAGE / "core" / "files.py"]
