// The relay's time on devices with clocks that are wrong, are set, or stop.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createClock } from "../../relay/web/net/clock.js";

const RELAY = 1_790_000_000_000;
const HOUR = 3_600_000;

/** A device whose clock is `ahead` ms ahead of the relay's. `pass` advances time, `set` sets its clock, `sleep` does
 * both. */
function device(ahead = 0, options = {}) {
  let steady = 5_000;
  let wall = RELAY + ahead;
  let relay = RELAY;
  const clock = createClock({ wall: () => wall, steady: () => steady, ...options });
  const it = {
    clock,
    relay: () => relay,
    pass: (ms) => { steady += ms; wall += ms; relay += ms; },
    set: (ms) => { wall += ms; },
    sleep: (ms) => { wall += ms; relay += ms; },
    /** Make a request: the answer is stamped after `there` ms and comes after `back` more. */
    ask: (there = 20, back = 20) => {
      const sentAt = clock.steady();
      it.pass(there);
      const stamp = relay;
      it.pass(back);
      clock.hear(stamp, sentAt, clock.steady());
    },
  };
  return it;
}

const about = (it, within = 0) => assert.ok(Math.abs(it.clock.now() - it.relay()) <= within, `off by ${it.clock.now() - it.relay()} ms`);

test("before the first answer the clock tells the device's time", () => {
  const it = device(2 * HOUR);
  assert.equal(it.clock.known, false);
  assert.equal(it.clock.now(), RELAY + 2 * HOUR);
});

test("after one answer a device hours ahead or behind tells the relay's time", () => {
  for (const ahead of [2 * HOUR, -2 * HOUR, 0]) {
    const it = device(ahead);
    it.clock.now();
    it.ask();
    assert.equal(it.clock.known, true);
    about(it);
    it.pass(HOUR);
    about(it);
  }
});

test("the quickest of the last eight answers counts", () => {
  const it = device(HOUR);
  it.ask(0, 4_000);
  about(it, 2_000);
  it.ask(10, 10);
  about(it, 2_000);
  for (let more = 0; more < 7; more += 1) it.ask(0, 3_000);
  about(it, 2_000);
  it.pass(10_000);
  about(it);
  it.ask(0, 3_000);
  it.pass(10_000);
  about(it, 1_500);
  assert.notEqual(it.clock.now(), it.relay());
});

test("an event made just now moves the clock on and never back", () => {
  const it = device(-HOUR);
  it.clock.hearLive(it.relay());
  about(it);
  it.clock.hearLive(it.relay() - HOUR);
  about(it);
  assert.equal(it.clock.known, false);
});

test("the clock does not go back when a later answer says so by some ms", () => {
  const it = device();
  it.ask(0, 400);
  const before = it.clock.now();
  const sentAt = it.clock.steady();
  it.clock.hear(it.relay() - 500, sentAt, sentAt);
  assert.equal(it.clock.now(), before);
  it.pass(1_000);
  assert.equal(it.clock.now(), it.relay() - 500);
});

test("a device clock that is put back while the page is open changes nothing", () => {
  const it = device();
  it.ask();
  it.set(-3 * HOUR);
  about(it);
  it.pass(HOUR);
  about(it);
});

test("a device clock that is set ahead is believed only until the next answer", () => {
  const it = device();
  it.ask();
  it.set(3 * HOUR);
  assert.equal(it.clock.now(), it.relay() + 3 * HOUR);
  it.ask();
  about(it);
});

test("after sleep, in which the steady clock stood still, the time has gone on", () => {
  const it = device(-HOUR);
  it.ask();
  it.sleep(8 * HOUR);
  about(it);
  it.ask(300, 100);
  about(it, 100);
});

test("stamps increase, even within one ms and when the time is put back", () => {
  const it = device(HOUR);
  const stamps = [it.clock.stamp(), it.clock.stamp()];
  it.ask();
  stamps.push(it.clock.stamp(), it.clock.stamp());
  stamps.push(it.clock.stamp(it.relay() + 5 * HOUR), it.clock.stamp(it.relay()));
  for (let at = 1; at < stamps.length; at += 1) assert.ok(stamps[at] > stamps[at - 1]);
});

test("an age is never negative", () => {
  const it = device();
  it.ask();
  assert.equal(it.clock.age(it.relay() - 70), 70);
  assert.equal(it.clock.age(it.relay() + 5_000), 0);
});

test("the learned time is kept for the next start, and small changes are not written again", () => {
  const kept = [];
  const it = device(2 * HOUR, { keep: (ahead) => kept.push(ahead) });
  it.ask();
  it.ask(0, 30);
  assert.deepEqual(kept, [-2 * HOUR]);
  about(device(2 * HOUR, { kept: kept[0] }));
  about(device(0, { kept: NaN }));
});

test("frames without a stamp teach nothing", () => {
  const it = device(HOUR);
  it.clock.hear(undefined, 1, 2);
  it.clock.hear(RELAY, 2, 1);
  it.clock.hearLive(null);
  assert.equal(it.clock.known, false);
  assert.equal(it.clock.now(), RELAY + HOUR);
});
