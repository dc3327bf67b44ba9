/** Rare actions: groups, channels, the user's profile, the language, signing in and out. */
import { computed } from "@preact/signals";
import { closeChat, openPanel } from "./navigation.js";
import { report, tell, untell } from "./notices.js";
import { openChat } from "./rooms.js";
import { LONGEST_WITHIN, askSession, enter, leave, noteOwnDeed } from "./session.js";
import { change, ending, refreshChats, request, runtime } from "./store.js";
import { LANGUAGES, language, preferredLanguage, t, useLanguage } from "../i18n/i18n.js";
import * as model from "../model/state.js";
import { RequestError, callRelay } from "../net/socket.js";
import { changeSetting, dialog, route, session, settings, trouble } from "../signals.js";
import { remember } from "../storage.js";

/** Make a group or channel and open it. */
export async function createChat({ type, name, participants, photoUrl }) {
  const chat = await request("createChat", { type, name, participants, photoUrl });
  change((now) => model.setDetails(now, chat));
  openChat(chat.chatId);
}

/** Change a group; the answer is the changed chat. */
export async function changeChat(payloadType, payload) {
  const chat = await request(payloadType, payload);
  change((now) => model.setDetails(now, chat));
}

/** Leave or delete a chat. The `chatGone` event removes it from the list, perhaps before the answer. */
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

/** Change the user's name or picture. */
export async function changeProfile(changes) {
  const profile = await request("profile", changes).catch((failure) => {
    throw failure.code === "conflict" ? Object.assign(failure, { code: "name_taken" }) : failure;
  });
  const me = { ...session.value, name: profile.name };
  remember(me);
  session.value = me;
  runtime.storage?.tell({ kind: "me", me: profile });
  change((now) => model.learnPeople({ ...now, me }, [profile]));
}

/** A language that could not be loaded within this many ms, or failed, is tried again after as many. */
const LANGUAGE_AGAIN = 30_000;
/** The code of the language that the user wants; the page may have another one until it can be loaded. */
export const wantedLanguage = computed(() => preferredLanguage(settings.value.language));
let languageTimer;

/** Load a language; each of the further `tries` has an address of its own, since browsers keep failures. */
function fetchLanguage(code, tries) {
  if (tries === 0) return import(`../i18n/${code}.js`);
  return import(`${import.meta.resolve(`../i18n/${code}.js`)}&again=${tries}`);
}

async function toLanguage(code, tries) {
  clearTimeout(languageTimer);
  const late = new Promise((_, reject) => setTimeout(reject, LANGUAGE_AGAIN));
  try {
    await useLanguage(code, Promise.race([fetchLanguage(code, tries), late]));
  } catch {
    if (code !== wantedLanguage.value) return;
    if (tries === 0) tell(t("settings.noLanguage", { name: LANGUAGES[code] }), { error: true });
    languageTimer = setTimeout(toLanguage, LANGUAGE_AGAIN, code, tries + 1);
  }
}

let following;

/** Keep the page in the language that the user wants, also when another tab changes it. */
export function followLanguage() {
  // At first the page may have it already.
  following ??= wantedLanguage.subscribe((code) => (following || code !== language()) && toLanguage(code, 0));
}

/** Keep the language that was picked, and use it once it is there. */
export function pickLanguage({ currentTarget: list }) {
  followLanguage();
  changeSetting({ language: list.value });
}

/** Sign in with {invite}, {userId, password} or {name}, and the `label` of this device. Throws a RequestError. */
export async function signIn(credentials) {
  const answer = await callRelay("POST", "/session", {
    body: credentials,
    isOurs: ({ token }, status) => status === 401 || typeof token === "string",
    within: LONGEST_WITHIN,
  }).catch((failure) => {
    throw failure.code === "conflict" && credentials.name ? Object.assign(failure, { code: "name_taken" }) : failure;
  });
  const me = await askSession();
  if (!me) throw new RequestError("unauthorized", "The browser did not keep the session.");
  trouble.value = null;
  await enter(me);
  if (answer.chatId) openChat(answer.chatId);
  return answer;
}

/** Sign this device out and erase its data. */
export async function signOut() {
  // Before the relay closes the connections of this device.
  noteOwnDeed();
  runtime.storage?.tell({ kind: "signsOut" });
  try {
    await callRelay("DELETE", "/session", { isOurs: (_, status) => status === 204 || status === 401 });
  } catch (failure) {
    if (failure.status !== 401) return report(failure);
  }
  runtime.storage?.tell({ kind: "signedOut", unsent: null });
  await leave(null);
}

/** Say that a new device signed in: this reveals a stolen invite or password. */
export function noticeDevice({ label }) {
  tell(t("devices.new", { label: label || t("devices.unnamed") }), {
    error: true,
    lasts: 60_000,
    action: t("devices.show"),
    onAction: () => {
      untell();
      dialog.value = null;
      openPanel("settings");
    },
  });
}
