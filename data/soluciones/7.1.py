import re


def leaks_in(texts, countries):
    names = re.compile(r"\b(" + "|".join(countries) + r")\b")
    return [text for text in texts if names.search(text)]


respuesta = leaks_in
