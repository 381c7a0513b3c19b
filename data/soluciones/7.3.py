ways = ["¿Puedo ir el {}?", "¿Hay gente el {}?", "¿Se abre el {}?", "¿Y el {}?"]
exam = []
for way in ways:
    exam += [(way.format(day), "no") for day in ("lunes", "domingo")]
    exam += [(way.format(day), "sí") for day in ("martes", "jueves")]
respuesta = {"minimo": 0.9, "perdido": 0.03, "examen": exam}
