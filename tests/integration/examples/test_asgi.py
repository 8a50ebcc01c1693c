"""The web servers, in Python and in C++: right answers, right refusals, many clients at once."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from runtime_sim import plans

CLIENTS = 200
SECONDS = 3


class Server:
    """A server's process, on a port that the system chose."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.said: list[str] = []

    def wait_until_up(self) -> int:
        """The port; fails with what the server said when it ends or is not up in half a minute."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(30, self.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                self.said.append(line)
                if "http://127.0.0.1:" in line:  # "running on", "Listening at"
                    return self._answers_on(int(line.rsplit("127.0.0.1:", 1)[1].split()[0]))
        finally:
            watchdog.cancel()
        raise AssertionError("".join(self.said))

    def _answers_on(self, port: int) -> int:
        """The port, once it takes connections: granian names it before its worker listens."""
        while self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return port
            time.sleep(0.02)
        raise AssertionError("".join(self.said))

    def kill(self) -> None:
        """The server and its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> str:
        """Ends the server as an operator does; returns everything that it said."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=30)
        return "".join(self.said) + rest


UVICORN = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0", "--no-access-log"]


def granian() -> list[str]:
    with socket.socket() as probe:  # it takes no 0
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), "app:app"]


@pytest.fixture(params=["uvicorn", "granian", "cpp_http"])
def server(
    request: pytest.FixtureRequest, examples: Path, affine_plan: Path, simulated: dict[str, str]
) -> Iterator[tuple[Server, int]]:
    if request.param != "cpp_http":
        environment = {**simulated, "CUREADY_PLAN": str(affine_plan)}
        command = UVICORN if request.param == "uvicorn" else granian()
        one = Server(command, examples / "asgi_server", environment)
    else:
        program = request.getfixturevalue("compiled")("cpp_http")
        one = Server([str(program), str(affine_plan)], affine_plan.parent, simulated)
    try:
        yield one, one.wait_until_up()
    finally:
        one.kill()
        one.process.communicate(timeout=30)


def post(port: int, body: bytes, path: str = "/infer") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_answers_are_the_engine_s(server: tuple[Server, int]) -> None:
    _, port = server
    for batch in (1, 3, 8):
        x = np.arange(4 * batch, dtype=np.float32)
        status, body = post(port, x.tobytes())
        assert status == 200
        np.testing.assert_array_equal(np.frombuffer(body, np.float32), 2 * x + 1)


def test_bad_requests_are_refused_and_the_server_lives(server: tuple[Server, int]) -> None:
    _, port = server
    status, reason = post(port, b"x" * 15)
    assert status == 400
    assert b"not a whole number of rows of 16" in reason
    assert post(port, b"")[0] == 400
    assert post(port, bytes(9 * 16)) == (413, b"the engine takes at most 128 bytes")
    assert post(port, bytes(16), "/elsewhere")[0] == 404
    assert post(port, bytes(16))[0] == 200


def test_many_clients_at_once_and_no_error(server: tuple[Server, int], examples: Path) -> None:
    one, port = server
    done = subprocess.run(
        [sys.executable, examples / "asgi_server" / "load.py", f"http://127.0.0.1:{port}/infer",
         "--bytes", "16", "--clients", str(CLIENTS), "--seconds", str(SECONDS)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert report["errors"] == {}
    assert report["requests"] >= CLIENTS  # each was served at least once
    said = one.stop()
    assert one.process.returncode in (0, -signal.SIGINT)  # uvicorn ends by the signal it was sent
    assert "Traceback" not in said


def test_a_client_that_leaves_does_not_disturb_the_others(server: tuple[Server, int]) -> None:
    _, port = server
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("POST", "/infer", bytes(16))
        connection.close()  # without reading the answer
    assert post(port, bytes(16)) == (200, np.ones(4, np.float32).tobytes())


def test_a_load_test_reports_errors(server: tuple[Server, int], examples: Path) -> None:
    _, port = server
    done = subprocess.run(
        [sys.executable, examples / "asgi_server" / "load.py", f"http://127.0.0.1:{port}/infer",
         "--bytes", "7", "--clients", "2", "--seconds", "0.5"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "HTTP 400" in next(iter(json.loads(done.stdout)["errors"]))


@pytest.mark.parametrize("broken", ["missing", "two inputs"])
def test_a_plan_that_cannot_be_served_stops_the_start(
    broken: str, examples: Path, simulated: dict[str, str], tmp_path: Path
) -> None:
    plan = tmp_path / "model.plan"
    if broken == "two inputs":
        plan.write_bytes(plans.copies(2))
    environment = {**simulated, "CUREADY_PLAN": str(plan)}
    one = Server(UVICORN, examples / "asgi_server", environment)
    said, _ = one.process.communicate(timeout=60)
    assert one.process.returncode != 0
    assert "model.plan" in said
    assert "Traceback" not in said
