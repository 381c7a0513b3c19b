def steps(pairs, batch_size, epochs):
    return -(-pairs // batch_size) * epochs


respuesta = steps
