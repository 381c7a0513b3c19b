"""La guardia de red de las pruebas funciona: si no, «todo corre sin red» no probaría nada."""

import socket
import subprocess
import sys

import pytest

RESERVED = "192.0.2.1"  # TEST-NET-1 (RFC 5737): no es de nadie


def test_remote_connections_are_refused_here():
    with pytest.raises(ConnectionRefusedError, match="no usan la red"):
        socket.create_connection((RESERVED, 80), timeout=1)


def test_remote_names_are_not_looked_up_here():
    with pytest.raises(ConnectionRefusedError, match="no usan la red"):
        socket.getaddrinfo("ejemplo.invalid", 443)


def test_processes_started_by_the_tests_are_guarded_too():
    code = f"import socket; socket.create_connection(('{RESERVED}', 80), timeout=1)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "no usan la red" in result.stderr


def test_local_connections_still_work():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
