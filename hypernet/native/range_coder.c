#include "range_coder.h"

enum { HEAD_BITS = 6, SIGN = 1 << (HEAD_BITS - 1), MIN_LENGTH = 1, MAX_LENGTH = 24 };

/* Not a symbol; between it and HEADS are those whose heads have been read. */
#define ESCAPED INT32_MIN
#define HEADS (ESCAPED + (1 << HEAD_BITS))

INLINE uint64_t next_word(nrv_reader *r) {
    size_t at = r->next++;
    if (at >= r->words) return 0;
    const uint8_t *p = r->data + 4 * at;
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
}

/* To the part of `unit`s from `below` on; as `unit` is at least 2^8, so is the range. */
INLINE void narrow(nrv_reader *r, uint64_t unit, uint64_t below, uint64_t frequency) {
    r->offset -= unit * below;
    r->range = unit * frequency;
    if (r->range >> 32 == 0) {
        r->range <<= 32;
        r->offset = r->offset << 32 | next_word(r);
    }
}

void nrv_open(nrv_reader *r, const uint8_t *data, size_t words) {
    *r = (nrv_reader){.data = data, .words = words, .range = UINT64_MAX};
    r->offset = next_word(r) << 32;
    r->offset |= next_word(r);
}

int nrv_at_end(const nrv_reader *r) {
    int untouched = r->range == UINT64_MAX; /* what constriction allows, too */
    int near = untouched || r->offset < (UINT64_C(1) << 33) - 1;
    return r->next >= r->words && near ? NRV_OK : NRV_TRAILING;
}

int nrv_read_bits(nrv_reader *r, int bits, uint32_t *value) {
    uint64_t unit = r->range >> NRV_PRECISION, quantile = r->offset / unit;
    if (quantile >> NRV_PRECISION) return NRV_DAMAGED;
    int rest = NRV_PRECISION - bits;
    *value = (uint32_t)(quantile >> rest);
    narrow(r, unit, (uint64_t)*value << rest, UINT64_C(1) << rest);
    return NRV_OK;
}

typedef struct {
    const uint32_t *below;
    const uint16_t *buckets;
    int support;
} model;

INLINE model model_of(const nrv_tables *tables, int table) {
    uint32_t start = tables->starts[table];
    return (model){tables->below + start, tables->buckets + table * (NRV_BUCKETS + 1),
                   (int)(tables->starts[table + 1] - start - 3) / 2};
}

INLINE uint32_t symbol_at(const model *m, uint32_t quantile) {
    const uint16_t *bucket = m->buckets + quantile / (1 << 16);
    uint32_t first = bucket[0], last = bucket[1];
    while (last - first > 8) {
        uint32_t middle = (first + last) / 2;
        if (m->below[middle + 1] <= quantile) first = middle + 1;
        else last = middle;
    }
    while (first < last && m->below[first + 1] <= quantile) first++;
    return first;
}

/* Less than -A .. A: what is returned counts from 0, and 2A + 1 is the escape. */
INLINE int read_symbol(nrv_reader *r, const model *m, uint32_t *symbol) {
    uint64_t unit = r->range >> NRV_PRECISION;
    uint32_t zero = (uint32_t)m->support;
    uint32_t below = m->below[zero], frequency = m->below[zero + 1] - below;
    if (r->offset - unit * below >= unit * frequency) { /* saves most of the divisions */
        uint64_t quantile = r->offset / unit;
        if (quantile >> NRV_PRECISION) return NRV_DAMAGED;
        zero = symbol_at(m, (uint32_t)quantile);
        below = m->below[zero], frequency = m->below[zero + 1] - below;
    }
    *symbol = zero;
    narrow(r, unit, below, frequency);
    return NRV_OK;
}

/* Replaces ESCAPED where it stands. */
static int read_escaped(nrv_reader *r, size_t count, int32_t *symbols) {
    int valid = 1, error = NRV_OK;
    for (size_t i = 0; i < count && !error; i++) {
        if (symbols[i] != ESCAPED) continue;
        uint32_t head = 0;
        error = nrv_read_bits(r, HEAD_BITS, &head);
        int length = head & (SIGN - 1);
        valid &= MIN_LENGTH <= length && length <= MAX_LENGTH;
        symbols[i] += (int32_t)head;
    }
    if (error || !valid) return error ? error : NRV_ESCAPE_LENGTH;
    for (size_t i = 0; i < count && !error; i++) {
        if (symbols[i] >= HEADS) continue;
        int head = symbols[i] - ESCAPED, length = head & (SIGN - 1);
        uint32_t rest = 0;
        if (length > 1) error = nrv_read_bits(r, length - 1, &rest);
        int32_t magnitude = (int32_t)((UINT32_C(1) << (length - 1)) + rest);
        symbols[i] = head & SIGN ? -magnitude : magnitude;
    }
    return error;
}

