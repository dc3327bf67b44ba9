// A database that another tab holds: its reads do not answer, and the page goes on without them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page_modules.mjs";

/** The classes that the database library looks for in a browser. */
class Request extends EventTarget {
  answer(result) {
    this.result = result;
    this.dispatchEvent(new Event("success"));
  }
}
class Store {}
class Transaction extends EventTarget {
  objectStoreNames = ["one"];
  objectStore = () => store;
}
class Database extends EventTarget {
  transaction = () => new Transaction();
  close() {}
}
Object.assign(globalThis, {
  IDBRequest: Request, IDBObjectStore: Store, IDBTransaction: Transaction, IDBDatabase: Database,
  IDBIndex: class {}, IDBCursor: class {}, IDBKeyRange: { bound: () => null }, BroadcastChannel: undefined,
});

let held = [];
const store = new Store();
const hold = (what) => {
  const request = new Request();
  held.push([what, request]);
  return request;
};
Store.prototype.get = (...what) => hold(what);
Store.prototype.getAll = (...what) => hold(what);
globalThis.indexedDB = {
  open() {
    const request = new Request();
    setImmediate(() => request.answer(new Database()));
    return request;
  },
};

const storage = await load("storage.js");

/** Run with time that passes at once. */
async function withoutWaiting(work) {
  const own = globalThis.setTimeout;
  globalThis.setTimeout = (run, ms, ...what) => own(run, ms / 100, ...what);
  try {
    return await Promise.race([work(), new Promise((_, reject) => own(reject, 3_000, new Error("it waits for ever")))]);
  } finally {
    globalThis.setTimeout = own;
  }
}

test("a page whose database does not answer starts without it, and takes in late what waits to be sent", async () => {
  const heard = [];
  const mine = await storage.openStorage("anna", { onOther: (word) => heard.push(word) });
  const kept = await withoutWaiting(() => mine.load());
  assert.deepEqual([kept.chats, [...kept.drafts], kept.outbox], [[], [], []]);
  assert.equal(held.length, 6);
  const row = { clientMessageId: "c1", chatId: "ben", kind: "new", message: "hello" };
  const answers = [[], undefined, [], undefined, [{ chatId: "ben", text: "half", at: 7 }], [row]];
  held.forEach(([, request], at) => request.answer(answers[at]));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(heard, [{ kind: "draft", key: "ben", text: "half", at: 7 }, { kind: "row", row }]);
});

test("a chat, a row and a draft that cannot be read are not waited for", async () => {
  held = [];
  const mine = await storage.openStorage("anna", { onOther() {} });
  assert.deepEqual(await withoutWaiting(() => Promise.all([mine.loadRoom("ben"), mine.loadRow("c1"), mine.loadDraft("ben")])), [undefined, undefined, undefined]);
});
