"""Reglas escritas a mano que entienden preguntas en español sobre los países del mundo.

Lo mejor que supo hacer, con expresiones regulares, alguien que conocía las redacciones de ajustar y
no las del examen ajeno: de lo que no se entrena, el rival más duro del asistente.
"""

import re
import unicodedata
from functools import lru_cache

ATTRIBUTES = ("capital", "currency", "language", "continent")
# Palabras que nombran cada atributo, y otras que solo lo insinúan (valen si no hay nada mejor).
NOUNS = {
    "capital": r"capital(?:es)?|capitalidad|sede del gobierno|ciudad (?:principal|mas importante)",
    "currency": r"monedas?|divisas?|unidad monetaria|monetari[oa]",
    "language": r"idiomas?|lenguas?|lenguajes?",
    "continent": r"continentes?|(?:parte|lado|zona|rincon|sitio|trozo|region|punta|esquina)s? "
    r"del (?:mundo|planeta|globo|mapa|mapamundi)",
}
HINTS = {
    "currency": r"pag(?:an?|as|o|ar|amos|arse|uen?|aria|aban|ando)|dinero|billetes?|cobr(?:an?|ar)|"
    r"plata|pasta|lana|guita|pelas|efectivo|cash|precios?|sueldos?|usa(?:n|ba)? para comprar|"
    r"compr(?:o|ar|an|amos)|monedero|cartera|cambi(?:o|ar|amos) (?:\w+ )?(?:euros|dolares|pesos)",
    "language": r"(?:se )?habl(?:an?|ar(?:an|les?|me|nos|se)?|aban?|o|e|en|ando)"
    r"(?! (?:con|por (?:telefono|mega\w+|los)|contigo|conmigo|del?|mas|mucho|tanto|luego|manana|"
    r"sobre)\b)|"
    r"(?:se )?comunic(?:an?|ar\w*)|entender(?:me|nos|se|les)|se expresan?|chapurre\w+",
    "continent": r"donde (?:esta|queda|cae|para|se (?:encuentra|ubica|situa|halla))\w*|"
    r"qu3 (?:parte|lado|zona|sitio) (?:esta|queda|cae|se )\w*",
}
NOUN = "|".join(NOUNS.values())
# Países de verdad que pueden no estar en la lista: nombrarlos es nombrar un desconocido.
OTHERS = """afganistan|andorra|antigua y barbuda|argelia|armenia|azerbaiyan|bahamas|belgica|benin|
bielorrusia|bolivia|bosnia y herzegovina|bosnia|botsuana|bulgaria|burkina faso|burundi|butan|
camerun|canada|chad|chipre|comoras|congo|corea|costa de marfil|el salvador|
emiratos(?: arabes unidos)?|eritrea|escocia|esuatini|etiopia|filipinas|georgia|gibraltar|granada|
groenlandia|guatemala|guinea ecuatorial|guinea.bisau|guinea|haiti|holanda|india|indonesia|
irlanda del norte|israel|kazajistan|kiribati|kosovo|kuwait|lesoto|liberia|luxemburgo|
macedonia(?: del norte)?|malasia|malaui|maldivas|mali|mauricio|mauritania|micronesia|moldavia|
monaco|montenegro|namibia|nauru|niger|nuevo mexico|nueva guinea|nueva caledonia|paises bajos|
palaos|palestina|panama|papua nueva guinea|paraguay|puerto rico|republica dominicana|
republica centroafricana|republica democratica del congo|rusia|samoa americana|san marino|
san vicente(?: y las granadinas)?|santo tome y principe|senegal|seychelles|sierra leona|singapur|
siria|somalia|sri lanka|suazilandia|sudafrica|sudan(?: del sur)?|suiza|taiwan|timor oriental|
trinidad y tobago|tunez|turquia|uganda|vaticano|yemen|yibuti|zimbabue""".replace("\n", "")
ALIASES = {  # otras maneras de decir un país o un valor, por su forma en la lista sin acentos
    "estados unidos": r"estados unidos de america|ee\.? ?uu\.?|eeuu|usa|u\.s\.a\.?",
    "chequia": "republica checa",
    "kenia": "kenya",
    "catar": "qatar",
    "irak": "iraq",
    "reino unido": "gran bretana|inglaterra|uk",
    "arabia saudi": "arabia saudita",
    "banglades": "bangladesh",
    "barein": "bahrein|bahrain",
    "birmania": "myanmar",
    "nueva zelanda": "nueva zelandia",
    "fiyi": "fidji|fiji",
    "ruanda": "rwanda",
    "brunei": "brunei darussalam",
    "ciudad de mexico": r"mexico d\.?f\.?|cdmx",
    "pekin": "beijing",
    "espanol": "castellano",
    "fines": "finlandes",
    "suajili": "swahili",
    "persa": "farsi",
    "chino": "mandarin",
    "neerlandes": "holandes",
    "esloti": "zloty",
    "tokio": "tokyo",
    "america": r"(?:sud|centro|norte|latino|ibero|hispano)america|continente americano",
    "africa": "continente africano",
    "asia": "continente asiatico",
    "europa": "continente europeo|viejo continente",
    "oceania": "continente oceanico",
}
FIRST_NAMES = set(
    """aaron abel abril adela adrian agueda ainhoa aitana aitor alba alberto
alejandra alejandro alex alexa alfonso alfredo alicia alvaro amparo ana ander andrea andres angel
angela angeles antonia antonio araceli arturo ascension asuncion aurora barcelona beatriz begona
belen benita benito berta bilbao blanca bruno camila candela carla carlos carlota carmela carmen
carolina catalina cecilia celia cesar chema clara claudia concha consuelo cristina damian dani
daniel david diana diego dios dolores domingo eduardo elena elisa eloy emilia emilio emma encarna
enrique erasmus ernesto eso esperanza esteban ester eugenia eustaquio eva fabian fatima felipe
felisa fermin fernanda fernando fina fran francisca francisco gabriel gema geografia gerardo
german gines gloria gonzalo google gracia gregorio guadalupe guille guillermo gustavo hector
herminia hortensia hugo ignacio iker ines inma instagram internet irene isabel isidro ismael ivan
izan jacinta jaime javi javier jessica jesus joaquin jon jorge jose josefa josefina juan juana
juanito julia julian julio kevin laura leire leo leonor leticia lidia lola lorena lorenza lorenzo
lourdes lucas lucia luis luisa lupe magdalena maite malaga manolo manuel manuela mar marcos
margarita maria mariajose mariana mariano maribel marina mario marisa marisol marta martin mateo
matilde mayte mercedes miguel mila milagros miriam mohamed monica montse murcia nacho natalia nati
navidad nerea nico nicolas nieves noa noelia nuria olga olivia omar oscar pablo paco paloma paqui
pasapalabra pastora patricia paula paulino pedro pepa pepe petra pilar puri quique rafa rafael
ramiro ramon ramona raquel raul rebeca remedios ricardo roberto rocio rodrigo rosa rosario ruben
rufina rufino salvador samuel sandra santi sara saul sebas sebastian sergio sevilla silvia siri
sociales sofia soledad sonia susana tania teo teresa thiago tiktok toledo tomas toni tono triana
trivial ud uds unai usted valencia valentina valeria vanesa vanessa vero vicenta vicente victor
victoria virginia whatsapp wikipedia xavi ximena yago yaiza yolanda zaragoza""".split()
)
KIN = re.compile(
    r"\b(?:prim|herman|ti|abuel|hij|novi|amig|vecin|sobrin|niet|cunad|suegr|perr|gat|companer|nin|"
    r"chic|muchach|espos|jef|alumn|ahijad|bisniet|maestr|amigu|abuel|hij)(?:it)?[oa]"
    r"s? $|\b(?:marido|mujer|don|dona|senor|senora|senorita|colega|madre|padre|mama|papa|yerno|"
    r"nuera|madrina|padrino|doctora?|profe|profesora?|peque|bebe|llamad[oa]|me llamo|soy|"
    r"hola|gracias) ,? ?$"
)
ASIDE = re.compile(  # lo que sigue se nombra de paso: «soy de…», «vivo cerca de…»
    r"\b(?:somos|soy|vengo|venimos|viene|vivo|vivimos|vive[ns]?|naci(?:o|da|do)?|trabaj\w+|estoy|"
    r"estuv\w+|estamos|cerca|lejos|al lado|desde|junto|ademas|aparte|amig[oa]s?|escrib\w+|no digo|"
    r"no me refiero|vuelvo|volvi\w*|hablo|estudi\w+|aprend\w+|clases?|curso|nada que ver con|"
    r"no|chic[oa]|novi[oa]|marido|profe\w*|limita|tarea|examen|mi)"
    r"(?: (?:ya|ahora|aqui))?(?: (?:la|el))?(?: (?:de|del|en|a|al|con|por))?(?: (?:la|el|los))? $"
)
# Palabras en minúscula que pueden ir tras «la moneda de…» sin ser nombre de país.
LOWER = set(
    """a ahi al algun alguna alla alli anoche antes aquel aquella aquellos aqui ayer breve
cada cambio casa casos chocolate circulacion clase cole colegio concreto cual cualquier cuenta
cuestion curso cuyo de del dicha dicho dichos dolar dolares donde efectivo el ella ello ellos esa
ese eso esos esta estado estas este esto estos euro euros examen general gente hoy instituto la
las lo los lugar mapa metalico mi mis mundo nacion nuestra nuestro origen oro otra otro pais
paises plata por principio provincia qu3 que realidad serio si siempre sitio su sus suyo tarjeta
teoria territorio todo total tu tus un una uso usted vacaciones verdad vez vigor y ya""".split()
)
STARTS = LOWER | set(
    """hola oye oiga perdona perdone disculpa disculpe mira mire gracias buenas
buenos vale ok pues bueno ah eh oh ay entonces ahora tambien dime digame diga capital moneda
idioma lengua continente divisa sabes sabe alguien nadie ciudad mama papa abuela abuelo profe
senor senora senorita jefe jefa tio tia hijo hija chicos chica chico amigo amiga cielo carino
guapa guapo tu ella nosotros como cuando donde cual cuales quien es esta son hablan usan hey ey uf
jo jolin anda venga claro exacto perfecto genial estupendo bien si no porfa aun pero porque ademas
aparte ciertamente estimado estimada queda tiene pertenece veras verdad pregunta duda consulta
otra ultima siguiente""".split()
)
VERB = r"esta|queda|pertenece|tiene|usan?|cae|es|se|utiliza"
PLACE = (
    rf"(?:\b(?:{NOUN}|oficial(?:es)?|nacional|legal|leyes|gente|caso|hablando|nombre|"
    r"habitantes)(?: oficial(?:es)?| nacional| que se \w+| que \w+n)? (?:del?|en)|"
    r"\by (?:la|el|lo) del?|\by en|\b(?:la|el) (?:de|del)|"
    r"(?:viaj\w+|voy|vamos|ir|irme|vaya|mud\w+|pertenece) (?:a|al)|"
    rf"[¿,.] ?y|^y|(?:{VERB}|pagan|hablan|se habla|se paga|se usa|cobran|cambio) en)"
    r"(?: la| el| los| las)? $"
)
LOWPLACE = (
    r"\b(?:tiene|esta(?:ba|n)?|queda|pertenece|ubica|encuentra|situa|localiza|usan?|"
    r"utilizan?|circula|precios|emplea|hablan?|pagan?|compro|algo|vivir|busco|territorio|"
    r"parte|hablando)(?: en| de| a)? $|\b(?:en|forma parte de) $"
)
ASK = (
    r"\bdi(?:me|game|nos|ganos|me)\b|\bdec\w+|\bdices\b|\bdigas?\b|\bsab\w+|\bindi\w+|recuerd|"
    r"\bacuerd|necesito|explic|ayud|pregunt|duda|averigu|confirm|curiosidad|crucigrama|no se |"
    r"consult|inform|olvid|me sale|interesa|tarea|deberes|conocer|desconozco|falta|"
    r"preciso\b|solicit|ruego|verdad\b|cierto\b|razon\b|correcto|apunt"
)
# Giros que no hablan de países; se borran antes de leer.
IDIOMS = (
    r"punta de la lengua|pelos en la lengua|la lengua larga|(?:mord|com|trab)\w+ la lengua|"
    r"pena capital|letras? capital(?:es)?|pecados? capital(?:es)?|capital importancia|"
    r"continente y (?:el )?contenido|(?:clases?|examen|profe\w*|libro|deberes) de lengua|"
    r"lengua de (?:gato|trapo|vaca|ternera)|tirar de la lengua"
)
# Señales de charla: posesivos e indefinidos ante el sustantivo; o quien pregunta habla de ti.
LOOSE = (
    rf"\b(?:mi|mis|tus?|unas?|es[ea]s?|est[ea]s?|nuestr[oa]s?|much[oa]s?|otr[oa]s?|tres|dos|"
    rf"vari[oa]s|pena|sin|algun[oa]?s?) (?:{NOUN})\b"
)
TALK = (
    rf"\b(?:{NOUN}) (?:favorit|de mi\b|de tu\b|extranjer|antigu|que (?:te|hablas|estudi|mas))|"
    r"\bqu3 (?:\w+ )?(?:hablas|hablais|estudi\w+|te|prefieres|quieres|estas|os|nos|aprend\w+|"
    r"coleccion\w+)\b|por qu3|¿quien(?! (?:me|sabe|nos|aci|tiene|lleva|gana))|\bcuant[oa]|"
    r"¿(?:y )?cuando\b|favorit|(?:me|nos|te) (?:presta|deja)s? "
)
YESNO = (
    r"\W*(?:oye|hola|perdona|vale)?\W*(?:(?:creo|es (?:verdad|cierto)|a) que|me confirmas si|"
    r"(?:verdad\w*|cierto) o (?:falso|mentira))?\W*"
    r"(?:en|esta|es|pertenece|usan|utilizan|hablan|tienen|se)\b|"
    r".{0,40}\b(?:queda|esta|se encuentra)\b"
)
QUERY = (
    r"(?:cual(?:es)?\b|qu3\b(?! (?:tal|te|me|le|opin|dic|cre|pien)\w*)|"
    r"como (?:se|le|la|lo|es)\b)"
)
FOLLOW = (
    r"(?:^(?:\w+ )?|[¿,.;:!)] ?)(?:y|pues|lo mismo|lo|quer\w+ decir|quise decir|me refer\w+|"
    r"(?:te )?preguntaba|repite\w*|ahora|tambien|dime|pero|qu[e3] hay de|qu[e3] pasa con|o)\b"
    r"(?: (?:ahora|dime|tambien|la|el|lo|en|si|a|con|para|por|los|las|del?|te|le|me|qu3|que|"
    r"cual|pregunto|pregunta|digo|voy|vamos|viajo|fuera|fuese|es|seria|era|usan|hablan|"
    r"tienen|pais|ese|llama|llamado|caso|mism[oa]|pero|pues|dices|sabes|pasa|hay|cuentas|"
    r"esta|queda|cae|se|encuentra|paso|necesito|saber))*"
    r" @(?P<rest>[^@]*)$"
)
BARE = (
    rf"^(?:.{{0,30}}[:,.] )?(?:y )?(?:la |el |su )?(?:{NOUN})"
    r"(?: oficial| nacional| que \w+)? (?:de|en)\b"
)
WHERE = (
    r"\bdonde \w+(?: \w+)?(?: el| la| los)? @|@,? ¿?(?:por )?donde (?:esta|queda|cae)|"
    r"@,? ¿?(?:y )?(?:en |a )?cual (?:tienen?|usan?|hablan|esta|queda)\b"
)
ALONE = r"\W*(?:(?:no|perdona?|digo|en|la de|el de|vale)\W+)*@\W*(?:no @\W*)?"
BRIEF = (
    rf"^(?:\w+[,.]? ){{0,2}}(?:y|ahora|tambien),? (?:\w+ ){{0,3}}(?:{NOUN})"
    r"(?: oficial)?(?: de \w+ \w+| alli)?\W*$|"
    rf"(?:^|[.!,] )¿?(?:la |el |su )?(?:{NOUN})(?: oficial)?\?|"
    rf"\b(?:saber|dime|decirme|dices) (?:tambien )?(?:la|el|su) (?:{NOUN})(?: oficial)?\W*$"
)
NEXT = (
    r"(?:^|[¿,.;:!] ?)(?:y|dime|ahora|tambien)\b[^.?]{0,30}"
    rf"\b(?:la|el|los|las|sus?|qu3|que|cual\w*|de) (?:\w+ (?:que es )?)?(?:{NOUN})\b"
)


