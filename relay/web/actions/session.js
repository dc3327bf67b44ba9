/** The session from signing in to signing out: the socket, the other tabs, and what is fetched after a reconnect. */
import { batch } from "@preact/signals";
import { noteAttended, queueEvent } from "./events.js";
import { report, tell } from "./notices.js";
import { adoptFiles, inFlight, pump } from "./outbox.js";
import { forgetShown, forgetVerified, openChat, readLocation, refreshRoom } from "./rooms.js";
import { change, refreshChats, runtime } from "./store.js";
import { t } from "../i18n/i18n.js";
import { applyAnswer, disconnected } from "../model/events.js";
import { readHere } from "../model/messages.js";
import * as model from "../model/state.js";
import { RequestError, createWire } from "../net/socket.js";
import { composing, connection, dialog, route, session, signInWays, state, troubled } from "../signals.js";
import { openStorage, remember, remembered, takeLastWords } from "../storage.js";

const SHOW_CONNECTING_AFTER = 2_000;

async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body ? JSON.stringify(body) : undefined,
      cache: "no-store",
    });
  } catch {
    throw new RequestError("connection_lost", "The relay cannot be reached.");
  }
  const answer = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const failure = new RequestError(answer.error?.code ?? "internal", answer.error?.message, answer.error?.retryAfter);
  failure.status = response.status;
  failure.answer = answer;
  throw failure;
}

let sessionAskedAt = 0;

/** Fetch the user that the cookie stands for; null for nobody. Throws when the relay cannot be reached. */
async function askSession() {
  sessionAskedAt = Date.now();
  try {
    const who = await call("GET", "/session");
    const { frameBytes } = who.protocol?.limits ?? {};
    const me = { id: who.userId, name: who.name, admin: Boolean(who.admin), version: who.version, frameBytes };
    remember(me);
    return me;
  } catch (failure) {
    if (failure.status !== 401) {
      sessionAskedAt = 0;
      throw failure;
    }
    signInWays.value = failure.answer.signIn ?? ["password"];
    return null;
  }
}

/** Start the session and show the page: at once from what this device has kept, else from the relay. */
export async function begin() {
  const known = remembered();
  if (known) {
    // Asked at once: index.html had it fetched ahead, and what was fetched then must not answer a later question.
    const asking = askSession();
    asking.catch(() => {});
    await enter(known);
    asking.then(renew, () => {});
    return;
  }
  for (;;) {
    try {
      const me = await askSession();
      if (me) await enter(me);
      else session.value = null;
      return;
    } catch {
      troubled.value = true;
      await new Promise((resolve) => setTimeout(resolve, 2_000));
    }
  }
}

function deviceLabel() {
  const agent = navigator.userAgent;
  const browser = /Edg\//.test(agent) ? "Edge" : /OPR\//.test(agent) ? "Opera" : /Firefox\//.test(agent) ? "Firefox"
    : /Chrome\//.test(agent) ? "Chrome" : /Safari\//.test(agent) ? "Safari" : "Browser";
  const system = /Android/.test(agent) ? "Android" : /iPhone|iPad/.test(agent) ? "iOS" : /Windows/.test(agent)
    ? "Windows" : /Mac OS/.test(agent) ? "macOS" : /Linux/.test(agent) ? "Linux" : "";
  return system ? `${browser} · ${system}` : browser;
}

/** Sign in with {invite}, {userId, password} or {name}. Throws a RequestError. */
export async function signIn(credentials) {
  const answer = await call("POST", "/session", { ...credentials, label: deviceLabel() });
  const me = await askSession();
  if (!me) throw new RequestError("unauthorized", "The browser did not keep the session.");
  troubled.value = false;
  await enter(me);
  if (answer.chatId) openChat(answer.chatId);
  return answer;
}

/** Sign this device out and erase what it has kept. */
export async function signOut() {
  try {
    await call("DELETE", "/session");
  } catch (failure) {
    if (failure.code === "connection_lost") {
      tell(t("error.offline"), true);
      return;
    }
  }
  await leave();
}

