"""Un cuaderno ejecutado, hecho página: con título y contenido, en claro y en oscuro, y sin red.

La hace nbconvert; aquí se le pone lo que olvida y se le quita lo que pediría a la red.
"""

import copy
import re
from html import escape
from pathlib import Path

from course_lib import data_path

REMOTE_IMAGE = re.compile(r"!\[([^\]]*)\]\(https?://[^)]*\)")


def to_html(notebook, path: Path) -> str:
    """Convierte un cuaderno ejecutado en una página HTML que no pide nada a la red.

    `path` da la carpeta de las imágenes y, si el cuaderno no tiene título, también el título.
    """
    from nbconvert import HTMLExporter

    remote = "mathjax_url require_js_url jquery_url jupyter_widgets_base_url"
    local = dict.fromkeys([*remote.split(), "html_manager_semver_range"], "")
    exporter = HTMLExporter(embed_images=True, language_code="es", **local)
    titles = re.findall(
        r"^#+ .+$", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M
    )
    name = re.sub(r"[#*`]", "", titles[0]).strip() if titles else path.stem
    metadata = {"name": name, "path": str(path.resolve().parent)}
    body, _ = exporter.from_notebook_node(described(notebook), resources={"metadata": metadata})
    # Lo que la plantilla pediría a la red: guiones sin dirección y Mermaid, que no usamos.
    scripts = r'<script src="">\s*</script>|<script type="module">.*?mermaid.*?</script>'
    body = re.sub(scripts, "", body, flags=re.DOTALL)
    style = data_path("ordenes", "pagina.css").read_text(encoding="utf-8")
    body = body.replace("</head>", f"<style>{_dark(exporter)}{style}</style></head>", 1)
    return re.sub(r"(<main>|<main [^>]*>)", lambda found: found[0] + _contents(body), body, count=1)


def _dark(exporter) -> str:
    """Los colores oscuros de JupyterLab, para quien los tenga puestos en su equipo."""
    places = (Path(folder, "static", "theme-dark.css") for folder in exporter.template_paths)
    css = "".join(place.read_text(encoding="utf-8") for place in places if place.is_file())
    return f"@media screen and (prefers-color-scheme: dark) {{ {css} }}"


def _contents(body: str) -> str:
    """El contenido de la página, plegado: un enlace a cada apartado."""
    links = "".join(
        f'<li style="margin-left:{int(level) - 2}em"><a href="#{anchor}">{title}</a></li>'
        for level, anchor, title in re.findall(
            r'<h([23]) id="([^"]+)">(.*?)<a class="anchor-link"', body
        )
    )
    return f'<details class="contenido"><summary>Contenido</summary><ul>{links}</ul></details>'


def described(notebook):
    """Copia del cuaderno en la que cada figura lleva su texto alternativo, que nbconvert olvida.

    De una imagen remota, como el distintivo «Abrir en Colab», queda solo su texto, y de una celda
    plegada, su primera línea.
    """
    page = copy.deepcopy(notebook)
    for cell in page.cells:
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.source = cell.source.split("\n")[0]
        if cell.cell_type == "markdown":
            cell.source = REMOTE_IMAGE.sub(r"\1", cell.source)
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            said = output.get("metadata", {}).get("image/png", {}).get("alt")
            if png and (alt := said or cell.metadata.get("alt")):
                image = f'<img src="data:image/png;base64,{png.strip()}" alt="{escape(alt)}">'
                output.data = {"text/html": image}
    return page
