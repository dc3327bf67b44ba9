// A tab of the page for the property test: the model's own functions, driven as actions/ drives them, with small pages, a
// disk and other tabs. Its promises settle when the test lets the relay answer.
import * as events from "../../relay/web/model/events.js";
import * as messages from "../../relay/web/model/messages.js";
import * as state from "../../relay/web/model/state.js";
import { ME } from "./truth_relay.mjs";

const model = { ...state, ...messages, ...events };
const FIRST_PAGE = 6;
const NEXT_PAGE = 5;
const LARGEST_PAGE = 12;
const READ_BEFORE = 3;
const KEPT_IN_MEMORY = 15;
const KEPT_ON_DISK = 8;

/** A copy, as it comes over a socket. */
const sent = (what) => JSON.parse(JSON.stringify(what));

/** The relay refuses requests about a chat that the user is not in. */
export function onlyRefused(failure) {
  if (failure.message !== "refused") throw failure;
}

/** The shared parts of all tabs of a browser. */
export class Device {
  tabs = [];
  chats = [];
  rooms = new Map();
  drafts = new Map();
  outbox = new Map();
  stamp = 0;
  serial = 0;

  tell(from, word) {
    for (const tab of this.tabs) if (tab !== from) tab.words.push(structuredClone(word));
  }
}

export class Tab {
  connection = null;
  unanswered = new Map();
  words = [];
  frames = [];
  seen = new Set();
  open = null;
  verified = new Set();
  shown = new Set();
  asked = new Set();
  paging = new Set();
  inFlight = new Set();
  fromDisk = new Set();
  /** Events came while only another tab was connected, which received them. */
  hasMissed = false;
  serial = 0;
  connections = 0;

  constructor(relay, device, check) {
    Object.assign(this, { relay, device, check });
    device.tabs.push(this);
    let first = model.initial({ id: ME, name: "Me" });
    if (device.chats.length > 0) first = model.setChats(first, device.chats);
    for (const [chatId, draft] of device.drafts) first = model.mergeDraft(first, chatId, draft);
    const rows = [...device.outbox.values()].sort((a, b) => a.createdAt - b.createdAt);
    for (const row of rows) first = model.enqueue(first, row);
    this.state = first;
  }

  /** Close the tab at once: nothing more is saved. */
  kill() {
    this.disconnect();
    this.device.tabs = this.device.tabs.filter((one) => one !== this);
    this.gone = true;
  }

  change(step) {
    if (this.gone) return;
    const before = this.state;
    this.state = step(before);
    for (const { clientMessageId, replyTo: old } of before.outbox) {
      const row = this.state.outbox.find((one) => one.clientMessageId === clientMessageId);
      if (old && row?.replyTo && (old.message !== row.replyTo.message || old.status !== row.replyTo.status)) {
        this.patchDisk(clientMessageId, { replyTo: row.replyTo });
      }
    }
    if (this.open && before.chats.has(this.open) && !this.state.chats.has(this.open)) this.open = null;
    this.check(this);
  }

  save() {
    this.device.chats = structuredClone([...this.state.chats.values()]);
    for (const [chatId, room] of this.state.rooms) {
      if (!model.isWhole(this.state, chatId)) continue;
      const kept = room.messages.slice(-KEPT_ON_DISK);
      const first = kept.length < room.messages.length ? kept[0].messageId : room.first;
      this.device.rooms.set(chatId, structuredClone({ messages: kept, first, last: room.last, deleted: room.deleted, details: this.state.details.get(chatId) }));
    }
  }

  // ---------------------------------------------------------------- the connection

  connect() {
    // News of other tabs is there before the relay's first answer.
    while (this.words.length > 0) this.hear();
    this.hasMissed ||= this.relay.log.some(({ seq, own }) => seq > this.applied && (own || seq <= this.relay.cursor));
    this.connection = this.relay.connect(this);
    for (const one of this.unanswered.values()) this.connection.outgoing.push(one);
    this.verified.clear();
    this.connections += 1;
    this.pump();
    this.refreshChats();
    if (this.open) this.refresh(this.open, true).catch(onlyRefused);
  }