def flat(text: str) -> str:
    """Minúsculas sin acentos y con el mismo largo; «qué», pregunte o no con tilde, queda «qu3»."""
    low = "".join(unicodedata.normalize("NFD", c)[0].lower()[:1] or " " for c in text)
    for m in re.finditer(r"\bqué\b", text, re.I):
        low = low[: m.start()] + "qu3" + low[m.end() :]
    verbs = r"(?:se|hablan?|usan?|paga[ns]?|utilizan?|llevo|ciudad|dinero|plata|parte|zona|lado)\b"
    before = r"(?:^|[¿,:;.(] ?|\b(?:y|pues|oye|se|sabes?|saber|dime|decirme|dices|con|en|hola) )"
    low = re.sub(rf"({before}(?:con |en |a |de )?)que(?= {verbs})", r"\1qu3", low)
    return re.sub(rf"\bque(?= (?:{NOUN})\b)", "qu3", low)


def fits(pattern: str, found: re.Match) -> bool:
    """Si el patrón es el que dio ese hallazgo (se mira en su sitio, por las miradas atrás)."""
    return bool(re.compile(pattern).fullmatch(found.string, found.start(), found.end()))


@lru_cache(maxsize=8)
def lexicon(rows: tuple) -> tuple[re.Pattern, dict, dict]:
    """El patrón de los países, el país de cada forma y, por atributo, (patrón, valor)."""

    def forms(word: str) -> list[str]:
        return [re.escape(word), *filter(None, ALIASES.get(word, "").split("|"))]

    names = {re.sub(r"^(el|la|los|las) ", "", flat(r[0])): r[0] for r in rows}
    kinds = {form: name for word, name in names.items() for form in forms(word)}
    every = sorted([*kinds, *OTHERS.split("|")], key=lambda f: -len(f))
    if "el salvador" in (flat(r[0]) for r in rows):
        every.remove("el salvador")
    values: dict[str, tuple[re.Pattern, dict[str, str]]] = {}
    for i, attribute in enumerate(ATTRIBUTES, 1):
        options = {}
        for value in sorted({r[i] for r in rows}, key=lambda v: (-len(v), v)):
            word = re.sub(r"^(el|la|los|las) ", "", flat(value))
            pattern = "|".join(forms(word))
            if attribute == "currency":
                pattern = r"(?:e?s)? ".join(map(re.escape, word.split())) + "(?:e?s)?|" + pattern
            if attribute == "language":
                pattern += rf"|(?<=lengua ){re.sub('o$', '', word)}a"
            options[pattern] = value
        values[attribute] = re.compile(rf"\b(?:{'|'.join(options)})(?!\w)"), options
    return re.compile(rf"\b(?:{'|'.join(every)})(?!\w)"), kinds, values


