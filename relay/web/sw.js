/**
 * Makes the page installable, lets it open without a network, and opens the right chat from a notification.
 * Registered in secure contexts only. It serves the page's own files and nothing else: never messages,
 * uploads or the session.
 */
const SHELL = "shell";

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(fetch("/", { cache: "no-cache" }).then(keepPage));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** Files whose address changes with their content. */
function isForEver(url) {
  return url.searchParams.has("v") || url.pathname.startsWith("/vendor/");
}

/** List the stamped files that a page names in its import map and links: all that it will ever request. */
function namedBy(page) {
  const named = new Set();
  for (const [, address] of page.matchAll(/"(\/[^"\s]+\.(?:js|css)[^"\s]*)"/g)) {
    if (isForEver(new URL(address, location.origin))) named.add(address);
  }
  return named;
}

/** Cache a page with every file that it names: offline either all of it opens or all of the one before. */
async function keepPage(response) {
  if (!response.ok) throw new Error(`the page was answered with ${response.status}`);
  const cache = await caches.open(SHELL);
  const named = namedBy(await response.clone().text());
  const kept = new Set((await cache.keys()).map(({ url }) => url.slice(location.origin.length)));
  await cache.addAll([...named].filter((address) => !kept.has(address)));
  await cache.put("/", response);
  for (const address of kept) if (address !== "/" && !named.has(address)) await cache.delete(address);
}

async function fromCacheFirst(request) {
  return (await caches.match(request)) ?? fetch(request);
}

async function pageFromNetworkFirst(event) {
  try {
    const response = await fetch(event.request);
    // An incomplete copy is dropped: the last complete one stays.
    if (response.ok) event.waitUntil(keepPage(response.clone()).catch(() => {}));
    return response;
  } catch (failure) {
    const kept = await caches.match("/");
    if (kept) return kept;
    throw failure;
  }
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin) return;
  if (isForEver(url)) event.respondWith(fromCacheFirst(event.request));
  else if (event.request.mode === "navigate" && url.pathname === "/") event.respondWith(pageFromNetworkFirst(event));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const { chatId } = event.notification.data ?? {};
  const hash = chatId ? `#chat=${encodeURIComponent(chatId)}` : "";
  event.waitUntil(
    (async () => {
      const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
      if (pages.length === 0) return self.clients.openWindow(`/${hash}`);
      pages[0].postMessage({ kind: "open", chatId });
      return pages[0].focus();
    })(),
  );
});
