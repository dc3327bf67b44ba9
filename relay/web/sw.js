/**
 * Makes the page installable, lets it open without a network, and opens the right chat from a notification.
 * Registered in secure contexts only. It serves the page's own files and nothing else: never messages,
 * uploads or the session.
 */
const SHELL = "shell";
/** The cached page opens if the relay has not answered within this many ms. */
const PAGE_WITHIN = 1_500;
/** A file that has not come within this many ms will not come. */
const FILE_WITHIN = 20_000;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(fetch("/", { cache: "no-cache" }).then(async (response) => keepPage(response, await textOfPage(response))));
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

/** Read the page of the relay. Throws for other answers: from a proxy, or a captive portal. */
async function textOfPage(response) {
  if (!response.ok || response.redirected) throw new Error(`the page was answered with ${response.status}`);
  const text = await response.clone().text();
  if (![...namedBy(text)].some((address) => address.startsWith("/app.js?v="))) throw new Error("this is not the relay's page");
  return text;
}

/** Cache a file forever. The relay allows caching only for the exact bytes that a stamp names. */
async function keepFile(cache, address) {
  const response = await fetch(address);
  const isOurs = response.ok && !response.redirected && /\bimmutable\b/.test(response.headers.get("Cache-Control") ?? "");
  if (!isOurs) throw new Error(`${address} is not there`);
  await cache.put(address, response);
}

/** Cache a page with every file that it names: offline, either all of it opens or all of the former one. */
async function keepPage(response, text) {
  const cache = await caches.open(SHELL);
  const named = namedBy(text);
  const kept = new Set((await cache.keys()).map(({ url }) => url.slice(location.origin.length)));
  await Promise.all([...named].filter((address) => !kept.has(address)).map((address) => keepFile(cache, address)));
  await cache.put("/", response);
  for (const address of kept) if (address !== "/" && !named.has(address)) await cache.delete(address);
}

/** Read the cache; a broken one has nothing, and never stands between the page and the network. */
const cached = (what) => caches.match(what).catch(() => undefined);

async function fromCacheFirst(request) {
  return (await cached(request)) ?? fetch(request, { signal: AbortSignal.timeout(FILE_WITHIN) });
}

/** Open the relay's page, or the cached one if the relay hangs, is away, or something else answers. */
async function openPage(event) {
  const kept = await cached("/");
  const coming = fetch(event.request);
  if (!kept) {
    event.waitUntil(coming.then(async (response) => keepPage(response.clone(), await textOfPage(response))).catch(() => {}));
    return coming;
  }
  const page = coming.then(async (response) => {
    const text = await textOfPage(response);
    // An incomplete copy is dropped: the last complete one stays.
    event.waitUntil(keepPage(response.clone(), text).catch(() => {}));
    return response;
  });
  // A late one is still cached for the next time.
  event.waitUntil(page.catch(() => {}));
  const enough = new Promise((resolve) => setTimeout(resolve, PAGE_WITHIN));
  return Promise.race([page.catch(() => {}), enough]).then((response) => response ?? kept);
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin) return;
  if (isForEver(url)) event.respondWith(fromCacheFirst(event.request));
  // A query ("/?show") shows the real answer.
  else if (event.request.mode === "navigate" && url.pathname === "/" && !url.search) event.respondWith(openPage(event));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const { chatId } = event.notification.data ?? {};
  const hash = chatId ? `#chat=${encodeURIComponent(chatId)}` : "";
  event.waitUntil(
    (async () => {
      const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
      // A picture in a tab of its own is a page of the relay, too.
      const page = pages.find(({ url }) => new URL(url).pathname === "/");
      if (!page) return self.clients.openWindow(`/${hash}`);
      page.postMessage({ kind: "open", chatId });
      return page.focus();
    })(),
  );
});
