// Un GPT-2 entero, que se lee de una sentada: de los números de los tokens a la probabilidad del
// siguiente. Es el mismo cálculo que hace transformers, sin bibliotecas, en la CPU y token a token.
//
// Un modelo son tablas de números (los pesos) y este recorrido, que es siempre el mismo:
//   token → su fila de la tabla, más la de su posición
//         → cuatro bloques; cada uno: mirar atrás (atención) y pensar (dos matrices y un doblez)
//         → comparar lo que queda con la fila de cada token: la más parecida es la que sigue.

const WIDEN = { bits: null }; // la tabla de los 65.536 números de 16 bits, que se hace una vez

class GPT2 {
  // config: { layers, heads, width, positions, vocabulary, epsilon }.
  // weights: de cada nombre de transformers, sus números, como Float32Array, fila a fila.
  constructor(config, weights) {
    this.config = config;
    this.weights = weights;
  }

  // Una memoria vacía: lo que cada bloque apunta de los tokens ya leídos, para no releerlos.
  memory() {
    const { layers, positions, width } = this.config;
    const empty = () => new Float32Array(positions * width);
    return { length: 0, keys: Array.from({ length: layers }, empty), values: Array.from({ length: layers }, empty) };
  }

  // Lee un token y da los logits del siguiente: un número por cada token del vocabulario.
  // Con `last` a false solo lo apunta en la memoria, que es lo que hace falta con la petición.
  step(token, memory, last = true) {
    const { layers, width, vocabulary } = this.config;
    const table = this.weights["wte.weight"];
    const places = this.weights["wpe.weight"];
    const x = new Float32Array(width);
    for (let i = 0; i < width; i++) x[i] = table[token * width + i] + places[memory.length * width + i];
    for (let layer = 0; layer < layers; layer++) {
      const block = `h.${layer}`;
      add(x, this.attention(this.normal(x, `${block}.ln_1`), layer, memory));
      add(x, this.think(this.normal(x, `${block}.ln_2`), block));
    }
    memory.length++;
    if (!last) return null;
    // La salida usa la misma tabla que la entrada: cada token se compara con su propia fila.
    const out = this.normal(x, "ln_f");
    const logits = new Float32Array(vocabulary);
    for (let row = 0; row < vocabulary; row++) {
      let sum = 0;
      for (let i = 0, at = row * width; i < width; i++, at++) sum += out[i] * table[at];
      logits[row] = sum;
    }
    return logits;
  }

  // Cada cabeza compara la consulta de este token con la clave de todos los anteriores y se queda
  // con la mezcla de sus valores. Mirar adelante no puede: lo de delante aún no está en la memoria.
  attention(x, layer, memory) {
    const { heads, width } = this.config;
    const size = width / heads;
    const [now, keys, values] = [memory.length, memory.keys[layer], memory.values[layer]];
    const all = this.linear(x, `h.${layer}.attn.c_attn`); // consulta, clave y valor, seguidos
    keys.set(all.subarray(width, 2 * width), now * width);
    values.set(all.subarray(2 * width), now * width);
    const mixed = new Float32Array(width);
    for (let from = 0; from < width; from += size) {
      const scores = new Float32Array(now + 1);
      for (let t = 0; t <= now; t++) {
        let sum = 0;
        for (let i = 0; i < size; i++) sum += all[from + i] * keys[t * width + from + i];
        scores[t] = sum / Math.sqrt(size);
      }
      softmax(scores).forEach((share, t) => {
        for (let i = 0; i < size; i++) mixed[from + i] += share * values[t * width + from + i];
      });
    }
    return this.linear(mixed, `h.${layer}.attn.c_proj`);
  }

  // Ensanchar cuatro veces, doblar (GELU, en su aproximación con tangente) y volver al ancho.
  think(x, block) {
    const wide = this.linear(x, `${block}.mlp.c_fc`);
    for (let i = 0; i < wide.length; i++) {
      const v = wide[i];
      wide[i] = 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
    }
    return this.linear(wide, `${block}.mlp.c_proj`);
  }

  // Una matriz: cada número de la entrada reparte su peso entre todos los de la salida.
  linear(x, name) {
    const matrix = this.weights[`${name}.weight`];
    const y = Float32Array.from(this.weights[`${name}.bias`]);
    for (let i = 0, at = 0; i < x.length; i++) {
      const v = x[i];
      for (let j = 0; j < y.length; j++, at++) y[j] += v * matrix[at];
    }
    return y;
  }

