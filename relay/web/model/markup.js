/**
 * The markup of a message: links, code and emoji in its text, and its files' places. Returns plain data; the views make
 * elements of it, and neither makes HTML.
 */

/*
 * A web address ends at white space, and at punctuation that is not ASCII's: languages that write without spaces, and those
 * written from right to left, have their own. An apostrophe or a middle dot between letters belongs to it.
 */
const WEB_LETTER =
  "(?:[’·](?=\\p{L})|(?![\\s<>\"`]|(?![!-~])[\\p{Ps}\\p{Pe}\\p{Pi}\\p{Pf}\\p{Po}]|(?![\\u200c\\u200d])\\p{Cf}|[\\u3000-\\u303f\\uff01-\\uff0f\\uff1a-\\uff20\\uff3b-\\uff40\\uff5b-\\uff65]).)";
/*
 * A part of a mail address has one script; text in scripts without spaces, or with attached endings, surrounds it.
 */
const LATIN = "\\p{sc=Latin}\\p{M}\\d";
const OTHER =
  "(?:(?![\\p{sc=Latin}\\p{sc=Han}\\p{sc=Hiragana}\\p{sc=Katakana}\\p{sc=Hangul}\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmer}\\p{sc=Myanmar}])[\\p{L}\\p{M}\\p{N}_SIGNS-])";
const partOf = (signs, count) => `(?:[${LATIN}_${signs}-]{1,${count}}|${OTHER.replace("SIGNS", signs)}{1,${count}})`;
const MAIL = `(?<![${LATIN}_.+@/-])(?<!${OTHER.replace("SIGNS", "")})${partOf(".+", 64)}@${partOf("", 63)}(?:\\.${partOf("", 63)})+`;
const LINK = new RegExp(`\\b(?:https?:\\/\\/|www\\.)${WEB_LETTER}+|${MAIL}`, "giu");
/** Every link contains one of these. Most texts have none, and searching for links is slow. */
const MAY_LINK = /:\/\/|www\.|@/i;
const TRAILING = new Set(".,;:!?'\"”’»…");
const CLOSERS = { ")": "(", "]": "[", "}": "{" };
const EMOJI_UNIT =
  "(?:\\p{Regional_Indicator}{2}|[0-9#*]\\uFE0F?\\u20E3|\\p{Extended_Pictographic}(?:\\uFE0F|\\p{Emoji_Modifier}|[\\u{E0020}-\\u{E007E}]+\\u{E007F})?" +
  "(?:\\u200D\\p{Extended_Pictographic}(?:\\uFE0F|\\p{Emoji_Modifier})?)*)";
const EMOJI_ONLY = new RegExp(`^\\s*(?:${EMOJI_UNIT}\\s*)+$`, "u");
const EMOJI = new RegExp(EMOJI_UNIT, "gu");
/** Longer than this and it is not read as emoji only; also bounds the work of the pattern. */
const LONGEST_EMOJI_TEXT = 80;
/** Longer than this and it is not read as a link; also bounds the work on look-alikes. */
const LONGEST_LINK = 2_048;

/** The target of a piece of text, or null. Only http, https and mailto ever become links. */
export function safeHref(text) {
  let candidate = text;
  if (/^www\./i.test(text)) candidate = `http://${text}`;
  else if (!text.includes("://") && text.includes("@")) candidate = `mailto:${text}`;
  try {
    const url = new URL(candidate);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** Whether a file is the relay's own. The page loads no others by itself: their host would learn who reads. */
export const isOwnFile = (attachment) => typeof attachment.url === "string" && /^\/files\/[\w.~-]+$/.test(attachment.url);

/** The host of a file that is not on the relay, and the address to open; null if there is none to open. */
export function elsewhere(attachment) {
  const href = /^https?:/i.test(attachment.url ?? "") ? safeHref(attachment.url) : null;
  return href && { href, host: new URL(href).host };
}

/** Surplus of closing over opening brackets, by closing bracket. */
function surplusOf(text) {
  const surplus = { ")": 0, "]": 0, "}": 0 };
  for (const letter of text) {
    if (letter in surplus) surplus[letter] += 1;
    for (const closer in CLOSERS) if (letter === CLOSERS[closer]) surplus[closer] -= 1;
  }
  return surplus;
}

/** A typed link without the sentence's final punctuation, in linear time. */
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

/** How many emoji a text of nothing but emoji has; 0 for any other text. */
export function emojiCount(text) {
  if (!text || text.length > LONGEST_EMOJI_TEXT || !EMOJI_ONLY.test(text)) return 0;
  return text.match(EMOJI).length;
}
