def plan(fixed, row, free, rows):
    for batch in range(rows, 0, -1):
        if rows % batch == 0 and fixed + batch * row <= 0.9 * free:
            return batch, rows // batch
    return None


respuesta = plan
