from course_lib.tables import proportion

results = [("el tonto", proportion([True] * 5 + [False] * 45))]
results.append(("pregunta sola", proportion([True] * 20 + [False] * 30)))
results.append(("buscando", proportion([True] * 48 + [False] * 2)))

respuesta = results
