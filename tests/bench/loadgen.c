/* The hot loop of the load generator: sends prepared messages, understands what comes back, keeps the times.
 *
 * Python logs the connections in over real handshakes and hands their sockets over. Each message carries a
 * token in its text: "@@", 16 hexadecimal digits of CLOCK_MONOTONIC in ns, 8 of its number; so its delay is
 * known wherever it turns up. A message is complete when all who should have it have it and, where the
 * protocol answers, it is answered.
 *
 * PROTOCOL_TEXT   scan for tokens (XMPP, IRC, NATS)
 * PROTOCOL_MQTT   MQTT 3.1.1 packets; a PUBACK for every QoS 1 PUBLISH received
 * PROTOCOL_RELAY  this relay: masked WebSocket text frames with random clientMessageIds; every event that
 *                 carries an id is acknowledged
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PROTOCOL_TEXT, PROTOCOL_MQTT, PROTOCOL_RELAY };
enum { ANSWER_NONE, ANSWER_XMPP, ANSWER_MQTT, ANSWER_NATS, ANSWER_RELAY };

#define BUFFER (1 << 18)
#define TOKEN 26
#define RING (1 << 13) /* messages of one sender that may be under way */
#define SAMPLES (1 << 24)

typedef struct {
  char *text;
  int length, token_at, id_at, unique_at, packet_at; /* offsets into it, -1 for none */
} template;

typedef struct {
  int senders, receivers, fan, window;
  const int *sender_sockets, *receiver_sockets;
  const template *templates;
  int protocol, answers, needs_answer;
  uint32_t first;      /* number of the first message: runs on the same connections must not mix */
  uint64_t most;       /* messages a sender sends, 0 for as many as the time allows */
  double seconds;      /* how long it is measured */
  double rate;         /* messages per second of all senders; 0: as soon as the window allows */
  double settle;       /* seconds to wait for what is under way at the end */
  int server;          /* process whose CPU time is measured, 0 for none */
} plan;

typedef struct { double p50, p90, p99, p999, most; } quantiles;
typedef struct {
  double seconds, server_cpu, generator_cpu;
  uint64_t sent, delivered, answered, complete, refused, left, bytes_in;
  quantiles delivery, last, done; /* ms: to each receiver; to the last of them; delivered and answered */
  int error, error_number;
} result;

typedef struct { uint64_t at; uint32_t number; uint32_t delivered; int answered, counted; } message;
typedef struct {
  template t;
  uint64_t sent, complete, answered;
  uint32_t next, answered_upto;
  uint16_t packet;
  message *ring;
  int socket;
} sender;
typedef struct { int socket, sends, of; char *buffer; size_t length; } connection;
typedef struct { float *values; uint64_t count; } samples;

static const plan *P;
static result *R;
static sender *S;
static samples delivery, last, done;
static uint64_t measured_until;
static char out[1 << 20];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

