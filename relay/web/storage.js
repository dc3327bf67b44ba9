/**
 * What the page keeps on this device. In localStorage, which needs no waiting: settings, the signed-in user and text not
 * sent yet. In IndexedDB what the relay knows too, so that it shows content before the socket opens and loses nothing
 * when it closes. Where there is neither (a private window, a full disk) it keeps nothing, silently.
 */
import { openDB, deleteDB } from "idb";

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
    else localStorage.removeItem("session");
  } catch {
    // Then only the first paint is slower next time.
  }
}

/** Keep the text of the composer when the page closes: there is no time left for IndexedDB. */
export function keepLastWords(userId, chatId, text) {
  // A user whom another tab signed out leaves nothing behind here either.
  if (!remembered()) return;
  try {
    localStorage.setItem("lastWords", JSON.stringify({ userId, chatId, text }));
  } catch {
    // The draft saved a moment ago is in IndexedDB.
  }
}

/** Give the text that the composer had when the page closed, once. */
export function takeLastWords() {
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

const nameOf = (userId) => `relay:${userId}`;

/** Open the store of one user. */
export async function openStorage(userId) {
  let database = null;
  try {
    database = await openDB(nameOf(userId), 1, {
      upgrade(db) {
        db.createObjectStore("values");
        db.createObjectStore("rooms", { keyPath: "chatId" });
        db.createObjectStore("drafts", { keyPath: "chatId" });
        db.createObjectStore("outbox", { keyPath: "clientMessageId" });
      },
      blocking: () => database?.close(),
    });
  } catch {
    // Empty on purpose: see the head of this module.
  }

  async function quietly(work, otherwise) {
    if (!database) return otherwise;
    try {
      return await work(database);
    } catch {
      return otherwise;
    }
  }

  return {
    /** Read the chats, people, drafts and the outbox. */
    load: () =>
      quietly(
        async (db) => {
          const [chats, people, drafts, outbox] = await Promise.all([
            db.get("values", "chats"),
            db.get("values", "people"),
            db.getAll("drafts"),
            db.getAll("outbox"),
          ]);
          outbox.sort((a, b) => a.createdAt - b.createdAt);
          return { chats: chats ?? [], people: people ?? [], drafts, outbox };
        },
        { chats: [], people: [], drafts: [], outbox: [] },
      ),

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
        return db.put("rooms", { chatId, messages, first, last, deleted, details, savedAt: Date.now() });
      }),

    /** Delete the messages of chats that are gone, and of those not opened for longest. */
    tidyRooms: (chatIds) =>
      quietly(async (db) => {
        const rooms = await db.getAll("rooms");
        rooms.sort((a, b) => b.savedAt - a.savedAt);
        const stale = rooms.filter((room, at) => at >= KEPT_ROOMS || !chatIds.has(room.chatId));
        await Promise.all(stale.map((room) => db.delete("rooms", room.chatId)));
      }),

    saveDraft: (chatId, text) =>
      quietly((db) => (text ? db.put("drafts", { chatId, text }) : db.delete("drafts", chatId))),

    saveOutbox: (row) => quietly((db) => db.put("outbox", row)),
    loadOutbox: () => quietly((db) => db.getAll("outbox"), []),
    dropOutbox: (clientMessageId) => quietly((db) => db.delete("outbox", clientMessageId)),

    /** Erase everything of this user from the device, after signing out. */
    async erase() {
      database?.close();
      database = null;
      try {
        await deleteDB(nameOf(userId));
      } catch {
        // Nothing to erase.
      }
    },
  };
}
