// A JSON parser (RFC 8259) that builds a tree: data-dependent branches, bytes, pointers, memory
// that grows. It validates all of the grammar and the UTF-8 inside strings.
#include "guest.h"

#define DEEPEST 256 // arrays and objects inside each other
#define PAGE 65536

static const uint8_t DOCUMENT[] = {
#embed "document.json"
};

enum kind { NIL = 'n', FALSE = 'f', TRUE = 't', NUMBER = 'd', STRING = 's', ARRAY = '[', OBJECT = '{' };

struct text {
    const uint8_t *bytes;
    uint32_t length;
};

struct node {
    enum kind kind;
    struct text key; // where the parent is an object
    struct node *next; // in the same array or object
    union {
        double number;
        struct text text;
        struct node *first;
    };
};

// The tree lies behind the host's document, which lies at the start of the heap. It is built
// upwards and forgotten as a whole when the next one begins.
extern uint8_t __heap_base;
static uint8_t *floor = &__heap_base, *top;

static struct parser {
    const uint8_t *start, *at, *end;
    int32_t depth, deepest, nodes;
    double sum;
} parser;

// Grows the memory so that it reaches `to`.
static bool reach(const uint8_t *to) {
    size_t size = __builtin_wasm_memory_size(0) * PAGE;
    if ((size_t)to <= size) return true;
    size_t pages = ((size_t)to - size + PAGE - 1) / PAGE;
    return __builtin_wasm_memory_grow(0, pages) != (size_t)-1;
}

// `length` bytes at an address that is a multiple of 8; traps where memory is exhausted.
static void *take(size_t length) {
    uint8_t *from = (uint8_t *)(((size_t)top + 7) & ~(size_t)7);
    if (!reach(from + length)) __builtin_trap();
    top = from + length;
    return from;
}

static struct node *new_node(enum kind kind) {
    struct node *node = take(sizeof *node);
    *node = (struct node){.kind = kind};
    parser.nodes++;
    return node;
}

static int peek(void) {
    return parser.at < parser.end ? *parser.at : -1;
}

static bool eat(int byte) {
    if (peek() != byte) return false;
    parser.at++;
    return true;
}

static void skip_space(void) {
    while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') parser.at++;
}

static bool is_digit(int byte) {
    return byte >= '0' && byte <= '9';
}

// mantissa * 10^exponent. Exact to the last bit, as one rounding does, for mantissas below 2^53
// and exponents from -22 to 22; within a few units in the last place elsewhere.
static double decimal(uint64_t mantissa, int32_t exponent) {
    static const double TENS[23] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
    };
    double value = (double)mantissa;
    if (mantissa == 0) return 0;
    for (; exponent > 22 && value < 1e300; exponent -= 22) value *= 1e22;
    for (; exponent < -22 && value > 0; exponent += 22) value /= 1e22;
    if (exponent > 22) return __builtin_inf();
    if (exponent < -22) return 0;
    return exponent < 0 ? value / TENS[-exponent] : value * TENS[exponent];
}

static struct node *parse_number(void) {
    bool negative = eat('-');
    uint64_t mantissa = 0;
    int32_t exponent = 0;
    if (!is_digit(peek())) return NULL;
    bool zero = peek() == '0';
    for (; is_digit(peek()); parser.at++) {
        if (mantissa < 100000000000000000) mantissa = mantissa * 10 + (peek() - '0');
        else exponent++;
        if (zero && is_digit(parser.at + 1 < parser.end ? parser.at[1] : -1)) return NULL;
    }
    if (eat('.')) {
        if (!is_digit(peek())) return NULL;
        for (; is_digit(peek()); parser.at++) {
            if (mantissa >= 100000000000000000) continue;
            mantissa = mantissa * 10 + (peek() - '0');
            exponent--;
        }
    }
    if (eat('e') || eat('E')) {
        bool minus = eat('-');
        if (!minus) eat('+');
        if (!is_digit(peek())) return NULL;
        int32_t power = 0;
        for (; is_digit(peek()); parser.at++) {
            if (power < 100000) power = power * 10 + (peek() - '0');
        }
        exponent += minus ? -power : power;
    }
    struct node *node = new_node(NUMBER);
    node->number = decimal(mantissa, exponent);
    if (negative) node->number = -node->number;
    parser.sum += node->number;
    return node;
}

