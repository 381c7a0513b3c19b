from course_lib import world


def answer(text):
    for country in sorted(world.load_countries(), key=lambda c: -len(c.name)):
        if "capital" in text and f" {country.name}?" in text.replace(" del ", " de el "):
            return country.capital + "."
    return "No lo sé."


respuesta = answer
