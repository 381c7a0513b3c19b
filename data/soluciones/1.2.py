from course_lib.decision import Lack, Needs, Rung

facts = {"examples": 2_000, "gpu_hours": 50, "private": True, "maintained": True}
respuesta = Needs(Lack.CHANGING_KNOWLEDGE, tried=(Rung.PROMPT,), **facts)
