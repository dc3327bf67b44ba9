/** The list of chats, newest first, with the search that also finds messages. */
import { Component } from "preact";
import { openPanel } from "../actions/navigation.js";
import { lossText, report } from "../actions/notices.js";
import { openChat } from "../actions/rooms.js";
import { request } from "../actions/store.js";
import { LONGEST_QUERY, chats, dialog, route, session, state } from "../signals.js";
import { formatFull, formatList, formatNumber, formatShort, t, today } from "../i18n/i18n.js";
import { deliveryState, draftOf, tellOf } from "../model/state.js";
import { fold, isSearchable, oneLine, partsFound } from "../model/text.js";
import { Avatar, Bot, html, Icon, IconButton, Ticks } from "./parts.js";

/** Rows drawn at first; scrolling adds more. */
const FIRST_ROWS = 40;
const SEARCH_AFTER = 250;
const HITS = 40;

/** Say who is typing, as a sentence. */
export function typingText(now, chatId) {
  const typists = now.typing.get(chatId);
  if (!typists) return null;
  if (now.chats.get(chatId)?.type === "dialog") return t("typing.one");
  const names = [...typists.keys()].map((id) => tellOf(now, id));
  return t("typing.many", { names: formatList(names.slice(0, 3)), count: names.length });
}

/** Give the shown name of a chat: the user's notes have none of their own. */
export function chatName(chat) {
  return chat.type === "favorites" ? t("chat.favorites") : chat.name;
}

/** Give the shown name of a chat where a look-alike name may stand beside it. */
export function chatLabel(now, chat) {
  return chat.type === "dialog" ? tellOf(now, chat.id) : chatName(chat);
}

/** Name an attachment of a message without text. */
function attachmentText(type) {
  if (type === "image") return t("message.image");
  if (type === "video") return t("message.video");
  return type ? t("message.file") : t("message.attachment");
}

class ChatRow extends Component {
  shouldComponentUpdate(next) {
    for (const key of Object.keys(next)) if (next[key] !== this.props[key]) return true;
    return false;
  }

  render({ chat, label, online, typing, draft, waiting, open, author }) {
    const name = chatName(chat);
    const time = waiting?.createdAt ?? (chat.lastMessageId > 0 ? chat.lastMessageTime : 0);
    return html`<li>
      <a
        class="chat-row ${open ? "is-open" : ""} ${chat.missed > 0 ? "is-unread" : ""}"
        href="#chat=${encodeURIComponent(chat.id)}"
        aria-current=${open ? "page" : undefined}
        data-chat=${chat.id}
        onClick=${(event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          openChat(chat.id);
        }}
      >
        <${Avatar} id=${chat.id} name=${name} url=${chat.photoUrl} type=${chat.type} presence=${chat.type === "dialog" ? online : undefined} />
        <span class="chat-row-text">
          <span class="chat-row-top">
            ${chat.type === "group" || chat.type === "channel" ? html`<${Icon} name=${chat.type} />` : null}
            <span class="chat-row-name" dir="auto">${label}</span>
            <${Bot} userId=${chat.id} />
            ${chat.isMine && !waiting && !chat.gone && chat.lastMessageStatus !== "deleted" && chat.type !== "favorites" && chat.lastMessageId > 0
              ? html`<${Ticks} name=${deliveryState({ status: chat.lastMessageStatus })} />`
              : null}
            ${waiting ? html`<${Ticks} name=${waiting.state} />` : null}
            ${time ? html`<time class="chat-row-time" title=${formatFull(time)}>${formatShort(time)}</time>` : null}
          </span>
          <span class="chat-row-bottom">
            <span class="chat-row-last" dir="auto"><${Last} chat=${chat} typing=${typing} draft=${draft} waiting=${waiting} open=${open} author=${author} /></span>
            ${online && chat.type === "dialog" ? html`<span class="hidden">${t("presence.online")}</span>` : null}
            ${chat.missed > 0
              ? html`<span class="badge"><span aria-hidden="true">${chat.missed > 99 ? "99+" : formatNumber(chat.missed)}</span>
                  <span class="hidden">${t("chat.unread", { count: chat.missed })}</span></span>`
              : null}
          </span>
        </span>
      </a>
    </li>`;
  }
}

