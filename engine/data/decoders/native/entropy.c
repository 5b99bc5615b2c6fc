/* Whether the entropy-coded data of a baseline JPEG is sound, without decoding it: symbols are looked up only for how
   many bits and coefficients each takes. What is accepted here libjpeg decodes without a warning; whatever is unusual
   is left for libjpeg itself to judge. */
#include <string.h>

#include "entropy.h"

#define LOOK 10
#define END_OF_BLOCK 128
#define MOST_BLOCKS (1 << 20) /* so that no sum of DC differences overflows */

/* An entry is coefficients << 8 | bits, for the code and its value together; 0: a longer code, or none. */
struct table {
    uint16_t entries[1 << LOOK];
    uint32_t limit[18]; /* 16-bit codes below limit[n] have at most n bits, where n > LOOK */
    int32_t offset[17]; /* from a code of n bits to its symbol */
    const JHUFF_TBL *source;
};

struct reader {
    uint64_t bits; /* from the highest bit down */
    int count;     /* how many of them are valid */
    int invented;  /* how many of those, the last ones, are not in the file */
    const uint8_t *next, *end;
};

struct block_kind {
    const struct table *dc, *ac;
};

static uint16_t entry_of(int symbol, int length, int is_dc) {
    int run = symbol >> 4, size = symbol & 15;
    int coefficients = is_dc ? 1 : size || run == 15 ? run + 1 : END_OF_BLOCK;
    return (uint16_t)(coefficients << 8 | (length + size));
}

/* ITU T.81, annex C, and libjpeg's own limits (jdhuff.c, jpeg_make_d_derived_tbl). 0 where it is no table of codes. */
static int make_table(const JHUFF_TBL *source, int is_dc, struct table *table) {
    uint32_t code = 0;
    int symbols = 0;
    memset(table->entries, 0, sizeof table->entries);
    table->source = source;
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->offset[length] = symbols - (int32_t)code;
        for (int i = 0; i < source->bits[length]; i++, symbols++, code++) {
            if (symbols >= 256 || code >> length) return 0;
            if (is_dc && source->huffval[symbols] > 11) return 0;
            if (length > LOOK) continue;
            uint16_t entry = entry_of(source->huffval[symbols], length, is_dc);
            int apart = LOOK - length;
            for (int below = 0; below < 1 << apart; below++) table->entries[(code << apart) + below] = entry;
        }
        if (source->bits[length] && code >= 1u << length) return 0;
        table->limit[length] = code << (16 - length);
    }
    return 1;
}

static void refill(struct reader *reader) {
    if (reader->end - reader->next >= 8) {
        uint64_t eight;
        memcpy(&eight, reader->next, 8);
        uint64_t zero_where_ff = ~eight;
        if (!((zero_where_ff - 0x0101010101010101u) & eight & 0x8080808080808080u)) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            eight = __builtin_bswap64(eight);
#endif
            /* Bits below the last whole byte are read again later, and are then the same. */
            reader->bits |= eight >> reader->count;
            reader->next += (63 - reader->count) >> 3;
            reader->count |= 56;
            return;
        }
    }
    for (; reader->count <= 56; reader->count += 8) {
        uint64_t byte = 0;
        if (reader->next < reader->end && *reader->next != 0xFF)
            byte = *reader->next++;
        else if (reader->end - reader->next >= 2 && reader->next[1] == 0)
            byte = 0xFF, reader->next += 2;
        else
            reader->invented += 8;
        reader->bits |= byte << (56 - reader->count);
    }
}

static uint16_t longer_entry(const struct table *table, uint64_t bits, int is_dc) {
    uint32_t peeked = (uint32_t)(bits >> 48);
    for (int length = LOOK + 1; length <= 16; length++)
        if (peeked < table->limit[length]) {
            int symbol = (int32_t)(peeked >> (16 - length)) + table->offset[length];
            return entry_of(table->source->huffval[symbol & 255], length, is_dc);
        }
    return 0;
}

/* The next symbol and its value are passed over; returns how many coefficients they are, 0 for no code. */
static inline __attribute__((always_inline)) int pass(struct reader *reader, const struct table *table, int is_dc) {
    if (reader->count < 32) refill(reader);
    uint16_t entry = table->entries[reader->bits >> (64 - LOOK)];
    if (__builtin_expect(!entry, 0) && !(entry = longer_entry(table, reader->bits, is_dc))) return 0;
    reader->bits <<= entry & 255;
    reader->count -= entry & 255;
    return entry >> 8;
}

static inline int pass_block(struct reader *reader, const struct block_kind *kind) {
    if (!pass(reader, kind->dc, 1)) return 0;
    int place = 1;
    while (place < DCTSIZE2) {
        int coefficients = pass(reader, kind->ac, 0);
        if (!coefficients) return 0;
        place += coefficients;
    }
    return place == DCTSIZE2 || place > END_OF_BLOCK;
}

