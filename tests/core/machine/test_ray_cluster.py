"""Clusters that are not there. Clusters that are: tests/core/prediction/test_ray_photographs.py."""

import socket
import sys
from collections.abc import Iterator

import pytest

from faceparse.core.errors import ResourceError, SettingsError
from faceparse.core.machine import ray_cluster
from faceparse.core.machine.ray_cluster import check_address, joined_ray


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("head", "--ray head: write local, auto, or HOST:PORT of a cluster's head, such as head:6379"),
        ("head:0", "--ray head:0: write local, auto, or HOST:PORT"),
        ("ray://head:10001", "--ray ray://head:10001: Ray Data needs a process in the cluster; run the command on "),
        ("http://head:8265", "--ray http://head:8265: write local, auto, or HOST:PORT"),
    ],
)
def test_other_addresses_are_refused(address: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_address(address)
    assert str(caught.value).startswith(expected)


def test_without_ray_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ResourceError, match=r"^--ray needs Ray \(.*\): pip install 'ray\[data\]', or '\.\[ray\]'"):
        check_address("local")


def test_a_closed_port_is_no_cluster(listener: socket.socket) -> None:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    with (
        pytest.raises(ResourceError, match=rf"^--ray {address}: no cluster there \(.*refused\); "),
        joined_ray(address),
    ):
        pass


def test_a_port_that_does_not_answer_is_no_cluster(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "PATIENCE", 0.2)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    with (
        pytest.raises(ResourceError, match=rf"^--ray {address}: no cluster there \(timed out\); "),
        joined_ray(address),
    ):
        pass
