// The page's state against a model of the relay's truth: random events, answers, refusals, broken connections, reloads, two
// tabs, jumps and far pages. TRUTH_STEPS and TRUTH_SEED set how many steps are made and where the first one begins.
import assert from "node:assert/strict";
import { test } from "node:test";
import { atEnd, lastOwnEditable, messageOf, newestShown } from "../../relay/web/model/messages.js";
import { draftOf } from "../../relay/web/model/state.js";
import { drawnRows } from "../../relay/web/model/timeline.js";
import { generator, ME, Relay } from "./truth_relay.mjs";
import { Device, onlyRefused, Tab } from "./truth_tab.mjs";

const STEPS = Number(process.env.TRUTH_STEPS ?? 20_000);
const SEED = Number(process.env.TRUTH_SEED ?? 1);
/** Steps of one history, and steps between two comparisons at rest. */
const STEPS_OF_HISTORY = 1_000;
const STEPS_TO_REST = 125;
const CHATS = ["ben", "group", ME];
const RANK = { undelivered: 0, unread: 1, read: 2 };

/** One turn of the event loop: all settled promises have run their callbacks. */
const turn = () => new Promise(setImmediate);

const isNew = (entry) => entry.kind === "new";

class World {
  device = new Device();
  relay = new Relay();

  constructor(seed) {
    this.random = generator(seed);
    this.openTab();
    this.openTab();
  }

  openTab() {
    return new Tab(this.relay, this.device, (tab) => this.checkAlways(tab));
  }

  // ---------------------------------------------------------------- possible steps

  step() {
    const { random, relay } = this;
    const chatId = random.one(CHATS);
    const chat = relay.chats.get(chatId);
    const top = relay.top(chat);
    const recent = () => Math.max(1, top - random.below(random.chance(0.3) ? 40 : 6));
    const other = random.one([...chat.others, ...chat.others, ME]);
    const tab = random.one(this.device.tabs);
    const text = () => `${random.chance(0.1) ? "!" : ""}text ${random.below(1_000)}`;
    const client = () => `o${(this.others = (this.others ?? 0) + 1)}`;
    const steps = {
      say: [8, () => relay.write(chatId, "new", other, { client: client(), text: `said ${top}`, target: top > 0 && random.chance(0.3) ? this.quotable(chat) : undefined })],
      edit: [5, () => top > 0 && relay.write(chatId, "edit", other, { client: client(), text: `edited ${random.below(1_000)}`, target: recent() })],
      edits: [0.1, () => top > 0 && this.repeat(14, () => relay.write(chatId, "edit", relay.entry(chat, this.anyNew(chat)).sender, { client: client(), text: `edited ${random.below(1_000)}`, target: this.anyNew(chat) }))],
      delete: [2, () => top > 0 && relay.write(chatId, "delete", other, { client: client(), target: recent() })],
      flood: [0.2, () => this.repeat(random.below(30), () => relay.write(chatId, "new", other, { client: client(), text: "flood" }))],
      mark: [6, () => top > 0 && relay.mark(chatId, random.one(["dlvrd", "read"]), other, recent())],
      clear: [0.1, () => relay.clear("ben")],
      member: [0.3, () => relay.member("group", random.chance(0.6))],
      connect: [2, () => !tab.connection && tab.connect()],
      disconnect: [0.6, () => tab.disconnect()],
      answer: [20, () => tab.connection?.outgoing.length > 0 && relay.answerNext(tab.connection, random)],
      replay: [15, () => tab.connection?.replay.length > 0 && relay.replayNext(tab.connection)],
      receive: [25, () => tab.connection?.inbox.length > 0 && tab.receive() && turn()],
      flush: [12, () => tab.flush()],
      hear: [10, () => tab.words.length > 0 && tab.hear()],
      reload: [0.2, () => this.reload(tab)],
      save: [1, () => tab.save()],
      show: [3, () => void tab.show(random.one([...tab.state.chats.keys(), ME]))],
      close: [0.5, () => (tab.open = null)],
      older: [3, () => tab.open && void tab.older(tab.open).catch(onlyRefused)],
      newer: [3, () => tab.open && void tab.newer(tab.open).catch(onlyRefused)],
      jump: [1.5, () => tab.open && relay.top(relay.chats.get(tab.open)) > 0 && void tab.jump(tab.open, this.anyNew(relay.chats.get(tab.open))).catch(onlyRefused)],
      newest: [1, () => tab.open && void tab.newest(tab.open).catch(onlyRefused)],
      read: [5, () => this.readIn(tab)],
      send: [4, () => tab.send("new", chatId, { message: text(), replyTo: this.answered(tab, chatId) })],
      change: [2, () => this.changeOwn(tab, chatId, text())],
      retry: [0.5, () => this.retryIn(tab)],
      discard: [0.5, () => tab.state.outbox.length > 0 && tab.drop(random.one(tab.state.outbox).clientMessageId)],
      draft: [3, () => tab.draft(chatId, random.chance(0.3) ? "" : text())],
    };
    const sum = Object.values(steps).reduce((total, [weight]) => total + weight, 0);
    let at = random() * sum;
    for (const [name, [weight, act]] of Object.entries(steps)) {
      at -= weight;
      if (at >= 0) continue;
      this.did = name;
      return act();
    }
    return undefined;
  }

