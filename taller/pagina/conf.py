"""La configuración de Sphinx para el sitio del curso; la usa `python -m taller.sitio`."""

import course_lib

project = "¿Cuándo conviene el ajuste fino?"
author = "El equipo del curso"
copyright = f"2026, {author}"
version = release = course_lib.__version__
language = "es"

extensions = ["myst_nb"]
myst_enable_extensions = ["colon_fence", "deflist", "substitution"]
myst_substitutions = {"version": course_lib.__version__}
exclude_patterns = ["_build"]

# Los cuadernos llegan ejecutados, y nada se pide a la red: ni los guiones de los widgets.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
nb_code_prompt_show = "Ver el código"
nb_code_prompt_hide = "Esconder el código"
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["curso.css", "jugar.css"]
html_js_files = ["palabras.js", "curso.js"]
html_copy_source = True
html_theme_options = {
    "search_bar_text": "Buscar…",
    "use_download_button": True,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "toc_title": "En esta lección",
}
