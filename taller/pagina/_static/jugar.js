// La parte de la portada con la que se juega: tres pestañas, y lo que hace cada una.

const byId = (id) => document.getElementById(id);

// Un elemento con sus propiedades y lo que lleva dentro.
function made(tag, properties = {}, ...inside) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inside);
  return element;
}

const spanish = (value, decimals) => value.toFixed(decimals).replace(".", ",");
const percent = (share) => `${spanish(100 * share, share > 0.9995 || share < 0.0005 ? 2 : 1)}%`;
const visible = (text) => text.replaceAll(" ", "·").replaceAll("\n", "↵");

// --- Las pestañas: con el ratón, o con las flechas, Inicio y Fin ---------------------------------

function startTabs(list) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const open = (chosen) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
  };
  list.addEventListener("click", (event) => tabs.includes(event.target) && open(event.target));
  list.addEventListener("keydown", (event) => {
    const now = tabs.indexOf(event.target);
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = tabs.at(to % tabs.length);
    tab.focus();
    open(tab);
  });
}

// --- Los tres modelos ----------------------------------------------------------------------------

let asking = 0; // la pregunta en curso: al llegar otra, la anterior calla

async function askAll(text) {
  const mine = ++asking;
  const stopped = () => mine !== asking;
  const columns = [...document.querySelectorAll(".columna")];
  const state = byId("estado");
  const say = (sentence) => stopped() || (state.textContent = sentence);
  byId("anuncio").textContent = "";
  for (const column of columns) {
    column.querySelector(".respuesta").replaceChildren();
    column.querySelector("ol").replaceChildren();
    column.querySelector(".peticion").textContent = "";
    column.querySelector(".respuesta").setAttribute("aria-busy", "true");
  }
  try {
    for (const { dataset } of columns) {
      const { megas } = CURSO.datos.models[dataset.modelo];
      const name = byId(`nombre-${dataset.modelo}`).textContent.toLowerCase();
      if (!MODELS.has(dataset.modelo)) say(`Cargando ${name} (${spanish(megas, 1)} MB)…`);
      await getModel(dataset.modelo);
      if (stopped()) return;
    }
    say("Contestando…");
    const told = await Promise.all(columns.map((column) => ask(column, text, stopped)));
    if (stopped()) return;
    say("");
    byId("anuncio").replaceChildren(...told.map((sentence) => made("p", {}, sentence)));
  } catch (error) {
    const problem = `Los modelos no se pueden usar: ${error.message}. Recarga la página; si sigue igual, descarga otra vez el sitio.`;
    say(error instanceof RangeError ? error.message : problem);
    if (!stopped()) byId("anuncio").textContent = state.textContent;
  } finally {
    if (!stopped()) columns.forEach((c) => c.querySelector(".respuesta").removeAttribute("aria-busy"));
  }
}

// Pregunta a un modelo y va enseñando lo que escribe.
async function ask(column, text, stopped) {
  const name = column.dataset.modelo;
  const { asked } = await getModel(name);
  const shown = column.querySelector(".respuesta");
  column.querySelector(".peticion").textContent =
    `Lee «${visible(asked.before + plain(strip(text), asked.markers) + asked.after)}» y sigue:`;
  let last = { text: "" };
  try {
    for await (const now of answer(name, text)) {
      if (stopped()) return "";
      last = now;
      shown.replaceChildren(...underlined(now));
      column.querySelector("ol").replaceChildren(...now.tokens.map((t) => tokenRow(t, now.tokenizer)));
    }
    if (!last.text) shown.replaceChildren(made("em", {}, "(no dice nada)"));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    shown.replaceChildren(made("em", {}, error.message));
    last = { text: error.message };
  }
  return `${byId(`nombre-${name}`).textContent}: ${last.text || "no dice nada"}`;
}

