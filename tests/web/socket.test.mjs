// The wire on a fake socket and a fake clock: no real waiting.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createClock } from "../../relay/web/net/clock.js";
import { ANSWER_WITHIN, backoff, callRelay, createWire, PING_AFTER, rowBackoff, USUAL_FRAME_BYTES } from "../../relay/web/net/socket.js";

class FakeClock {
  time = 1_000_000;
  timers = new Map();
  serial = 0;
  now = () => this.time;
  set = (fn, ms) => {
    this.serial += 1;
    this.timers.set(this.serial, { fn, at: this.time + ms });
    return this.serial;
  };
  clear = (id) => this.timers.delete(id);
  async advance(ms) {
    const end = this.time + ms;
    for (;;) {
      const [id, next] = [...this.timers].sort((a, b) => a[1].at - b[1].at)[0] ?? [];
      if (!next || next.at > end) break;
      this.time = next.at;
      this.timers.delete(id);
      next.fn();
      await settle();
    }
    this.time = end;
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

function setUp({ signedIn = true, frameBytes, beforeAnswer } = {}) {
  const clock = new FakeClock();
  const time = createClock({ wall: clock.now, steady: clock.now });
  const sockets = [];
  const events = [];
  const states = [];
  const wire = createWire({
    open: () => {
      const socket = { sent: [], send: (text) => socket.sent.push(text), close: () => (socket.closed = true) };
      sockets.push(socket);
      return socket;
    },
    clock,
    time,
    random: () => 1,
    frameBytes: () => frameBytes,
    onEvent: (frame) => events.push(frame),
    beforeAnswer,
    onState: (state) => states.push(state.name),
    stillSignedIn: async () => signedIn,
  });
  return {
    wire, clock, time, sockets, events, states,
    get socket() {
      return sockets.at(-1);
    },
    live() {
      wire.start();
      sockets.at(-1).onopen();
    },
    receive: (frame) => sockets.at(-1).onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) }),
    async close(code) {
      sockets.at(-1).onclose({ code });
      await settle();
    },
  };
}

const requests = (socket) => socket.sent.filter((text) => text.startsWith("{")).map((text) => JSON.parse(text));

test("a request made before there is a connection goes out when there is one", async () => {
  const it = setUp();
  it.wire.start();
  const answer = it.wire.request("chats", {});
  assert.deepEqual(it.socket.sent, []);
  it.socket.onopen();
  const [{ id, payloadType }] = requests(it.socket);
  assert.equal(payloadType, "chats");
  it.receive({ type: "response", id, payload: [1] });
  assert.deepEqual(await answer, [1]);
});

test("the events before an answer are applied before it is given", async () => {
  const order = [];
  const it = setUp({ beforeAnswer: () => order.push(`after ${it.events.length} events`) });
  it.live();
  const answers = [it.wire.request("chats", {}).then(() => order.push("answer")), it.wire.request("new", {}).catch(() => order.push("error"))];
  const [first, second] = requests(it.socket);
  it.receive({ type: "event", id: 1, eventType: "new", payload: {} });
  it.receive({ type: "response", id: first.id, payload: [] });
  await settle();
  it.receive({ type: "event", id: 2, eventType: "new", payload: {} });
  it.receive({ type: "response", id: second.id, error: { code: "forbidden" } });
  await Promise.all(answers);
  assert.deepEqual(order, ["after 1 events", "answer", "after 2 events", "error"]);
});

test("a page that is not the last says so, and what asks for the next one", async () => {
  const it = setUp();
  it.live();
  const answer = it.wire.request("search", { query: "word" });
  const [{ id }] = requests(it.socket);
  it.receive({ type: "response", id, payload: [{ messageId: 1 }], more: true, next: "s12" });
  const page = await answer;
  assert.deepEqual([page.length, page.more, page.next], [1, true, "s12"]);
});

