/** Asks the relay's directory who somebody is whose name is drawn but not known. */
import { effect } from "@preact/signals";
import { change, request } from "./store.js";
import { learnPeople, strangersOf } from "../model/state.js";
import { state } from "../signals.js";

/** Questions to the relay at a time. */
const AT_ONCE = 4;
/** People who are asked about, and remembered to have been, at most. */
const MOST_ASKED = 2_000;
/** Those whose id or name contains the id that is asked for, and who come first. */
const COUNT = 20;

/** Ids that were asked about, of the signed-in user `askedBy`: who was not there then is not asked about again. */
const asked = new Set();
let askedBy = null;
const waiting = [];
let running = 0;

/** Learn the names of people by their ids, each with one question at most. */
export function know(ids) {
  forgetOthers();
  for (const id of ids) {
    if (asked.has(id) || asked.size >= MOST_ASKED) continue;
    asked.add(id);
    waiting.push(id);
  }
  while (running < AT_ONCE && waiting.length > 0) work();
}

/** What was asked for one user is not for another one who signs in. */
function forgetOthers() {
  const me = state.value?.me.id ?? null;
  if (me === askedBy) return;
  askedBy = me;
  asked.clear();
  waiting.length = 0;
}

async function work() {
  running += 1;
  try {
    while (waiting.length > 0) await ask(waiting.shift());
  } finally {
    running -= 1;
  }
}

async function ask(id) {
  const by = askedBy;
  try {
    // The directory is in the order of ids: from the longest beginning of this one on, it is among the first.
    const found = await request("users", { query: id, after: [...id].slice(0, -1).join("") || undefined, count: COUNT });
    if (by === state.value?.me.id) change((now) => learnPeople(now, found));
  } catch {
    // Asked again with the next connection.
    if (by === askedBy) asked.delete(id);
  }
}

/** From now on learn the name of everybody who is drawn without one. */
export function watchStrangers() {
  let seen = null;
  return effect(() => {
    const now = state.value;
    const before = seen?.me.id === now?.me.id ? seen : null;
    seen = now?.connected ? now : null;
    if (!seen || seen === before) return;
    const strangers = strangersOf(now, before);
    if (strangers.length > 0) know(strangers);
  });
}
