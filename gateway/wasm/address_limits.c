// Bounds what one caller's address holds at once: connections (a network filter) and streams (an HTTP filter).
//
// Envoy has no such bound of its own: its connection_limit filter counts a whole listener, and its rate limits count
// what begins, not what stays. The interface is Proxy-Wasm 0.2.1 (github.com/proxy-wasm/spec).
// `make wasm` compiles this file; it needs no library.
//
// Each address has a slot, chosen by a keyed hash. Envoy's shared data holds the slots' counts for all workers. It
// forgets no key, so the number of slots is the bound on its memory. What is refused is counted, too, until it has
// gone: so opening and closing need no memory of their own.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define IMPORT(name) __attribute__((import_module("env"), import_name(#name))) u32 name
#define EXPORT(name) __attribute__((export_name(#name))) name

IMPORT(proxy_get_property)(const char *path, u32 path_size, char **value, u32 *size);
IMPORT(proxy_get_shared_data)(const void *key, u32 key_size, void **value, u32 *size, u32 *version);
IMPORT(proxy_set_shared_data)(const void *key, u32 key_size, const void *value, u32 size, u32 version);
IMPORT(proxy_get_buffer_bytes)(u32 buffer, u32 start, u32 length, char **value, u32 *size);
IMPORT(proxy_get_current_time_nanoseconds)(u64 *time);
IMPORT(proxy_close_stream)(u32 stream);
IMPORT(proxy_define_metric)(u32 type, const char *name, u32 name_size, u32 *metric);
IMPORT(proxy_increment_metric)(u32 metric, long long by);
IMPORT(proxy_send_local_response)(u32 status, const char *details, u32 details_size, const char *body, u32 body_size,
                                  const void *headers, u32 headers_size, u32 grpc_status);

enum { OK = 0, CAS_MISMATCH = 8 };
enum { CONTINUE = 0, PAUSE = 1 };
enum { PLUGIN_CONFIGURATION = 7 };
enum { DOWNSTREAM = 2 };
enum { COUNTER = 0 };
enum { STREAMS = 's' };
enum { TOO_MANY_REQUESTS = 429, RESOURCE_EXHAUSTED = 8 };
enum { SLOTS = 65536, TRIES = 64 };

// What one plugin of the configuration counts. The first letter of its root id says which: `j` and `n` for the
// connections of the JSON and of the native door, `s` for streams.
typedef struct {
  u32 limit;
  u32 refused;
} Bound;
static Bound bounds[128];
static u64 hash_key;

// Envoy passes values in memory that it asks for here. One value at a time is read, so one arena, used again, is enough.
static u8 arena[4096];

void *EXPORT(malloc)(u32 size) { return size <= sizeof arena ? arena : 0; }

static u64 hash(const u8 *bytes, u32 size) {
  u64 state = hash_key ^ 0xcbf29ce484222325ull;
  for (u32 i = 0; i < size; i++) {
    state = (state ^ bytes[i]) * 0x100000001b3ull;
    state ^= state >> 29;
  }
  state = (state ^ (state >> 32)) * 0x9e3779b97f4a7c15ull;
  return state ^ (state >> 32);
}

static u32 hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 16;
}

// The first four groups of an IPv6 address: the network, /64, that one caller has as a whole.
static u32 ipv6_network(const char *text, u32 size, u8 network[8]) {
  u32 groups[8] = {0}, count = 0, gap = 8, i = 0;
  while (i < size && count < 8) {
    if (text[i] == ':') {
      if (i + 1 < size && text[i + 1] == ':') {
        gap = count;
        i++;
      }
      i++;
      continue;
    }
    u32 group = 0, digit;
    while (i < size && (digit = hex_digit(text[i])) < 16) {
      group = group << 4 | digit;
      i++;
    }
    groups[count++] = group;
    if (i < size && text[i] != ':') break;
  }
  u32 missing = 8 - count;
  for (u32 at = 0; at < 4; at++) {
    u32 group = at < gap ? groups[at] : at < gap + missing ? 0 : groups[at - missing];
    network[2 * at] = group >> 8;
    network[2 * at + 1] = group;
  }
  return 8;
}

