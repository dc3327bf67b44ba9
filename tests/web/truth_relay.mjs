// A small model of the relay, for the property test of the page's state: chats, receipts, the log, and the events of
// one user's connections. It follows PROTOCOL.md: ids without gaps, events in order, live ones as of then, replayed
// ones as
// of now, one cursor for all connections of a device, answers in the order of the frames.

/** Make a seeded generator: () => 0 to 1, `below(n)`, `one(list)`, `chance(p)`. */
export function generator(seed) {
  let now = seed >>> 0;
  const next = () => {
    now = (now + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(now ^ (now >>> 15), now | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  next.below = (count) => Math.floor(next() * count);
  next.one = (list) => list[next.below(list.length)];
  next.chance = (share) => next() < share;
  return next;
}

export const ME = "me";
const REFUSED = "!";
const READING = new Set(["chat", "messages"]);

export class Relay {
  at = 1_000;
  seq = 0;
  log = [];
  chats = new Map();
  connections = new Set();
  /** The device whose tabs are tested: the last `seq` that it acknowledged. */
  cursor = 0;

  constructor() {
    this.add("ben", "dialog", ["ben"]);
    this.add("group", "group", ["ben", "carla"]);
    this.add(ME, "favorites", []);
  }

  add(id, type, others) {
    this.chats.set(id, { id, type, others, entries: [], read: {}, dlvrd: {}, cleared: 0, isMember: true, listed: type !== "dialog", known: new Map() });
  }

  // ---------------------------------------------------------------- queries

  top(chat) {
    return chat.entries.length;
  }

  entry(chat, id) {
    return chat.entries[id - 1];
  }

  isShown(chat, entry) {
    return entry.id > chat.cleared && (entry.kind === "new" || entry.target > chat.cleared);
  }

  shown(chat) {
    return chat.entries.filter((entry) => this.isShown(chat, entry));
  }

  status(chat, { id, sender, deleted }) {
    if (deleted) return "deleted";
    if (sender !== ME) return (chat.read[ME] ?? 0) >= id ? "read" : "unread";
    if (chat.others.some((user) => (chat.dlvrd[user] ?? 0) < id)) return "undelivered";
    return chat.others.some((user) => (chat.read[user] ?? 0) < id) ? "unread" : "read";
  }

  quote(chat, target) {
    const { id: messageId, client, text, sender, deleted, at } = this.entry(chat, target);
    return { messageId, clientMessageId: client, message: deleted || target <= chat.cleared ? undefined : text, sender, createdAt: at };
  }

  /** A message as the user sees it. */
  message(chat, entry) {
    const { id, kind, client, sender, text, deleted, target, at, changedAt } = entry;
    const message = {
      messageId: id, clientMessageId: client, sender, message: kind === "new" && !deleted ? text : undefined,
      status: this.status(chat, entry), type: kind, createdAt: at,
    };
    if (kind !== "new") message.payload = { originalMessageId: target };
    if (kind === "new" && target && !deleted) message.replyTo = this.quote(chat, target);
    if (changedAt) message[deleted ? "deletedAt" : "updatedAt"] = changedAt;
    if (chat.type === "group") message.delivering = this.delivering(chat, entry);
    return message;
  }

  delivering(chat, { id, sender }) {
    const waited = [...chat.others, ME].filter((user) => user !== sender);
    return waited.map((userId) => {
      const one = { userId };
      if (chat.dlvrd[userId] >= id) one.dlvrd = 1;
      if (chat.read[userId] >= id) one.read = 1;
      return one;
    });
  }

  missed(chat) {
    const isMissed = (one) => one.kind === "new" && one.sender !== ME && !one.deleted && one.id > (chat.read[ME] ?? 0);
    return this.shown(chat).filter(isMissed).length;
  }

  item(chat) {
    const newest = chat.entries.findLast((one) => one.kind === "new");
    const last = newest && this.isShown(chat, newest) ? newest : undefined;
    return {
      type: chat.type, id: chat.id, name: chat.id, lastMessageText: last?.text ?? "", lastMessageTime: last?.at ?? 1,
      lastMessageAuthor: last?.sender, lastMessageStatus: last ? this.status(chat, last) : "read", lastMessageId: last?.id ?? 0,
      missed: this.missed(chat) || undefined, isMine: last?.sender === ME,
    };
  }

  list() {
    return [...this.chats.values()].filter((chat) => chat.listed && chat.isMember).map((chat) => this.item(chat));
  }

  // ---------------------------------------------------------------- actions

  /** Write a message, an edit or a deletion; `origin` is the sender's connection. Returns the answer, null if refused.
   * */
  write(chatId, kind, sender, { client, text, target }, origin) {
    const chat = this.chats.get(chatId);
    const known = chat.known.get(`${sender}/${client}`);
    if (known) return known;
    if (sender === ME && !chat.isMember) return null;
    const original = kind === "new" ? undefined : this.entry(chat, target);
    if (text?.startsWith(REFUSED) || (kind !== "new" && (!original || original.kind !== "new" || original.deleted))) return null;
    if (kind === "edit" && original.sender !== sender) return null;
    this.at += 1;
    const entry = { id: this.top(chat) + 1, kind, sender, client, text: kind === "new" ? text : undefined, target, at: this.at };
    chat.entries.push(entry);
    if (original) {
      original.changedAt = this.at;
      original.deleted = kind === "delete";
      original.text = kind === "edit" ? text : undefined;
    }
    const answer = { messageId: entry.id, timestamp: this.at, clientMessageId: client };
    chat.known.set(`${sender}/${client}`, answer);
    if (!chat.listed && kind === "new") {
      chat.listed = true;
      this.publish({ kind: "chat", chat });
    }
    this.publish({ kind, chat, entry }, origin);
    return answer;
  }

  /** Let a user receive or read a chat up to a message. */
  mark(chatId, kind, user, id, origin) {
    const chat = this.chats.get(chatId);
    if (id > this.top(chat) || (user === ME && !chat.isMember)) return;
    const covers = (marks) => id > (marks[user] ?? 0);
    if (!covers(chat[kind])) return;
    chat.dlvrd[user] = Math.max(chat.dlvrd[user] ?? 0, id);
    if (kind === "read") chat.read[user] = id;
    this.at += 1;
    const own = chat.entries.findLast((one) => one.kind === "new" && one.sender === ME && one.id <= id && !one.deleted);
    if (user === ME ? kind === "read" : own) this.publish({ kind, chat, user, id: user === ME ? id : own.id, at: this.at }, origin);
  }

  /** Clear the dialog on another device: it leaves the list until the next message. */
  clear(chatId) {
    const chat = this.chats.get(chatId);
    if (!chat.listed) return;
    chat.cleared = this.top(chat);
    chat.listed = false;
    this.publish({ kind: "chatGone", chat, payload: { chatId, by: ME, reason: "deleted" } });
  }

  /** Remove the user from the group, or add them again: they see everything, and nothing is unread. */
  member(chatId, isMember) {
    const chat = this.chats.get(chatId);
    if (chat.isMember === isMember) return;
    chat.isMember = isMember;
    if (isMember) chat.read[ME] = chat.dlvrd[ME] = this.top(chat);
    chat.joinedSeq = this.seq + 1;
    if (isMember) this.publish({ kind: "chat", chat });
    else this.publish({ kind: "chatGone", chat, payload: { chatId, title: chatId, by: "ben", byName: "Ben", reason: "removed" } });
  }

  publish(change, origin) {
    this.seq += 1;
    const one = { seq: this.seq, origin, own: Boolean(origin), ...change };
    this.log.push(one);
    for (const connection of this.connections) {
      if (connection === origin || !this.concerns(one)) continue;
      if (connection.replay.length > 0) {
        connection.replay.push(one);
      } else {
        const frame = this.frame(one);
        connection.inbox.push({ frame });
      }
    }
  }

  concerns({ seq, kind, chat, entry, payload }) {
    if (payload) return true;
    if (!chat.isMember || seq < (chat.joinedSeq ?? 0)) return false;
    if (!entry) return chat.listed || kind !== "chat";
    return (kind === "new" ? entry.id : entry.target) > chat.cleared;
  }

  /** The event of a change in its current form. */
  frame({ seq, kind, chat, entry, user, id, at, payload: loss }) {
    if (kind === "chat") return { id: seq, eventType: kind, payload: { item: this.item(chat) } };
    if (loss) return { id: seq, eventType: kind, payload: loss };
    if (!entry) {
      const payload = { chatId: chat.id, userId: user, messageId: id, timestamp: at };
      if (user === ME) payload.missed = this.missed(chat);
      return { id: seq, eventType: kind, payload };
    }
    const payload = { chatId: chat.id, messageId: entry.id, clientMessageId: entry.client, timestamp: entry.at };
    if (kind === "new") {
      const { message, status, sender, replyTo } = this.message(chat, entry);
      Object.assign(payload, { message, status, sender, replyTo, missed: this.missed(chat) });
    } else {
      payload.originalMessageId = entry.target;
      if (kind === "edit") payload.message = this.entry(chat, entry.target).text;
    }
    return { id: seq, eventType: kind, payload };
  }

  /** Connect a tab: events that its device has not acknowledged come again, except for its own actions. */
  connect(tab) {
    const replay = this.log.filter((one) => one.seq > this.cursor && !one.own && this.concerns(one));
    const connection = { tab, inbox: [], outgoing: [], replay };
    this.connections.add(connection);
    return connection;
  }

  /** Send the next event of a replay; answers may overtake it. */
  replayNext(connection) {
    const one = connection.replay.shift();
    if (this.concerns(one)) connection.inbox.push({ frame: this.frame(one) });
  }

  // ---------------------------------------------------------------- requests

  /** Answer a request of a connection. Answers to read-only requests may overtake others. */
  answerNext(connection, random) {
    const reads = ({ type }) => READING.has(type);
    const at = connection.outgoing.every(reads) && random ? random.below(connection.outgoing.length) : 0;
    const [{ id, type, payload }] = connection.outgoing.splice(at, 1);
    const answer = this.answer(type, payload, connection);
    connection.inbox.push({ id, answer });
  }

  answer(type, payload, connection) {
    const chat = this.chats.get(payload.chatId);
    if (type === "chats") return this.list();
    if (!chat.isMember && !("clientMessageId" in payload)) return null;
    if (type === "chat") {
      const meta = chat.type === "group" ? { participants: [ME, ...chat.others].map((id) => ({ id, name: id })) } : {};
      return { chatId: chat.id, lastMessageId: this.top(chat), missed: this.missed(chat), meta };
    }
    if (type === "messages") return this.page(chat, payload);
    if (type === "read") {
      this.mark(chat.id, "read", ME, payload.messageId, connection);
      return { missed: this.missed(chat) };
    }
    const { clientMessageId: client, message: text, replyTo, originalMessageId } = payload;
    return this.write(chat.id, type, ME, { client, text, target: type === "new" ? replyTo : originalMessageId }, connection);
  }

  page(chat, { startId, endId, count }) {
    const all = this.shown(chat).filter(({ id }) => id >= (startId ?? 0) && id < (endId ?? Infinity));
    const some = startId === undefined ? all.slice(-count) : all.slice(0, count);
    return Object.assign(some.map((entry) => this.message(chat, entry)), some.length < all.length && { more: true });
  }
}
