/**
 * Makes the page installable, lets it open without a network, and opens the right chat from a notification.
 * Registered in secure contexts only. It answers for the page's own files and nothing else: never for messages,
 * uploads or the session.
 */
const SHELL = "shell";

self.addEventListener("install", (event) => {
  self.skipWaiting();
  // The page itself came before there was a worker. The files it names are kept by the browser for ever anyway.
  event.waitUntil(caches.open(SHELL).then((cache) => cache.add("/")));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** Files whose address changes with their content. */
function isForEver(url) {
  return url.searchParams.has("v") || url.pathname.startsWith("/vendor/");
}

async function keep(request, response) {
  const cache = await caches.open(SHELL);
  await cache.put(request, response);
  const url = new URL(request.url);
  if (!isForEver(url)) return;
  // Another stamp of the same file is an older one.
  for (const old of await cache.keys()) {
    const other = new URL(old.url);
    if (other.pathname === url.pathname && other.search !== url.search) await cache.delete(old);
  }
}

async function fromCacheFirst(request) {
  const kept = await caches.match(request);
  if (kept) return kept;
  const response = await fetch(request);
  if (response.ok) await keep(request, response.clone());
  return response;
}

async function fromNetworkFirst(request) {
  try {
    const response = await fetch(request);
    if (response.ok) await keep(request, response.clone());
    return response;
  } catch (failure) {
    const kept = await caches.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw failure;
  }
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin) return;
  if (isForEver(url)) event.respondWith(fromCacheFirst(event.request));
  else if (event.request.mode === "navigate" && url.pathname === "/") event.respondWith(fromNetworkFirst(event.request));
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
