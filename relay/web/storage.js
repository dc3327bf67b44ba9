/**
 * What the page keeps in IndexedDB, so that it shows content before the socket opens and loses nothing when
 * it closes. Touches IndexedDB only. Where there is none (a private window, a full disk) it keeps nothing, silently:
 * the relay has the messages.
 */
import { openDB, deleteDB } from "idb";

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
