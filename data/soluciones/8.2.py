def process_loss(mine, tokens, processes):
    return processes * mine / tokens


respuesta = process_loss
