// Which rows of a long list of chats are drawn: those in view at once, a few of the others in each frame, and never many.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./page_modules.mjs";

const { nextRows } = await load("views/chatlist.js");

const IN_VIEW = 12;
const viewAt = (first, count) => ({ first: Math.min(first, count), last: Math.min(first + IN_VIEW, count), count });
const fresh = (before, after) => after.to - after.from - Math.max(0, Math.min(before.to, after.to) - Math.max(before.from, after.from));

/** Draw frame by frame until nothing is left to do; the most rows that were added in one of them. */
function settle(drawn, view) {
  let most = 0;
  for (let frames = 0; frames < 50; frames += 1) {
    const next = nextRows(drawn, view);
    assert.ok(next.from <= view.first && next.to >= view.last, "rows in view are drawn in the first frame");
    assert.ok(next.from >= 0 && next.to <= view.count && next.from <= next.to);
    if (next.from === drawn.from && next.to === drawn.to) return { drawn, most };
    most = Math.max(most, fresh(drawn, next));
    drawn = next;
  }
  assert.fail("the list is drawn for ever");
}

test("wherever one scrolls, no frame adds more rows than are in view, and not many are drawn", () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % below;
  let { drawn } = settle({ from: 0, to: 14 }, viewAt(0, 2_000));
  let first = 0;
  for (let times = 0; times < 3_000; times += 1) {
    const count = random(20) === 0 ? random(2_001) : 2_000;
    first = random(4) === 0 ? random(2_000) : Math.max(0, Math.min(1_990, first + random(61) - 30));
    const settled = settle(drawn, viewAt(first, count));
    drawn = settled.drawn;
    assert.ok(settled.most <= IN_VIEW, `${settled.most} rows in one frame`);
    assert.ok(drawn.to - drawn.from <= 76, `${drawn.to - drawn.from} rows`);
    const view = viewAt(first, count);
    assert.ok(view.first - drawn.from >= Math.min(24, view.first) && drawn.to - view.last >= Math.min(24, count - view.last));
  }
});

test("scrolling row by row draws once in a few rows", () => {
  let { drawn } = settle({ from: 0, to: 14 }, viewAt(100, 2_000));
  let times = 0;
  for (let first = 101; first <= 180; first += 1) {
    const next = nextRows(drawn, viewAt(first, 2_000));
    if (next.from !== drawn.from || next.to !== drawn.to) times += 1;
    drawn = next;
  }
  assert.ok(times <= 28, `${times}`);
});

test("a list that was empty is drawn when chats come", () => {
  const { drawn } = settle({ from: 0, to: 14 }, viewAt(0, 0));
  assert.deepEqual(drawn, { from: 0, to: 0 });
  assert.ok(settle(drawn, viewAt(0, 2_000)).drawn.to >= 36);
});
