respuesta = (75, 80)  # lo segundo, en la lección, es `with_labels(50)`
