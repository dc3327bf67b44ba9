/** What this device keeps where no time is left for its disk: settings, who is signed in, the last words. */

export function loadSettings() {
  const usual = { theme: "system", language: null, sound: true, notifications: false };
  try {
    return { ...usual, ...JSON.parse(localStorage.getItem("settings") ?? "{}") };
  } catch {
    return usual;
  }
}

export function keepSettings(values) {
  try {
    localStorage.setItem("settings", JSON.stringify(values));
  } catch {
    // The setting holds until the page closes.
  }
}

export function remembered() {
  try {
    return JSON.parse(localStorage.getItem("session") ?? "null");
  } catch {
    return null;
  }
}

export function remember(who) {
  try {
    if (who) localStorage.setItem("session", JSON.stringify(who));
    else localStorage.removeItem("session");
  } catch {
    // Only the first paint is slower next time.
  }
}

/** A page that goes away has no time left for the disk: what stands in the field is put where that takes none. */
export function keepLastWords(userId, chatId, text) {
  // Who was signed out by another tab leaves nothing behind, here either.
  if (!remembered()) return;
  try {
    localStorage.setItem("lastWords", JSON.stringify({ userId, chatId, text }));
  } catch {
    // The draft of a moment before is on the disk.
  }
}

/** What stood in the field when the page went away; it is told once. */
export function takeLastWords() {
  try {
    const words = JSON.parse(localStorage.getItem("lastWords") ?? "null");
    localStorage.removeItem("lastWords");
    return words;
  } catch {
    return null;
  }
}
