respuesta = {2, 4}
