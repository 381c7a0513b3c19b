def apart(questions=50, times=1000):
    import random

    from course_lib.tables import wilson

    draw, seen = random.Random(0), 0
    for _ in range(times):
        one, two = (sum(draw.random() < p for _ in range(questions)) for p in (0.7, 0.8))
        seen += wilson(one, questions)[1] < wilson(two, questions)[0]
    return 100 * seen / times


respuesta = (30, apart())