  repeat(times, act) {
    for (let at = 0; at < times; at += 1) act();
  }

  quotable(chat) {
    const alive = chat.entries.filter((entry) => isNew(entry) && !entry.deleted);
    return alive.length > 0 ? this.random.one(alive.slice(-8)).id : undefined;
  }

  anyNew(chat) {
    const all = chat.entries.filter(isNew);
    return all[this.random.chance(0.5) ? this.random.below(all.length) : Math.max(0, all.length - 1 - this.random.below(6))].id;
  }

  reload(tab) {
    tab.kill();
    if (this.random.chance(0.9)) this.openTab().connect();
    else this.openTab();
  }

  readIn(tab) {
    const rows = tab.state.rooms.get(tab.open)?.messages ?? [];
    if (rows.length > 0) void tab.read(tab.open, this.random.one(rows.slice(-4)).messageId).catch(onlyRefused);
  }

  answered(tab, chatId) {
    const rows = tab.state.rooms.get(chatId)?.messages.filter((one) => one.status !== "deleted") ?? [];
    if (rows.length === 0 || this.random.chance(0.5)) return undefined;
    const { messageId, clientMessageId, message, sender, createdAt } = this.random.one(rows.slice(-5));
    return { messageId, clientMessageId, message, sender, createdAt };
  }

  changeOwn(tab, chatId, message) {
    const own = tab.state.rooms.get(chatId)?.messages.filter((one) => one.sender === ME && one.status !== "deleted") ?? [];
    if (own.length === 0) return;
    const originalMessageId = this.random.one(own.slice(-4)).messageId;
    if (this.random.chance(0.6)) tab.send("edit", chatId, { originalMessageId, message });
    else tab.send("delete", chatId, { originalMessageId });
  }

  retryIn(tab) {
    const failed = tab.state.outbox.filter((row) => row.state === "failed");
    if (failed.length === 0) return;
    tab.patch(this.random.one(failed).clientMessageId, { state: "queued", failure: undefined });
    tab.pump();
  }

  // ---------------------------------------------------------------- permanent invariants

