/** The list of chats, newest first, with the search that also finds messages. */
import { Component } from "preact";
import { openPanel } from "../actions/navigation.js";
import { lossText } from "../actions/notices.js";
import { openChat } from "../actions/rooms.js";
import { findPeople, refreshChats, request } from "../actions/store.js";
import { LONGEST_NAME_QUERY, LONGEST_QUERY, chats, dialog, route, session, state, trouble, unfetched } from "../signals.js";
import { formatFull, formatList, formatNumber, formatShort, t, today } from "../i18n/i18n.js";
import { messageOf } from "../model/messages.js";
import { deliveryState, draftOf, isListed, isNamed, presenceOf, tellOf, typeOf } from "../model/state.js";
import { isSearchable, oneLine } from "../model/text.js";
import { Avatar, Bot, html, Icon, IconButton, lazy, Name, Ticks, TryAgain } from "./parts.js";

const Hits = lazy(() => import("./hits.js"), "Hits");

/** Rows drawn above and below the view, and how many of them are added in one frame. */
const BEYOND = 24;
const MORE_ROWS = 6;
/** Rows drawn before the height of the list is known. */
const FIRST_ROWS = 14;
/** The height of a row in px until one is drawn. */
const ROW_HEIGHT = 68;
const SEARCH_AFTER = 250;
const HITS = 40;
const PEOPLE = 20;
const NOTHING_FOUND = { hits: null, searched: "", found: null, failed: null, asking: false };

/** Say who is typing, as a sentence. */
export function typingText(now, chatId) {
  const typists = now.typing.get(chatId);
  if (!typists) return null;
  if (now.chats.get(chatId)?.type === "dialog") return t("typing.one");
  const names = [...typists.keys()].map((id) => tellOf(now, id));
  return t("typing.many", { names: formatList(names.slice(0, 3)), count: names.length });
}

/** Return the shown name of a chat: the user's notes have none of their own. */
export function chatName(chat) {
  return chat.type === "favorites" ? t("chat.favorites") : chat.name;
}

/** Return the shown name of a chat next to which a look-alike may be. */
export function chatLabel(now, chat) {
  return chat.type === "dialog" ? tellOf(now, chat.id) : chatName(chat);
}

/** The shown name of a chat that need not be in the list (yet). */
export function titleOf(now, chatId) {
  const type = typeOf(now, chatId);
  if (!type) return t("chat.loading");
  return chatLabel(now, { id: chatId, type, name: (now.chats.get(chatId) ?? now.details.get(chatId))?.name ?? chatId });
}

/** Name an attachment of a message without text. */
function attachmentText(type) {
  if (type === "image") return t("message.image");
  if (type === "video") return t("message.video");
  return type ? t("message.file") : t("message.attachment");
}

/** A row that is drawn again only when its properties have changed. */
export class Row extends Component {
  shouldComponentUpdate(next) {
    for (const key of Object.keys(next)) if (next[key] !== this.props[key]) return true;
    return false;
  }
}

class ChatRow extends Row {
  render({ chat, label, bot, presence, typing, draft, waiting, open, author }) {
    const name = chatName(chat);
    const time = waiting?.createdAt ?? (chat.lastMessageId > 0 ? chat.lastMessageTime : 0);
    return html`<a
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
      <${Avatar} id=${chat.id} name=${name} url=${chat.photoUrl} type=${chat.type} presence=${presence} />
      <span class="chat-row-text">
        <span class="chat-row-top">
          ${chat.type === "group" || chat.type === "channel" ? html`<${Icon} name=${chat.type} />` : null}
          <span class="chat-row-name"><${Name} text=${label} /></span>
          ${bot ? html`<${Bot} userId=${chat.id} />` : null}
          ${chat.isMine && !waiting && !chat.gone && chat.lastMessageStatus !== "deleted" && chat.type !== "favorites" && chat.lastMessageId > 0
            ? html`<${Ticks} name=${deliveryState({ status: chat.lastMessageStatus })} />`
            : null}
          ${waiting ? html`<${Ticks} name=${waiting.state} />` : null}
          ${time ? html`<time class="chat-row-time" title=${formatFull(time)}>${formatShort(time)}</time>` : null}
        </span>
        <span class="chat-row-bottom">
          <span class="chat-row-last"><${Last} chat=${chat} typing=${typing} draft=${draft} waiting=${waiting} open=${open} author=${author} /></span>
          ${presence === "online" ? html`<span class="hidden">${t("presence.online")}</span>` : null}
          ${chat.missed > 0
            ? html`<span class="badge"><span aria-hidden="true">${chat.missed > 99 ? "99+" : formatNumber(chat.missed)}</span>
                <span class="hidden">${t("chat.unread", { count: chat.missed })}</span></span>`
            : null}
        </span>
      </span>
    </a>`;
  }
}

