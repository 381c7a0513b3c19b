"""Las diapositivas del curso: las lecciones, para proyectarlas con reveal.js y sin red.

    python -m taller.diapositivas [LECCIÓN ...] [--salida CARPETA] [--comprobar]

Lo que se proyecta lo dice cada celda en `metadata.slideshow.slide_type`: `slide`, `subslide`,
`fragment` o `-`, lo que se ve; `notes`, lo que solo ve quien habla, y `skip`, lo que se queda en el
cuaderno. Si además lleva `metadata.slideshow.show`, de una celda de código se proyecta solo el
código (`input`), solo lo que da (`output`) o todo (`both`). Por omisión, todo; de una figura, solo
la figura.
"""

import functools
import re
import shutil
import sys
from collections.abc import Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path

from course_lib.cli import new_parser, run_safely
from course_lib.lessons import course_root, find_notebooks, read_notebook
from course_lib.pages import described

TEMPLATE = Path(__file__).with_name("proyector")
SLIDES = ("slide", "subslide")  # los tipos que empiezan una diapositiva
SIZE = {"width": 1280, "height": 720}
SMALLEST = {"texto": 26, "código": 20, "figura": 330}  # píxeles: letra, letra y alto

# reveal.js habla inglés.
SPANISH = {
    "dist/reveal.css": {'"Speaker notes"': '"Notas"'},
    "dist/reveal.js": {
        '"next slide"': '"diapositiva siguiente"',
        '"previous slide"': '"diapositiva anterior"',
        '"above slide"': '"diapositiva de arriba"',
        '"below slide"': '"diapositiva de abajo"',
        "Resume presentation": "Seguir",
    },
    "plugin/notes/notes.js": {
        "reveal.js - Speaker View": "Notas de quien habla",
        "Loading speaker view...": "Abriendo las notas…",
        ">Upcoming<": ">Después<",
        ">Time <": ">Tiempo <",
        "Click to Reset": "Pulsa para ponerlo a cero",
        "Pacing – Time to finish current slide": "Lo que queda para esta diapositiva",
        ">Notes<": ">Notas<",
        "'Default'": "'Normal'",
        "'Wide'": "'Ancha'",
        "'Tall'": "'Alta'",
        "'Notes only'": "'Solo las notas'",
        "'Layout'": "'Disposición'",
    },
}


def slide_type(cell) -> str:
    """El papel de una celda en las diapositivas; «-», si no lo dice."""
    return cell.metadata.get("slideshow", {}).get("slide_type", "-")


def count_slides(notebook) -> int:
    """Cuántas diapositivas salen de un cuaderno."""
    return sum(slide_type(cell) in SLIDES for cell in notebook.cells)


def shown(cell) -> str:
    """De una celda de código, qué se proyecta: `both`, `input` o `output`."""
    figure = any("image/png" in output.get("data", {}) for output in cell.outputs)
    return cell.metadata.get("slideshow", {}).get("show", "output" if figure else "both")


def with_headings(notebook):
    """El cuaderno, con el título de la anterior en cada diapositiva que empieza sin el suyo."""
    from nbformat.v4 import new_markdown_cell

    title, cells = "", []
    for cell in notebook.cells:
        found = re.match(r"#+ (.+)", cell.source) if cell.cell_type == "markdown" else None
        if found and slide_type(cell) not in ("skip", "notes"):
            title = found[1]
        elif slide_type(cell) in SLIDES:
            again = {"slideshow": {"slide_type": slide_type(cell)}}
            cells.append(new_markdown_cell(f"##### {title}", metadata=again))
            cell.metadata["slideshow"]["slide_type"] = "-"
        cells.append(cell)
    notebook.cells = cells
    return notebook


def slide_titles(notebook) -> list[str]:
    """El título que encabeza cada diapositiva de un cuaderno."""
    heads = [cell for cell in with_headings(notebook).cells if slide_type(cell) in SLIDES]
    return [re.search(r"^#+ (.+)", cell.source, re.MULTILINE)[1] for cell in heads]


