"""Guardia de red: en las pruebas, toda conexión que salga de esta máquina es un error."""

import sys

_LOCAL = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}


def _refuse_remote(event, args):
    if event == "socket.connect":
        address = args[1]
        host = address[0] if isinstance(address, tuple) else ""  # un socket de archivo es local
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0] or ""
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in _LOCAL:
        raise ConnectionRefusedError(f"Las pruebas no usan la red, y algo ha buscado «{host}».")


sys.addaudithook(_refuse_remote)
