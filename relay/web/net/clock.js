/**
 * The relay's time, learned from its answers. No other module reads a clock of the device: that may be hours off, and
 * may be set while the page is open. It runs on the monotonic clock and uses the other one only to notice sleep. Both
 * are arguments, so that tests have their own. Touches localStorage for the one instance.
 */

/** Remembered answers; the quickest of them is the most exact. */
const SAMPLES = 8;
/** Ms by which the two clocks of the device move apart only when it sleeps, or when its clock is set. */
const JUMP = 2_000;
/** A difference that changed by fewer ms is not worth keeping again. */
const KEEP_FROM = 1_000;

/**
 * Make a clock.
 *
 * @param {object} options
 * @param {() => number} options.wall the device's clock in ms since 1970, which anybody may set
 * @param {() => number} options.steady ms since some moment, which nobody sets
 * @param {number} options.kept ms that the relay's clock was ahead of the device's when `keep` was last called
 * @param {(ahead: number) => void} options.keep
 */
export function createClock({ wall = () => Date.now(), steady = () => performance.now(), kept = 0, keep = () => {} } = {}) {
  const apart = () => wall() - steady();
  let lastApart = apart();
  let lastKept = Number.isFinite(kept) ? kept : 0;
  /** The relay's time minus the steady clock, in ms. */
  let base = lastApart + lastKept;
  let samples = [];
  let known = false;
  let latest = -Infinity;
  let lastStamp = -Infinity;

  /** Notice that the device has slept or its clock was set: earlier measurements may be wrong. */
  function look() {
    const moved = apart() - lastApart;
    if (Math.abs(moved) <= JUMP) return;
    lastApart += moved;
    samples = [];
    // Asleep, the steady clock may stand still and the other one goes on. Only setting puts a clock back.
    if (moved > 0 || !known) base += moved;
    if (!known) latest = -Infinity;
  }

  return {
    /** Apply the timestamp of an answer, with the steady clock's times of the request and the answer. */
    hear(stamp, sentAt, cameAt) {
      if (!Number.isFinite(stamp) || !(cameAt >= sentAt)) return;
      look();
      // The first answer counts alone, even if it puts the time back.
      if (samples.length === 0) latest = -Infinity;
      samples = [...samples.slice(1 - SAMPLES), { base: stamp - (sentAt + cameAt) / 2, took: cameAt - sentAt }];
      base = samples.reduce((best, one) => (one.took <= best.took ? one : best)).base;
      known = true;
      const ahead = Math.round(base - lastApart);
      if (Math.abs(ahead - lastKept) < KEEP_FROM) return;
      lastKept = ahead;
      keep(ahead);
    },

    /** Apply the timestamp of a new event, one without an id: the relay's time is at least this. */
    hearLive(stamp) {
      if (!Number.isFinite(stamp)) return;
      look();
      base = Math.max(base, stamp - steady());
    },

    /**
     * Return the relay's time in ms since 1970; the device's until an answer came. It goes back only with the first
     * answer, and the first after a sleep.
     */
    now() {
      look();
      latest = Math.max(latest, Math.round(steady() + base));
      return latest;
    },

    /** Return how many ms ago a time was, 0 for the future. */
    age(stamp) {
      return Math.max(0, this.now() - stamp);
    },

    /** Return the time for pauses, in ms since some moment. */
    steady() {
      return steady();
    },

    /**
     * Return the time, later than any stamp before and than `after`, which another tab may have made by a wrong clock:
     * for drafts and pending messages.
     */
    stamp(after = -Infinity) {
      lastStamp = Math.max(lastStamp + 1, after + 1, this.now());
      return lastStamp;
    },

    /** Whether the relay's time is known. */
    get known() {
      return known;
    },
  };
}

/** Wait for `work`, but not longer than `ms`; `otherwise` if it fails or lasts. */
export function within(ms, work, otherwise) {
  let timer;
  const enough = new Promise((resolve) => (timer = setTimeout(resolve, ms, otherwise)));
  return Promise.race([work, enough]).catch(() => otherwise).finally(() => clearTimeout(timer));
}

const KEPT_AS = "clockAhead";

function keptAhead() {
  try {
    return Number(localStorage.getItem(KEPT_AS));
  } catch {
    return 0;
  }
}

function keepAhead(ahead) {
  try {
    localStorage.setItem(KEPT_AS, String(ahead));
  } catch {
    // Then the next start shows the device's time until the relay answers.
  }
}

/** The page's clock. */
export const clock = createClock({ kept: keptAhead(), keep: keepAhead });