  checkAlways(tab) {
    const { state } = tab;
    for (const [chatId, room] of state.rooms) {
      const chat = this.relay.chats.get(chatId);
      const ids = room.messages.map((one) => one.messageId);
      assert.deepEqual(ids, [...new Set(ids)].sort((a, b) => a - b), "messages ascend, each once");
      if (!room.loaded) continue;
      for (const message of room.messages) {
        assert.ok(message.messageId >= room.first && message.messageId <= room.last, "a message lies in the range");
        assert.ok(isNew(this.relay.entry(chat, message.messageId)), "edits and deletions are not messages");
        if (room.deleted.has(message.messageId)) assert.equal(message.status, "deleted", "a deletion is never undone");
        if (message.status === "deleted") assert.equal(message.message, undefined, "a deleted message has no text");
        if (room.deleted.has(message.replyTo?.messageId)) assert.equal(message.replyTo.message, undefined, "no deleted text is quoted");
      }
      const known = new Set(ids);
      for (const { id } of this.relay.shown(chat).filter(isNew)) {
        if (id >= room.first && id <= room.last && !room.holes.has(id)) assert.ok(known.has(id), `${id} is missing in ${room.first}–${room.last} of ${chatId}`);
      }
    }
    const clients = state.outbox.map((row) => row.clientMessageId);
    assert.equal(clients.length, new Set(clients).size, "a waiting message waits once");
    for (const row of state.outbox) {
      if (row.kind !== "new") continue;
      const { deleted, messages } = state.rooms.get(row.chatId) ?? { messages: [] };
      if (deleted?.has(row.replyTo?.messageId)) assert.equal(row.replyTo.message, undefined, "no deleted text waits to be sent");
      assert.ok(!messages.some((one) => one.clientMessageId === row.clientMessageId && one.sender === ME), "a sent message does not wait");
    }
  }

  // ---------------------------------------------------------------- invariants at rest

  /** Deliver everything under way. */
  async settle() {
    for (let round = 0; round < 2_000; round += 1) {
      let moved = false;
      for (const tab of this.device.tabs) {
        if (!tab.connection) tab.connect();
        while (tab.connection.outgoing.length > 0) this.relay.answerNext(tab.connection, this.random), (moved = true);
        while (tab.connection.replay.length > 0) this.relay.replayNext(tab.connection), (moved = true);
        while (tab.connection?.inbox.length > 0) {
          moved = true;
          if (tab.receive()) await turn();
        }
        if (tab.frames.length > 0) moved = true;
        tab.flush();
        while (tab.words.length > 0) tab.hear(), (moved = true);
        tab.pump();
        moved ||= tab.connection.outgoing.length > 0;
      }
      await turn();
      moved ||= this.device.tabs.some((tab) => tab.connection.outgoing.length > 0 || tab.words.length > 0);
      if (!moved) return;
    }
    assert.fail("it never comes to rest");
  }

  async rest() {
    await this.settle();
    for (const tab of this.device.tabs) {
      this.checkList(tab);
      for (const { id } of this.relay.list()) {
        tab.open = null;
        tab.show(id);
        await this.settle();
        this.checkRoom(tab, id);
      }
      this.checkList(tab);
    }
    const [one, ...others] = this.device.tabs.map(({ state }) => ({
      outbox: state.outbox.map(({ clientMessageId, state: how }) => [clientMessageId, how]).sort(),
      drafts: CHATS.map((chatId) => draftOf(state, chatId)),
    }));
    for (const other of others) assert.deepEqual(other, one, "tabs agree");
    const disk = [...this.device.outbox.values()].map(({ clientMessageId, state }) => [clientMessageId, state]).sort();
    assert.deepEqual(disk, one.outbox, "the disk has what waits");
    assert.ok(one.outbox.every(([, how]) => how === "failed"), "nothing waits for ever");
    assert.deepEqual(CHATS.map((chatId) => this.device.drafts.get(chatId)?.text ?? ""), one.drafts, "the draft written last wins");
  }

  checkList(tab) {
    const fields = ({ id, type, lastMessageText, lastMessageStatus, lastMessageId, missed, isMine }) => {
      // The list shows the status of one's own messages only, and for a group only if it is loaded.
      const isKnown = isMine && (type !== "group" || messageOf(tab.state, id, lastMessageId));
      const status = isKnown || lastMessageStatus === "deleted" ? lastMessageStatus : null;
      return { id, text: lastMessageText ?? "", status, lastMessageId, missed: missed ?? 0, isMine };
    };
    const shown = [...tab.state.chats.values()].filter((chat) => !chat.gone).map(fields).sort((a, b) => (a.id < b.id ? -1 : 1));
    assert.deepEqual(shown, this.relay.list().map(fields).sort((a, b) => (a.id < b.id ? -1 : 1)), "the list is true");
  }

