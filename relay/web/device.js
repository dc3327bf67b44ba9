/** What this device keeps in localStorage, which needs no waiting: settings, the signed-in user, text not sent yet. */

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
    // Then only the first paint is slower next time.
  }
}

/** Keep the text of the composer when the page closes: there is no time left for IndexedDB. */
export function keepLastWords(userId, chatId, text) {
  // A user whom another tab signed out leaves nothing behind here either.
  if (!remembered()) return;
  try {
    localStorage.setItem("lastWords", JSON.stringify({ userId, chatId, text }));
  } catch {
    // The draft saved a moment ago is in IndexedDB.
  }
}

/** Give the text that the composer had when the page closed, once. */
export function takeLastWords() {
  try {
    const words = JSON.parse(localStorage.getItem("lastWords") ?? "null");
    localStorage.removeItem("lastWords");
    return words;
  } catch {
    return null;
  }
}
