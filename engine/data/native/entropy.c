/* Whether the entropy-coded data of a baseline JPEG is sound, without decoding it, several times as fast as libjpeg
   reads its coefficients. What is accepted here libjpeg decodes without a warning; whatever is unusual is left for
   libjpeg itself to judge.

   Where a symbol starts is known only after the one before, so a processor waits at each of them. Here RUNNERS go
   through parts of the data at once, one step of each after the other. All but the first start amid a symbol, in what
   may be any block; Huffman codes fall into step after a few blocks, and a runner has found the right way once the
   one before it, going on into its part, comes to a place where it was, at the same block of an MCU. */
#include "entropy.h"

#include "codes.h"

#define RUNNERS 4
#define TRACE 512
#define MOST_BLOCKS (1 << 20) /* so that no sum of DC differences overflows */
/* What a block that ends nowhere may read behind the data. */
#define BEHIND (DCTSIZE2 * 4 + 8)

struct block_kind {
    const struct table *dc, *ac;
};

/* Entropy-coded data without a restart, and the blocks of one MCU in order. */
struct scan {
    const uint8_t *data;
    uint64_t bits;
    const struct block_kind *kinds;
    unsigned kind_count;
};

/* `bit` is where it is; between two blocks, `kind` is that of the next. */
struct runner {
    uint64_t bit, stop;
    const uint16_t *pairs;
    unsigned place, kind; /* place: which coefficient comes next */
    int is_first, failed, done;
    int64_t blocks; /* how many it has passed since its trace begins */
    int traced;
    uint64_t trace[TRACE]; /* bit << 4 | kind behind each of the first ones */
};

static const uint16_t standing_still[LOOKS];

/* Pass over what is left of a block from this place on; returns the bit behind it, 0 where it is none. */
ALWAYS_INLINE uint64_t pass_rest(const uint8_t *data, uint64_t bit, const struct table *ac, unsigned place) {
    while (place < DCTSIZE2) {
        unsigned entry = single(ac, load(data, bit), 0);
        if (!entry) return 0;
        bit += entry & 255, place += entry >> 8;
    }
    return place == DCTSIZE2 || place > END_OF_BLOCK ? bit : 0;
}

static uint64_t pass_block(const struct scan *scan, uint64_t bit, unsigned kind) {
    unsigned entry = single(scan->kinds[kind].dc, load(scan->data, bit), 1);
    return entry ? pass_rest(scan->data, bit + (entry & 255), scan->kinds[kind].ac, 1) : 0;
}

static unsigned kind_after(const struct scan *scan, unsigned kind) {
    return kind + 1 == scan->kind_count ? 0 : kind + 1;
}

static void stop(struct runner *runner) {
    runner->done = 1;
    runner->place = 0;
    runner->pairs = standing_still;
}

/* What the first runner meets is so; another may only be out of step, and tries a bit further on. */
ALWAYS_INLINE void stumble(struct runner *runner) {
    runner->failed = runner->is_first;
    runner->bit++;
    runner->kind = 0;
    runner->blocks = runner->traced = 0;
}

ALWAYS_INLINE void start_block(const struct scan *scan, struct runner *runner) {
    while (!runner->failed && runner->bit < runner->stop) {
        unsigned entry = single(scan->kinds[runner->kind].dc, load(scan->data, runner->bit), 1);
        if (entry) {
            runner->bit += entry & 255;
            runner->place = 1;
            runner->pairs = scan->kinds[runner->kind].ac->pairs;
            return;
        }
        stumble(runner);
    }
    stop(runner);
}

/* Past the block's end after this entry: start the next; or only the code was longer than a look. */
ALWAYS_INLINE void turn(const struct scan *scan, struct runner *runner, unsigned entry) {
    const struct table *ac = scan->kinds[runner->kind].ac;
    if (__builtin_expect(entry >> 8 == ESCAPE, 0)) {
        entry = longer_entry(ac, load(scan->data, runner->bit), 0);
        runner->bit += entry & 255;
        /* A place that no block ends at, where there is no such code. */
        runner->place = entry ? runner->place - ESCAPE + (entry >> 8) : DCTSIZE2 + 1;
        if (runner->place < DCTSIZE2) return;
    } else if (runner->place != DCTSIZE2 && (runner->place < END_OF_BLOCK || runner->place >= END_OF_BLOCK + DCTSIZE2)) {
        /* Of two symbols the first may have ended the block. */
        runner->bit -= entry & 255, runner->place -= entry >> 8;
    }
    uint64_t end = pass_rest(scan->data, runner->bit, ac, runner->place);
    if (end) {
        runner->bit = end;
        runner->kind = kind_after(scan, runner->kind);
        runner->blocks++;
        if (runner->traced < TRACE) runner->trace[runner->traced++] = end << 4 | runner->kind;
    } else {
        stumble(runner);
    }
    start_block(scan, runner);
}

/* Each runner to its stop. Unrolled by hand, so that all they need at each step is in registers. */
static void run_all(const struct scan *scan, struct runner *runners) {
    const uint8_t *data = scan->data;
    int running = 0;
    for (int i = 0; i < RUNNERS; i++) {
        start_block(scan, &runners[i]);
        running += !runners[i].done;
    }
#define TAKE(i)                        \
    uint64_t bit##i = runners[i].bit;  \
    unsigned place##i = runners[i].place; \
    const uint16_t *pairs##i = runners[i].pairs;
#define STEP(i)                                                      \
    {                                                                \
        unsigned entry = pairs##i[load(data, bit##i) >> (64 - LOOK)]; \
        bit##i += entry & 255, place##i += entry >> 8;               \
        if (place##i >= DCTSIZE2) {                                    \
            runners[i].bit = bit##i, runners[i].place = place##i;    \
            turn(scan, &runners[i], entry);                          \
            bit##i = runners[i].bit, place##i = runners[i].place, pairs##i = runners[i].pairs; \
            running -= runners[i].done;                              \
        }                                                            \
    }
    TAKE(0) TAKE(1) TAKE(2) TAKE(3)
    while (running) {
        STEP(0) STEP(1) STEP(2) STEP(3)
    }
}

