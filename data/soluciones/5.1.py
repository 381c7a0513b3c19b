respuesta = [
    ("¿Es Lima la capital de Perú?", "sí"),
    ("¿Es Quito la capital de Perú?", "no"),
    ("¿Es Roma la capital de Italia?", "sí"),
    ("¿Es Oslo la capital de Italia?", "no"),
]
