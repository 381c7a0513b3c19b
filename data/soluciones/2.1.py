def recall(rankings, right, k):
    hits = [good in ranking[:k] for ranking, good in zip(rankings, right)]
    return sum(hits) / len(hits)


respuesta = recall
