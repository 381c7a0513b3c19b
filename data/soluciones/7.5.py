respuesta = (20, 30)  # lo segundo, en la lección, es `saved(0.1)`