  disconnect() {
    if (!this.connection) return;
    this.relay.connections.delete(this.connection);
    this.connection = null;
    this.change(model.disconnected);
  }

  ask(type, payload) {
    this.serial += 1;
    const id = this.serial;
    return new Promise((resolve, reject) => {
      const one = { id, type, payload, resolve, reject };
      this.unanswered.set(id, one);
      this.connection?.outgoing.push(one);
    });
  }

  /** Deliver the relay's next frame. Returns whether promises follow, which run before the next frame. */
  receive() {
    const { frame, id, answer } = this.connection.inbox.shift();
    if (frame) {
      if (!this.seen.has(frame.id)) this.frames.push(frame);
      this.seen.add(frame.id);
      return false;
    }
    const one = this.unanswered.get(id);
    if (!one) return false;
    this.unanswered.delete(id);
    this.flush();
    if (answer === null) one.reject(new Error("refused"));
    else one.resolve(Array.isArray(answer) ? Object.assign(sent(answer), { more: answer.more }) : sent(answer));
    return true;
  }

  /** Apply the received events. */
  flush() {
    const frames = this.frames.splice(0);
    this.change((now) => model.applyEvents(now, frames.map(sent), 1, (failure) => { throw failure; }));
    for (const { id } of frames) {
      this.applied = Math.max(this.applied, id);
      this.relay.cursor = Math.max(this.relay.cursor, id);
    }
    const gone = frames.filter(({ eventType, payload }) => eventType === "delete" && model.mayCount(this.state, payload));
    for (const chatId of new Set(gone.map(({ payload }) => payload.chatId))) this.recount(chatId).catch(onlyRefused);
  }

  applied = 0;

  // ---------------------------------------------------------------- other tabs

  hear() {
    const word = this.words.shift();
    this.lastWord = word;
    this.change((now) => model.applyOther(now, word));
  }

  tell(word) {
    this.device.tell(this, word);
  }

  // ---------------------------------------------------------------- chats and pages, as in actions/rooms.js

  refreshChats() {
    this.ask("chats", {}).then((list) => this.change((now) => model.setChats(now, list)));
  }

  async recount(chatId) {
    const { missed } = await this.ask("chat", { chatId });
    this.change((now) => model.unreadHere(model.readHere(now, chatId, 0, missed), chatId, missed));
  }

  show(chatId) {
    if (chatId !== this.open) {
      const { missed } = this.state.chats.get(chatId) ?? { missed: 0 };
      this.change((now) => model.trim(model.leaveFar(now, chatId), chatId, KEPT_IN_MEMORY + missed));
      if (!model.reachesUnread(this.state.rooms.get(chatId)?.messages ?? [], ME, missed)) this.verified.delete(chatId);
    }
    this.open = chatId;
    const kept = this.device.rooms.get(chatId);
    if (!this.state.rooms.get(chatId)?.loaded) this.verified.delete(chatId);
    if (kept && !this.state.rooms.get(chatId)?.loaded) {
      const { messages: rows, first, last, deleted, details } = structuredClone(kept);
      if (details) this.change((now) => model.setDetails(now, details));
      this.fromDisk.add(chatId);
      this.change((now) => model.addPage(now, chatId, rows, { first, last, deleted, reachesStart: first <= 1 }));
    }
    return this.refresh(chatId, false).then(() => this.mend(chatId)).catch(onlyRefused);
  }

  async page(chatId, where) {
    const top = Math.max(this.state.chats.get(chatId)?.topId ?? 0, this.state.rooms.get(chatId)?.last ?? 0);
    return { asked: { ...where, top }, page: await this.ask("messages", { chatId, ...where }) };
  }

  take(chatId, { asked, page }, options) {
    this.change((now) => model.takePage(now, chatId, asked, page, options));
  }