test("an unanswered request is sent again on the next connection, the same to the letter, and answered once", async () => {
  const it = setUp();
  it.live();
  const answer = it.wire.request("new", { chatId: "User2", clientMessageId: "c1", message: "hi" });
  const first = it.socket.sent[0];
  await it.close(1006);
  await it.clock.advance(1_000);
  it.socket.onopen();
  assert.equal(it.sockets.length, 2);
  assert.deepEqual(it.socket.sent, [first]);
  it.receive({ type: "response", id: JSON.parse(first).id, payload: { messageId: 7 } });
  assert.deepEqual(await answer, { messageId: 7 });
  await it.close(1012);
  await it.clock.advance(1_000);
  it.socket.onopen();
  assert.deepEqual(it.socket.sent, []);
});

test("a request that would happen twice fails with the connection instead", async () => {
  const it = setUp();
  await assert.rejects(it.wire.request("createChat", {}), { code: "connection_lost" });
  it.live();
  const answer = it.wire.request("createChat", {});
  await Promise.all([assert.rejects(answer, { code: "connection_lost" }), it.close(1006)]);
});

test("a request too large for a frame fails at once and is never sent, counted in bytes", async () => {
  const it = setUp();
  it.live();
  // Fewer characters than the limit's bytes, but more bytes.
  const text = "ж".repeat(USUAL_FRAME_BYTES * 0.6);
  await assert.rejects(it.wire.request("search", { query: text }), { code: "too_large" });
  await assert.rejects(it.wire.request("search", { query: "x".repeat(USUAL_FRAME_BYTES) }), { code: "too_large" });
  it.wire.request("search", { query: "x".repeat(USUAL_FRAME_BYTES - 1_000) });
  assert.equal(requests(it.socket).length, 1);
  await it.close(1006);
  await it.clock.advance(1_000);
  it.socket.onopen();
  assert.equal(requests(it.socket).length, 1);
});

test("a request is held to the relay's limit, smaller or larger than usual", async () => {
  for (const frameBytes of [2_000, 2 * USUAL_FRAME_BYTES]) {
    const it = setUp({ frameBytes });
    it.live();
    await assert.rejects(it.wire.request("search", { query: "x".repeat(frameBytes) }), { code: "too_large" });
    it.wire.request("search", { query: "x".repeat(frameBytes - 200) });
    assert.equal(requests(it.socket).length, 1);
  }
});

test("a frame that a relay with a smaller limit refuses is given up, and the rest goes out", async () => {
  const it = setUp();
  it.live();
  const large = it.wire.request("new", { message: "x".repeat(9_000) });
  it.wire.request("new", { message: "short" });
  await Promise.all([assert.rejects(large, { code: "too_large" }), it.close(1009)]);
  await it.clock.advance(1_000);
  it.socket.onopen();
  assert.deepEqual(requests(it.socket).map((one) => one.payload.message), ["short"]);
});

test("an error answer rejects with its code and the time to wait", async () => {
  const it = setUp();
  it.live();
  const answer = it.wire.request("new", {});
  it.receive({ type: "response", id: "r1", error: { code: "rate_limited", message: "slow down", retryAfter: 900 } });
  await assert.rejects(answer, { code: "rate_limited", retryAfter: 900 });
});

test("an event is handed on once, and its repeat is only acknowledged", () => {
  const it = setUp();
  it.live();
  it.receive({ type: "event", id: 5, eventType: "new", payload: {} });
  assert.deepEqual(it.socket.sent, []);
  it.wire.acknowledge(5);
  it.receive({ type: "event", id: 5, eventType: "new", payload: {} });
  it.receive({ type: "event", eventType: "online", payload: {} });
  it.receive({ type: "event", eventType: "online", payload: {} });
  assert.equal(it.events.length, 3);
  assert.deepEqual(requests(it.socket), [{ type: "ack", id: 5 }, { type: "ack", id: 5 }]);
});

