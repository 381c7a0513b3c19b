from course_lib.tables import proportion

goal = {"mínimo": 0.85, "perdido": 0.03}
goal["decide"] = "Si llega un peldaño, se usa; si no, se ajusta."
respuesta = (goal, proportion([True] * 5 + [False] * 45), [])
