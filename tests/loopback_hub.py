"""Un Hub de bolsillo: sirve en 127.0.0.1 lo que el de Hugging Face sirve de un repositorio.

Los cargadores de transformers, datasets y huggingface_hub hablan con él sin cambiarles nada: basta
`HF_ENDPOINT`. Responde como el de verdad a lo que ellos preguntan (fichas de repositorios, listas
de archivos, HEAD y GET de cada archivo, por trozos si se pide) y falla cuando se le manda.

    hub = LoopbackHub()
    hub.publish("models", "openai-community/gpt2", folder)
    hub.fail("GET .*model.safetensors", cut_after=1000)     # la primera vez, a medias
    hub.fail("HEAD .*config.json", status=503, times=None)  # siempre
    hub.asked("GET .*safetensors")                          # qué se pidió, y con qué cabeceras
    hub.close()

Los archivos grandes se piden, como en el Hub, a otro servidor, al que no se manda la clave: aquí es
el mismo, con el nombre `localhost`.
"""

import hashlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hub_listings import File, describe, every_entry, fingerprint, list_branches

NAME = r"[\w.-]+(?:/[\w.-]+)?"
REVISION = r"refs/(?:convert|pr)/\w+|[^/]+"
ROUTES = {
    "refs": rf"/api/(models|datasets)/({NAME})/refs",
    "info": rf"/api/(models|datasets)/({NAME})(?:/revision/({REVISION}))?",
    "tree": rf"/api/(models|datasets)/({NAME})/tree/({REVISION})(?:/(.+?))?/?",
    "paths": rf"/api/(models|datasets)/({NAME})/paths-info/({REVISION})",
    "file": rf"/(?:(datasets)/)?({NAME})/resolve/({REVISION})/(.+)",
    "cdn": rf"/cdn/(models|datasets)/({NAME})/([0-9a-f]{{40}})/(.+)",
}


@dataclass
class Fault:
    """Un fallo preparado, para las `times` próximas peticiones que casen (`None`: para todas)."""

    pattern: str
    times: int | None = 1
    status: int | None = None
    error_code: str | None = None
    message: str = "Fallo de prueba."
    retry_after: int | None = None
    cut_after: int | None = None
    corrupt: int | None = None
    delay: float = 0


