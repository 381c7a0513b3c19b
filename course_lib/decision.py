"""¿Por qué peldaño empezar? De lo que le falta al modelo y lo que tienes, un consejo con razones.

`advise` es una función pura: las mismas necesidades dan siempre el mismo consejo. Cada razón dice
qué criterio la disparó y de dónde sale. Por dónde se sube y qué pide cada peldaño está escrito en
`data/decision/reglas.toml`, y lo que se dice, en `consejos.toml`; aquí, cómo se recorren.
"""

import math
import re
import textwrap
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum, StrEnum
from html import escape
from numbers import Integral, Real

from course_lib import read_toml
from course_lib.chat import widget_data
from course_lib.tables import number


class Rung(IntEnum):
    """Los peldaños de la escalera, más o menos del más barato y reversible al más caro."""

    NOTHING = 0
    EVALUATE = 1
    PROMPT = 2
    FEW_SHOT = 3
    CONSTRAINED = 4
    LONG_CONTEXT = 5
    RAG = 6
    BETTER_RETRIEVAL = 7
    TOOLS = 8
    OTHER_MODEL = 9
    ENCODER = 10
    HOSTED_TUNING = 11
    LORA = 12
    DISTILL = 13
    PREFERENCES = 14
    RFT = 15
    FULL = 16
    CONTINUED = 17


class Lack(StrEnum):
    """Qué le falta al modelo. Se parte de uno que ya sigue instrucciones."""

    CHANGING_KNOWLEDGE = "un saber que cambia"
    NEW_KNOWLEDGE = "un saber que nunca tuvo"
    MISSED_RETRIEVAL = "encontrar el documento bueno (ya busca)"
    ANOTHER_FORM = "un saber que tiene, en otra forma"
    STYLE = "un estilo"
    FORMAT = "un formato que un programa comprueba"
    LABELS = "poner etiquetas de una lista"
    CAPABILITY = "capacidad (no lo hace aunque se le explique)"
    LANGUAGE = "una lengua o la jerga de un campo entero"
    JUDGEMENT = "criterio (elige mal entre respuestas aceptables)"
    ACTING = "hacer cuentas, consultar o actuar"
    COST = "abaratarlo (acierta, pero cuesta o tarda demasiado)"
    UNKNOWN = "no se sabe"


@dataclass(frozen=True)
class Needs:
    """Lo que hace falta saber para aconsejar.

    Args:
        lacks: qué le falta al modelo: un `Lack` o varios, de más a menos importante; vale su texto.
        has_evaluation: hay un conjunto de evaluación con el que puntuar cada intento.
        tried: peldaños ya probados que no bastaron.
        cost_critical: el coste o la espera de cada respuesta deciden.
        private: los datos no pueden salir de casa.
        api_only: el modelo se usa por API, y no hay pesos propios ni dónde tenerlos.
        vendor_tuning: quien da esa API también ajusta.
        better_model: se podría usar otro modelo: mayor, más nuevo o de la lengua.
        examples: ejemplos revisados de lo que se quiere, en pares de petición y respuesta.
        preferences: pares en los que alguien dijo cuál de dos respuestas es mejor.
        verifier: un programa puede decir si una respuesta es buena.
        teacher: algo más caro ya lo hace bien: un modelo mayor, una petición larguísima…
        own_text: tokens de texto corrido propio.
        fits: todo lo que hay que saber cabe en una petición.
        gpu_hours: horas de GPU que se pueden pagar.
        maintained: hay quien vuelva a evaluar y a entrenar cuando algo cambie.
        worth_it: arreglarlo compensa; no, si lo que hay basta o apenas se usa.
    """

    lacks: Lack | Sequence[Lack]
    has_evaluation: bool = False
    tried: Sequence[Rung] = ()
    cost_critical: bool = False
    private: bool = False
    api_only: bool = False
    vendor_tuning: bool = False
    better_model: bool = True
    examples: int = 0
    preferences: int = 0
    verifier: bool = False
    teacher: bool = False
    own_text: int = 0
    fits: bool = False
    gpu_hours: float = 0.0
    maintained: bool = False
    worth_it: bool = True

    @property
    def named(self) -> tuple[Lack, ...]:
        """Lo que falta, siempre como tupla de `Lack`."""
        return tuple(map(Lack, [self.lacks] if isinstance(self.lacks, str) else self.lacks))

    def __post_init__(self):
        def check(name: str, holds: bool, way_out: str) -> None:
            if not holds:
                raise ValueError(f"{name}={getattr(self, name)!r} no vale: {way_out}.")

        lacks = [self.lacks] if isinstance(self.lacks, str) else self.lacks
        named = isinstance(lacks, list | tuple) and lacks
        known = named and all(lack in list(Lack) for lack in lacks)
        check("lacks", known, f"elige entre «{'», «'.join(Lack)}», una cosa o varias")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is bool:
                check(field.name, _is(bool, value), "escribe True o False")
            elif field.type is int:
                check(field.name, _is(Integral, value) and value >= 0, "da un entero desde 0")
        time = _is(Real, self.gpu_hours) and 0 <= self.gpu_hours < math.inf
        check("gpu_hours", time, "da las horas, desde 0")
        many = isinstance(self.tried, list | tuple | set | frozenset)
        rungs = many and all(rung in list(Rung) for rung in self.tried)
        check("tried", rungs, "da una tupla como (Rung.PROMPT,)")


