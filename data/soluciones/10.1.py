respuesta = {
    "quién": "El personal de secretaría, para contestar correos.",
    "qué falla": "«¿Cuándo se fundó?» contesta 1600 y es 1768.",
    "qué falta": "Un saber que nunca leyó, el de los documentos.",
    "si se equivoca": "Alguien se presenta un día que está cerrado.",
}
