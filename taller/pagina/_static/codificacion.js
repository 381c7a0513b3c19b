// Cómo se le pregunta a cada modelo y qué cuenta la pérdida: lo mismo que course_lib/encoding.py,
// con lo que taller/navegador.py saca de allí (plantillas, marcadores y números).

// Lo que Python llama espacio al recortar un texto, que no es justo lo mismo que en JavaScript.
const SPACES = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const stripEnd = (text) => text.replace(new RegExp(`${SPACES}$`), "");
const strip = (text) => stripEnd(text.replace(new RegExp(`^${SPACES}`), ""));

// Quita a un texto el poder de fingir marcadores: a cada uno le mete un espacio tras el primer
// signo. Sin esto, quien escriba «<|bot|>» hablaría con la voz del modelo.
function plain(text, markers) {
  for (const token of markers) {
    text = text.split(token).join(token.length > 1 ? `${token[0]} ${token.slice(1)}` : "");
  }
  return text;
}

// Los números de una petición: lo escrito, entre lo que el modelo espera delante y detrás.
function promptOf(asked, tokenizer, text) {
  const said = strip(text);
  if (!said) throw new RangeError("No has escrito nada: escribe una frase.");
  const ids = tokenizer.encode(asked.before + plain(said, asked.markers) + asked.after);
  const room = asked.config.positions - asked.most;
  if (ids.length > room) {
    throw new RangeError(
      `El texto ocupa ${ids.length} tokens y al modelo le caben ${room} antes de contestar: acórtalo.`,
    );
  }
  return ids;
}

// Lo que el modelo dice antes de ponerse a escribir el turno del otro.
const firstTurn = (text) => strip(text.split(/<\|[\p{L}\p{N}_]+\|>/u)[0]);

const [MARKER, USER, REPLY, END, PADDING] = [0, 1, 2, 3, 4];

// La pareja como la codificaba la lección original: los marcadores, a trozos; se corta o se rellena
// hasta `length`, y la pérdida lo cuenta todo.
function encodeOriginal({ before, after, markers, length, padding }, tokenizer, user, reply) {
  const [said, answered] = [plain(user, markers), plain(reply, markers)];
  const text = stripEnd(`${before}${said}${after} ${answered}`);
  const userEnd = before.length + said.length;
  const replyStart = userEnd + after.length;
  const cells = tokenizer.pieces(text).slice(0, length).map(({ id, end }) => {
    const last = end - 1;
    const opens = last < before.trimEnd().length || (userEnd <= last && last < replyStart);
    return { id, kind: opens ? MARKER : last < userEnd ? USER : REPLY };
  });
  while (cells.length < length) cells.push({ id: padding, kind: PADDING });
  return cells.map((cell, i) => ({ ...cell, counts: i > 0 })); // al primero nadie lo predice
}

// La misma pareja con la plantilla de chat: marcadores de un solo token, y cuentan la respuesta y su
// fin.
function encodeConversation({ before, after, markers, end }, tokenizer, user, reply) {
  const head = tokenizer.encode(before + plain(user, markers) + after);
  const tail = tokenizer.encode(` ${plain(reply, markers)}`);
  return [
    ...head.map((id) => ({ id, kind: tokenizer.isSpecial(id) ? MARKER : USER, counts: false })),
    ...tail.map((id) => ({ id, kind: REPLY, counts: true })),
    { id: end, kind: END, counts: true },
  ];
}
