// Folding: the page highlights exactly what the relay finds. And look-alike names.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { isSeen, learnLooks, looks } from "../../relay/web/model/alikes.js";
import { partsFound } from "../../relay/web/model/found.js";
import { fold } from "../../relay/web/model/folding.js";
import { lookAlikes } from "../../relay/web/model/text.js";
import { initial, learnPeople, nameOf, tellOf } from "../../relay/web/model/state.js";

const { pairs, short, different } = JSON.parse(readFileSync(new URL("../data/found.json", import.meta.url)));

const marked = (text, ...words) => partsFound(text, words).filter((_, index) => index % 2 === 1);

test("the words that the relay found are marked", () => {
  for (const [said, typed] of [...pairs, ...short.map(([query, text]) => [text, query])]) {
    assert.ok(fold(said).includes(fold(typed)), `${said} ${typed}`);
    assert.ok(marked(said, typed).length > 0, `${said} ${typed}`);
    assert.equal(partsFound(said, [typed]).join(""), said.normalize("NFC"));
  }
});

test("a different letter is not marked", () => {
  for (const [said, typed] of different) assert.deepEqual(marked(said, typed), [], `${said} ${typed}`);
});

test("letters of ASCII are folded as among others", () => {
  for (let code = 0; code < 128; code += 1) {
    const text = `A ${String.fromCodePoint(code)} z`;
    assert.equal(fold(text), fold(`${text}å`).slice(0, -1), String(code));
  }
});

test("each word is marked wherever it stands, with its marks", () => {
  assert.deepEqual(partsFound("Cafe\u0301 und CAFÉ", ["cafe"]), ["", "Café", " und ", "CAFÉ"]);
  assert.deepEqual(partsFound("o\ufb03ce", ["fi"]), ["o", "\ufb03", "ce"]);
  assert.deepEqual(partsFound("قال مُحَمَّدٌ نعم", ["محمد"]), ["قال ", "مُحَمَّدٌ", " نعم"]);
  assert.deepEqual(partsFound("one two three", ["two", "three"]), ["one ", "two", " ", "three"]);
  assert.deepEqual(partsFound("anana", ["ana"]), ["", "anana"]);
  assert.deepEqual(partsFound("the two \n\t words here", ["two words"]), ["the ", "two \n\t words", " here"]);
  assert.deepEqual(partsFound("two  words", ["o "]), ["tw", "o  ", "words"]);
  assert.deepEqual(partsFound("text", []), ["text"]);
  assert.deepEqual(partsFound("text", ["\u200b"]), ["text"]);
  assert.deepEqual(partsFound("", ["x"]), [""]);
});

test("only names of the same letters look alike before the table is loaded, and all look-alikes after it", async () => {
  const people = new Map([["a", "Anna"], ["b", "\u0410nna"], ["c", "anna"]].map(([id, name]) => [id, { id, name }]));
  assert.deepEqual([...lookAlikes(people)], ["a", "c"]);
  await learnLooks(people, async () => {});
  assert.deepEqual([...lookAlikes(people)], ["a", "b", "c"]);
});

test("people whose names look alike are told apart by their ids, and others are not", () => {
  const people = [
    ["anna", "Anna Berg"], ["anna2", "\u0410nna  berg"], ["ben", "Ben"], ["carl", "Car1"], ["cari", "Carl"],
    ["dora", "ben"], ["emma", "Emma"], ["ernma", "Other"], ["paul", "Paul"],
  ].map(([id, name]) => ({ id, name }));
  const state = learnPeople(initial({ id: "me", name: "Me" }), people);
  const told = Object.fromEntries(people.map(({ id }) => [id, tellOf(state, id)]));
  assert.deepEqual(told, {
    anna: "Anna Berg @anna", anna2: "\u0410nna  berg @anna2", ben: "Ben @ben", carl: "Car1 @carl", cari: "Carl @cari",
    dora: "ben @dora", emma: "Emma @emma", ernma: "Other", paul: "Paul",
  });
  assert.equal(nameOf(state, "ben"), "Ben");
  assert.equal(lookAlikes(state.people), lookAlikes(state.people));
  assert.deepEqual(looks("ADMlN"), looks("admin"));
});

const names = JSON.parse(readFileSync(new URL("../data/names.json", import.meta.url)));
const alike = (one, other) => looks(one).some((look) => looks(other).includes(look));

test("the names of many people are looked at in portions", async () => {
  const people = new Map(Array.from({ length: 1_050 }, (_, at) => [`p${at}`, { id: `p${at}`, name: `Né ${at}` }]));
  let pauses = 0;
  await learnLooks(people, async () => void (pauses += 1));
  assert.equal(pauses, 10);
});

test("look-alikes are searched again only when a name changes", () => {
  const people = new Map([["a", "Anna"], ["b", "Ben"], ["c", "anna"]].map(([id, name]) => [id, { id, name }]));
  const found = lookAlikes(people);
  const seen = new Map(people).set("b", { ...people.get("b"), lastSeen: 5 });
  assert.equal(lookAlikes(seen), found);
  const renamed = new Map(seen).set("b", { id: "b", name: "ANNA" });
  assert.deepEqual([...lookAlikes(renamed)], ["a", "b", "c"]);
  const gone = new Map(renamed);
  gone.delete("a");
  assert.deepEqual([...lookAlikes(gone.set("d", { id: "d", name: "Dora" }))], ["b", "c"]);
});

test("names look alike on the page that look alike on the relay", () => {
  for (const [one, other] of names.alike) assert.ok(alike(one, other), `${one} ${other}`);
  for (const [one, other] of names.different) assert.ok(!alike(one, other), `${one} ${other}`);
});

test("a character can be seen on the page that can be seen on the relay", () => {
  const tables = readFileSync(new URL("../../relay/unicode/tables.py", import.meta.url), "utf-8");
  const ranges = (name) => {
    const literals = tables.split(`${name} = (`)[1].split("\n)")[0].replaceAll(/"\n\s*"/g, "").trim().slice(1, -1);
    return new RegExp(`[${literals.replaceAll(/\\[uU]([\da-f]{4,8})/g, (_, code) => `\\u{${code}}`)}]`, "u");
  };
  const [hidden, unseen, unassigned] = [ranges("HIDDEN"), ranges("UNSEEN"), /\p{Cn}/u];
  for (let code = 0; code < 0xf0000; code += code < 0x20000 || code >= 0xe0000 ? 1 : 0x1000) {
    const letter = String.fromCodePoint(code);
    if ((code >= 0xd800 && code < 0xe000) || unassigned.test(letter)) continue;
    if (hidden.test(letter)) assert.ok(!isSeen(letter), code.toString(16));
    if (!unseen.test(letter)) assert.ok(isSeen(letter), code.toString(16));
  }
  for (const name of names.blank) assert.ok(![...name].some(isSeen), name);
});

test("a name with an at sign stands with the id of its owner behind it", () => {
  const people = [{ id: "anna", name: "Anna" }, { id: "cara", name: "Anna @anna" }, { id: "dora", name: "D \uff20anna" }];
  const state = learnPeople(initial({ id: "me", name: "Me" }), people);
  assert.deepEqual(people.map(({ id }) => tellOf(state, id)), ["Anna", "Anna @anna @cara", "D \uff20anna @dora"]);
});
