/**
 * The connections to the relay: HTTP requests for signing in and out, and one socket for everything else, which connects,
 * keeps itself alive, repeats unanswered requests, backs off.
 *
 * Knows envelopes, not their meaning. Touches fetch, WebSocket and timers only, all arguments, so that tests run it
 * on a fake network and a fake clock. From the socket the page's clock learns the relay's time.
 */
import { clock as relayClock } from "./clock.js";

/** A ping is sent after this many ms without another frame; the relay gives up on a client after 20 s. */
export const PING_AFTER = 8_000;
/** A socket that does not answer a probe within this many ms is dead, whatever the browser says. */
export const ANSWER_WITHIN = 5_000;
const CONNECT_WITHIN = 10_000;
const FIRST_DELAY = 500;
const LONGEST_DELAY = 30_000;
const FIRST_ROW_DELAY = 3_000;
const LONGEST_ROW_DELAY = 60_000;
/** A frame over the relay's limit makes it close the connection (1009). This is the usual limit. */
export const USUAL_FRAME_BYTES = 256 * 1024;
/** Requests that must not be repeated once they were sent: a repeat would have another effect (PROTOCOL.md, section 5).
 * */
export const NOT_REPEATED = new Set(["createChat", "leaveChat", "deleteChat", "invite", "password"]);
/** Maximum UTF-8 bytes of one UTF-16 unit. */
const MOST_BYTES_A_UNIT = 3;

/** Ms within which the relay answers over HTTP. A network that swallows packets would let the page wait for minutes. */
export const HTTP_WITHIN = 6_000;

/**
 * A failed request; `code` is one of the protocol's error codes, or `connection_lost`. If something other than the
 * relay answered, or nothing, `trouble` says so as in signals.js.
 */
export class RequestError extends Error {
  constructor(code, message, retryAfter) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** A failure to reach the relay. */
function unreached(trouble) {
  return Object.assign(new RequestError("connection_lost", "The relay cannot be reached."), { trouble });
}

/**
 * Make a request over HTTP; resolves with the relay's JSON object, rejects with a RequestError. An answer from
 * elsewhere (a captive portal, a proxy's error) is not mistaken for the relay's, whatever its status.
 *
 * @param {object} options
 * @param {(answer: object, status: number) => boolean} options.isOurs whether an object has the fields of the contract
 * @param {object} options.body sent as JSON
 * @param {number} options.within ms for the whole answer
 * @param {typeof fetch} options.reach
 */
export async function callRelay(method, path, { isOurs, body, within = HTTP_WITHIN, reach = (...what) => fetch(...what) }) {
  let response;
  let answer = null;
  try {
    response = await reach(path, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body ? JSON.stringify(body) : undefined,
      cache: "no-store",
      signal: AbortSignal.timeout(within),
    });
    answer = response.status === 204 ? {} : await response.json();
  } catch (failure) {
    if (failure.name === "TimeoutError" || failure.name === "AbortError") throw unreached("silent");
    if (!(failure instanceof SyntaxError)) throw unreached("offline");
  }
  const { status } = response;
  const isObject = answer !== null && typeof answer === "object" && !Array.isArray(answer);
  if (isObject && !response.redirected) {
    if (response.ok && isOurs(answer, status)) return answer;
    const { code, message, retryAfter } = answer.error ?? {};
    if (!response.ok && typeof code === "string" && (status !== 401 || isOurs(answer, status))) {
      throw Object.assign(new RequestError(code, message, retryAfter), { status, answer });
    }
  }
  throw unreached(status >= 500 ? "refused" : "elsewhere");
}

/** Whether a text exceeds a frame's bytes; most are too short to need encoding. */
function isLarger(text, bytes) {
  if (text.length * MOST_BYTES_A_UNIT <= bytes) return false;
  return new TextEncoder().encode(text).length > bytes;
}

/** Add `more` and `next` to a list that is not the last page. */
function asPage({ payload, more, next }) {
  return more && Array.isArray(payload) ? Object.assign(payload, { more, next }) : payload;
}

/** The wait before try number `tries` (from 0), in ms; jitter keeps a room full of clients from coming at once. */
export function backoff(tries, random) {
  const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** tries);
  return Math.round(longest * (0.5 + random() / 2));
}

