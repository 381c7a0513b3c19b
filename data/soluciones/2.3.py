def choose(ways, budget):
    affordable = [way for way in ways if way[2] <= budget]
    return max(affordable, key=lambda way: (way[1], -way[2]), default=(None,))[0]


respuesta = choose