function Last({ chat, typing, draft, waiting, open, author }) {
  if (chat.gone) return html`<em>${lossText(chat)}</em>`;
  if (typing) return html`<em class="is-typing">${typing}</em>`;
  if (draft && !open) return html`<span class="is-draft">${t("chat.draft")}</span> ${oneLine(draft)}`;
  if (waiting) return oneLine(waiting.message) || attachmentText("file");
  if (chat.lastMessageStatus === "deleted") return html`<em>${t("message.deleted")}</em>`;
  if (!(chat.lastMessageId > 0)) return html`<em>${t("chat.noMessages")}</em>`;
  const text = oneLine(chat.lastMessageText) || attachmentText(chat.attachmentType);
  if (chat.type === "dialog" || chat.type === "favorites" || !author) return text;
  return html`<span class="chat-row-author">${author}:</span> ${text}`;
}

/** A search hit: a name, then the text with the found words marked. */
function Hit({ hit, words }) {
  const now = state.value;
  const chat = now.chats.get(hit.chatId);
  const name = chat ? chatName(chat) : hit.chatId;
  const author = hit.sender === now.me.id ? t("message.you") : tellOf(now, hit.sender);
  return html`<li>
    <button type="button" class="chat-row hit" onClick=${() => openChat(hit.chatId, { messageId: hit.messageId })}>
      <${Avatar} id=${hit.chatId} name=${name} url=${chat?.photoUrl} type=${chat?.type} />
      <span class="chat-row-text">
        <span class="chat-row-top"><span class="chat-row-name" dir="auto">${chat ? chatLabel(now, chat) : name}</span>
          <time class="chat-row-time" title=${formatFull(hit.createdAt)}>${formatShort(hit.createdAt)}</time></span>
        <span class="chat-row-bottom"><span class="chat-row-last" dir="auto">
          <span class="chat-row-author">${author}:</span> <${Marked} text=${oneLine(hit.message)} words=${words} /></span></span>
      </span>
    </button>
  </li>`;
}

/** A text with the searched words marked; it starts near the first of them. */
export function Marked({ text, words }) {
  const [first, ...others] = partsFound(text, words);
  const shown = others.length > 0 && first.length > 20 ? `…${first.slice(-12)}` : first;
  return [shown, ...others].map((part, index) => (index % 2 === 1 ? html`<mark>${part}</mark>` : part));
}

/** The column of chats. */
export class ChatList extends Component {
  state = { rows: FIRST_ROWS, query: "", hits: null, failed: null };

  onScroll = (event) => {
    const { scrollTop, clientHeight, scrollHeight } = event.currentTarget;
    if (scrollTop + clientHeight * 2 > scrollHeight && this.state.rows < chats.value.length) {
      this.setState({ rows: this.state.rows + FIRST_ROWS });
    }
  };

  onQuery = (event) => {
    const query = event.currentTarget.value;
    this.setState({ query, failed: null, hits: query.trim() ? this.state.hits : null });
    clearTimeout(this.timer);
    if (!isSearchable(query)) return this.setState({ hits: null });
    this.timer = setTimeout(() => this.search(query.trim()), SEARCH_AFTER);
  };

  async search(query) {
    this.serial = (this.serial ?? 0) + 1;
    const mine = this.serial;
    try {
      const hits = await request("search", { query, count: HITS });
      if (mine === this.serial) this.setState({ hits, failed: null });
    } catch (failure) {
      if (mine === this.serial) this.setState({ hits: null, failed: failure });
      report(failure);
    }
  }

  clear = () => {
    this.serial = (this.serial ?? 0) + 1;
    clearTimeout(this.timer);
    this.setState({ query: "", hits: null, failed: null });
  };