function Last({ chat, typing, draft, waiting, open, author }) {
  if (chat.gone) return html`<em>${lossText(chat)}</em>`;
  if (typing) return html`<em class="is-typing">${typing}</em>`;
  if (draft && !open) return html`<${Draft} text=${draft} />`;
  if (waiting) return html`<${Said}>${oneLine(waiting.message) || attachmentText("file")}</${Said}>`;
  if (chat.lastMessageStatus === "deleted") return html`<em>${t("message.deleted")}</em>`;
  if (!(chat.lastMessageId > 0)) return html`<em>${t("chat.noMessages")}</em>`;
  const text = oneLine(chat.lastMessageText) || attachmentText(chat.attachmentType);
  const named = author && chat.type !== "dialog" && chat.type !== "favorites";
  return html`${named ? html`<span class="chat-row-author"><${Name} text=${author} />:</span> ` : null}<${Said}>${text}</${Said}>`;
}

function Draft({ text }) {
  return html`<span class="is-draft">${t("chat.draft")}</span> <${Said}>${oneLine(text)}</${Said}>`;
}

/** A user's text: in its own direction, cut at its end, and aligned with all other texts. */
export function Said({ children }) {
  return html`<span class="chat-row-said" dir="auto">${children}</span>`;
}

/** The current hits of a search: with later edits, without deleted messages. */
export function presentHits(now, hits) {
  return hits
    .map((hit) => ({ hit, known: messageOf(now, hit.chatId, hit.messageId) }))
    .filter(({ hit, known }) => known?.status !== "deleted" && !now.rooms.get(hit.chatId)?.deleted?.has(hit.messageId))
    .map(({ hit, known }) => (known && known.message !== hit.message ? { ...hit, message: known.message } : hit));
}

/** A person without a dialog yet, perhaps with a draft. */
class PersonRow extends Row {
  render({ person, label, presence, draft }) {
    return html`<li>
      <button type="button" class="chat-row" data-person=${person.id} onClick=${() => openChat(person.id)}>
        <${Avatar} id=${person.id} name=${person.name} url=${person.avatarUrl} presence=${presence} />
        <span class="chat-row-text">
          <span class="chat-row-top"><span class="chat-row-name"><${Name} text=${label} /></span> <${Bot} userId=${person.id} /></span>
          <span class="chat-row-bottom"><span class="chat-row-last">${draft ? html`<${Draft} text=${draft} />` : `@${person.username ?? person.id}`}</span></span>
        </span>
      </button>
    </li>`;
  }
}

/** The functions of model/folding.js; until they are loaded, only capitals are folded. */
let { fold, isCalled } = {
  fold: (text) => text.toLowerCase(),
  isCalled: (name, id, wanted) => `${name}\n${id}`.toLowerCase().includes(wanted),
};
let folding = null;

/** Describe the state of a search: under way, waiting for the relay, failed, or the text for `nothing` found. */
export function SearchState({ asking, failed, nothing, onTry }) {
  if (failed) return html`<${TryAgain} failure=${failed} onTry=${onTry} />`;
  if (asking && trouble.value) return html`<p class="none" role="status">${t("search.offline")}</p>`;
  if (asking) return html`<p class="none" role="status"><span class="spinner"></span> ${t("search.asking")}</p>`;
  return nothing ? html`<p class="none" role="status">${nothing}</p>` : null;
}

/**
 * Choose the rows to draw next, {from, to}, when rows `first` to `last` of `count` are in view: those in view at once,
 * and a few more on the side with fewer rows beyond the view. Returns the range of `drawn` when nothing is missing.
 */
export function nextRows(drawn, { first, last, count }) {
  const isFar = last < drawn.from || first > drawn.to;
  const from = isFar ? first : Math.min(drawn.from, first);
  const to = Math.min(count, isFar ? last : Math.max(drawn.to, last));
  const more = isFar || from < drawn.from || to > drawn.to ? 0 : MORE_ROWS;
  // In steps: otherwise every scrolled row would redraw the list.
  const top = Math.max(0, Math.floor((first - BEYOND) / MORE_ROWS) * MORE_ROWS);
  const bottom = Math.min(count, Math.ceil((last + BEYOND) / MORE_ROWS) * MORE_ROWS);
  const isDown = to < bottom && (from <= top || to - last <= first - from);
  return { from: Math.max(top, isDown ? from : from - more), to: Math.min(bottom, isDown ? to + more : to) };
}

/** The column of chats. */
export class ChatList extends Component {
  state = { from: 0, to: FIRST_ROWS, query: "", ...NOTHING_FOUND };
  rowHeight = ROW_HEIGHT;
  serial = 0;

  componentDidMount() {
    this.extendSoon();
  }

