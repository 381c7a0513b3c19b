respuesta = 0.697 * 128 / 256
