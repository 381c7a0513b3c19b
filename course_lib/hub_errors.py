"""Los fallos al cargar un modelo o unos diálogos, en una frase: qué pasó, con qué y qué hacer.

Cada biblioteca falla a su manera y envuelve los errores de las demás: se mira la cadena entera.
"""

import errno
import os
from collections.abc import Iterator


def explain(error: Exception, name: str, local: bool = False) -> tuple[type[Exception] | None, str]:
    """De un fallo al cargar `name`, la clase de error y la frase con que se cuenta.

    Returns:
        `(None, "")` si no es un fallo de carga, y debe seguir su camino tal cual.
    """
    chain = list(_chain(error))
    names = {cls.__name__ for e in chain for cls in type(e).__mro__}
    said = " ".join(map(str, chain))
    status = next((s for e in chain if (s := _status(e))), None)
    again = "Los archivos ya bajados se conservan: al repetir la celda, solo se baja lo que falta."

    if "trust_remote_code" in said:
        return ValueError, (
            f"«{name}» necesita ejecutar código que viene con él, y el curso no lo hace nunca: "
            "elige un modelo de los que transformers conoce."
        )
    if any(getattr(e, "errno", None) == errno.ENOSPC for e in chain) or "No space left" in said:
        return OSError, (
            f"No queda sitio en el disco para «{name}»: libera espacio, o lleva la caché a otro "
            f"disco con la variable HF_HOME y reinicia el cuaderno. {again}"
        )
    if "Consistency check" in said:
        return ConnectionError, f"«{name}» no llegó entero: repite la celda. {again}"
    if names & {"SafetensorError", "ArrowInvalid", "DatasetGenerationError", "JSONDecodeError"}:
        cache = "borra su carpeta de la caché (~/.cache/huggingface o, si la cambiaste, HF_HOME)"
        mend = "vuelve a copiarlo" if local else f"{cache} y repite la celda"
        return ValueError, f"Algún archivo de «{name}» está dañado: {mend}."
    if local:
        if isinstance(error, OSError | ValueError):
            return FileNotFoundError, (
                f"La carpeta «{name}» no tiene un modelo completo en safetensors con su "
                "tokenizador: guarda los dos en ella con save_pretrained."
            )
        return None, ""
    if "GatedRepoError" in names or status in (401, 403):
        return ConnectionError, (
            f"«{name}» no existe en el Hub o pide permiso: revisa el nombre y, si es de acceso "
            "restringido, acepta sus condiciones en su página y pon tu clave en la variable "
            "HF_TOKEN."
        )
    if status == 429:
        wait = _retry_after(chain)
        return ConnectionError, (
            f"El Hub pide ir más despacio con «{name}» (error 429): espera "
            f"{wait or 'unos minutos'} y repite la celda, o pon tu clave en HF_TOKEN, que admite "
            f"más peticiones. {again}"
        )
    if status and status >= 500:
        return ConnectionError, (
            f"El Hub falla al pedirle «{name}» (error {status}): no es cosa tuya; repite la celda "
            f"en unos minutos. {again}"
        )
    if status == 404 or names & {"DatasetNotFoundError", "DataFilesNotFoundError"}:
        return FileNotFoundError, (
            f"«{name}» no está en el Hub con ese nombre o le falta algún archivo: puede haber "
            "cambiado de sitio; búscalo en huggingface.co y pon el nombre nuevo."
        )
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return ConnectionError, (
            f"La red está apagada (HF_HUB_OFFLINE) y «{name}» no está entero en este ordenador: "
            "quita esa variable y reinicia el cuaderno, o usa la ruta «mini», que no necesita red."
        )
    unreached = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "TransportError"}
    if names & {*unreached, "ConnectionError", "TimeoutError"} or "couldn't connect" in said:
        return ConnectionError, (
            f"No se llega al Hub y «{name}» no está entero en este ordenador: revisa la conexión "
            f"y repite la celda, o usa la ruta «mini», que no necesita red. {again}"
        )
    if isinstance(error, OSError | ValueError):
        return FileNotFoundError, f"«{name}» no se puede cargar: {_first_line(error)}"
    return None, ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """El error y los que lo causaron, del último al primero."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _retry_after(chain: list[BaseException]) -> str | None:
    for error in chain:
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        if (seconds := headers.get("retry-after", "")).isdecimal():
            return f"{seconds} segundos"
    return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
