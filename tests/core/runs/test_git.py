import subprocess
from pathlib import Path

import pytest

from faceparse.core.runs.git import git_tags


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *settings, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_a_repository_is_a_tag(tmp_path: Path) -> None:
    assert git_tags(tmp_path) == {}
    git(tmp_path, "init")
    assert git_tags(tmp_path) == {}  # nothing committed yet
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "new").write_text("not tracked")
    (tmp_path / "below").mkdir()
    assert git_tags(tmp_path / "below") == {"mlflow.source.git.commit": commit, "git.dirty": "false"}
    (tmp_path / "file").write_text("two")
    assert git_tags(tmp_path) == {"mlflow.source.git.commit": commit, "git.dirty": "true"}


def test_a_machine_without_git_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_tags(Path(__file__).parent) == {}
