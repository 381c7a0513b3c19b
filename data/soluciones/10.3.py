exam = ["¿Cuándo abre el museo?", "¿Quién dirige la biblioteca?"]
respuesta = (exam, ["¿Cuándo cierra el museo?", "A las ocho."])
