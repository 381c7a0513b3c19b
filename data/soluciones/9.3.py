def allowed(written):
    digits = "0123456789"
    second = digits[:4] if written[:1] == "2" else digits
    places = ["012", second, ":", "012345", digits, ""]
    return places[len(written)]


respuesta = allowed