/** The wait before a failed message is retried, in ms; `tries` counts from 0. */
export function rowBackoff(tries) {
  const longest = Math.min(LONGEST_ROW_DELAY, FIRST_ROW_DELAY * 2 ** tries);
  return Math.round(longest * (0.5 + Math.random() / 2));
}

/**
 * States given to `onState`: {name: "connecting"} {name: "live"} {name: "waiting", until} {name: "signedOut"}
 * {name: "stopped"}.
 *
 * @param {object} options
 * @param {() => WebSocket} options.open makes a new socket
 * @param {{now(): number, set(fn: Function, ms: number): any, clear(timer: any): void}} options.clock
 * @param {() => number} options.random 0 to 1
 * @param {(frame: object) => void} options.onEvent every event of the relay, in order
 * @param {() => void} options.beforeAnswer called before an answer is given, so that the events before it are applied first
 * @param {(state: object) => void} options.onState
 * @param {() => Promise<boolean>} options.stillSignedIn asked when the relay refused the handshake
 * @param {() => number | undefined} options.frameBytes the relay's limit for a frame, as far as it is known
 * @param {object} options.time the clock of net/clock.js that learns from the stamps of the relay
 */
export function createWire({ open, clock, random, onEvent, beforeAnswer = () => {}, onState, stillSignedIn, frameBytes, time = relayClock }) {
  let socket = null;
  let state = { name: "stopped" };
  let tries = 0;
  let serial = 0;
  let pingTimer, probeTimer, retryTimer, connectTimer;
  const unanswered = new Map();
  const seen = new Set();

  function enter(next) {
    state = next;
    onState(next);
  }

  function clearTimers() {
    for (const timer of [pingTimer, probeTimer, retryTimer, connectTimer]) clock.clear(timer);
    probeTimer = undefined;
  }

  function connect() {
    clearTimers();
    abandon();
    failUnanswered(false);
    enter({ name: "connecting" });
    const mine = open();
    let opened = false;
    socket = mine;
    connectTimer = clock.set(() => lost(mine, 1006, opened), CONNECT_WITHIN);
    mine.onopen = () => {
      if (socket !== mine) return;
      opened = true;
      tries = 0;
      clock.clear(connectTimer);
      // Before `onState`: requests that it triggers must go out once.
      state = { name: "live" };
      for (const waiting of unanswered.values()) ask(waiting);
      onState(state);
      schedulePing();
    };
    mine.onmessage = (message) => {
      if (socket === mine) receive(message.data);
    };
    mine.onclose = (close) => lost(mine, close.code, opened);
    mine.onerror = () => {};
  }

  /** Drop the present socket and ignore its remaining events. */
  function abandon() {
    if (!socket) return;
    const old = socket;
    socket = null;
    old.onopen = old.onmessage = old.onclose = null;
    try {
      old.close(1000);
    } catch {
      // A socket that cannot be closed is already gone.
    }
  }

  async function lost(mine, code, opened) {
    if (socket !== mine) return;
    clearTimers();
    abandon();
    failUnanswered(false);
    if (code === 1009) failTheLargest();
    if (code === 4401) return enter({ name: "signedOut" });
    const delay = backoff(tries, random);
    tries += 1;
    enter({ name: "waiting", until: clock.now() + delay });
    retryTimer = clock.set(connect, delay);
    // The browser does not tell a refused handshake from an unreachable relay, so ask.
    if (!opened && !(await stillSignedIn()) && state.name === "waiting") {
      clearTimers();
      enter({ name: "signedOut" });
    }
  }

  /** Fail what must not be repeated; at the end all that has no answer, so that nothing waits for ever. */
  function failUnanswered(isEnd) {
    for (const [id, waiting] of unanswered) {
      if (waiting.repeat && !isEnd) continue;
      unanswered.delete(id);
      waiting.reject(new RequestError("connection_lost", "The connection broke before the answer came."));
    }
  }

  /** Fail the request that was too large for a relay with a smaller limit; repeated, it would fail forever. */
  function failTheLargest() {
    const [id, waiting] = [...unanswered].sort((a, b) => b[1].text.length - a[1].text.length)[0] ?? [];
    if (!waiting) return;
    unanswered.delete(id);
    waiting.reject(new RequestError("too_large", "The relay takes no frame as large as this."));
  }

  function transmit(text) {
    if (state.name !== "live" || !socket) return false;
    socket.send(text);
    return true;
  }

  /** Send a request; its answer gives the relay's time, exact to half the round trip. */
  function ask(waiting) {
    waiting.sentAt = time.steady();
    transmit(waiting.text);
  }

  /*
   * Each incoming frame sets the timer again. In a hidden page a browser slows down timers that were set
   * by timers; one set while handling a frame keeps its pace, and with it our place among those online.
   */
  function schedulePing() {
    clock.clear(pingTimer);
    pingTimer = clock.set(() => {
      transmit("ping");
      expectAnswer();
    }, PING_AFTER);
  }

  function expectAnswer() {
    if (probeTimer !== undefined) return;
    const mine = socket;
    probeTimer = clock.set(() => {
      if (socket === mine) connect();
    }, ANSWER_WITHIN);
  }

  function receive(text) {
    clock.clear(probeTimer);
    probeTimer = undefined;
    schedulePing();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.type === "response") return answer(frame);
    if (frame.type !== "event") return;
    if (frame.id !== undefined) {
      // Delivery is at least once: after a reconnect the relay repeats unacknowledged events.
      if (seen.has(frame.id)) return void transmit(JSON.stringify({ type: "ack", id: frame.id }));
      seen.add(frame.id);
      if (seen.size > 5_000) seen.delete(seen.values().next().value);
    } else {
      // An event with an id may be hours old.
      time.hearLive(frame.timestamp);
    }
    onEvent(frame);
  }

  function answer(frame) {
    const waiting = unanswered.get(frame.id);
    if (!waiting) return;
    unanswered.delete(frame.id);
    beforeAnswer();
    time.hear(frame.timestamp, waiting.sentAt, time.steady());
    if (frame.error) {
      waiting.reject(new RequestError(frame.error.code, frame.error.message, frame.error.retryAfter));
    } else {
      waiting.resolve(asPage(frame));
    }
  }

  return {
    get state() {
      return state;
    },

    start() {
      if (state.name === "stopped" || state.name === "signedOut") connect();
    },

    stop() {
      clearTimers();
      abandon();
      enter({ name: "stopped" });
      failUnanswered(true);
    },

    /** After a wake-up: find out within 5 s whether the socket lives, or connect at once. */
    probe() {
      if (state.name === "live") {
        transmit("ping");
        expectAnswer();
      } else if (state.name === "waiting") {
        tries = 0;
        connect();
      }
    },

    /**
     * Make a request; resolves with the payload, rejects with a RequestError. Without a connection it waits for
     * one. One that must not be repeated fails instead when the connection breaks. One too large for a frame fails
     * at once: sent, it would cost the connection, and the next one too. `once`: it must not be repeated.
     */
    request(payloadType, payload, { once = NOT_REPEATED.has(payloadType) } = {}) {
      serial += 1;
      const id = `r${serial}`;
      const text = JSON.stringify({ type: "request", id, timestamp: time.now(), payloadType, payload });
      const repeat = !once;
      return new Promise((resolve, reject) => {
        const longest = frameBytes() ?? USUAL_FRAME_BYTES;
        if (isLarger(text, longest)) {
          reject(new RequestError("too_large", `A request has at most ${longest} bytes.`));
          return;
        }
        if (!repeat && state.name !== "live") {
          reject(new RequestError("connection_lost", "There is no connection."));
          return;
        }
        const waiting = { text, repeat, resolve, reject };
        unanswered.set(id, waiting);
        ask(waiting);
      });
    },

    /** Send an event that has no answer (typing); it is lost without a connection. */
    notify(eventType, payload) {
      transmit(JSON.stringify({ type: "event", timestamp: time.now(), eventType, payload }));
    },

    /** Acknowledge an event that the model has applied. */
    acknowledge(id) {
      transmit(JSON.stringify({ type: "ack", id }));
    },
  };
}
