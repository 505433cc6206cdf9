"""The files beside docs/many-photographs.md do what it says: batch scripts with stand-ins, the fields of the RayJob."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.test_commands import parse

FILES = Path(__file__).parents[2] / "docs" / "many-photographs"
FAKES = {
    "faceparse": 'echo "$@" > faceparse.log',
    "scontrol": 'printf "node-1\\nnode-2\\n"',
    "srun": 'echo "$@" >> srun.log; case "$*" in *--block*) exec sleep 30;; esac; '
    "until [ $(wc -l < srun.log) -ge 3 ]; do sleep 0.02; done; exit 3",
}
"""Stand-ins. The last `srun` waits for the two before it, which the script lets run beside it."""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Run a batch script with stand-ins for SLURM's commands and ours."""
    for name, text in FAKES.items():
        path = tmp_path / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)

    def run(script: str, text: str, **variables: str) -> int:
        (tmp_path / script).write_text(text)
        command = ["bash", script, "--model", "best.pth", "/data/photographs", "-o", "out"]
        variables |= {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run(command, env=os.environ | variables, cwd=tmp_path, timeout=20).returncode

    return run


def test_an_element_of_the_array_parses_its_shard(run: Any, tmp_path: Path) -> None:
    script = (FILES / "array.sh").read_text("utf-8")
    assert run("array.sh", script, SLURM_ARRAY_TASK_ID="3", SLURM_ARRAY_TASK_MAX="16") == 0
    words = (tmp_path / "faceparse.log").read_text().split()
    assert words == ["predict", "--model", "best.pth", "/data/photographs", "-o", "out", "--resume", "--shard", "3/16"]
    parse(("faceparse", *words))


def test_the_job_makes_a_cluster_uses_it_and_ends_with_its_code(run: Any, tmp_path: Path) -> None:
    """Where the head listens is not waited for: no node of that name is here."""
    script = (
        (FILES / "ray.sh").read_text("utf-8").replace('until (: < "/dev/tcp/$HEAD/$PORT") 2>/dev/null', "until true")
    )
    job = {"SLURM_JOB_ID": "12345", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node-[1-2]"}
    assert run("ray.sh", script, SLURM_CPUS_PER_TASK="8", **job) == 3
    head, others, command = sorted(
        (tmp_path / "srun.log").read_text().splitlines(), key=lambda line: "faceparse" in line
    )
    if "--head" not in head:
        head, others = others, head
    assert head.endswith("ray start --head --port=22345 --include-dashboard=false --num-cpus=8 --block")
    assert others.startswith("--nodes=1 --ntasks=1 --exclude=node-1 ray start --address=node-1:22345 ")
    start, _, words = command.partition("faceparse ")
    assert start == "--overlap --nodes=1 --ntasks=1 --nodelist=node-1 "
    assert words.endswith("--resume --ray node-1:22345")
    parse(("faceparse", *words.split()))


def test_the_pods_are_as_kuberay_wants_them() -> None:
    job = yaml.safe_load((FILES / "rayjob.yaml").read_text("utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job.keys() == {"apiVersion", "kind", "metadata", "spec"}
    known = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
    assert job["spec"].keys() <= known
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster.keys() <= {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"}
    constraints = (FILES.parents[1] / "constraints.txt").read_text("utf-8").splitlines()
    assert f"ray=={cluster['rayVersion']}" in constraints
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert group.keys() <= {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["env"] == [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    parse(tuple(shlex.split(job["spec"]["entrypoint"])))
