// Links, code and emoji in a message's text; names and sizes.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { load } from "./page_modules.mjs";
import { excerpt, tail } from "../../relay/web/model/found.js";
import { elsewhere, emojiCount, parse, safeHref } from "../../relay/web/model/markup.js";
import { cut, hueOf, initials, isSearchable, oneLine, sizeParts } from "../../relay/web/model/text.js";

const { formatSize, useLanguage } = await load("i18n/i18n.js");
const links = (text) => parse(text).flatMap((block) => block.spans ?? []).filter((span) => span.type === "link");

test("an address in a sentence is a link without the sentence's punctuation", () => {
  const cases = [
    ["see https://example.org/a.", "https://example.org/a"],
    ["(https://example.org/a)", "https://example.org/a"],
    ["https://example.org/wiki/Boat_(vessel)", "https://example.org/wiki/Boat_(vessel)"],
    ["“https://example.org/?q=1&r=2#x”,", "https://example.org/?q=1&r=2#x"],
    ["http://192.168.1.7:8080/status!", "http://192.168.1.7:8080/status"],
  ];
  for (const [text, link] of cases) assert.deepEqual(links(text).map((span) => span.text), [link]);
});

test("www and mail addresses get their scheme", () => {
  assert.equal(links("www.example.org/x")[0].href, "http://www.example.org/x");
  assert.equal(links("write to ben.okafor@example.org.")[0].href, "mailto:ben.okafor@example.org");
});

test("nothing but http, https and mailto becomes a link", () => {
  for (const text of ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "vbscript:x", "JaVaScRiPt:alert(1)"]) {
    assert.equal(safeHref(text), null);
    assert.deepEqual(links(text), []);
  }
});

test("an address is a link on the page if it is one on the relay", () => {
  const cases = JSON.parse(readFileSync(new URL("../data/addresses.json", import.meta.url)));
  for (const url of cases.taken) {
    assert.ok(elsewhere({ url }), url);
    assert.ok(safeHref(url), url);
  }
  for (const url of [...cases.refused, "https://a.example/\ud800", "https://\udfff.example/"]) {
    assert.equal(elsewhere({ url }), null, JSON.stringify(url));
    if (url.includes("://")) assert.equal(safeHref(url), null, JSON.stringify(url));
  }
  assert.equal(elsewhere({}), null);
  for (const text of ["www.example.org/@user", "www.example.org/?u=http://b.example/"]) assert.equal(safeHref(text), `http://${text}`);
});

test("no text is lost or added by taking it apart", () => {
  for (const text of ["a https://b.org c", "x@y.org and www.z.org", "plain", "a `b` c https://d.org."]) {
    const joined = parse(text).flatMap((block) => block.spans).map((span) => (span.type === "code" ? `\`${span.text}\`` : span.text));
    assert.equal(joined.join(""), text);
  }
});

test("code is taken as it stands", () => {
  const [first, second, third] = parse("before\n```js\nlet a = 1;\n  https://example.org\n```\nafter `x < y` end");
  assert.deepEqual(first.spans, [{ type: "text", text: "before" }]);
  assert.deepEqual(second, { type: "pre", text: "let a = 1;\n  https://example.org" });
  assert.deepEqual(third.spans[1], { type: "code", text: "x < y" });
});

test("a block of code that is not closed is text", () => {
  assert.equal(parse("```\nopen").length, 1);
  assert.equal(parse("```\nopen")[0].type, "text");
});

test("emoji are counted as one sees them, and only when there is nothing else", () => {
  const cases = [["👍", 1], ["👍🏽 👍🏻", 2], ["👨‍👩‍👧‍👦", 1], ["🇩🇪🇫🇷", 2], ["❤️", 1], ["1️⃣", 1], ["a👍", 0], ["123", 0], ["", 0], ["  ", 0], ["©", 1]];
  for (const [text, count] of cases) assert.equal(emojiCount(text), count, JSON.stringify(text));
});

test("a long text that begins with emoji is told apart quickly", () => {
  const start = performance.now();
  emojiCount("😀".repeat(50_000) + "x");
  parse(`https://example.org/${"(".repeat(5_000)}`);
  parse("`".repeat(20_000));
  parse("a@".repeat(20_000));
  assert.ok(performance.now() - start < 500);
});

test("initials are letters of the first and the last word", () => {
  const cases = [["Anna Lindqvist", "AL"], ["李雷", "李"], ["мария иванова", "МИ"], ["Harbour crew ⚓ – weekend", "HW"], ["", "?"], ["⚓", "?"], ["user_7", "U7"]];
  for (const [name, letters] of cases) assert.equal(initials(name), letters);
});

test("a colour belongs to an id", () => {
  assert.equal(hueOf("User1", 10), hueOf("User1", 10));
  assert.ok(new Set(Array.from({ length: 200 }, (_, at) => hueOf(`User${at}`, 10))).size === 10);
});

test("a preview is one line", () => {
  assert.equal(oneLine("a\n\nb  ```js\nc``` `d e`"), "a b c d e");
});

test("sizes are given in the unit that reads best", () => {
  assert.deepEqual(sizeParts(999), { value: 999, unit: "byte" });
  assert.deepEqual(sizeParts(1_440), { value: 1.4, unit: "kilobyte" });
  assert.deepEqual(sizeParts(25_000_000), { value: 25, unit: "megabyte" });
});

test("no text takes long to read, however odd", () => {
  const odd = ["http://".repeat(4_500), `http://${":".repeat(31_000)}x`, `http://a${")".repeat(31_000)}`];
  odd.push(`http://${":".repeat(2_000)}x `.repeat(15), `http://a${")".repeat(2_000)} `.repeat(15));
  const start = performance.now();
  for (const text of odd) parse(text);
  assert.ok(performance.now() - start < 500);
});