// The slot of the caller whom this connection or request came from. Behind trusted proxies Envoy has read the
// request's address from x-forwarded-for.
static u32 caller_slot(void) {
  char *text;
  u32 size;
  if (proxy_get_property("source\0address", 14, &text, &size) != OK) return 0;
  u32 start = 0, end = size, dotted = 0;
  while (end > 0 && text[end - 1] != ':') end--;  // the port
  if (end > 0) end--;
  if (end > 1 && text[0] == '[') {
    start = 1;
    end--;
  }
  for (u32 i = start; i < end; i++) {
    if (text[i] == '.') dotted = 1;
  }
  if (dotted) {
    for (u32 i = start; i < end; i++) {
      if (text[i] == ':') start = i + 1;  // an IPv4 address in the form of an IPv6 one
    }
    return hash((const u8 *)text + start, end - start) % SLOTS;
  }
  u8 network[8];
  return hash(network, ipv6_network(text + start, end - start, network)) % SLOTS;
}

// The first letter of the root id of the plugin that Envoy calls now.
static u8 kind_now(void) {
  char *name;
  u32 size;
  return proxy_get_property("plugin_root_id", 14, &name, &size) == OK && size > 0 ? name[0] & 127 : 0;
}

// Changes a slot's count by one and returns the new count.
static u32 change_count(u8 kind, u32 slot, int change) {
  u8 key[3] = {kind, slot >> 8, slot};
  u32 count = 0;
  // Another worker may have changed it in between: then once more. The bound only keeps this from being endless.
  for (u32 tries = 0; tries < TRIES; tries++) {
    u32 *value, size, version = 0;
    count = 0;
    if (proxy_get_shared_data(key, sizeof key, (void **)&value, &size, &version) == OK && size == sizeof count) {
      count = *value;
    }
    count = change > 0 ? count + 1 : count > 0 ? count - 1 : 0;
    if (proxy_set_shared_data(key, sizeof key, &count, sizeof count, version) != CAS_MISMATCH) break;
  }
  return count;
}

void EXPORT(proxy_abi_version_0_2_1)(void) {}

u32 EXPORT(proxy_on_vm_start)(u32 root, u32 size) {
  (void)root, (void)size;
  // Envoy's main thread comes first, before any worker: its key is everybody's.
  void *value;
  u32 found_size, version;
  if (proxy_get_shared_data("key", 3, &value, &found_size, &version) == OK && found_size == sizeof hash_key) {
    hash_key = *(u64 *)value;
  } else {
    proxy_get_current_time_nanoseconds(&hash_key);
    proxy_set_shared_data("key", 3, &hash_key, sizeof hash_key, 0);
  }
  return 1;
}

// The configuration is the limit.
u32 EXPORT(proxy_on_configure)(u32 root, u32 size) {
  (void)root;
  char *text;
  u32 length, limit = 0;
  if (proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, &text, &length) != OK || length == 0) return 0;
  for (u32 i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9') return 0;
    limit = limit * 10 + (text[i] - '0');
  }
  static const char connections[] = "address_connections_refused", streams[] = "address_streams_refused";
  u8 kind = kind_now();
  Bound *bound = &bounds[kind];
  bound->limit = limit;
  const char *name = kind == STREAMS ? streams : connections;
  u32 name_size = (kind == STREAMS ? sizeof streams : sizeof connections) - 1;
  return kind != 0 && proxy_define_metric(COUNTER, name, name_size, &bound->refused) == OK;
}

// Counts what begins; 0 if the address holds too many.
static u32 begin(void) {
  u8 kind = kind_now();
  if (change_count(kind, caller_slot(), 1) <= bounds[kind].limit) return 1;
  proxy_increment_metric(bounds[kind].refused, 1);
  return 0;
}

static void end(void) { change_count(kind_now(), caller_slot(), -1); }

u32 EXPORT(proxy_on_new_connection)(u32 context) {
  (void)context;
  if (begin()) return CONTINUE;
  proxy_close_stream(DOWNSTREAM);
  return PAUSE;
}

void EXPORT(proxy_on_downstream_connection_close)(u32 context, u32 how) {
  (void)context, (void)how;
  end();
}

u32 EXPORT(proxy_on_request_headers)(u32 context, u32 headers, u32 end_of_stream) {
  (void)context, (void)headers, (void)end_of_stream;
  if (begin()) return CONTINUE;
  static const char why[] = "streams_of_one_address";
  proxy_send_local_response(TOO_MANY_REQUESTS, why, sizeof why - 1, 0, 0, 0, 0, RESOURCE_EXHAUSTED);
  return PAUSE;
}

// Envoy calls this for connections, too, after the function above.
void EXPORT(proxy_on_log)(u32 context) {
  (void)context;
  if (kind_now() == STREAMS) end();
}

void EXPORT(proxy_on_context_create)(u32 context, u32 parent) { (void)context, (void)parent; }
u32 EXPORT(proxy_on_done)(u32 context) { return (void)context, 1; }
void EXPORT(proxy_on_delete)(u32 context) { (void)context; }