def read(text: str, countries: list[dict], known: str | None = None) -> dict:
    """Lo que un mensaje dice: país (None, nombre o «?» si es desconocido), atributo, valor…"""
    text = unicodedata.normalize("NFC", re.sub(r"[\"«»“”*_\n\t]+", " ", text)).strip()
    text = re.sub(r"\b(?:[qk]|[kq]e)\b(?!\.)", "que", re.sub(r" +", " ", text))
    low = re.sub(IDIOMS, lambda m: " " * len(m[0]), flat(text))
    rows = tuple((c["name"], *(c[a] for a in ATTRIBUTES)) for c in countries)
    pattern, kinds, values = lexicon(rows)
    spots = {
        a: [
            (m.start(), m.end(), next(v for p, v in vs.items() if fits(p, m)))
            for m in every.finditer(low)
        ]
        for a, (every, vs) in values.items()
    }
    taken = [(s, e) for a in ATTRIBUTES for s, e, _ in spots[a]]
    mentions = []
    for m in pattern.finditer(low):  # países conocidos y países de verdad que no están
        before, upper = low[: m.start()], text[m.start()].isupper()
        inside = any(s <= m.start() and m.end() <= e and e - s > len(m[0]) for s, e in taken)
        verb = m[0] in ("iran", "catar") and not upper
        goes = m[0] == "iran" and re.match(r" a \w+r\b", low[m.end() :])  # «irán a cenar»
        if inside or goes or KIN.search(before):
            continue
        if (
            verb
            and not re.search(r"\b(?:de|del|en|y|tiene|esta) $", before)
            and not re.match(r"\W*$|[,?]", low[m.end() :])
        ):
            continue
        if m[0] in ("usa", "uk") and not text[m.start() : m.end()].isupper():
            continue
        name = next((n for k, n in kinds.items() if fits(k, m)), "?")
        mentions.append((m.start(), m.end(), name))
    covered = [(s, e) for s, e, _ in mentions] + taken
    for m in re.finditer(r"\b[^\W\d_][\w'’-]+", text):  # palabras que parecen países inventados
        before, word, after = low[: m.start()], low[m.start() : m.end()], low[m.end() :]
        if any(s < m.end() and m.start() < e for s, e in covered) or KIN.search(before):
            continue
        start = re.search(r"(?:^|[.!?¿¡:…—-]) ?$", before)
        if word in STARTS or (m[0][0].isupper() and word in FIRST_NAMES):
            continue
        slot = re.search(PLACE, before)
        if m[0][0].isupper() and m[0] != m[0].upper() and not start:
            which = rf", ¿?(?:(?:en|a) )?(?:cual|qu3)(?: \w+)? (?:{VERB}|hablan)"
            found = slot or re.match(which, after)
            found = found or not re.search(r"(?:, |\b(?:a|con|segun|para) )$", before)
        elif m[0][0].isupper() and start:
            subject = rf",? ?¿?(?:(?:en|a|con) )?(?:qu3|cual|{VERB})\b|,? ¿?(?:y )?su |\?$"
            found = re.match(subject, after) and not re.match(NOUN, word) and len(word) > 3
        else:  # en minúscula, solo justo tras «la capital de», «¿y la de»…
            tight = rf"\b(?:{NOUN})(?: oficial)? (?:de|en) $"
            more = r" \w+" if word in ("nueva", "nuevo", "isla", "santa") else ""
            more += r"(?: por ?fa\w*| plis| tio| tia| bro| en el mapa)?(?:[,.?!]|$)"
            last = re.match(more, after)
            loose = text == text.lower() and last and (slot or re.search(LOWPLACE, before))
            found = not mentions and len(word) > 3 and (loose or re.search(tight, before))
            found = found and not re.match(r"\w+(?:mente|ndo|ad[oa])$", word)
        if found and not re.search(rf"^(?:{NOUN})$", word):
            last = mentions[-1] if mentions else (0, 0, "")
            joined = re.fullmatch(r" (?:del? |y )?(?:la |los )?", low[last[1] : m.start()])
            if last[2] == "?" and joined:
                mentions[-1] = (last[0], m.end(), "?")  # «Nueva Lirania» es un solo nombre
            else:
                mentions.append((m.start(), m.end(), "?"))
    # El atributo: mejor el que va con un interrogativo, luego el sustantivo, luego la pista.
    best = (0, 0, None)
    asked = []
    for table, base in ((NOUNS, 3), (HINTS, 1)):
        for attribute, words in table.items():
            for m in re.finditer(rf"\b(?:{words})\b", low):
                before = low[: m.start()]
                query = re.search(rf"{QUERY}[^.?!;:¿,]{{0,45}}$", before)
                late = base == 3 and re.match(
                    r"[^.!;]{0,60}[ ,¿](?:cual|como se llama|qu3 nombre)\b", low[m.end() :]
                )
                score = base + 4 * bool(query) + 2 * bool(late)  # «en la capital» no se pregunta
                score -= 4 * bool(re.search(r"\b(?:en|a|hasta|desde|hacia) (?:la|el) $", before))
                if query or late:
                    asked.append(query.start() if query else m.end() + late.end())
                best = max(best, (score, m.start(), attribute))
    score, at, attribute = best
    asked += [m.start() for m in re.finditer(r"\bcual (?:es|era|seria|usan|hablan|tienen?)\b", low)]
    named = choose(mentions, low, at if attribute else None)
    result = {
        "low": low,
        "country": named[2] if named else None,
        "attribute": attribute,
        "mentions": mentions,
        "score": score,
        "asked": asked,
        "value": None,
    }
    # El valor que se propone, si lo hay: sin palabra interrogativa, o dicho después de ella.
    for kind in (attribute, known, *ATTRIBUTES):
        inferred = kind != attribute and score >= 3
        found = propose(low, spots.get(kind, []), mentions, asked, kind) if not inferred else None
        if found == "" and (attribute in (None, kind) or score < 3):  # «¿en Europa o en Asia?»
            result.update(attribute=kind, asked=[*asked, 0])
            break
        if kind == "currency" and not found and not inferred:
            own = next((r[2] for r in rows if r[0] == result["country"]), "")
            found = shortened(low, own, rows, asked)
        if found and (attribute in (None, kind) or score < 3):
            result.update(value=found, attribute=kind)
            break
    return result


