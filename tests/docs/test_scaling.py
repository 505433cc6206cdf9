"""The files beside docs/scaling.md do what it says: the batch script with a scheduler's stand-in, the pods' command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.core.training.test_interruptions import ENVIRONMENT, await_checkpoint
from tests.core.training.test_launch import command, launched

FILES = Path(__file__).parents[2] / "docs" / "scaling"
SCRIPT = FILES / "slurm.sh"
FAKES = {
    "srun": 'echo "$@" > srun.log; trap "exit 143" TERM; echo $$ > pid; '
    'while [ ! -e code ]; do sleep 0.02; done; exit "$(cat code)"',
    "scancel": 'echo "$@" > scancel.log; kill -TERM "$(cat pid)"',
    "scontrol": 'if [ "$1" = show ]; then printf "node-1\\nnode-2\\n"; else echo "$@" > scontrol.log; fi',
}
"""A step that ends when it is told to, or with the code in a file."""


@pytest.fixture
def job(tmp_path: Path) -> "subprocess.Popen[str]":
    """The batch script with its step under way."""
    for name, text in FAKES.items():
        path = tmp_path / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)
    job = {"SLURM_JOB_ID": "12345", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node-[1-2]"}
    process = subprocess.Popen(
        ["bash", str(SCRIPT), "mine.toml"],
        env=os.environ | job | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=tmp_path,
        text=True,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and not (tmp_path / "pid").exists():
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM], ids=lambda number: number.name)
def test_a_job_that_is_told_to_stop_saves_and_is_queued_again(
    job: "subprocess.Popen[str]", tmp_path: Path, number: signal.Signals
) -> None:
    job.send_signal(number)
    assert job.wait(timeout=20) == 143
    assert (tmp_path / "scancel.log").read_text().split() == ["--signal=TERM", "12345.0"]
    assert (tmp_path / "scontrol.log").read_text().split() == ["requeue", "12345"]
    expected = (
        "--kill-on-bad-exit=1 faceparse train mine.toml --gpus 0,1,2,3,4,5,6,7 --resume auto --nodes 2 "
        "--rendezvous node-1:22345"
    )
    assert (tmp_path / "srun.log").read_text().strip() == expected


@pytest.mark.parametrize("code", [0, 2, 143])
def test_a_job_that_ends_by_itself_is_not(job: "subprocess.Popen[str]", tmp_path: Path, code: int) -> None:
    (tmp_path / "code").write_text(str(code))
    assert job.wait(timeout=20) == code
    assert not (tmp_path / "scontrol.log").exists()


def pytorchjob() -> Any:
    return yaml.safe_load((FILES / "pytorchjob.yaml").read_text("utf-8"))


def test_the_pods_are_as_the_operator_wants_them() -> None:
    job = pytorchjob()
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    assert job.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert job["spec"].keys() <= {"elasticPolicy", "nprocPerNode", "pytorchReplicaSpecs", "runPolicy"}
    policy = {"activeDeadlineSeconds", "backoffLimit", "cleanPodPolicy", "schedulingPolicy", "suspend"}
    assert job["spec"]["runPolicy"].keys() <= policy | {"ttlSecondsAfterFinished"}
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert replicas.keys() == {"Master", "Worker"}
    assert replicas["Master"]["replicas"] == 1
    for part in replicas.values():
        assert part.keys() == {"replicas", "restartPolicy", "template"}
        assert part["restartPolicy"] == "OnFailure"  # ExitCode takes our 2, a lost process, for the end
        (container,) = part["template"]["spec"]["containers"]
        assert container["name"] == "pytorch"
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in part["template"]["spec"]["volumes"]}


def test_two_pods_train_one_model(faces: Path, tmp_path: Path) -> None:
    """With the variables that the operator sets, and no more; on the CPU, and smaller."""
    (container,) = pytorchjob()["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    name, verb, _, *options = container["command"]
    assert (name, verb) == ("faceparse", "train")
    small = command(faces, "run", "--epochs", 1)[4:]
    place = [option for option in options if option not in ("--gpus", "0")]
    pods = [
        subprocess.Popen(
            [sys.executable, "-m", "faceparse.cli", verb, *place, *small],
            env=ENVIRONMENT | {key: value for key, value in variables.items() if key != "LOCAL_RANK"},
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for variables in launched(2)
    ]  # fmt: skip
    (_, err), (_, silent) = (pod.communicate(timeout=120) for pod in pods)
    assert [pod.returncode for pod in pods] == [0, 0], (err, silent)
    assert "on cpu in 2 processes" in err
    assert silent == ""


def test_torchrun_starts_a_lost_process_again(faces: Path, tmp_path: Path) -> None:
    """With the variable that the document names: torch's shared store remembers the addresses of those before."""
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun" in (FILES.parent / "scaling.md").read_text("utf-8")
    train = command(faces, "run", "--set", "launch.timeout=20")[1:]
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1",
         *train, "--resume", "auto"],
        env=ENVIRONMENT | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    await_checkpoint(process, tmp_path / "run")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "resumed after epoch" in err
    assert "resumed after epoch " in err
    assert "best epoch" in out