int nrv_read_row(nrv_reader *reader, const nrv_tables *tables, int table, size_t count,
                 int32_t *symbols) {
    nrv_reader r = *reader; /* so that it stays in registers */
    model m = model_of(tables, table);
    int escaped = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t symbol;
        if (read_symbol(&r, &m, &symbol)) return NRV_DAMAGED;
        int escape = symbol == 2 * (uint32_t)m.support + 1;
        escaped |= escape;
        symbols[i] = escape ? ESCAPED : (int32_t)symbol - m.support;
    }
    *reader = r;
    return escaped ? read_escaped(reader, count, symbols) : NRV_OK;
}

/* Counters of as many parts of a list: increments of one counter wait for each other. */
enum { PARTS = 4 };

/* Positions by ascending bin, those of one bin in their order. `ends[PARTS - 1]` is where each bin
 * ends. */
INLINE void sorted(const uint16_t *bin, const uint8_t *keys, size_t count, int bins,
                   uint32_t (*ends)[NRV_TABLES], uint32_t *order) {
    size_t part = count / PARTS;
    memset(ends, 0, PARTS * sizeof *ends);
    for (size_t i = 0; i < part; i++)
        for (int p = 0; p < PARTS; p++) ends[p][bin[keys[p * part + i]]]++;
    for (size_t i = PARTS * part; i < count; i++) ends[PARTS - 1][bin[keys[i]]]++;
    uint32_t start = 0;
    for (int b = 0; b < bins; b++)
        for (int p = 0; p < PARTS; p++) {
            uint32_t here = ends[p][b];
            ends[p][b] = start;
            start += here;
        }
    for (size_t i = 0; i < part; i++)
        for (int p = 0; p < PARTS; p++)
            order[ends[p][bin[keys[p * part + i]]]++] = (uint32_t)(p * part + i);
    for (size_t i = PARTS * part; i < count; i++)
        order[ends[PARTS - 1][bin[keys[i]]]++] = (uint32_t)i;
}

int nrv_read_symbols(nrv_reader *reader, const nrv_tables *tables, const uint16_t *map,
                     const uint8_t *keys, size_t count, uint32_t *order, int32_t *symbols) {
    uint32_t ends[PARTS][NRV_TABLES];
    sorted(map, keys, count, NRV_TABLES, ends, order);
    nrv_reader r = *reader;
    int escaped = 0;
    size_t i = 0;
    for (int table = 0; i < count; table++) {
        model m = model_of(tables, table);
        for (; i < ends[PARTS - 1][table]; i++) {
            uint32_t symbol;
            if (read_symbol(&r, &m, &symbol)) return NRV_DAMAGED;
            int escape = symbol == 2 * (uint32_t)m.support + 1;
            escaped |= escape;
            symbols[order[i]] = escape ? ESCAPED : (int32_t)symbol - m.support;
        }
    }
    *reader = r;
    return escaped ? read_escaped(reader, count, symbols) : NRV_OK;
}

int nrv_read_flags(nrv_reader *reader, const nrv_tables *tables, const uint8_t *levels,
                   size_t count, uint32_t *order, int32_t *flags) {
    uint16_t same[256];
    uint32_t ends[PARTS][NRV_TABLES];
    for (int level = 0; level < 256; level++) same[level] = (uint16_t)(level % NRV_LEVELS);
    sorted(same, levels, count, NRV_LEVELS, ends, order);
    nrv_reader r = *reader;
    int damaged = 0;
    size_t i = 0;
    for (int level = 0; level < NRV_LEVELS; level++) {
        uint64_t ones = tables->ones[level], zeros = (UINT64_C(1) << NRV_PRECISION) - ones;
        for (; i < ends[PARTS - 1][level]; i++) {
            uint64_t unit = r.range >> NRV_PRECISION;
            int one = r.offset >= unit * zeros;
            damaged |= r.offset >= unit << NRV_PRECISION;
            flags[order[i]] = one;
            narrow(&r, unit, one ? zeros : 0, one ? ones : zeros);
        }
    }
    *reader = r;
    return damaged ? NRV_DAMAGED : NRV_OK;
}
