"""Free memory: the machine's, or what the tightest control group around a process leaves."""

from pathlib import Path

import pytest

from faceparse.core.machine.memory import free_memory

MIB = 2**20
UNLIMITED_V1 = 9223372036854771712
"""What version 1 says where there is no limit."""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """8000 MiB available, and no control groups."""
    write(tmp_path, "proc/meminfo", f"MemTotal: {9000 * 1024} kB\nMemFree: 5 kB\nMemAvailable:   {8000 * 1024} kB\n")
    return tmp_path


def write(root: Path, name: str, content: object) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{content}\n")


def group(root: Path, folder: str, *, limit: object, used: int, cached: int = 0, high: object = "max") -> None:
    """A control group of version 2; sizes in MiB."""
    write(root, f"{folder}/memory.max", limit if isinstance(limit, str) else int(str(limit)) * MIB)
    write(root, f"{folder}/memory.high", high if isinstance(high, str) else int(str(high)) * MIB)
    write(root, f"{folder}/memory.current", used * MIB)
    write(root, f"{folder}/memory.stat", f"anon 1\nactive_file 77\ninactive_file {cached * MIB}")


def old_group(root: Path, folder: str, *, limit: int, used: int, cached: int = 0) -> None:
    """A control group of version 1; limit in bytes."""
    write(root, f"{folder}/memory.limit_in_bytes", limit)
    write(root, f"{folder}/memory.usage_in_bytes", used * MIB)
    write(root, f"{folder}/memory.stat", f"inactive_file 5\ntotal_inactive_file {cached * MIB}")


def test_without_control_groups_it_is_what_the_machine_has(machine: Path) -> None:
    assert free_memory(machine) == 8000 * MIB


def test_here_it_is_no_more_than_the_machine_has() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
    assert 0 < free_memory() < 1024 * total


def test_where_nothing_tells_there_is_none(tmp_path: Path) -> None:
    assert free_memory(tmp_path) == 0


def test_a_limit_leaves_what_is_not_used_and_the_pages_of_files(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/job")
    group(machine, "sys/fs/cgroup/job", limit=4000, used=3000, cached=500)
    assert free_memory(machine) == 1500 * MIB


def test_the_tightest_group_above_counts(machine: Path) -> None:
    """A job's limit stands on the job, its processes are in a step within it."""
    write(machine, "proc/self/cgroup", "0::/slurm/job/step")
    group(machine, "sys/fs/cgroup/slurm/job/step", limit="max", used=10)
    group(machine, "sys/fs/cgroup/slurm/job", limit=2000, used=900)
    group(machine, "sys/fs/cgroup/slurm", limit=7000, used=1000)
    assert free_memory(machine) == 1100 * MIB


def test_the_soft_limit_of_version_2_counts_as_one(machine: Path) -> None:
    """Above it a process is not killed, but slowed down until it might as well be."""
    write(machine, "proc/self/cgroup", "0::/job")
    group(machine, "sys/fs/cgroup/job", limit=4000, high=3000, used=1000)
    assert free_memory(machine) == 2000 * MIB


def test_a_container_that_is_told_its_path_on_the_host_finds_its_own_limit(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "12:cpu,cpuacct:/docker/abc\n5:hugetlb,memory:/docker/abc\n0::/docker/abc")
    old_group(machine, "sys/fs/cgroup/memory", limit=3000 * MIB, used=1200, cached=200)
    assert free_memory(machine) == 2000 * MIB


def test_no_limit_in_version_1_is_a_large_number(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "4:memory:/")
    old_group(machine, "sys/fs/cgroup/memory", limit=UNLIMITED_V1, used=100)
    assert free_memory(machine) == 8000 * MIB


def test_the_groups_of_other_controllers_say_nothing(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "4:pids:/job")
    old_group(machine, "sys/fs/cgroup/memory/job", limit=MIB, used=0)
    assert free_memory(machine) == 8000 * MIB


def test_a_group_above_its_limit_leaves_nothing(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/")
    group(machine, "sys/fs/cgroup", limit=1000, used=1010)
    assert free_memory(machine) == 0
