/** The people who are drawn without a name. Pure; loaded after the first screen. */
import { isNamed, sortedChats } from "./state.js";

/**
 * Ids of people whose unknown names are drawn: authors in the list, people with a draft, typists, and authors of
 * messages and quotes, the top of the list first. With the previous state, only those of changed parts.
 */
export function strangersOf(state, before) {
  const found = new Set();
  const look = (id) => id && !isNamed(state, id) && found.add(id);
  if (state.chats !== before?.chats) {
    for (const chat of sortedChats(state)) {
      if (chat === before?.chats.get(chat.id)) continue;
      look(chat.lastMessageAuthor);
      look(chat.gone?.by);
    }
  }
  if (state.listed === null && (state.drafts !== before?.drafts || before?.listed !== null)) {
    for (const id of state.drafts.keys()) if (!id.includes("/") && !state.chats.has(id)) look(id);
  }
  if (state.typing !== before?.typing) for (const typists of state.typing.values()) for (const id of typists.keys()) look(id);
  for (const [chatId, { messages }] of state.rooms) {
    const known = before?.rooms.get(chatId)?.messages;
    if (messages === known) continue;
    // The messages between the former ends were checked then.
    const [first, last] = [known?.[0]?.messageId ?? Infinity, known?.at(-1)?.messageId ?? 0];
    const lookAt = (message) => {
      look(message.sender);
      look(message.replyTo?.sender);
    };
    let at = messages.length - 1;
    for (; at >= 0 && messages[at].messageId > last; at -= 1) lookAt(messages[at]);
    for (let early = 0; early <= at && messages[early].messageId < first; early += 1) lookAt(messages[early]);
  }
  return [...found];
}
