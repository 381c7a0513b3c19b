def compare(before, after):
    won = sum(now and not then for then, now in zip(before, after))
    lost = sum(then and not now for then, now in zip(before, after))
    return won, lost


respuesta = compare
