"""The layout's rules, read off the source: who may import whom, who may print."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import faceparse

PACKAGE = Path(faceparse.__file__).parent

ORDER = [
    *("core.errors", "core.limits", "core.telemetry", "core.text", "core.labels", "core.settings", "core.files"),
    *("core.images", "core.machine"),
    *("core.faces", "core.drawing", "core.pages", "core.runtime", "core.serving", "core.names"),
    *("core.annotations", "core.datasets", "core.checking", "core.sampling", "core.model", "core.parser"),
    *("core.prediction", "core.runs", "core.scoring", "core.export", "core.foreign", "core.training"),
    *(
        "core.load",
        "core.api",
        "core.doctor",
        "core.sweeps",
        "core.labelling",
        "core.web",
        "commands",
        "workflow",
        "cli",
    ),
]
"""The parts of the package from the ground up: each imports only itself and those before it."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "faceparse"


TREES = {module_name(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def part(module: str) -> str:
    """The folder, or the file beside folders, that holds a module."""
    return ".".join(module.split(".")[:2]) if module.startswith("core.") else module.split(".")[0]


def level(module: str) -> int:
    assert part(module) in ORDER, f"{module} stands in no part of the layout"
    return ORDER.index(part(module))


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
    assert "core.runs.mlflow_store" in imported_modules("core.doctor")  # inside a function
    assert {part(module) for module in TREES} - {"faceparse", "core"} == set(ORDER)


def test_folders_import_downwards_only() -> None:
    upwards = {
        (module, name)
        for module in TREES
        if module != "faceparse"
        for name in imported_modules(module) - {"faceparse"}
        if level(name) > level(module)
    }
    assert not upwards


def test_nothing_happens_at_import() -> None:
    """Modules define. The package switches reports off, the command registers its parts, MLflow is given a model."""
    acting = {
        module
        for module, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    }
    assert acting <= {"faceparse", "cli", "core.serving.servable"}


def test_only_runs_import_mlflow() -> None:
    """And what MLflow itself serves."""
    importing = {module for module in TREES if "mlflow" in top_level(module)}
    assert "core.serving.servable" in importing
    assert {part(module) for module in importing} == {"core.runs", "core.serving"}


def test_only_one_file_imports_optuna() -> None:
    assert {module for module in TREES if "optuna" in top_level(module)} == {"core.sweeps.proposals"}


def test_only_one_file_imports_pyav() -> None:
    assert {module for module in TREES if "av" in top_level(module)} == {"core.prediction.video"}


def test_only_one_file_imports_fsspec() -> None:
    """Which turns the errors of all protocols into lines. What they need, such as s3fs, fsspec imports by itself."""
    assert {module for module in TREES if top_level(module) & {"fsspec", "s3fs"}} == {"core.files.remote"}


def test_only_three_files_import_ray() -> None:
    """One joins a cluster, one uses it, one counts in it."""
    importing = {module for module in TREES if "ray" in top_level(module)}
    prediction = {"core.prediction.ray_photographs", "core.prediction.ray_attempts"}
    assert importing == {"core.machine.ray_cluster"} | prediction


def test_only_one_file_imports_openvino() -> None:
    assert {module for module in TREES if top_level(module) & {"openvino", "nncf"}} == {"core.export.openvino"}


def test_only_the_page_imports_a_server() -> None:
    serving = {module for module in TREES if top_level(module) & {"starlette", "uvicorn"}}
    assert {"core.web.server", "core.web.application"} <= serving
    assert all(module.startswith("core.web.") for module in serving)


def test_only_export_and_import_import_onnx() -> None:
    """And its runtime alone, without PyTorch, what serves the exported file."""
    importing = {module for module in TREES if any(name.startswith("onnx") for name in top_level(module))}
    assert {part(module) for module in importing} == {"core.export", "core.foreign", "core.runtime"}
    assert importing == {
        *("core.export.onnx", "core.runtime.onnx_model"),
        *(f"core.foreign.{name}" for name in ("bare", "compose", "foreign_file", "import_model")),
    }


def test_serving_needs_no_pytorch() -> None:
    """Nor anything that imports it, at any depth."""
    needed, waiting = set[str](), {"core.serving.servable"}
    while waiting:
        needed |= waiting
        waiting = {name for module in waiting for name in imported_modules(module)} - needed
    needed -= {"faceparse", "core.api"}  # the package's front door opens on the interface only when that is used
    assert needed >= {
        "core.serving.answers",
        "core.runtime.onnx_model",
        "core.faces.finder",
        "core.images.read_photograph",
    }
    assert not {module for module in needed if top_level(module) & {"torch", "torchvision", "onnx"}}


def test_a_bundles_program_needs_three_packages() -> None:
    """At any depth, and those that Python itself has."""
    needed, waiting = set[str](), {"core.runtime.program"}
    while waiting:
        needed |= waiting
        waiting = {name for module in waiting for name in imported_modules(module)} - needed
    assert needed >= {"core.faces.finder", "core.faces.crops", "core.runtime.onnx_model"}
    packages = {name for module in needed - {"faceparse", "core.api"} for name in top_level(module)}
    assert packages - sys.stdlib_module_names - {"faceparse"} == {"cv2", "numpy", "onnxruntime"}


def test_only_commands_speak_to_the_user() -> None:
    core = [module for module in TREES if module.startswith("core")]
    assert not {module for module in core if top_level(module) & {"typer", "click", "rich"}}
    assert not {module for module in core for name in imported_modules(module) if name.startswith(("commands", "cli"))}
    printing = {module for module in core for f in calls(module) if isinstance(f, ast.Name) and f.id == "print"}
    assert printing == {"core.runtime.program"}  # a command of its own, in a bundle


def test_only_the_cli_ends_the_process() -> None:
    """And workers themselves, where their parent is gone."""
    ending = [
        module
        for module in TREES
        for f in calls(module)
        if isinstance(f, ast.Attribute) and f.attr in ("exit", "_exit")
    ]
    assert sorted(set(ending)) == ["cli", "core.machine.parallel", "core.training.launch"]


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


def test_processes_that_do_not_track_start_without_mlflow() -> None:
    """It takes as long to import as PyTorch does; of several processes, only the first tracks."""
    modules = (
        "training.launch, faceparse.core.training.run, faceparse.core.sweeps.folds, faceparse.core.scoring.evaluation"
    )
    code = f"import sys, faceparse.core.{modules}; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False True\n"


def test_pictures_are_opened_in_one_place() -> None:
    """Which knows which formats are safe to open."""
    found = [path for path in PACKAGE.rglob("*.py") if "Image.open(" in path.read_text()]
    assert found == [PACKAGE / "core" / "images" / "opening.py"]


def test_every_folder_says_what_it_is_for() -> None:
    folders = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert not [path for path in folders if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]


def test_a_file_of_core_has_a_name_of_its_own() -> None:
    names = [path.name for path in (PACKAGE / "core").rglob("*.py") if path.name != "__init__.py"]
    assert sorted(set(names)) == sorted(names)
