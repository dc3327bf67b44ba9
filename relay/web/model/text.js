/**
 * What a text means: links, code, emoji; what is the same text however it was typed, as the relay's search has it
 * (PROTOCOL.md, section 5); which names look alike. Text in, plain data out; the views make elements of it and nothing
 * here or there ever makes markup.
 */

const LINK = /\b(?:https?:\/\/|www\.)[^\s<>"`]+|\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+/giu;
const TRAILING = new Set(".,;:!?'\"”’»…");
const CLOSERS = { ")": "(", "]": "[", "}": "{" };
const EMOJI_UNIT =
  "(?:\\p{Regional_Indicator}{2}|[0-9#*]\\uFE0F?\\u20E3|\\p{Extended_Pictographic}(?:\\uFE0F|\\p{Emoji_Modifier})?" +
  "(?:\\u200D\\p{Extended_Pictographic}(?:\\uFE0F|\\p{Emoji_Modifier})?)*)";
const EMOJI_ONLY = new RegExp(`^\\s*(?:${EMOJI_UNIT}\\s*)+$`, "u");
const EMOJI = new RegExp(EMOJI_UNIT, "gu");
/** Longer than this and it is not read as emoji only; also bounds the work of the pattern. */
const LONGEST_EMOJI_TEXT = 80;
/** Longer than this and it is not read as a link; also bounds the work on what only looks like one. */
const LONGEST_LINK = 2_048;

/** The address a piece of text may lead to, or null. Only http, https and mailto ever become links. */
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

/** Whether a file is the relay's own. The page never loads others by itself: their host would learn who reads. */
export const isOwnFile = (attachment) => typeof attachment.url === "string" && /^\/files\/[\w.~-]+$/.test(attachment.url);

/** The host of a file that is not on the relay, and the address to open; null if there is none to open. */
export function elsewhere(attachment) {
  const href = /^https?:/i.test(attachment.url ?? "") ? safeHref(attachment.url) : null;
  return href && { href, host: new URL(href).host };
}

/** How many more closing brackets than opening ones there are, by closing bracket. */
function surplusOf(text) {
  const surplus = { ")": 0, "]": 0, "}": 0 };
  for (const letter of text) {
    if (letter in surplus) surplus[letter] += 1;
    for (const closer in CLOSERS) if (letter === CLOSERS[closer]) surplus[closer] -= 1;
  }
  return surplus;
}

/** A typed link without the sentence's punctuation at its end; the work is linear in its length. */
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
  for (const found of text.matchAll(LINK)) {
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

/** Languages in which one character may be a word. */
const WORD_OF_ONE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;

/** Whether a query is worth sending to the relay: nearly every message contains any single letter. */
export function isSearchable(query) {
  const text = query.trim();
  return text.length >= 2 || WORD_OF_ONE.test(text);
}

/** One line for a list or a quote. */
export function oneLine(text) {
  return (text ?? "").replace(/```[\w+-]*\n?|```/g, " ").replace(/`([^`\n]+)`/g, "$1").replace(/\s+/g, " ").trim();
}

/** Up to two letters for an avatar without a picture. */
export function initials(name) {
  const words = (name ?? "").trim().split(/[\s._-]+/u).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const first = (word) => [...word].find((letter) => /[\p{L}\p{N}]/u.test(letter)) ?? "";
  if (words.length === 0) return "?";
  const letters = words.length === 1 ? [first(words[0])] : [first(words[0]), first(words.at(-1))];
  return letters.join("").toLocaleUpperCase();
}

/** A number from 0 to `count` - 1 that is always the same for the same id. */
export function hueOf(id, count) {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return sum % count;
}

/** Bytes for people, in the number format given. */
export function sizeParts(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return { value: size < 10 && unit > 0 ? Math.round(size * 10) / 10 : Math.round(size), unit: units[unit] };
}

// ---------------------------------------------------------------- the same text, however it was typed

const MARKS =
  /[\u0300-\u0344\u0346-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u0897-\u089f\u08ca-\u08ff\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufb1e]|\p{Cf}|[\u115f\u1160\u180b-\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}\u{1f3fb}-\u{1f3ff}]/gu;
const DIGIT = /\p{Nd}/u;
const MARK = /\p{M}/u;
/** Pairs: what stands for what. */
const ALIKE = new Map([
  ["\u0131", "i"], ["\u0345", "ι"], ["ß", "ss"], ["ς", "σ"],
  ["æ", "ae"], ["œ", "oe"], ["ð", "d"], ["þ", "th"], ["ĸ", "q"], ["ŋ", "n"],
  ["ø", "o"], ["đ", "d"], ["ł", "l"], ["ħ", "h"], ["ŧ", "t"], ["ƀ", "b"], ["ɓ", "b"], ["ɖ", "d"], ["ɗ", "d"], ["ƙ", "k"],
  ["ɨ", "i"], ["ɵ", "o"], ["ʉ", "u"], ["ƴ", "y"], ["ƶ", "z"],
  ["й", "й"], ["ї", "ї"], ["ў", "ў"],
  ["\u0640", ""], ["\u0649", "\u064a"], ["\u06cc", "\u064a"], ["\u06d2", "\u064a"], ["\u06a9", "\u0643"],
  ["\u0629", "\u0647"], ["\u06c1", "\u0647"], ["\u06d5", "\u0647"], ["\u0671", "\u0627"],
  ["\u05be", "-"], ["\u05f0", "\u05d5\u05d5"], ["\u05f1", "\u05d5\u05d9"], ["\u05f2", "\u05d9\u05d9"],
  ["\u09ce", "\u09a4\u09cd"], ["\u0d7a", "\u0d23\u0d4d"], ["\u0d7b", "\u0d28\u0d4d"], ["\u0d7c", "\u0d30\u0d4d"],
  ["\u0d7d", "\u0d32\u0d4d"], ["\u0d7e", "\u0d33\u0d4d"], ["\u0d7f", "\u0d15\u0d4d"],
  ["\u309b", "\u3099"], ["\u309c", "\u309a"], ["\u301c", "~"], ["\u2044", "/"],
  ...[..."\u00b4\u02b9\u02bb\u02bc\u02bd\u055a\u05f3\u2018\u2019\u201a\u201b\u2032\u2039\u203a"].map((one) => [one, "'"]),
  ...[..."\u00ab\u00bb\u05f4\u201c\u201d\u201e\u201f"].map((one) => [one, '"']),
  ...[..."\u2010\u2011\u2012\u2013\u2014\u2015\u2212"].map((one) => [one, "-"]),
]);
/** Characters whose folded form is kept. */
const REMEMBERED = 5_000;
const remembered = new Map();

function digit(letter) {
  const code = letter.codePointAt(0);
  const low = code & 15;
  // A script's ten digits begin at a multiple of 16, or at 6 above one.
  return String(DIGIT.test(String.fromCodePoint(code - low)) ? low : low - 6);
}

function plain(letter) {
  if (ALIKE.has(letter)) return ALIKE.get(letter);
  return letter > "\x7f" && DIGIT.test(letter) ? digit(letter) : letter;
}

/** One character folded; its marks stand apart. */
function foldOne(letter) {
  const known = remembered.get(letter);
  if (known !== undefined) return known;
  const lower = letter.toLowerCase();
  const decomposed = ALIKE.get(letter) ?? ALIKE.get(lower) ?? [...lower.normalize("NFKD").toLowerCase().normalize("NFKD")].map(plain).join("");
  const folded = decomposed.replace(MARKS, "");
  if (remembered.size >= REMEMBERED) remembered.clear();
  remembered.set(letter, folded);
  return folded;
}

/** White space of any kind and length: one space. */
const WHITE = /[\s\x1c-\x1f\x85]+/gu;

/** The form by which texts are compared. */
export const fold = (text) => [...text.normalize("NFC")].map(foldOne).join("").replace(WHITE, " ").normalize("NFC");

/** A folded text with its marks apart, so that each can be counted; syllables of Hangul are whole. */
const apart = (text) => text.normalize("NFC").replace(/[^\uac00-\ud7a3]+/gu, (part) => part.normalize("NFD"));

/**
 * Split a text so that every second part is a match; the first part may be empty.
 *
 * `words` are as they were typed.
 */
export function partsFound(text, words) {
  const letters = [...text.normalize("NFC")];
  const from = [];
  let folded = "";
  letters.forEach((letter, index) => {
    let one = apart(foldOne(letter)).replace(WHITE, " ");
    if (one.startsWith(" ") && folded.endsWith(" ")) one = one.slice(1);
    folded += one;
    for (let count = one.length; count > 0; count -= 1) from.push(index);
  });
  const found = new Array(letters.length).fill(false);
  for (const word of words) {
    const wanted = apart(fold(word));
    if (!wanted) continue;
    for (let at = folded.indexOf(wanted); at >= 0; at = folded.indexOf(wanted, at + 1)) {
      const end = at + wanted.length;
      // With a significant combining mark after it, it is another letter.
      if (end < folded.length && MARK.test(folded[end])) continue;
      const last = end < from.length ? Math.max(from[end], from[end - 1] + 1) : letters.length;
      found.fill(true, from[at], last);
    }
  }
  const parts = [""];
  letters.forEach((letter, index) => {
    if (found[index] !== (parts.length % 2 === 0)) parts.push("");
    parts[parts.length - 1] += letter;
  });
  return parts;
}

// ---------------------------------------------------------------- names that look alike, as in relay/unicode/lookalikes.py

/** What cannot be seen, as on the relay; codes that may become ideographs or emoji can. */
const UNSEEN =
  /^(?!\p{Extended_Pictographic}|[\u{20000}-\u{3ffff}])[\p{DI}\p{Z}\p{Cc}\p{Cn}\p{Co}\p{Cs}\u2800\ufff9-\ufffc\u{13441}\u{13442}\u{16fe4}\u{1bc9d}\u{1d159}]$/u;
const BLANK = /[\p{Z}\t-\r\x1c-\x1f\x85\u2800\u1160]/u;
/** Names whose looks are kept. */
const KEPT_LOOKS = 20_000;
const kept = new Map();

export const isSeen = (letter) => !UNSEEN.test(letter);

/** Characters whose looks are kept. */
const KEPT_LETTERS = 5_000;
const letterLooks = [new Map(), new Map()];

function lookOf(letter, caseless) {
  const remembered = letterLooks[Number(caseless)];
  let look = remembered.get(letter);
  if (look === undefined) {
    look = findLook(letter, caseless);
    if (remembered.size >= KEPT_LETTERS) remembered.clear();
    remembered.set(letter, look);
  }
  return look;
}

function findLook(letter, caseless) {
  if (BLANK.test(letter)) return " ";
  if (!isSeen(letter)) return "";
  if (!caseless && looksOf().has(letter)) return looksOf().get(letter);
  return [...letter.toUpperCase()].map((one) => [...one.toLowerCase()].map((small) => looksOf().get(small) ?? small).join("")).join("");
}

/** What a name looks like, as it is written and in lower case, as on the relay: people confuse names that share a look. */
export function looks(name) {
  const before = kept.get(name);
  if (before) return before;
  const decomposed = [...name.normalize("NFKD")];
  const look = (caseless) =>
    decomposed.map((letter) => lookOf(letter, caseless)).join("").replaceAll(/ {2,}/g, " ").trim().normalize("NFC");
  const found = /^[\0-\x7f]*$/.test(name) ? [look(false)] : [...new Set([look(false), look(true)])];
  if (kept.size >= KEPT_LOOKS) kept.clear();
  kept.set(name, found);
  return found;
}

const known = new WeakMap();

/** Of people (a Map of profiles by id), the ids of those whose name looks like somebody else's name or id, or has an @. */
export function lookAlikes(people) {
  const before = known.get(people);
  if (before) return before;
  const called = new Map();
  for (const { id, name } of people.values()) {
    for (const look of [...looks(name ?? id), ...looks(id)]) called.set(look, (called.get(look) ?? new Set()).add(id));
  }
  const alike = new Set();
  for (const { id, name } of people.values()) {
    if (/[@\ufe6b\uff20]/u.test(name ?? "") || looks(name ?? id).some((look) => called.get(look).size > 1)) alike.add(id);
  }
  known.set(people, alike);
  return alike;
}

let looksTable;

function looksOf() {
  looksTable ??= new Map(LOOKS.split("\n").map((row) => [...row]).map(([letter, ...look]) => [letter, look.join("")]));
  return looksTable;
}

/**
 * By line: a letter, mark or digit, and how it is written in the look of a name. Made by packaging/unicode_tables.py from
 * confusables.txt of Unicode 17.0.0. Copyright © 1991-2025 Unicode, Inc., used under the Unicode License v3 (SPDX:
 * Unicode-3.0), which is in packaging/unicode.LICENSE.txt.
 */
const LOOKS = `%o/o
0o
1l
il
mrn
|l
¢c̸
¥y̵
Ðd̵
×x
æae
ð∂̵
øo̸
þp
đd̵
ħh̵
ĸk
łl̸
ŋn̩
œoe
ŧt̵
ƀb̵
Ɓ'b
ƃb̄
ƅb
Ƈc'
Ɖd̵
Ɗ'd
ƌd̄
ƍg
Ƒf̦
ƒf
Ɠg'
Ƙk'
ƙk̔
ƚl̵
ƛλ̸
Ɲn̦
ƞn̩
Ƥ'p
ƥp̔
Ƨ2
Ƭ't
ƭt̔
Ʈt̨
Ƴ'y
ƴy̔
ƶz̵
Ʒ3
ƻ2̵
Ƽ5
ƽs
ƿp
ǀl
ǁll
ǃ!
ǥg̵
Ȝ3
ȣ8
ȥz̦
ȼc̸
Ⱦt̸
Ɂ?
Ʉu̵
ɇe̸
ɉj̵
ɍr̵
ɏy̵
ɑa
ɓb̔
ɖd̨
ɗd̔
əǝ
ɚǝ˞
ɛe
ɠg̔
ɡg
ɢg
ɣy
ɦh̔
ɨl̵
ɩl
ɪl
ɫl̴
ɭl̨
ɮlȝ
ɯw
ɱrn̦
ɳn̨
ɴn
ɵo̵
ɶoe
ɼr̩
ɽr̨
ʀr
ʂs̨
ʋu
ʍrn
ʏy
ʐz̨
ʒȝ
ʔ?
ʕ꟎
ʙb
ʜh
ʟl
ʠq̔
ʣdz
ʤdȝ
ʥdʑ
ʦts
ʧtʃ
ʨtɕ
ʩfn̩
ʪls
ʫlz
ʹ'
ʺ''
ʻ'
ʼ'
ʽ'
ʾ'
ʿՙ
ˆ^
ˈ'
ˊ'
ˋ'
ː:
˓ՙ
ˮ''
̅̄
̌̆
ٰ̍
̐̆̇
̑̂
̓̕
ِ̗
̚᫩
̠̱
̡̦
̢̨
̧̦
̶̵
̷̸
̹̦
͂̃
̨ͅ
͇̳
͈𐻺
͗͐
̇͘
ͦ̊
ͮ̆
Ͱⱶ
͵ˏ
ͷᴎ
ͻɔ
ͽꜿ
Βb
Ζz
Ηh
Λʌ
Μrn
Νn
Σʃ
Υy
αa
βss
γy
δẟ
εe
ηn
θo̵
ιl
κk
νv
οo
ρp
σo
τt
υu
φɸ
χx
ϛo
Ϝf
ϥч
Ϩ2
ϩƨ
Ϭ6
ϭo
ϳj
ϸp
Ϻrn
Бb̄
Гy
З3
Лʌ
Юlo
аa
б6
вb
гr
еe
зɜ
иᴎ
кk
мrn
нh
оo
пπ
рp
сc
тt
уy
фɸ
хx
шw
ъˉb
ыbl
ьb
яᴙ
єe
ѕs
іl
јj
ћh̵
џu̩
ѡw
ѣb̵
ѱψ
ѳo̵
ѵv
ѽw҆҇
ҋᴎ̦̆
ҍb̵
Ґy'
ґr'
Ғy̵
ғr̵
җж̩
Ҙ3̦
ҙɜ̦
қk̩
ҟk̵
ңh̩
ҫc̦
ҭt̩
үy
ұy̵
Ҳx̩
һh
ҽe
ҿę
Ӆʌ̦
ӆл̦
ӈh̦
ӊh̦
ӌҷ
ӎrn̦
ӏl
ӕae
әǝ
Ӡ3
ӡȝ
өo̵
ԁd
Ԋƕ
ԍg
ԑe
ԛq
ԝw
Իኮ
Մሆ
Պጣ
Ռቡ
Տs
Փɸ
աw
գq
զq
ծẟ
հh
ղn̩
յȷ
ոn
պɰ
ռn
սu
ցg
ւl
քf
օo
֜́
֝́
֤֚
֨֙
֖֭
֮֘
֯̊
ִ̣
ֹ̇
ֺ̇
׀l
ׁ̇
ׂ̇
ׄ̇
ׅ̣
וl
טv
י'
ןl
סo
װll
ױl'
ײ''
؉o/oo
؊o/ooo
؏ع
ؘ́
ؙ̓
ؚِ
اl
ثىۛ
شسۛ
ؽى̂
ؿىۛ
هo
يى
ً̋
َ́
ُ̓
ْ̊
ٓ̃
ٖ̩
ٗ̒
٘̆
ٙ̄
ٚ̆
ٛ̂
ٜ̣
ٝ̔
ٟٕ
٠.
١l
٥o
٧v
٨ʌ
٪o/o
ٮى
ٯڡ
ٲlٴ
ٳlٕ
ٹىؕ
ٺت
پىۛ
ځحٔ
څحۛ
ڈدؕ
ڋڊؕ
ڎدۛ
ڏدۛ
ڑرؕ
ڒر̆
ژرۛ
ڞصۛ
ڟطۛ
ڤڡۛ
ڧف
ڨڡۛ
کك
ڪك
ڭكۛ
ڴگۛ
ڵل̆
ڷلۛ
ںى
ڻىؕ
ڽىۛ
ھo
ہo
ۃة
ۆو̆
ۇو̓
ۈوٰ
ۉو̂
ۋوۛ
یى
ێى̆
ېٻ
ۑىۛ
ےى
ەo
۟̊
ۨ̆̇
۬̇
ۮد̂
ۯر̂
۰.
۱l
۲٢
۳٣
۴٤
۵o
۶٦
۷v
۸ʌ
۹٩
۽ء𐻺
۾م𐻺
ۿô
݀̇
݁̇
݂ܼ
݇́
ݑبۛ
ݒىۛ
ݖى̆
ݢڬ
ݣكۛ
ݧݔ
ݨنؕ
ݩن̆
ݬرٔ
ݱڗؕ
ݲحٔ
ݾس̂
߀o
ߊl
߫̄
߭̇
߮̂
߳̈
ߴ'
ߵ'
ߺ_
࢏ى̊
ࢡبٔ
ࢤڢۛ
ࢧمۛ
ࢨىٔ
ࢩݔ
ࢮد̤̣
ࢯص̤̣
ࢰگ
ࢱو
ࢲز̂
ࢶبۢ
ࢷىۛۢ
ࢹر̆̇
ࢺى̆̇
ࢻڡ
ࢼڡ
ࢽى
ࢾىۛ̆
ࢿت̆
ࣀىؕ̆
ࣁچ̆
ࣂك̆
ٌࣥ
ٌࣨ
࣪̇
࣫̈
࣭̣
࣮̤
ࣰ̋
ࣱٌ
ࣲٍ
ࣳ̓
ࣸ͐
ࣹ͔
ࣺ͕
ࣿ͐
ऀ͒
ँ̆̇
ं̇
ः:
ऄअॆ
आअा
ईर्इ
ऍए̆
ऎएॆ
ऐए𑭤
ऑअा̆
ऒअाॆ
ओअा𑭤
औअाै
ऻाऺ
़̣
िি
ॅ̆
े𑭤
ॉा̆
॒̱
॓̀
॔́
ॖ𑭢
ॗ𑭣
०o
१٩
३3
ॲअ̆
ॳअऺ
ॴअाऺ
ॵअॏ
ॽ?
ঁ̆̇
আঅা
়̣
ৠঋৃ
ৡঋৃ
০o
৪8
৭9
ৰর
ਂ̇
ਃঃ
ਆਅਾ
ਇप्टি
ਈप्टੀ
ਉੳ𑭢
ਊੳ𑭣
ਏप्ट𑭤
ਐਅै
ਔਅੌ
ਕव
ਜत्त
ਟट
ਠठ
ਤउ
ਧप
ਫढ
ਮभ
ਵह
ਸम
਼̣
ਿি
ੁ𑭢
ੂ𑭣
ੇ𑭤
ੈै
ੋॆ
੍्
੦o
੧9
੪8
ੲप्ट
ઁ̆̇
ં̇
ઃ:
આઅા
ઍઅૅ
એઅે
ઐઅૈ
ઑઅાૅ
ઓઅાે
ઔઅાૈ
પч
ર२
઼̣
ઽऽ
ુु
ૂू
્्
૦o
૨२
૩3
૪४
૫ч
૮८
ଁ̆̇
ଃ8
ଆଅା
ଠo
଼̣
୦o
୨9
ஂ̊
ஊஉள
ஜஐ
ரஈ
ஸஶ
ாஈ
ைன
்̇
ௗள
௦o
௧க
௨உ
௪ச
௫ஈு
௬சு
௭எ
௮அ
௰ய
௲சூ
௴மீ
௷எவ
௸ஷ
௺நீ
ఀ̆̇
ంo
ఃঃ
ఓఒౕ
ఔఒౌ
ఖಖ̣
ఠరּ
ఢడ̣
థధּ
భబ̣
మవు
షవ̣
హవా
ూుా
ౄృా
ౠఋా
ౡఌా
౦o
ಁ̆̇
ಂo
ಃঃ
ಅఅ
ಆఆ
ಇఇ
ಐఐ
ಒఒ
ಓఒౕ
ಔఒౌ
ಗగ
ಜజ
ಝఝ
ಞఞ
ಟట
ಣణ
ದద
ನన
ಯయ
ರర
ಱఱ
ಲల
ಳళ
ಿి
ುు
ೃృ
ೡಌಾ
೦o
೧౧
೨౨
೯౯
ഁ̆̇
ംo
ഃঃ
ഈഇൗ
ഉஉ
ഊஉൗ
ഌനു
ഐெഎ
ഓഒാ
ഔഒൗ
ഖவ
ങനു
ജஐ
ടs
ഠo
ണண
ഥம
റര
ഴழ
ശஶ
ഺடி
ിி
ീி
ൂു
ൃു
െெ
േே
ൈெெ
ൎॱ
൚ന്മ
ൟoരo
ൡഞ
൦o
൪ര്
൫ദ്ര
൬ന്ന
൭9
൮വ്ര
൯ന്
൶ഹ്മ
൹നു
ൺண്
ൻന്
ർര്
ൽല്
ൾള്
ංo
ඃঃ
ඍසෘ
ඒඑ්
ඓඑෙ
ඵඑ
බඛ
ඹඔ
වච
හභ
෩෨ා
෪ජ
෫ද
෯෨ී
ฃข
ซช
ฏฎ
ดค
ตค
ทฑ
มฆ
ฦภ
แเเ
ๅา
ํ̊
๐o
ຈจ
ຍย
ບบ
ປป
ຝฝ
ພพ
ຟฟ
ุຸ
ูູ
่່
้້
๊໊
๋໋
ໍ̊
໐o
ༀཨོཾ
༂འུྂཿ
༃འུྂ༔
༷̥
ཪར
ཻེེ
ཽོོ
࿕卐
࿖卍
ကരာ
ဂര
ငc
တoာ
ဝo
ဟပာ
ဣരာ္രာ
ဩသြ
ဪသြେာ်
ေେ
ံ̊
းঃ
၀o
ၚc
ၡရှ
ၥ၁
ၦပှ
ၯပာှ
ၰဃှ
ၾၽှ
ႁരှ
႞ႃ̊
Ⴀꞇ
თoာ
იര
ყy
ჳȝ
ჿo
ᄁᄀᄀ
ᄄᄃᄃ
ᄈᄇᄇ
ᄊᄉᄉ
ᄍᄌᄌ
ᄓᄂᄀ
ᄔᄂᄂ
ᄕᄂᄃ
ᄖᄂᄇ
ᄗᄃᄀ
ᄘᄅᄂ
ᄙᄅᄅ
ᄚᄅᄒ
ᄛᄅᄋ
ᄜᄆᄇ
ᄝᄆᄋ
ᄞᄇᄀ
ᄟᄇᄂ
ᄠᄇᄃ
ᄡᄇᄉ
ᄢᄇᄉᄀ
ᄣᄇᄉᄃ
ᄤᄇᄉᄇ
ᄥᄇᄉᄉ
ᄦᄇᄉᄌ
ᄧᄇᄌ
ᄨᄇᄎ
ᄩᄇᄐ
ᄪᄇᄑ
ᄫᄇᄋ
ᄬᄇᄇᄋ
ᄭᄉᄀ
ᄮᄉᄂ
ᄯᄉᄃ
ᄰᄉᄅ
ᄱᄉᄆ
ᄲᄉᄇ
ᄳᄉᄇᄀ
ᄴᄉᄉᄉ
ᄵᄉᄋ
ᄶᄉᄌ
ᄷᄉᄎ
ᄸᄉᄏ
ᄹᄉᄐ
ᄺᄉᄑ
ᄻᄅᄒ
ᄽᄼᄼ
ᄿᄾᄾ
ᅁᄋᄀ
ᅂᄋᄃ
ᅃᄋᄆ
ᅄᄋᄇ
ᅅᄋᄉ
ᅆᄋᅀ
ᅇᄋᄋ
ᅈᄋᄌ
ᅉᄋᄎ
ᅊᄋᄐ
ᅋᄋᄑ
ᅍᄌᄋ
ᅏᅎᅎ
ᅑᅐᅐ
ᅒᄎᄏ
ᅓᄎᄒ
ᅖᄑᄇ
ᅗᄑᄋ
ᅘᄒᄒ
ᅚᄀᄃ
ᅛᄂᄉ
ᅜᄂᄌ
ᅝᄂᄒ
ᅞᄃᄅ
ᅢᅡ丨
ᅤᅣ丨
ᅦᅥ丨
ᅨᅧ丨
ᅪᅩᅡ
ᅫᅩᅡ丨
ᅬᅩ丨
ᅯᅮᅥ
ᅰᅮᅥ丨
ᅱᅮ丨
ᅳー
ᅴー丨
ᅵ丨
ᅶᅡᅩ
ᅷᅡᅮ
ᅸᅣᅩ
ᅹᅣᅭ
ᅺᅥᅩ
ᅻᅥᅮ
ᅼᅥー
ᅽᅧᅩ
ᅾᅧᅮ
ᅿᅩᅥ
ᆀᅩᅥ丨
ᆁᅩᅧ丨
ᆂᅩᅩ
ᆃᅩᅮ
ᆄᅭᅣ
ᆅᅭᅣ丨
ᆆᅭᅣ
ᆇᅭᅩ
ᆈᅭ丨
ᆉᅮᅡ
ᆊᅮᅡ丨
ᆋᅮᅥー
ᆌᅮᅧ丨
ᆍᅮᅮ
ᆎᅲᅡ
ᆏᅲᅥ
ᆐᅲᅥ丨
ᆑᅲᅧ
ᆒᅲᅧ丨
ᆓᅲᅮ
ᆔᅲ丨
ᆕーᅮ
ᆖーー
ᆗー丨ᅮ
ᆘ丨ᅡ
ᆙ丨ᅣ
ᆚ丨ᅩ
ᆛ丨ᅮ
ᆜ丨ー
ᆝ丨ᆞ
ᆟᆞᅥ
ᆠᆞᅮ
ᆡᆞ丨
ᆢᆞᆞ
ᆣᅡー
ᆤᅣᅮ
ᆥᅧᅣ
ᆦᅩᅣ
ᆧᅩᅣ丨
ᆨᄀ
ᆩᄀᄀ
ᆪᄀᄉ
ᆫᄂ
ᆬᄂᄌ
ᆭᄂᄒ
ᆮᄃ
ᆯᄅ
ᆰᄅᄀ
ᆱᄅᄆ
ᆲᄅᄇ
ᆳᄅᄉ
ᆴᄅᄐ
ᆵᄅᄑ
ᆶᄅᄒ
ᆷᄆ
ᆸᄇ
ᆹᄇᄉ
ᆺᄉ
ᆻᄉᄉ
ᆼᄋ
ᆽᄌ
ᆾᄎ
ᆿᄏ
ᇀᄐ
ᇁᄑ
ᇂᄒ
ᇃᄀᄅ
ᇄᄀᄉᄀ
ᇅᄂᄀ
ᇆᄂᄃ
ᇇᄂᄉ
ᇈᄂᅀ
ᇉᄂᄐ
ᇊᄃᄀ
ᇋᄃᄅ
ᇌᄅᄀᄉ
ᇍᄅᄂ
ᇎᄅᄃ
ᇏᄅᄃᄒ
ᇐᄅᄅ
ᇑᄅᄆᄀ
ᇒᄅᄆᄉ
ᇓᄅᄇᄉ
ᇔᄅᄇᄒ
ᇕᄅᄇᄋ
ᇖᄅᄉᄉ
ᇗᄅᅀ
ᇘᄅᄏ
ᇙᄅᅙ
ᇚᄆᄀ
ᇛᄆᄅ
ᇜᄆᄇ
ᇝᄆᄉ
ᇞᄆᄉᄉ
ᇟᄆᅀ
ᇠᄆᄎ
ᇡᄆᄒ
ᇢᄆᄋ
ᇣᄇᄅ
ᇤᄇᄑ
ᇥᄇᄒ
ᇦᄇᄋ
ᇧᄉᄀ
ᇨᄉᄃ
ᇩᄉᄅ
ᇪᄉᄇ
ᇫᅀ
ᇬᄋᄀ
ᇭᄋᄀᄀ
ᇮᄋᄋ
ᇯᄋᄏ
ᇰᅌ
ᇱᄋᄉ
ᇲᄋᅀ
ᇳᄑᄇ
ᇴᄑᄋ
ᇵᄒᄂ
ᇶᄒᄅ
ᇷᄒᄆ
ᇸᄒᄇ
ᇹᅙ
ᇺᄀᄂ
ᇻᄀᄇ
ᇼᄀᄎ
ᇽᄀᄏ
ᇾᄀᄒ
ᇿᄂᄂ
ሀu
ሣɰ
ቀɸ
በn
ኔձ
ዐo
Ꭴo'
Ꭸⱶ
Ꭹy
Ꭾ?
Ꮁy
Ꮍy
Ꮏƫ
Ꮒh
Ꮗw
Ꮞ4
Ꮤw
Ꮥs
Ꮷd
Ꮾ6
Ᏸss
Ᏺh̔
ᏻg
ᏼb
ᐃẟ
ᐌ·ᐁ
ᐍᐁ·
ᐎ·ẟ
ᐏẟ·
ᐐ·ᐄ
ᐑᐄ·
ᐒ·ᐅ
ᐓᐅ·
ᐔ·ᐆ
ᐕᐆ·
ᐗ·ᐊ
ᐘᐊ·
ᐙ·ᐋ
ᐚᐋ·
ᐧ·
ᐫᐁᐠ
ᐬẟᐠ
ᐭᐅᐠ
ᐮᐊᐠ
ᐯv
ᐱʌ
ᐳ>
ᐷ·>
ᐸ<
ᐺ·v
ᐻv·
ᐼ·ʌ
ᐽʌ·
ᐾ·ᐲ
ᐿᐲ·
ᑀ·>
ᑁ>·
ᑂ·ᐴ
ᑃᐴ·
ᑄ·<
ᑅ<·
ᑆ·ᐹ
ᑇᐹ·
ᑊ'
ᑌu
ᑎn
ᑔ·ᑐ
ᑗ·u
ᑘu·
ᑙ·n
ᑚn·
ᑛ·ᑏ
ᑜᑏ·
ᑝ·ᑐ
ᑞᑐ·
ᑟ·ᑑ
ᑠᑑ·
ᑡ·ᑕ
ᑢᑕ·
ᑣ·ᑖ
ᑤᑖ·
ᑧu'
ᑨn'
ᑩᑐ'
ᑪᑕ'
ᑭp
ᑯd
ᑲb
ᑳḃ
ᑴ·ᑫ
ᑵᑫ·
ᑶ·p
ᑷp·
ᑸ·ᑮ
ᑹᑮ·
ᑺ·d
ᑻd·
ᑼ·ᑰ
ᑽᑰ·
ᑾ·b
ᑿb·
ᒀ·ḃ
ᒁḃ·
ᒅᑫ'
ᒆp'
ᒇd'
ᒈb'
ᒍj
ᒒ·ᒉ
ᒓᒉ·
ᒔ·ᒋ
ᒕᒋ·
ᒖ·ᒌ
ᒗᒌ·
ᒘ·j
ᒙj·
ᒚ·ᒎ
ᒛᒎ·
ᒜ·ᒐ
ᒝᒐ·
ᒞ·ᒑ
ᒟᒑ·
ᒥy
ᒪl
ᒬ·ᒣ
ᒭᒣ·
ᒮ·y
ᒯy·
ᒰ·ᒦ
ᒱᒦ·
ᒲ·ᒧ
ᒳᒧ·
ᒴ·ᒨ
ᒵᒨ·
ᒶ·l
ᒷl·
ᒸ·ᒫ
ᒹᒫ·
ᒿ2
ᓉ·ᓀ
ᓊᓀ·
ᓋ·ᓇ
ᓌᓇ·
ᓍ·ᓈ
ᓎᓈ·
ᓑᐡ
ᓜ·ᓓ
ᓝᓓ·
ᓞ·ᓕ
ᓟᓕ·
ᓠ·ᓖ
ᓡᓖ·
ᓢ·ᓗ
ᓣᓗ·
ᓤ·ᓘ
ᓥᓘ·
ᓦ·ᓚ
ᓧᓚ·
ᓨ·ᓛ
ᓩᓛ·
ᓶ·ᓭ
ᓷᓭ·
ᓸ·ᓯ
ᓹᓯ·
ᓺ·ᓰ
ᓻᓰ·
ᓼ·ᓱ
ᓽᓱ·
ᓾ·ᓲ
ᓿᓲ·
ᔀ·ᓴ
ᔁᓴ·
ᔂ·ᓵ
ᔃᓵ·
ᔌᔋ<
ᔍᔋᑕ
ᔎᔋb
ᔏᔋᒐ
ᔗ·ᔐ
ᔘᔐ·
ᔙ·ᔑ
ᔚᔑ·
ᔛ·ᔒ
ᔜᔒ·
ᔝ·ᔓ
ᔞᔓ·
ᔟ·ᔔ
ᔠᔔ·
ᔡ·ᔕ
ᔢᔕ·
ᔣ·ᔖ
ᔤᔖ·
ᔯ·4
ᔰ4·
ᔱ·ᔨ
ᔲᔨ·
ᔳ·ᔩ
ᔴᔩ·
ᔵ·ᔪ
ᔶᔪ·
ᔷ·ᔫ
ᔸᔫ·
ᔹ·ᔭ
ᔺᔭ·
ᔻ·ᔮ
ᔼᔮ·
ᕀᐩ
ᕁx
ᕎ·ᕌ
ᕏᕌ·
ᕛ·ᕚ
ᕜᕚ·
ᕨ·ᕧ
ᕩᕧ·
ᕷẟ
ᕼh
ᕽx
ᕾᕐᑬ
ᕿᕐp
ᖀᕐᑮ
ᖁᕐd
ᖂᕐᑰ
ᖃᕐb
ᖄᕐḃ
ᖅᕐᒃ
ᖇr
ᖎᖕᒊ
ᖏᖕᒋ
ᖐᖕᒌ
ᖑᖕj
ᖒᖕᒎ
ᖓᖕᒐ
ᖔᖕᒑ
ᖯb
ᖴf
ᖵⅎ
ᖷꟻ
ᗄɐ
ᗅa
ᗞd
ᗪd
ᗯw
ᗰrn
ᗷb
ᘂᒐ
ᘃᒉ
ᘄᓓ
ᘇᓚ
ᘢᕃ
ᘣᕆ
ᘤᕊ
ᘮʊ
ᘯω
ᘴʊ
ᘵω
᙭x
᙮x
ᙯᕐᑫ
ᙰᖕᒉ
ᙱᖖᒋ
ᙲᖖᒌ
ᙳᖖj
ᙴᖖᒎ
ᙵᖖᒐ
ᙶᖖᒑ
ᙷᖧ·
ᙸᖨ·
ᙹᖩ·
ᙺᖪ·
ᙻᖫ·
ᙼᖬ·
ᙽᖭ·
ᚲ<
ᚷx
ᛁl
ᛂᚽ
ᛌ'
ᛕk
ᛖrn
ᛘψ
ᛡᚼ
ᛰɸ
᜴᜕
តដ
ឣអ
ិิ
ីี
ឹึ
ឺื
ំ̊
់่
៓̊
។ฯ
០o
ᡕᠵ
ᢖᡜ
ᢳ·ᢱ
ᢶ·ᢴ
ᢹ·ᢸ
ᣂ·ᣀ
ᣆ·ᓂ
ᣇᓂ·
ᣈ·ᓃ
ᣉᓃ·
ᣊ·ᓄ
ᣋᓄ·
ᣌ·ᓅ
ᣍᓅ·
ᣎ·ᕃ
ᣏ·ᕆ
ᣐ·ᕇ
ᣑ·ᕈ
ᣒ·ᕉ
ᣓ·ᕋ
ᣛᣵ
ᣜᣟᐞ
ᣝᐞᣟ
ᣠᕃ·
ᣣᕞ·
ᣤᕦ·
ᣥᕫ·
ᣨᖆ·
ᣪᖗ·
ᣭw·
ᣰᗴ·
ᣲᘛ·
᧐ᦞ
᧑ᦱ
᪀ᩅ
᪐ᩅ
᪴ۛ
̨᪷
᫙᫆
᫢̄
᫨̄̄
᭒ᬍ
᭓ᬑ
᭘ᬨ
᭜᭐
᳐̂
᳒̄
᳕̫
᳘̮
᳙̭
᳚̎
᳜̩
᳝̣
᳞̤
᳭̖
ᴀa
ᴄc
ᴅd
ᴇe
ᴈɜ
ᴊj
ᴋk
ᴍrn
ᴏo
ᴐɔ
ᴑo
ᴔǝo
ᴘp
ᴛt
ᴜu
ᴠv
ᴡw
ᴢz
ᴤƨ
ᴦr
ᴧʌ
ᴨπ
ᴩp
ᴫл
ᵫue
ᵮf̴
ᵯrn̴
ᵰn̴
ᵲr̴
ᵳɾ̴
ᵴs̴
ᵵt̴
ᵶz̴
ᵻl̵
ᵼl̵
ᵽp̵
ᵾu̵
ᵿʊ̵
ᶃg
ᶌy
ᶐɋ
ᷨ᫚
ᷮⷬ
ẝf
ẞss
ỿy
—ー
―ー
‖ll
‰o/oo
‱o/ooo
⁒o/o
⁝ⵗ
⁞ⵂ
₡c⃫
₥rn̸
₩w̵
₫ḏ̵
€e
₭k̵
₮t⃫
₶lt
₽f
⃁رىlل
⃛ۛ
℈э
℧ʊ
℩ɿ
℮e
⅁ꓨ
⅂ꓶ
⅃𖼀
ↄɔ
↑ᛏ
↕ᛨ
↾ᛚ
↿ᛐ
∀ɐ
∃ǝ
∆ẟ
∏π
∑ʃ
∔+̇
∞oo
∣l
∥ll
∨v
∩n
∪u
∫ʃ
∸-̇
≐=̇
≑=̣̇
≗=̊
≙=̂
≚=̆
≞=ͫ
⊂ᑕ
⊃ᑐ
⊕𐊨
⊖o̵
⊙ʘ
⊝o̵
⊤t
⊥ꓕ
⋁v
⋂n
⋃u
⋄ᛜ
⋈ᛞ
⋮ⵗ
⋴e
⋿e
⍁〼
⍙ẟ̲
⍚ᛜ̲
⍜°̲
⍡ẗ
⍢∇̈
⍣⋆̈
⍤°̈
⍥ة
⍨~̈
⍩ᐵ
⍫∇̴
⍬o̵
⍳l
⍴p
⍵ω
⍶a̲
⍷e̲
⍸l̲
⍹ω̲
⍺a
⍿ᚽ
⎜丨
⎟丨
⎢丨
⎥丨
⎪丨
⎮丨
⏨lo
⏽l
─ー
━ー
╪ǂ
╳x
▔ˉ
△ẟ
▽𐊼
◇ᛜ
◊ᛜ
☉ʘ
☥𐦞
☰ξ
♢ᛜ
♩𝅘𝅥
♪𝅘𝅥𝅮
⟂ꓕ
⟈\\ᑕ
⟉ᑐ/
⟙t
⤫x
⤬x
⥣ᛐᛚ
⥮ᛐ⇂
⥯⇃ᛚ
⦙ⵂ
⧄〼
⧖𐋀
⧶/̄
⨀ʘ
⨁𐊨
⨝ᛞ
⨡ᛚ
⨢+̊
⨣+̂
⨤+̃
⨥+̣
⨦+̰
⨧+2
⨩-̓
⨪-̣
⨯x
⨰ẋ
⩪~̇
⩮=⃰
⪪ᗕ
⪫ᗒ
⫗ᑐᑕ
⮖=᪲
Ⱨh̩
Ⱪk̩
ⲃb
Ⲅy
ⲅr
Ⲇẟ
ⲉe
ⲋo
ⲍⱬ
ⲏh
ⲑo̵
ⲓl
ⲕk
Ⲗλ
ⲗʌ
ⲙrn
ⲛn
Ⲝ3
ⲝʓ
ⲟo
ⲡπ
ⲣp
ⲥc
ⲧt
ⲩy
ⲫɸ
ⲭx
ⲯψ
ⲱω
ⲳ-̇
ⲵ<·
Ⲷξ
ⲷ≡
ⲻ-
ⲽw
Ⳁf
ⳁϼ
Ⳅ3
ⳅȝ
ⳇ/
ⳋ9
Ⳍ3
ⳍȝ
ⳏp
ⳑl
ⳓ6
Ⳝ6
ⳝẟ
ⳡɸ
ⳤϗ
⳨f
ⴱo̵
ⴷʌ
ⴸv
ⴹe
ⴺǝ
ⵁo̸
ⵈ···
ⵉʃ
ⵏl
ⵑ!
ⵔo
ⵕq
ⵙʘ
ⵝx
ⵠẟ
ⵣᛯ
ⷨᷟ
ⷪ̊
ⷭͨ
ⷮ᫛
ⷯͯ
ⷶͣ
ⷷͤ
⸚-̈
⸞~̇
⸟~̣
⸦ᑕ
⸧ᑐ
⸹ẟ
⸽ⵂ
⺂乛
⺃乚
⺅亻
⺉刂
⺋㔾
⺎兀
⺏尣
⺐尢
⺒巳
⺓幺
⺔彑
⺖忄
⺗㣺
⺘扌
⺙攵
⺛旡
⺞歺
⺠民
⺡氵
⺢氺
⺣灬
⺤爫
⺦丬
⺨犭
⺫罒
⺭礻
⺯糹
⺱罓
⺲罒
⺹耂
⺺肀
⺾艹
⺿艹
⻀艹
⻁虎
⻂衤
⻃覀
⻄西
⻅见
⻈讠
⻉贝
⻋车
⻌辶
⻍辶
⻏阝
⻐钅
⻑ᄐーᄂᄌ
⻒镸
⻓长
⻔门
⻖阝
⻘青
⻙韦
⻚页
⻛风
⻜飞
⻝食
⻟飠
⻠饣
⻢马
⻤鬼
⻥鱼
⻨麦
⻩黄
⻫斉
⻬齐
⻭歯
⻮齿
⻯竜
⻰龙
⻲亀
〇o
̉〬
̥〭
〳/
く❬
゚̊
イ亻
エ工
カ力
タ夕
ト卜
ニ二
ノ/
ハ八
ヘへ
ロ口
ㄦ儿
㇐ー
㇑丨
㇖乛
㇚亅
㇟乚
㇠乙
㦳㘽
䎛㖈
䐠㬻
䚕𧢮
一ー
丕조
丛ᄉᄉー
丶\\
丿/
于𛄢
今ᄉーᄀ
倂併
值値
兒𖿳
卟마
合ᄉーᄆ
啟啓
囗口
填塡
士土
壿墫
嬀媯
帲帡
幐㬺
愸𫜿
戸戶
搉㩁
晣䀿
晩晚
曶㫚
朦䑃
柿杮
槩㮣
樧榝
潙溈
爿누丨
硏研
絶絕
肦朌
胊朐
胐朏
胶㬵
脁朓
脧朘
腁胼
膧朣
蔿蒍
虁蘷
訞䚶
詽訮
讏讆
豣豜
趆赿
跺跥
躛躗
輧軿
郞郎
鎮鎭
長ᄐーᄂᄌ
隸隷
鹃鹂
黒黑
鿃䀹
꒔ꋍ
꒜ꃀ
꒞ꁊ
꒧ꑘ
꒨ꄲ
꒬ꁐ
꒰ꏂ
꒺ꎿ
꒾ꊱ
꒿ꉙ
꓀ꎫ
꓂ꎵ
ꓐb
ꓑp
ꓒd
ꓓd
ꓔt
ꓖg
ꓗk
ꓙj
ꓚc
ꓛɔ
ꓜz
ꓝf
ꓞⅎ
ꓟrn
ꓠn
ꓡl
ꓢs
ꓣr
ꓥʌ
ꓦv
ꓧh
ꓪw
ꓫx
ꓬy
ꓭᙠ
ꓮa
ꓯɐ
ꓰe
ꓱǝ
ꓲl
ꓳo
ꓴu
ꓵn
ꓷᗡ
ꓸ.
ꓹ,
ꓺ..
ꓻ.,
ꓽ:
Ꙅ2
ꙅƨ
ꙇl
ꙍω
ꙑˉbl
Ꙩʘ
꙯⃩
꙼̆
꙾ˇ
ꚕh̔
ꚙoo
Ꚛ𐊨
ꚡᴎ
ꚰᚹ
ꚱⱶ
ꛍʡ
ꛎʌ
ꛛπ
ꛟv
ꛫ?
ꛯ2
꛰̂
꛱̄
Ꜩt3
ꜩtȝ
ꜰf
ꜱs
ꜳaa
ꜵao
ꜷau
ꜹav
ꜻav
ꜽay
Ꝁk̵
ꝋo̵
ꝏoo
Ꝛ2
ꝡw̦
Ꝫ3
ꝫȝ
Ꝯ9
ꝷtf
ꝸ&
ꝺꝹ
ꞌ'
ꞏ·
ꞓe
ꞕꜧ
ꞙf
ꞛ𐐺
ꞝʚ
Ꞟꓤ
ꞟu
Ɜ3
ꞯq
Ʇꓕ
Ʝj
Ꞵb
ꞵss
ꞷω
꟒ꟓ
꟔ꟕ
Ꟗss
Ꟛʌ
ꟛλ
Ƛʌ̸
꟱ᣵ
ꟷー
꠰।
ꥠᄃᄆ
ꥡᄃᄇ
ꥢᄃᄉ
ꥣᄃᄌ
ꥤᄅᄀ
ꥥᄅᄀᄀ
ꥦᄅᄃ
ꥧᄅᄃᄃ
ꥨᄅᄆ
ꥩᄅᄇ
ꥪᄅᄇᄇ
ꥫᄅᄇᄋ
ꥬᄅᄉ
ꥭᄅᄌ
ꥮᄅᄏ
ꥯᄆᄀ
ꥰᄆᄃ
ꥱᄆᄉ
ꥲᄇᄉᄐ
ꥳᄇᄏ
ꥴᄇᄒ
ꥵᄉᄉᄇ
ꥶᄋᄅ
ꥷᄋᄒ
ꥸᄌᄌᄒ
ꥹᄐᄐ
ꥺᄑᄒ
ꥻᄒᄉ
ꥼᅙᅙ
ꦒⰿ
ꦣꦝ
꧆꧐
ꧏ٢
꩓ꨁ
꩖ꨣ
ꬲe
ꬵf
ꬽo
ꬾo̸
ꬿɔ̸
ꭁǝo̸
ꭂǝo̵
ꭇr
ꭈr
ꭍʃ
ꭎu
ꭒu
ꭓx
ꭕx
ꭚy
ꭠљ
ꭢɔe
ꭣuo
ꭰd
ꭱr
ꭲt
ꭴơ
ꭵl
ꭺa
ꭻj
ꭼe
ꭾɂ
ꮀⱶ
ꮁr
ꮃw
ꮇrn
ꮋh
ꮎo̵
ꮐg
ꮓz
ꮛe
ꮜu̵
ꮟb
ꮢr
ꮩv
ꮪs
ꮮl
ꮯc
ꮲp
ꮶk
ꮻo̵
ힰᅩᅧ
ힱᅩᅩ丨
ힲᅭᅡ
ힳᅭᅡ丨
ힴᅭᅥ
ힵᅮᅧ
ힶᅮ丨丨
ힷᅲᅡ丨
ힸᅲᅩ
ힹーᅡ
ힺーᅥ
ힻーᅥ丨
ힼーᅩ
ힽ丨ᅣᅩ
ힾ丨ᅣ丨
ힿ丨ᅧ
ퟀ丨ᅧ丨
ퟁ丨ᅩ丨
ퟂ丨ᅭ
ퟃ丨ᅲ
ퟄ丨丨
ퟅᆞᅡ
ퟆᆞᅥ丨
ퟋᄂᄅ
ퟌᄂᄎ
ퟍᄃᄃ
ퟎᄃᄃᄇ
ퟏᄃᄇ
ퟐᄃᄉ
ퟑᄃᄉᄀ
ퟒᄃᄌ
ퟓᄃᄎ
ퟔᄃᄐ
ퟕᄅᄀᄀ
ퟖᄅᄀᄒ
ퟗᄅᄅᄏ
ퟘᄅᄆᄒ
ퟙᄅᄇᄃ
ퟚᄅᄇᄑ
ퟛᄅᅌ
ퟜᄅᅙᄒ
ퟝᄅᄋ
ퟞᄆᄂ
ퟟᄆᄂᄂ
ퟠᄆᄆ
ퟡᄆᄇᄉ
ퟢᄆᄌ
ퟣᄇᄃ
ퟤᄇᄅᄑ
ퟥᄇᄆ
ퟦᄇᄇ
ퟧᄇᄉᄃ
ퟨᄇᄌ
ퟩᄇᄎ
ퟪᄉᄆ
ퟫᄉᄇᄋ
ퟬᄉᄉᄀ
ퟭᄉᄉᄃ
ퟮᄉᅀ
ퟯᄉᄌ
ퟰᄉᄎ
ퟱᄉᄐ
ퟲᄅᄒ
ퟳᅀᄇ
ퟴᅀᄇᄋ
ퟵᅌᄆ
ퟶᅌᄒ
ퟷᄌᄇ
ퟸᄌᄇᄇ
ퟹᄌᄌ
ퟺᄑᄉ
ퟻᄑᄐ
𐆎n̊
𐆖x̵
𐆗v̵
𐆘l̵l̵s̵
𐆙l̵l̵
𐆠f
𐊂b
𐊅ẟ
𐊆e
𐊇f
𐊊l
𐊍ʌ
𐊐x
𐊒o
𐊔ᛜ
𐊕p
𐊖s
𐊗t
𐊛+
𐊠a
𐊡b
𐊢c
𐊣ẟ
𐊥f
𐊫o
𐊭ϙ
𐊰rn
𐊱t
𐊲y
𐊳ɸ
𐊴x
𐊵ψ
𐊶ω
𐊸ⵀ
𐋏h
𐋡د
𐋤و
𐋨ط
𐋲ص
𐋵z
𐌁b
𐌂c
𐌉l
𐌑rn
𐌒ϙ
𐌕t
𐌗x
𐌚8
𐌟*
𐌠l
𐌢x
𐏑𐎂
𐏓𐎓
𐐑ꓶ
𐐟ɒ
𐐩e
𐐪ʚ
𐐬o
𐐽c
𐐿ɷ
𐑂ɞ
𐑃l
𐑈s
𐑋ɔ
𐑍ᴎ
𐒠𐒆
𐒴r
𐒼ӄ
𐓃ʘ
𐓄p
𐓍h̵
𐓐ᛦ
𐓒7
𐓘ʌ
𐓛λ
𐓪o
𐓫ꙩ
𐓶u
𐓹ψ
𐔓n
𐔖o
𐔘k
𐔜c
𐔝v
𐔥f
𐔦l
𐔧x
𐨺̣
𐳺𐳥
𐳼𐳂
𐻆ن
𐻇ڀ
𐻐°̲
𑇊̣
𑇋ऺ
𑇜ꣻ
𑌀̊
𑐓𑐴𑑂𑐒
𑐙𑐴𑑂𑐘
𑐤𑐴𑑂𑐣
𑐪𑐴𑑂𑐩
𑐭𑐴𑑂𑐬
𑐯𑐴𑑂𑐮
𑒒ঘ
𑒔চ
𑒖জ
𑒘ঞ
𑒙ট
𑒛ড
𑒝ল
𑒞ত
𑒟থ
𑒠দ
𑒡ধ
𑒢ন
𑒣প
𑒧ম
𑒨য
𑒩ব
𑒪ণ
𑒫র
𑒭ষ
𑒮স
𑒰া
𑒱ি
𑒹ে
𑒽ৗ
𑒿̆̇
𑓁ঃ
𑓂্
𑓃̣
𑓄ঽ
𑓅ẇ
𑓐o
𑓑১
𑓒২
𑓖৬
𑗘𑖂
𑗙𑖂
𑗚𑖃
𑗛𑖄
𑗜𑖲
𑗝𑖳
𑜀rn
𑜆v
𑜊w
𑜎w
𑜏w
𑢤y
𑢦e
𑢨∇
𑢩z
𑢯4
𑢲l
𑢵o
𑢷ᛜ
𑢻5
𑢼t
𑣀v
𑣁s
𑣂f
𑣃l
𑣄z
𑣆7
𑣈o
𑣊3
𑣌9
𑣎e
𑣕6
𑣖9
𑣗o
𑣘u
𑣜y
𑣠o
𑣣rn
𑣤٩
𑣥z
𑣦w
𑣩c
𑣬x
𑣯w
𑣲c
𑫦𑫥𑫯
𑫧𑫥𑫰
𑫨𑫥𑫥
𑫩𑫥𑫥𑫯
𑫪𑫥𑫥𑫰
𑫬𑫫𑫯
𑫭𑫫𑫫
𑫮𑫫𑫫𑫯
𑫴𑫳𑫯
𑫵𑫳𑫰
𑫶𑫳𑫳
𑫷𑫳𑫳𑫯
𑫸𑫳𑫳𑫰
𑭠ऺ
𑭦̆
𑲲𑲪
𑷚l
𑷠o
𑷡l
𒀸𐎚
𓋹𐦞
𖺦π
𖺪l
𖺶b
𖻁π
𖻑b
𖼇y
𖼈v
𖼊t
𖼖l
𖼚ẟ
𖼜ꙙ
𖼦ꓶ
𖼨l
𖼭e
𖼵r
𖼺s
𖼻3
𖼽ʌ
𖼿>
𖽀a
𖽂u
𖽃y
𖽑'
𖽒'
𖿲儿
𜳖a
𜳗b
𜳘c
𜳙d
𜳚e
𜳛f
𜳜g
𜳝h
𜳞l
𜳟j
𜳠k
𜳡l
𜳢rn
𜳣n
𜳤o
𜳥p
𜳦q
𜳧r
𜳨s
𜳩t
𜳪u
𜳫v
𜳬w
𜳭x
𜳮y
𜳯z
𜳰o
𜳱l
𜳲2
𜳳3
𜳴4
𜳵5
𜳶6
𜳷7
𜳸8
𜳹9
𜻯ⵂ
𝅭.
𝈂ӿ
𝈆3
𝈋ᴎ
𝈍v
𝈒7
𝈓f
𝈔𐊼
𝈕ꓶ
𝈖r
𝈗ɐ
𝈚o̵
𝈜ꓕ
𝈡e
𝈢w
𝈪l
𝈫ꓶ
𝈰ꟻ
𝈿ᛋ
𝉅n
𞛮᫈
𞣇l
𞣈∠
𞣉٣
𞣋8
𞣌∂
𞣍∂̵
🄏\$⃠
🅭cc	⃝
🅮c⃠
🜀qe
🜁ꙙ
🜂ẟ
🜄𐊼
🜇ar
🜈vᷤ
🜔o̵
🜨𐊨
🝌c
🝔ᛜ
🝜sss
🝨t
🝫rnb
🝬vb
𠙴凵
𡔳壷
𡖇多
𡚧𡚨
𡿨❬
𢔅徚
𣵀涅
𤣽玥
𥄚𥄙
𥫔贛
𦖝𦖨
𦴆𦰶
𪻅𤠔
𫜺峀
𫜾𣍟
𭅡卑
𱹼緇`;
