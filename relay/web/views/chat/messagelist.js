/**
 * The messages of a chat.
 *
 * Only some rows of the loaded messages are in the page. The read position never moves: the position of the first row
 * in view is measured before each change and restored after it. At the end of a chat the view follows the end instead.
 */
import { Component } from "preact";
import { loadNewer, loadOlder, markRead, mendRoom, showNewest, tryAgain } from "../../actions/rooms.js";
import { loadingRooms, seesChat, state, target, unfetched } from "../../signals.js";
import { formatDay, formatNumber, language, t, today } from "../../i18n/i18n.js";
import { unreadAmong } from "../../model/events.js";
import { atEnd, indexOf } from "../../model/messages.js";
import { nameOf, tellOf, typeOf } from "../../model/state.js";
import { drawnRows, waitingRows } from "../../model/timeline.js";
import { MessageRow, openMenu } from "./message.js";
import { html, Icon, TryAgain } from "../parts.js";

/** Rows drawn when a chat is opened, added in one frame, and kept at most. */
const FIRST_ROWS = 20;
const MORE_ROWS = 8;
const MOST_ROWS = 90;
/** More is drawn or fetched when fewer than this many window heights are left. */
const MARGIN = 1.5;
/** Within this many pixels of the end the view counts as being there. */
const AT_END = 48;

/** The messages of one chat. */
export class MessageList extends Component {
  from = null;
  to = Infinity;
  follow = true;
  holdDivider = true;
  toTheEnd = false;
  dividerId = undefined;
  dividerCount = 0;
  atDivider = false;
  upwards = true;
  lastTop = 0;
  shownTarget = 0;
  flashId = null;
  state = { away: false };

  componentDidMount() {
    this.observer = new ResizeObserver(() => this.restore());
    this.observer.observe(this.content);
    this.observer.observe(this.scroller);
    this.restore();
    // The user returns to the last read position, and the end is not loaded.
    if (!this.settling && !this.showsEnd) this.leaveEnd();
    this.afterDraw();
    this.stopWatching = seesChat.subscribe(() => requestAnimationFrame(() => this.see()));
  }

  componentWillUnmount() {
    this.observer.disconnect();
    this.stopWatching();
    clearTimeout(this.flashTimer);
    cancelAnimationFrame(this.extension);
  }

  getSnapshotBeforeUpdate() {
    if (!this.follow) this.takeAnchor();
    return null;
  }

  componentDidUpdate() {
    this.restore();
    if (this.showsEnd) this.toTheEnd = false;
    this.afterDraw();
  }

