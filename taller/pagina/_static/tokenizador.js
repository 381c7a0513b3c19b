// De texto a números y vuelta: el BPE de bytes de GPT-2, como lo hace la biblioteca tokenizers.
//
// 1. El texto se parte en trozos (palabras con el espacio de delante, cifras, signos, espacios).
// 2. Cada trozo se escribe en bytes UTF-8, y cada byte, como una letra visible: así «ñ» son dos.
// 3. Dentro del trozo se van fundiendo las parejas de vecinos que más se repetían en los textos con
//    que se entrenó el tokenizador, por orden. Lo que queda son los tokens.

const PIECE =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

// Los bytes que ya son una letra visible se quedan; los otros 68 toman las letras desde la 256.
const LETTER_OF_BYTE = (() => {
  const visible = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(visible(b) ? b : next++));
})();
const BYTE_OF_LETTER = new Map(LETTER_OF_BYTE.map((letter, b) => [letter, b]));

const UTF8 = new TextEncoder();

class Tokenizer {
  // vocab: los tokens, por su número. merges: las parejas que se funden, por orden ("a b").
  // special: los tokens que no salen del texto, sino de la plantilla, con su número.
  constructor({ vocab, merges }, special) {
    this.tokens = [...vocab];
    this.special = new Map(Object.entries(special));
    for (const [token, id] of this.special) this.tokens[id] = token;
    this.ids = new Map(this.tokens.map((token, id) => [token, id]));
    this.rank = new Map(merges.map((pair, i) => [pair, i]));
  }

  // Los tokens de un texto: su número y dónde acaba cada uno, en letras del texto.
  pieces(text) {
    const found = [];
    let start = 0;
    for (const { index, token } of this.specialIn(text)) {
      this.plainPieces(text.slice(start, index), start, found);
      start = index + token.length;
      found.push({ id: this.special.get(token), end: start });
    }
    this.plainPieces(text.slice(start), start, found);
    return found;
  }

  encode(text) {
    return this.pieces(text).map((piece) => piece.id);
  }

  // Los bytes de varios tokens se juntan antes de leerlos: una letra puede ir repartida en dos.
  decode(ids) {
    const letters = ids.filter((id) => !this.isSpecial(id)).map((id) => this.tokens[id]);
    const bytes = Uint8Array.from(letters.join(""), (letter) => BYTE_OF_LETTER.get(letter));
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  }

  isSpecial(id) {
    return this.special.get(this.tokens[id]) === id;
  }

  *specialIn(text) {
    const names = [...this.special.keys()].map((name) => name.replace(/[|]/g, "\\$&"));
    for (const found of text.matchAll(new RegExp(names.join("|"), "g"))) {
      yield { index: found.index, token: found[0] };
    }
  }

  plainPieces(text, offset, found) {
    for (const [piece] of text.matchAll(PIECE)) {
      const ends = []; // de cada byte del trozo, dónde acaba la letra de la que sale
      let end = offset;
      for (const letter of piece) {
        end += letter.length;
        for (let n = UTF8.encode(letter).length; n > 0; n--) ends.push(end);
      }
      let bytes = 0;
      for (const token of this.merge(piece)) {
        bytes += token.length;
        found.push({ id: this.ids.get(token), end: ends[bytes - 1] });
      }
      offset = end;
    }
  }

  merge(piece) {
    let parts = Array.from(UTF8.encode(piece), (b) => LETTER_OF_BYTE[b]);
    for (;;) {
      let best = Infinity;
      let at = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.rank.get(`${parts[i]} ${parts[i + 1]}`);
        if (rank < best) [best, at] = [rank, i];
      }
      if (at < 0) return parts;
      parts.splice(at, 2, parts[at] + parts[at + 1]);
    }
  }
}
