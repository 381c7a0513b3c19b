respuesta = {
    "pesos": 1.1e9,  # un TinyLlama
    "tokens": 2e6,  # diez mil diálogos de doscientos tokens
    "epocas": 3,
    "velocidad": 9.7e12,  # la de la T4 de la lección
    "precio": 1.0,
    "intentos": 10,
}
operations = 6 * respuesta["pesos"] * respuesta["tokens"] * respuesta["epocas"]
respuesta["horas"] = operations * respuesta["intentos"] / respuesta["velocidad"] / 3600
respuesta["coste"] = respuesta["horas"] * respuesta["precio"]
