"""Write the site's pages into build/docs/: the pages of docs/, filled from the code, for any generator to build.

    python -m tools.reference              once
    python -m tools.reference COMMAND ...  while the command runs, again whenever a page or the code changes

A page has `<!-- commands -->` where the text of `commands()` goes, and so on, so that pages and code cannot disagree.
A missing description is an error.
"""

import ast
import contextlib
import html
import inspect
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

import faceparse
from faceparse.cli import app
from faceparse.core import settings
from faceparse.core.labels import label_set as labels
from faceparse.core.training.options import OPTIONS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ROOT / "build" / "docs"

Schema = dict[str, Any]
"""A piece of JSON schema."""


class PageError(Exception):
    """A page cannot be written; the text is one line."""


def write(source: Path, target: Path) -> None:
    """Make `target` a copy of `source` with its pages filled; up-to-date files are left alone."""
    files = {path.relative_to(source): path for path in source.rglob("*") if path.is_file()}
    texts = {name: path.read_bytes() for name, path in files.items()}
    texts |= {name: filled(text.decode(), str(name)).encode() for name, text in texts.items() if name.suffix == ".md"}
    for name, text in texts.items():
        path = target / name
        if not path.is_file() or path.read_bytes() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target) not in files:
            path.unlink()


def filled(markdown: str, page: str) -> str:
    """The page with texts from the code in place of its markers."""

    def text(marker: re.Match[str]) -> str:
        if marker[1] not in FILL:
            raise PageError(f"{page}: nothing takes the place of {marker[0]}; there is {', '.join(FILL)}")
        return FILL[marker[1]]()

    return re.sub(r"<!-- ([a-z_]+) -->", text, markdown)


def write_during(command: list[str]) -> int:
    """Run a command and keep the pages up to date until it ends; return its exit code."""
    with subprocess.Popen(command) as running:
        try:
            known = _state()
            while running.poll() is None:
                time.sleep(0.5)
                if (now := _state()) != known:
                    known = now
                    subprocess.run([sys.executable, "-m", "tools.reference"], cwd=ROOT)  # it reads the code again
        finally:
            running.terminate()
    return running.returncode


def _state() -> dict[Path, int]:
    """Time of the last change of each page and each file of the code."""
    found = {}
    for path in (*DOCS.rglob("*.*"), *(ROOT / "faceparse").rglob("*.py"), *(ROOT / "faceparse").rglob("*.toml")):
        with contextlib.suppress(FileNotFoundError):  # an editor replaces files
            found[path] = path.stat().st_mtime_ns
    return found


def commands() -> str:
    """Every command with its help, its arguments and its options."""
    root: Any = typer.main.get_command(app)
    general = _parameters(root, root.make_context("faceparse", [], resilient_parsing=True), "faceparse", {})
    parts = [_command(root.commands[name], f"faceparse {name}", 2) for name in root.list_commands(None)]
    return "\n".join([*general, *parts])


def _command(command: Any, name: str, level: int) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    lines = [
        f"{'#' * level} {name}",
        "",
        html.escape(inspect.cleandoc(_described(command.help, name)), quote=False),
        "",
    ]
    lines += ["```text", context.get_usage().removeprefix("Usage: "), "```", ""]
    lines += _parameters(command, context, name, option_settings() if name == "faceparse train" else {})
    sources = getattr(command, "commands", {})
    lines += [_command(source, f"{name} {key}", level + 1) for key, source in sources.items()]
    return "\n".join([*lines, ""])


def _parameters(command: Any, context: Any, name: str, sets: dict[str, str]) -> list[str]:
    rows = [_parameter(one, context, name, sets) for one in command.params]
    return ["| argument or option | |", "|---|---|", *rows, ""] if rows else []


def _parameter(parameter: Any, context: Any, command: str, sets: dict[str, str]) -> str:
    _described(parameter.help, f"{command} {parameter.name}")
    shown, text = parameter.get_help_record(context)
    meaning = _cell(text)
    if parameter.name in sets:
        meaning += f" Setting [`{sets[parameter.name]}`](settings.md#{sets[parameter.name]})."
    return f"| {_code(shown)} | {meaning} |"


def option_settings() -> dict[str, str]:
    """Parameter of `faceparse train` -> the setting that it gives."""
    return OPTIONS | {"gpus": OPTIONS["device"]}


def setting_keys() -> str:
    """Every setting with its meaning, values, default, option and variable."""
    root: Any = typer.main.get_command(app)
    sets = option_settings()
    options = {sets[one.name]: one.opts[0] for one in reversed(root.commands["train"].params) if one.name in sets}
    schema = settings.Settings.model_json_schema()
    lines = []
    for section, field in settings.Settings.model_fields.items():
        model: Any = field.annotation
        lines += [f"## {section}", "", inspect.cleandoc(_described(model.__doc__, section)), ""]
        for key, setting in model.model_fields.items():
            path = f"{section}.{key}"
            values = _values(schema["$defs"][model.__name__]["properties"][key])
            facts = [
                values,
                f"default {_default(setting.default)}",
                f"`{settings.ENV_PREFIX}{path.upper().replace('.', '__')}`",
            ]
            if path in options:
                facts.insert(2, f"`{options[path]}`")
            lines += [f"### {path} {{ #{path} }}", "", _described(setting.description, path), ""]
            lines += [" · ".join(facts), "{ .facts }", ""]
    return "\n".join(lines)


