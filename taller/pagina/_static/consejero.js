// El consejero de la lección 01: un intérprete de las tablas de data/decision, como
// course_lib/decision.py. Qué pide cada peldaño, por dónde se sube y qué se dice está en ellas; aquí,
// solo cómo se recorren. Una prueba compara sus consejos con los de `advise`.

// Una cantidad como se escribe en español, con dos decimales como mucho.
function amount(value) {
  const [whole, rest] = value.toFixed(2).replace(/\.?0+$/, "").split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ".") + (rest ? `,${rest}` : "");
}

// Lo que falta hoy para un peldaño. Cada condición se cumple de una manera o de varias, y cada
// manera es un campo y lo que ha de ser, alcanzar o contener.
function obstacles({ rules }, needs, rung) {
  const holds = ([name, asked]) => {
    const value = needs[name];
    if (Array.isArray(value)) return value.includes(asked);
    return typeof asked === "boolean" ? value === asked : value >= asked;
  };
  const missing = (rules.pide[rung] ?? [])
    .map(({ dice, ...ways }) => ({ dice, ways: Object.entries(ways) }))
    .filter(({ ways }) => !ways.some(holds))
    .map(({ dice, ways: [[name, asked]] }) =>
      (dice ?? rules.falta[name])
        .replace("{pide}", () => amount(asked))
        .replace("{hay}", () => amount(needs[name])),
    );
  return [...new Set(missing)];
}

function advise(tables, needs) {
  const { rules, trains, free, texts } = tables;
  const { peldanos: rungs, faltas: lacking, coste: cost, avisos: said } = texts;
  const possibleNow = (rung) => obstacles(tables, needs, rung).length === 0;
  const unknown = needs.named.includes("UNKNOWN");
  const path = [...new Set(needs.named.flatMap((lack) => rules.caminos[lack]))];
  const possible = path.filter(possibleNow);
  const cheap = needs.cost_critical && possible.some((rung) => trains.includes(rung));
  const skipped = [...needs.tried, ...(cheap ? ["FEW_SHOT", "OTHER_MODEL"] : [])];
  let left = possible.filter((rung) => !skipped.includes(rung));
  const blind = left.length && trains.includes(left[0]) && !free.includes(left[0]);
  if (!needs.worth_it) left = ["NOTHING"];
  else if (!left.length || (!needs.has_evaluation && (blind || unknown))) left = ["EVALUATE", ...left];
  const first = left[0];
  const trained = trains.includes(first);

  const fired = [
    ...needs.named.map((lack) => [
      lack === "UNKNOWN" ? "no se sabe qué falta" : `falta ${tables.lacks[lack]}`,
      lacking[lack],
    ]),
    ["cada respuesta cuenta", cheap ? cost : {}],
    ["este peldaño", rungs[first]],
    ["los datos no salen", needs.private ? texts.privacidad : {}],
  ];
  const warned = {
    sin_evaluacion: !needs.has_evaluation && needs.worth_it,
    probado_a_ciegas: needs.tried.length && !needs.has_evaluation,
    agotado: first === "EVALUATE" && left.length === 1 && (needs.has_evaluation || !unknown),
    sin_quien_lo_cuide:
      !needs.maintained && (trained || needs.named.includes("CHANGING_KNOWLEDGE")),
  };
  const ahead = path.slice(path.indexOf(first) + 1); // si no está en el camino, el camino entero
  const changes = ahead
    .filter((rung) => !possibleNow(rung) && !needs.tried.includes(rung))
    .map((rung) => `Para ${rungs[rung].nombre} falta: ${obstacles(tables, needs, rung).join("; ")}.`);
  if (path.includes("LORA") && !needs.cost_critical && !trained) changes.push(cost.si_decidiera);
  const measures = [
    ...needs.named.flatMap((lack) => lacking[lack].medir),
    ...(needs.cost_critical ? cost.medir : []),
    ...(trained ? texts.entrenar.medir : []),
  ];
  return {
    rung: first,
    then: left.slice(1),
    reasons: fired.flatMap(([criterion, part]) =>
      (part.razones ?? []).map(({ dice, fuente }) => ({ criterion, text: dice, source: fuente ?? null })),
    ),
    warnings: Object.keys(warned).filter((name) => warned[name]).map((name) => said[name]),
    changes: [...changes, ...needs.named.map((lack) => lacking[lack].si_fuera_otra)],
    measures: [...new Set(measures)],
  };
}

// Una cantidad escrita a mano; null, si no lo es.
function readNumber(text) {
  const plainNumber = text.trim().replace(/\.(?=\d{3}(?!\d))/g, "").replace(",", ".") || "0";
  return /^\d{1,15}(\.\d{1,9})?$/.test(plainNumber) ? Number(plainNumber) : null;
}