/* Whether the data ends here, but for less than a byte, and this marker follows, which is then passed. */
static int at_marker(struct reader *reader, int marker) {
    int whole = reader->count - reader->invented < 8;
    if (!whole || reader->end - reader->next < 2 || reader->next[0] != 0xFF || reader->next[1] != marker) return 0;
    reader->next += 2;
    reader->bits = 0;
    reader->count = reader->invented = 0;
    return 1;
}

static int is_plain(j_decompress_ptr jpeg) {
    if (jpeg->progressive_mode || jpeg->arith_code || jpeg->comps_in_scan != jpeg->num_components) return 0;
    if (jpeg->Ss != 0 || jpeg->Se != DCTSIZE2 - 1 || jpeg->Ah != 0 || jpeg->Al != 0) return 0;
    for (int i = 0; i < jpeg->comps_in_scan; i++) {
        const jpeg_component_info *component = jpeg->cur_comp_info[i];
        /* Numbers as the file says them: libjpeg compares them with its limits only once it decodes. */
        unsigned quant = component->quant_tbl_no, dc = component->dc_tbl_no, ac = component->ac_tbl_no;
        if (component != &jpeg->comp_info[i] || quant >= NUM_QUANT_TBLS || dc >= NUM_HUFF_TBLS) return 0;
        if (ac >= NUM_HUFF_TBLS || !jpeg->quant_tbl_ptrs[quant]) return 0;
        if (!jpeg->dc_huff_tbl_ptrs[dc] || !jpeg->ac_huff_tbl_ptrs[ac]) return 0;
    }
    return 1;
}

/* The blocks of one MCU, one component after the other; 0 where they are too many. */
static int list_blocks(j_decompress_ptr jpeg, struct table tables[2][NUM_HUFF_TBLS], struct block_kind *kinds) {
    int count = 0;
    for (int i = 0; i < jpeg->comps_in_scan; i++) {
        const jpeg_component_info *component = jpeg->cur_comp_info[i];
        int blocks = jpeg->comps_in_scan == 1 ? 1 : component->h_samp_factor * component->v_samp_factor;
        if (count + blocks > D_MAX_BLOCKS_IN_MCU) return 0;
        while (blocks--)
            kinds[count++] =
                (struct block_kind){&tables[0][component->dc_tbl_no], &tables[1][component->ac_tbl_no]};
    }
    return count;
}

static int64_t count_mcus(j_decompress_ptr jpeg) {
    const jpeg_component_info *first = jpeg->cur_comp_info[0];
    if (jpeg->comps_in_scan == 1) return (int64_t)first->width_in_blocks * first->height_in_blocks;
    int64_t width = jpeg->max_h_samp_factor * DCTSIZE, height = jpeg->max_v_samp_factor * DCTSIZE;
    return (jpeg->image_width + width - 1) / width * ((jpeg->image_height + height - 1) / height);
}

const uint8_t *sound_scan(j_decompress_ptr jpeg) {
    struct table tables[2][NUM_HUFF_TBLS];
    struct block_kind kinds[D_MAX_BLOCKS_IN_MCU];
    if (!is_plain(jpeg)) return NULL;
    int blocks = list_blocks(jpeg, tables, kinds);
    int64_t mcus = count_mcus(jpeg), interval = jpeg->restart_interval;
    if (!blocks || mcus * blocks > MOST_BLOCKS) return NULL;
    unsigned made = 0;
    for (int i = 0; i < jpeg->comps_in_scan; i++)
        for (int ac = 0; ac < 2; ac++) {
            const jpeg_component_info *component = jpeg->cur_comp_info[i];
            int number = ac ? component->ac_tbl_no : component->dc_tbl_no;
            if (made >> (4 * ac + number) & 1) continue;
            made |= 1u << (4 * ac + number);
            const JHUFF_TBL *source = (ac ? jpeg->ac_huff_tbl_ptrs : jpeg->dc_huff_tbl_ptrs)[number];
            if (!make_table(source, !ac, &tables[ac][number])) return NULL;
        }
    struct reader reader = {.next = jpeg->src->next_input_byte};
    reader.end = reader.next + jpeg->src->bytes_in_buffer;
    for (int64_t mcu = 0; mcu < mcus; mcu++) {
        if (interval && mcu && mcu % interval == 0 && !at_marker(&reader, JPEG_RST0 + (mcu / interval - 1) % 8))
            return NULL;
        for (int i = 0; i < blocks; i++)
            if (!pass_block(&reader, &kinds[i])) return NULL;
        if (reader.count < reader.invented) return NULL;
    }
    return at_marker(&reader, JPEG_EOI) ? reader.next : NULL;
}
