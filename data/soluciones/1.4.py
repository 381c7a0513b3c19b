from course_lib import world
from course_lib.chat import generate
from course_lib.tracks import get_track

track = get_track()
model, tokenizer = track.load_model(), track.load_tokenizer()
countries = world.load_countries(track.language)[: track.limit]
capitals = world.fact_questions(countries, ("capital",))
ids = [tokenizer.encode(world.question_prompt(q) + " ") for q in capitals]
dichas = [text.strip() for text in generate(model, tokenizer, ids, 24, stop="\n")]
respuesta = (95, dichas)