  componentDidUpdate({ hidden }, { from, to }) {
    const { props, state: drawn, listed, count } = this;
    if (from !== drawn.from || to !== drawn.to || listed.length !== count || hidden !== props.hidden) this.extendSoon();
    this.showOpen();
  }

  /** Scroll to the row of a chat opened by keys. */
  showOpen() {
    const { chatId } = route.value;
    if (chatId === this.shown) return;
    this.shown = chatId;
    const at = this.listed.findIndex((chat) => chat.id === chatId);
    const away = (at + 0.5) * this.rowHeight - this.list.scrollTop;
    if (at >= 0 && (away < 0 || away > this.list.clientHeight)) this.list.scrollTop += away - this.list.clientHeight / 2;
  }

  componentWillUnmount() {
    cancelAnimationFrame(this.extension);
  }

  /** Draw the rows in view in this frame, and those around them in the next ones. A scroll event comes before its frame. */
  extendSoon = () => (this.extension ||= requestAnimationFrame(this.extend));

  extend = () => {
    this.extension = 0;
    const { list, listed, state: drawn } = this;
    const { scrollTop, clientHeight } = list;
    this.count = listed.length;
    if (clientHeight === 0) return;
    const height = (this.rowHeight = list.querySelector("li > .chat-row")?.offsetHeight || this.rowHeight);
    const last = Math.min(listed.length, Math.ceil((scrollTop + clientHeight) / height));
    const { from, to } = nextRows(drawn, { first: Math.min(last, Math.floor(scrollTop / height)), last, count: listed.length });
    if (from !== drawn.from || to !== drawn.to) this.setState({ from, to });
  };

  onQuery = (event) => {
    const query = event.currentTarget.value;
    this.loadFolding();
    clearTimeout(this.timer);
    this.serial += 1;
    const wanted = query.trim() !== "";
    if (query !== this.state.query && this.list.scrollTop > 0) this.list.scrollTop = 0;
    const kept = isSearchable(query) ? {} : { hits: null };
    this.setState({ query, ...(wanted ? { ...kept, failed: null, asking: true } : NOTHING_FOUND) });
    // Do not search for a half-composed word.
    if (wanted && !event.isComposing) this.timer = setTimeout(() => this.search(query.trim()), SEARCH_AFTER);
  };

  /** Compare names as the relay's search does, once its table is here. */
  loadFolding() {
    folding ??= import("../model/folding.js").then((better) => {
      ({ fold, isCalled } = better);
      this.called = this.people = null;
      this.setState({});
    }, () => (folding = null));
  }

  async search(query) {
    this.serial += 1;
    const mine = this.serial;
    const take = (change) => mine === this.serial && this.setState(change);
    const byName = query.length <= LONGEST_NAME_QUERY ? findPeople(query) : Promise.resolve([]);
    const byText = isSearchable(query) ? request("search", { query, count: HITS }) : Promise.resolve([]);
    const [people, messages] = await Promise.allSettled([byName.then((found) => take({ found })), byText.then((hits) => take({ hits, searched: query }))]);
    if (mine !== this.serial) return;
    this.setState({ asking: false, failed: messages.reason ?? people.reason ?? null });
    const strangers = (this.state.hits ?? []).map((hit) => hit.sender).filter((id) => state.value && !isNamed(state.value, id));
    if (strangers.length > 0) import("../actions/people.js").then(({ know }) => know(strangers), () => {});
  }

  again = () => {
    this.setState({ failed: null, asking: true });
    this.search(this.state.query.trim());
  };

  clear = () => {
    this.serial += 1;
    clearTimeout(this.timer);
    this.setState({ query: "", ...NOTHING_FOUND });
  };

  /** The chats with this name; searched again only when chats or the query change. */
  chatsCalled(all, wanted) {
    if (this.called?.all !== all || this.called.wanted !== wanted) {
      const list = wanted ? all.filter((chat) => isCalled(chatName(chat), chat.type === "dialog" ? chat.id : "", wanted)) : all;
      this.called = { all, wanted, list };
    }
    return this.called.list;
  }

  /** The people with this name, known here or found by the relay, without a dialog. */
  peopleCalled(now, wanted, found) {
    const known = this.people;
    if (known?.people !== now.people || known.chats !== now.chats || known.wanted !== wanted || known.found !== found) {
      const ids = new Set([...now.people.values(), ...(found ?? [])].filter((one) => isCalled(one.name, one.id, wanted)).map((one) => one.id));
      const list = [...ids].filter((id) => id !== now.me.id && !now.chats.has(id)).slice(0, PEOPLE).map((id) => now.people.get(id));
      this.people = { people: now.people, chats: now.chats, wanted, found, list };
    }
    return this.people.list;
  }

