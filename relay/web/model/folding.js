/**
 * The same text, however it was typed: folding as in the relay's search (PROTOCOL.md, section 5). Loaded when something
 * is searched.
 */
import { ASCII } from "./text.js";

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

/** Whether the name or the id of a chat or person contains a folded text. */
export function isCalled(name, id, wanted) {
  return fold(name ?? "").includes(wanted) || fold(id).includes(wanted);
}