test("one letter is not worth a search, one character of a language without letters is", () => {
  assert.deepEqual(["", "a", " a ", "ab", "猫", "ね", "고", "é"].map(isSearchable), [false, false, false, true, true, true, true, false]);
});

test("a text is cut between what a reader takes for single characters", () => {
  const text = "a\u{1f1e9}\u{1f1ea}e\u0301\u{1f468}\u200d\u{1f469}\u200d\u{1f467}z";
  assert.deepEqual([0, 1, 2, 3, 4].map((count) => cut(text, count).length), [0, 1, 5, 7, 15]);
  assert.equal(cut(text, 9), text);
  assert.deepEqual([0, 1, 2, 3, 4].map((count) => tail(text, count).length), [0, 1, 9, 11, 15]);
  assert.equal(tail(text, 9), text);
});

test("a web address ends where punctuation of any script begins", () => {
  const cases = [
    ["看https://example.org/a。谢谢", "https://example.org/a"],
    ["（https://example.org/a）", "https://example.org/a"],
    ["「www.example.org」", "www.example.org"],
    ["https://example.org/a、次", "https://example.org/a"],
    ["https://example.org/a！！", "https://example.org/a"],
    ["انظر https://example.org/a، ثم", "https://example.org/a"],
    ["https://example.org/a؟", "https://example.org/a"],
    ["https://hi.wikipedia.org/wiki/हिन्दी। अगला", "https://hi.wikipedia.org/wiki/हिन्दी"],
    ["\u2068https://example.org/a\u2069", "https://example.org/a"],
    ["https://fr.wikipedia.org/wiki/L’Équipe", "https://fr.wikipedia.org/wiki/L’Équipe"],
    ["https://de.wikipedia.org/wiki/Köln–Bonn", "https://de.wikipedia.org/wiki/Köln–Bonn"],
  ];
  for (const [text, link] of cases) assert.deepEqual(links(text).map((span) => span.text), [link], text);
});

test("a mail address has letters of any script, and is the whole one or none", () => {
  const cases = [
    ["müller@firma.de", ["müller@firma.de"]],
    ["info@müller.de.", ["info@müller.de"]],
    ["почта@пример.рф", ["почта@пример.рф"]],
    ["请写信给anna@example.org谢谢", ["anna@example.org"]],
    ["anna@example.org으로 보내세요", ["anna@example.org"]],
    ["a@b@example.org", []],
    ["@anna", []],
  ];
  for (const [text, found] of cases) assert.deepEqual(links(text).map((span) => span.text), found, text);
});

test("what only looks like an address is told apart quickly", () => {
  const texts = ["a@".repeat(50_000), "a.".repeat(50_000), "я".repeat(100_000), `a@b.${"c.".repeat(30_000)}`, `https://x/${"’".repeat(50_000)}`];
  const start = performance.now();
  for (const text of texts) parse(text);
  assert.ok(performance.now() - start < 1_000);
});

test("an excerpt begins and ends with whole characters and is short", () => {
  const [before, match, after] = excerpt(`${"😀".repeat(15)} needle here ${"👨‍👩‍👧‍👦".repeat(300)}`, ["needle"]);
  assert.equal(before, `…${"😀".repeat(11)} `);
  assert.equal(match, "needle");
  assert.equal(after, ` here ${"👨‍👩‍👧‍👦".repeat(200 - 13 - 6 - 6)}…`);
  assert.deepEqual(excerpt("short", ["x"]), ["short"]);
});

test("the end of a long text is found without walking through it", () => {
  assert.equal(tail("🇩🇪".repeat(900), 12), "🇩🇪".repeat(12));
  assert.equal(tail(`${"e\u0301".repeat(50)}`, 3), "e\u0301".repeat(3));
  const start = performance.now();
  for (let times = 0; times < 200; times += 1) tail("lorem ipsum ".repeat(20_000), 12);
  assert.ok(performance.now() - start < 1_000);
});

test("initials are whole letters, however they were typed", () => {
  assert.equal(initials("e\u0301mile zola"), "ÉZ");
  assert.equal(initials("कि शर्मा"), "किश");
});

test("flags that are made of letters of their own count as one emoji", () => {
  const england = "\u{1F3F4}\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}";
  assert.equal(emojiCount(england), 1);
  assert.equal(emojiCount(`${england} 🏴‍☠️ 🏴`), 3);
});

test("initials carry at most three marks in a row", () => {
  assert.equal(initials(`a${"\u0e49".repeat(63)}`), `A${"\u0e49".repeat(3)}`);
  assert.equal(initials("स्त्री"), "स्त्री");
});

test("a text of nothing but fences has a line of its own", () => {
  assert.equal(oneLine("``` ```"), "``` ```");
  assert.equal(oneLine(" ```\n``` "), "``` ```");
  assert.equal(oneLine(" \n "), "");
});

test("a size below 1 kB is said in whole words, in every language", async () => {
  const said = [];
  for (const code of ["en", "de", "es", "fr", "ru", "zh"]) {
    await useLanguage(code);
    said.push(formatSize(sizeParts(13)), formatSize(sizeParts(1_400)));
  }
  const words = said.map((one) => one.replace(/\s/g, " ")).filter((_, at) => at % 2 === 0);
  assert.deepEqual(words, ["13 bytes", "13 Byte", "13 bytes", "13 octets", "13 байт", "13字节"]);
  assert.equal(said[1], "1.4 kB");
});