async function leave() {
  const again = runtime.wire;
  runtime.wire = null;
  again?.stop();
  runtime.tabs?.postMessage({ kind: "signedOut" });
  forgetShown();
  remember(null);
  takeLastWords();
  await runtime.storage?.erase();
  runtime.storage = null;
  batch(() => {
    state.value = null;
    dialog.value = null;
    composing.value = null;
    route.value = { chatId: null, panel: null };
    session.value = null;
  });
  history.replaceState(null, "", "/");
  try {
    await askSession();
  } catch {
    signInWays.value = ["password"];
  }
}

/** Show what this device has kept of the user. */
async function showKept(me) {
  runtime.storage = await openStorage(me.id);
  const kept = await runtime.storage.load();
  let first = model.initial(me);
  if (kept.chats.length > 0) first = model.setChats(first, kept.chats);
  first = model.learnPeople(first, kept.people);
  for (const { chatId, text } of kept.drafts) first = model.setDraft(first, chatId, text);
  const words = takeLastWords();
  if (words?.userId === me.id) first = model.setDraft(first, words.chatId, words.text);
  for (const row of kept.outbox) first = model.enqueue(first, { ...row, state: row.state === "failed" ? "failed" : "queued" });
  batch(() => {
    state.value = first;
    session.value = me;
  });
  if (words?.userId === me.id) runtime.storage.saveDraft(words.chatId, words.text);
}

async function enter(me) {
  // Meanwhile the socket connects; what it says waits for the state that it changes.
  const shown = showKept(me);
  runtime.wire = createWire({
    open: () => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws?v=2`),
    clock: { now: () => Date.now(), set: (fn, ms) => setTimeout(fn, ms), clear: (timer) => clearTimeout(timer) },
    random: Math.random,
    onEvent: (frame) => shown.then(() => queueEvent(frame)),
    onState: (next) => shown.then(() => onWireState(next)),
    stillSignedIn: () => askSession().then(Boolean, () => true),
    frameBytes: () => session.value?.frameBytes,
  });
  runtime.wire.start();
  await shown;
  openTabs();
  readLocation();
}

let troubleTimer;

function onWireState(next) {
  connection.value = next;
  if (next.name === "live") {
    clearTimeout(troubleTimer);
    troubleTimer = undefined;
    troubled.value = false;
    onLive();
  } else if (next.name === "signedOut") {
    leave().then(() => tell(t("signin.signedOut")));
  } else if (next.name !== "stopped") {
    if (state.value) state.value = disconnected(state.value);
    troubleTimer ??= setTimeout(() => (troubled.value = true), SHOW_CONNECTING_AFTER);
  }
}

async function onLive() {
  forgetVerified();
  pump();
  refreshChats();
  runtime.wire.request("profile", {}).then((mine) => change((now) => model.learnPeople(now, [mine])), report);
  const { chatId } = route.value;
  if (chatId) refreshRoom(chatId, { reading: true });
  if (Date.now() - sessionAskedAt >= 60_000) askSession().then(renew, () => {});
}

/** Take in what the relay says of the signed-in user. */
function renew(me) {
  if (!me || !state.value) return;
  session.value = me;
  change((now) => ({ ...now, me }));
}

/** Probe the socket after sleep, another app or a dead network. */
export function wakeUp() {
  runtime.wire?.probe();
}

/*
 * Tabs share one device, so the relay does not tell one tab what another did. Tabs tell each other, and apply it with the
 * same functions of the model; ids make duplicates harmless.
 */
function openTabs() {
  runtime.tabs?.close();
  if (typeof BroadcastChannel === "undefined") return;
  runtime.tabs = new BroadcastChannel(`relay:${state.value.me.id}`);
  runtime.tabs.onmessage = ({ data }) => {
    if (data.kind === "sent") change((now) => applyAnswer(now, data.row, data.answer));
    else if (data.kind === "queued") change((now) => (inFlight.has(data.row.clientMessageId) ? now : model.enqueue(now, data.row)));
    else if (data.kind === "dropped") change((now) => model.dropOutbox(now, data.clientMessageId));
    else if (data.kind === "patched") change((now) => model.patchOutbox(now, data.clientMessageId, data.change));
    else if (data.kind === "draft") change((now) => model.setDraft(now, data.chatId, data.text));
    else if (data.kind === "read") change((now) => readHere(now, data.chatId, data.messageId, data.missed));
    else if (data.kind === "closing") adoptFiles();
    else if (data.kind === "attended") noteAttended(data.chatId, data.messageId);
    else if (data.kind === "signedOut" && runtime.wire) location.reload();
  };
}
