/** Groups, channels, the user's profile, and the language. */
import { closeChat } from "./navigation.js";
import { openChat } from "./rooms.js";
import { change, ending, refreshChats, reportLoading, request, runtime } from "./store.js";
import { language, useLanguage } from "../i18n/i18n.js";
import * as model from "../model/state.js";
import { changeSetting, route, session } from "../signals.js";
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
