def balanced_accuracy(answers, truths):
    sides = [[a == t for a, t in zip(answers, truths) if t == side] for side in ("sí", "no")]
    return sum(sum(hits) / len(hits) for hits in sides) / 2


respuesta = balanced_accuracy