  /** Rows of people who have only a draft. */
  peopleWithDraft(now, open) {
    return [...now.drafts]
      .filter(([id, { text }]) => text.trim() && isListed(now) && !now.chats.has(id) && now.people.has(id))
      .map(([id, { text }]) => html`<${PersonRow} key=${id} person=${now.people.get(id)} label=${tellOf(now, id)} presence=${presenceOf(now, id)} draft=${open === id ? "" : text} />`);
  }

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

  render({ hidden }, { from: wished, to: end, query, hits, searched, found, failed, asking }) {
    const now = state.value;
    const open = route.value.chatId;
    const wanted = fold(query).trim();
    const all = chats.value;
    const listed = (this.listed = this.chatsCalled(all, wanted));
    const people = wanted ? this.peopleCalled(now, wanted, found) : [];
    const said = wanted && hits ? presentHits(now, hits) : [];
    const from = Math.min(wished, Math.max(0, listed.length - FIRST_ROWS));
    const to = Math.min(Math.max(end, from + FIRST_ROWS), listed.length);
    const begun = wanted ? [] : this.peopleWithDraft(now, open);
    const empty = listed.length + people.length + said.length === 0;
    const nothing = empty ? (isSearchable(query) ? t("search.none", { query }) : t("search.more", { query })) : null;
    const spacer = (rows) => rows > 0 ? html`<li aria-hidden="true" style=${{ height: `${rows * this.rowHeight}px` }}></li>` : null;
    const missing = unfetched.value.get(null);
    const waiting = new Map(now.outbox.filter((row) => row.kind === "new").map((row) => [row.chatId, row]));
    return html`<section class="chat-list" hidden=${hidden} aria-label=${t("list.title")} onKeyDown=${this.onKey}>
      <header class="bar">
        <button type="button" class="me" title=${t("settings.title")} onClick=${() => openPanel("settings")}>
          <${Avatar} id=${session.value.id} name=${session.value.name} url=${now.people.get(session.value.id)?.avatarUrl} size="s" />
          <span class="hidden">${t("settings.title")}</span>
        </button>
        <label class="search">
          <${Icon} name="search" />
          <input type="search" ref=${(element) => (this.field = element ?? this.field)} value=${query} maxlength=${LONGEST_QUERY} placeholder=${t("search.placeholder")} aria-label=${t("search.placeholder")} onInput=${this.onQuery} onCompositionEnd=${this.onQuery} autocomplete="off" enterkeyhint="search" />
          ${query ? html`<${IconButton} icon="close" label=${t("search.clear")} onClick=${this.clear} />` : null}
        </label>
        <${IconButton} icon="compose" label=${t("list.new")} class="is-accent" onClick=${() => openPanel("newchat")} />
      </header>
      <div class="scroll" onScroll=${this.extendSoon} ref=${(element) => (this.list = element ?? this.list)}>
        ${wanted && listed.length > 0 ? html`<h2 class="section">${t("search.chats")}</h2>` : null}
        ${begun.length > 0 ? html`<ul class="rows">${begun}</ul>` : null}
        <ul class="rows">
          ${spacer(from)}
          ${listed.slice(from, to).map((chat, index) => html`<li key=${chat.id} aria-posinset=${from + index + 1} aria-setsize=${listed.length}><${ChatRow}
            chat=${chat} label=${chatLabel(now, chat)} bot=${now.people.get(chat.id)?.bot} typing=${typingText(now, chat.id)}
            presence=${chat.type === "dialog" && !chat.gone ? presenceOf(now, chat.id) : undefined}
            draft=${draftOf(now, chat.id)} waiting=${waiting.get(chat.id)} open=${open === chat.id} today=${today.value}
            author=${chat.lastMessageAuthor ? (chat.isMine ? t("message.you") : tellOf(now, chat.lastMessageAuthor)) : ""}
          /></li>`)}
          ${spacer(listed.length - to)}
        </ul>
        ${people.length > 0
          ? html`<h2 class="section">${t("people.title")}</h2>
              <ul class="rows">${people.map((one) => html`<${PersonRow} key=${one.id} person=${one} label=${tellOf(now, one.id)} presence=${presenceOf(now, one.id)} />`)}</ul>`
          : null}
        ${said.length > 0 ? html`<${Hits} said=${said} query=${searched} />` : null}
        ${wanted ? html`<${SearchState} asking=${asking} failed=${failed} nothing=${nothing} onTry=${this.again} />` : null}
        ${!wanted && missing ? html`<${TryAgain} failure=${missing} onTry=${() => refreshChats()} />` : null}
        ${!wanted && !missing && all.length + begun.length === 0 ? (isListed(now) ? html`<${Empty} />` : html`<p class="none"><span class="spinner"></span></p>`) : null}
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
