/* The Huffman codes of a baseline JPEG as tables for passing over symbols: how many bits a symbol and its value take,
   and how many coefficients they are, never which. */
#ifndef CODES_H
#define CODES_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define LOOK 11
#define LOOKS (1 << LOOK)
/* What an entry counts as coefficients where it ends the block, and where one look does not show the code. */
#define END_OF_BLOCK 128
#define ESCAPE 64
/* No value has more in a baseline JPEG of 8 bits a sample. */
#define MOST_VALUE_BITS 11

/* An entry is coefficients << 8 | bits. */
struct table {
    uint16_t singles[LOOKS]; /* one symbol; 0: a longer code, or none */
    uint16_t pairs[LOOKS];   /* one or two symbols */
    uint8_t lengths[LOOKS];  /* of the code alone, in bits */
    uint32_t limit[17];      /* 16-bit looks below limit[n] have a code of at most n bits, where n > LOOK */
    int32_t offset[17];      /* from a code of n bits to its symbol */
    const JHUFF_TBL *source;
};

static inline unsigned entry_of(int symbol, int length, int is_dc) {
    int run = symbol >> 4, size = symbol & 15;
    int coefficients = is_dc ? 1 : size || run == 15 ? run + 1 : END_OF_BLOCK;
    return (unsigned)(coefficients << 8 | (length + size));
}

static inline void make_pairs(struct table *table) {
    for (uint32_t index = 0; index < LOOKS; index++) {
        unsigned first = table->singles[index], bits = first & 255;
        table->pairs[index] = (uint16_t)(first ? first : ESCAPE << 8);
        if (!first || bits >= LOOK || first >> 8 >= END_OF_BLOCK) continue;
        uint32_t rest = index << bits & (LOOKS - 1);
        unsigned second = table->singles[rest];
        if (second && table->lengths[rest] <= LOOK - bits) table->pairs[index] = (uint16_t)(first + second);
    }
}

/* ITU T.81, annex C, with libjpeg's own limits (jdhuff.c, jpeg_make_d_derived_tbl). 0 where they are no codes, or such
   as no encoder makes. */
static inline int make_table(const JHUFF_TBL *source, int is_dc, struct table *table) {
    uint32_t code = 0;
    int symbols = 0;
    memset(table->singles, 0, sizeof table->singles);
    table->source = source;
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->offset[length] = symbols - (int32_t)code;
        for (int i = 0; i < source->bits[length]; i++, symbols++, code++) {
            if (symbols >= 256 || code >> length) return 0;
            int symbol = source->huffval[symbols];
            if ((is_dc ? symbol : symbol & 15) > MOST_VALUE_BITS) return 0;
            for (int below = 0; length <= LOOK && below < 1 << (LOOK - length); below++) {
                uint32_t index = (code << (LOOK - length)) + (uint32_t)below;
                table->singles[index] = (uint16_t)entry_of(symbol, length, is_dc);
                table->lengths[index] = (uint8_t)length;
            }
        }
        if (source->bits[length] && code >= 1u << length) return 0;
        table->limit[length] = code << (16 - length);
    }
    if (!is_dc) make_pairs(table);
    return 1;
}

/* The 57 bits or more from this one on, the first of them highest. */
ALWAYS_INLINE uint64_t load(const uint8_t *data, uint64_t bit) {
    uint64_t eight;
    memcpy(&eight, data + (bit >> 3), 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    eight = __builtin_bswap64(eight);
#endif
    return eight << (bit & 7);
}

static inline unsigned longer_entry(const struct table *table, uint64_t bits, int is_dc) {
    uint32_t shown = (uint32_t)(bits >> 48);
    for (int length = LOOK + 1; length <= 16; length++)
        if (shown < table->limit[length]) {
            int symbol = (int32_t)(shown >> (16 - length)) + table->offset[length];
            return entry_of(table->source->huffval[symbol & 255], length, is_dc);
        }
    return 0;
}

/* The entry of the symbol that these bits begin with; 0: of none. */
ALWAYS_INLINE unsigned single(const struct table *table, uint64_t bits, int is_dc) {
    unsigned entry = table->singles[bits >> (64 - LOOK)];
    return __builtin_expect(entry != 0, 1) ? entry : longer_entry(table, bits, is_dc);
}

#endif
