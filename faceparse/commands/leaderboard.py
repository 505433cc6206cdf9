"""The command `faceparse leaderboard DIR`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with evaluations anywhere in it, such as runs.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file to write. Default: DIR/leaderboard.html.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Also one JSON object on stdout, and nothing else there.")
    ] = False,
) -> None:
    """Rank all evaluations in a folder on one page. Only scores that may be compared share a table."""
    from faceparse.commands.console import err, out, silent_libraries
    from faceparse.core.errors import SettingsError
    from faceparse.core.files.writing import refuse_links_out, write_atomic

    silent_libraries()
    from faceparse.core.scoring.leaderboard import read_leaderboard
    from faceparse.core.scoring.leaderboard_page import leaderboard_dict, leaderboard_page, title_of
    from faceparse.core.scoring.report import range_phrase
    from faceparse.core.scoring.scores import percent

    page = output or folder / "leaderboard.html"
    if page.is_file() and page.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"--output {page}: exists, and is no HTML page; choose another name")
    if output is None:
        refuse_links_out(folder, page)  # the folder may be a stranger's
    board = read_leaderboard(folder)
    write_atomic(page, leaderboard_page(board, page).encode())
    for line in board.left_out:
        err.print(f"warning: left out {line}")
    if as_json:
        print(json.dumps({"page": str(page), **leaderboard_dict(board)}))
    else:
        for table in board.tables:
            best, count = table.entries[0], len(table.entries)
            scores = best.found.scores
            score = f"{percent(scores.mean_f1)} ({range_phrase(scores.interval) or 'no interval'})"
            rows = f"{count} evaluation{'' if count == 1 else 's'}"
            out.print(f"{title_of(table)}: {rows}, mean F1 % at best {score}, {best.name}")
        out.print(f"page: {page}")
    if board.left_out:
        raise typer.Exit(1)
