"""¿Por qué peldaño empezar? De lo que le falta al modelo y lo que tienes, un consejo con razones.

`advise` es una función pura: las mismas necesidades dan siempre el mismo consejo. Cada razón dice
qué criterio la disparó y de dónde sale. Los umbrales son puntos de partida de este curso, no
hechos: tu evaluación manda sobre ellos.
"""

import math
import re
import textwrap
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from course_lib import read_toml
from course_lib.chat import widget_data
from course_lib.tables import number

FEW_SHOT_EXAMPLES = 3
LORA_EXAMPLES, LORA_HOURS = 500, 1.0
FULL_EXAMPLES, FULL_HOURS = 10_000, 20.0


class Rung(IntEnum):
    """Los peldaños de la escalera, del más barato y reversible al más caro."""

    PROMPT = 1
    FEW_SHOT = 2
    RAG = 3
    TUNED_MODEL = 4
    LORA = 5
    FULL = 6


class Lack(StrEnum):
    """Qué le falta al modelo."""

    CHANGING_KNOWLEDGE = "un saber que cambia"
    NEW_KNOWLEDGE = "un saber que nunca tuvo"
    ANOTHER_FORM = "un saber que tiene, en otra forma"
    STYLE_OR_FORMAT = "un estilo o un formato"
    UNKNOWN = "no se sabe"


# Por qué peldaños se sube según lo que falta. Un saber nuevo no sube nunca a los que entrenan, y
# mientras no se sabe qué falla tampoco se entrena.
_TO_THE_TOP = (Rung.PROMPT, Rung.FEW_SHOT, Rung.TUNED_MODEL, Rung.LORA, Rung.FULL)
PATHS = {
    Lack.CHANGING_KNOWLEDGE: (Rung.RAG, Rung.TUNED_MODEL),
    Lack.NEW_KNOWLEDGE: (Rung.RAG, Rung.TUNED_MODEL),
    Lack.ANOTHER_FORM: _TO_THE_TOP,
    Lack.STYLE_OR_FORMAT: _TO_THE_TOP,
    Lack.UNKNOWN: (Rung.PROMPT, Rung.FEW_SHOT, Rung.TUNED_MODEL),
}


@dataclass(frozen=True)
class Needs:
    """Lo que hace falta saber para aconsejar.

    Args:
        lacks: qué le falta al modelo: un `Lack` o su texto.
        has_evaluation: hay un conjunto de evaluación con el que puntuar cada intento.
        tried: peldaños ya probados que no bastaron.
        cost_critical: el coste o la espera de cada respuesta deciden.
        private: los datos no pueden salir de casa.
        examples: ejemplos revisados de lo que se quiere, en pares de petición y respuesta.
        gpu_hours: horas de GPU que se pueden pagar.
        maintained: hay quien vuelva a evaluar y a entrenar cuando algo cambie.
    """

    lacks: Lack
    has_evaluation: bool = False
    tried: Sequence[Rung] = ()
    cost_critical: bool = False
    private: bool = False
    examples: int = 0
    gpu_hours: float = 0.0
    maintained: bool = False

    def __post_init__(self):
        def check(name: str, holds: bool, way_out: str) -> None:
            if not holds:
                raise ValueError(f"{name}={getattr(self, name)!r} no vale: {way_out}.")

        check("lacks", self.lacks in list(Lack), f"elige entre «{'», «'.join(Lack)}»")
        for name in ("has_evaluation", "cost_critical", "private", "maintained"):
            check(name, isinstance(getattr(self, name), bool), "escribe True o False")
        whole = type(self.examples) is int and self.examples >= 0
        check("examples", whole, "da un entero desde 0")
        time = type(self.gpu_hours) in (int, float) and 0 <= self.gpu_hours < math.inf
        check("gpu_hours", time, "da las horas, desde 0")
        many = isinstance(self.tried, list | tuple | set | frozenset)
        rungs = many and all(rung in list(Rung) for rung in self.tried)
        check("tried", rungs, "da una tupla como (Rung.PROMPT,)")


Source = namedtuple("Source", "authors year url")  # una publicación


