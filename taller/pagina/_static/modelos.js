// Los tres modelos, que se cargan la primera vez que hacen falta, y lo que contestan.

const FOLDER = new URL("modelos/", document.currentScript.src);
const MODELS = new Map();

// Un modelo con su tokenizador. De los ajustados solo viaja lo que cambió del modelo de partida; del
// bien ajustado, su adaptador.
function getModel(name) {
  if (!MODELS.has(name)) {
    const made = makeModel(name);
    made.catch(() => MODELS.delete(name)); // que se pueda volver a intentar
    MODELS.set(name, made);
  }
  return MODELS.get(name);
}

async function makeModel(name) {
  const { tokenizer, models } = CURSO.datos;
  const asked = models[name];
  const base = asked.over && (await getModel(asked.over)).model.weights;
  let weights = unpack(await loadWeights(name), asked.shapes);
  if (base) weights = asked.lora ? withLora(base, weights, asked.lora) : withChanges(base, weights);
  return {
    asked,
    model: new GPT2(asked.config, weights),
    tokenizer: new Tokenizer(tokenizer, asked.special),
  };
}

// Un guion que deja los pesos en una variable: así se cargan también desde una carpeta, sin servidor.
function loadWeights(name) {
  return new Promise((done, fail) => {
    const script = document.createElement("script");
    const lost = () => fail(new Error(`no se ha podido cargar modelos/${name}.js`));
    script.onerror = lost;
    script.onload = () => {
      const weights = CURSO[`pesos_${name}`];
      delete CURSO[`pesos_${name}`];
      script.remove();
      weights ? done(weights) : lost();
    };
    script.src = new URL(`${name}.js`, FOLDER).href;
    document.head.append(script);
  });
}

// Lo que contesta un modelo, token a token: cada vez, el texto hasta ahí y los tokens con su
// probabilidad.
async function* answer(name, text) {
  const { asked, model, tokenizer } = await getModel(name);
  const ends = new Set(asked.ends);
  const tokens = [];
  const read = () => {
    const raw = tokenizer.decode(tokens.map((token) => token.id));
    return asked.turn ? firstTurn(raw) : strip(raw);
  };
  for await (const token of generate(model, promptOf(asked, tokenizer, text), { ends, most: asked.most })) {
    tokens.push({ ...token, ends: ends.has(token.id) });
    yield { text: read(), tokens, tokenizer };
  }
}