// Four hexadecimal digits; -1 for anything else.
static int32_t parse_hex(void) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int byte = peek(), lower = byte | 0x20;
        if (is_digit(byte)) value = value * 16 + (byte - '0');
        else if (lower >= 'a' && lower <= 'f') value = value * 16 + (lower - 'a' + 10);
        else return -1;
        parser.at++;
    }
    return value;
}

static uint8_t *encode(uint8_t *to, uint32_t point) {
    if (point < 0x80) {
        *to++ = point;
    } else if (point < 0x800) {
        *to++ = 0xc0 | point >> 6;
        *to++ = 0x80 | (point & 0x3f);
    } else if (point < 0x10000) {
        *to++ = 0xe0 | point >> 12;
        *to++ = 0x80 | (point >> 6 & 0x3f);
        *to++ = 0x80 | (point & 0x3f);
    } else {
        *to++ = 0xf0 | point >> 18;
        *to++ = 0x80 | (point >> 12 & 0x3f);
        *to++ = 0x80 | (point >> 6 & 0x3f);
        *to++ = 0x80 | (point & 0x3f);
    }
    return to;
}

// What follows a backslash. NULL where that is no escape.
static uint8_t *parse_escape(uint8_t *to) {
    int byte = peek();
    parser.at++;
    switch (byte) {
    case '"': case '\\': case '/': *to++ = byte; return to;
    case 'b': *to++ = '\b'; return to;
    case 'f': *to++ = '\f'; return to;
    case 'n': *to++ = '\n'; return to;
    case 'r': *to++ = '\r'; return to;
    case 't': *to++ = '\t'; return to;
    case 'u': break;
    default: parser.at--; return NULL;
    }
    int32_t point = parse_hex();
    if (point < 0 || (point >= 0xdc00 && point < 0xe000)) return NULL;
    if (point >= 0xd800 && point < 0xdc00) { // the first half of a surrogate pair
        if (!eat('\\') || !eat('u')) return NULL;
        int32_t low = parse_hex();
        if (low < 0xdc00 || low > 0xdfff) return NULL;
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    return encode(to, point);
}

// Copies one character that takes more than a byte. NULL where it is not UTF-8.
static uint8_t *copy_utf8(uint8_t *to) {
    uint32_t lead = peek();
    int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || parser.end - parser.at <= more) return NULL;
    uint32_t second = parser.at[1];
    if (lead == 0xe0 && second < 0xa0) return NULL; // longer than needed
    if (lead == 0xed && second > 0x9f) return NULL; // a surrogate
    if (lead == 0xf0 && second < 0x90) return NULL; // longer than needed
    if (lead == 0xf4 && second > 0x8f) return NULL; // above U+10FFFF
    for (int i = 1; i <= more; i++) {
        if ((parser.at[i] & 0xc0) != 0x80) return NULL;
    }
    for (int i = 0; i <= more; i++) *to++ = *parser.at++;
    return to;
}

static bool parse_text(struct text *text) {
    if (!eat('"')) return false;
    // Unescaped, a string is never longer than it was: room up to the closing quote is enough.
    const uint8_t *close = parser.at;
    while (close < parser.end && *close != '"') close += *close == '\\' ? 2 : 1;
    uint8_t *to = take(close - parser.at);
    text->bytes = to;
    for (;;) {
        int byte = peek();
        if (byte < 0x20) return false; // a control character, or the end
        if (eat('"')) break;
        if (eat('\\')) to = parse_escape(to);
        else if (byte >= 0x80) to = copy_utf8(to);
        else *to++ = *parser.at++;
        if (!to) return false;
    }
    text->length = to - text->bytes;
    return true;
}

static struct node *parse_word(const char *word, enum kind kind) {
    for (; *word; word++) {
        if (!eat(*word)) return NULL;
    }
    return new_node(kind);
}

static struct node *parse_value(void);

