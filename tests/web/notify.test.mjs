// Alerts: no sound is scheduled on a clock that stands still.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page_modules.mjs";

const tones = [];
let answer = [];
let context;
let touched = false;

class FakeAudio {
  state = "suspended";
  currentTime = 0;
  destination = {};

  constructor() {
    context = this;
  }

  resume() {
    return new Promise((resolve) => answer.push(resolve));
  }

  createOscillator() {
    const node = { frequency: {}, connect: (next) => next, start: (at) => tones.push(at), stop() {} };
    return node;
  }

  createGain() {
    return { gain: { setValueAtTime() {}, exponentialRampToValueAtTime() {} }, connect: (next) => next };
  }
}

globalThis.AudioContext = FakeAudio;
Object.defineProperty(navigator, "userActivation", { get: () => ({ hasBeenActive: touched }), configurable: true });
const { clock } = await load("net/clock.js");
let now = 10_000;
clock.steady = () => now;
const { alertNew } = await load("notify.js");

const settle = () => new Promise((resolve) => setTimeout(resolve));

function allow() {
  context.state = "running";
  for (const resolve of answer.splice(0)) resolve();
}

test("sounds of a page that nobody has touched are not kept for the first touch", async () => {
  for (let message = 0; message < 12; message += 1) {
    alertNew({ sound: true });
    await settle();
    now += 2_000;
  }
  assert.deepEqual(tones, []);
  assert.ok(answer.length <= 1, `${answer.length} requests wait`);
  touched = true;
  allow();
  await settle();
  assert.deepEqual(tones, []);
  alertNew({ sound: true });
  await settle();
  assert.equal(tones.length, 2);
});

test("a sound whose device wakes up at once is played, and one that waits too long is not", async () => {
  tones.length = 0;
  for (const [wait, expected] of [[50, 2], [5_000, 2]]) {
    now += 10_000;
    context.state = "suspended";
    alertNew({ sound: true });
    now += wait;
    allow();
    await settle();
    assert.equal(tones.length, expected, `after ${wait} ms`);
  }
});