  /** Measure the position of the first row in view. */
  takeAnchor() {
    const rows = this.content.children;
    const top = this.scroller.scrollTop;
    let low = 0;
    let high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].offsetTop + rows[middle].offsetHeight <= top) low = middle + 1;
      else high = middle;
    }
    // A message is a better anchor than a separator, which may come and go.
    while (low < rows.length - 1 && rows[low].dataset.id === undefined) low += 1;
    const element = rows[low];
    this.anchor = element && { element, top: element.getBoundingClientRect().top };
  }

  /** Restore the view, or go to the end when it follows the end. */
  restore() {
    const { scroller } = this;
    if (!scroller) return;
    if (this.pendingTarget) {
      this.goToTarget();
    } else if (this.atDivider) {
      this.atDivider = false;
      const divider = this.content.querySelector(".divider-new");
      if (divider) this.scrollTo(divider.offsetTop - 12);
      this.takeAnchor();
    } else if (this.follow) {
      const end = scroller.scrollHeight - scroller.clientHeight;
      const divider = this.holdDivider && this.dividerId !== undefined ? this.content.querySelector(".divider-new") : null;
      this.scrollTo(divider ? Math.min(end, divider.offsetTop - 12) : end);
    } else if (this.anchor?.element.isConnected) {
      const moved = this.anchor.element.getBoundingClientRect().top - this.anchor.top;
      if (Math.abs(moved) >= 0.5) this.scrollTo(scroller.scrollTop + moved);
    }
  }

  scrollTo(top) {
    if (Math.abs(this.scroller.scrollTop - top) < 0.5) return;
    this.scroller.scrollTop = top;
    this.expected = this.scroller.scrollTop;
    this.lastTop = this.expected;
  }

  get distance() {
    const { scrollHeight, clientHeight, scrollTop } = this.scroller;
    return scrollHeight - clientHeight - scrollTop;
  }

  onScroll = () => {
    const top = this.scroller.scrollTop;
    const own = this.expected !== undefined && Math.abs(top - this.expected) < 1;
    if (!own && top !== this.lastTop) this.upwards = top < this.lastTop;
    this.lastTop = top;
    this.expected = undefined;
    // While the end is being fetched, rows that shrink scroll too.
    if (!own && !this.toTheEnd) {
      this.holdDivider = false;
      this.follow = this.showsEnd && this.distance <= AT_END;
    }
    if (!this.follow) this.takeAnchor();
    this.afterDraw();
  };

  /** The user scrolls: stop moving the view. */
  onHand = () => (this.toTheEnd = false);

  afterDraw() {
    this.extend();
    this.see();
    const away = this.distance > 240 || !this.showsEnd;
    if (away !== this.state.away) this.setState({ away });
  }

  /** Draw more rows, or fetch more messages, before the user reaches the last row: a few in each frame. */
  extend() {
    this.extension ||= requestAnimationFrame(() => {
      this.extension = 0;
      if (!state.value || !this.scroller.isConnected) return;
      if (this.extendUp() || this.extendDown()) this.setState({});
      mendRoom(this.props.chatId);
    });
  }

  get mostRows() {
    return Math.max(MOST_ROWS, Math.ceil(this.scroller.clientHeight / 8));
  }

  extendUp() {
    const room = state.value.rooms.get(this.props.chatId);
    if (!room?.loaded || this.pendingTarget || this.scroller.scrollTop >= this.scroller.clientHeight * MARGIN) return false;
    // Only in the direction of scrolling: otherwise each end would undo the other's work.
    if (!this.upwards && this.scroller.scrollHeight > this.scroller.clientHeight * 2) return false;
    const { messages } = room;
    if (this.start === 0) {
      loadOlder(this.props.chatId);
      return false;
    }
    // Small steps while there is room, larger ones when the last row is near.
    const step = this.scroller.scrollTop < this.scroller.clientHeight / 2 ? MORE_ROWS : MORE_ROWS / 2;
    const start = Math.max(0, this.start - step);
    this.from = messages[start].messageId;
    if (!this.follow && this.end - start > this.mostRows) this.to = messages[start + this.mostRows - 1].messageId;
    return true;
  }

  extendDown() {
    const room = state.value.rooms.get(this.props.chatId);
    // At the end there is nothing below; from far, showNewest gets there, but not to what came meanwhile.
    const done = (this.toTheEnd && room?.far) || (this.follow && this.showsEnd);
    if (!room?.loaded || done || this.pendingTarget || this.distance >= this.scroller.clientHeight * MARGIN) return false;
    if (this.upwards && this.distance > this.scroller.clientHeight / 2) return false;
    const { messages } = room;
    if (this.end >= messages.length) {
      if (!this.showsEnd) loadNewer(this.props.chatId);
      return false;
    }
    const end = Math.min(messages.length, this.end + MORE_ROWS);
    this.to = end === messages.length ? Infinity : messages[end - 1].messageId;
    if (end - this.start > this.mostRows) this.from = messages[end - this.mostRows].messageId;
    return true;
  }

  /** Send the read receipt; the only place that does, and only while the user sees the chat. */
  see() {
    const { chatId } = this.props;
    const chat = state.value?.chats.get(chatId);
    if (!seesChat.value || !(chat?.missed > 0) || this.settling || !this.scroller) return;
    const bottom = this.scroller.scrollTop + this.scroller.clientHeight;
    const rows = this.content.children;
    for (let at = rows.length - 1; at >= 0; at -= 1) {
      const id = rows[at].dataset.id;
      // The beginning of a message taller than the window is enough.
      if (id === undefined || rows[at].offsetTop + Math.min(rows[at].offsetHeight, 40) > bottom + 4) continue;
      markRead(chatId, Number(id));
      return;
    }
  }

  /** Follow the end from now on. */
  goToEnd() {
    this.to = Infinity;
    this.follow = true;
    this.toTheEnd = true;
    this.holdDivider = false;
  }

  toEnd = () => {
    this.from = null;
    this.goToEnd();
    showNewest(this.props.chatId);
    this.setState({});
  };

  goToTarget() {
    const element = this.content.querySelector(`[data-id="${this.pendingTarget}"]`);
    if (!element) return;
    this.pendingTarget = null;
    this.scrollTo(Math.max(0, element.offsetTop - Math.max(24, (this.scroller.clientHeight - element.offsetHeight) / 2)));
    this.takeAnchor();
    element.focus({ preventScroll: true });
  }

  takeTarget(chatId, messages) {
    const wanted = target.value;
    if (wanted?.chatId !== chatId || wanted.serial === this.shownTarget) return;
    const at = indexOf(messages, wanted.messageId);
    if (messages[at]?.messageId !== wanted.messageId) return;
    this.shownTarget = wanted.serial;
    this.pendingTarget = wanted.messageId;
    this.flashId = wanted.messageId;
    this.follow = false;
    this.holdDivider = false;
    if (at < this.start || at >= this.end || this.start === undefined) {
      this.from = messages[Math.max(0, at - FIRST_ROWS / 2)].messageId;
      const end = at + FIRST_ROWS / 2;
      this.to = end >= messages.length - 1 ? Infinity : messages[end].messageId;
    }
    clearTimeout(this.flashTimer);
    this.flashTimer = setTimeout(() => {
      this.flashId = null;
      this.setState({});
    }, 1_600);
  }

  /** The range of loaded messages that is drawn, as indices. */
  takeWindow(messages) {
    // While the user reads further up, new messages are not drawn until they are reached.
    const most = this.scroller ? this.mostRows : MOST_ROWS;
    if (this.to === Infinity && !this.follow && this.end !== undefined && messages.length - this.start > most) {
      this.to = messages[this.start + most - 1].messageId;
    }
    this.end = this.to === Infinity ? messages.length : indexOf(messages, this.to + 1);
    this.start = this.from === null ? Math.max(0, this.end - FIRST_ROWS) : indexOf(messages, this.from);
    if (this.start >= this.end && messages.length > 0) {
      this.end = messages.length;
      this.start = Math.max(0, this.end - FIRST_ROWS);
      this.to = Infinity;
    }
    if (this.follow && this.end - this.start > most) {
      // More messages came than are drawn: the view stays at the first unread one.
      if (this.holdDivider && this.dividerId >= messages[this.start].messageId) {
        this.end = this.start + most;
        this.to = messages[this.end - 1].messageId;
        this.leaveEnd();
      } else {
        this.start = this.end - most + MORE_ROWS;
      }
    }
    this.from = messages[this.start]?.messageId ?? null;
  }

  takeDivider(chat, messages) {
    // Fixed when the chat is opened; set again by messages that come while the user is away.
    if (this.dividerId !== undefined && seesChat.value) return;
    // The stored messages may begin or end among the unread ones: the relay's page is being fetched.
    if (this.settling || !(chat?.missed > 0) || (this.seenOnce && seesChat.value)) return;
    const { first: id } = unreadAmong(messages, state.value.me.id);
    if (id === undefined) return;
    this.dividerCount = chat.missed;
    // It is set already: the user may have continued to the end.
    if (id === this.dividerId) return;
    this.holdDivider = true;
    this.dividerId = id;
    if (!this.follow) return;
    const at = indexOf(messages, id);
    const drawn = this.from !== null && this.from <= id ? messages.length - indexOf(messages, this.from) : Infinity;
    const ends = atEnd(state.value, this.props.chatId);
    if (ends && drawn <= MOST_ROWS) return;
    this.from = messages[Math.max(0, at - MORE_ROWS)].messageId;
    if (!ends || messages.length - at > FIRST_ROWS) {
      // More messages are new than are drawn at once: begin at the divider.
      this.to = messages[Math.min(at + FIRST_ROWS, messages.length) - 1].messageId;
      this.atDivider = true;
      this.leaveEnd();
    }
  }

  /** Stop following the end; new messages are drawn as the user scrolls down. */
  leaveEnd() {
    this.follow = false;
    this.upwards = false;
  }

  onKey = (event) => {
    this.onHand();
    const row = event.target.closest?.(".message");
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const rows = [...this.content.querySelectorAll(".message")];
      const at = row ? rows.indexOf(row) + (event.key === "ArrowUp" ? -1 : 1) : rows.length - 1;
      const next = rows[Math.max(0, Math.min(rows.length - 1, at))];
      if (!next) return;
      event.preventDefault();
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest" });
    } else if (event.target === row && (event.key === "Enter" || event.key === " ")) {
      const found = this.rows.find((one) => String(one.message?.messageId) === row.dataset.id);
      if (!found) return;
      event.preventDefault();
      openMenu(this.props.chatId, found, row, {});
    } else if (event.key === "End" && !row) {
      this.toEnd();
    }
  };

  render({ chatId }) {
    const now = state.value;
    const room = now.rooms.get(chatId);
    const chat = now.chats.get(chatId);
    const messages = room?.messages ?? [];
    this.settling = !room?.loaded || loadingRooms.value.has(chatId);
    this.takeTarget(chatId, messages);
    this.takeDivider(chat, messages);
    this.takeWindow(messages);
    if (!this.settling && seesChat.value) this.seenOnce = true;

    // The user just sent a message: show it.
    const lastOwn = waitingRows(now, chatId).at(-1)?.clientMessageId;
    if (lastOwn && lastOwn !== this.lastOwn) {
      this.lastOwn = lastOwn;
      if (this.mounted) {
        if (!this.follow) this.from = null;
        this.goToEnd();
        this.dividerId = undefined;
        this.takeWindow(messages);
        if (!atEnd(now, chatId)) showNewest(chatId);
      }
    }
    this.mounted = true;

    const { start, end, dividerId, dividerCount } = this;
    const reachesEnd = end === messages.length;
    this.showsEnd = reachesEnd && (atEnd(now, chatId) || !room?.loaded);
    // On an old page it would look old.
    const waiting = this.showsEnd || (reachesEnd && this.follow);
    const rows = (this.rows = drawnRows(now, chatId, { start, end, waiting, dividerId, dividerCount }));
    const { missed = 0, type = typeOf(now, chatId) } = chat ?? {};
    const [failure, wanted] = [unfetched.value.get(chatId), target.value?.chatId === chatId ? target.value : {}];
    const code = language();
    return html`<div class="messages">
      <div class="scroll" ref=${(element) => (this.scroller = element ?? this.scroller)} onScroll=${this.onScroll} onKeyDown=${this.onKey}
        onWheel=${this.onHand} onTouchMove=${this.onHand} onPointerDown=${this.onHand}
        tabindex="0" role="region" aria-label=${t("chat.messages")} aria-busy=${this.settling && !failure}>
        <div class="rows" ref=${(element) => (this.content = element ?? this.content)}>
          ${room?.loaded && room.atStart && this.start === 0 && rows.length === 0 && !loadingRooms.value.has(chatId)
            ? html`<p key="hello" class="hello"><${Icon} name="smile" /><span>${chat?.gone ? t("chat.nothingKept") : type === "favorites" ? t("chat.favoritesEmpty") : t("chat.sayHello")}</span></p>`
            : null}
          ${!(room?.atStart && this.start === 0) && !(chat?.gone && this.start === 0) ? failure ? html`<${TryAgain} key="failed" failure=${failure} onTry=${() => tryAgain(chatId)} />` : html`<p key="older" class="older"><span class="spinner"></span></p>` : null}
          ${rows.map((row) => {
            if (row.type === "day") return html`<div key=${row.key} class="day"><span>${formatDay(row.timestamp)}</span></div>`;
            if (row.type === "new") return html`<div key=${row.key} class="divider-new" role="separator"><span>${t("chat.new", { count: row.count })}</span></div>`;
            return html`<${MessageRow} key=${row.key} row=${row} chatId=${chatId} chatType=${type} language=${code} today=${today.value}
              name=${row.mine ? "" : nameOf(now, row.message.sender)} label=${row.mine ? "" : tellOf(now, row.message.sender)} photo=${row.mine ? undefined : now.people.get(row.message.sender)?.avatarUrl}
              flash=${this.flashId !== null && row.message.messageId === this.flashId} found=${wanted.messageId === row.message.messageId ? wanted.mark : undefined} />`;
          })}
        </div>
      </div>
      ${this.state.away || (missed > 0 && !this.follow)
        ? html`<button type="button" class="to-end" onClick=${this.toEnd}>
            <${Icon} name="down" /><span class="hidden">${missed > 0 ? t("chat.toNew", { count: missed }) : t("chat.toEnd")}</span>
            ${missed > 0 ? html`<span class="badge" aria-hidden="true">${missed > 99 ? "99+" : formatNumber(missed)}</span>` : null}
          </button>`
        : null}
    </div>`;
  }
}