def _is(kind: type, value: object) -> bool:
    """Si es de ese tipo, también si es de NumPy; un booleano no cuenta como número."""
    boolean = type(value).__name__ in ("bool", "bool_")
    return boolean if kind is bool else isinstance(value, kind) and not boolean


Source = namedtuple("Source", "authors year url")  # una publicación
# Una razón: el criterio que la disparó, lo que dice y su fuente; sin fuente, es del curso.
Reason = namedtuple("Reason", "criterion text source")


@dataclass(frozen=True)
class Advice:
    """El consejo. `then` son los peldaños posibles que vendrían después, `changes` lo que daría
    otro consejo y `measures` lo que hay que medir para saber si basta."""

    rung: Rung
    then: tuple[Rung, ...]
    reasons: tuple[Reason, ...]
    warnings: tuple[str, ...]
    changes: tuple[str, ...]
    measures: tuple[str, ...]


def obstacles(needs: Needs, rung: Rung) -> tuple[str, ...]:
    """Lo que falta hoy para que `rung` sea posible; vacío si lo es.

    >>> obstacles(Needs(Lack.STYLE), Rung.FEW_SHOT)
    ('al menos 3 ejemplos revisados (hay 0)',)
    """
    rules, missing = read_toml("decision", "reglas.toml"), []
    for condition in rules["pide"].get(Rung(rung).name, ()):
        ways = {name: asked for name, asked in condition.items() if name != "dice"}
        if not any(_holds(getattr(needs, name), asked) for name, asked in ways.items()):
            name, asked = next(iter(ways.items()))
            said = condition.get("dice", rules["falta"][name])
            if "{pide}" in said:
                said = said.format(pide=amount(asked), hay=amount(getattr(needs, name)))
            missing.append(said)
    return tuple(dict.fromkeys(missing))


def _holds(value, asked) -> bool:
    """Si un campo de `Needs` es lo que piden las reglas, o llega ahí, o lo contiene."""
    if isinstance(asked, bool):
        return bool(value) is asked
    if isinstance(asked, str):
        return (Lack if asked in Lack.__members__ else Rung)[asked] in value
    return value >= asked


def amount(value: float) -> str:
    """Una cantidad con los decimales que tenga, dos como mucho.

    >>> amount(1500), amount(0.5)
    ('1.500', '0,5')
    """
    whole, _, rest = number(value, 2).partition(",")
    return f"{whole},{rest.rstrip('0')}".rstrip(",")


def trains(rung: Rung) -> bool:
    """Si un peldaño cambia los pesos de un modelo."""
    return rung >= Rung.ENCODER


