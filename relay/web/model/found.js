/** The matches of a search in a text, and the part around them. Text in, plain data out. */
import { fold, foldOne, WHITE } from "./folding.js";
import { cut, letters } from "./text.js";

const MARK = /\p{M}/u;

/** Code units of a character at most, to find the end of a long text without walking through all of it. */
const LONGEST_LETTER = 32;

/** The last `count` characters of a text, none of them cut in half. */
export function tail(text, count) {
  if (count <= 0) return "";
  const near = text.slice(-count * LONGEST_LETTER);
  const from = near.length < text.length ? near.search(/\s/) : 0;
  const whole = near.slice(from < 0 ? 0 : from);
  const found = [...letters(whole)];
  return (found.length > count || whole.length === text.length ? found : [...letters(text)]).slice(-count).join("");
}

/** Characters of a text that a list of hits shows at most, and those before the first match. */
const EXCERPT = 200;
const BEFORE_MATCH = 12;

/** The part of a text around the first of the words found in it; every second part is a match, as in `partsFound`. */
export function excerpt(text, words) {
  const [first, ...others] = partsFound(text, words);
  const begin = others.length > 0 && first.length > BEFORE_MATCH + 8 ? `…${tail(first, BEFORE_MATCH)}` : first;
  const shown = [];
  let left = EXCERPT;
  for (const part of [begin, ...others]) {
    const some = cut(part, left);
    left -= [...letters(some)].length;
    shown.push(some.length < part.length ? `${some}…` : some);
    if (left === 0) break;
  }
  return shown;
}

/** A folded text with its marks apart, so that each can be counted; syllables of Hangul are whole. */
const apart = (text) => text.normalize("NFC").replace(/[^\uac00-\ud7a3]+/gu, (part) => part.normalize("NFD"));

/**
 * Split a text so that every second part is a match; the first part may be empty.
 *
 * `words` are as they were typed.
 */
export function partsFound(text, words) {
  const letters = [...text.normalize("NFC")];
  const from = [];
  let folded = "";
  letters.forEach((letter, index) => {
    let one = apart(foldOne(letter)).replace(WHITE, " ");
    if (one.startsWith(" ") && folded.endsWith(" ")) one = one.slice(1);
    folded += one;
    for (let count = one.length; count > 0; count -= 1) from.push(index);
  });
  const found = new Array(letters.length).fill(false);
  for (const word of words) {
    const wanted = apart(fold(word));
    if (!wanted) continue;
    for (let at = folded.indexOf(wanted); at >= 0; at = folded.indexOf(wanted, at + 1)) {
      const end = at + wanted.length;
      // With a significant combining mark after it, it is another letter.
      if (end < folded.length && MARK.test(folded[end])) continue;
      const last = end < from.length ? Math.max(from[end], from[end - 1] + 1) : letters.length;
      found.fill(true, from[at], last);
    }
  }
  const parts = [""];
  letters.forEach((letter, index) => {
    if (found[index] !== (parts.length % 2 === 0)) parts.push("");
    parts[parts.length - 1] += letter;
  });
  return parts;
}
