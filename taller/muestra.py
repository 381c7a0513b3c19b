"""De qué están hechas las filas de la lección original, contado en charlas de verdad.

    python -m taller.muestra charlas.jsonl carpeta_del_tokenizador_de_gpt2

Las cuentas que da sobre mil diálogos de DailyDialog están en
`data/experimentos/muestra_dailydialog.json`; los diálogos no se reparten con el curso.
"""

import sys
from collections.abc import Sequence

from course_lib.cli import new_parser, run_safely
from course_lib.dialogues import Dialogue, describe_dialogues, read_dialogues, to_pairs
from course_lib.encoding import Kind, encode_original
from course_lib.original import original_record
from course_lib.tables import mean, to_json


def sample_figures(dialogues: Sequence[Dialogue], tokenizer, max_length: int = 128) -> dict:
    """De qué están hechas las filas de la lección original, contado en unas charlas.

    Con una muestra de DailyDialog y el tokenizador de GPT-2 salen las cifras con que se explica el
    registro.

    Returns:
        Parejas, tokens por pareja (ya cortada a `max_length`), marcadores por pareja, la parte de
        relleno, cuántas respuestas son la del registro y con qué empiezan las contestaciones a
        preguntas de sí o no.
    """
    tokenizer.pad_token = tokenizer.eos_token
    pairs = to_pairs(dialogues)
    rows = [encode_original(tokenizer, p.user, p.reply, max_length) for p in pairs]
    stats = describe_dialogues((d.turns for d in dialogues), "en")
    answer = original_record()["respuestas"][0]
    return {
        "parejas": len(pairs),
        "tokens_por_pareja": round(mean(sum(r.attention_mask) for r in rows), 2),
        "marcadores_por_pareja": round(mean(r.kinds.count(Kind.MARKER) for r in rows), 2),
        "relleno": round(mean(r.kinds.count(Kind.PADDING) for r in rows) / max_length, 4),
        "veces_la_respuesta_del_registro": sum(p.reply == answer for p in pairs),
        "si_tras_pregunta": round(stats.yes_share, 3),
        "no_tras_pregunta": round(stats.no_share, 3),
    }


def main() -> None:
    """Lee las charlas y escribe las cuentas en JSON."""
    from transformers import GPT2Tokenizer

    parser = new_parser("python -m taller.muestra", __doc__.split("\n")[0])
    parser.add_argument("charlas")
    parser.add_argument("tokenizador")
    given = parser.parse_args()
    figures = sample_figures(
        read_dialogues(given.charlas, report=lambda text: None),
        GPT2Tokenizer.from_pretrained(given.tokenizador),
    )
    print(to_json(figures), end="")


if __name__ == "__main__":
    sys.exit(run_safely(main))
