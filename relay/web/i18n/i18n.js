/**
 * The person's language: texts, plurals, dates. One file a language, loaded when chosen; `Intl` does the rest.
 * A component that calls `t` while drawing is drawn again when the language changes.
 */
import { computed, signal } from "@preact/signals";
import { cut, isolate } from "../model/text.js";
import { clock } from "../net/clock.js";

/** Languages by code, each with its name in itself. */
export const LANGUAGES = { en: "English", de: "Deutsch", es: "Español", fr: "Français", ru: "Русский", zh: "中文" };

const current = signal({ code: "en", texts: {}, intl: null });

/** The code of the language in use. */
export function language() {
  return current.value.code;
}

/** The chosen language, or the first of the browser's that we have. */
export function preferredLanguage(chosen) {
  for (const tag of [chosen ?? "", ...(navigator.languages ?? [navigator.language])]) {
    const code = tag.slice(0, 2).toLowerCase();
    if (Object.hasOwn(LANGUAGES, code)) return code;
  }
  return "en";
}

let asked;

/** Load and use a language, unless another one is asked for meanwhile. Throws if it cannot be loaded. */
export async function useLanguage(code, loading = import(`./${code}.js`)) {
  asked = code;
  const { default: texts } = await loading;
  if (!texts) throw new TypeError(code);
  if (asked !== code) return;
  current.value = { code, texts, intl: formats(code), place: placeOf(code) };
  document.documentElement.lang = code;
}

/** The language with the person's own country, which decides between 14:05 and 2:05 PM. */
function localeOf(code) {
  return (navigator.languages ?? []).find((tag) => tag.toLowerCase().startsWith(`${code}-`)) ?? code;
}

/** The device's country and time zone: dates depend on them besides the language. */
const placeOf = (code) => localeOf(code) + new Intl.DateTimeFormat().resolvedOptions().timeZone;

function formats(language) {
  const code = localeOf(language);
  return {
    plural: new Intl.PluralRules(code),
    number: new Intl.NumberFormat(code),
    time: new Intl.DateTimeFormat(code, { hour: "numeric", minute: "2-digit" }),
    weekday: new Intl.DateTimeFormat(code, { weekday: "short" }),
    date: new Intl.DateTimeFormat(code, { day: "numeric", month: "short" }),
    dateYear: new Intl.DateTimeFormat(code, { day: "numeric", month: "numeric", year: "2-digit" }),
    day: new Intl.DateTimeFormat(code, { weekday: "long", day: "numeric", month: "long" }),
    dayYear: new Intl.DateTimeFormat(code, { day: "numeric", month: "long", year: "numeric" }),
    full: new Intl.DateTimeFormat(code, { dateStyle: "full", timeStyle: "medium" }),
    relative: new Intl.RelativeTimeFormat(code, { numeric: "auto" }),
    list: new Intl.ListFormat(code, { type: "conjunction" }),
  };
}

/**
 * The text for a key. `{name}` is replaced by `params.name`, isolated if it runs in the other direction; a text with
 * plural forms picks by `params.count`.
 */
export function t(key, params = {}) {
  const { texts, intl } = current.value;
  let text = texts[key];
  if (text === undefined) return key;
  if (typeof text === "object") text = text[intl.plural.select(params.count)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = params[name];
    return typeof value === "number" ? intl.number.format(value) : isolate(String(value ?? ""));
  });
}

const startOfDay = (timestamp) => new Date(timestamp).setHours(0, 0, 0, 0);

/** The time that "ago" counts from. A component with relative times is redrawn when it moves. */
const minute = signal(clock.now());
/** When the present day began. */
export const today = computed(() => startOfDay(minute.value));

/** Advance the time, also into another time zone; called each minute, and when the user returns to the page. */
export function tick() {
  const { code, intl, place } = current.value;
  if (intl && place !== placeOf(code)) current.value = { ...current.value, intl: formats(code), place: placeOf(code) };
  minute.value = clock.now();
}

const daysAgo = (timestamp) => Math.round((today.value - startOfDay(timestamp)) / 86_400_000);

function capital(text) {
  const first = cut(text, 1);
  return first.toLocaleUpperCase(current.value.code) + text.slice(first.length);
}

/** 14:05 */
export function formatTime(timestamp) {
  return current.value.intl.time.format(timestamp);
}

/** The full form, for a title. */
export function formatFull(timestamp) {
  return current.value.intl.full.format(timestamp);
}

/** The short form for the chat list: the time today, the weekday this week, else the date. */
export function formatShort(timestamp) {
  const { intl } = current.value;
  const days = daysAgo(timestamp);
  if (days <= 0) return intl.time.format(timestamp);
  if (days < 7) return intl.weekday.format(timestamp);
  const sameYear = new Date(timestamp).getFullYear() === new Date(today.value).getFullYear();
  return (sameYear ? intl.date : intl.dateYear).format(timestamp);
}

let lastDay = {};

/** A day separator: today, yesterday, or the date. Kept, because messages of one day are drawn together. */
export function formatDay(timestamp) {
  const { intl } = current.value;
  const [day, now] = [startOfDay(timestamp), today.value];
  if (lastDay.day !== day || lastDay.now !== now || lastDay.intl !== intl) lastDay = { day, now, intl, text: sayDay(timestamp, intl) };
  return lastDay.text;
}

function sayDay(timestamp, intl) {
  const days = daysAgo(timestamp);
  if (days === 0 || days === 1) return capital(intl.relative.format(-days, "day"));
  const sameYear = new Date(timestamp).getFullYear() === new Date(today.value).getFullYear();
  return capital((sameYear ? intl.day : intl.dayYear).format(timestamp));
}

/** "3 minutes ago", "yesterday at …": for last-seen times. */
export function formatAgo(timestamp) {
  const { intl } = current.value;
  // Events since the last tick are not in the future.
  const minutes = Math.floor((Math.max(minute.value, timestamp) - timestamp) / 60_000);
  if (minutes < 60) return intl.relative.format(-Math.max(1, minutes), "minute");
  if (minutes < 24 * 60 && daysAgo(timestamp) === 0) return intl.relative.format(-Math.floor(minutes / 60), "hour");
  if (daysAgo(timestamp) === 1) return `${intl.relative.format(-1, "day")}, ${intl.time.format(timestamp)}`;
  return intl.dayYear.format(timestamp);
}

/** "Anna, Ben and Carla" */
export function formatList(items) {
  return current.value.intl.list.format(items.map(isolate));
}

/** "1.4 MB" */
export function formatSize({ value, unit }) {
  const unitDisplay = unit === "byte" ? "long" : "short";
  return new Intl.NumberFormat(current.value.code, { style: "unit", unit, unitDisplay }).format(value);
}

/** A number in the language's own way. */
export function formatNumber(value) {
  return current.value.intl.number.format(value);
}