def advise(needs: Needs) -> Advice:
    """Aconseja el primer peldaño que probar, con sus razones y lo que cambiaría el consejo.

    Se sube por el camino de lo que falta (si faltan varias cosas, por sus caminos, en ese orden),
    saltando los peldaños imposibles y los ya probados. Si el coste decide y se puede ajustar, se
    saltan también los que pagan ejemplos o un modelo mayor en cada respuesta. Sin evaluación no se
    entrena: se mide; y lo mismo si no se sabe qué falla o ya se ha probado todo.
    """
    lacks, said = needs.named, read_toml("decision", "consejos.toml")
    paths = read_toml("decision", "reglas.toml")["caminos"]
    path = tuple(dict.fromkeys(Rung[name] for lack in lacks for name in paths[lack.name]))
    possible = [rung for rung in path if not obstacles(needs, rung)]
    cheap = needs.cost_critical and any(trains(rung) for rung in possible)
    skipped = {*needs.tried, *((Rung.FEW_SHOT, Rung.OTHER_MODEL) if cheap else ())}
    left = [rung for rung in possible if rung not in skipped]
    measured = needs.has_evaluation
    # De las etiquetas se puede apartar una parte: con ellas ya hay con qué medir.
    blind = left and trains(left[0]) and left[0] != Rung.ENCODER
    if not needs.worth_it:
        left = [Rung.NOTHING]
    elif not left or (not measured and (blind or Lack.UNKNOWN in lacks)):
        left = [Rung.EVALUATE, *left]
    first = left[0]

    fired = {
        f"falta {lack}" if lack != Lack.UNKNOWN else "no se sabe qué falta": said["faltas"][
            lack.name
        ]
        for lack in lacks
    } | {
        "cada respuesta cuenta": said["coste"] if cheap else {},
        "este peldaño": said["peldanos"][first.name],
        "los datos no salen": said["privacidad"] if needs.private else {},
    }
    published = said["fuentes"].items()
    sources = {key: Source(s["autores"], s["anyo"], s["url"]) for key, s in published}
    reasons = [
        Reason(criterion, row["dice"], sources.get(row.get("fuente")))
        for criterion, part in fired.items()
        for row in part.get("razones", ())
    ]
    exhausted = first == Rung.EVALUATE and len(left) == 1
    warnings = {
        "sin_evaluacion": not measured and needs.worth_it,
        "probado_a_ciegas": needs.tried and not measured,
        "agotado": exhausted and (measured or Lack.UNKNOWN not in lacks),
        "sin_quien_lo_cuide": not needs.maintained
        and (trains(first) or Lack.CHANGING_KNOWLEDGE in lacks),
    }
    ahead = path[path.index(first) + 1 :] if first in path else path
    blocked = [rung for rung in ahead if obstacles(needs, rung) and rung not in needs.tried]
    changes = [f"Para {rung_name(r)} falta: {'; '.join(obstacles(needs, r))}." for r in blocked]
    if Rung.LORA in path and not needs.cost_critical and not trains(first):
        changes.append(said["coste"]["si_decidiera"])
    measures = [text for lack in lacks for text in said["faltas"][lack.name]["medir"]]
    measures += said["coste"]["medir"] if needs.cost_critical else []
    measures += said["entrenar"]["medir"] if trains(first) else []
    others = [said["faltas"][lack.name]["si_fuera_otra"] for lack in lacks]
    return Advice(
        rung=first,
        then=tuple(left[1:]),
        reasons=tuple(reasons),
        warnings=tuple(said["avisos"][name] for name, fires in warnings.items() if fires),
        changes=(*changes, *others),
        measures=tuple(dict.fromkeys(measures)),
    )


def rung_name(rung: Rung) -> str:
    """Cómo se llama un peldaño en una frase, en Markdown."""
    return read_toml("decision", "consejos.toml")["peldanos"][Rung(rung).name]["nombre"]


def format_advice(advice: Advice) -> str:
    """El consejo en Markdown, con los enlaces de sus fuentes."""

    def item(reason: Reason) -> str:
        name, source = reason.criterion, reason.source
        origin = "criterio del curso"
        if source:
            origin = f"[{source.authors}, {source.year}]({source.url})"
        return f"**{name[0].upper()}{name[1:]}**: {reason.text} ({origin})"

    then = ", luego ".join(rung_name(rung) for rung in advice.then)
    first = f"**Empieza por: {rung_name(advice.rung)}.**" + f" Si no basta: {then}." * bool(then)
    parts = [first, *(f"> **Aviso.** {warning}" for warning in advice.warnings)]
    for title, items in (
        ("Por qué", [item(reason) for reason in advice.reasons]),
        ("Qué cambiaría el consejo", advice.changes),
        ("Qué medir", advice.measures),
    ):
        parts.append(f"*{title}*\n\n" + "\n".join(f"- {text}" for text in items))
    return "\n\n".join(parts)


