// Legible colours: WCAG AA everywhere, AAA for the text of messages, in both themes.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const css = readFileSync(new URL("../../relay/web/styles/tokens.css", import.meta.url), "utf8");
const tokens = (block) => Object.fromEntries([...block.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value]));
const light = tokens(css.slice(0, css.indexOf(':root[data-theme="dark"] {')));
const system = tokens(css.match(/@media \(prefers-color-scheme: dark\) \{([\s\S]*?)\n\}/)[1]);
const chosen = tokens(css.slice(css.indexOf("/* Repeated for people")));
const themes = { light, dark: { ...light, ...system } };

function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

const PAIRS = [
  ["text", "theirs", 7], ["text", "mine", 7], ["text", "panel", 7], ["text", "panel-2", 7],
  ["text-2", "panel", 4.5], ["text-2", "panel-2", 4.5], ["text-2", "hover", 4.5], ["text-2", "theirs", 4.5],
  ["text-2", "ground", 4.5], ["text-2", "accent-soft", 4.5], ["text-3", "panel", 4.5], ["text-3", "panel-2", 4.5],
  ["text-3", "theirs", 4.5], ["text-3", "accent-soft", 4.5],
  ["mine-meta", "mine", 4.5], ["mine-line", "mine", 4.5], ["accent-text", "panel", 4.5], ["accent-text", "ground", 4.5],
  ["accent-text", "theirs", 4.5], ["accent-text", "accent-soft", 4.5], ["accent-text", "panel-2", 4.5],
  ["on-accent", "accent", 4.5], ["on-accent", "accent-strong", 4.5], ["danger", "panel", 4.5], ["danger", "theirs", 4.5],
  ["danger", "mine", 4.5], ["danger", "danger-soft", 4.5], ["accent", "panel", 3], ["ok", "panel", 3], ["idle", "panel", 3],
];

for (const [name, theme] of Object.entries(themes)) {
  test(`${name}: every text stands out from what it stands on`, () => {
    const weak = PAIRS.map(([text, ground, least]) => [text, ground, least, contrast(theme[text], theme[ground])])
      .filter(([, , least, ratio]) => ratio < least);
    assert.deepEqual(weak, []);
  });

  test(`${name}: names and initials can be read in every colour`, () => {
    for (let hue = 0; hue < 10; hue += 1) {
      assert.ok(contrast("#ffffff", theme[`h${hue}`]) >= 4.5, `h${hue}`);
      assert.ok(contrast(theme[`t${hue}`], theme.theirs) >= 4.5, `t${hue}`);
    }
  });
}

test("dark by choice and dark by the system are the same", () => {
  assert.deepEqual(chosen, system);
});
