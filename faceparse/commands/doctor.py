"""The command `faceparse doctor`."""

import typer


def doctor() -> None:
    """Check what works on this machine. Say how to fix what does not."""
    from faceparse.commands.console import out, silent_libraries
    from faceparse.core.doctor import diagnose

    silent_libraries()
    findings = diagnose()
    for finding in findings:
        mark, style = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("bad ", "red")}[finding.state]
        out.print(mark, style=style, end=" ")
        out.print(f"{finding.subject}: {finding.text}")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)