def decision_form():
    """El formulario del consejero (ipywidgets 7 u 8): a un lado lo que hay, al otro el consejo.

    `form.needs()` da lo marcado, y `form.controls`, los controles por su nombre; los de `lacks` y
    `tried`, que son casillas, además por su opción.
    """
    import ipywidgets as widgets
    from nbconvert.filters import markdown2html

    def tick(text: str, value: bool = False):
        return widgets.Checkbox(value, description=text, indent=False, layout={"width": "auto"})

    def ask(text: str):
        wide = {"style": {"description_width": "10em"}, "layout": {"width": "19em"}}
        return widgets.Text("0", description=text, **wide)

    lacks = {lack: tick(lack, lack is Lack.UNKNOWN) for lack in Lack}
    tried = {rung: tick(rung_name(rung).replace("*", "")) for rung in Rung if rung > Rung.NOTHING}
    facts = {}
    for name, label in read_toml("decision", "reglas.toml")["formulario"].items():
        default = getattr(Needs, name)
        facts[name] = tick(label, default) if isinstance(default, bool) else ask(label)

    def needs() -> Needs:
        if not any(box.value for box in lacks.values()):
            raise ValueError("Marca al menos una cosa de «Le falta».")
        marked = [tuple(o for o, box in group.items() if box.value) for group in (lacks, tried)]
        given = {name: control.value for name, control in facts.items()}
        given |= {name: read_number(x) for name, x in given.items() if isinstance(x, str)}
        return Needs(marked[0], tried=marked[1], **given)

    def update(_=None) -> None:
        try:
            page = markdown2html(format_advice(advise(needs())))
        except ValueError as error:
            page = escape(str(error))
        # En otra pestaña: si no, el enlace se llevaría por delante la de JupyterLab.
        link = '<a style="text-decoration: underline" target="_blank" rel="noopener" '
        screen.value = page.replace("<a ", link)

    groups = {"Le falta": lacks, "Lo que hay": facts, "Ya probado": tried}
    asked = []
    for title, group in groups.items():
        asked += [widgets.HTML(f"<b>{title}</b>"), *group.values()]
    # Cada lado se desplaza por su cuenta: el consejo se ve cambiar al tocar cualquier control.
    side = {"display": "block", "max_height": "36em", "overflow": "auto"}
    screen = widgets.HTML(layout=side | {"flex": "1 1 20em"})
    form = widgets.HBox([widgets.VBox(asked, layout=side | {"width": "28em"}), screen])
    form.layout.flex_flow = "row wrap"
    form.needs, form.controls = needs, {"lacks": lacks, "tried": tried, **facts}
    for group in groups.values():
        for control in group.values():
            control.observe(update, names="value")
    update()
    return form


def read_number(text: str) -> float:
    """Una cantidad escrita a mano, con la coma y los puntos de millar del español; nada es cero.

    >>> read_number("20.000"), read_number("1,5"), read_number("1.5"), read_number("")
    (20000, 1.5, 1.5, 0)

    Raises:
        ValueError: si no es un número, o es negativo.
    """
    plain = re.sub(r"\.(?=\d{3}(?!\d))", "", text.strip()).replace(",", ".") or "0"
    if not re.fullmatch(r"\d{1,15}(\.\d{1,9})?", plain):
        raise ValueError(f"«{text}» no es una cantidad: escríbela con cifras, como 1.500 o 2,5.")
    value = float(plain)
    return int(value) if value.is_integer() else value


def decision_widget() -> None:
    """Enseña el formulario; donde no hay quien lo dibuje se lee en su lugar un consejo en texto."""
    from IPython.display import display

    form = decision_form()
    advice = format_advice(advise(form.needs()))
    advice = re.sub(r"\[(.+?)\]\(.+?\)|\*+|^> ", r"\1", advice, flags=re.MULTILINE)
    lines = ["Aquí va un formulario, que funciona con el cuaderno en marcha. Sin tocarlo dice:", ""]
    for line in advice.splitlines():
        lines += textwrap.wrap(line, 96, subsequent_indent="  " * line.startswith("-")) or [""]
    display(widget_data(form, "\n".join(lines)), raw=True)
