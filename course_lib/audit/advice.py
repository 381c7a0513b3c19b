"""Qué significa cada hallazgo: su título, por qué duele, cómo se arregla y dónde se explica.

Las filas nacen de informes públicos de fallos, y de la documentación y el código de las
bibliotecas.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """Lo que no depende de los datos de quien pregunta."""

    title: str
    why: str
    mend: str
    lesson: str


ADVICE = {
    "fin-tapado": Advice(
        "El token de fin está en el texto, pero la pérdida no lo cuenta nunca",
        "El modelo no aprende a callarse: al generar, sigue hasta el tope.",
        "Enmascara el relleno por su posición y no por su id (DataCollatorForSeq2Seq lo hace), o "
        "da al tokenizador un token de relleno distinto del de fin; la máscara de las respuestas "
        "debe abarcar también su fin.",
        "06",
    ),
    "relleno-contado": Advice(
        "El relleno cuenta en la pérdida",
        "La pérdida baja sola, porque adivinar relleno es gratis, y el modelo gasta en eso su "
        "tiempo y parte de lo que aprende.",
        "Pon −100 en las etiquetas a partir del primer token de fin, o rellena cada lote solo "
        "hasta su ejemplo más largo con un collator que no lo cuente, como encoding.collate.",
        "06",
    ),
    "sin-fin": Advice(
        "Las respuestas acaban sin token de fin",
        "Nada enseña al modelo dónde termina su turno: al generar, sigue hasta el tope o se "
        "inventa el turno del otro.",
        "Añade el token de fin (eos_token) detrás de cada respuesta, y que cuente en la pérdida.",
        "06",
    ),
    "usuario-supervisado": Advice(
        "La pérdida cuenta también lo que dice el usuario",
        "El modelo aprende a escribir preguntas además de respuestas, y puede ponerse a hablar por "
        "el usuario. No siempre perjudica, pero ha de ser una decisión.",
        "Pon −100 en las etiquetas del texto del usuario: encode_conversation lo hace con la "
        "plantilla de chat, y TRL con assistant_only_loss o completion_only_loss.",
        "06",
    ),
    "plantilla-distinta": Advice(
        "Se pregunta en una forma distinta de la del entrenamiento",
        "El modelo recibe un comienzo que no vio nunca, y lo que aprendió no le sirve del todo: "
        "pérdida buena y charla mala.",
        "Monta la petición y el ejemplo con la misma plantilla, como chat_prompt y "
        "encode_conversation: los ids de la petición deben ser el principio exacto del ejemplo.",
        "06",
    ),
    "marcadores-rotos": Advice(
        "Los marcadores de turno se parten en varios tokens",
        "Cada turno gasta tokens en escribir el marcador, y el modelo puede escribirlo a medias o "
        "confundirlo con texto corriente.",
        "Añádelos como tokens especiales (prepare_for_chat lo hace y agranda los embeddings), o "
        "usa los que el tokenizador ya tenga.",
        "06",
    ),
    "ids-fuera": Advice(
        "Hay ids que no caben en la tabla de embeddings",
        "El entrenamiento se detendrá con un error de índice, en una GPU con un mensaje oscuro.",
        "Llama a model.resize_token_embeddings(len(tokenizer)) después de añadir tokens, y "
        "comprueba que el tokenizador es el de ese modelo. Si lo que no cabe es la longitud, corta "
        "o parte esas filas.",
        "07",
    ),
    "nuevos-congelados": Advice(
        "Los tokens nuevos no se van a aprender: sus embeddings están congelados",
        "LoRA solo ajusta sus adaptadores, y los tokens que añadiste se quedan con los vectores "
        "con que nacieron.",
        "Da a LoraConfig los ids nuevos en trainable_token_indices, o guarda los embeddings "
        "enteros con modules_to_save.",
        "07",
    ),
    "doble-bos": Advice(
        "Los ejemplos empiezan por dos tokens de comienzo",
        "La plantilla ya lo pone y el tokenizador lo repite: el modelo ve un comienzo que no vio "
        "al preentrenarse.",
        "Tokeniza el texto que da la plantilla con add_special_tokens=False.",
        "07",
    ),
    "relleno-derecha": Advice(
        "El lote de peticiones lleva el relleno a la derecha",
        "La respuesta empieza detrás del relleno y no detrás de la pregunta: las frases cortas "
        "del lote salen mal.",
        "Usa tokenizer.padding_side = 'left' al generar, o rellena tú por la izquierda, como "
        "generation.generate.",
        "07",
    ),
    "sin-mascara": Advice(
        "Se genera sin máscara de atención",
        "Sin ella el modelo lee el relleno como si fuera texto, y no puede adivinar cuál es "
        "cuando el relleno es el mismo token que el fin.",
        "Pasa a generate la attention_mask que devuelve el tokenizador: "
        "model.generate(**tokenizer(textos, return_tensors='pt', padding=True)).",
        "05",
    ),
    "respuesta-cortada": Advice(
        "El tope de longitud corta respuestas",
        "Una respuesta cortada enseña a callar a media frase, y si el corte se la lleva entera no "
        "queda nada que aprender.",
        "Sube max_length, o aparta los ejemplos que no quepan y di cuántos son.",
        "03",
    ),
    "fuga": Advice(
        "La prueba contiene lo que se vio al entrenar",
        "La nota de la prueba mide en parte memoria: saldrá mejor de lo que el modelo es.",
        "Reparte diálogos enteros y quita antes los repetidos, como split_dialogues. Si ya lo has "
        "hecho y aún comparten, reparte por tema, cliente o escena.",
        "03",
    ),
    "duplicados": Advice(
        "Hay diálogos repetidos",
        "Lo repetido pesa más que lo demás, se memoriza, y al repartir cae a los dos lados.",
        "Quédate con uno de cada grupo de iguales antes de repartir.",
        "03",
    ),
    "sin-evaluacion": Advice(
        "Nadie mide lo que el modelo no ha visto",
        "La pérdida de entrenamiento baja también cuando el modelo memoriza: sin datos apartados "
        "no se distingue.",
        "Aparta un conjunto de prueba, pásalo como eval_dataset con eval_strategy='epoch', y mide "
        "también el modelo de partida.",
        "05",
    ),
    "sobreajuste": Advice(
        "El modelo empeora fuera mientras mejora dentro",
        "Está memorizando los ejemplos: el modelo del final es peor que uno anterior.",
        "Para antes (EarlyStoppingCallback con load_best_model_at_end=True), da menos épocas o "
        "reúne más datos.",
        "07",
    ),
    "tasa-alta": Advice(
        "El entrenamiento se desboca: la tasa es demasiado alta",
        "Un salto de la pérdida deshace lo aprendido, y una pérdida que no es un número ya no "
        "vuelve.",
        "Baja learning_rate de dos a cinco veces y calienta más pasos (warmup_steps).",
        "07",
    ),
    "tasa-lora-baja": Advice(
        "La tasa es de ajuste completo, y con LoRA apenas se aprende",
        "Los adaptadores nacen en cero y necesitan pasos más grandes que los pesos ya hechos.",
        "Con LoRA, usa una tasa unas diez veces mayor: de 1e-4 a 1e-3.",
        "07",
    ),
    "lora-sin-efecto": Advice(
        "LoRA no adapta lo que debería",
        "Sin pesos que se ajusten, el entrenamiento corre y no cambia nada; con pocos bloques, "
        "cambia poco.",
        "Revisa target_modules (en GPT-2 son c_attn, c_proj y c_fc) y comprueba cuántos pesos se "
        "ajustan con model.print_trainable_parameters().",
        "07",
    ),
    "lora-sin-gradiente": Advice(
        "A los adaptadores no les llega el gradiente",
        "Con los embeddings congelados y gradient checkpointing, el gradiente no llega a los "
        "adaptadores: el entrenamiento corre y no cambia nada.",
        "Llama a model.enable_input_require_grads() antes de entrenar, o usa "
        "gradient_checkpointing_kwargs={'use_reentrant': False}.",
        "07",
    ),
    "fp16-entrenable": Advice(
        "Los pesos que se entrenan están en fp16",
        "Trainer se detendrá con «Attempting to unscale FP16 gradients».",
        "Carga el modelo con dtype=torch.float32, o pasa a fp32 los pesos que se entrenan; "
        "fp16=True ya se encarga de calcular en media precisión.",
        "07",
    ),
    "precision-imposible": Advice(
        "Se pide una precisión que esta máquina no tiene",
        "Trainer la acepta al construirse y falla, o se arrastra, al entrenar.",
        "Usa fp32 (fp16=False, bf16=False) fuera de una GPU; en una GPU, bf16 si la admite.",
        "04",
    ),
    "acumulacion": Advice(
        "Al acumular gradientes, la pérdida se promedia mal",
        "El modelo no acepta num_items_in_batch: cada trozo se promedia por su lado y los "
        "ejemplos cortos pesan más.",
        "Actualiza el modelo, da a Trainer una compute_loss_func, o agranda el lote en vez de "
        "acumular.",
        "07",
    ),
    "max-length-generacion": Advice(
        "max_length cuenta también la pregunta",
        "Cuanto más larga es la pregunta, menos sitio queda para la respuesta, hasta quedar vacía.",
        "Usa max_new_tokens, que cuenta solo lo nuevo.",
        "05",
    ),
    "espacio-final": Advice(
        "La petición acaba en un espacio que no estaba al entrenar",
        "Muchos tokenizadores pegan el espacio a la palabra siguiente: un espacio suelto al final "
        "es un comienzo que el modelo no vio nunca.",
        "Quita los espacios del final de la petición (rstrip) antes de tokenizarla.",
        "07",
    ),
    "nada-supervisado": Advice(
        "Hay ejemplos en los que la pérdida no cuenta nada",
        "No enseñan nada y, si llenan un lote, la pérdida es 0 o no es un número. Suele ser que no "
        "se encontró el marcador de la respuesta.",
        "Busca el marcador por ids y no por texto, o usa las marcas de generación de la plantilla.",
        "07",
    ),
    "empaquetado": Advice(
        "En una misma fila, unos ejemplos ven a otros",
        "Sin fronteras, la atención cruza de una conversación a la siguiente, que no viene al "
        "caso.",
        "Da position_ids que vuelvan a cero en cada ejemplo con una atención que los entienda "
        "(DataCollatorWithFlattening, o packing de TRL), o no empaquetes.",
        "07",
    ),
    "olvido": Advice(
        "El modelo ha olvidado cosas que sabía",
        "Lo ganado en la tarea se paga fuera de ella, y si no se mide no se ve.",
        "Usa LoRA, menos épocas o menos tasa, y mezcla ejemplos de lo que no debe olvidar.",
        "07",
    ),
    "respuestas-sosas": Advice(
        "El modelo contesta casi siempre lo mismo",
        "Ha aprendido la respuesta más frecuente, que no depende de la pregunta.",
        "Da contexto del que dependa la respuesta y datos menos uniformes; al generar, prueba a "
        "muestrear.",
        "06",
    ),
}