  checkRoom(tab, chatId) {
    const { relay } = this;
    const chat = relay.chats.get(chatId);
    const room = tab.state.rooms.get(chatId);
    const shown = relay.shown(chat);
    const truth = new Map(shown.filter(isNew).map((entry) => [entry.id, relay.message(chat, entry)]));
    const inRange = [...truth.keys()].filter((id) => id >= room.first && id <= room.last);
    const ids = room.messages.map((one) => one.messageId).filter((id) => id > chat.cleared);
    assert.deepEqual(ids, inRange, "the loaded part is whole");
    assert.equal(room.stale.size, 0);
    for (const message of room.messages) {
      const said = truth.get(message.messageId);
      if (!said) continue;
      assert.equal(message.message, said.message, `text of ${message.messageId}`);
      this.checkStatus(tab, chatId, message, said);
      const quote = said.replyTo && relay.entry(chat, said.replyTo.messageId);
      assert.equal(message.replyTo?.messageId, said.replyTo?.messageId);
      if (quote && quote.id > chat.cleared) {
        assert.equal(message.replyTo.message, said.replyTo.message, `quote of ${quote.id} in ${message.messageId}`);
        // Until the deletion is loaded, the relay's quote looks like that of a picture: it has no text.
        const deletion = chat.entries.find((one) => one.kind === "delete" && one.target === quote.id);
        const isTold = message.replyTo.status === "deleted";
        if (!deletion || (deletion.id >= room.first && deletion.id <= room.last)) assert.equal(isTold, Boolean(deletion), `quote of ${quote.id} in ${message.messageId}`);
      }
    }
    const missed = relay.missed(chat);
    const isUnread = (one) => one.sender !== ME && one.status === "unread";
    if (missed > 0) assert.ok(messageOf(tab.state, chatId, [...truth.values()].find(isUnread).messageId), "the unread messages are there");
    else assert.ok(atEnd(tab.state, chatId), "a chat without news opens at its end");
    const isEnd = room.last >= (shown.at(-1)?.id ?? 0);
    assert.equal(atEnd(tab.state, chatId), isEnd, "the end is known");
    assert.equal(newestShown(tab.state, chatId)?.messageId, isEnd ? inRange.at(-1) : undefined);
    const editable = inRange.map((id) => truth.get(id)).findLast((one) => one.sender === ME && one.status !== "deleted");
    assert.equal(lastOwnEditable(tab.state, chatId)?.messageId, isEnd ? editable?.messageId : undefined);
    const drawn = drawnRows(tab.state, chatId, { start: 0, end: room.messages.length, waiting: isEnd }).filter((row) => row.type === "message");
    assert.equal(new Set(drawn.map((row) => row.key)).size, drawn.length, "each row is drawn once");
  }

  checkStatus(tab, chatId, message, said) {
    // Receipts of messages further up are not repeated: to a tab that was away while another took the events, nor to
    // what
    // the disk had while the chat was not loaded.
    if ((tab.hasMissed || tab.fromDisk.has(chatId)) && RANK[message.status] < RANK[said.status]) return;
    assert.equal(message.status, said.status, `status of ${message.messageId} in ${chatId}`);
  }
}

test("the state becomes what the relay has, whatever happens in whatever order", async (t) => {
  let done = 0;
  for (let seed = SEED; done < STEPS; seed += 1) {
    const world = new World(seed);
    let at = 0;
    try {
      for (at = 1; at <= STEPS_OF_HISTORY && done < STEPS; at += 1, done += 1) {
        await world.step();
        if (at % STEPS_TO_REST === 0) await world.rest();
      }
    } catch (failure) {
      console.error(JSON.stringify(world.device.tabs.map((t)=>[t.state.outbox, [...(t.state.rooms.get("group")?.deleted??[])]])), JSON.stringify(world.device.tabs.map((t)=>t.lastWord)).slice(0,1500));
      failure.message = `seed ${seed}, step ${at} (${world.did}): ${failure.message}`;
      throw failure;
    }
  }
  t.diagnostic(`${done} steps`);
});
