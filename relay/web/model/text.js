/** Texts in lists: one line of a text, initials, sizes, and look-alike names. Text in, plain data out. */

/** Languages in which one character may be a word. */
const WORD_OF_ONE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;

/** Whether a query is worth sending: a single letter is in nearly every message. */
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
export const ASCII = /^[\0-\x7f]*$/;
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

/** The ids of people whose name looks like somebody else's name or id, or has an @. */
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
