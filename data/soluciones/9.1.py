from course_lib.dialogues import normalize


def reward(text, question):
    finished = not text.endswith("…")
    return float(finished and normalize(text) == normalize(question.answer))


respuesta = reward