static struct node *parse_members(enum kind kind, int close) {
    struct node *parent = new_node(kind);
    struct node **link = &parent->first;
    parser.at++;
    if (++parser.depth > DEEPEST) return NULL;
    if (parser.depth > parser.deepest) parser.deepest = parser.depth;
    skip_space();
    if (!eat(close)) {
        do {
            struct text key = {NULL, 0};
            skip_space();
            if (kind == OBJECT) {
                if (!parse_text(&key)) return NULL;
                skip_space();
                if (!eat(':')) return NULL;
                skip_space();
            }
            struct node *member = parse_value();
            if (!member) return NULL;
            member->key = key;
            *link = member;
            link = &member->next;
            skip_space();
        } while (eat(','));
        if (!eat(close)) return NULL;
    }
    parser.depth--;
    return parent;
}

// One value; NULL where there is none, with `parser.at` at what should not be there.
static struct node *parse_value(void) {
    switch (peek()) {
    case '{': return parse_members(OBJECT, '}');
    case '[': return parse_members(ARRAY, ']');
    case 'n': return parse_word("null", NIL);
    case 'f': return parse_word("false", FALSE);
    case 't': return parse_word("true", TRUE);
    case '"': {
        struct node *node = new_node(STRING);
        return parse_text(&node->text) ? node : NULL;
    }
    default: return parse_number();
    }
}

static struct node *parse_document(const uint8_t *bytes, size_t length) {
    parser = (struct parser){.start = bytes, .at = bytes, .end = bytes + length};
    top = floor;
    skip_space();
    struct node *root = parse_value();
    skip_space();
    return parser.at == parser.end ? root : NULL;
}

static uint64_t hash_text(uint64_t hash, const struct text *text) {
    hash = fnv1a(hash, "s", 1);
    hash = fnv1a(hash, &text->length, 4);
    return fnv1a(hash, text->bytes, text->length);
}

// Goes on from `hash` with a node and all below it, each by the letter of its kind and its value.
static uint64_t hash_node(uint64_t hash, const struct node *node) {
    uint8_t letter = node->kind;
    if (node->kind == STRING) return hash_text(hash, &node->text);
    hash = fnv1a(hash, &letter, 1);
    if (node->kind == NUMBER) return fnv1a(hash, &node->number, 8);
    if (node->kind != ARRAY && node->kind != OBJECT) return hash;
    for (const struct node *member = node->first; member; member = member->next) {
        if (node->kind == OBJECT) hash = hash_text(hash, &member->key);
        hash = hash_node(hash, member);
    }
    return fnv1a(hash, node->kind == ARRAY ? "]" : "}", 1);
}

// Room for a document of `length` bytes, which takes the place of the one before; 0 where memory
// is exhausted.
EXPORT(alloc) uint8_t *alloc(uint32_t length) {
    if (length > 1u << 30 || !reach(&__heap_base + length)) return NULL;
    floor = &__heap_base + length;
    return &__heap_base;
}

// Parses `length` bytes at `bytes`: the number of values, or -1 minus the offset of what should
// not be there.
EXPORT(parse) int32_t parse(const uint8_t *bytes, uint32_t length) {
    struct node *root = parse_document(bytes, length);
    return root ? parser.nodes : -1 - (parser.at - parser.start);
}

// Of the last document: its values, the sum of its numbers in their order, its depth.
EXPORT(nodes) int32_t nodes(void) {
    return parser.nodes;
}
EXPORT(sum) double sum(void) {
    return parser.sum;
}
EXPORT(depth) int32_t depth(void) {
    return parser.deepest;
}

// The document that the guest brings along.
EXPORT(document) const uint8_t *document(void) {
    return DOCUMENT;
}
EXPORT(document_length) uint32_t document_length(void) {
    return sizeof DOCUMENT;
}

// Parses that document `times` times and hashes each tree, going on from the last one's hash.
// Answers the hash (FNV-1a with 64 bits); 0 where the document is not JSON.
EXPORT(run) int64_t run(int32_t times) {
    uint64_t hash = FNV1A_START;
    for (int32_t i = 0; i < times; i++) {
        struct node *root = parse_document(DOCUMENT, sizeof DOCUMENT);
        if (!root) return 0;
        hash = hash_node(hash, root);
    }
    return (int64_t)hash;
}
