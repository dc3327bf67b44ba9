/**
 * The page's data on this device, and its news for other tabs: one call does both, so that neither is forgotten.
 *
 * In localStorage, which saves before the next key press: settings, the signed-in user, all drafts, and messages that
 * are not in IndexedDB yet. In IndexedDB: the same drafts (a killed browser loses the last seconds of localStorage),
 * the outbox with its files, and the relay's data, so that the page shows content before the socket opens. Without both
 * (a private window, a full disk) nothing is saved. */
import { openDB, deleteDB } from "idb";
import { joinDrafts, tidyDrafts } from "./model/events.js";
import { sameItem } from "./model/state.js";
import { clock, within } from "./net/clock.js";

// ---------------------------------------------------------------- localStorage

export function readLocal(name) {
  try {
    return JSON.parse(localStorage.getItem(name) ?? "null");
  } catch {
    return null;
  }
}

/** Write a value; false if the browser refused. */
export function writeLocal(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function removeLocal(name) {
  try {
    localStorage.removeItem(name);
  } catch {} // It was not there.
}

/** List [rest of the name, value] of all values under names with this prefix. */
function localEntries(head) {
  try {
    const names = Array.from({ length: localStorage.length }, (_, at) => localStorage.key(at));
    return names.filter((name) => name.startsWith(head)).map((name) => [name.slice(head.length), readLocal(name)]);
  } catch {
    return [];
  }
}

export const remembered = () => readLocal("session");

export function remember(who) {
  if (who) writeLocal("session", who);
  else for (const name of ["session", "lastWords"]) removeLocal(name);
}

// ---------------------------------------------------------------- IndexedDB

/** Messages kept of each chat; older ones come from the relay. */
const KEPT_MESSAGES = 100;
/** Chats whose messages are kept, the most recently opened ones. */
const KEPT_ROOMS = 60;
/** The page goes on without what does not open or is not read within this many ms (another tab deletes or holds it). */
const READ_WITHIN = 2_000;
/** Chats or people written at once: many more would block the page. */
const AT_ONCE = 25;

const nameOf = (userId) => `relay:${userId}`;

/** A closed database is opened again after this many ms. */
const REOPEN_AFTER = 10_000;

/** Open the database of one user; null if there is none. The browser or another tab may close it: `onClosed`. */
async function openDatabase(userId, onClosed) {
  let database = null;
  const open = async () => openDB(nameOf(userId), 1, {
    upgrade(db) {
      db.createObjectStore("values");
      db.createObjectStore("rooms", { keyPath: "chatId" });
      // `chatId` here is the draft's key.
      db.createObjectStore("drafts", { keyPath: "chatId" });
      db.createObjectStore("outbox", { keyPath: "clientMessageId" });
    },
    blocking() {
      database?.close();
      onClosed();
    },
    terminated: onClosed,
  });
  const opening = open();
  database = await within(READ_WITHIN, opening, null);
  if (!database) opening.then((late) => late.close(), () => {});
  return database;
}

/** The part of the database with one kind of object by id, as {load(db), save(db, map)}. */
function createShelf(kind) {
  const head = `${kind}/`;
  const all = () => IDBKeyRange.bound(head, `${head}\uffff`);
  let saved = new Map();
  let old = false;

  return {
    forget: () => saved.clear(),

    async load(db) {
      // Earlier pages stored all of them as one value.
      const [things, together] = await Promise.all([db.getAll("values", all()), db.get("values", kind)]);
      old = Boolean(together);
      saved = new Map(things.map((one) => [one.id, one]));
      return things.length > 0 ? things : (together ?? []);
    },

    /** Write what differs from the disk, and remove what is gone. */
    async save(db, now) {
      // Known by its identity the next time.
      const isKept = ([id, one]) => sameItem(saved.get(id) ?? {}, one) && saved.set(id, one);
      const changes = [...now].filter((entry) => !isKept(entry));
      for (const id of saved.keys()) if (!now.has(id)) changes.push([id, undefined]);
      for (let at = 0; at < changes.length; at += AT_ONCE) {
        const part = changes.slice(at, at + AT_ONCE);
        const work = db.transaction("values", "readwrite");
        for (const [id, one] of part) one ? work.store.put(one, head + id) : work.store.delete(head + id);
        await work.done;
        for (const [id, one] of part) one ? saved.set(id, one) : saved.delete(id);
      }
      if (old) await db.delete("values", kind);
      old = false;
    },
  };
}

// ---------------------------------------------------------------- text and rows that must not be lost

/** Other tabs follow a text that is being written at this pace, in ms. */
const FOLLOW_EVERY = 200;

/** A row without its files, which only the sending tab has. */
function forOthers(row) {
  return row.files ? { ...row, files: row.files.map(({ blob: _, ...file }) => file) } : row;
}

/**
 * Open the store of one user.
 *
 * @param {object} options
 * @param {(word: object) => void} options.onOther called with news from another tab: `kind` is one of draft, row,
 *   patch, drop, sent, read, forgotten, attended, alerts, me, whose, mine, signsOut, signedOut, closing; `at` is when it was said
 * @param {() => void=} options.onUnkept called if typed text cannot be saved, once until it can again
 * @param {() => void=} options.onReopened called when the database was closed and is open again, perhaps empty
 */
export async function openStorage(userId, { onOther, onUnkept, onReopened }) {
  let database = null;
  let askedAt;
  let opening;
  const ask = () => {
    askedAt = clock.steady();
    opening = openDatabase(userId, () => (database = opening = null)).then((found) => (database = found));
  };
  ask();
  await opening;
  const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(nameOf(userId));
  if (channel) channel.onmessage = ({ data }) => onOther(data);
  const draftHead = `draft/${encodeURIComponent(userId)}/`;
  const rowHead = `row/${encodeURIComponent(userId)}/`;
  let erased = false;
  const chats = createShelf("chats");
  const people = createShelf("people");

  function tell(word) {
    channel?.postMessage({ ...word, at: word.at ?? clock.now() });
  }

  /** The database, or null. For a user who signed out it is not made again. */
  async function reach() {
    if (!(await opening) && !erased && remembered()?.id === userId && clock.steady() - askedAt >= REOPEN_AFTER) {
      ask();
      // A new one is empty.
      [chats, people].forEach((shelf) => shelf.forget());
      opening.then((found) => found && onReopened?.());
    }
    return opening;
  }

  async function quietly(work, otherwise) {
    // At once if it is open: the page may be closing.
    const db = database ?? (await reach());
    try {
      return db ? await work(db) : otherwise;
    } catch {
      return otherwise;
    }
  }

  /** Read from the disk; undefined if that failed or lasts. */
  const read = (work) => within(READ_WITHIN, quietly(work));

  /** Write to the disk; false if that failed. */
  const tried = (work) => quietly((db) => work(db).then(() => true), false);

  /** Make a function that saves its latest argument, one at a time, and resolves with false if that failed. */
  function oneAtATime(work) {
    let wanted;
    let running = null;
    const run = async () => {
      let kept = false;
      while (wanted !== undefined) {
        const now = wanted;
        wanted = undefined;
        kept = await tried((db) => work(db, now));
      }
      running = null;
      return kept;
    };
    return (now) => {
      wanted = now;
      running ??= run();
      return running;
    };
  }

  // Another tab's draft is read from its storage, so that it is known even if that tab dies at the next key.
  const heard = new Map();
  let hearing;
  function onStorage({ key, newValue }) {
    if (!key?.startsWith(draftHead) || !newValue) return;
    heard.set(key.slice(draftHead.length), newValue);
    hearing ??= setTimeout(() => {
      hearing = undefined;
      const drafts = joinDrafts([...heard].map(([name, text]) => [name, JSON.parse(text)]));
      heard.clear();
      for (const [name, draft] of drafts) onOther({ kind: "draft", key: name, ...draft });
    }, FOLLOW_EVERY);
  }
  globalThis.addEventListener?.("storage", onStorage);

  let isTold = false;
  const unwritten = new Map();
  const writeDrafts = oneAtATime(async (db) => {
    const part = [...unwritten];
    unwritten.clear();
    const work = db.transaction("drafts", "readwrite");
    for (const [chatId, draft] of part) draft ? work.store.put({ chatId, ...draft }) : work.store.delete(chatId);
    await work.done;
  });

  /** The composer's text of an earlier page version: one for all tabs. An empty one does not count. */
  function takeLastWords() {
    const words = readLocal("lastWords");
    removeLocal("lastWords");
    return words?.userId === userId && words.text ? [[words.chatId, words]] : [];
  }

  function loadDrafts(rows) {
    const local = localEntries(draftHead);
    const joined = joinDrafts([...local, ...rows.map(({ chatId, ...draft }) => [chatId, draft]), ...takeLastWords()]);
    const { drafts, forgotten } = tidyDrafts(joined, clock.now());
    for (const key of forgotten) {
      removeLocal(draftHead + key);
      unwritten.set(key, null);
    }
    const times = new Map(local.map(([key, draft]) => [key, draft?.at]));
    for (const [key, draft] of drafts) if (times.get(key) !== draft.at) writeLocal(draftHead + key, draft);
    if (forgotten.length > 0) writeDrafts(true);
    return drafts;
  }

  /** Rows of IndexedDB, and those not in it when their tab died; without files if these were not saved. */
  function loadRows(kept) {
    const rows = new Map(kept.map((row) => [row.clientMessageId, row]));
    for (const [id, row] of localEntries(rowHead)) {
      if (rows.has(id) || row?.clientMessageId !== id) removeLocal(rowHead + id);
      else rows.set(id, row);
    }
    // Earlier pages stored only the code of a failure.
    return [...rows.values()].map(({ error, ...row }) => (error ? { failure: { code: error }, ...row } : row));
  }

  return {
    /** Read {chats, people, drafts: Map by key of {text, at, quote?}, outbox: rows}. */
    async load() {
      const empty = { chats: [], people: [], drafts: [], outbox: [] };
      const reading = quietly(async (db) => {
        const [list, known, drafts, outbox] = await Promise.all([chats.load(db), people.load(db), db.getAll("drafts"), db.getAll("outbox")]);
        return { chats: list, people: known, drafts, outbox };
      }, empty);
      const kept = await within(READ_WITHIN, reading, empty);
      // Rows that come late are treated like news from another tab.
      if (kept === empty) reading.then(({ drafts, outbox }) => {
        for (const { chatId: key, ...draft } of drafts) onOther({ kind: "draft", key, ...draft });
        for (const row of outbox) onOther({ kind: "row", row });
      });
      return { ...kept, drafts: loadDrafts(kept.drafts), outbox: loadRows(kept.outbox) };
    },

    /** Send other tabs news that is not saved. */
    tell,

    /** Save chats or people, Maps by id: only changes are written. */
    saveChats: oneAtATime((db, now) => chats.save(db, now)),
    savePeople: oneAtATime((db, now) => people.save(db, now)),

    /** Read the newest messages of a chat: {messages, first, last, deleted?, details?}, or undefined. */
    loadRoom: (chatId) => read((db) => db.get("rooms", chatId)),

    saveRoom: (chatId, room, details) =>
      quietly((db) => {
        const messages = room.messages.slice(-KEPT_MESSAGES);
        const first = messages.length < room.messages.length ? messages[0].messageId : room.first;
        return db.put("rooms", { chatId, messages, first, last: room.last, deleted: room.deleted, details, savedAt: clock.now() });
      }),

    /** Delete the messages of lost chats, and of those not opened for longest. */
    tidyRooms: (chatIds) =>
      quietly(async (db) => {
        const [kept, stale, savedAt] = [[], [], new Map()];
        for (const id of await db.getAllKeys("rooms")) (chatIds.has(id) ? kept : stale).push(id);
        // One at a time: reading all their messages at once would block the page.
        if (kept.length > KEPT_ROOMS) for (const id of kept) savedAt.set(id, (await db.get("rooms", id))?.savedAt ?? 0);
        kept.sort((a, b) => savedAt.get(b) - savedAt.get(a));
        await Promise.all([...stale, ...kept.slice(KEPT_ROOMS)].map((id) => db.delete("rooms", id)));
      }),

    /**
     * Save a draft before the next key press; returns it as {text, at, quote?}.
     *
     * @param {string} key a chat's id, or a name of model/writing.js
     * @param {{text: string, quote?: object}} what
     * @param {number=} after when the draft before it was written
     */
    draft(key, { text, quote }, after) {
      const draft = quote ? { text, at: clock.stamp(after), quote } : { text, at: clock.stamp(after) };
      if (erased) return draft;
      // A user whom another tab signed out leaves nothing behind here either.
      const noted = remembered()?.id === userId && writeLocal(draftHead + key, draft);
      if (!noted) tell({ kind: "draft", key, ...draft });
      unwritten.set(key, text || quote ? draft : null);
      writeDrafts(true).then((kept) => {
        const isLost = !kept && !noted && Boolean(text);
        if (isLost && !isTold && !erased) onUnkept?.();
        isTold = isLost;
      });
      return draft;
    },

    /** Read the later copy of a draft, or undefined. */
    async loadDraft(key) {
      const row = await read((db) => db.get("drafts", key));
      return joinDrafts([[key, readLocal(draftHead + key)], [key, row]]).get(key);
    },

    /** Save a row of the outbox with its files; resolves with false if this device did not save all of it. */
    async putRow(row) {
      const { clientMessageId: id } = row;
      const plain = forOthers(row);
      tell({ kind: "row", row: plain });
      // Immediately, and only until the database has it.
      const noted = !erased && remembered()?.id === userId && writeLocal(rowHead + id, plain);
      const kept = await tried((db) => db.put("outbox", row));
      if (kept) removeLocal(rowHead + id);
      return kept || (noted && !row.files);
    },

    /** Change fields of a saved row, leaving the rest on disk: only one tab has the files. */
    patchRow(clientMessageId, change) {
      tell({ kind: "patch", clientMessageId, change });
      const noted = readLocal(rowHead + clientMessageId);
      if (noted) writeLocal(rowHead + clientMessageId, { ...noted, ...change });
      return tried(async (db) => {
        const work = db.transaction("outbox", "readwrite");
        const row = await work.store.get(clientMessageId);
        if (row) await work.store.put({ ...row, ...change });
        await work.done;
      });
    },

    /** Forget a row that was sent or discarded. */
    dropRow(clientMessageId) {
      tell({ kind: "drop", clientMessageId });
      removeLocal(rowHead + clientMessageId);
      return tried((db) => db.delete("outbox", clientMessageId));
    },

    /** Read a row with its files, or undefined. */
    loadRow: (clientMessageId) => read((db) => db.get("outbox", clientMessageId)),

    /** Erase everything of this user from the device, after signing out. */
    async erase() {
      erased = true;
      opening?.then((found) => found?.close());
      database = opening = null;
      channel?.close();
      globalThis.removeEventListener?.("storage", onStorage);
      clearTimeout(hearing);
      for (const head of [draftHead, rowHead]) for (const [rest] of localEntries(head)) removeLocal(head + rest);
      try {
        await deleteDB(nameOf(userId));
      } catch {} // Nothing to erase.
    },
  };
}