def to_slides(path: Path) -> str:
    """Convierte una lección en una página de reveal.js; pide al lado la carpeta `reveal`."""
    from nbconvert import SlidesExporter
    from traitlets.config import Config

    notebook = with_headings(read_notebook(path))
    titles = re.findall(r"^# (.+)", "\n".join(cell.source for cell in notebook.cells), re.MULTILINE)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata["show"] = shown(cell)
    exporter = SlidesExporter(
        config=Config({"CSSHTMLHeaderPreprocessor": {"style": "a11y-high-contrast-light"}}),
        extra_template_basedirs=[str(TEMPLATE.parent)],
        template_name=TEMPLATE.name,
        reveal_url_prefix="reveal",
        language_code="es",
        embed_images=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    metadata = {"name": path.stem, "path": str(path.resolve().parent)}
    body, _ = exporter.from_notebook_node(
        described(notebook), resources={"metadata": metadata, "title": titles[0]}
    )
    return body


def copy_reveal(folder: Path) -> None:
    """Deja en `folder` lo que piden las diapositivas: reveal.js en español, la letra y el estilo.

    Raises:
        ModuleNotFoundError: si no está instalado el paquete que trae reveal.js.
        ValueError: si una frase que se traduce ya no está en él.
    """
    spec = find_spec("sphinx_revealjs")
    if spec is None:
        raise ModuleNotFoundError(
            'Falta sphinx-revealjs, que trae reveal.js: pip install -e ".[diapositivas]".'
        )
    source = Path(spec.submodule_search_locations[0], "_static", "revealjs")
    folder.mkdir(parents=True, exist_ok=True)
    fonts = source / "dist" / "theme" / "fonts" / "source-sans-pro"
    for path in (source / "LICENSE", *fonts.glob("*.woff")):
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(fonts / "LICENSE", folder / "LICENSE-source-sans-pro")
    shutil.copyfile(TEMPLATE / "diapositivas.css", folder / "diapositivas.css")
    for name, words in SPANISH.items():
        text = (source / name).read_text(encoding="utf-8")
        for english, spanish in words.items():
            if english not in text:
                raise ValueError(f"En {name} ya no está «{english}»: revisa SPANISH.")
            text = text.replace(english, spanish)
        (folder / Path(name).name).write_text(text, encoding="utf-8")


def build(paths: Sequence[Path], output: Path) -> list[Path]:
    """Hace en `output` las diapositivas de esas lecciones y una portada que las enlaza."""
    copy_reveal(output / "reveal")
    pages = []
    for path in paths:
        if not count_slides(read_notebook(path)):  # el índice y el proyecto
            continue
        pages.append(output / f"{path.stem}.html")
        pages[-1].write_text(to_slides(path), encoding="utf-8")
    found = sorted(output.glob("[0-9]*.html"))
    titles = [re.search("<title>(.*)</title>", p.read_text("utf-8"))[1] for p in found]
    items = "\n".join(f'<li><a href="{p.name}">{t}</a></li>' for p, t in zip(found, titles))
    (output / "index.html").write_text(COVER.format(items=items), encoding="utf-8")
    return pages


COVER = """<!DOCTYPE html>
<html lang="es">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Diapositivas del curso</title>
<style>body {{ max-width: 40em; margin: 2em auto; padding: 0 1em; font: 1.2rem/1.6 sans-serif; }}
ul {{ padding: 0; list-style: none; }}</style>
<main>
<h1>Diapositivas del curso</h1>
<ul>
{items}
</ul>
<p>Con la barra de espacio o las flechas se avanza; con la F, a pantalla completa; con la O, todas a
la vez; con la S se abren, en otra ventana, las notas de quien habla.</p>
</main>
</html>
"""

# Lo que pasa en una diapositiva, visto por el navegador: lo que se sale, y lo que no se lee.
LOOK = """smallest => {
  const slide = Reveal.getCurrentSlide(), box = slide.getBoundingClientRect(), found = [];
  const margin = getComputedStyle(slide), right = box.right - parseFloat(margin.paddingRight);
  const bottom = box.bottom - parseFloat(margin.paddingBottom);
  let worst = 0;
  for (const element of slide.querySelectorAll('*:not(aside, aside *)')) {
    const own = element.getBoundingClientRect();
    if (own.width && own.height)
      worst = Math.max(worst, Math.round(Math.max(own.right - right, own.bottom - bottom)));
    if (element.tagName === 'IMG' && own.height < smallest['figura'])
      found.push(`figura de ${Math.round(own.height)} píxeles de alto`);
    const letters = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const kind = /mono/i.test(style.fontFamily) ? 'código' : 'texto';
    if (letters && own.height && size < smallest[kind]) found.push(`${kind} de ${size} píxeles`);
  }
  if (worst > 1) found.unshift(`se sale ${worst} píxeles`);
  return {title: slide.innerText.trim().split('\\n')[0].slice(0, 50), found: [...new Set(found)]};
}"""


def check(pages: Sequence[Path], pictures: Path | None = None) -> dict[str, tuple[int, list[str]]]:
    """Abre cada diapositiva en Chromium: de cada página, cuántas hay y lo que está mal.

    Está mal lo que no cabe en 1280 × 720, lo que no se lee desde lejos y lo que se pide a la red.

    Args:
        pictures: la carpeta donde dejar una imagen de cada una, si se quieren.
    """
    from playwright.sync_api import sync_playwright

    said: dict[str, tuple[int, list[str]]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for path in pages:
            page, wrong = browser.new_page(viewport=SIZE), []
            page.on("request", functools.partial(_outside, wrong))
            page.on("pageerror", lambda error, wrong=wrong: wrong.append(f"error: {error}"))
            page.goto(path.resolve().as_uri())
            page.wait_for_function("window.Reveal && Reveal.isReady()")
            page.evaluate("Reveal.configure({fragments: false}); document.fonts.ready")
            places = page.evaluate("Reveal.getSlides().map(s => Reveal.getIndices(s))")
            for number, place in enumerate(places, start=1):
                page.evaluate("({h, v}) => Reveal.slide(h, v)", place)
                seen = page.evaluate(LOOK, SMALLEST)
                wrong += [f"{number} «{seen['title']}»: {what}" for what in seen["found"]]
                if pictures:
                    page.screenshot(path=pictures / f"{path.stem}-{number:02}.png")
            said[path.stem] = (len(places), wrong)
            page.close()
        browser.close()
    return said


def _outside(wrong: list[str], request) -> None:
    """Apunta lo que se pida fuera del disco."""
    if not request.url.startswith(("file:", "data:", "blob:")):
        wrong.append(f"pide {escape(request.url)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Hace las diapositivas y, si se pide, las comprueba; devuelve 1 si algo está mal."""
    parser = new_parser("python -m taller.diapositivas", __doc__.split("\n")[0])
    parser.add_argument("lecciones", nargs="*", metavar="LECCIÓN", help="por omisión, todas")
    parser.add_argument("--salida", type=Path, default=course_root() / "salida" / "diapositivas")
    parser.add_argument(
        "--comprobar", action="store_true", help="ábrelas en Chromium y di qué no cabe o no se lee"
    )
    parser.add_argument("--imagenes", type=Path, help="con --comprobar, deja aquí una de cada una")
    options = parser.parse_args(argv)
    if options.comprobar and find_spec("playwright") is None:
        print("Para comprobarlas hacen falta Chromium y el paquete playwright.", file=sys.stderr)
        return 1
    try:
        pages = build(find_notebooks(options.lecciones), options.salida)
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Las diapositivas están en {options.salida / 'index.html'}")
    if not options.comprobar:
        return 0
    if options.imagenes:
        options.imagenes.mkdir(parents=True, exist_ok=True)
    checked = check(pages, options.imagenes)
    for name, (slides, wrong) in checked.items():
        print(f"{name}: {slides} diapositivas, {len(wrong)} avisos", *wrong, sep="\n  ")
    return int(any(wrong for _, wrong in checked.values()))


if __name__ == "__main__":
    sys.exit(run_safely(main))
