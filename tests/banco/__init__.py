"""Banco de la auditoría: fallos plantados y controles limpios que miden a `course_lib.audit`.

    python -m tests.banco

Imprime, por comprobación, cuántos fallos plantados encuentra y con qué gravedad, cuántas veces se
abstiene y cuántas falsas alarmas da en los controles; acaba con estado 1 si algo no cuadra.
"""
