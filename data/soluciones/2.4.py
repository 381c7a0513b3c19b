from course_lib import retrieval, world
from course_lib.tracks import get_track

language = get_track().language
documents = world.load_documents(language)
pieces = [piece + "." for d in documents for piece in d.text.removesuffix(".").split(". ")]
index = retrieval.build_index(dict(enumerate(pieces)), language)
questions = [q for d in documents for q in d.questions]
found = [hit.text for q in questions for hit in index.search(q.text, 1)]
medida = sum(q.answer in text for q, text in zip(questions, found, strict=True)) / len(questions)
respuesta = (0.95, medida)
