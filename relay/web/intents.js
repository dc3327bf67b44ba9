/**
 * What a person can do, and the signals the views read. Joins the wire, the model and the storage; every change of
 * the model happens here, once per animation frame for what the relay sends.
 */
import { batch, computed, signal } from "@preact/signals";
import * as model from "./model/state.js";
import { createWire, RequestError } from "./wire.js";
import { t } from "./i18n/i18n.js";

/** Messages asked for when a chat is opened, and each time one scrolls to the end of what is loaded. */
const FIRST_PAGE = 80;
const NEXT_PAGE = 150;
const LARGEST_PAGE = 500;
/** Entries asked for before the one that may be the first unread, so that it is seen where it follows. */
const READ_BEFORE = 40;
/** Messages of a chat that stay in memory when one comes back to its end. */
const KEPT_IN_MEMORY = 1_000;
/** A message grows no further than this; the relay's frames end at 256 KiB. */
export const LONGEST_MESSAGE = 32_000;
/** The relay looks for no more characters than these in messages, and in names. */
export const LONGEST_QUERY = 256;
export const LONGEST_NAME_QUERY = 128;
const TYPING_EVERY = 3_000;
const SHOW_CONNECTING_AFTER = 2_000;
const UPLOADS_AT_ONCE = 2;

/** The model. */
export const state = signal(null);
/** Who is signed in: undefined while not known, null when nobody is. */
export const session = signal(undefined);
/** What the sign-in page may offer: "invite", "password", "open". */
export const signInWays = signal([]);
/** {name, until?} of the wire, and whether it is worth telling the person. */
export const connection = signal({ name: "stopped" });
export const troubled = signal(false);
/** What is open: {chatId, panel, at?}. */
export const route = signal({ chatId: null, panel: null });
/** The window is visible and has the focus. */
export const active = signal(true);
/** {text, error?} at the foot of the page, for a few seconds. */
export const notice = signal(null);
/** What a screen reader should say: the last few things, {id, text}. */
export const announcements = signal([]);
/** The modal on top: {name, ...}, or null. */
export const dialog = signal(null);
/** Upload progress by clientMessageId, 0 to 1. */
export const uploads = signal(new Map());
/** In a chat: the message answered or edited. {chatId, kind: "reply"|"edit", message} */
export const composing = signal(null);
/** The message to show in the open chat: {chatId, messageId, serial}. */
export const target = signal(null);
/** Chats whose first page is being fetched. */
export const loadingRooms = signal(new Set());
export const settings = signal(loadSettings());

export const chats = computed(() => (state.value ? model.sortedChats(state.value) : []));
export const unread = computed(() => (state.value ? model.unreadTotal(state.value) : 0));

let wire = null;
let storage = null;
let tabs = null;
let uploadsRunning = 0;
const inFlight = new Set();
const verified = new Set();
const asked = new Set();
/** Chats whose messages came from the relay since the page was opened. */
const shown = new Set();
/** Chats one is leaving or deleting oneself. */
const ending = new Set();
/** Chats of which a part far from the end is loaded. */
const jumped = new Set();
const blobUrls = new Map();
const changedRooms = new Set();

// ---------------------------------------------------------------- settings

function loadSettings() {
  const usual = { theme: "system", language: null, sound: true, notifications: false };
  try {
    return { ...usual, ...JSON.parse(localStorage.getItem("settings") ?? "{}") };
  } catch {
    return usual;
  }
}

/** Change a setting of this device. */
export function changeSetting(change) {
  settings.value = { ...settings.value, ...change };
  try {
    localStorage.setItem("settings", JSON.stringify(settings.value));
  } catch {
    // The setting holds until the page closes.
  }
}

// ---------------------------------------------------------------- session

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

function remembered() {
  try {
    return JSON.parse(localStorage.getItem("session") ?? "null");
  } catch {
    return null;
  }
}

function remember(who) {
  try {
    if (who) localStorage.setItem("session", JSON.stringify(who));
    else localStorage.removeItem("session");
  } catch {
    // Only the first paint is slower next time.
  }
}

let sessionAskedAt = 0;

/** Who the cookie says we are; null when it says nobody. Throws when the relay cannot be reached. */
async function askSession() {
  try {
    const who = await call("GET", "/session");
    const me = { id: who.userId, name: who.name, admin: Boolean(who.admin), version: who.version };
    sessionAskedAt = Date.now();
    remember(me);
    return me;
  } catch (failure) {
    if (failure.status !== 401) throw failure;
    signInWays.value = failure.answer.signIn ?? ["password"];
    return null;
  }
}

