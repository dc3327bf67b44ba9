// Every language has every key, every key is used, every used key exists, and forms and placeholders agree.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { register } from "node:module";
import { join } from "node:path";
import { test } from "node:test";

const WEB = new URL("../../relay/web/", import.meta.url).pathname;
const CODES = ["en", "de", "es", "fr", "ru", "zh"];
const languages = {};
for (const code of CODES) languages[code] = (await import(join(WEB, "i18n", `${code}.js`))).default;

function sources(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return ["vendor", "i18n"].includes(entry.name) ? [] : sources(path);
    return entry.name.endsWith(".js") ? [readFileSync(path, "utf8")] : [];
  });
}

const used = new Set();
for (const source of sources(WEB)) {
  for (const [, key] of source.matchAll(/\bt\(\s*"([\w.]+)"/g)) used.add(key);
}
const placeholders = (text) => [...new Set([...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name))].sort();

test("no key is asked for in another way than as a plain string", () => {
  for (const source of sources(WEB)) {
    const odd = source.match(/(?<![\w.])t\((?!\s*")[^)]*\)/g);
    assert.equal(odd, null);
  }
});

/** By language, the texts that are the same words as in English. */
const ALIKE = {
  de: [
    "list.title", "search.chats", "presence.online", "presence.offline", "chat.membersOnline", "message.video",
    "composer.emoji", "settings.version", "new.name",
  ],
  es: ["list.title", "search.chats", "person.bot", "composer.emoji", "details.admin"],
  fr: [
    "search.messages", "chat.messages", "person.bot", "message.image", "composer.placeholder", "composer.emoji",
    "settings.version", "notifications.on", "details.admin",
  ],
  ru: [],
  zh: [],
};

for (const [code, alike] of Object.entries(ALIKE)) {
  test(`${code} has no English texts`, () => {
    const same = Object.keys(languages.en).filter((key) => {
      try {
        assert.deepEqual(languages[code][key], languages.en[key]);
      } catch {
        return false;
      }
      return true;
    });
    assert.deepEqual(same, alike);
  });
}

for (const code of CODES) {
  test(`${code} has every key that is used`, () => {
    assert.deepEqual([...used].filter((key) => !(key in languages[code])), []);
  });

  test(`${code} has no key that nothing uses`, () => {
    assert.deepEqual(Object.keys(languages[code]).filter((key) => !used.has(key)), []);
  });

  test(`${code} has the plural forms of its language, and no others`, () => {
    const needed = new Intl.PluralRules(code).resolvedOptions().pluralCategories.toSorted();
    for (const [key, text] of Object.entries(languages[code])) {
      if (typeof text === "object") assert.deepEqual(Object.keys(text).sort(), needed, key);
    }
  });

  test(`${code} names the same placeholders as English`, () => {
    for (const [key, text] of Object.entries(languages.en)) {
      const english = placeholders(typeof text === "object" ? text.other : text);
      const other = languages[code][key];
      assert.equal(typeof other, typeof text, key);
      assert.deepEqual(placeholders(typeof other === "object" ? other.other : other), english, key);
    }
  });
}

test("times follow the device into another time zone at the next tick", async () => {
  const { load } = await import("./page_modules.mjs");
  const before = process.env.TZ;
  process.env.TZ = "UTC";
  const { formatShort, formatTime, tick, useLanguage } = await load("i18n/i18n.js");
  await useLanguage("en");
  const noon = Date.UTC(2026, 10, 29, 12);
  assert.equal(formatTime(noon), "12:00");
  process.env.TZ = "Asia/Tokyo";
  tick();
  assert.equal(formatTime(noon), "21:00");
  assert.equal(formatShort(Date.now() + 1_000).includes(":"), true);
  if (before === undefined) delete process.env.TZ;
  else process.env.TZ = before;
});

/** Serve the texts of a language as `body`, or not at all, at its first address; a later one has the right texts. */
function breakLanguage(code, body) {
  const hook = `
export function resolve(name, context, next) {
  return name.endsWith("/${code}.js") ? next(name + "?v=0", context) : next(name, context);
}
export function load(url, context, next) {
  if (!url.endsWith("/${code}.js?v=0")) return next(url, context);
  const source = ${JSON.stringify(body)};
  if (source === null) throw new Error("503");
  return { format: "module", source, shortCircuit: true };
}`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 300));

for (const [code, what, body] of [
  ["de", "is refused", null],
  ["es", "cannot be parsed", "export default {"],
  ["fr", "has no texts", "export const other = 1;"],
]) {
  test(`language that ${what} leaves the page in the one it has, is told once and tried again`, async (context) => {
    const { load } = await import("./page_modules.mjs");
    const { language, t, useLanguage } = await load("i18n/i18n.js");
    const { followLanguage, pickLanguage, wantedLanguage } = await load("actions/groups.js");
    const { changeSetting, notice } = await load("signals.js");
    await useLanguage("en");
    changeSetting({ language: "en" });
    followLanguage();
    notice.value = null;
    breakLanguage(code, body);
    const [soon, later] = [setTimeout, []];
    const hold = (fn, ms, ...given) => (ms > 5_000 ? later.push({ fn, ms, given }) : soon(fn, ms, ...given));
    context.mock.method(globalThis, "setTimeout", hold);
    pickLanguage({ currentTarget: { value: code } });
    await settled();
    assert.equal(language(), "en");
    assert.equal(t("nav.back"), languages.en["nav.back"]);
    assert.equal(wantedLanguage.value, code);
    assert.match(notice.value.text, /“(Deutsch|Español|Français)” could not be loaded/);
    notice.value = null;
    const again = later.find(({ given }) => given[0] === code);
    assert.ok(again.ms <= 60_000);
    again.fn(...again.given);
    await settled();
    assert.equal(language(), code);
    assert.equal(notice.value, null);
  });
}

test("language that comes late does not replace one that was picked after it", async () => {
  const { load } = await import("./page_modules.mjs");
  const { language, useLanguage } = await load("i18n/i18n.js");
  let come;
  const late = useLanguage("ru", new Promise((resolve) => (come = resolve)));
  await useLanguage("zh");
  come({ default: languages.ru });
  await late;
  assert.equal(language(), "zh");
});

test("language of the settings that is unknown is replaced by the browser's", async () => {
  const { load } = await import("./page_modules.mjs");
  const { preferredLanguage } = await load("i18n/i18n.js");
  assert.equal(preferredLanguage("xx"), "en");
  assert.equal(preferredLanguage("ru"), "ru");
});