test("a frame that is not JSON, or of an unknown type, does no harm", () => {
  const it = setUp();
  it.live();
  for (const frame of ["pong", "{", { event: "pong" }, { type: "error", error: {} }, { type: "response", id: "none" }]) it.receive(frame);
  assert.equal(it.wire.state.name, "live");
  assert.deepEqual(it.events, []);
});

test("silence is broken by a ping, and a ping without an answer by a new connection", async () => {
  const it = setUp();
  it.live();
  await it.clock.advance(PING_AFTER);
  assert.deepEqual(it.socket.sent, ["ping"]);
  it.receive({ event: "pong" });
  await it.clock.advance(PING_AFTER);
  assert.deepEqual(it.socket.sent, ["ping", "ping"]);
  await it.clock.advance(ANSWER_WITHIN);
  assert.equal(it.sockets.length, 2);
  assert.ok(it.sockets[0].closed);
});

test("waking up asks at once and gives up after five seconds", async () => {
  const it = setUp();
  it.live();
  it.wire.probe();
  assert.deepEqual(it.socket.sent, ["ping"]);
  await it.clock.advance(ANSWER_WITHIN - 1);
  assert.equal(it.sockets.length, 1);
  await it.clock.advance(1);
  assert.equal(it.sockets.length, 2);
});

test("waking up while waiting connects at once", async () => {
  const it = setUp();
  it.live();
  await it.close(1006);
  assert.equal(it.wire.state.name, "waiting");
  it.wire.probe();
  assert.equal(it.sockets.length, 2);
});

test("the wait grows, is spread, and has an end", () => {
  assert.deepEqual([0, 1, 2].map((tries) => backoff(tries, () => 1)), [500, 1_000, 2_000]);
  assert.equal(backoff(0, () => 0), 250);
  assert.equal(backoff(40, () => 1), 30_000);
});

test("the wait starts small again after a connection that worked", async () => {
  const it = setUp();
  it.live();
  for (let round = 0; round < 3; round += 1) {
    await it.close(1006);
    const { until } = it.wire.state;
    assert.equal(until - it.clock.time, 500);
    await it.clock.advance(500);
    it.socket.onopen();
  }
});

test("a revoked token ends it: no more connections", async () => {
  const it = setUp();
  it.live();
  await it.close(4401);
  await it.clock.advance(100_000);
  assert.equal(it.states.at(-1), "signedOut");
  assert.equal(it.sockets.length, 1);
});

test("a refused handshake is signed out only when the relay says so", async () => {
  for (const [signedIn, state] of [[true, "waiting"], [false, "signedOut"]]) {
    const it = setUp({ signedIn });
    it.wire.start();
    await it.close(1006);
    assert.equal(it.states.at(-1), state);
  }
});

test("a connection that never opens is given up and tried again", async () => {
  const it = setUp();
  it.wire.start();
  await it.clock.advance(12_000);
  assert.ok(it.sockets.length >= 2);
});

test("late frames of an old socket are ignored", async () => {
  const it = setUp();
  it.live();
  const old = it.sockets[0];
  const { onmessage } = old;
  it.wire.probe();
  await it.clock.advance(ANSWER_WITHIN);
  onmessage({ data: JSON.stringify({ type: "event", eventType: "online", payload: {} }) });
  assert.deepEqual(it.events, []);
  assert.equal(old.onmessage, null);
});

test("stopped means stopped", async () => {
  const it = setUp();
  it.live();
  it.wire.stop();
  await it.clock.advance(100_000);
  assert.equal(it.sockets.length, 1);
  assert.equal(it.clock.timers.size, 0);
});

test("requests that wait for an answer fail when the wire is stopped", async () => {
  const it = setUp();
  it.live();
  const waiting = [it.wire.request("chats", {}), it.wire.request("createChat", {})];
  it.wire.stop();
  for (const one of waiting) await assert.rejects(one, { code: "connection_lost" });
});

