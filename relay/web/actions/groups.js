/** Rare actions: groups, channels, the user's profile, the language, signing in and out. */
import { closeChat } from "./navigation.js";
import { report } from "./notices.js";
import { openChat } from "./rooms.js";
import { LONGEST_WITHIN, askSession, enter, leave } from "./session.js";
import { change, ending, refreshChats, reportLoading, request, runtime } from "./store.js";
import { language, useLanguage } from "../i18n/i18n.js";
import * as model from "../model/state.js";
import { RequestError, callRelay } from "../net/socket.js";
import { changeSetting, route, session, trouble } from "../signals.js";
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

/** Use the language that was picked, and keep it once it is there. */
export function pickLanguage({ currentTarget: list }) {
  const { value } = list;
  useLanguage(value).then(() => changeSetting({ language: value }), () => {
    list.value = language();
    reportLoading();
  });
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
  try {
    await callRelay("DELETE", "/session", { isOurs: (_, status) => status === 204 || status === 401 });
  } catch (failure) {
    if (failure.status !== 401) return report(failure);
  }
  runtime.storage?.tell({ kind: "signedOut", unsent: null });
  await leave(null);
}
