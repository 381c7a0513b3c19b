def choose(rungs, target):
    enough = [r for r in rungs if r["aciertos"] >= target]
    return min(enough, key=lambda r: r["tokens"])["nombre"] if enough else None


respuesta = choose
