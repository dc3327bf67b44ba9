/**
 * The markup of a message: links, code and emoji in its text, and its files' places. Returns plain data; the views make
 * elements of it, and neither makes HTML.
 */

/* A web address in a text ends at white space, and at punctuation other than ASCII's, but not at `’` or `·` in a word. */
const WEB_LETTER =
  "(?:[’·](?=\\p{L})|(?![\\s<>\"`]|(?![!-~])[\\p{Ps}\\p{Pe}\\p{Pi}\\p{Pf}\\p{Po}]|(?![\\u200c\\u200d])\\p{Cf}|[\\u3000-\\u303f\\uff01-\\uff0f\\uff1a-\\uff20\\uff3b-\\uff40\\uff5b-\\uff65]).)";
/* A part of a mail address has one script: the text around it may have no spaces. */
const LATIN = "\\p{sc=Latin}\\p{M}\\d";
const OTHER =
  "(?:(?![\\p{sc=Latin}\\p{sc=Han}\\p{sc=Hiragana}\\p{sc=Katakana}\\p{sc=Hangul}\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmer}\\p{sc=Myanmar}])[\\p{L}\\p{M}\\p{N}_SIGNS-])";
const partOf = (signs, count) => `(?:[${LATIN}_${signs}-]{1,${count}}|${OTHER.replace("SIGNS", signs)}{1,${count}})`;
const MAIL = `(?<![${LATIN}_.+@/-])(?<!${OTHER.replace("SIGNS", "")})${partOf(".+", 64)}@${partOf("", 63)}(?:\\.${partOf("", 63)})+`;
const LINK = new RegExp(`\\b(?:https?:\\/\\/|www\\.)${WEB_LETTER}+|${MAIL}`, "giu");
/** Every link has one of these: searching for links is slow. */
const MAY_LINK = /:\/\/|www\.|@/i;
const TRAILING = new Set(".,;:!?'\"”’»…");
const CLOSERS = { ")": "(", "]": "[", "}": "{" };
const EMOJI_UNIT =
  "(?:\\p{Regional_Indicator}{2}|[0-9#*]\\uFE0F?\\u20E3|\\p{Extended_Pictographic}(?:\\uFE0F|\\p{Emoji_Modifier}|[\\u{E0020}-\\u{E007E}]+\\u{E007F})?" +
  "(?:\\u200D\\p{Extended_Pictographic}(?:\\uFE0F|\\p{Emoji_Modifier})?)*)";
const EMOJI_ONLY = new RegExp(`^\\s*(?:${EMOJI_UNIT}\\s*)+$`, "u");
const EMOJI = new RegExp(EMOJI_UNIT, "gu");
/** Bounds the work of the pattern. */
const LONGEST_EMOJI_TEXT = 80;
/** As on the relay. */
const LONGEST_LINK = 2_048;

const UNFIT = /(?![\u200c\u200d])[\s\p{Cc}\p{Cf}\p{Cs}\ufffd]/u;
const ADDRESS = /^https?:\/\/(?:[^/?#\\]*@)?(\[[^\]%]+\]|[^/?#\\@:[\]%\u2800\ufffc]+)(?::\d*)?(?:[/?#]|$)/iu;
const HOST = /^([\w-]{1,63}(\.|$))+$/;

/** The relay's rule of web addresses (unicode/addresses.py). */
function webAddress(text) {
  try {
    const url = new URL(text);
    const host = ADDRESS.exec(text)[1];
    const name = url.hostname;
    const isName = HOST.test(name) && (/[^\d.]/.test(name) || host.startsWith(name));
    return (isName || host[0] === "[") && !UNFIT.test(text) && text.length <= LONGEST_LINK ? url : null;
  } catch {
    return null;
  }
}

/** The target of a piece of text, or null: http, https or mailto. */
export function safeHref(text) {
  if (/^www\./i.test(text)) return webAddress(`http://${text}`)?.href ?? null;
  if (text.includes("@") && !text.includes("://")) return new URL(`mailto:${text}`).href;
  return webAddress(text)?.href ?? null;
}

/** Whether a file is the relay's own: the page loads no others. */
export const isOwnFile = (attachment) => typeof attachment.url === "string" && /^\/files\/[\w.~-]+$/.test(attachment.url);

/** The URL of a file that is not on the relay, or null. */
export const elsewhere = (attachment) => webAddress(attachment.url);

/** Surplus of closing over opening brackets, by closing bracket. */
function surplusOf(text) {
  const surplus = { ")": 0, "]": 0, "}": 0 };
  for (const letter of text) {
    if (letter in surplus) surplus[letter] += 1;
    for (const closer in CLOSERS) if (letter === CLOSERS[closer]) surplus[closer] -= 1;
  }
  return surplus;
}

/** A link without the sentence's punctuation, in linear time. */
function trimLink(text) {
  const surplus = surplusOf(text);
  let end = text.length;
  for (;;) {
    const last = text[end - 1];
    if (surplus[last] > 0) surplus[last] -= 1;
    else if (!TRAILING.has(last)) return text.slice(0, end);
    end -= 1;
  }
}

function linkSpans(text) {
  const spans = [];
  let done = 0;
  for (const found of MAY_LINK.test(text) ? text.matchAll(LINK) : []) {
    if (found[0].length > LONGEST_LINK) continue;
    const link = trimLink(found[0]);
    const href = safeHref(link);
    if (!href) continue;
    if (found.index > done) spans.push({ type: "text", text: text.slice(done, found.index) });
    spans.push({ type: "link", text: link, href });
    done = found.index + link.length;
  }
  if (done < text.length) spans.push({ type: "text", text: text.slice(done) });
  return spans;
}

function inlineSpans(text) {
  const spans = [];
  let done = 0;
  for (const found of text.matchAll(/`([^`\n]+)`/g)) {
    spans.push(...linkSpans(text.slice(done, found.index)), { type: "code", text: found[1] });
    done = found.index + found[0].length;
  }
  spans.push(...linkSpans(text.slice(done)));
  return spans;
}

/**
 * A text as blocks: {type: "text", spans: [{type: "text"|"link"|"code", text, href?}]} and {type: "pre", text}.
 */
export function parse(text) {
  const blocks = [];
  let done = 0;
  const addText = (part) => {
    const trimmed = part.replace(/^\n+|\n+$/g, "");
    if (trimmed) blocks.push({ type: "text", spans: inlineSpans(trimmed) });
  };
  for (const found of text.matchAll(/```(?:[\w+-]*\n)?([\s\S]*?)```/g)) {
    if (!found[1].trim()) continue;
    addText(text.slice(done, found.index));
    blocks.push({ type: "pre", text: found[1].replace(/\n$/, "") });
    done = found.index + found[0].length;
  }
  addText(text.slice(done));
  return blocks;
}

/** The number of emoji in a text of nothing else; 0 for others. */
export function emojiCount(text) {
  if (!text || text.length > LONGEST_EMOJI_TEXT || !EMOJI_ONLY.test(text)) return 0;
  return text.match(EMOJI).length;
}
