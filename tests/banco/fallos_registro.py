"""Fallos que se ven en el registro: sobreajuste y tasa demasiado alta."""

import math
from functools import partial

from tests.banco import modelos
from tests.banco.caso import Case, planted
from tests.banco.textos import talks


def cases() -> list[Case]:
    """Los casos de estas dos comprobaciones."""
    return [*_overfit(), *_high_rate()]


# --- 15: sobreajuste -----------------------------------------------------------------------------


def curve(evals: int, ratio: float, floor: float = 2.0, every: int = 5, final: bool = True):
    """Un registro: el entrenamiento baja siempre y la evaluación acaba en `ratio` por `floor`.

    Args:
        evals: cuántas evaluaciones.
        final: si acaba con el resumen que anota `Trainer`.
    """
    low = max(1, evals // 3)
    log, step = [], 0
    for k in range(evals):
        for _ in range(every):
            step += 1
            loss = floor * (0.4 + 1.2 * math.exp(-3 * step / (evals * every)))
            log.append({"loss": loss, "grad_norm": 1.2, "learning_rate": 5e-5, "step": step})
        before = floor * (1 + 0.3 * (low - 1 - k) / low)
        after = floor * (1 + (ratio - 1) * (k - low + 1) / max(1, evals - low))
        log.append({"eval_loss": before if k < low else after, "eval_runtime": 1.0, "step": step})
    if final:
        log.append({"train_runtime": 9.0, "train_loss": floor, "total_flos": 1e9, "step": step})
    return log


def _overfit() -> list[Case]:
    def logged(evals, ratio, floor=2.0, every=5, final=True):
        return {"log": curve(evals, ratio, floor, every, final)}

    def in_trainer(evals, ratio):
        from tests.banco.fallos_entrenar import ready

        tokenizer, data, collator = ready()
        trained = modelos.trainer(modelos.gpt2(len(tokenizer)), data, collator, tokenizer)
        trained.state.log_history = curve(evals, ratio)
        return {"trainer": trained}

    def memorized():
        """Sobreajuste de verdad: ocho filas aprendidas de memoria."""
        from tests.banco import filas
        from tests.banco.fallos_entrenar import ready

        tokenizer, data, collator = ready(n=8)
        held_out = filas.dataset(filas.chat_rows(tokenizer, talks(8, start=500)))
        trained = modelos.trainer(
            modelos.gpt2(len(tokenizer), 1, n_embd=32),
            data,
            collator,
            tokenizer,
            eval_rows=held_out,
            max_steps=120,
            eval_steps=30,
            logging_steps=20,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
        )
        modelos.train(trained)
        return {"trainer": trained}

    made = [
        ("grave", "sube un 40%", partial(logged, 10, 1.4)),
        ("grave", "apenas por encima: 11%", partial(logged, 12, 1.11)),
        ("aviso", "apenas por debajo: 9%", partial(logged, 12, 1.09)),
        ("grave", "dos evaluaciones", partial(logged, 2, 1.3)),
        ("grave", "pérdida pequeña, cincuenta evaluaciones", partial(logged, 50, 1.8, 0.3, 2)),
        ("grave", "al triple, sin resumen final", partial(logged, 6, 3.0, final=False)),
        ("aviso", "sube un 5%", partial(logged, 8, 1.05)),
        ("aviso", "apenas por encima del 2%", partial(logged, 20, 1.023)),
        ("aviso", "sube un 7%, pérdida grande", partial(logged, 5, 1.07, 6.0)),
        ("grave", "Trainer con su registro", partial(in_trainer, 6, 1.25)),
        ("aviso", "Trainer, 4%", partial(in_trainer, 9, 1.04)),
        ("grave", "entrenado de verdad sobre ocho filas", memorized),
    ]
    return [planted("sobreajuste", *case) for case in made]


# --- 16: tasa-alta -------------------------------------------------------------------------------


def run_log(losses, norms=None, rate: float = 5e-4) -> list[dict]:
    """Un registro con esas pérdidas (y normas del gradiente), una cada diez pasos."""
    norms = norms or [1.0] * len(losses)
    return [
        {"loss": loss, "grad_norm": norm, "learning_rate": rate, "step": 10 * (k + 1)}
        for k, (loss, norm) in enumerate(zip(losses, norms, strict=True))
    ]


def falling(n: int, start: float, end: float) -> list[float]:
    """Una pérdida que baja suavemente, con un poco de ruido."""
    return [end + (start - end) * math.exp(-4 * k / n) + 0.02 * math.sin(2.3 * k) for k in range(n)]


def _high_rate() -> list[Case]:
    def log(*parts, norms=None):
        losses = [x for part in parts for x in part]
        return {"log": run_log(losses, norms)}

    def norms(n, high, value=250.0):
        spots = {round(k * n / high) for k in range(high)}
        return log(falling(n, 4, 2), norms=[value if i in spots else 2.0 for i in range(n)])

    def in_trainer():
        from tests.banco.fallos_entrenar import ready

        tokenizer, data, collator = ready()
        trained = modelos.trainer(modelos.gpt2(len(tokenizer)), data, collator, tokenizer)
        trained.state.log_history = run_log([*falling(20, 4, 2), 6.5, 7.1, 7.4])
        return {"trainer": trained}

    def diverged():
        """Una corrida de verdad: baja con tasa sana y, cambiada la tasa por 30, salta."""
        from tests.banco.fallos_entrenar import ready

        tokenizer, data, collator = ready(n=16)
        model = modelos.gpt2(len(tokenizer), 1, n_embd=32)
        log = []
        for steps, rate in ((40, 1e-2), (12, 30.0)):
            trained = modelos.trainer(
                model,
                data,
                collator,
                tokenizer,
                max_steps=steps,
                logging_steps=2,
                learning_rate=rate,
                lr_scheduler_type="constant",
                eval_strategy="no",
                held_out=0,
                max_grad_norm=1e9,
            )
            modelos.train(trained)
            rows = [e for e in trained.state.log_history if "loss" in e]
            log += [e | {"step": 40 * bool(log) + e["step"]} for e in rows]
        return {"log": sorted(log, key=lambda e: e["step"])}

    def by_length():
        """Dientes de sierra, por lotes de longitudes parecidas, y al final un salto de verdad."""
        teeth = [1.9, 1.5, 0.9, 1.9, 0.3, 1.4, 0.7, 0.6, 1.4, 0.2, 1.3, 0.2, 3.9, 4.4, 4.1]
        args = modelos.arguments(train_sampling_strategy="group_by_length")
        return {"log": run_log(teeth), "args": args}

    nan, inf = float("nan"), float("inf")
    made = [
        ("grave", "salto con los lotes por longitudes", by_length),
        ("grave", "NaN a mitad", partial(log, falling(15, 4, 2), [nan] * 5)),
        ("grave", "infinita", partial(log, falling(10, 5, 3), [inf, nan])),
        ("grave", "salta y se queda en cero", partial(log, falling(12, 3, 2), [6.1], [0.0] * 6)),
        (
            "grave",
            "salta al triple y no vuelve",
            partial(log, falling(30, 4, 2), [6.2, 6.4, 6.6, 6.5]),
        ),
        (
            "grave",
            "salta al quíntuple, pérdida pequeña",
            partial(log, falling(25, 3, 0.5), [2.6, 2.7, 2.5]),
        ),
        ("grave", "apenas por encima del doble", partial(log, [2.0] * 20, [4.1, 4.2, 4.2, 4.3])),
        ("grave", "diez veces más, 200 anotaciones", partial(log, falling(200, 5, 1), [11.0] * 20)),
        (
            "grave",
            "cero tras un salto, con el gradiente en NaN",
            partial(log, falling(20, 4, 2), [9.0, 0.0, 0.0], norms=[2.0] * 20 + [900.0, nan, nan]),
        ),
        ("aviso", "gradiente infinito a ratos", partial(norms, 40, 8, inf)),
        ("grave", "Trainer con su registro", in_trainer),
        ("grave", "divergencia de verdad", diverged),
        ("aviso", "gradiente enorme la mitad de las veces", partial(norms, 30, 15)),
        ("aviso", "gradiente apenas por encima de 100", partial(norms, 20, 10, 101.0)),
        ("aviso", "gradiente de miles, 200 anotaciones", partial(norms, 200, 60, 4000.0)),
    ]
    return [planted("tasa-alta", *case) for case in made]
