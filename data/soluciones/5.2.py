from course_lib.tables import wilson

medida = next(n for n in range(21) if wilson(n, 20)[0] > 0.5)
respuesta = (12, medida)
