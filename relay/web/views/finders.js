/** Dialogs that find: a chat or person to jump to, and messages of one chat. */
import { Component } from "preact";
import { explain } from "../actions/notices.js";
import { openChat } from "../actions/rooms.js";
import { findPeople, request } from "../actions/store.js";
import { LONGEST_NAME_QUERY, LONGEST_QUERY, chats, dialog, session, state } from "../signals.js";
import { formatFull, t } from "../i18n/i18n.js";
import { nameOf, tellOf } from "../model/state.js";
import { fold, isSearchable, oneLine } from "../model/text.js";
import { chatLabel, chatName, Marked } from "./chatlist.js";
import { Avatar, Bot, html, Icon, Modal } from "./parts.js";

const close = () => (dialog.value = null);

/** A field with a list under it, navigated with the arrow keys. */
class Finder extends Component {
  state = { query: this.props.typed ?? "", items: this.props.initial ?? [], at: 0, failure: null, asked: false };

  componentDidMount() {
    if (this.state.query) this.findSoon(this.state.query);
  }

  onInput = (event) => {
    const query = event.currentTarget.value;
    this.setState({ query });
    this.findSoon(query);
  };

  findSoon(query) {
    this.searching = true;
    this.chosen = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.find(query.trim()), this.props.wait ?? 0);
  }

  async find(query) {
    this.serial = (this.serial ?? 0) + 1;
    const mine = this.serial;
    try {
      const items = await this.props.find(query);
      if (mine !== this.serial) return;
      this.searching = false;
      this.setState({ items, at: 0, failure: null, asked: this.props.mayAsk?.(query) ?? query !== "" });
      if (this.chosen && items[0]) this.props.onChoose(items[0]);
    } catch (failure) {
      if (mine !== this.serial) return;
      this.searching = false;
      this.setState({ failure, items: [] });
    }
  }

  onKey = (event) => {
    const { items, at } = this.state;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = Math.max(0, Math.min(items.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)));
      this.setState({ at: next }, () => this.list?.querySelector(".is-active")?.scrollIntoView({ block: "nearest" }));
    } else if (event.key === "Enter") {
      event.preventDefault();
      // The list may not match the typed text yet: then Enter means its first result.
      if (this.searching) this.chosen = true;
      else if (items[at]) this.props.onChoose(items[at]);
    }
  };

  render({ label, row, longest = LONGEST_QUERY, onChoose }, { query, items, at, failure, asked }) {
    return html`<${Modal} label=${label} class="is-list" onClose=${close}>
      <label class="search"><${Icon} name="search" />
        <input type="search" autofocus role="combobox" aria-expanded=${items.length > 0} aria-controls="found" aria-activedescendant=${items[at] ? `found-${at}` : undefined} placeholder=${label} aria-label=${label} value=${query} maxlength=${longest} onInput=${this.onInput} onKeyDown=${this.onKey} autocomplete="off" />
      </label>
      <div class="scroll" ref=${(element) => (this.list = element ?? this.list)}>
        ${failure ? html`<p class="none" role="alert">${explain(failure)}</p>` : null}
        ${asked && items.length === 0 && !failure ? html`<p class="none">${t("search.none", { query })}</p>` : null}
        ${items.length > 0 ? html`<div id="found" role="listbox" aria-label=${label}>
          ${items.map((item, index) => html`<button type="button" role="option" id=${`found-${index}`} aria-selected=${index === at} class="person ${index === at ? "is-active" : ""}" onClick=${() => onChoose(item)}>${row(item, query)}</button>`)}
        </div>` : null}
      </div>
    </${Modal}>`;
  }
}

/** Jump to a chat or a person. */
export function Jump() {
  const find = async (query) => {
    const wanted = fold(query);
    const known = chats.value.filter((chat) => fold(chatName(chat)).includes(wanted));
    if (!wanted) return known.slice(0, 30);
    const people = await findPeople(query).catch(() => []);
    const ids = new Set(known.map((chat) => chat.id));
    return [...known.slice(0, 30), ...people.filter((one) => !ids.has(one.id) && one.id !== session.value.id)];
  };
  return html`<${Finder} label=${t("jump.title")} longest=${LONGEST_NAME_QUERY} typed=${dialog.value?.typed} initial=${chats.value.slice(0, 30)} find=${find} onChoose=${(item) => openChat(item.id)}
    row=${(item) => html`<${Avatar} id=${item.id} name=${item.type ? chatName(item) : item.name} url=${item.photoUrl ?? item.avatarUrl} type=${item.type} size="s" />
      <span class="list-text"><span dir="auto">${item.type ? chatLabel(state.value, item) : tellOf(state.value, item.id)}</span></span><${Bot} userId=${item.id} />
      ${item.missed > 0 ? html`<span class="badge">${item.missed > 99 ? "99+" : item.missed}</span>` : null}`} />`;
}

/** Search the messages of one chat. */
export function SearchInChat({ chatId }) {
  const find = (query) => (!isSearchable(query) ? Promise.resolve([]) : request("search", { query, chatId, count: 60 }));
  const now = state.value;
  return html`<${Finder} label=${t("chat.search")} typed=${dialog.value?.typed} find=${find} mayAsk=${isSearchable} wait=${200} onChoose=${(hit) => openChat(chatId, { messageId: hit.messageId })}
    row=${(hit, query) => {
      const name = hit.sender === now.me.id ? t("message.you") : tellOf(now, hit.sender);
      return html`<${Avatar} id=${hit.sender} name=${nameOf(now, hit.sender)} size="s" />
        <span class="list-text"><span><b>${name}</b> <span class="hint">${formatFull(hit.createdAt)}</span></span>
          <span class="hint" dir="auto"><${Marked} text=${oneLine(hit.message)} words=${query.trim().split(/\s+/).filter(Boolean)} /></span></span>`;
    }} />`;
}
