/** The session from signing in to signing out: the socket, the other tabs, and the fetches after a reconnect. */
import { batch } from "@preact/signals";
import { applyWaiting, hearOf, queueEvent } from "./events.js";
import { report, tell } from "./notices.js";
import { forgetVerified, readLocation, refreshForgotten, refreshRoom } from "./rooms.js";
import { change, doubtIds, refreshChats, reportLoading, runtime } from "./store.js";
import { t, tick } from "../i18n/i18n.js";
import { applyOther, disconnected } from "../model/events.js";
import * as model from "../model/state.js";
import { clock } from "../net/clock.js";
import { HTTP_WITHIN, backoff, callRelay, createWire } from "../net/socket.js";
import {
  connection, forgetUser, loadSettings, route, session, settings, signedOut, signInWays, state, trouble,
} from "../signals.js";
import { openStorage, remember, remembered } from "../storage.js";

const SHOW_CONNECTING_AFTER = 2_000;
/** Checking a password takes the relay a while, and so does a slow network. */
export const LONGEST_WITHIN = 30_000;

let sessionAskedAt = -Infinity;
/** How often this page was signed out: an answer to an earlier request says nothing about the time after it. */
let leaves = 0;
/** When the user signed out, here or in another tab, on the steady clock. */
let ownDeedAt = -Infinity;
/** Every tab has left within this many ms. */
const OWN_DEED_WITHIN = 2 * HTTP_WITHIN;

export const noteOwnDeed = () => (ownDeedAt = clock.steady());

/** Fetch the cookie's user; null for nobody. Throws if the relay cannot be reached `within` ms. */
export async function askSession(within = HTTP_WITHIN) {
  sessionAskedAt = clock.steady();
  const begun = leaves;
  try {
    const who = await callRelay("GET", "/session", {
      isOurs: (answer, status) => (status === 401 ? Array.isArray(answer.signIn) : typeof answer.userId === "string"),
      within,
    });
    if (begun !== leaves) return null;
    const limits = who.protocol?.limits ?? {};
    const me = { id: who.userId, name: who.name, admin: Boolean(who.admin), version: who.version, limits };
    remember(me);
    return me;
  } catch (failure) {
    if (failure.status !== 401) {
      sessionAskedAt = -Infinity;
      throw failure;
    }
    signInWays.value = failure.answer.signIn;
    if (failure.answer.disabled) signedOut.value = { ...signedOut.value, disabled: true };
    return null;
  }
}

/** Start the session and show the page: at once from this device's copy, else from the relay. */
export async function begin() {
  const known = remembered();
  if (known) {
    // Ask at once: index.html prefetched it, and the prefetched answer must not serve a later request.
    const asking = askSession();
    asking.catch(() => {});
    await enter(known);
    asking.then(renew, noteCause);
    return;
  }
  for (let tries = 0; ; tries += 1) {
    try {
      // Longer on a slow network.
      const me = await askSession(Math.min(LONGEST_WITHIN, HTTP_WITHIN * (1 + tries)));
      trouble.value = null;
      if (me) await enter(me);
      else session.value = null;
      return;
    } catch (failure) {
      trouble.value = failure.trouble ?? "refused";
      await new Promise((resolve) => {
        setTimeout(resolve, backoff(tries, Math.random));
        addEventListener("online", resolve, { once: true });
      });
    }
  }
}

/** Count what signing out erases: pending messages and drafts. */
function countUnsent({ outbox, drafts }) {
  return outbox.filter((row) => row.kind === "new").length + [...drafts.values()].filter(({ text }) => text.trim()).length;
}

/** The relay signed this device out. */
async function leaveUnasked() {
  const unsent = state.value ? countUnsent(state.value) : 0;
  runtime.storage?.tell({ kind: "signedOut", unsent });
  await leave({ unsent });
}

/** Forget the user and all data on this device. If they did not sign out themselves, the sign-in screen tells `word`. */
export async function leave(word) {
  const again = runtime.wire;
  if (!again) return;
  runtime.wire = null;
  leaves += 1;
  again.stop();
  remember(null);
  const { storage } = runtime;
  runtime.storage = null;
  clearTimeout(troubleTimer);
  troubleTimer = undefined;
  batch(() => {
    forgetUser();
    session.value = null;
    trouble.value = null;
    signedOut.value = clock.steady() - ownDeedAt < OWN_DEED_WITHIN ? null : word;
  });
  // Another tab may hold up the end of it.
  const erasing = storage?.erase();
  history.replaceState(null, "", "/");
  try {
    await askSession();
  } catch {
    signInWays.value = ["password"];
  }
  await erasing;
}

function onUnkept() {
  tell(t("draft.notKept"), { error: true, lasts: 30_000 });
  // If the storage was cleared under the page, this remembers the user again.
  askSession().then(renew, () => {});
}

function onReopened() {
  for (const row of state.value?.outbox ?? []) runtime.storage?.putRow(row);
}

