import random


def split(dialogues, test_fraction, seed):
    distinct = list(dict.fromkeys(d.turns for d in dialogues))
    random.Random(seed).shuffle(distinct)
    chosen = set(distinct[: round(len(distinct) * test_fraction)])
    train = [d for d in dialogues if d.turns not in chosen]
    test = [d for d in dialogues if d.turns in chosen]
    return train, test


respuesta = split
