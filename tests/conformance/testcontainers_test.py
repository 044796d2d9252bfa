"""What testcontainers (Python, 4.15.0) does with an engine, unchanged: docs/conformance.md.

The engine is where DOCKER_HOST says, and has an image `busybox`. Ryuk, an image of Docker Hub, is
off (TESTCONTAINERS_RYUK_DISABLED=true).
"""

import pathlib
import socket
import tempfile

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.waiting_utils import wait_for_logs

IMAGE = "busybox:latest"


def test_logs_and_exit_code():
    with DockerContainer(IMAGE).with_command("sh -c 'echo ready; echo oops >&2; sleep 600'") as it:
        wait_for_logs(it, "ready", timeout=10)
        out, err = it.get_logs()
        assert (out, err) == (b"ready\n", b"oops\n")


def test_exec():
    with DockerContainer(IMAGE).with_command("sleep 600").with_env("WORD", "x") as it:
        result = it.exec(["sh", "-c", "echo $WORD; exit 3"])
        assert (result.exit_code, result.output) == (3, b"x\n")


def test_ports_are_mapped():
    server = "sh -c 'while :; do echo hello | nc -l -p 80; done'"
    with DockerContainer(IMAGE).with_command(server).with_exposed_ports(80) as it:
        host, port = it.get_container_host_ip(), int(it.get_exposed_port(80))
        for _ in range(50):
            try:
                with socket.create_connection((host, port), timeout=1) as peer:
                    if peer.recv(16) == b"hello\n":
                        return
            except OSError:
                pass
        pytest.fail("nobody answers")


def test_bound_port():
    with DockerContainer(IMAGE).with_command("sleep 600").with_bind_ports(80, 18080) as it:
        assert int(it.get_exposed_port(80)) == 18080


def test_volume():
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "file").write_text("hello")
        it = DockerContainer(IMAGE).with_command("sleep 600").with_volume_mapping(folder, "/data", "ro")
        with it:
            assert it.exec("cat /data/file").output == b"hello"
            assert it.exec("touch /data/x").exit_code != 0


def test_network_and_aliases():
    with Network() as network:
        db = DockerContainer(IMAGE).with_command("sleep 600")
        db = db.with_network(network).with_network_aliases("db")
        web = DockerContainer(IMAGE).with_command("sleep 600").with_network(network)
        with db, web:
            assert web.exec("ping -c 1 -W 2 db").exit_code == 0


def test_a_running_container_joins_a_network():
    with Network() as network, DockerContainer(IMAGE).with_command("sleep 600") as it:
        container = it.get_wrapped_container()
        network.connect(container.id, ["late"])
        assert it.exec("ping -c 1 -W 2 late").exit_code == 0


def test_name_user_and_kwargs():
    it = DockerContainer(IMAGE, user="1000:1000", mem_limit="64m")
    with it.with_name("tc-named").with_command("sleep 600"):
        assert it.exec("id -u").output == b"1000\n"
        assert it.get_wrapped_container().attrs["HostConfig"]["Memory"] == 64 << 20


def test_nothing_is_left():
    with DockerContainer(IMAGE).with_command("sleep 600") as it:
        client, container = it.get_docker_client().client, it.get_wrapped_container().id
    assert container not in [one.id for one in client.containers.list(all=True)]
