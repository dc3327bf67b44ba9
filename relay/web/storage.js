/**
 * What the page keeps on this device and tells its other tabs: one call does both, so that neither is forgotten. In
 * localStorage, which needs no waiting: settings, the signed-in user and text not sent yet. In IndexedDB what the relay
 * knows too, so that it shows content before the socket opens and loses nothing when it closes. Where there is neither (a
 * private window, a full disk) it keeps nothing, silently.
 */
import { openDB, deleteDB } from "idb";
import { clock } from "./net/clock.js";

// ---------------------------------------------------------------- localStorage

export function loadSettings() {
  const usual = { theme: "system", language: null, sound: true, notifications: false };
  try {
    return { ...usual, ...JSON.parse(localStorage.getItem("settings") ?? "{}") };
  } catch {
    return usual;
  }
}

export function keepSettings(values) {
  try {
    localStorage.setItem("settings", JSON.stringify(values));
  } catch {
    // The setting holds until the page closes.
  }
}

export function remembered() {
  try {
    return JSON.parse(localStorage.getItem("session") ?? "null");
  } catch {
    return null;
  }
}

export function remember(who) {
  try {
    if (who) localStorage.setItem("session", JSON.stringify(who));
    else for (const name of ["session", "lastWords"]) localStorage.removeItem(name);
  } catch {
    // Then only the first paint is slower next time.
  }
}

/** Keep the text of the composer when the page closes: there is no time left for IndexedDB. */
export function keepLastWords(userId, chatId, text) {
  // A user whom another tab signed out leaves nothing behind here either.
  if (!remembered()) return;
  try {
    localStorage.setItem("lastWords", JSON.stringify({ userId, chatId, text, at: clock.stamp() }));
  } catch {
    // The draft saved a moment ago is in IndexedDB.
  }
}

/** Give the text that the composer had when the page closed, once. */
function takeLastWords() {
  try {
    const words = JSON.parse(localStorage.getItem("lastWords") ?? "null");
    localStorage.removeItem("lastWords");
    return words;
  } catch {
    return null;
  }
}

// ---------------------------------------------------------------- IndexedDB

/** Messages kept of each chat; older ones come from the relay. */
const KEPT_MESSAGES = 100;
/** Chats whose messages are kept, the most recently opened ones. */
const KEPT_ROOMS = 60;
/** A database that does not open within so many ms (another tab deletes it) is done without. */
const OPEN_WITHIN = 2_000;

const nameOf = (userId) => `relay:${userId}`;

/** Open the database of one user; null where there is none. */
async function openDatabase(userId) {
  let database = null;
  const open = async () =>
    openDB(nameOf(userId), 1, {
      upgrade(db) {
        db.createObjectStore("values");
        db.createObjectStore("rooms", { keyPath: "chatId" });
        db.createObjectStore("drafts", { keyPath: "chatId" });
        db.createObjectStore("outbox", { keyPath: "clientMessageId" });
      },
      blocking: () => database?.close(),
    });
  const opening = open();
  let timer;
  const enough = new Promise((resolve) => (timer = setTimeout(resolve, OPEN_WITHIN, null)));
  database = await Promise.race([opening, enough]).catch(() => null);
  clearTimeout(timer);
  if (!database) opening.then((late) => late.close(), () => {});
  return database;
}

/** A row without what only the tab that sends it has: the files themselves. */
function forOthers(row) {
  return { ...row, files: row.files?.map(({ name, size, type }) => ({ name, size, type })) };
}

/** The drafts by chat, {text, at}; what the composer had when the page closed goes before. */
function draftsOf(rows, words) {
  const drafts = new Map(rows.map(({ chatId, text, at = 0 }) => [chatId, { text, at }]));
  if (words) drafts.set(words.chatId, { text: words.text, at: words.at ?? clock.stamp() });
  return drafts;
}

/**
 * Open the store of one user.
 *
 * @param {object} options
 * @param {(word: object) => void} options.onOther told each word of another tab: `kind` is one of draft, row, patch, drop,
 *   sent, read, forgotten, attended, signedOut, closing; `at` is when it was said
 */