// La respuesta, con cada token subrayado según su probabilidad. Una letra partida entre dos tokens
// se enseña cuando está entera, con la probabilidad de su último trozo.
function underlined({ text, tokens, tokenizer }) {
  const [shown, ids] = [[], []];
  let [written, left] = ["", text];
  for (const token of tokens) {
    ids.push(token.id);
    const now = tokenizer.decode(ids);
    if (now.endsWith("\ufffd")) continue;
    let piece = now.slice(written.length);
    written = now;
    if (!shown.length) piece = piece.replace(/^\s+/, ""); // la respuesta va recortada
    piece = piece.slice(0, left.length);
    left = left.slice(piece.length);
    if (!piece) continue;
    const span = made("span", { className: "token", title: percent(token.share) }, piece);
    span.style.setProperty("--seguro", token.share.toFixed(3));
    shown.push(span);
  }
  return shown;
}

function tokenRow(token, tokenizer) {
  const name = (id) => (tokenizer.isSpecial(id) ? tokenizer.tokens[id] : visible(tokenizer.decode([id])));
  const others = token.others.map((other) => `${name(other.id)} ${percent(other.share)}`).join(", ");
  return made(
    "li",
    {},
    made("code", {}, name(token.id)),
    ` ${percent(token.share)}`,
    made("span", { className: "otros" }, ` si no, ${others}`),
    token.ends ? made("span", { className: "otros" }, "; aquí acaba") : "",
  );
}

// --- Qué cuenta la pérdida -----------------------------------------------------------------------

const PADDING_SHOWN = 6;

function showPair() {
  const { models, tokenizer } = CURSO.datos;
  const [user, reply] = [strip(byId("dice").value), strip(byId("responde").value)];
  for (const [place, name, encode] of [
    ["tokens-original", "fracaso", encodeOriginal],
    ["tokens-correcta", "bien", encodeConversation],
  ]) {
    const tokens = new Tokenizer(tokenizer, models[name].special);
    byId(place).replaceChildren(...coloured(encode(models[name], tokens, user, reply), tokens));
  }
}

// Los tokens, seguidos, con el nombre de cada clase donde empieza; y debajo, cuántos hay.
function coloured(cells, tokenizer) {
  const { kinds } = CURSO.datos;
  const line = made("p", { className: "fichas" });
  let [kind, inside, skipped] = [null, false, 0];
  cells.forEach((cell, i) => {
    if (cell.kind === PADDING && cells[i - PADDING_SHOWN]?.kind === PADDING) return void skipped++;
    if (inside && !cell.counts) line.append("⟧");
    if (cell.kind !== kind) line.append(made("span", { className: "clase" }, kinds[cell.kind].name));
    if (cell.counts && !inside) line.append("⟦");
    [kind, inside] = [cell.kind, cell.counts];
    const { id } = cell;
    const text = tokenizer.isSpecial(id) ? tokenizer.tokens[id] : visible(tokenizer.decode([id]));
    const chip = made("span", { className: `ficha${cell.counts ? " cuenta" : ""}` }, text);
    chip.title = `${kinds[kind].name}, ${cell.counts ? "cuenta" : "no cuenta"} en la pérdida`;
    chip.style.backgroundColor = kinds[kind].color;
    line.append(chip);
  });
  if (skipped) line.append(` … y ${skipped} de relleno más`);
  if (inside) line.append("⟧");
  const counted = cells.filter((cell) => cell.counts).length;
  const total = kinds
    .map(({ name, color }, kind) => [name, color, cells.filter((cell) => cell.kind === kind).length])
    .filter(([, , n]) => n)
    .map(([name, color, n]) => {
      const item = made("span", { className: "ficha" }, `${name}: ${n}`);
      item.style.backgroundColor = color;
      return item;
    });
  return [line, made("p", { className: "cuentas" }, ...total, ` Cuentan ${counted} de ${cells.length}.`)];
}

// --- El consejero --------------------------------------------------------------------------------