@dataclass(frozen=True)
class Request:
    """Una petición recibida, con las cabeceras en minúsculas."""

    method: str
    path: str
    headers: dict[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class LoopbackHub:
    """El servidor, en marcha desde que se crea hasta `close`. `url` va en `HF_ENDPOINT`."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    moved: dict[tuple[str, str], str] = field(default_factory=dict)
    revisions: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    commits: dict[tuple[str, str, str], dict[str, File]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def publish(self, kind: str, name: str, folder: Path, revision: str = "main") -> str:
        """Publica los archivos de `folder` como una revisión, y devuelve su *commit*.

        Args:
            kind: «models» o «datasets».
        """
        files = {
            path.relative_to(folder).as_posix(): fingerprint(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        listing = json.dumps([name, revision, {n: f.sha1 for n, f in files.items()}])
        commit = hashlib.sha1(listing.encode()).hexdigest()
        self.revisions.setdefault((kind, name), {})[revision] = commit
        self.commits[kind, name, commit] = files
        return commit

    def move(self, kind: str, old: str, new: str) -> None:
        """El repositorio `old` pasa a llamarse `new`: el Hub responde con una redirección."""
        self.moved[kind, old] = new

    def fail(self, pattern: str, **how) -> None:
        """Prepara un fallo para las peticiones cuyo «MÉTODO /ruta» case con `pattern`.

        Con `status`, un error (más `error_code`, `message`, `retry_after`); con `cut_after=k`, la
        conexión se corta tras `k` bytes; con `corrupt=k`, el byte `k` llega cambiado; con `delay`,
        responde tantos segundos después. `times`, cuántas veces (1; `None`, siempre).
        """
        self.faults.append(Fault(pattern, **how))

    def clear(self) -> None:
        """Olvida fallos y peticiones, y vuelve a estar en pie."""
        self.faults.clear()
        self.requests.clear()
        self.up()

    def asked(self, pattern: str) -> list[Request]:
        """Las peticiones recibidas que casan con `pattern`."""
        return [r for r in self.requests if re.search(pattern, str(r))]

    def take_fault(self, request: Request) -> Fault | None:
        """El primer fallo pendiente que case, ya descontado."""
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times != 0 and re.search(fault.pattern, str(request)):
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def up(self) -> None:
        """Abre el puerto (el mismo si ya tuvo uno)."""
        if getattr(self, "server", None) is None:
            self.connections: set[socket.socket] = set()
            self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
            self.server.daemon_threads = True
            self.server.hub = self
            self.port = self.server.server_port
            threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Cierra el puerto y las conexiones abiertas: como si no hubiera red."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
            for connection in list(self.connections):
                hang_up(connection)

    close = down


class Handler(BaseHTTPRequestHandler):
    """Una conexión: atiende HEAD, GET y POST hasta que el otro lado cuelga."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.hub.connections.add(self.connection)

    def finish(self) -> None:
        self.server.hub.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:  # ya habían colgado
            pass

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # el cliente se cansó de esperar, o se cortó a propósito
            self.close_connection = True

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.fault = self.server.hub.take_fault(Request(self.command, self.path, headers))
        if self.fault and self.fault.delay:
            time.sleep(self.fault.delay)
        if self.fault and self.fault.status:
            fault = self.fault
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            self.answer_error(fault.status, fault.error_code, fault.message, **wait)
        else:
            self.route()

    do_HEAD = do_POST = do_GET

    def route(self) -> None:
        path = urlsplit(self.path).path
        matches = ((route, re.fullmatch(pattern, path)) for route, pattern in ROUTES.items())
        route, match = next(((r, m) for r, m in matches if m), (None, None))
        if match is None:
            return self.answer_error(404, None, f"Este Hub no tiene «{path}».")
        groups = [unquote(g) if g else g for g in match.groups()] + [None] * 2
        kind, name, revision = groups[0] or "models", groups[1], groups[2] or "main"
        hub = self.server.hub
        if new := hub.moved.get((kind, name)):
            return self.answer(307, Location=self.path.replace(name, new, 1))
        if (kind, name) not in hub.revisions:
            # Sin clave, el Hub no dice si falta o si es privado: responde 401.
            status = 404 if "Authorization" in self.headers else 401
            return self.answer_error(status, "RepoNotFound", "Repository not found")
        branches = hub.revisions[kind, name]
        commit = revision if revision in branches.values() else branches.get(revision)
        if commit is None:
            return self.answer_error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = hub.commits[kind, name, commit]
        if route in ("file", "cdn"):
            return self.answer_file(route, kind, name, commit, groups[3], files.get(groups[3]))
        if route == "info":
            return self.answer_json(describe(name, commit, files))
        if route == "refs":
            return self.answer_json(list_branches(branches))
        if route == "paths":
            wanted = parse_qs(self.body).get("paths", [])
            return self.answer_json([e for e in every_entry(files) if e["path"] in wanted])
        folder = f"{groups[3]}/" if groups[3] else ""
        inside = [e for e in every_entry(files) if e["path"].startswith(folder)]
        if folder and not inside:
            return self.answer_error(404, "EntryNotFound", f"{folder} does not exist", commit)
        if parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() != "true":
            inside = [e for e in inside if "/" not in e["path"][len(folder) :]]
        self.answer_json(inside)

    def answer_file(
        self, route: str, kind: str, name: str, commit: str, path: str, file: File | None
    ) -> None:
        if file is None:
            return self.answer_error(404, "EntryNotFound", "Entry not found", commit)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if route == "file" and file.large:
            port = self.server.server_port
            there = f"http://localhost:{port}/cdn/{kind}/{name}/{commit}/{quote(path)}"
            linked = {"X-Linked-ETag": f'"{file.etag}"', "X-Linked-Size": str(file.size)}
            return self.answer(302, **headers, **linked, Location=there)
        content, status = file.path.read_bytes(), 200
        if self.fault and (at := self.fault.corrupt) is not None:
            content = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or file.size), file.size - 1)
            if first > last:
                return self.answer(416, **{"Content-Range": f"bytes */{file.size}"})
            content, status = content[first : last + 1], 206
            headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
        self.answer(status, content, **headers)

    def answer_json(self, value) -> None:
        self.answer(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def answer_error(
        self, status: int, code: str | None, message: str, commit: str | None = None, **headers
    ) -> None:
        headers |= {"X-Error-Code": code} if code else {}
        headers |= {"X-Repo-Commit": commit} if commit else {}
        headers["X-Error-Message"] = message.encode("ascii", "replace").decode()
        self.answer(status, json.dumps({"error": message}).encode(), **headers)

    def answer(self, status: int, content: bytes = b"", **headers) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.fault.cut_after if self.fault else None
        self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True
            hang_up(self.connection)


def hang_up(connection: socket.socket) -> None:
    """Cuelga sin avisar a quien aún esperaba datos."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
