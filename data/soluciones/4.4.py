from course_lib import evaluation
from course_lib.encoding import Kind
from course_lib.original import original_examples
from course_lib.tracks import get_track

track = get_track()
model, tokenizer = track.load_model(), track.load_tokenizer()
some = original_examples(track, tokenizer)[:32]
pad = tokenizer.pad_token_id
before = evaluation.talk_loss(model, some, range(len(some)), pad, kinds=(Kind.REPLY,))
respuesta = (4, before.value)
