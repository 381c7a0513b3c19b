def labels(ids, eos):
    end = ids.index(eos) + 1 if eos in ids else len(ids)
    return ids[:end] + [-100] * (len(ids) - end)


respuesta = labels
