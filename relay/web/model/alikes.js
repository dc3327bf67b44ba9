/**
 * Names that look alike to people, as in relay/unicode/lookalikes.py. Not part of model/text.js, so that the list does not
 * wait for it. Text in, text out.
 */
import { LOOKS } from "./looks.js";
import { useLooks } from "./text.js";

/** Invisible characters, as on the relay; codes that may become ideographs or emoji are visible. */
const UNSEEN =
  /^(?!\p{Extended_Pictographic}|[\u{20000}-\u{3ffff}])[\p{DI}\p{Z}\p{Cc}\p{Cn}\p{Co}\p{Cs}\u2800\ufff9-\ufffc\u{13441}\u{13442}\u{16fe4}\u{1bc9d}\u{1d159}]$/u;
const BLANK = /[\p{Z}\t-\r\x1c-\x1f\x85\u2800\u1160]/u;
/** The form of each letter in a look. */
const table = new Map(LOOKS.split("\n").map((row) => [...row]).map(([letter, ...look]) => [letter, look.join("")]));
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
  if (!caseless && table.has(letter)) return table.get(letter);
  return [...letter.toUpperCase()].map((one) => [...one.toLowerCase()].map((small) => table.get(small) ?? small).join("")).join("");
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

/** People handled between two pauses. */
const PORTION = 100;

/** Compare names by their looks from now on, once the looks of these people (a Map of profiles by id) are known. */
export async function learnLooks(people, pause) {
  let done = 0;
  for (const { id, name } of people.values()) {
    looks(id);
    if (name) looks(name);
    done += 1;
    if (done % PORTION === 0) await pause();
  }
  useLooks(looks);
}
