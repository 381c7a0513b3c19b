/* Lo que el tema deja sin nombre para quien usa un lector de pantalla. */
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".search-button-field, summary")) {
    button.removeAttribute("aria-label"); // que se lea lo que pone
  }
  for (const button of document.querySelectorAll(".sidebar-toggle")) {
    const what = button.matches(".primary-toggle") ? "el índice" : "el contenido de la página";
    button.setAttribute("title", `Enseña o esconde ${what}`);
    button.setAttribute("aria-label", button.title);
  }
  const start = document.querySelector(".sidebar-primary-items__start");
  start?.setAttribute("role", "navigation");
  start?.setAttribute("aria-label", "El sitio");
});

/* La primera vez que una palabra del glosario sale en una página, enlaza con él y, al pasar por
   encima o llegar con el teclado, enseña su definición. `GLOSARIO` lo escribe taller/sitio.py. */
document.addEventListener("DOMContentLoaded", () => {
  if (!window.GLOSARIO || document.querySelector("dl.glossary")) return;
  const pending = new Map(Object.entries(GLOSARIO));
  const escaped = [...pending.keys()].map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const words = new RegExp(`(?<![\\p{L}\\d-])(${escaped.join("|")})(?:e?s)?(?![\\p{L}\\d-])`, "iu");
  const ours = "article.bd-article p, article.bd-article li";
  const link = (text, name, meaning) => {
    const made = document.createElement("a");
    made.className = "glosa";
    made.href = `glosario.html#term-${meaning.ancla}`;
    made.dataset.dice = meaning.dice;
    made.setAttribute("aria-description", meaning.dice);
    made.textContent = text;
    return made;
  };
  for (const place of document.querySelectorAll(ours)) {
    if (place.closest(".cell_output, .prev-next-area, .toctree-wrapper, .jugar")) continue;
    const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) texts.push(walker.currentNode);
    for (let text of texts) {
      if (text.parentElement.closest("a, code, pre")) continue;
      for (let found; (found = words.exec(text.data)); ) {
        const name = found[1].toLowerCase();
        const after = text.splitText(found.index + found[0].length);
        const meaning = pending.get(name);
        if (meaning) {
          text.splitText(found.index).replaceWith(link(found[0], name, meaning));
          pending.delete(name);
        }
        text = after;
      }
    }
  }
});
