from course_lib.decision import Lack, Needs, Rung

tried = (Rung.PROMPT, Rung.FEW_SHOT)
facts = {"examples": 500, "gpu_hours": 1, "has_evaluation": True, "maintained": True}
respuesta = Needs(Lack.STYLE, tried=tried, **facts)
