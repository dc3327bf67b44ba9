/**
 * Upgrades under an open page: the relay serves a newer page than this one. It is loaded by a button, or by itself once
 * the page is hidden and nothing would be lost. And what the first screen does without: the
 * service worker, which keeps a version for the next start, and the keyboard of iOS.
 */
import { effect } from "@preact/signals";
import { showDrafts } from "./drafts.js";
import { openChat } from "./rooms.js";
import { runtime } from "./store.js";
import { t } from "../i18n/i18n.js";
import { HTTP_WITHIN } from "../net/socket.js";
import { composing, dialog, route, state, typed, upgraded, uploads } from "../signals.js";

/** Reloading once for a version is enough: a cache on the way may go on serving the old one. */
const RELOADED_FOR = "reloadedFor";
/** Work in a hidden page, such as sending a message, ends within this many ms. */
const CALM_AFTER = 500;

/** List a page's files: each address contains the hash of its content. */
function partsOf(page) {
  return [...new Set(page.match(/\/[\w./-]+\?v=\w+/g))].sort().join(" ");
}

/** Return the files of the open page: the import map, and the style sheets. */
function ownParts() {
  const links = [...document.querySelectorAll('link[rel="stylesheet"]')].map((link) => link.getAttribute("href"));
  return partsOf(`${document.querySelector('script[type="importmap"]').textContent} ${links.join(" ")}`);
}

let theirs = "";

/** Whether the relay has a newer page; then the user is told, and the other tabs. */
export async function lookForUpgrade() {
  if (upgraded.value) return true;
  try {
    const response = await fetch("/", { cache: "no-cache", signal: AbortSignal.timeout(HTTP_WITHIN) });
    theirs = response.ok && !response.redirected ? partsOf(await response.text()) : "";
  } catch {
    return false;
  }
  // Something other than the relay may answer.
  if (!theirs.includes("/app.js?v=") || theirs === ownParts()) return false;
  upgraded.value = true;
  runtime.storage?.tell({ kind: "upgraded" });
  watch();
  return true;
}

/** Load the newer page; ask first if something typed into a form would be lost. */
export function reloadIfSure() {
  if (typed.size === 0) reload();
  else dialog.value = { name: "confirm", text: t("dialog.losesText"), action: t("upgrade.reload"), run: reload };
}

function reload() {
  try {
    sessionStorage.setItem(RELOADED_FOR, theirs);
  } catch {
    // Then it does not reload by itself again: `mayReload` reads this, too.
  }
  location.reload();
}

/** Whether this version was not tried before. */
function mayReload() {
  try {
    return sessionStorage.getItem(RELOADED_FOR) !== theirs;
  } catch {
    return false;
  }
}

/** Whether somebody hears or sees something in the page, or is searching. */
function isInUse() {
  return [...document.querySelectorAll("audio, video, [type=search]")].some(({ paused, value }) => paused === false || value);
}

/** Whether the disk has all that waits and all that was typed: a browser may refuse to save. */
async function isAllKept() {
  const { outbox = [], drafts = new Map() } = state.value ?? {};
  const rows = outbox.map(({ clientMessageId }) => runtime.storage?.loadRow(clientMessageId));
  const isKept = async ([key, { text }]) => !text || (await runtime.storage?.loadDraft(key))?.text === text;
  return (await Promise.all([...rows, ...[...drafts].map(isKept)])).every(Boolean);
}

/** Whether a reload loses nothing: everything pending is on the disk, and nothing else was begun. */
export async function isSafe() {
  if (document.visibilityState === "visible" || dialog.value || composing.value || route.value.panel || typed.size > 0 || uploads.value.size > 0 || isInUse()) return false;
  showDrafts();
  return isAllKept();
}

let timer;

function watch() {
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(async () => (await isSafe()) && mayReload() && document.visibilityState !== "visible" && reload(), CALM_AFTER);
  };
  document.addEventListener("visibilitychange", later);
  for (const end of ["pause", "ended"]) document.addEventListener(end, later, true);
  effect(() => {
    for (const one of [dialog, composing, route, uploads, state]) void one.value;
    later();
  });
}

/**
 * The service worker makes the page installable; browsers accept one only over https and on localhost. Its address is
 * the one script address this page makes from a string, so it goes through the one policy the relay allows.
 */
export function registerWorker() {
  if (!isSecureContext || !navigator.serviceWorker) return;
  try {
    const policy = window.trustedTypes?.createPolicy("service-worker", { createScriptURL: () => "/sw.js" });
    navigator.serviceWorker.register(policy ? policy.createScriptURL("") : "/sw.js").catch(() => {});
  } catch {
    // Not allowed here: the page works without it.
  }
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    if (data.kind === "open" && data.chatId && state.value) openChat(data.chatId);
  });
}

/** iOS lays its keyboard over the page instead of shrinking it: tell the layout how much is left. */
export function watchKeyboard() {
  const viewport = window.visualViewport;
  if (!viewport) return;
  const fit = () => {
    // Zooming by two fingers shows a part of the page, and leaves its layout alone.
    document.documentElement.style.setProperty("--visible-height", `${Math.round(viewport.height * viewport.scale)}px`);
    if (viewport.offsetTop > 0 && viewport.scale === 1) scrollTo(0, 0);
  };
  viewport.addEventListener("resize", fit);
  fit();
}