/** Find out who is here and show the page: from what this device remembers at once, else from the relay. */
export async function begin() {
  // Asked for already, so that it is there when it is known who is here.
  import("./storage.js");
  const known = remembered();
  if (known) {
    await enter(known);
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

/** Sign this device out and leave nothing behind. */
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
  const again = wire;
  wire = null;
  again?.stop();
  tabs?.postMessage({ kind: "signedOut" });
  shown.clear();
  remember(null);
  takeLastWords();
  await storage?.erase();
  storage = null;
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

async function enter(me) {
  const { openStorage } = await import("./storage.js");
  storage = await openStorage(me.id);
  const kept = await storage.load();
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
  if (words?.userId === me.id) storage.saveDraft(words.chatId, words.text);
  openTabs();
  readLocation();
  wire = createWire({
    open: () => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`),
    clock: { now: () => Date.now(), set: (fn, ms) => setTimeout(fn, ms), clear: (timer) => clearTimeout(timer) },
    random: Math.random,
    onEvent: queueEvent,
    onState: onWireState,
    stillSignedIn: () => askSession().then(Boolean, () => true),
  });
  wire.start();
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
    if (state.value) state.value = model.disconnected(state.value);
    troubleTimer ??= setTimeout(() => (troubled.value = true), SHOW_CONNECTING_AFTER);
  }
}

async function onLive() {
  verified.clear();
  pump();
  refreshChats();
  wire.request("profile", {}).then((mine) => change((now) => model.learnPeople(now, [mine])), report);
  const { chatId } = route.value;
  if (chatId) refreshRoom(chatId, { reading: true });
  if (Date.now() - sessionAskedAt < 60_000) return;
  askSession().then((me) => {
    if (me && state.value) {
      session.value = me;
      change((now) => ({ ...now, me }));
    }
  }, () => {});
}

async function refreshChats() {
  try {
    const list = await wire.request("chats", {});
    change((now) => model.applyEvent(now, { eventType: "chats", payload: list }, Date.now()));
    storage?.tidyRooms(new Set(state.value.chats.keys()));
  } catch (failure) {
    report(failure);
  }
}

/** Back from sleep, another app or a dead network: is the socket alive? */
export function wakeUp() {
  wire?.probe();
}

// ---------------------------------------------------------------- events, batched

/** In a flood of events the page is drawn this often, in ms; a single one is drawn in the next frame. */
const FLOOD_FRAME = 60;

let waitingFrames = [];
let flushScheduled = false;
let flushedAt = 0;

function queueEvent(frame) {
  waitingFrames.push(frame);
  if (flushScheduled) return;
  flushScheduled = true;
  // A hidden page gets no animation frames, and must go on taking messages.
  if (document.visibilityState !== "visible") setTimeout(flush, 0);
  else if (performance.now() - flushedAt >= FLOOD_FRAME) requestAnimationFrame(flush);
  else setTimeout(() => (document.visibilityState === "visible" ? requestAnimationFrame(flush) : flush()), FLOOD_FRAME);
}

function flush() {
  if (!flushScheduled) return;
  flushScheduled = false;
  flushedAt = performance.now();
  if (!state.value) return;
  const frames = waitingFrames;
  waitingFrames = [];
  const now = Date.now();
  let next = state.value;
  for (const frame of frames) {
    try {
      next = model.applyEvent(next, frame, now);
    } catch (failure) {
      // One event that cannot be understood must not hold up the others; the next refresh brings the truth.
      console.error(failure);
    }
    if (frame.payload?.chatId) changedRooms.add(frame.payload.chatId);
  }
  setState(next);
  for (const frame of frames) if (frame.id !== undefined) wire?.acknowledge(frame.id);
  for (const frame of frames) if (frame.eventType === "new") noticeNew(frame.payload);
  if (frames.some((frame) => frame.eventType === "chats")) refreshDetails();
}

/** A frame may have been scheduled for a page that then went out of sight. */
export function flushWhenHidden() {
  if (flushScheduled) flush();
}

function change(step) {
  if (state.value) setState(step(state.value));
}

let saveTimer;

function setState(next) {
  if (next === state.value) return;
  const before = state.value;
  state.value = next;
  if (next.rooms !== before.rooms) {
    for (const [chatId, room] of next.rooms) if (before.rooms.get(chatId) !== room) changedRooms.add(chatId);
  }
  const { chatId } = route.value;
  if (chatId && before.chats.has(chatId) && !next.chats.has(chatId) && next.chats !== before.chats) {
    closeChat();
    if (!ending.has(chatId)) tell(t("chat.gone"));
  }
  saveTimer ??= setTimeout(save, 800);
}

/** Write what changed to the disk of this device. */
export function save() {
  clearTimeout(saveTimer);
  saveTimer = undefined;
  const now = state.value;
  if (!now || !storage) return;
  storage.saveChats([...now.chats.values()]);
  storage.savePeople([...now.people.values()]);
  for (const chatId of changedRooms) {
    const room = now.rooms.get(chatId);
    // Only what reaches the newest message may be kept: a hole would show as lost messages next time.
    if (room?.loaded && model.atEnd(now, chatId)) storage.saveRoom(chatId, room, now.details.get(chatId));
  }
  changedRooms.clear();
}

let typingTimer;

/** Called each time somebody begins to type: end it when nothing more comes. */
export function watchTyping() {
  clearTimeout(typingTimer);
  if (!state.value || state.value.typing.size === 0) return;
  typingTimer = setTimeout(() => change((now) => model.expireTyping(now, Date.now())), model.TYPING_LASTS);
}

// ---------------------------------------------------------------- telling the person

const ANNOUNCED = 10;
let announced = 0;

/** Say something to those who hear the page: each time, also when it is the same again. */
function announce(text) {
  announced += 1;
  announcements.value = [...announcements.value.slice(1 - ANNOUNCED), { id: announced, text }];
}

let noticeTimer;

/** Say something at the foot of the page. */
export function tell(text, error = false) {
  clearTimeout(noticeTimer);
  notice.value = { text, error };
  noticeTimer = setTimeout(() => (notice.value = null), error ? 8_000 : 4_000);
}

/** What went wrong and what to do, in the person's language. */
export function explain(failure) {
  switch (failure?.code ?? failure) {
    case "connection_lost":
    case "unavailable":
      return t("error.offline");
    case "forbidden":
      return t("error.forbidden");
    case "not_found":
      return t("error.notFound");
    case "too_large":
      return t("error.tooLarge");
    case "storage_full":
      return t("error.storageFull");
    case "quota_full":
      return t("error.quotaFull");
    case "rate_limited":
      return t("error.rateLimited", { count: Math.max(1, Math.ceil((failure.retryAfter ?? 5_000) / 1_000)) });
    case "unauthorized":
      return t("error.unauthorized");
    case "conflict":
      return t("error.conflict");
    default:
      return t("error.internal");
  }
}

/** Show a failure where nothing closer can. */
export function report(failure) {
  if (failure instanceof RequestError) tell(explain(failure), true);
  else throw failure;
}

/** Another tab that the person looks at has this long to say so, before this one makes itself heard. */
const ALERT_AFTER = 300;

/** By chat, up to which message another tab had the person's eyes. */
const attended = new Map();

function noticeNew(event) {
  const now = state.value;
  if (event.sender === now.me.id || event.status === "deleted" || event.status === "read") return;
  const chat = now.chats.get(event.chatId);
  const name = model.tellOf(now, event.sender ?? event.chatId);
  const text = event.message || t("message.attachment");
  const watching = active.value && route.value.chatId === event.chatId;
  if (watching) announce(`${name}: ${text}`);
  if (active.value) tabs?.postMessage({ kind: "attended", chatId: event.chatId, messageId: event.messageId });
  // What was waiting while we were away comes in one go: a sound for each would be noise.
  const fresh = Date.now() - (event.timestamp ?? Date.now()) < 60_000;
  if (watching || !fresh || !(chat?.missed > 0)) return;
  const title = chat.type === "dialog" ? name : `${name} · ${chat.name}`;
  if (active.value) alertNow(event, title, text);
  else setTimeout(() => isUnattended(event) && alertNow(event, title, text), ALERT_AFTER);
}

/** Nobody has read the message meanwhile, here or elsewhere, and no other tab is looked at. */
function isUnattended({ chatId, messageId }) {
  return !(attended.get(chatId) >= messageId) && state.value?.chats.get(chatId)?.missed > 0;
}

function alertNow({ chatId }, title, text) {
  const { sound, notifications } = settings.value;
  const notification = notifications && !active.value;
  import("./notify.js").then(({ alertNew }) =>
    alertNew({ title, text, chatId, sound, notification, open: () => openChat(chatId) }),
  );
}

// ---------------------------------------------------------------- other tabs of this browser

/*
 * Tabs share one device, so the relay need not tell one what the other did. What is told here is applied by the
 * same functions of the model; ids make a thing told twice harmless.
 */
function openTabs() {
  tabs?.close();
  if (typeof BroadcastChannel === "undefined") return;
  tabs = new BroadcastChannel(`relay:${state.value.me.id}`);
  tabs.onmessage = ({ data }) => {
    if (data.kind === "sent") change((now) => model.sent(now, data.row, data.answer));
    else if (data.kind === "queued") change((now) => (inFlight.has(data.row.clientMessageId) ? now : model.enqueue(now, data.row)));
    else if (data.kind === "dropped") change((now) => model.dropOutbox(now, data.clientMessageId));
    else if (data.kind === "patched") change((now) => model.patchOutbox(now, data.clientMessageId, data.change));
    else if (data.kind === "draft") change((now) => model.setDraft(now, data.chatId, data.text));
    else if (data.kind === "read") change((now) => model.readHere(now, data.chatId, data.messageId, data.missed));
    else if (data.kind === "closing") adoptFiles();
    else if (data.kind === "attended") attended.set(data.chatId, data.messageId);
    else if (data.kind === "signedOut" && wire) location.reload();
  };
}

// ---------------------------------------------------------------- where one is

function hashOf({ chatId, panel }) {
  const parts = new URLSearchParams();
  if (chatId) parts.set("chat", chatId);
  if (panel) parts.set("panel", panel);
  const text = parts.toString();
  return text ? `#${text}` : location.pathname;
}

/** How many steps Back leads within the page. */
let depth = 0;

/** Read the address: after Back, or a link. */
export function readLocation() {
  const parts = new URLSearchParams(location.hash.slice(1));
  // An invite is for somebody who is not here yet; a code should not stay in the address.
  if (parts.has("invite") && state.value) {
    history.replaceState(history.state, "", location.pathname);
    tell(t("signin.already", { name: session.value.name }));
  }
  const came = history.state?.depth;
  if (dialog.value) {
    dialog.value = null;
    // Back closes what lies on top, and nothing below it.
    if (came < depth) return history.go(depth - came);
  }
  // An address that was typed, or the first of all.
  if (came === undefined) history.replaceState({ depth: 0 }, "");
  depth = came ?? 0;
  const chatId = parts.get("chat");
  const next = { chatId, panel: parts.get("panel") };
  if (next.chatId === route.value.chatId && next.panel === route.value.panel) return;
  route.value = next;
  if (chatId && state.value) ensureRoom(chatId);
}

function go(next, { replace = false } = {}) {
  if (!replace) depth += 1;
  history[replace ? "replaceState" : "pushState"]({ depth }, "", hashOf(next));
  route.value = next;
}

/** Back where one came from, inside the page; never out of it. */
export function back() {
  if (depth > 0) history.back();
  else if (route.value.panel) go({ ...route.value, panel: null }, { replace: true });
  else go({ chatId: null, panel: null }, { replace: true });
}

/** Open a chat, or with a person's id begin one. */
export function openChat(chatId, { messageId } = {}) {
  const known = route.value.chatId === chatId;
  batch(() => {
    dialog.value = null;
    if (!known || route.value.panel) {
      // Going from chat to chat is not a path one wants to walk back through.
      go({ chatId, panel: null }, { replace: Boolean(route.value.chatId || route.value.panel) });
    }
    if (!known) composing.value = null;
  });
  // What is unread is where one begins to read, however much it is.
  if (!known) change((now) => model.trim(now, chatId, KEPT_IN_MEMORY + (now.chats.get(chatId)?.missed ?? 0)));
  ensureRoom(chatId);
  if (messageId) showMessage(chatId, messageId);
}

/** Close the chat. */
export function closeChat() {
  if (!route.value.chatId) return;
  back();
}

/** Open or close a side panel. */
export function openPanel(panel) {
  if (route.value.panel !== panel) go({ ...route.value, panel }, { replace: Boolean(route.value.panel) });
}

/** The chat before or after the open one. */
export function stepChat(by) {
  const list = chats.value;
  const at = list.findIndex((chat) => chat.id === route.value.chatId);
  const next = list[at < 0 ? 0 : Math.min(list.length - 1, Math.max(0, at + by))];
  if (next) openChat(next.id);
}

// ---------------------------------------------------------------- history

function setLoading(chatId, on) {
  const next = new Set(loadingRooms.value);
  if (on) next.add(chatId);
  else next.delete(chatId);
  loadingRooms.value = next;
}

async function ensureRoom(chatId) {
  const now = state.value;
  if (!now.rooms.get(chatId)?.loaded) {
    const kept = await storage?.loadRoom(chatId);
    if (kept && state.value && !state.value.rooms.get(chatId)?.loaded) {
      change((current) => {
        let next = current;
        if (kept.details) next = model.setDetails(next, kept.details);
        if (kept.messages.length === 0) return next;
        next = model.addPage(next, chatId, kept.messages, { reachesStart: kept.first <= 1 });
        // Ids that edits and deletions took are covered as well, and leave no message behind.
        const last = Math.max(kept.last, kept.messages.at(-1).messageId);
        const room = { ...next.rooms.get(chatId), first: kept.first, last, deleted: kept.deleted ?? new Set() };
        return { ...next, rooms: new Map(next.rooms).set(chatId, room) };
      });
    }
  }
  await refreshRoom(chatId);
}

/** `reading`: the chat is open since before the connection broke, and what one reads in it must stay. */
async function refreshRoom(chatId, { reading = false } = {}) {
  if (verified.has(chatId) || asked.has(chatId) || !wire) return;
  asked.add(chatId);
  const chat = state.value.chats.get(chatId);
  setLoading(chatId, true);
  try {
    const expected = FIRST_PAGE + (chat?.missed ?? 0);
    // More than one page is asked for by its place, further down.
    const count = expected > LARGEST_PAGE ? FIRST_PAGE : expected;
    const [newest, details] = await Promise.all([
      wire.request("messages", { chatId, count }),
      wire.request("chat", { chatId }),
    ]);
    // How many are unread the relay knows, and this page perhaps not yet.
    const stays = reading && shown.has(chatId);
    const whole = stays || !newest.more || model.reachesUnread(newest, state.value.me.id, details.missed);
    let page = whole ? newest : await fetchUnread(chatId, details);
    const room = state.value.rooms.get(chatId);
    if (stays && page[0]?.messageId > room?.last + 1) {
      page = await wire.request("messages", { chatId, startId: room.last + 1, count: LARGEST_PAGE });
    }
    batch(() => {
      change((now) => {
        const next = model.setDetails(now, details);
        const room = next.rooms.get(chatId);
        // While one reads far back, the newest page would tear the view away.
        if (room?.loaded && jumped.has(chatId)) return next;
        return model.addPage(next, chatId, page, { reachesStart: page === newest && !page.more });
      });
    });
    if (!model.atEnd(state.value, chatId)) jumped.add(chatId);
    verified.add(chatId);
    shown.add(chatId);
  } catch (failure) {
    // An address may hold what cannot be an id at all.
    if (failure.code === "not_found" || failure.code === "bad_request") await beginChat(chatId).catch(report);
    else report(failure);
  } finally {
    asked.delete(chatId);
    setLoading(chatId, false);
  }
}

/** There is no such chat: with a person one has not written to yet it begins, any other is that of an old link. */
async function beginChat(chatId) {
  const isPerson = (one) => one.id === chatId;
  if (state.value.people.has(chatId) || (await findPeople(chatId.slice(0, LONGEST_NAME_QUERY))).some(isPerson)) {
    change((now) => model.addPage(now, chatId, [], { reachesStart: true }));
  } else if (route.value.chatId === chatId) {
    closeChat();
    tell(t("chat.gone"), true);
  }
}

/** Messages from before the first unread one on, as far as a page goes: one reads on from there. */
async function fetchUnread(chatId, { lastMessageId, missed }) {
  // One's own messages, edits and deletions take ids as well: the first unread message is here or further up.
  const startId = Math.max(1, lastMessageId - missed + 1 - READ_BEFORE);
  let page = await wire.request("messages", { chatId, startId, count: LARGEST_PAGE });
  while (page.length > 0 && !model.reachesUnread(page, state.value.me.id, missed)) {
    const before = await wire.request("messages", { chatId, endId: page[0].messageId, count: LARGEST_PAGE });
    if (before.length === 0) break;
    page = [...before, ...page];
  }
  return page;
}

async function refreshDetails() {
  const { chatId } = route.value;
  if (!chatId || !state.value.chats.has(chatId) || !wire) return;
  try {
    const details = await wire.request("chat", { chatId });
    change((now) => model.setDetails(now, details));
  } catch (failure) {
    if (failure.code !== "not_found") report(failure);
  }
}

const paging = new Set();

/** Fetch the page before what is loaded. */
export async function loadOlder(chatId) {
  const room = state.value?.rooms.get(chatId);
  if (!room?.loaded || room.atStart || paging.has(chatId) || !room.first) return;
  paging.add(chatId);
  try {
    const page = await wire.request("messages", { chatId, endId: room.first, count: NEXT_PAGE });
    change((now) => {
      if (now.rooms.get(chatId)?.first !== room.first) return now;
      return model.addPage(now, chatId, page, { reachesStart: !page.more });
    });
  } catch (failure) {
    report(failure);
  } finally {
    paging.delete(chatId);
  }
}

/** Fetch the page after what is loaded: one had jumped far back. */
export async function loadNewer(chatId) {
  const room = state.value?.rooms.get(chatId);
  if (!room?.loaded || model.atEnd(state.value, chatId) || paging.has(chatId)) return;
  paging.add(chatId);
  try {
    const page = await wire.request("messages", { chatId, startId: room.last + 1, count: NEXT_PAGE });
    change((now) => (now.rooms.get(chatId)?.last === room.last ? model.addPage(now, chatId, page) : now));
  } catch (failure) {
    report(failure);
  } finally {
    paging.delete(chatId);
  }
}

let targetSerial = 0;

/** Show one message of a chat, loading around it when it is far away. */
export async function showMessage(chatId, messageId) {
  const loaded = model.find(state.value.rooms.get(chatId), messageId);
  if (!loaded) {
    try {
      let startId = Math.max(1, messageId - 40);
      let page = await wire.request("messages", { chatId, startId, count: 100 });
      if (page.more && page.at(-1).messageId < messageId) {
        // What comes before it fills a page already.
        startId = messageId;
        page = await wire.request("messages", { chatId, startId, count: 100 });
      }
      change((now) => model.addPage(now, chatId, page, { reset: true, reachesStart: startId === 1 }));
      if (!model.atEnd(state.value, chatId)) jumped.add(chatId);
    } catch (failure) {
      report(failure);
      return;
    }
  }
  targetSerial += 1;
  target.value = { chatId, messageId, serial: targetSerial };
}

/** Back to the newest message. */
export async function showNewest(chatId) {
  jumped.delete(chatId);
  change((now) => model.trim(now, chatId, KEPT_IN_MEMORY));
  if (!model.atEnd(state.value, chatId)) {
    try {
      const page = await wire.request("messages", { chatId, count: FIRST_PAGE });
      change((now) => model.addPage(now, chatId, page, { reset: true, reachesStart: !page.more }));
    } catch (failure) {
      report(failure);
    }
  }
}

/** In a flood, one mark for many messages: the first at once, the next not before this many ms. */
const READ_AGAIN = 150;

const readSent = new Map();
const readWaiting = new Map();
let readTimer;

/** The person has seen a chat up to this message. Called only while the window is active. */
export function markRead(chatId, messageId) {
  const chat = state.value?.chats.get(chatId);
  if (!(chat?.missed > 0) || Math.max(readSent.get(chatId) ?? 0, readWaiting.get(chatId) ?? 0) >= messageId) return;
  readWaiting.set(chatId, messageId);
  if (readTimer === undefined) sendReadMarks();
}

/** Send what waits for its turn. */
export function sendReadMarks() {
  clearTimeout(readTimer);
  readTimer = readWaiting.size > 0 ? setTimeout(sendReadMarks, READ_AGAIN) : undefined;
  for (const [chatId, messageId] of readWaiting) {
    readSent.set(chatId, messageId);
    change((now) => model.readHere(now, chatId, messageId));
    wire?.request("read", { chatId, messageId }).then(
      (answer) => {
        change((now) => model.readHere(now, chatId, messageId, answer.missed));
        tabs?.postMessage({ kind: "read", chatId, messageId, missed: answer.missed });
      },
      (failure) => {
        readSent.delete(chatId);
        report(failure);
      },
    );
  }
  readWaiting.clear();
}

// ---------------------------------------------------------------- writing

/** A random id; crypto.randomUUID is missing where the page came over plain http. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

function put(row) {
  change((now) => model.enqueue(now, row));
  storage?.saveOutbox(row);
  // The files themselves stay with the tab that sends them.
  const files = row.files?.map(({ name, size, type }) => ({ name, size, type }));
  tabs?.postMessage({ kind: "queued", row: { ...row, files } });
  pump();
}

/** Send text, files (File[]) or both. */
export function send(chatId, { text = "", files = [], replyTo } = {}) {
  const message = text.trim();
  if (!message && files.length === 0) return;
  const quoted = replyTo && {
    messageId: replyTo.messageId,
    clientMessageId: replyTo.clientMessageId,
    message: replyTo.message,
    sender: replyTo.sender,
    createdAt: replyTo.createdAt,
  };
  const row = {
    kind: "new",
    clientMessageId: randomId(),
    chatId,
    message,
    replyTo: quoted,
    createdAt: Date.now(),
    state: "queued",
  };
  if (files.length > 0) {
    row.files = files.map((file) => ({ blob: file, name: file.name, type: file.type, size: file.size, ...file.shape }));
  }
  put(row);
}

/** Change the text of one's own message. */
export function edit(chatId, originalMessageId, message) {
  put({ kind: "edit", clientMessageId: randomId(), chatId, originalMessageId, message: message.trim(), createdAt: Date.now(), state: "queued" });
}

/** Delete a message for everybody. */
export function remove(chatId, originalMessageId) {
  put({ kind: "delete", clientMessageId: randomId(), chatId, originalMessageId, createdAt: Date.now(), state: "queued" });
}

/** Try a failed row once more. */
export function retry(clientMessageId) {
  change((now) => model.patchOutbox(now, clientMessageId, { state: "queued", error: undefined }));
  tabs?.postMessage({ kind: "patched", clientMessageId, change: { state: "queued", error: undefined } });
  pump();
}

/** Give a waiting row up. */
export function discard(clientMessageId) {
  forget(clientMessageId);
  change((now) => model.dropOutbox(now, clientMessageId));
  tabs?.postMessage({ kind: "dropped", clientMessageId });
}

function forget(clientMessageId) {
  storage?.dropOutbox(clientMessageId);
  setProgress(clientMessageId, undefined);
  inFlight.delete(clientMessageId);
}

function fail(row, failure) {
  inFlight.delete(row.clientMessageId);
  setProgress(row.clientMessageId, undefined);
  const patch = { state: "failed", error: failure.code };
  change((now) => model.patchOutbox(now, row.clientMessageId, patch));
  storage?.saveOutbox({ ...row, ...patch });
  announce(`${t("message.failed")}. ${explain(failure)}`);
}

/** Another tab closed: the files it had to send are on the disk, and go out from here. Twice the same is sent once. */
async function adoptFiles() {
  const kept = new Map(((await storage?.loadOutbox()) ?? []).map((row) => [row.clientMessageId, row]));
  for (const { clientMessageId, files } of state.value?.outbox ?? []) {
    const row = kept.get(clientMessageId);
    if (!row || !files || files.every((file) => file.blob)) continue;
    const { files: whole, attachments } = row;
    change((now) => model.patchOutbox(now, clientMessageId, { files: whole ?? files, attachments }));
  }
  pump();
}

/** The page goes away: what it has still to send is for the other tabs. */
export function handOver() {
  tabs?.postMessage({ kind: "closing" });
}

/** Whether a waiting message is being sent just now. */
export function isInFlight(clientMessageId) {
  return inFlight.has(clientMessageId);
}

/** Send what waits. The order within a chat is the order of writing; only an upload lets others pass. */
function pump() {
  if (connection.value.name !== "live" || !state.value) return;
  for (const row of state.value.outbox) {
    if (row.state !== "queued" || inFlight.has(row.clientMessageId)) continue;
    if (row.files && !row.attachments) {
      if (uploadsRunning >= UPLOADS_AT_ONCE || !row.files.every((file) => file.blob)) continue;
      inFlight.add(row.clientMessageId);
      uploadAll(row);
    } else {
      inFlight.add(row.clientMessageId);
      transmit(row);
    }
  }
}

function payloadOf(row) {
  const { chatId, clientMessageId } = row;
  if (row.kind === "delete") return { chatId, clientMessageId, originalMessageId: row.originalMessageId };
  if (row.kind === "edit") {
    return { chatId, clientMessageId, originalMessageId: row.originalMessageId, message: row.message };
  }
  const payload = { chatId, clientMessageId };
  if (row.message) payload.message = row.message;
  if (row.attachments) payload.attachments = row.attachments;
  if (row.replyTo) payload.replyTo = row.replyTo.messageId;
  return payload;
}

async function transmit(row) {
  try {
    const answer = await wire.request(row.kind, payloadOf(row));
    const done = { ...row, files: undefined };
    change((now) => model.sent(now, done, answer));
    tabs?.postMessage({ kind: "sent", row: done, answer });
    forget(row.clientMessageId);
  } catch (failure) {
    if (failure.code === "rate_limited" || failure.code === "unavailable") {
      setTimeout(() => {
        inFlight.delete(row.clientMessageId);
        pump();
      }, failure.retryAfter ?? 3_000);
      return;
    }
    fail(row, failure);
  }
}

function setProgress(clientMessageId, progress) {
  const next = new Map(uploads.value);
  if (progress === undefined) next.delete(clientMessageId);
  else next.set(clientMessageId, progress);
  uploads.value = next;
}

const running = new Map();

async function uploadAll(row) {
  uploadsRunning += 1;
  const total = row.files.reduce((sum, file) => sum + file.size, 0) || 1;
  let done = 0;
  try {
    const attachments = [];
    for (const file of row.files) {
      attachments.push(
        await upload(file, (loaded) => setProgress(row.clientMessageId, (done + loaded) / total), (request) =>
          running.set(row.clientMessageId, request),
        ),
      );
      done += file.size;
    }
    const ready = { ...row, attachments };
    if (!state.value.outbox.some((one) => one.clientMessageId === row.clientMessageId)) return;
    change((now) => model.patchOutbox(now, row.clientMessageId, { attachments }));
    storage?.saveOutbox({ ...ready, files: undefined });
    await transmit(ready);
  } catch (failure) {
    if (failure.code === "aborted") return;
    if (failure.code === "connection_lost") {
      // Left in the queue: it goes again when there is a connection.
      inFlight.delete(row.clientMessageId);
      setTimeout(pump, 3_000);
    } else {
      fail(row, failure);
    }
  } finally {
    running.delete(row.clientMessageId);
    uploadsRunning -= 1;
    setTimeout(pump, 0);
  }
}

/** Stop an upload and forget its message. */
export function cancelUpload(clientMessageId) {
  running.get(clientMessageId)?.abort();
  discard(clientMessageId);
}

/** One file to the relay, with progress in bytes; fetch cannot tell how far an upload is. */
function upload(file, onProgress, onStart) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    onStart?.(request);
    request.open("POST", "/files");
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.setRequestHeader("Content-Disposition", `attachment; filename*=UTF-8''${percentEncoded(file.name)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      const answer = request.response;
      if (request.status >= 200 && request.status < 300 && answer) {
        resolve(withShape(answer, file));
      } else {
        const said = answer?.error?.code ?? { 413: "too_large", 507: "storage_full" }[request.status] ?? "internal";
        // One's own room is used up, and not the relay's disk (PROTOCOL.md, section 2).
        const code = said === "storage_full" && answer?.error?.quota !== undefined ? "quota_full" : said;
        reject(new RequestError(code, answer?.error?.message, answer?.error?.retryAfter));
      }
    };
    request.onabort = () => reject(new RequestError("aborted", "The upload was stopped."));
    request.onerror = () => reject(new RequestError("connection_lost", "The upload broke off."));
    request.send(file.blob);
  });
}

/** RFC 8187's ext-value: what encodeURIComponent leaves alone and the grammar does not. */
function percentEncoded(name) {
  return encodeURIComponent(name).replace(/['()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Width, height and length as the browser measured them, where the relay did not. */
function withShape(attachment, file) {
  if (!file.width || attachment.meta?.width) return attachment;
  const { width, height, duration } = file;
  const meta = { ...attachment.meta, width, height };
  if (attachment.type === "video" && duration) meta.duration ??= duration;
  return attachment.type === "file" ? attachment : { ...attachment, meta };
}

/** A picture for oneself or a group: uploaded, the address of it. */
export async function uploadPhoto(file) {
  const attachment = await upload({ blob: file, name: file.name, type: file.type, size: file.size }, () => {});
  return attachment.url;
}

/** The address of a file that waits in the outbox, for a preview. */
export function previewUrl(blob) {
  if (!blobUrls.has(blob)) blobUrls.set(blob, URL.createObjectURL(blob));
  return blobUrls.get(blob);
}

let typedAt = 0;
let typedIn = null;

/** Called at each change of the text: tells the others, now and then. */
export function typing(chatId, hasText) {
  const type = state.value.chats.get(chatId)?.type;
  if (!type || type === "favorites" || type === "channel") return;
  if (!hasText) {
    if (typedIn === chatId) wire.notify("typing", { chatId, stop: true });
    typedIn = null;
    typedAt = 0;
  } else if (typedIn !== chatId || Date.now() - typedAt > TYPING_EVERY) {
    typedIn = chatId;
    typedAt = Date.now();
    wire.notify("typing", { chatId });
  }
}

/** The message went out: the relay ends the typing itself. */
export function typingDone() {
  typedIn = null;
  typedAt = 0;
}

/** Keep what is being written. */
export function keepDraft(chatId, text) {
  if ((state.value?.drafts.get(chatId) ?? "") === text) return;
  change((now) => model.setDraft(now, chatId, text));
  storage?.saveDraft(chatId, text);
  tabs?.postMessage({ kind: "draft", chatId, text });
}

/** A page that goes away has no time left for the disk: what stands in the field is put where that takes none. */
export function keepLastWords(chatId, text) {
  // Who was signed out by another tab leaves nothing behind, here either.
  if (!remembered()) return;
  try {
    localStorage.setItem("lastWords", JSON.stringify({ userId: session.value?.id, chatId, text }));
  } catch {
    // The draft of a moment before is on the disk.
  }
}

/** What stood in the field when the page went away; it is told once. */
function takeLastWords() {
  try {
    const words = JSON.parse(localStorage.getItem("lastWords") ?? "null");
    localStorage.removeItem("lastWords");
    return words;
  } catch {
    return null;
  }
}

// ---------------------------------------------------------------- requests of the panels

/** Ask the relay; for panels that show the answer or the failure themselves. */
export function request(payloadType, payload, options) {
  if (!wire) return Promise.reject(new RequestError("connection_lost", "Signed out."));
  return wire.request(payloadType, payload, options);
}

/** People of the relay whose name matches. */
export async function findPeople(query, after) {
  const found = await request("users", { query: query || undefined, count: 100, after });
  change((now) => model.learnPeople(now, found));
  return found;
}

/** Make a group or channel and open it. */
export async function createChat({ type, name, participants, photoUrl }) {
  const chat = await request("createChat", { type, name, participants, photoUrl }, { repeat: false });
  change((now) => model.setDetails(now, chat));
  openChat(chat.chatId);
}

/** Change a group: the answer is the chat as it is now. */
export async function changeChat(payloadType, payload) {
  const chat = await request(payloadType, payload);
  change((now) => model.setDetails(now, chat));
}

/** Leave or delete a chat; it is gone from the list with the `chats` event, which may come before the answer. */
export async function endChat(payloadType, chatId) {
  ending.add(chatId);
  try {
    await request(payloadType, { chatId });
  } finally {
    ending.delete(chatId);
  }
  if (route.value.chatId === chatId) closeChat();
  refreshChats();
}

/** Change one's own name or picture. */
export async function changeProfile(changes) {
  const profile = await request("profile", changes);
  const me = { ...session.value, name: profile.name };
  remember(me);
  session.value = me;
  change((now) => model.learnPeople({ ...now, me }, [profile]));
}
