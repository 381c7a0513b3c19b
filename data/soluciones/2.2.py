from course_lib import retrieval, world
from course_lib.tracks import get_track

language = get_track().language
documents = {d.id: d.text for d in world.load_documents(language)}
index = retrieval.build_index(documents, language)


def refuse(question):
    hits = index.search(question, 1)
    return not hits or hits[0].score < {"es": 2.8, "en": 3.0}[language]


respuesta = refuse