/** Show this device's copy of the user's data. */
async function showKept(me, onOther) {
  runtime.storage = await openStorage(me.id, { onOther, onUnkept, onReopened });
  const kept = await runtime.storage.load();
  let first = model.initial(me);
  if (kept.chats.length > 0) first = model.setChats(first, kept.chats);
  first = model.learnPeople(first, kept.people);
  for (const [chatId, draft] of kept.drafts) first = model.mergeDraft(first, chatId, draft);
  for (const row of kept.outbox) first = model.enqueue(first, { ...row, state: row.state === "failed" ? "failed" : "queued" });
  batch(() => {
    state.value = first;
    session.value = me;
  });
}

export async function enter(me) {
  signedOut.value = null;
  ownDeedAt = -Infinity;
  // The socket connects meanwhile; its events wait for the state.
  const shown = showKept(me, (word) => shown.then(() => onOther(word)));
  runtime.wire = createWire({
    open: () => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws?v=2`),
    clock: { now: () => clock.now(), set: (fn, ms) => setTimeout(fn, ms), clear: (timer) => clearTimeout(timer) },
    random: Math.random,
    onEvent: (frame) => shown.then(() => queueEvent(frame)),
    beforeAnswer: applyWaiting,
    onState: (next) => shown.then(() => onWireState(next)),
    stillSignedIn,
    frameBytes: () => session.value?.limits?.frameBytes,
  });
  runtime.wire.start();
  await shown;
  readLocation();
}

/** Ask whether the handshake was refused because this device is signed out, and note other obstacles. */
async function stillSignedIn() {
  try {
    const me = await askSession();
    renew(me);
    // The relay answers, but the socket did not open.
    cause = "refused";
    return Boolean(me);
  } catch (failure) {
    noteCause(failure);
    return true;
  }
}

let troubleTimer;
/** Why there is no connection, if known. */
let cause = "connecting";

function noteCause(failure) {
  cause = failure.trouble ?? "refused";
  if (trouble.value) trouble.value = cause;
}

function onWireState(next) {
  connection.value = next;
  if (next.name === "live") {
    clearTimeout(troubleTimer);
    troubleTimer = undefined;
    trouble.value = null;
    cause = "connecting";
    onLive();
  } else if (next.name === "signedOut") {
    leaveUnasked();
  } else if (next.name !== "stopped") {
    if (state.value) state.value = disconnected(state.value);
    doubtIds();
    troubleTimer ??= setTimeout(() => (trouble.value = cause), SHOW_CONNECTING_AFTER);
    if (trouble.value) trouble.value = cause;
  }
}

/** Use the outbox if it is not empty: the first screen needs no sending module. */
function withOutbox(work) {
  if (!(state.value?.outbox.length > 0)) return;
  import("./outbox.js").then(work, reportLoading);
}

/** Whether the socket was open before. */
let wasLive = false;

async function onLive() {
  change(model.connected);
  forgetVerified();
  withOutbox(({ pump }) => pump());
  refreshChats().then(refreshForgotten);
  runtime.wire.request("profile", {}).then((mine) => {
    change((now) => model.learnPeople(now, [mine]));
    // The first answer tells the relay's time: "today" and "5 minutes ago" may change.
    tick();
  }, report);
  if (wasLive) findUpgrade();
  wasLive = true;
  const { chatId } = route.value;
  if (chatId) refreshRoom(chatId, { reading: true });
  if (clock.steady() - sessionAskedAt >= 60_000) askSession().then(renew, () => {});
}

/** After a break the relay may be newer, with a newer page. */
function findUpgrade() {
  import("./upgrade.js").then(({ lookForUpgrade }) => lookForUpgrade(), () => {});
}

/** Apply the relay's data on the signed-in user. */
function renew(me) {
  if (!me || !state.value) return;
  // Another user has signed in meanwhile in this browser.
  if (me.id !== state.value.me.id) {
    location.reload();
    return;
  }
  session.value = me;
  change((now) => ({ ...now, me }));
}

/** Probe the socket after sleep, another app or a dead network. */
export function wakeUp() {
  runtime.wire?.probe();
}

/** Apply another tab's changes of localStorage, which the browser reports. */
export function followOtherTabs({ key }) {
  if (key === "settings") settings.value = loadSettings();
  const who = key === "session" ? remembered() : null;
  if (who?.id && who.id === session.value?.id) renew(who);
}

/** Handle news from another tab (storage.js). */
function onOther(word) {
  change((now) => applyOther(now, word));
  hearOf(word);
  if (word.kind === "me" && session.value) session.value = { ...session.value, ...word.me };
  else if (word.kind === "upgraded") findUpgrade();
  else if (word.kind === "signsOut") noteOwnDeed();
  else if (word.kind === "signedOut") leave(Number.isInteger(word.unsent) ? { unsent: word.unsent } : null);
  else withOutbox(({ hear }) => hear(word));
}
