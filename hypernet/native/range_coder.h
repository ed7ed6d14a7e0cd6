/* Reading range coder streams: words of 32 bits, probabilities of 24 bits; see FORMAT.md, 5.1.
 * Whatever the words are, nothing outside of them is read. */
#ifndef NRV_RANGE_CODER_H
#define NRV_RANGE_CODER_H

#include <stddef.h>

#include "kernels.h"

enum {
    NRV_OK = 0,
    NRV_NO_MEMORY = -1,
    NRV_DAMAGED = 1,        /* no encoder writes this */
    NRV_ESCAPE_LENGTH = 2,  /* an escaped symbol has an invalid length */
    NRV_LARGE_SYMBOL = 3,   /* a symbol is beyond what its place allows */
    NRV_TRAILING = 4        /* words are left over */
};

enum { NRV_PRECISION = 24, NRV_TABLES = 1024, NRV_BUCKETS = 256, NRV_LEVELS = 64 };

typedef struct {
    const uint8_t *data;
    size_t words, next; /* `next` counts words, those past the end included */
    uint64_t offset, range; /* point less low, modulo 2^64 */
} nrv_reader;

/* All tables of the format, prepared for looking up. A table's symbols are -A .. A and escape. */
typedef struct {
    const uint32_t *below;  /* frequencies below each symbol of each table, 2^24 after the last */
    const uint32_t *starts; /* NRV_TABLES + 1: where each table's begin in `below` */
    const uint16_t *buckets; /* NRV_TABLES x (NRV_BUCKETS + 1): symbol at each 2^16th of the range,
                                then the last symbol */
    const uint32_t *ones;   /* NRV_LEVELS: frequency of a one, out of 2^24, below all of it */
} nrv_tables;

void nrv_open(nrv_reader *reader, const uint8_t *data, size_t words);

/* NRV_OK if all has been read, else NRV_TRAILING. */
int nrv_at_end(const nrv_reader *reader);

/* An unsigned integer of 1 to 23 bits. */
int nrv_read_bits(nrv_reader *reader, int bits, uint32_t *value);

/* `count` symbols with one table below NRV_TABLES. */
int nrv_read_row(nrv_reader *reader, const nrv_tables *tables, int table, size_t count,
                 int32_t *symbols);

/* `count` symbols; the table of each is `map`, of 256 tables below NRV_TABLES, at its key. `order`
 * has room for `count`. */
int nrv_read_symbols(nrv_reader *reader, const nrv_tables *tables, const uint16_t *map,
                     const uint8_t *keys, size_t count, uint32_t *order, int32_t *symbols);

/* `count` zeros and ones, each at its own level below NRV_LEVELS. */
int nrv_read_flags(nrv_reader *reader, const nrv_tables *tables, const uint8_t *levels,
                   size_t count, uint32_t *order, int32_t *flags);

#endif