function startAdviser(form, screen) {
  const tables = CURSO.datos.adviser;
  const tick = (name, value, label, checked) =>
    made("label", {}, made("input", { type: "checkbox", name, value, checked }), ` ${label}`);
  const group = (title, ...inside) => made("fieldset", {}, made("legend", {}, title), ...inside);
  const amounts = tables.fields.filter(({ value }) => typeof value === "string");
  const switches = tables.fields.filter(({ value }) => typeof value !== "string");
  form.append(
    group(
      "Le falta",
      ...Object.entries(tables.lacks).map(([key, label]) => tick("lacks", key, label, key === "UNKNOWN")),
    ),
    group(
      "Lo que hay",
      ...amounts.map(({ name, label, value }) =>
        made("label", { className: "cantidad" }, `${label} `, made("input", { type: "text", inputMode: "decimal", name, value })),
      ),
      ...switches.map(({ name, label, value }) => tick(name, "si", label, value)),
    ),
    group("Ya probado", ...Object.entries(tables.tried).map(([key, label]) => tick("tried", key, label, false))),
  );
  const update = () => {
    const marked = (name) => [...form.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value);
    const needs = { named: marked("lacks"), tried: marked("tried") };
    for (const { name } of switches) needs[name] = form.elements[name].checked;
    let problem = needs.named.length ? "" : "Marca al menos una cosa de «Le falta».";
    for (const { name } of amounts) {
      const box = form.elements[name];
      needs[name] = readNumber(box.value);
      box.setAttribute("aria-invalid", needs[name] === null);
      if (needs[name] === null) {
        problem = `«${box.value}» no es una cantidad: escríbela con cifras, como 1.500 o 2,5.`;
      }
    }
    const first = made("p", { role: "status", className: "primero" }, problem);
    screen.replaceChildren(first, ...(problem ? [] : adviceParts(tables, advise(tables, needs), first)));
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
}

function adviceParts({ texts }, advice, first) {
  const name = (rung) => texts.peldanos[rung].nombre;
  const list = (title, items) => [
    made("h3", {}, title),
    made("ul", {}, ...items.map((inside) => made("li", {}, ...inside))),
  ];
  const source = (key) => {
    if (!key) return " (criterio del curso)";
    const { autores, anyo, url } = texts.fuentes[key];
    return made("span", {}, " (", made("a", { href: url }, `${autores}, ${anyo}`), ")");
  };
  first.append(made("strong", {}, ...emphasized(`Empieza por: ${name(advice.rung)}.`)));
  if (advice.then.length) first.append(...emphasized(` Si no basta: ${advice.then.map(name).join(", luego ")}.`));
  return [
    ...advice.warnings.map((text) => made("p", { className: "ojo" }, made("strong", {}, "Aviso. "), ...emphasized(text))),
    ...list(
      "Por qué",
      advice.reasons.map(({ criterion, text, source: key }) => [
        made("strong", {}, criterion[0].toUpperCase() + criterion.slice(1)),
        ": ",
        ...emphasized(text),
        source(key),
      ]),
    ),
    ...list("Qué cambiaría el consejo", advice.changes.map(emphasized)),
    ...list("Qué medir", advice.measures.map(emphasized)),
  ];
}

// El texto de las reglas trae las cursivas entre asteriscos.
function emphasized(text) {
  return text.split("*").map((part, i) => (i % 2 ? made("em", {}, part) : part));
}

// --- En marcha -----------------------------------------------------------------------------------

if (window.CURSO?.datos) {
  const { models } = CURSO.datos;
  const form = byId("preguntar");
  startTabs(document.querySelector(".jugar [role=tablist]"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    askAll(byId("pregunta").value);
  });
  form.querySelector(".ejemplos").addEventListener("click", ({ target }) => {
    if (target.tagName !== "BUTTON") return;
    byId("pregunta").value = target.textContent;
    askAll(target.textContent);
  });
  const megas = Object.values(models).reduce((sum, model) => sum + model.megas, 0);
  byId("estado").textContent =
    `Contestan aquí mismo, en tu navegador. La primera vez se cargan los tres (${spanish(megas, 1)} MB).`;
  byId("acierta").textContent = CURSO.datos.yes_no;
  for (const id of ["dice", "responde"]) byId(id).addEventListener("input", showPair);
  showPair();
  startAdviser(byId("necesidades"), byId("consejo"));
  byId("juego").hidden = false;
  byId("juego-aviso").hidden = true;
}
