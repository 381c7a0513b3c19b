def padding_share(lengths, max_length):
    padding = sum(max(0, max_length - n) for n in lengths)
    return padding / (max_length * len(lengths))


respuesta = padding_share