def _values(schema: Schema) -> str:
    """Values that a setting may have."""
    choices = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return " or ".join(map(_one_kind, choices))


def _one_kind(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema["type"] == "array":
        items = schema.get("prefixItems", [schema.get("items")])
        return f"{len(items) if 'prefixItems' in schema else 'any'} values, each {_one_kind(items[0])}"
    names = {"boolean": "`true`, `false`", "integer": "integer", "number": "number", "string": "text"}
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]}" for key, sign in bounds.items() if key in schema and abs(schema[key]) < 2**62]
    kind = "path" if schema.get("format") == "path" else names[schema["type"]]
    return " ".join([kind, ", ".join(limits)]).strip()


def _default(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{', '.join(map(str, value))}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def python() -> str:
    """Every name that `import faceparse` offers, from its source, so that nothing heavy is imported."""
    folder = Path(inspect.getfile(faceparse)).parent
    lines: list[str] = []
    for home, names in faceparse._HOMES.items():
        module = ast.parse((folder / f"{home.replace('.', '/')}.py").read_text("utf-8"))
        found = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        lines += [line for name in names for line in _python_object(found[name], f"faceparse.{name}", 2)]
    return "\n".join(lines)


def _python_object(node: ast.FunctionDef | ast.ClassDef, name: str, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name.removeprefix('faceparse.')} {{ #{name} }}\n"
    if isinstance(node, ast.FunctionDef):
        yield _signature(node)
    yield _docstring(_described(ast.get_docstring(node), name))
    if isinstance(node, ast.FunctionDef):
        return
    for member, text in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(member, ast.FunctionDef) and member.name[0] != "_":
            yield from _python_object(member, f"{name}.{member.name}", level + 1)
        elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name) and member.target.id[0] != "_":
            attribute = f"{name}.{member.target.id}"
            yield f"{'#' * (level + 1)} {attribute.removeprefix('faceparse.')} {{ #{attribute} }}\n"
            yield f"`{ast.unparse(member.annotation)}`\n"
            beneath = text.value.value if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) else ""
            yield inspect.cleandoc(_described(str(beneath), attribute)) + "\n"


def _signature(node: ast.FunctionDef) -> str:
    answer = ast.unparse(node.returns) if node.returns else "None"
    if any(isinstance(one, ast.Name) and "property" in one.id for one in node.decorator_list):
        return f"`{answer}`\n"
    node.args.args = [one for one in node.args.args if one.arg != "self"]
    return f"```python\n{node.name}({_unquoted(ast.unparse(node.args))})\n    -> {_unquoted(answer)}\n```\n"


def _unquoted(annotations: str) -> str:
    """Annotations without the quotes of those whose names are imported later."""
    return re.sub(r"(?<=: )'([^']*)'|^'([^']*)'$", lambda found: found[1] or found[2], annotations)


def _docstring(text: str) -> str:
    """Docstring as Markdown, with Google's sections as lists."""
    text = re.sub(r"^(Args|Raises):$", r"**\1**\n", text, flags=re.MULTILINE)
    return re.sub(r"^    (\w+): ", r"- `\1`: ", text, flags=re.MULTILINE) + "\n"


def label_sets() -> str:
    """Every built-in set with its ids, names, colours, merged and mirrored classes."""
    lines = []
    for name, one in labels.builtin_label_sets().items():
        sides = {"viewer": "left is the image's left", "subject": "left is the subject's, the image's right"}
        lines += [f"## {name}", "", f"{len(one)} classes; {sides.get(one.side, 'no sides')}.", ""]
        lines += ["| id | class | colour | mirrored |", "|---|---|---|---|"]
        mirrored = one.mirror_table()
        for i, (label, colour) in enumerate(one.classes.items()):
            other = "" if mirrored[i] == i else f"`{one.names[mirrored[i]]}`"
            swatch = f'<span class="swatch" style="background:{colour}"></span>'
            lines.append(f"| {i} | `{label}` | {swatch} `{colour}` | {other} |")
        lines += ["", *(f"- `{merged}` counts {', '.join(parts)} as one" for merged, parts in one.merged.items()), ""]
    return "\n".join(lines)


def _described(text: str | None, what: str) -> str:
    if not text or not text.strip():
        raise PageError(f"{what}: has no description; write one beside it in the code")
    return text


def _cell(text: str) -> str:
    """Text as one cell of a table."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|").replace("*", "\\*").replace("[", "\\[")


def _code(text: str) -> str:
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"


FILL: dict[str, Callable[[], str]] = {one.__name__: one for one in (commands, setting_keys, python, label_sets)}
"""Marker -> function that returns the text for its place."""


def main() -> int:
    """Run the program and return its exit code."""
    try:
        write(DOCS, PAGES)
        return write_during(sys.argv[1:]) if sys.argv[1:] else 0
    except PageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