static double cpu_of(int process) {
  clockid_t clock;
  struct timespec t;
  if (!process || clock_getcpuclockid(process, &clock) || clock_gettime(clock, &t)) return 0;
  return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t random_state[2];
static uint64_t random64(void) { /* xorshift128+ */
  uint64_t a = random_state[0], b = random_state[1];
  random_state[0] = b;
  a ^= a << 23;
  random_state[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
  return random_state[1] + b;
}

static const char HEX[] = "0123456789abcdef";
static void hex(char *p, uint64_t v, int n) {
  for (int i = n - 1; i >= 0; i--) { p[i] = HEX[v & 15]; v >>= 4; }
}
static int unhex(const char *p, int n, uint64_t *value) {
  uint64_t v = 0;
  for (int i = 0; i < n; i++) {
    char c = p[i];
    int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (d < 0) return 0;
    v = v << 4 | d;
  }
  *value = v;
  return 1;
}

static void sample(samples *s, uint64_t from, uint64_t to) {
  if (to <= measured_until && s->count < SAMPLES) s->values[s->count++] = to > from ? (to - from) / 1e6f : 0;
}
static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}
static quantiles quantiles_of(samples *s) {
  quantiles q = {0};
  if (!s->count) return q;
  qsort(s->values, s->count, sizeof(float), by_value);
  uint64_t n = s->count - 1;
  q.p50 = s->values[n / 2];
  q.p90 = s->values[(uint64_t)(n * .9)];
  q.p99 = s->values[(uint64_t)(n * .99)];
  q.p999 = s->values[(uint64_t)(n * .999)];
  q.most = s->values[n];
  return q;
}

static int send_all(int socket, const char *p, size_t n) {
  while (n) {
    ssize_t r = send(socket, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (r > 0) { p += r; n -= r; continue; }
    if (r < 0 && errno == EINTR) continue;
    if (r < 0 && errno == EAGAIN) {
      struct pollfd q = {socket, POLLOUT, 0};
      if (poll(&q, 1, 2000) > 0) continue;
    }
    return -1;
  }
  return 0;
}

/* WebSocket, the client's half (RFC 6455, section 5.3): every frame under a mask of its own. */

static size_t masked_header(char *p, size_t length, char mask[4]) {
  size_t n = 0;
  p[n++] = (char)0x81;
  if (length < 126) p[n++] = (char)(0x80 | length);
  else { p[n++] = (char)(0x80 | 126); p[n++] = (char)(length >> 8); p[n++] = (char)length; }
  uint32_t m = (uint32_t)random64();
  memcpy(mask, &m, 4);
  memcpy(p + n, mask, 4);
  return n + 4;
}
static void apply_mask(char *p, size_t n, const char mask[4]) {
  for (size_t i = 0; i < n; i++) p[i] ^= mask[i & 3];
}

/* Sending. */

static size_t write_message(sender *s, char *p, uint64_t at) {
  const template *t = &s->t;
  char mask[4];
  size_t header = P->protocol == PROTOCOL_RELAY ? masked_header(p, t->length, mask) : 0;
  char *m = p + header;
  memcpy(m, t->text, t->length);
  m[t->token_at] = m[t->token_at + 1] = '@';
  hex(m + t->token_at + 2, at, 16);
  hex(m + t->token_at + 18, s->next, 8);
  if (t->id_at >= 0) hex(m + t->id_at, s->next, 8);
  if (t->unique_at >= 0) { /* 8-4-4-4-12, as a UUID is written */
    char *u = m + t->unique_at;
    uint64_t a = random64(), b = random64();
    hex(u, a >> 32, 8); hex(u + 9, a >> 16, 4); hex(u + 14, a, 4); hex(u + 19, b >> 48, 4); hex(u + 24, b, 12);
  }
  if (t->packet_at >= 0) {
    if (++s->packet == 0) s->packet = 1;
    m[t->packet_at] = s->packet >> 8;
    m[t->packet_at + 1] = s->packet & 255;
  }
  if (header) apply_mask(m, t->length, mask);
  s->ring[s->next % RING] = (message){.at = at, .number = s->next};
  s->next++;
  s->sent++;
  return header + t->length;
}
static int push(sender *s, int count, uint64_t at) {
  size_t n = 0;
  for (int i = 0; i < count; i++) {
    n += write_message(s, out + n, at ? at : now_ns());
    if (n > sizeof out - 4096) { if (send_all(s->socket, out, n)) return -1; n = 0; }
  }
  return send_all(s->socket, out, n);
}

/* What has become of a message. */

static message *known(sender *s, uint32_t number) {
  message *m = &s->ring[number % RING];
  return m->number == number && m->at ? m : NULL;
}
static void look(sender *s, message *m, uint64_t at) {
  uint32_t all = P->fan ? (uint32_t)P->receivers : 1;
  if (m->counted || m->delivered < all || (P->needs_answer && !m->answered)) return;
  m->counted = 1;
  s->complete++;
  if (at <= measured_until) R->complete++;
  sample(&done, m->at, at);
}
static void was_delivered(sender *s, uint32_t number, uint64_t at) {
  message *m = known(s, number);
  if (!m) return;
  if (at <= measured_until) R->delivered++;
  sample(&delivery, m->at, at);
  if (++m->delivered == (P->fan ? (uint32_t)P->receivers : 1)) sample(&last, m->at, at);
  look(s, m, at);
}
static void was_answered(sender *s, uint32_t number, uint64_t at) {
  message *m = known(s, number);
  if (!m || m->answered) return;
  m->answered = 1;
  s->answered++;
  if (at <= measured_until) R->answered++;
  look(s, m, at);
}
static void answered_upto(sender *s, uint32_t number, uint64_t at) { /* not the number itself */
  while (s->answered_upto < number) was_answered(s, s->answered_upto++, at);
}

/* Understanding what comes in: each gives how many bytes of the buffer are done with. */

static int token_at(const char *p, uint64_t *number) {
  uint64_t at;
  return p[0] == '@' && p[1] == '@' && unhex(p + 2, 16, &at) && unhex(p + 18, 8, number);
}

static size_t take_tokens(sender *s, const char *b, size_t length, uint64_t at) {
  size_t position = 0;
  for (;;) {
    const char *p = memchr(b + position, '@', length - position);
    if (!p) return length;
    size_t o = p - b;
    uint64_t number;
    if (o + 1 >= length) return o;
    if (p[1] != '@') { position = o + 1; continue; }
    if (o + TOKEN > length) return o;
    if (token_at(p, &number)) { was_delivered(s, number, at); position = o + TOKEN; }
    else position = o + 2;
  }
}

static size_t take_answers(sender *s, char *b, size_t length, uint64_t at) {
  char *p = b, *end = b + length, *kept = end;
  if (P->answers == ANSWER_XMPP) {
    while ((p = memmem(p, end - p, "<a ", 3))) {
      kept = p;
      char *close = memchr(p, '>', end - p);
      if (!close) break;
      char *h = memmem(p, close - p, " h=", 3);
      if (h) answered_upto(s, P->first + strtoul(h + 4, NULL, 10), at);
      kept = end;
      p = close;
    }
    if (kept == end) kept -= length < 2 ? length : 2;
  } else if (P->answers == ANSWER_NATS) {
    char *after = b;
    while ((p = memmem(p, end - p, "\"seq\":", 6))) {
      answered_upto(s, s->answered_upto + 1, at);
      after = p += 6;
    }
    kept = end - after > 5 ? end - 5 : after;
  }
  return kept - b;
}

static size_t take_mqtt(connection *c, sender *s, uint64_t at) {
  char acks[1 << 14], *b = c->buffer;
  size_t position = 0, n = 0;
  for (;;) {
    size_t q = position + 1, length = 0;
    int shift = 0, whole = 0;
    if (c->length - position < 2) break;
    while (q < c->length && shift <= 21) {
      unsigned char x = b[q++];
      length |= (size_t)(x & 127) << shift;
      shift += 7;
      if (!(x & 128)) { whole = 1; break; }
    }
    if (!whole || c->length - q < length) break;
    unsigned char head = b[position];
    char *p = b + q;
    if (head >> 4 == 3) {
      char *payload = p + 2 + (((unsigned char)p[0] << 8) | (unsigned char)p[1]);
      if (head >> 1 & 3) {
        if (n + 4 > sizeof acks) { send_all(c->socket, acks, n); n = 0; }
        acks[n++] = 0x40; acks[n++] = 2; acks[n++] = payload[0]; acks[n++] = payload[1];
        payload += 2;
      }
      uint64_t number;
      if (token_at(payload, &number)) was_delivered(s, number, at);
    } else if (head >> 4 == 4) answered_upto(s, s->answered_upto + 1, at);
    position = q + length;
  }
  if (n && send_all(c->socket, acks, n)) R->error = 6;
  return position;
}

static size_t write_ack(char *p, const char *id, size_t digits) {
  static const char head[] = "{\"type\":\"ack\",\"id\":";
  char mask[4], *m;
  size_t length = sizeof head - 1 + digits + 1, n = masked_header(p, length, mask);
  m = p + n;
  memcpy(m, head, sizeof head - 1);
  memcpy(m + sizeof head - 1, id, digits);
  m[length - 1] = '}';
  apply_mask(m, length, mask);
  return n + length;
}

static size_t take_frames(connection *c, sender *s, uint64_t at) {
  static const char event[] = "{\"type\":\"event\",\"id\":", response[] = "{\"type\":\"response\",\"id\":\"";
  static char acks[1 << 18];
  const unsigned char *b = (unsigned char *)c->buffer;
  size_t position = 0, n = 0;
  while (c->length - position >= 2) {
    size_t start = position + 2, length = b[position + 1] & 127;
    if (length == 126) { if (c->length < position + 4) break; length = b[position + 2] << 8 | b[position + 3]; start += 2; }
    else if (length == 127) {
      if (c->length < position + 10) break;
      length = 0;
      for (int i = 2; i < 10; i++) length = length << 8 | b[position + i];
      start += 8;
    }
    if (c->length - start < length || c->length < start) break;
    const char *p = c->buffer + start, *end = p + length;
    int opcode = b[position] & 15;
    if (opcode == 8) R->error = 5;
    else if (opcode != 1) { /* a ping: nothing here needs the answer, we talk all the time */ }
    else if (length > sizeof event && !memcmp(p, event, sizeof event - 1)) {
      const char *id = p + sizeof event - 1, *q = id;
      while (*q >= '0' && *q <= '9') q++;
      n += write_ack(acks + n, id, q - id);
      if (n > sizeof acks - 256) { if (send_all(c->socket, acks, n)) R->error = 6; n = 0; }
      uint64_t number;
      const char *token = memmem(q, end - q, "@@", 2);
      if (token && end - token >= TOKEN && token_at(token, &number)) was_delivered(s, number, at);
    } else if (length > sizeof response && !memcmp(p, response, sizeof response - 1)) {
      uint64_t number;
      if (memmem(p, length, "\"error\":", 8)) R->refused++;
      else if (unhex(p + sizeof response - 1, 8, &number)) was_answered(s, number, at);
    } else if (length > 15 && !memcmp(p, "{\"type\":\"error\"", 15)) R->refused++;
    position = start + length;
  }
  if (n && send_all(c->socket, acks, n)) R->error = 6;
  return position;
}

static void take(connection *c, uint64_t at) {
  sender *s = &S[c->of];
  size_t used;
  if (P->protocol == PROTOCOL_RELAY) used = take_frames(c, s, at);
  else if (P->protocol == PROTOCOL_MQTT) used = take_mqtt(c, s, at);
  else if (c->sends) used = P->answers ? take_answers(s, c->buffer, c->length, at) : c->length;
  else used = take_tokens(s, c->buffer, c->length, at);
  if (used) { memmove(c->buffer, c->buffer + used, c->length - used); c->length -= used; }
}

/* The loop. */

static uint64_t under_way(void) {
  uint64_t n = 0;
  for (int i = 0; i < P->senders; i++) n += S[i].sent - S[i].complete;
  return n;
}
static int all_sent(void) {
  if (!P->most) return 0;
  for (int i = 0; i < P->senders; i++) if (S[i].complete < P->most) return 0;
  return 1;
}
static int refill(sender *s) {
  int64_t room = P->window - (int64_t)(s->sent - s->complete);
  if (P->most && s->sent + room > P->most) room = (int64_t)P->most - (int64_t)s->sent;
  return room > 0 ? push(s, room, 0) : 0;
}

int run_load(const plan *wanted, result *given) {
  P = wanted; R = given;
  memset(R, 0, sizeof *R);
  int count = P->senders + P->receivers, epoll = epoll_create1(0);
  connection *c = calloc(count, sizeof *c);
  S = calloc(P->senders, sizeof *S);
  samples *all[] = {&delivery, &last, &done};
  for (int i = 0; i < 3; i++) *all[i] = (samples){malloc(SAMPLES * sizeof(float)), 0};
  random_state[0] = now_ns(); random_state[1] = 0x9e3779b97f4a7c15ull ^ getpid();
  for (int i = 0; i < P->senders; i++) {
    S[i] = (sender){.t = P->templates[i], .next = P->first, .answered_upto = P->first,
                    .ring = calloc(RING, sizeof(message)), .socket = P->sender_sockets[i]};
    c[i] = (connection){S[i].socket, 1, i, malloc(BUFFER), 0};
  }
  for (int i = 0; i < P->receivers; i++)
    c[P->senders + i] = (connection){P->receiver_sockets[i], 0, P->fan ? 0 : i, malloc(BUFFER), 0};
  for (int i = 0; i < count; i++) {
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c[i].socket, &e);
  }
  double server = cpu_of(P->server), own = cpu_of(getpid());
  uint64_t begin = now_ns(), finish = begin + (uint64_t)(P->seconds * 1e9), at = begin, scheduled = 0;
  uint64_t settled = finish + (uint64_t)(P->settle * 1e9);
  int measuring = 1;
  measured_until = finish;
  if (P->rate <= 0) for (int i = 0; i < P->senders; i++) if (push(&S[i], P->window, 0)) { R->error = 1; goto over; }
  struct epoll_event ready[512];
  for (;;) {
    at = now_ns();
    if (measuring && (at >= finish || all_sent())) {
      measuring = 0;
      R->seconds = (at - begin) / 1e9;
      R->server_cpu = cpu_of(P->server) - server;
      R->generator_cpu = cpu_of(getpid()) - own;
      if (at < finish) { measured_until = at; settled = at + (uint64_t)(P->settle * 1e9); }
    }
    if (!measuring && at >= settled) break;
    int64_t wait = 20000000;
    if (measuring && P->rate > 0) {
      uint64_t due;
      while ((due = begin + (uint64_t)(scheduled * 1e9 / P->rate)) <= at) {
        sender *s = &S[scheduled++ % P->senders];
        if (s->sent - s->complete >= RING - 1) { R->error = 7; goto over; }
        if (push(s, 1, due)) { R->error = 4; goto over; }
      }
      wait = (int64_t)(due - at);
    }
    if (measuring && (int64_t)(finish - at) < wait) wait = finish - at;
    struct timespec pause = {0, wait};
    int n = epoll_pwait2(epoll, ready, 512, &pause, NULL);
    for (int k = 0; k < n; k++) {
      connection *one = &c[ready[k].data.u32];
      ssize_t r = recv(one->socket, one->buffer + one->length, BUFFER - one->length, MSG_DONTWAIT);
      if (r == 0) { R->error = 2; goto over; }
      if (r < 0) { if (errno == EAGAIN || errno == EINTR) continue; R->error = 3; goto over; }
      R->bytes_in += r;
      one->length += r;
      take(one, now_ns());
      if (R->error) goto over;
      if (measuring && P->rate <= 0 && refill(&S[one->of])) { R->error = 4; goto over; }
    }
  }
over:
  R->error_number = R->error ? errno : 0;
  for (int i = 0; i < P->senders; i++) R->sent += S[i].sent;
  R->left = under_way();
  R->delivery = quantiles_of(&delivery);
  R->last = quantiles_of(&last);
  R->done = quantiles_of(&done);
  for (int i = 0; i < count; i++) free(c[i].buffer);
  for (int i = 0; i < P->senders; i++) free(S[i].ring);
  for (int i = 0; i < 3; i++) free(all[i]->values);
  free(c); free(S); close(epoll);
  return R->error;
}