def choose(mentions: list, low: str, at: int | None) -> tuple | None:
    """De los países nombrados, aquel por el que se pregunta."""

    def score(mention: tuple) -> tuple:
        start, end, name = mention
        before = low[:start]
        between = low[at:start] if at is not None and at < start else None
        near = between is not None and not re.search(r"[.?!;¿:]", between)
        asked = re.search(r"¿[^?]*$", before) or (re.match(r"[^.!¿]*\?", low[end:]))
        return (
            3 * near
            + 2 * bool(asked)
            + 2 * bool(re.search(PLACE, before))
            - 6 * bool(ASIDE.search(before))
            + (name != "?"),
            start,
        )

    return max(mentions, key=score, default=None)


def propose(low: str, spots: list, mentions: list, asked: list, kind: str | None) -> str | None:
    """El valor propuesto en una de sí o no; None si es abierta y "" si da dos a elegir."""
    good = []
    for start, end, value in spots:
        before, after = low[:start], low[end:]
        if kind == "capital" and any(s == start and e == end for s, e, _ in mentions):
            if sum(low[s:e] == low[start:end] for s, e, _ in mentions) < 2:
                continue
        elif any(s < end and start < e for s, e, _ in mentions):
            continue
        if KIN.search(before) or ASIDE.search(before):
            continue
        if asked:  # «¿cuál es la capital de Perú? ¿Lima?», «…y he dicho que Lima, ¿acierto?»
            said = re.search(
                r"\b(?:cre\w+|di\w+|jur\w+|apost\w+|pens\w+|suena|entendido|puse|"
                r"contest\w+|respond\w+)\b[^?]*$",
                low[min(asked) : start],
            )
            alone = re.search(
                r"[?,] ?¿?(?:y |o |no )?(?:es |sera |era |puede ser |seria )?"
                r"(?:el |la |en |con )*$",
                before,
            )
            ends = re.match(r" ?(?:,[^?]*)?\?", after)
            if start < min(asked) or not (said or (alone and ends)):
                continue
        good.append((start, end, value))
    either = r",? o (?:es |esta )?(?:en |el |la )*"  # «¿en Europa o en Asia?» no propone nada
    if any(re.fullmatch(either, low[a[1] : b[0]]) for a, b in zip(good, good[1:])):
        return ""
    near = [g for g in good if "?" in low[g[1] :] or "¿" in low[g[1] :]] or good
    return near[-1][2] if near else None