export async function openStorage(userId, { onOther }) {
  let database = await openDatabase(userId);
  const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(nameOf(userId));
  if (channel) channel.onmessage = ({ data }) => onOther(data);

  function tell(word) {
    channel?.postMessage({ ...word, at: word.at ?? clock.now() });
  }

  async function quietly(work, otherwise) {
    if (!database) return otherwise;
    try {
      return await work(database);
    } catch {
      return otherwise;
    }
  }

  /** Do something to the disk; false when it did not take it. */
  const tried = (work) => quietly((db) => work(db).then(() => true), false);

  const saveDraft = (chatId, { text, at }) => tried((db) => (text ? db.put("drafts", { chatId, text, at }) : db.delete("drafts", chatId)));

  return {
    /** Read {chats, people, drafts: Map by chat of {text, at}, outbox: rows}. */
    async load() {
      const last = takeLastWords();
      const words = last?.userId === userId ? last : null;
      const kept = await quietly(
        async (db) => {
          const [chats, people, drafts, outbox] = await Promise.all([
            db.get("values", "chats"),
            db.get("values", "people"),
            db.getAll("drafts"),
            db.getAll("outbox"),
          ]);
          outbox.sort((a, b) => a.createdAt - b.createdAt);
          // Pages before this one kept only the code of a failure.
          const rows = outbox.map(({ error, ...row }) => (error ? { failure: { code: error }, ...row } : row));
          return { chats: chats ?? [], people: people ?? [], drafts: draftsOf(drafts, words), outbox: rows };
        },
        { chats: [], people: [], drafts: draftsOf([], words), outbox: [] },
      );
      if (words) saveDraft(words.chatId, kept.drafts.get(words.chatId));
      return kept;
    },

    /** Tell the other tabs something that is not kept. */
    tell,

    saveChats: (chats) => quietly((db) => db.put("values", chats, "chats")),
    savePeople: (people) => quietly((db) => db.put("values", people, "people")),

    /** Read the newest messages of a chat: {messages, first, last, deleted?, details?}, or undefined. */
    loadRoom: (chatId) => quietly((db) => db.get("rooms", chatId)),

    saveRoom: (chatId, room, details) =>
      quietly((db) => {
        const messages = room.messages.slice(-KEPT_MESSAGES);
        const cut = messages.length < room.messages.length;
        const first = cut ? messages[0].messageId : room.first;
        const { last, deleted } = room;
        return db.put("rooms", { chatId, messages, first, last, deleted, details, savedAt: clock.now() });
      }),

    /** Delete the messages of chats that are gone, and of those not opened for longest. */
    tidyRooms: (chatIds) =>
      quietly(async (db) => {
        const rooms = await db.getAll("rooms");
        rooms.sort((a, b) => b.savedAt - a.savedAt);
        const stale = rooms.filter((room, at) => at >= KEPT_ROOMS || !chatIds.has(room.chatId));
        await Promise.all(stale.map((room) => db.delete("rooms", room.chatId)));
      }),

    /** Keep a draft, without waiting; returns it as {text, at}. The key is a chat's id, `after` the time of the one before. */
    draft(key, text, after) {
      const draft = { text, at: clock.stamp(after) };
      saveDraft(key, draft);
      tell({ kind: "draft", key, ...draft });
      return draft;
    },

    /** Keep a row of the outbox with its files; resolves with false when the disk did not take it. */
    putRow(row) {
      tell({ kind: "row", row: forOthers(row) });
      return tried((db) => db.put("outbox", row));
    },

    /** Change fields of a kept row, leaving the rest as it is on the disk: only one tab has the files. */
    patchRow(clientMessageId, change) {
      tell({ kind: "patch", clientMessageId, change });
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
      return tried((db) => db.delete("outbox", clientMessageId));
    },

    loadRows: () => quietly((db) => db.getAll("outbox"), []),

    /** Erase everything of this user from the device, after signing out. */
    async erase() {
      database?.close();
      database = null;
      channel?.close();
      try {
        await deleteDB(nameOf(userId));
      } catch {
        // Nothing to erase.
      }
    },
  };
}
