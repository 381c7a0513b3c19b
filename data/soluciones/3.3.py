from course_lib.encoding import Kind


def reply_labels(input_ids, kinds):
    taught = (Kind.REPLY, Kind.END)
    return [token if kind in taught else -100 for token, kind in zip(input_ids, kinds)]


respuesta = reply_labels