  takeJoined(chatId, { asked, page }) {
    const joins = model.joinsRoom(this.state, chatId, asked, page);
    if (joins) this.take(chatId, { asked, page });
    return joins;
  }

  async refresh(chatId, reading) {
    if (this.asked.has(chatId) || this.state.chats.get(chatId)?.gone) return;
    if (this.verified.has(chatId) && this.state.rooms.get(chatId)?.loaded) return;
    this.asked.add(chatId);
    const begun = this.connections;
    try {
      await this.fetchNewest(chatId, reading);
      if (begun === this.connections) this.verified.add(chatId);
    } finally {
      this.asked.delete(chatId);
    }
    if (begun !== this.connections && this.open === chatId) await this.refresh(chatId, true);
  }

  async fetchNewest(chatId, reading) {
    const stays = reading && (this.shown.has(chatId) || this.state.rooms.get(chatId)?.far);
    let isCounted = false;
    let isHere = false;
    const coming = this.page(chatId, { count: FIRST_PAGE });
    const asking = this.ask("chat", { chatId }).then((details) => {
      this.change((now) => model.setDetails(now, details));
      isCounted = isHere;
      if (isHere) this.change((now) => model.unreadHere(now, chatId, details.missed));
      return details;
    });
    asking.catch(() => {});
    const newest = await coming;
    isHere = true;
    const isTaken = await this.takeNewest(chatId, newest, stays);
    const details = await asking;
    if (!isCounted) await this.recount(chatId);
    if (!stays) await this.reachUnread(chatId, details, isTaken);
    this.shown.add(chatId);
    await this.mend(chatId);
  }

  async takeNewest(chatId, newest, stays) {
    const room = this.state.rooms.get(chatId);
    if (this.takeJoined(chatId, newest)) return true;
    if (stays && room?.loaded) {
      await this.askAgain(chatId, room);
      return true;
    }
    if (room?.far) return true;
    const missed = this.state.chats.get(chatId)?.missed ?? 0;
    const isFirst = !newest.page.more || model.reachesUnread(newest.page, ME, missed);
    if (isFirst) this.take(chatId, newest);
    return isFirst;
  }

  async askAgain(chatId, room) {
    const { first, last } = room;
    let startId = Math.min(Math.max(first, last - KEPT_IN_MEMORY), model.nextId(room));
    for (;;) {
      const answer = await this.page(chatId, { startId, count: LARGEST_PAGE });
      if (!this.takeJoined(chatId, answer) || !answer.page.more || answer.page.at(-1).messageId >= last) return;
      startId = answer.page.at(-1).messageId + 1;
    }
  }

  async reachUnread(chatId, { lastMessageId, missed }, isTaken) {
    const reaches = ({ messages: rows }) => model.reachesUnread(rows, ME, missed);
    const before = this.state.rooms.get(chatId);
    if (isTaken && before?.loaded && (before.far || before.atStart || reaches(before))) return;
    const startId = Math.max(1, lastMessageId - missed + 1 - READ_BEFORE);
    this.take(chatId, await this.page(chatId, { startId, count: LARGEST_PAGE }), { reset: !isTaken });
    for (;;) {
      const room = this.state.rooms.get(chatId);
      if (!room?.loaded || room.far || room.atStart || reaches(room)) return;
      if (!this.takeJoined(chatId, await this.page(chatId, { endId: room.first, count: LARGEST_PAGE }))) return;
    }
  }

  async mend(chatId) {
    for (;;) {
      const room = this.state.rooms.get(chatId);
      if (!(room?.stale.size > 0)) return;
      const startId = Math.min(...room.stale, model.nextId(room));
      if (!this.takeJoined(chatId, await this.page(chatId, { startId, count: LARGEST_PAGE }))) return;
    }
  }

  async older(chatId) {
    const room = this.state.rooms.get(chatId);
    if (room?.loaded && !room.atStart && !this.state.chats.get(chatId)?.gone) await this.next(chatId, { endId: room.first, count: NEXT_PAGE });
  }

