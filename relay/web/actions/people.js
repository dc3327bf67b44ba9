/** Looks up people in the relay's directory whose unknown names are drawn. */
import { effect } from "@preact/signals";
import { change, request } from "./store.js";
import { learnPeople } from "../model/state.js";
import { strangersOf } from "../model/strangers.js";
import { state } from "../signals.js";

/** Requests at a time. */
const AT_ONCE = 4;
/** Maximum people looked up and remembered. */
const MOST_ASKED = 2_000;
/** The first people whose id or name contains the wanted id. */
const COUNT = 20;

/** Ids looked up for the user `askedBy`: missing ones are not looked up again. */
const asked = new Set();
let askedBy = null;
const waiting = [];
let running = 0;

/** Learn people's names by their ids, with at most one request each. */
export function know(ids) {
  forgetOthers();
  for (const id of ids) {
    if (asked.has(id) || asked.size >= MOST_ASKED) continue;
    asked.add(id);
    waiting.push(id);
  }
  while (running < AT_ONCE && waiting.length > 0) work();
}

/** Answers for one user are not for the next one who signs in. */
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
    // The directory is ordered by id: after the longest prefix of this one, it is among the first.
    const found = await request("users", { query: id, after: [...id].slice(0, -1).join("") || undefined, count: COUNT });
    if (by === state.value?.me.id) change((now) => learnPeople(now, found));
  } catch {
    // Retried with the next connection.
    if (by === askedBy) asked.delete(id);
  }
}

/** Learn the name of everybody who is drawn without one. */
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