@dataclass(frozen=True)
class Reason:
    """Una razón: el criterio que la disparó, lo que dice y su fuente; sin fuente es del curso."""

    criterion: str
    text: str
    source: Source | None = None


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

    >>> obstacles(Needs(Lack.STYLE_OR_FORMAT), Rung.FEW_SHOT)
    ('al menos 3 ejemplos revisados (hay 0)',)
    """
    examples, hours = {
        Rung.FEW_SHOT: (FEW_SHOT_EXAMPLES, 0),
        Rung.LORA: (LORA_EXAMPLES, LORA_HOURS),
        Rung.FULL: (FULL_EXAMPLES, FULL_HOURS),
    }.get(rung, (0, 0))
    trains, has = rung >= Rung.LORA, number(needs.examples)
    missing = {
        f"al menos {number(examples)} ejemplos revisados (hay {has})": needs.examples < examples,
        f"{hours:g} h de GPU o más (hay {needs.gpu_hours:g})": needs.gpu_hours < hours,
        "un conjunto de evaluación": trains and not needs.has_evaluation,
        "alguien que lo mantenga": trains and not needs.maintained,
        "haber probado antes LoRA": rung == Rung.FULL and Rung.LORA not in needs.tried,
    }
    return tuple(what for what, lacks in missing.items() if lacks)


def advise(needs: Needs) -> Advice:
    """Aconseja el primer peldaño que probar, con sus razones y lo que cambiaría el consejo.

    Se sube por el camino de lo que falta, saltando los peldaños imposibles y los ya probados. Si el
    coste decide y LoRA es posible, se saltan también los que pagan instrucciones y ejemplos en cada
    respuesta. Si no queda ninguno, el consejo es volver sobre el último posible.
    """
    lack, said = Lack(needs.lacks), read_toml("decision", "consejos.toml")
    possible = [rung for rung in PATHS[lack] if not obstacles(needs, rung)]
    cheap = needs.cost_critical and Rung.LORA in possible
    skipped = {*needs.tried, *((Rung.FEW_SHOT, Rung.TUNED_MODEL) if cheap else ())}
    left = [rung for rung in possible if rung not in skipped]
    first = left[0] if left else possible[-1]

    fired = {
        f"falta {lack}" if lack != Lack.UNKNOWN else "no se sabe qué falta": said["faltas"][
            lack.name
        ],
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
    warnings = {
        "sin_evaluacion": not needs.has_evaluation,
        "probado_a_ciegas": needs.tried and not needs.has_evaluation,
        "agotado": not left,
        "sin_quien_lo_cuide": lack == Lack.CHANGING_KNOWLEDGE and not needs.maintained,
    }
    blocked = [rung for rung in PATHS[lack] if rung > first and obstacles(needs, rung)]
    changes = [f"Para {rung_name(r)} falta: {'; '.join(obstacles(needs, r))}." for r in blocked]
    if Rung.LORA in PATHS[lack] and not needs.cost_critical and first < Rung.LORA:
        changes.append(said["coste"]["si_decidiera"])
    measures = list(said["faltas"][lack.name]["medir"])
    measures += said["coste"]["medir"] if needs.cost_critical else []
    measures += said["entrenar"]["medir"] if first >= Rung.LORA else []
    return Advice(
        rung=first,
        then=tuple(left[1:]),
        reasons=tuple(reasons),
        warnings=tuple(said["avisos"][name] for name, fires in warnings.items() if fires),
        changes=(*changes, said["faltas"][lack.name]["si_fuera_otra"]),
        measures=tuple(measures),
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
    """El formulario del consejero, con ipywidgets (7 u 8): cambia el consejo al tocar un control.

    `form.needs()` da lo marcado, y `form.controls`, los controles por su nombre.
    """
    import ipywidgets as widgets
    from nbconvert.filters import markdown2html

    wide = {"style": {"description_width": "11em"}, "layout": widgets.Layout(width="34em")}
    steps = [(rung_name(rung).replace("*", ""), rung) for rung in Rung]
    controls = {
        "lacks": widgets.Dropdown(options=list(Lack), description="Al modelo le falta", **wide),
        "examples": widgets.BoundedIntText(max=10**9, description="Ejemplos revisados", **wide),
        "gpu_hours": widgets.BoundedFloatText(max=1e9, description="Horas de GPU", **wide),
        "tried": widgets.SelectMultiple(options=steps, description="Ya probado", rows=6, **wide),
    }
    switches = {
        "has_evaluation": "Tengo un conjunto de evaluación",
        "cost_critical": "El coste o la espera de cada respuesta deciden",
        "private": "Los datos no pueden salir",
        "maintained": "Alguien lo mantendrá",
    }
    for name, text in switches.items():
        controls[name] = widgets.Checkbox(description=text, indent=False, layout=wide["layout"])
    screen = widgets.HTML()

    def needs() -> Needs:
        return Needs(**{name: control.value for name, control in controls.items()})

    def update(_=None) -> None:
        page = markdown2html(format_advice(advise(needs())))
        # En otra pestaña: si no, el enlace se llevaría por delante la de JupyterLab.
        screen.value = page.replace("<a ", '<a target="_blank" rel="noopener" ')

    for control in controls.values():
        control.observe(update, names="value")
    update()
    form = widgets.VBox([*controls.values(), screen])
    form.needs, form.controls = needs, controls
    return form


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