  async newer(chatId) {
    const room = this.state.rooms.get(chatId);
    if (room?.loaded && !model.atEnd(this.state, chatId)) await this.next(chatId, { startId: model.nextId(room), count: NEXT_PAGE });
  }

  async next(chatId, where) {
    if (this.paging.has(chatId) || this.asked.has(chatId)) return;
    this.paging.add(chatId);
    try {
      this.takeJoined(chatId, await this.page(chatId, where));
      await this.mend(chatId);
    } finally {
      this.paging.delete(chatId);
    }
  }

  async jump(chatId, messageId) {
    if (model.messageOf(this.state, chatId, messageId)) return;
    let answer = await this.page(chatId, { startId: Math.max(1, messageId - 3), count: 6 });
    if (answer.page.more && answer.page.at(-1).messageId < messageId) answer = await this.page(chatId, { startId: messageId, count: 6 });
    this.take(chatId, answer, { far: true });
  }

  async newest(chatId) {
    this.change((now) => model.trim(now, chatId, KEPT_IN_MEMORY));
    if (!model.atEnd(this.state, chatId)) this.take(chatId, await this.page(chatId, { count: FIRST_PAGE }), { reset: true });
  }

  async read(chatId, messageId) {
    if (!(this.state.chats.get(chatId)?.missed > 0) || !model.readsMore(this.state, chatId, messageId)) return;
    this.change((now) => model.readHere(now, chatId, messageId));
    const { missed } = await this.ask("read", { chatId, messageId });
    this.change((now) => model.readHere(now, chatId, messageId, missed));
    this.tell({ kind: "read", chatId, messageId });
  }

  // ---------------------------------------------------------------- the outbox and drafts, as in actions/ and storage.js

  send(kind, chatId, fields) {
    this.device.serial += 1;
    this.device.stamp += 1;
    const row = { kind, clientMessageId: `c${this.device.serial}`, chatId, createdAt: this.device.stamp, state: "queued", ...fields };
    if (row.replyTo) row.replyTo = model.quoteOf(this.state, chatId, row.replyTo);
    this.change((now) => model.enqueue(now, row));
    this.device.outbox.set(row.clientMessageId, structuredClone(row));
    this.tell({ kind: "row", row });
    this.pump();
  }

  patchDisk(clientMessageId, change) {
    const row = this.device.outbox.get(clientMessageId);
    if (row) this.device.outbox.set(clientMessageId, structuredClone({ ...row, ...change }));
    this.tell({ kind: "patch", clientMessageId, change });
  }

  patch(clientMessageId, change) {
    this.change((now) => model.patchOutbox(now, clientMessageId, change));
    this.patchDisk(clientMessageId, change);
  }

  drop(clientMessageId) {
    this.device.outbox.delete(clientMessageId);
    this.tell({ kind: "drop", clientMessageId });
    this.change((now) => model.dropOutbox(now, clientMessageId));
  }

  pump() {
    if (!this.connection) return;
    for (const row of this.state.outbox) if (row.state === "queued" && !this.inFlight.has(row.clientMessageId)) this.transmit(row);
  }

  async transmit(row) {
    const { kind, chatId, clientMessageId, message, replyTo, originalMessageId } = row;
    this.inFlight.add(clientMessageId);
    try {
      const answer = await this.ask(kind, { chatId, clientMessageId, message, replyTo: replyTo?.messageId, originalMessageId });
      this.change((now) => model.applyAnswer(now, row, answer));
      this.tell({ kind: "sent", row, answer });
      this.drop(clientMessageId);
    } catch (failure) {
      if (failure.message !== "refused") throw failure;
      this.patch(clientMessageId, { state: "failed", failure: { code: "forbidden" } });
    }
    this.inFlight.delete(clientMessageId);
  }

  draft(chatId, text) {
    this.device.stamp += 1;
    const draft = { text, at: this.device.stamp };
    this.device.drafts.set(chatId, draft);
    this.tell({ kind: "draft", key: chatId, ...draft });
    this.change((now) => model.mergeDraft(now, chatId, draft));
  }
}
