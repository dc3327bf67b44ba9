/** The session from signing in to signing out: the socket, the other tabs, and what is fetched after a reconnect. */
import { batch } from "@preact/signals";
import { noteAttended, queueEvent } from "./events.js";
import { report, tell } from "./notices.js";
import { forgetShown, forgetVerified, openChat, readLocation, refreshRoom } from "./rooms.js";
import { change, refreshChats, runtime } from "./store.js";
import { t } from "../i18n/i18n.js";
import { applyOther, disconnected } from "../model/events.js";
import * as model from "../model/state.js";
import { clock } from "../net/clock.js";
import { RequestError, createWire } from "../net/socket.js";
import { composing, connection, dialog, route, session, signInWays, state, trouble } from "../signals.js";
import { openStorage, remember, remembered } from "../storage.js";

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

let sessionAskedAt = -Infinity;

/** Fetch the user that the cookie stands for; null for nobody. Throws when the relay cannot be reached. */
async function askSession() {
  sessionAskedAt = clock.steady();
  try {
    const who = await call("GET", "/session");
    const limits = who.protocol?.limits ?? {};
    const me = { id: who.userId, name: who.name, admin: Boolean(who.admin), version: who.version, limits };
    remember(me);
    return me;
  } catch (failure) {
    if (failure.status !== 401) {
      sessionAskedAt = -Infinity;
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
      trouble.value = "offline";
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
  trouble.value = null;
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
      tell(t("error.offline"), { error: true });
      return;
    }
  }
  await leave();
}

async function leave() {
  const again = runtime.wire;
  runtime.wire = null;
  again?.stop();
  runtime.storage?.tell({ kind: "signedOut" });
  forgetShown();
  remember(null);
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
async function showKept(me, onOther) {
  runtime.storage = await openStorage(me.id, { onOther });
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

async function enter(me) {
  // Meanwhile the socket connects; what it says waits for the state that it changes.
  const shown = showKept(me, (word) => shown.then(() => onOther(word)));
  runtime.wire = createWire({
    open: () => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws?v=2`),
    clock: { now: () => clock.now(), set: (fn, ms) => setTimeout(fn, ms), clear: (timer) => clearTimeout(timer) },
    random: Math.random,
    onEvent: (frame) => shown.then(() => queueEvent(frame)),
    onState: (next) => shown.then(() => onWireState(next)),
    stillSignedIn: () => askSession().then(Boolean, () => true),
    frameBytes: () => session.value?.limits?.frameBytes,
  });
  runtime.wire.start();
  await shown;
  readLocation();
}

let troubleTimer;

function onWireState(next) {
  connection.value = next;
  if (next.name === "live") {
    clearTimeout(troubleTimer);
    troubleTimer = undefined;
    trouble.value = null;
    onLive();
  } else if (next.name === "signedOut") {
    leave().then(() => tell(t("signin.signedOut")));
  } else if (next.name !== "stopped") {
    if (state.value) state.value = disconnected(state.value);
    troubleTimer ??= setTimeout(() => (trouble.value = "offline"), SHOW_CONNECTING_AFTER);
  }
}

/** Another tab closed with files that it had not sent. */
let adopting = false;

/** Send what waits. The first screen does without the module that does; when it cannot be loaded, the next connection tries. */
function sendWaiting() {
  if (!(state.value?.outbox.length > 0)) return;
  import("./outbox.js").then(
    ({ adoptFiles, pump }) => {
      if (!adopting) return pump();
      adopting = false;
      return adoptFiles();
    },
    () => report(new RequestError("connection_lost", "A part of the page could not be loaded.")),
  );
}

async function onLive() {
  change(model.connected);
  forgetVerified();
  sendWaiting();
  refreshChats();
  runtime.wire.request("profile", {}).then((mine) => change((now) => model.learnPeople(now, [mine])), report);
  const { chatId } = route.value;
  if (chatId) refreshRoom(chatId, { reading: true });
  if (clock.steady() - sessionAskedAt >= 60_000) askSession().then(renew, () => {});
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

/** Another tab of this device has said something (storage.js). */
function onOther(word) {
  change((now) => applyOther(now, word));
  if (word.kind === "closing") {
    adopting = true;
    sendWaiting();
  } else if (word.kind === "attended") noteAttended(word.chatId, word.messageId);
  else if (word.kind === "signedOut" && runtime.wire) location.reload();
}
