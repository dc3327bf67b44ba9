/** The messages found by a search, with the matches marked; loaded on the first hit. */
import { openChat } from "../actions/rooms.js";
import { state } from "../signals.js";
import { formatFull, formatShort, t, today } from "../i18n/i18n.js";
import { excerpt, partsFound } from "../model/found.js";
import { tellOf } from "../model/state.js";
import { oneLine } from "../model/text.js";
import { chatLabel, chatName, Row, Said } from "./chatlist.js";
import { Avatar, html, Name } from "./parts.js";

/** A search hit: a name, then the text with the found words marked. */
class Hit extends Row {
  render({ chatId, messageId, createdAt, chat, label, author, text, query }) {
    return html`<li>
      <button type="button" class="chat-row hit" onClick=${() => openChat(chatId, { messageId, mark: marker(query) })}>
        <${Avatar} id=${chatId} name=${chat ? chatName(chat) : chatId} url=${chat?.photoUrl} type=${chat?.type} />
        <span class="chat-row-text">
          <span class="chat-row-top"><span class="chat-row-name"><${Name} text=${label} /></span>
            <time class="chat-row-time" title=${formatFull(createdAt)}>${formatShort(createdAt)}</time></span>
          <span class="chat-row-bottom"><span class="chat-row-last"><span class="chat-row-author"><${Name} text=${author} />:</span>
            ${" "}<${Said}><${Marked} text=${text} query=${query} /></${Said}></span></span>
        </span>
      </button>
    </li>`;
  }
}

/** Return a function that splits a text into parts; every second part matches the query. */
export const marker = (query) => (text) => partsFound(text, [query.trim()]);

/** A text with the searched words marked; it starts near the first of them. */
export function Marked({ text, query }) {
  const words = query.trim().split(/\s+/).filter(Boolean);
  return excerpt(text, words).map((part, index) => (index % 2 === 1 ? html`<mark>${part}</mark>` : part));
}

/** All hits, from `presentHits`. */
export function Hits({ said, query }) {
  const now = state.value;
  return html`<h2 class="section">${t("search.messages")}</h2>
    <ul class="rows">${said.map((hit) => {
      const chat = now.chats.get(hit.chatId);
      return html`<${Hit} key=${`${hit.chatId}/${hit.messageId}`} chatId=${hit.chatId} messageId=${hit.messageId} createdAt=${hit.createdAt}
        chat=${chat} label=${chat ? chatLabel(now, chat) : hit.chatId} text=${oneLine(hit.message)} query=${query} today=${today.value}
        author=${hit.sender === now.me.id ? t("message.you") : tellOf(now, hit.sender)} />`;
    })}</ul>`;
}