  // Centrar, igualar el tamaño y darle el de cada número (LayerNorm).
  normal(x, name) {
    const [scale, shift] = [this.weights[`${name}.weight`], this.weights[`${name}.bias`]];
    const mean = x.reduce((sum, v) => sum + v, 0) / x.length;
    const variance = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / x.length;
    const down = 1 / Math.sqrt(variance + this.config.epsilon);
    return x.map((v, i) => (v - mean) * down * scale[i] + shift[i]);
  }
}

function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

// De números cualesquiera a una proporción para cada uno, que suman uno.
function softmax(scores) {
  let most = -Infinity;
  for (const score of scores) most = Math.max(most, score);
  const shares = scores.map((score) => Math.exp(score - most));
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => share / total);
}

// Escribe a continuación de `prompt`, sin azar: siempre el token más probable. Da cada token con su
// probabilidad y con los que le seguían. Entre uno y otro deja respirar a la página.
async function* generate(model, prompt, { ends, most }) {
  const memory = model.memory();
  const pause = breather();
  let logits = null;
  for (const [i, token] of prompt.entries()) {
    logits = model.step(token, memory, i === prompt.length - 1);
    await pause();
  }
  for (let written = 1; ; written++) {
    const shares = softmax(logits);
    const [first, ...others] = best(logits, 3).map((id) => ({ id, share: shares[id] }));
    yield { ...first, others };
    if (ends.has(first.id) || written === most) return;
    logits = model.step(first.id, memory);
    await pause();
  }
}

// Los `n` más altos, de mayor a menor; a igualdad, el de número menor.
function best(logits, n) {
  const chosen = [];
  for (let id = 0; id < logits.length; id++) {
    if (chosen.length === n && logits[id] <= logits[chosen[n - 1]]) continue;
    let at = chosen.length;
    while (at > 0 && logits[id] > logits[chosen[at - 1]]) at--;
    chosen.splice(at, 0, id);
    chosen.length = Math.min(chosen.length, n);
  }
  return chosen;
}

// Una espera que cede el paso si hace más de un suspiro que no se cede.
function breather(milliseconds = 12) {
  let since = Date.now();
  return async () => {
    if (Date.now() - since < milliseconds) return;
    await new Promise((done) => setTimeout(done));
    since = Date.now();
  };
}

// --- Los pesos -----------------------------------------------------------------------------------

// Los pesos viajan en 16 bits y escritos en letras (base64), para que quepan en un guion: una página
// abierta con doble clic no puede leer otros archivos. `shapes` dice el nombre y cuántos números.
function unpack(base64, shapes) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const halves = new Uint16Array(bytes.buffer);
  const total = shapes.reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b), 0);
  if (halves.length !== total) throw new Error("a los pesos les falta un trozo");
  const table = (WIDEN.bits ??= Float32Array.from({ length: 65536 }, (_, half) => widened(half)));
  const weights = {};
  let at = 0;
  for (const [name, shape] of shapes) {
    const size = shape.reduce((a, b) => a * b);
    weights[name] = Float32Array.from(halves.subarray(at, (at += size)), (half) => table[half]);
  }
  return weights;
}

// Un número de 16 bits: uno de signo, cinco de exponente y diez de fracción.
function widened(half) {
  const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// Los pesos de un modelo ajustado: los de aquel del que salió, más lo que cambiaron.
function withChanges(weights, changes) {
  const sum = (name) => changes[name].map((change, i) => weights[name][i] + change);
  return Object.fromEntries(Object.keys(changes).map((name) => [name, sum(name)]));
}

// Funde un adaptador de LoRA con el modelo del que salió: a cada matriz se le suma el producto de
// dos estrechas, y la tabla gana las filas de los tokens nuevos. Es todo lo que se entrenó.
function withLora(weights, adapter, { rank, scaling }) {
  const merged = { ...weights };
  const [table, added] = [weights["wte.weight"], adapter["wte.new"]];
  merged["wte.weight"] = new Float32Array(table.length + added.length);
  merged["wte.weight"].set(table);
  merged["wte.weight"].set(added, table.length);
  for (const name of Object.keys(adapter).filter((name) => name.endsWith(".lora_A"))) {
    const [a, b] = [adapter[name], adapter[name.replace("lora_A", "lora_B")]];
    const sum = weights[name.replace("lora_A", "weight")].slice();
    const [inputs, outputs] = [a.length / rank, b.length / rank];
    for (let i = 0; i < inputs; i++) {
      for (let j = 0; j < outputs; j++) {
        let product = 0;
        for (let r = 0; r < rank; r++) product += b[j * rank + r] * a[r * inputs + i];
        sum[i * outputs + j] += scaling * product;
      }
    }
    merged[name.replace("lora_A", "weight")] = sum;
  }
  return merged;
}