def shortened(low: str, own: str, rows: tuple, asked: list) -> str | None:
    """«El peso», «la libra»: la moneda dicha a medias; mejor la del propio país."""
    best = [own, "el dólar estadounidense", "la libra esterlina", *sorted({r[2] for r in rows})]
    for value in [v for v in best if v in {r[2] for r in rows}]:
        head = re.sub(r"^(el|la) ", "", flat(value)).split()[0]
        m = re.search(rf"\b(?:el|la|los|las|en|con|usan?|de|es) ({head}(?:e?s)?)(?!\w)", low)
        if m and " " in value.split(" ", 1)[-1] and head not in ("real", "sum", "som"):
            return propose(low, [(m.start(1), m.end(1), value)], [], asked, None)
    return None


def understand(turns: list[str], countries: list[dict]) -> tuple[str, str, str | None] | None:
    """(país, atributo, valor propuesto o None) de lo último que se pregunta, o None."""
    country = attribute = None
    said: dict = {}
    for turn in turns:
        said = read(turn, countries, attribute)
        country = said["country"] or country
        attribute = said["attribute"] or attribute
    if not attribute or country in (None, "?"):
        return None
    return country, attribute, said["value"]


def is_question(text: str, countries: list[dict]) -> bool:
    """Si un mensaje suelto va de los países del mundo; si no, es charla."""
    said = read(text, countries)
    low, value, wh = said["low"], said["value"], bool(said["asked"])
    asks = "?" in low or wh or bool(re.search(ASK, low))
    noun = re.search(rf"\b(?:{NOUN})\b", low)
    about = next((p for p in re.split(r"[.?!;]", low) if re.search(rf"\b(?:{NOUN})\b", p)), low)
    talk = bool(re.search(TALK, about))
    loose = bool(re.search(LOOSE, about))
    if said["country"]:
        if value and ("?" in low or noun or re.match(YESNO, low)):
            return not (talk and said["score"] < 3 and not noun)
        if noun and (asks or said["country"] != "?" or re.search(BARE, low)):
            return said["score"] > 0 and not talk and (wh or not loose)
        marked = low
        for start, end, _ in sorted(said["mentions"], reverse=True):
            marked = marked[:start] + "@" + marked[end:]
        follow = re.search(FOLLOW, marked)
        if re.search(WHERE, marked) or (said["attribute"] and wh and not talk):
            return True
        return bool((follow and len(follow["rest"].split()) < 8) or re.fullmatch(ALONE, marked))
    if talk or loose or (said["score"] < 1 and not value):
        return False
    there = r"\b(?:alli|alla|ahi|es[ea] (?:pais|lugar))\b"
    theirs = re.search(rf"\bsus? (?:\w+ )?(?:{NOUN})|{there}", low)
    more = re.search(r"^\W*(?:\w+\W+){0,2}y\b|que (?:es|sea|era|esta en) ", low)
    more = more and not re.search("de qu3 habl", low)
    if re.search(BRIEF, low) or (value and "?" in low and (more or theirs)):
        return True
    if noun and asks:
        claim = value and re.search(rf"\b(?:{NOUN})\b[^.?]{{0,30}}\b(?:es|sea|era|llam\w+) ", low)
        third = re.search(rf"{QUERY}(?: \w+){{0,3}} (?:{NOUN})|{NEXT}", low)
        return bool(theirs or claim or third)
    return bool(said["attribute"] and wh and (theirs or more))
