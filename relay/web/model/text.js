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
  const flat = (some) => some.replace(/\s+/g, " ").trim();
  const said = text ?? "";
  return flat(said.replace(/```[\w+-]*\n?|```/g, " ").replace(/`([^`\n]+)`/g, "$1")) || flat(said);
}

/** Up to two letters for an avatar without a picture. More than a few marks would cover its neighbours. */
export function initials(name) {
  const words = (name ?? "").normalize("NFC").trim().split(/[\s._-]+/u).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const first = (word) => {
    for (const letter of letters(word)) if (/[\p{L}\p{N}]/u.test(letter)) return letter.replace(/(\p{M}{3})\p{M}+/gu, "$1");
    return "";
  };
  if (words.length === 0) return "?";
  return [words[0], ...(words.length > 1 ? [words.at(-1)] : [])].map(first).join("").toLocaleUpperCase();
}

/** A text that needs neither the table nor the segmenter, which are slow. */
const ASCII = /^[\0-\x7f]*$/;
const graphemes = typeof Intl.Segmenter === "function" ? new Intl.Segmenter() : null;

/** Walk through what a reader takes for single characters: a flag, a family, a letter with its marks. */
export function* letters(text) {
  if (!graphemes || ASCII.test(text)) return yield* text;
  for (const { segment } of graphemes.segment(text)) yield segment;
}

/** The first `count` characters of a text, none cut in half. */
export function cut(text, count) {
  if (text.length <= count) return text;
  let found = "";
  let left = count;
  for (const letter of letters(text)) {
    if (left === 0) break;
    left -= 1;
    found += letter;
  }
  return found;
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
export function foldOne(letter) {
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
export const WHITE = /[\s\x1c-\x1f\x85]+/gu;

/** The form by which texts are compared. */
export const fold = (text) =>
  ASCII.test(text) ? text.toLowerCase().replace(WHITE, " ") : [...text.normalize("NFC")].map(foldOne).join("").replace(WHITE, " ").normalize("NFC");

// ---------------------------------------------------------------- names that look alike

/** List the looks of a name. Until model/alikes.js is loaded, only names with the same letters look alike. */
let looks = (name) => [name.normalize("NFKC").toLowerCase()];

/** The last call of `lookAlikes`. */
let lastAsked = { people: new Map(), alike: new Set() };

/** Whether people and names are those of the last call: other fields change often. */
function isCalledAsBefore(people) {
  if (people.size !== lastAsked.people.size) return false;
  for (const { id, name } of people.values()) {
    const before = lastAsked.people.get(id);
    if (!before || before.name !== name) return false;
  }
  return true;
}

/** Of people (a Map of profiles by id), the ids of those whose name looks like somebody else's name or id, or has an @. */
export function lookAlikes(people) {
  if (people === lastAsked.people) return lastAsked.alike;
  const alike = isCalledAsBefore(people) ? lastAsked.alike : findAlikes(people);
  lastAsked = { people, alike };
  return alike;
}

function findAlikes(people) {
  // The person of each look; null when several share it.
  const owners = new Map();
  for (const { id, name } of people.values()) {
    for (const look of [...looks(name ?? id), ...looks(id)]) {
      const owner = owners.get(look);
      owners.set(look, owner === undefined || owner === id ? id : null);
    }
  }
  const alike = new Set();
  for (const { id, name } of people.values()) {
    if (/[@\ufe6b\uff20]/u.test(name ?? "") || looks(name ?? id).some((look) => owners.get(look) === null)) alike.add(id);
  }
  return alike;
}

/** Use another function for the looks of a name. */
export function useLooks(better) {
  looks = better;
  lastAsked = { people: new Map(), alike: new Set() };
}