test("the clock learns the relay's time from the stamp of an answer, and of an event made just now", async () => {
  const it = setUp();
  it.live();
  const relay = it.clock.time + 7_200_000;
  it.receive({ type: "event", id: 1, eventType: "new", timestamp: relay, payload: {} });
  assert.equal(it.time.now(), it.clock.time);
  it.receive({ type: "event", eventType: "online", timestamp: relay - 50, payload: {} });
  assert.equal(it.time.now(), relay - 50);
  const answer = it.wire.request("chats", {});
  await it.clock.advance(40);
  it.receive({ type: "response", id: "r1", timestamp: relay + 20, payload: [] });
  await answer;
  assert.equal(it.time.now(), relay + 40);
});

test("a request that is repeated on a new socket is timed from there", async () => {
  const it = setUp();
  it.live();
  const answer = it.wire.request("chats", {});
  it.socket.onclose({ code: 1006 });
  await it.clock.advance(500);
  it.socket.onopen();
  it.receive({ type: "response", id: "r1", timestamp: 9_000_000, payload: [] });
  await answer;
  assert.equal(it.time.now(), 9_000_000);
});

test("the waits before a message is tried again grow to a minute", () => {
  for (const [tries, longest] of [[0, 3_000], [1, 6_000], [4, 48_000], [5, 60_000], [2_000, 60_000]]) {
    const wait = rowBackoff(tries);
    assert.ok(wait >= longest / 2 && wait <= longest, `${tries}: ${wait}`);
  }
});

// ---------------------------------------------------------------- over HTTP

/** Request the session on a network with this answer. */
function askSession(answer) {
  return callRelay("GET", "/session", {
    isOurs: (object, status) => (status === 401 ? Array.isArray(object.signIn) : typeof object.userId === "string"),
    within: 20,
    reach: async (_, { signal }) => answer(signal),
  });
}

const json = (object, status = 200) => () => new Response(JSON.stringify(object), { status });
const text = (body, status = 200) => () => new Response(body, { status });
const elsewhere = () => Object.defineProperty(json({ userId: "anna" })(), "redirected", { value: true });
const hang = (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
// The timer of a signal alone does not keep node running.
const hold = setInterval(() => {}, 1_000);

test("an answer of the relay is believed", async () => {
  assert.deepEqual(await askSession(json({ userId: "anna" })), { userId: "anna" });
  const refused = { error: { code: "unauthorized", message: "sign in first" }, signIn: ["password"] };
  await assert.rejects(askSession(json(refused, 401)), { code: "unauthorized", status: 401, answer: refused });
  await assert.rejects(askSession(json({ error: { code: "rate_limited", retryAfter: 900 } }, 429)), { code: "rate_limited", retryAfter: 900 });
});

test("an answer of something else than the relay is recognised, and not believed", async () => {
  for (const [name, answer, trouble] of [
    ["a page to sign in to the network", text("<html>Welcome</html>"), "elsewhere"],
    ["an object of somebody else", json({ status: "ok" }), "elsewhere"],
    ["a list", json([]), "elsewhere"],
    ["nothing", text(""), "elsewhere"],
    ["the answer of another address", elsewhere, "elsewhere"],
    ["a proxy that wants a password", text("<html>401</html>", 401), "elsewhere"],
    ["a proxy that wants a password and speaks JSON", json({ error: { code: "unauthorized" } }, 401), "elsewhere"],
    ["a proxy that forbids", text("no", 403), "elsewhere"],
    ["a proxy without a relay", text("<html>502</html>", 502), "refused"],
    ["no way to the relay", () => Promise.reject(new TypeError("failed to fetch")), "offline"],
    ["silence", hang, "silent"],
    ["an answer that stops half-way", (signal) => ({ status: 200, ok: true, json: () => hang(signal) }), "silent"],
  ]) {
    await assert.rejects(askSession(answer), { code: "connection_lost", trouble }, name);
  }
  clearInterval(hold);
});
