respuesta = 0.7 / 0.3