  onKey = (event) => {
    if (event.key === "Escape" && this.state.query) {
      event.preventDefault();
      event.stopPropagation();
      this.clear();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      this.step(event, event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && event.target.type === "search") {
      this.list.querySelector(".chat-row")?.click();
    }
  };

  step(event, by) {
    if (event.altKey) return;
    const rows = [...this.list.querySelectorAll(".chat-row")];
    const at = rows.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : -1) : at + by;
    if (next < 0) this.field.focus();
    else rows[next]?.focus();
    event.preventDefault();
  }

  render({ hidden }, { rows, query, hits }) {
    const now = state.value;
    const open = route.value.chatId;
    const wanted = fold(query).trim();
    const words = query.trim().split(/\s+/).filter(Boolean);
    const all = chats.value;
    const found = wanted ? all.filter((chat) => fold(chatName(chat)).includes(wanted)) : all;
    const waiting = new Map(now.outbox.filter((row) => row.kind === "new").map((row) => [row.chatId, row]));
    return html`<section class="chat-list" hidden=${hidden} aria-label=${t("list.title")} onKeyDown=${this.onKey}>
      <header class="bar">
        <button type="button" class="me" aria-label=${t("settings.title")} title=${t("settings.title")} onClick=${() => openPanel("settings")}>
          <${Avatar} id=${session.value.id} name=${session.value.name} url=${now.people.get(session.value.id)?.avatarUrl} size="s" />
        </button>
        <label class="search">
          <${Icon} name="search" />
          <input type="search" ref=${(element) => (this.field = element ?? this.field)} value=${query} maxlength=${LONGEST_QUERY} placeholder=${t("search.placeholder")} aria-label=${t("search.placeholder")} onInput=${this.onQuery} autocomplete="off" enterkeyhint="search" />
          ${query ? html`<${IconButton} icon="close" label=${t("search.clear")} onClick=${this.clear} />` : null}
        </label>
        <${IconButton} icon="compose" label=${t("list.new")} class="is-accent" onClick=${() => openPanel("newchat")} />
      </header>
      <div class="scroll" onScroll=${this.onScroll} ref=${(element) => (this.list = element ?? this.list)}>
        ${wanted && found.length > 0 ? html`<h2 class="section">${t("search.chats")}</h2>` : null}
        <ul class="rows">
          ${found.slice(0, rows).map((chat) => html`<${ChatRow}
            key=${chat.id} chat=${chat} label=${chatLabel(now, chat)} online=${now.online.has(chat.id)} typing=${typingText(now, chat.id)}
            draft=${draftOf(now, chat.id)} waiting=${waiting.get(chat.id)} open=${open === chat.id} today=${today.value}
            author=${chat.lastMessageAuthor ? (chat.isMine ? t("message.you") : tellOf(now, chat.lastMessageAuthor)) : ""}
          />`)}
        </ul>
        ${hits?.length > 0
          ? html`<h2 class="section">${t("search.messages")}</h2>
              <ul class="rows">${hits.map((hit) => html`<${Hit} key=${`${hit.chatId}/${hit.messageId}`} hit=${hit} words=${words} />`)}</ul>`
          : null}
        ${wanted && found.length === 0 && hits?.length === 0 ? html`<p class="none">${t("search.none", { query })}</p>` : null}
        ${!wanted && all.length === 0 ? html`<${Empty} />` : null}
      </div>
    </section>`;
  }
}

function Empty() {
  return html`<div class="empty">
    <p class="empty-title">${t("empty.title")}</p>
    <p>${t("empty.text")}</p>
    <button type="button" class="button" onClick=${() => openPanel("newchat")}>${t("empty.write")}</button>
    ${session.value.admin
      ? html`<button type="button" class="button is-quiet" onClick=${() => (dialog.value = { name: "invite" })}>${t("empty.invite")}</button>`
      : null}
  </div>`;
}