/* Whether the data is this many blocks, and less than a byte besides. */
static int has_blocks(const struct scan *scan, int64_t wanted) {
    struct runner runners[RUNNERS];
    uint64_t part = scan->bits / RUNNERS / 8 * 8, last_byte = scan->bits > 7 ? scan->bits - 7 : 0;
    for (int i = 0; i < RUNNERS; i++) {
        struct runner *runner = &runners[i];
        runner->bit = part * (uint64_t)i;
        runner->stop = i + 1 < RUNNERS ? part * (uint64_t)(i + 1) : last_byte;
        runner->is_first = i == 0;
        runner->kind = 0;
        runner->blocks = runner->failed = runner->done = runner->traced = 0;
    }
    run_all(scan, runners);
    if (runners[0].failed) return 0;
    uint64_t bit = runners[0].bit;
    unsigned kind = runners[0].kind;
    int64_t blocks = runners[0].blocks;
    for (int i = 1; i < RUNNERS; i++)
        for (int at = 0; bit < runners[i].stop;) {
            const struct runner *runner = &runners[i];
            while (at < runner->traced && runner->trace[at] < (bit << 4 | kind)) at++;
            if (at < runner->traced && runner->trace[at] == (bit << 4 | kind)) {
                bit = runner->bit, kind = runner->kind, blocks += runner->blocks - at - 1;
                break;
            }
            if (!(bit = pass_block(scan, bit, kind))) return 0;
            kind = kind_after(scan, kind), blocks++;
        }
    /* The last blocks may be of a few bits each. */
    for (; blocks < wanted && bit <= scan->bits; blocks++) {
        if (!(bit = pass_block(scan, bit, kind))) return 0;
        kind = kind_after(scan, kind);
    }
    return blocks == wanted && bit <= scan->bits && scan->bits - bit < 8;
}

/* Copy the data up to the next marker without its stuffing; `next` is then at that marker. Returns its bits. */
static uint64_t unstuff(const uint8_t **next, const uint8_t *end, uint8_t *out) {
    const uint8_t *from = *next;
    uint8_t *start = out;
    while (from < end) {
        const uint8_t *ff = memchr(from, 0xFF, (size_t)(end - from));
        if (!ff) ff = end;
        memcpy(out, from, (size_t)(ff - from));
        out += ff - from;
        from = ff;
        if (end - ff < 2 || ff[1] != 0) break;
        *out++ = 0xFF;
        from = ff + 2;
    }
    memset(out, 0, BEHIND);
    *next = from;
    return 8 * (uint64_t)(out - start);
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
static unsigned list_blocks(j_decompress_ptr jpeg, struct table tables[2][NUM_HUFF_TBLS], struct block_kind *kinds) {
    int count = 0;
    for (int i = 0; i < jpeg->comps_in_scan; i++) {
        const jpeg_component_info *component = jpeg->cur_comp_info[i];
        int blocks = jpeg->comps_in_scan == 1 ? 1 : component->h_samp_factor * component->v_samp_factor;
        if (count + blocks > D_MAX_BLOCKS_IN_MCU) return 0;
        while (blocks--)
            kinds[count++] =
                (struct block_kind){&tables[0][component->dc_tbl_no], &tables[1][component->ac_tbl_no]};
    }
    return (unsigned)count;
}

static int make_tables(j_decompress_ptr jpeg, struct table tables[2][NUM_HUFF_TBLS]) {
    int made[2][NUM_HUFF_TBLS] = {{0}};
    for (int i = 0; i < jpeg->comps_in_scan; i++) {
        int dc = jpeg->cur_comp_info[i]->dc_tbl_no, ac = jpeg->cur_comp_info[i]->ac_tbl_no;
        if (!made[0][dc]++ && !make_table(jpeg->dc_huff_tbl_ptrs[dc], 1, &tables[0][dc])) return 0;
        if (!made[1][ac]++ && !make_table(jpeg->ac_huff_tbl_ptrs[ac], 0, &tables[1][ac])) return 0;
    }
    return 1;
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
    if (!is_plain(jpeg) || !make_tables(jpeg, tables)) return NULL;
    const uint8_t *next = jpeg->src->next_input_byte, *end = next + jpeg->src->bytes_in_buffer;
    uint8_t *data = jpeg->mem->alloc_large((j_common_ptr)jpeg, JPOOL_IMAGE, (size_t)(end - next) + BEHIND);
    struct scan scan = {.data = data, .kinds = kinds, .kind_count = list_blocks(jpeg, tables, kinds)};
    int64_t left = count_mcus(jpeg), interval = jpeg->restart_interval ? jpeg->restart_interval : left;
    if (!scan.kind_count || left * scan.kind_count > MOST_BLOCKS) return NULL;
    for (int restarts = 0;; restarts++) {
        int64_t mcus = left < interval ? left : interval;
        scan.bits = unstuff(&next, end, data);
        if (!has_blocks(&scan, mcus * scan.kind_count)) return NULL;
        left -= mcus;
        if (end - next < 2 || next[1] != (left ? JPEG_RST0 + restarts % 8 : JPEG_EOI)) return NULL;
        next += 2;
        if (!left) return next;
    }
}
