/**
 * Texts in lists and searches: one line of a text, initials, sizes, folding as in the relay's search (PROTOCOL.md,
 * section 5), and look-alike names. Text in, plain data out.
 */

/** Languages in which one character may be a word. */
const WORD_OF_ONE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;

/** Whether a query is worth sending: nearly every message contains any single letter. */
export function isSearchable(query) {
  const text = query.trim();
  return text.length >= 2 || WORD_OF_ONE.test(text);
}

/** One line for a list or a quote. */
export function oneLine(text) {
  return (text ?? "").replace(/```[\w+-]*\n?|```/g, " ").replace(/`([^`\n]+)`/g, "$1").replace(/\s+/g, " ").trim();
}

/** Up to two letters for an avatar without a picture. */
export function initials(name) {
  const words = (name ?? "").normalize("NFC").trim().split(/[\s._-]+/u).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const first = (word) => {
    for (const letter of letters(word)) if (/[\p{L}\p{N}]/u.test(letter)) return letter;
    return "";
  };
  if (words.length === 0) return "?";
  return [words[0], ...(words.length > 1 ? [words.at(-1)] : [])].map(first).join("").toLocaleUpperCase();
}

const graphemes = typeof Intl.Segmenter === "function" ? new Intl.Segmenter() : null;

/** Walk through the characters that a reader sees: a flag, a family, a letter with its marks. */
function* letters(text) {
  if (!graphemes) return yield* text;
  for (const { segment } of graphemes.segment(text)) yield segment;
}

/** The first `count` characters of a text, none cut in half. */
export function cut(text, count) {
  let found = "";
  let left = count;
  for (const letter of letters(text)) {
    if (left === 0) break;
    left -= 1;
    found += letter;
  }
  return found;
}

/** Maximum code units of a character, to find the end of a long text quickly. */
const LONGEST_LETTER = 32;

/** The last `count` characters of a text, none cut in half. */
export function tail(text, count) {
  if (count <= 0) return "";
  const near = text.slice(-count * LONGEST_LETTER);
  const from = near.length < text.length ? near.search(/\s/) : 0;
  const whole = near.slice(from < 0 ? 0 : from);
  const found = [...letters(whole)];
  return (found.length > count || whole.length === text.length ? found : [...letters(text)]).slice(-count).join("");
}

/** Maximum characters of a text in a list of hits, and those before the first match. */
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

// ---------------------------------------------------------------- directions

/** A letter of a script that is written from right to left. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Isolate a text that runs right to left: all of the page's languages run left to right. */
export function isolate(text) {
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}

/** Bytes for people, in the number format given. */
export function sizeParts(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return { value: size < 10 && unit > 0 ? Math.round(size * 10) / 10 : Math.round(size), unit: units[unit] };
}

/** A number from 0 to `count` - 1 that is always the same for the same id. */
export function hueOf(id, count) {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return sum % count;
}

// ---------------------------------------------------------------- the same text, however it was typed

const MARKS =
  /[\u0300-\u0344\u0346-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u0897-\u089f\u08ca-\u08ff\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufb1e]|\p{Cf}|[\u115f\u1160\u180b-\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}\u{1f3fb}-\u{1f3ff}]/gu;
const DIGIT = /\p{Nd}/u;
const MARK = /\p{M}/u;
/** Pairs of a character and its replacement. */
const ALIKE = new Map([
  ["\u0131", "i"], ["\u0345", "ι"], ["ß", "ss"], ["ς", "σ"],
  ["æ", "ae"], ["œ", "oe"], ["ð", "d"], ["þ", "th"], ["ĸ", "q"], ["ŋ", "n"],
  ["ø", "o"], ["đ", "d"], ["ł", "l"], ["ħ", "h"], ["ŧ", "t"], ["ƀ", "b"], ["ɓ", "b"], ["ɖ", "d"], ["ɗ", "d"], ["ƙ", "k"],
  ["ɨ", "i"], ["ɵ", "o"], ["ʉ", "u"], ["ƴ", "y"], ["ƶ", "z"],
  ["й", "й"], ["ї", "ї"], ["ў", "ў"],
  ["\u0640", ""], ["\u0649", "\u064a"], ["\u06cc", "\u064a"], ["\u06d2", "\u064a"], ["\u06a9", "\u0643"],
  ["\u0629", "\u0647"], ["\u06c1", "\u0647"], ["\u06d5", "\u0647"], ["\u0671", "\u0627"],
  ["\u05be", "-"], ["\u05f0", "\u05d5\u05d5"], ["\u05f1", "\u05d5\u05d9"], ["\u05f2", "\u05d9\u05d9"],
  ["\u09ce", "\u09a4\u09cd"], ["\u0d7a", "\u0d23\u0d4d"], ["\u0d7b", "\u0d28\u0d4d"], ["\u0d7c", "\u0d30\u0d4d"],
  ["\u0d7d", "\u0d32\u0d4d"], ["\u0d7e", "\u0d33\u0d4d"], ["\u0d7f", "\u0d15\u0d4d"],
  ["\u309b", "\u3099"], ["\u309c", "\u309a"], ["\u301c", "~"], ["\u2044", "/"],
  ...[..."\u00b4\u02b9\u02bb\u02bc\u02bd\u055a\u05f3\u2018\u2019\u201a\u201b\u2032\u2039\u203a"].map((one) => [one, "'"]),
  ...[..."\u00ab\u00bb\u05f4\u201c\u201d\u201e\u201f"].map((one) => [one, '"']),
  ...[..."\u2010\u2011\u2012\u2013\u2014\u2015\u2212"].map((one) => [one, "-"]),
]);
/** Characters whose folded form is kept. */
const REMEMBERED = 5_000;
const remembered = new Map();

function digit(letter) {
  const code = letter.codePointAt(0);
  const low = code & 15;
  // A script's ten digits begin at a multiple of 16, or at 6 above one.
  return String(DIGIT.test(String.fromCodePoint(code - low)) ? low : low - 6);
}

function plain(letter) {
  if (ALIKE.has(letter)) return ALIKE.get(letter);
  return letter > "\x7f" && DIGIT.test(letter) ? digit(letter) : letter;
}

/** One character folded; its marks stand apart. */
function foldOne(letter) {
  const known = remembered.get(letter);
  if (known !== undefined) return known;
  const lower = letter.toLowerCase();
  const decomposed = ALIKE.get(letter) ?? ALIKE.get(lower) ?? [...lower.normalize("NFKD").toLowerCase().normalize("NFKD")].map(plain).join("");
  const folded = decomposed.replace(MARKS, "");
  if (remembered.size >= REMEMBERED) remembered.clear();
  remembered.set(letter, folded);
  return folded;
}

/** White space of any kind and length: one space. */
const WHITE = /[\s\x1c-\x1f\x85]+/gu;

/** The form by which texts are compared. */
export const fold = (text) => [...text.normalize("NFC")].map(foldOne).join("").replace(WHITE, " ").normalize("NFC");

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

// ---------------------------------------------------------------- names that look alike, as in relay/unicode/lookalikes.py

/** Invisible characters, as on the relay; codes that may become ideographs or emoji are visible. */
const UNSEEN =
  /^(?!\p{Extended_Pictographic}|[\u{20000}-\u{3ffff}])[\p{DI}\p{Z}\p{Cc}\p{Cn}\p{Co}\p{Cs}\u2800\ufff9-\ufffc\u{13441}\u{13442}\u{16fe4}\u{1bc9d}\u{1d159}]$/u;
const BLANK = /[\p{Z}\t-\r\x1c-\x1f\x85\u2800\u1160]/u;
/** Names whose looks are kept. */
const KEPT_LOOKS = 20_000;
const kept = new Map();

export const isSeen = (letter) => !UNSEEN.test(letter);

/** Characters whose looks are kept. */
const KEPT_LETTERS = 5_000;
const letterLooks = [new Map(), new Map()];

function lookOf(letter, caseless) {
  const remembered = letterLooks[Number(caseless)];
  let look = remembered.get(letter);
  if (look === undefined) {
    look = findLook(letter, caseless);
    if (remembered.size >= KEPT_LETTERS) remembered.clear();
    remembered.set(letter, look);
  }
  return look;
}

function findLook(letter, caseless) {
  if (BLANK.test(letter)) return " ";
  if (!isSeen(letter)) return "";
  if (!caseless && looksTable.has(letter)) return looksTable.get(letter);
  return [...letter.toUpperCase()].map((one) => [...one.toLowerCase()].map((small) => looksTable.get(small) ?? small).join("")).join("");
}

/** The looks of a name, as written and in lower case, as on the relay: people confuse names that share a look. */
export function looks(name) {
  const before = kept.get(name);
  if (before) return before;
  const decomposed = [...name.normalize("NFKD")];
  const look = (caseless) =>
    decomposed.map((letter) => lookOf(letter, caseless)).join("").replaceAll(/ {2,}/g, " ").trim().normalize("NFC");
  const found = /^[\0-\x7f]*$/.test(name) ? [look(false)] : [...new Set([look(false), look(true)])];
  if (kept.size >= KEPT_LOOKS) kept.clear();
  kept.set(name, found);
  return found;
}

let known = new WeakMap();

/** Of people (a Map of profiles by id), the ids of those whose name looks like somebody else's name or id, or has an @. */
export function lookAlikes(people) {
  const before = known.get(people);
  if (before) return before;
  const called = new Map();
  for (const { id, name } of people.values()) {
    for (const look of [...looks(name ?? id), ...looks(id)]) called.set(look, (called.get(look) ?? new Set()).add(id));
  }
  const alike = new Set();
  for (const { id, name } of people.values()) {
    if (/[@\ufe6b\uff20]/u.test(name ?? "") || looks(name ?? id).some((look) => called.get(look).size > 1)) alike.add(id);
  }
  known.set(people, alike);
  return alike;
}

/** The form of each letter in a look: empty until `learnLooks`, because the table is as long as a view. */
let looksTable = new Map();

/** Take in the table of model/looks.js; until then only names that are the same letters look alike. */
export function learnLooks(table) {
  looksTable = new Map(table.split("\n").map((row) => [...row]).map(([letter, ...look]) => [letter, look.join("")]));
  kept.clear();
  for (const one of letterLooks) one.clear();
  known = new WeakMap();
}
